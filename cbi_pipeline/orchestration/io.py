"""IO manager that stores the references between assets as JSON, one file per asset and partition."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import TypeAdapter, ValidationError

from cbi_pipeline.atomic import replace_file
from cbi_pipeline.errors import CbiError


class ReferenceIOManager(dg.ConfigurableIOManager):
    """Stores pydantic references under `root`; nothing is pickled.

    A partitioned asset returns a dict from partition key to reference; an unpartitioned consumer of a
    partitioned asset receives the same dict, for the partitions that its dependency names.
    """

    root: str

    def _path(self, key: dg.AssetKey, partition: str | None = None) -> Path:
        folder = Path(self.root).joinpath(*key.path)
        return folder.with_suffix(".json") if partition is None else folder / f"{partition}.json"

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Write one file per partition, each replaced in one step."""
        if obj is None:
            return
        partitions = context.asset_partition_keys if context.has_asset_partitions else [None]
        for partition in partitions:
            path = self._path(context.asset_key, partition)
            path.parent.mkdir(parents=True, exist_ok=True)
            reference = obj if partition is None else obj[partition]
            replace_file(path, reference.model_dump_json(indent=2).encode())

    def load_input(self, context: dg.InputContext) -> Any:
        """Read the reference, or the dict of references, in the type that the consumer annotates."""
        adapter: TypeAdapter[Any] = TypeAdapter(context.dagster_type.typing_type)
        if not context.has_asset_partitions:
            return read_reference(self._path(context.asset_key), adapter)
        value = adapter.validate_python({})  # the consumer's type is a dict of references
        for partition in context.asset_partition_keys:
            path = self._path(context.asset_key, partition)
            value |= read_reference(path, adapter, partition)
        return value


def read_reference(path: Path, adapter: TypeAdapter[Any], partition: str | None = None) -> Any:
    """One stored reference; with a partition key, as a dict of that one entry.

    Raises:
        CbiError: the asset was not materialised, or its file was cut or written by another version of CBI.
    """
    try:
        stored = json.loads(path.read_text())
        return adapter.validate_python(stored if partition is None else {partition: stored})
    except FileNotFoundError:
        rule = "this asset has not been materialised yet."
        raise CbiError(str(path), rule, "run `cbi run`, or materialise it in the UI first.") from None
    except (json.JSONDecodeError, UnicodeDecodeError, ValidationError) as error:
        rule = "the stored reference was cut, or written by another version of CBI."
        raise CbiError(str(path), rule, "run `cbi run`: it is written again.") from error
