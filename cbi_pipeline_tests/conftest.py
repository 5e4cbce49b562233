"""Fixtures: the starter bundle of the repository, and provider files where this machine has them."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from cbi_pipeline_tests import projects
from cbi_pipeline_tests.command_line import cbi as cbi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

    from cbi_pipeline.settings import Settings
    from cbi_pipeline_tests.bigquery_server import TokenServer

REPOSITORY = Path(__file__).resolve().parent.parent

# The user's own CBI_ variables must not decide what a test sees; only the folder of provider files is remembered.
OWN_VARIABLES = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("CBI_")}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker ends with a long one while the other has nothing to do."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for a project whose code server listens: a socket's path is short, and pytest's folders are not."""
    with TemporaryDirectory() as folder:
        yield Path(folder).resolve()


@pytest.fixture(scope="session")
def provider_dir() -> Path:
    """Folder of provider files; tests of their formats skip where there is none."""
    candidates = [Path(OWN_VARIABLES["CBI_DATA_DIR"])] if "CBI_DATA_DIR" in OWN_VARIABLES else []
    candidates += [REPOSITORY / "data" / "market", REPOSITORY.parent / "shared" / "data"]
    for folder in candidates:
        if (folder / "databento").is_dir():
            return folder.resolve()
    pytest.skip("no provider files: put them under data/market, one folder a provider, or set CBI_DATA_DIR")


@pytest.fixture(scope="session")
def starter_dir() -> Path:
    """The starter bundle of the repository."""
    return REPOSITORY / "data" / "starter"


@pytest.fixture(scope="session")
def _starter_tables(starter_dir: Path) -> dict[str, pd.DataFrame]:
    from cbi_pipeline.bundle.read import load_tables

    return load_tables(starter_dir)


@pytest.fixture
def starter_tables(_starter_tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The raw tables of the starter bundle; copies, so that a test may change them."""
    return {name: table.copy() for name, table in _starter_tables.items()}


@pytest.fixture(scope="session")
def starter_features(_starter_tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The features of the starter bundle. Shared: a test that changes them works on a copy."""
    from cbi_pipeline.features.build import build_features

    return build_features(_starter_tables)


@pytest.fixture(scope="session")
def anchor_record(_starter_tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Out-of-fold forecasts of the anchor in twelve test years, outcomes known. Shared: never change it.

    They are those of every network that has earned no weight. `OUT_OF_FOLD_COLUMNS`, oldest first.
    """
    import pandas as pd

    from cbi_pipeline.evaluation.benchmarks import fold_anchor, forecast_frame, prepare_market, scored_dates
    from cbi_pipeline.modeling.anchor import anchor_log_return
    from cbi_pipeline.profiles import get_profile
    from cbi_pipeline.stages.folds import cut_folds

    market = prepare_market(_starter_tables)
    frames = []
    for fold in cut_folds(market.front.index, get_profile("full"))[0]:
        inputs = market.inputs.loc[scored_dates(market, fold)]
        returns = anchor_log_return(fold_anchor(market, fold), inputs, market.state)
        frames.append(forecast_frame(market, "anchor", fold.name, returns))
    found = pd.concat(frames, ignore_index=True)
    return found[found["realised_price"].notna()]


@pytest.fixture
def new_settings(tmp_path: Path) -> Settings:
    """Settings of an empty project folder on the starter bundle, smoke profile."""
    return projects.new_project(tmp_path)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> projects.FinishedRun:
    """One retrain of the smoke profile on the starter bundle. Shared: a test that changes anything takes a copy."""

    def make(folder: Path) -> projects.FinishedRun:
        settings = projects.new_project(folder / "project")
        outcome, events = projects.run_job(settings)
        return projects.FinishedRun(settings, outcome, events, projects.stored(settings))

    return projects.made_once(tmp_path_factory, "finished", make)


@pytest.fixture
def copied_settings(finished_run: projects.FinishedRun, tmp_path: Path) -> Settings:
    """Settings of a copy of the finished project, which the test may damage."""
    return projects.copy_project(finished_run.settings, tmp_path / "copy")


@pytest.fixture(scope="session")
def _gcs_url() -> Iterator[str]:
    from cbi_pipeline_tests.gcs_server import gcs_server

    with gcs_server() as url:
        yield url


@pytest.fixture(scope="session")
def bigquery_url(tmp_path_factory: pytest.TempPathFactory, _gcs_url: str) -> Iterator[str]:
    """A BigQuery server of this test session; skips where it is not installed."""
    from cbi_pipeline_tests.bigquery_server import bigquery_server

    with bigquery_server(tmp_path_factory.mktemp("bigquery"), _gcs_url) as url:
        yield url


@pytest.fixture(scope="session")
def token_server() -> Iterator[TokenServer]:
    """Where the test session's service account signs in."""
    from cbi_pipeline_tests.bigquery_server import token_server

    with token_server() as server:
        yield server


@pytest.fixture(scope="session")
def service_account_key(tmp_path_factory: pytest.TempPathFactory, token_server: TokenServer) -> Path:
    """Key file of a service account made for this test session."""
    from cbi_pipeline_tests.bigquery_server import write_key

    path = tmp_path_factory.mktemp("key") / "key.json"
    write_key(path, token_server.url)
    return path


@pytest.fixture(scope="session")
def gcp_variables(bigquery_url: str, service_account_key: Path) -> dict[str, str]:
    """The environment of a machine that is signed in: the clients of Google find key and servers by themselves."""
    return {
        "BIGQUERY_EMULATOR_HOST": bigquery_url,
        "GOOGLE_APPLICATION_CREDENTIALS": str(service_account_key),
        "GOOGLE_CLOUD_PROJECT": "cbi-test",
    }


@pytest.fixture(scope="module")
def own_datasets(gcp_variables: dict[str, str]) -> Iterator[None]:
    """Removes the datasets of a module when it ends, but those of `cbi`, which all modules share.

    Each statement takes this server longer the more tables it holds.
    """
    yield
    from google.cloud import bigquery

    with pytest.MonkeyPatch.context() as environment:
        for name, value in gcp_variables.items():
            environment.setenv(name, value)
        with bigquery.Client() as client:
            for dataset in client.list_datasets():
                if dataset.dataset_id not in ("cbi", "cbi_views", "cbi_staging"):
                    client.delete_dataset(dataset.reference, delete_contents=True)


@pytest.fixture
def gcp_environment(monkeypatch: pytest.MonkeyPatch, gcp_variables: dict[str, str], own_datasets: None) -> None:
    """`gcp_variables` for the length of a test."""
    for name, value in gcp_variables.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def new_bucket(_gcs_url: str) -> Callable[[], str]:
    """Make an empty bucket on a server of this test session; its name."""
    from google.cloud import storage

    def make() -> str:
        return storage.Client(project="test").create_bucket(f"bundles-{uuid4().hex[:12]}").name

    return make


@pytest.fixture
def bundle_uri(new_bucket: Callable[[], str]) -> str:
    """`gs://` address of an empty bucket's folder."""
    return f"gs://{new_bucket()}/cbi"
