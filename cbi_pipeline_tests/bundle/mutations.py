"""Ways to damage a bundle, each a function of a folder and of numbers that hypothesis draws.

`UNSEALED` leaves manifest and seal as they were, as a bad disk or a cut transfer does. `RESEALED` makes them fit again,
as a faulty or hostile producer does, so that only a rule about the content can refuse it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cbi_pipeline.contracts.manifest import MANIFEST_FILE, SUCCESS_FILE, content_sha256
from cbi_pipeline.contracts.tables import RAW_TABLES

Draw = Callable[[int, int], int]
"""A whole number between two, both inclusive."""
FILES = [*(f"{name}.parquet" for name in RAW_TABLES), MANIFEST_FILE, SUCCESS_FILE]


def choose(draw: Draw, options: list[Any]) -> Any:
    return options[draw(0, len(options) - 1)]


def reseal(bundle: Path, name: str | None = None, edit: Callable[[dict[str, Any]], None] | None = None) -> None:
    """Make the manifest's figures of a table's file, the version and the seal fit; then `edit` the manifest, reseal."""
    manifest = json.loads((bundle / MANIFEST_FILE).read_bytes())
    if name is not None:
        content, entry = (bundle / f"{name}.parquet").read_bytes(), manifest["tables"][name]
        entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        try:
            table = pq.ParquetFile(pa.BufferReader(content))
            schema = table.schema_arrow
            text = schema.to_string(show_field_metadata=False, show_schema_metadata=False)
            entry |= {"rows": table.metadata.num_rows, "arrow_schema": text}
        except (pa.ArrowException, OSError, UnicodeDecodeError):
            pass
        hashes = ((key, one["sha256"]) for key, one in manifest["tables"].items())
        manifest["dataset_version"] = manifest["dataset_version"][:17] + content_sha256(hashes)[:8]
    if edit is not None:
        edit(manifest)
    text_bytes = json.dumps(manifest).encode()
    (bundle / MANIFEST_FILE).write_bytes(text_bytes)
    (bundle / SUCCESS_FILE).write_text(hashlib.sha256(text_bytes).hexdigest())


def rewrite(bundle: Path, name: str, table: pa.Table, **options: Any) -> None:
    """Write a table of the bundle anew; the manifest tells its dates as they are then, where it has any."""
    pq.write_table(table, bundle / f"{name}.parquet", compression="zstd", **options)
    contract = RAW_TABLES[name]

    def dates(manifest: dict[str, Any]) -> None:
        if table.num_rows and contract.event_date in table.column_names:
            with suppress(OverflowError, ValueError, pa.ArrowException):  # no date, or one that Python has no word for
                event = pc.min_max(table[contract.event_date]).as_py()
                manifest["tables"][name] |= {f"{end}_event_date": str(event[end]) for end in ("min", "max")}

    reseal(bundle, name, dates)


# What a disk, a transfer or a stranger does: nothing is made to fit.


def truncate(bundle: Path, draw: Draw) -> None:
    file = bundle / choose(draw, FILES)
    file.write_bytes(file.read_bytes()[: draw(0, file.stat().st_size - 1)])


def flip_bit(bundle: Path, draw: Draw) -> None:
    file = bundle / choose(draw, FILES)
    content = bytearray(file.read_bytes())
    content[draw(0, len(content) - 1)] ^= 1 << draw(0, 7)
    file.write_bytes(content)


def append(bundle: Path, draw: Draw) -> None:
    with (bundle / choose(draw, FILES)).open("ab") as file:
        file.write(bytes(draw(0, 255) for _ in range(draw(1, 20))))


def swap_files(bundle: Path, draw: Draw) -> None:
    first, second = choose(draw, FILES), choose(draw, FILES)
    one, other = (bundle / first).read_bytes(), (bundle / second).read_bytes()
    (bundle / first).write_bytes(other)
    (bundle / second).write_bytes(one)


def remove_file(bundle: Path, draw: Draw) -> None:
    (bundle / choose(draw, FILES)).unlink()


def put_link(bundle: Path, draw: Draw) -> None:
    """A link to the very same bytes elsewhere, to an endless device, to a folder, to nothing; a pipe; a folder."""
    file = bundle / choose(draw, FILES)
    elsewhere = bundle.parent.parent / "elsewhere" / file.name
    elsewhere.parent.mkdir(exist_ok=True)
    shutil.copy(file, elsewhere)
    file.unlink()
    target = choose(draw, [elsewhere, Path("/dev/zero"), elsewhere.parent, Path("nowhere"), "pipe", "folder"])
    if target == "pipe":
        os.mkfifo(file)
    elif target == "folder":
        file.mkdir()
    else:
        file.symlink_to(target)


def add_file(bundle: Path, draw: Draw) -> None:
    name = choose(draw, ["extra.parquet", ".hidden", "policy.parquet.bak", "sub", "_SUCCESS.tmp"])
    if name == "sub":
        (bundle / name).mkdir()
    else:
        (bundle / name).write_bytes(b"x" * draw(0, 9))


# What a producer does: seal and manifest fit.


def wrong_type(bundle: Path, draw: Draw) -> None:
    name = choose(draw, list(RAW_TABLES))
    table = pq.read_table(bundle / f"{name}.parquet")
    field = table.schema.field(draw(0, table.num_columns - 1))
    kind = choose(
        draw, [pa.string(), pa.binary(), pa.int8(), pa.float32(), pa.bool_(), pa.list_(pa.int64()), pa.null()]
    )
    if kind == field.type:
        kind = pa.large_string()
    values = pa.nulls(table.num_rows, kind)
    rewrite(
        bundle, name, table.set_column(table.schema.get_field_index(field.name), pa.field(field.name, kind), values)
    )


def duplicate_rows(bundle: Path, draw: Draw) -> None:
    name = choose(draw, list(RAW_TABLES))
    table = pq.read_table(bundle / f"{name}.parquet")
    first = draw(0, table.num_rows - 1)
    again = table.slice(first, draw(1, 5))
    rewrite(
        bundle,
        name,
        pa.concat_tables([table.slice(0, first + again.num_rows), again, table.slice(first + again.num_rows)]),
    )


def shuffle_rows(bundle: Path, draw: Draw) -> None:
    name = choose(draw, list(RAW_TABLES))
    table = pq.read_table(bundle / f"{name}.parquet")
    order = np.random.default_rng(draw(0, 2**32)).permutation(table.num_rows)
    rewrite(bundle, name, table.take(pa.array(order)))


def shift_dates(bundle: Path, draw: Draw) -> None:
    """Every date of a table by the same number of days, less than a week: later, or earlier where a calendar tells."""
    name = choose(draw, list(RAW_TABLES))
    days = draw(1, 6)
    if name in ("futures_daily", "futures_curve", "macro_series", "cot_weekly") and draw(0, 1):
        days = -days
    table = pq.read_table(bundle / f"{name}.parquet")
    day = RAW_TABLES[name].event_date
    at = table.schema.get_field_index(day)
    shifted = pc.cast(pc.add(pc.cast(table[day], pa.int32()), pa.scalar(days, pa.int32())), pa.date32())
    rewrite(bundle, name, table.set_column(at, table.schema.field(at), shifted))


def rename_column(bundle: Path, draw: Draw) -> None:
    name = choose(draw, list(RAW_TABLES))
    table = pq.read_table(bundle / f"{name}.parquet")
    names = list(table.column_names)
    at = draw(0, len(names) - 1)
    names[at] = choose(
        draw, [names[at].upper(), f"{names[at]} ", "", "source" if names[at] != "source" else "value", "é"]
    )
    rewrite(bundle, name, table.rename_columns(names))


def drop_or_add_column(bundle: Path, draw: Draw) -> None:
    name = choose(draw, list(RAW_TABLES))
    table = pq.read_table(bundle / f"{name}.parquet")
    if draw(0, 1):
        table = table.append_column("note", pa.array(["x"] * table.num_rows))
    else:
        table = table.remove_column(draw(0, table.num_columns - 1))
    rewrite(bundle, name, table)


def put_no_number(bundle: Path, draw: Draw) -> None:
    name = choose(draw, [one for one in RAW_TABLES if "double" in str(RAW_TABLES[one].arrow_schema)])
    table = pq.read_table(bundle / f"{name}.parquet")
    numbers = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    column = choose(draw, numbers)
    values = table[column].to_pylist()
    values[draw(0, len(values) - 1)] = choose(draw, [float("nan"), float("inf"), float("-inf"), 1e300, -1e300])
    at = table.schema.get_field_index(column)
    rewrite(bundle, name, table.set_column(at, table.schema.field(at), pa.array(values, pa.float64())))


def impossible_date(bundle: Path, draw: Draw) -> None:
    """Days and moments at the ends of what the types can hold."""
    name = choose(draw, list(RAW_TABLES))
    table = pq.read_table(bundle / f"{name}.parquet")
    column = choose(draw, [field.name for field in table.schema if pa.types.is_temporal(field.type)])
    at = table.schema.get_field_index(column)
    ints = pc.cast(table[column], pa.int32() if pa.types.is_date(table.schema.field(at).type) else pa.int64())
    values = ints.to_pylist()
    values[draw(0, len(values) - 1)] = choose(draw, [2**31 - 1, -(2**31), 2932896, -719162])
    changed = pa.array(values, ints.type).cast(table.schema.field(at).type)
    rewrite(bundle, name, table.set_column(at, table.schema.field(at), changed))


def bomb(bundle: Path, draw: Draw) -> None:
    """A few kilobytes that stand for gigabytes: rows, one long text for all rows, a long run of zeros."""
    name = choose(draw, list(RAW_TABLES))
    table = pq.read_table(bundle / f"{name}.parquet")
    kind = draw(0, 2)
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    if kind == 0:
        one = table.slice(0, 1)
        indices = pa.array(np.zeros(3_000_000, dtype=np.int32))
        table = pa.table({"source": pa.DictionaryArray.from_arrays(indices, one["source"].combine_chunks())})
        rows = draw(1, 1_000_000)
        rewrite(bundle, name, table)
        reseal(bundle, name, lambda manifest: manifest["tables"][name].update(rows=rows))
        return
    length = 20_000_000 if kind == 1 else 200_000
    column = choose(draw, texts)
    at = table.schema.get_field_index(column)
    long = pa.DictionaryArray.from_arrays(pa.array(np.zeros(table.num_rows, dtype=np.int32)), pa.array(["x" * length]))
    rewrite(bundle, name, table.set_column(at, pa.field(column, long.type), long), store_schema=False)


def leave_the_folder(bundle: Path, draw: Draw) -> None:
    """A path, name or version in the manifest that leads elsewhere."""
    name = choose(draw, list(RAW_TABLES))
    path = choose(
        draw,
        [
            "../policy.parquet",
            "/etc/passwd",
            "a/../../x.parquet",
            "..",
            "C:\\x.parquet",
            "x.parquet\x00",
            "~/x.parquet",
        ],
    )
    where = choose(draw, ["path", "table", "version"])

    def edit(manifest: dict[str, Any]) -> None:
        if where == "path":
            manifest["tables"][name]["path"] = path
        elif where == "table":
            manifest["tables"][path] = manifest["tables"].pop(name)
        else:
            manifest["dataset_version"] = path

    reseal(bundle, None, edit)


def damage_manifest(bundle: Path, draw: Draw) -> None:
    """Another value of any field, at any depth."""
    values = [
        None,
        -1,
        0,
        1e308,
        2**70,
        True,
        "",
        "x" * 1000,
        [],
        {},
        [[]],
        "0001-01-01T00:00:00+14:00",
        "9999-12-31",
        "NaN",
    ]

    def edit(manifest: dict[str, Any]) -> None:
        holder: Any = manifest
        while True:
            key = choose(draw, sorted(holder) if isinstance(holder, dict) else list(range(len(holder))))
            if isinstance(holder[key], (dict, list)) and len(holder[key]) and draw(0, 2):
                holder = holder[key]
                continue
            before, holder[key] = holder[key], choose(draw, values)
            if holder[key] == before:
                holder[key] = {"other": before}
            return

    reseal(bundle, None, edit)


def no_manifest(bundle: Path, draw: Draw) -> None:
    """A sealed manifest that is no JSON, or JSON without end."""
    content = choose(draw, [b"", b"null", b"[" * 100_000, b"\xff\xfe", b'{"a":' * 5_000, b"{}", b"1" * 10_000])
    (bundle / MANIFEST_FILE).write_bytes(content)
    (bundle / SUCCESS_FILE).write_text(hashlib.sha256(content).hexdigest())


def flip_sealed(bundle: Path, draw: Draw) -> None:
    """One bit of a parquet file, sealed as it is: what its reader makes of it is not known beforehand."""
    name = choose(draw, list(RAW_TABLES))
    file = bundle / f"{name}.parquet"
    content = bytearray(file.read_bytes())
    content[draw(0, len(content) - 1)] ^= 1 << draw(0, 7)
    file.write_bytes(content)
    reseal(bundle, name)


UNSEALED = (truncate, flip_bit, append, swap_files, remove_file, put_link, add_file)
RESEALED = (
    *(wrong_type, duplicate_rows, shuffle_rows, shift_dates, rename_column, drop_or_add_column, put_no_number),
    *(impossible_date, bomb, leave_the_folder, damage_manifest, no_manifest, flip_sealed),
)
