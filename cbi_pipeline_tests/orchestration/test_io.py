"""No `from __future__ import annotations`: Dagster reads the annotations of assets themselves."""

import json
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from cbi_pipeline.contracts.references import CellRef, FailedCellRef, PredictionsRef
from cbi_pipeline.errors import CbiError
from cbi_pipeline.orchestration.cells import Cells
from cbi_pipeline.orchestration.io import ReferenceIOManager

REFERENCE = PredictionsRef(
    kind="predictions",
    key="00ff",
    path=Path("/srv/artifacts/predictions/00ff"),
    reused=False,
    first_as_of_date=date(2024, 12, 31),
    as_of_date=date(2024, 12, 31),
    model_version="tcn-20241231-00000000",
    rows=4,
)
PARTITIONS = dg.StaticPartitionsDefinition(["fold_1", "fold_2"])


def cell(fold: str) -> CellRef:
    return CellRef(
        kind="cells",
        key=fold,
        path=Path("/srv/artifacts/cells") / fold,
        reused=True,
        architecture="tcn",
        fold=fold,
        features_key="f",
        anchors_key="a",
        scalers_key="s",
        members=3,
        n_parameters=10,
        best_epochs={"anchored": (0, 2, 4), "raw": (1, 0, 3)},
        seconds=0.5,
    )


FAILED = FailedCellRef(
    architecture="tcn",
    fold="fold_2",
    features_key="f",
    anchors_key="a",
    scalers_key="s",
    reason="epoch 1 batch 3 (rows 252..283): The training loss is nan.",
)
TABLE = {"fold_1": cell("fold_1"), "fold_2": FAILED}


@dg.asset(key=["warehouse", "one"])
def one() -> PredictionsRef:
    return REFERENCE


@dg.asset(ins={"one": dg.AssetIn(["warehouse", "one"])})
def reads_one(one: PredictionsRef) -> None:
    assert one == REFERENCE


@dg.asset(partitions_def=PARTITIONS, backfill_policy=dg.BackfillPolicy.single_run())
def cells(context: dg.AssetExecutionContext) -> dict[str, CellRef]:
    return {key: cell(key) for key in context.partition_keys}


@dg.asset
def reads_cells(cells: dict[str, CellRef]) -> None:
    assert cells == {"fold_1": cell("fold_1"), "fold_2": cell("fold_2")}


@dg.asset(dagster_type=Cells, partitions_def=PARTITIONS, backfill_policy=dg.BackfillPolicy.single_run())
def table(context: dg.AssetExecutionContext):
    return {key: TABLE[key] for key in context.partition_keys}


@dg.asset
def reads_table(table: Cells) -> None:
    assert table == TABLE
    assert [type(one) for one in table.values()] == [CellRef, FailedCellRef]


@dg.asset(dagster_type=Cells)
def no_table():
    return {"fold_1": "trained"}


@dg.asset(ins={"one": dg.AssetIn(["warehouse", "one"])})
def reads_another_kind(one: CellRef) -> None:
    raise AssertionError("must not be reached")


@pytest.fixture
def run(tmp_path):
    def materialise(*assets, **how):
        return dg.materialize(
            list(assets), resources={"io_manager": ReferenceIOManager(root=str(tmp_path / "references"))}, **how
        )

    return materialise


def test_a_reference_comes_back_as_it_was(run, tmp_path):
    assert run(one, reads_one).success
    file = tmp_path / "references" / "warehouse" / "one.json"
    assert PredictionsRef.model_validate_json(file.read_text()) == REFERENCE
    assert json.loads(file.read_text())["rows"] == 4


def test_a_consumer_reads_it_in_a_later_run(run):
    run(one)
    assert run(one, reads_one, selection=[reads_one]).success


def test_partitions_have_a_file_each_and_come_back_together(run, tmp_path):
    tags = {"dagster/asset_partition_range_start": "fold_1", "dagster/asset_partition_range_end": "fold_2"}
    run(cells, tags=tags)
    folder = tmp_path / "references" / "cells"
    assert sorted(file.name for file in folder.iterdir()) == ["fold_1.json", "fold_2.json"]
    assert run(cells, reads_cells, selection=[reads_cells]).success


def test_trained_and_failed_cells_come_back_as_what_they_were(run, tmp_path):
    tags = {"dagster/asset_partition_range_start": "fold_1", "dagster/asset_partition_range_end": "fold_2"}
    run(table, tags=tags)
    assert run(table, reads_table, selection=[reads_table]).success
    stored = (tmp_path / "references" / "table" / "fold_2.json").read_text()
    assert FailedCellRef.model_validate_json(stored) == FAILED


def test_what_is_no_cell_is_not_stored(run, tmp_path):
    with pytest.raises(dg.DagsterTypeCheckDidNotPass):
        run(no_table)
    assert not (tmp_path / "references").exists()


def test_one_partition_leaves_the_others_alone(run, tmp_path):
    run(cells, partition_key="fold_1")
    assert [file.name for file in (tmp_path / "references" / "cells").iterdir()] == ["fold_1.json"]
    with pytest.raises(CbiError, match=r"fold_2\.json: this asset has not been materialised yet"):
        run(cells, reads_cells, selection=[reads_cells])


def test_an_asset_that_was_never_made_is_an_error_that_says_what_to_do(run):
    with pytest.raises(CbiError, match="cbi run"):
        run(one, reads_one, selection=[reads_one])


def test_a_reference_of_another_kind_is_refused(run):
    run(one)
    with pytest.raises(CbiError, match="written by another version of CBI"):
        run(one, reads_another_kind, selection=[reads_another_kind])


@pytest.mark.parametrize("content", [b"", b'{"kind": "pred', b"\xff\xfe"])
def test_a_reference_that_was_cut_is_refused(run, tmp_path, content):
    run(one)
    file = tmp_path / "references" / "warehouse" / "one.json"
    file.write_bytes(content)
    with pytest.raises(CbiError, match=r"one\.json: the stored reference was cut"):
        run(one, reads_one, selection=[reads_one])
