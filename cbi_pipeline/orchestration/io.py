"""IO manager that stores the references between assets as JSON, one file per asset and partition."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel, TypeAdapter

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
        if not context.has_asset_partitions:
            self._write(self._path(context.asset_key), obj)
            return
        for partition in context.asset_partition_keys:
            self._write(self._path(context.asset_key, partition), obj[partition])

    def load_input(self, context: dg.InputContext) -> Any:
        """Read the reference, or the dict of references, in the type that the consumer annotates."""
        adapter: TypeAdapter[Any] = TypeAdapter(context.dagster_type.typing_type)
        if not context.has_asset_partitions:
            return adapter.validate_python(self.read(self._path(context.asset_key)))
        return adapter.validate_python(
            {key: self.read(self._path(context.asset_key, key)) for key in context.asset_partition_keys}
        )

    @staticmethod
    def _write(path: Path, reference: BaseModel) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".json.tmp")
        temporary.write_text(reference.model_dump_json(indent=2))
        temporary.replace(path)

    @staticmethod
    def read(path: Path) -> Any:
        """The stored reference as plain data; an asset that was never materialised is an error."""
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            raise CbiError(
                str(path),
                "this asset has not been materialised yet.",
                "run `cbi run`, or materialise it in the UI first.",
            ) from None
