"""Resources: what differs between machines (device, folders, warehouse), bound by settings, never by code."""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import PrivateAttr

from cbi_pipeline.processes import keep_awake
from cbi_pipeline.settings import Settings

if TYPE_CHECKING:
    import torch
    from google.cloud.bigquery import Client
    from google.cloud.storage import Client as StorageClient

    from cbi_pipeline.bundle.locate import LocatedBundle
    from cbi_pipeline.bundle.sync import RemoteStore
    from cbi_pipeline.registry.artifact_store import ArtifactStore
    from cbi_pipeline.stages.returning import ReturnStore
    from cbi_pipeline.warehouse.base import Warehouse

DEVICE_POOL = "device"
"""Pool of the assets that train: dagster.yaml lets one run at a time into it."""


class DeviceResource(dg.ConfigurableResource):
    """The training device: mps, else cuda, else cpu, unless a setting names one."""

    device: str
    threads: int

    def torch_device(self) -> "torch.device":
        """The device, with PyTorch's CPU threads set; an unavailable explicit choice is an error."""
        import torch

        from cbi_pipeline.modeling.device import choose_device

        torch.set_num_threads(self.threads)
        return choose_device(self.device)


class SettingsResource(dg.ConfigurableResource):
    """The settings that the code location was built with, for assets that need a profile, seed or target."""

    values_json: str

    def load(self) -> Settings:
        """The settings, as they were when the definitions were built."""
        return Settings.model_validate_json(self.values_json)


class BundleStoreResource(dg.ConfigurableResource):
    """Where bundles are found: in a bucket if a setting names one, else on this machine, else the starter bundle."""

    run_settings: SettingsResource

    def find(self, version: str | None = None) -> "LocatedBundle":
        """The verified bundle that this run works on, and why it was chosen; `version` if the run is for that one."""
        from cbi_pipeline import progress
        from cbi_pipeline.bundle.locate import find_bundle, find_local_bundle, find_remote_bundle
        from cbi_pipeline.registry.artifact_store import ArtifactStore
        from cbi_pipeline.stages.judged import JudgedBundles
        from cbi_pipeline.stages.raw import STAGE

        settings = self.run_settings.load()
        verify = JudgedBundles(ArtifactStore(settings.artifacts_dir)).verify

        def report(text: str) -> None:
            progress.report(STAGE, 0, 1, text)

        if settings.bundle_uri:
            return find_remote_bundle(settings, version, report, self.published(), verify)
        if version is not None:
            return find_local_bundle(settings.bundles_dir, version, verify)
        return find_bundle(settings, report, verify)

    def returns(self) -> "ReturnStore":
        """The bucket in which return manifests are kept."""
        from cbi_pipeline.bundle.gcs import GcsBundleStore

        return GcsBundleStore(self.run_settings.load().bundle_uri, client=self._client())

    def published(self) -> "RemoteStore":
        """The store in which new bundles appear."""
        from cbi_pipeline.bundle.gcs import GcsBundleStore
        from cbi_pipeline.bundle.store import LocalBundleStore

        settings = self.run_settings.load()
        if not settings.bundle_uri:
            return LocalBundleStore(settings.bundles_dir)
        return GcsBundleStore(settings.bundle_uri, client=self._client())

    def _client(self) -> "StorageClient | None":
        return None


class ArtifactStoreResource(dg.ConfigurableResource):
    """Content-addressed folder of computed features, scalers, cells and scorecards."""

    root: str

    def open(self) -> "ArtifactStore":
        """The store."""
        from cbi_pipeline.registry.artifact_store import ArtifactStore

        return ArtifactStore(Path(self.root))


class ModelRegistryResource(dg.ConfigurableResource):
    """The folder of complete models and the champion alias."""

    models_dir: str

    @property
    def path(self) -> Path:
        """`models/` as a path."""
        return Path(self.models_dir)


class WarehouseResource(dg.ConfigurableResource):
    """The warehouse that forecasts and metrics are published to."""

    run_settings: SettingsResource
    _warehouse: "Warehouse | None" = PrivateAttr(default=None)
    _run_id: str | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Remember the run, so that a step repeated after a crash finds what it has begun; keep a Mac awake for it."""
        keep_awake()
        self._run_id = context.run.run_id if context.run else None

    def open(self) -> "Warehouse":
        """The warehouse that the settings name, its tables and views put in place by the first step of a run."""
        from cbi_pipeline.warehouse import named_warehouse

        if self._warehouse is None:
            warehouse = named_warehouse(self.run_settings.load(), client=self._client(), writer=self._run_id)
            warehouse.migrate()
            self._warehouse = warehouse
        return self._warehouse

    def _client(self) -> "Client | None":
        return None


def build_resources(settings: Settings) -> dict[str, object]:
    """All resources of the project for the given settings."""
    from cbi_pipeline.orchestration.io import ReferenceIOManager

    run_settings = SettingsResource(values_json=settings.model_dump_json())
    if settings.warehouse == "bigquery" or settings.bundle_uri:
        from cbi_pipeline.orchestration.gcp import gcp_resources

        of_google = gcp_resources(settings, run_settings)
    else:
        of_google = {}
    return {
        "io_manager": ReferenceIOManager(root=str(settings.dagster_dir / "references")),
        "device": DeviceResource(device=settings.device, threads=settings.threads),
        "run_settings": run_settings,
        "bundle_store": BundleStoreResource(run_settings=run_settings),
        "artifact_store": ArtifactStoreResource(root=str(settings.artifacts_dir)),
        "model_registry": ModelRegistryResource(models_dir=str(settings.models_dir)),
        "warehouse": WarehouseResource(run_settings=run_settings),
        **of_google,
    }
