"""The steps that stories are made of: a bundle comes, an evening passes, the machine sleeps, the power fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus  # public only under this path

from cbi_pipeline.alerts import open_box
from cbi_pipeline.orchestration.jobs import DATASET_VERSION_TAG, SESSION_TAG
from cbi_pipeline.settings import WEBHOOK_KEY, Settings
from cbi_pipeline_tests.month.clock import Clock
from cbi_pipeline_tests.month.cloud import Cloud, Stopped
from cbi_pipeline_tests.month.machine import Machine
from cbi_pipeline_tests.projects import REPOSITORY, new_project
from cbi_pipeline_tests.webhook_server import WebhookServer, webhook

CHICAGO = ZoneInfo("America/Chicago")
SCHEDULE, BUNDLES = "daily_inference", "new_manifest"
RAW, FOLDS = "raw_futures_daily", "fitted_scaler"
"""Assets after which the power fails: at the beginning of a forecast, and when the networks are trained."""
_ALERTING = ("run_failures", "holds", "alerts")
_TICK, _SHORTLY_BEFORE = "22:00", "21:59:40"
_ENDED = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]


@dataclass(frozen=True)
class Happening:
    """What happened at a moment of the simulated time."""

    at: datetime
    what: str


class Month:
    """A machine, what is exported for it, and where its alerts go, from a moment on."""

    def __init__(self, machine: Machine, cloud: Cloud, server: WebhookServer) -> None:
        self.machine, self.server = machine, server
        self._cloud = cloud
        self.told: list[Happening] = []

    def on(self, day: str, hour: str) -> None:
        """The clock moves on to a time of day in Chicago, if that has not passed yet."""
        self.machine.clock.set(max(moment(day, hour), self.machine.clock.now()))

    def turn(self, state: Literal["start", "stop"], kind: Literal["schedule", "sensor"], name: str) -> None:
        """Someone turns a schedule or a sensor on or off."""
        words = "dagster", kind, state, name
        self._tell(f"`{' '.join(words)}`")
        self.machine.command(*words, "--workspace", str(REPOSITORY / "workspace.yaml"))

    def bundle(self, day: str, hour: str = "21:30", *, now: bool = False, **how: Any) -> str:
        """A bundle of what is known then arrives; its dataset_version.

        Args:
            now: the clock moves on to that moment; else it arrives while the machine is not looking.
            how: see `Cloud.prepare`.
        """
        at = moment(day, hour)
        prepared = self._cloud.prepare(at, **how)
        if now:
            self.on(day, hour)
        version = self._cloud.publish(prepared)
        note = " (damaged)" if how.get("damaged") else ""
        stopped: Stopped | None = how.get("stopped")
        note += f" (without `{stopped.table}` since {stopped.since})" if stopped else ""
        self.told.append(Happening(at, f"bundle `{version}` arrives{note}"))
        return version

    def trained(self, version: str) -> None:
        """The sensor asks for a run of a bundle, which ends."""
        self._run_of(DATASET_VERSION_TAG, version)
        self.settle()

    def day(self, day: str, **how: Any) -> None:
        """A bundle arrives; then the tick of the schedule, and the end of what it asked for."""
        self.bundle(day, **how)
        self._to_tick(day)
        self.settle()

    def day_with_training(self, day: str, **how: Any) -> None:
        """A bundle arrives, and the sensor sees it; the evening as ever."""
        self.trained(self.bundle(day, now=True, **how))
        self._to_tick(day)
        self.settle()

    def reboot_in_mid_run(self, day: str, back_at: str) -> None:
        """The power fails while the run of a session is at work; later the machine boots."""
        self._to_tick(day)
        self._reboot_in(self._run_of(SESSION_TAG, day), RAW, day, back_at)

    def reboot_in_mid_training(self, day: str, back_at: str) -> None:
        """The power fails while networks are trained; the machine boots after the tick of the schedule was due."""
        run = self._run_of(DATASET_VERSION_TAG, self.bundle(day, now=True))
        self._reboot_in(run, FOLDS, day, back_at)
        self._tick_of(day)
        self.settle()

    def _reboot_in(self, run: dg.DagsterRun, made: str, day: str, back_at: str) -> None:
        self._wait(lambda: self._has_made(run, made), f"the run to have made {made}")
        self.power_off()
        self.on(day, back_at)
        self.boot()
        again = dg.RunsFilter(tags={"dagster/parent_run_id": run.run_id})
        self._wait(lambda: self.machine.instance.get_runs(again), "the run to be tried again")
        self.settle()

    def power_off(self) -> None:
        """The power fails."""
        self._tell("the power fails")
        self.machine.power_off()

    def boot(self) -> None:
        """The machine starts, and with it the service."""
        self._tell("the machine boots")
        self.machine.boot()

    def asleep(self, day: str, hour: str, until: tuple[str, str], tick: str) -> None:
        """The machine sleeps over evenings; awake again, it makes up for the tick of the last of them."""
        self.on(day, hour)
        self._tell("the machine falls asleep")
        self.machine.fall_asleep()
        self.machine.wake_up(moment(*until))
        self._tell("the machine wakes up")
        self._tick_of(tick)
        self.settle()

    def alerts(self, number: int) -> None:
        """So many alerts have come since the beginning."""
        self._wait(lambda: len(self.server.texts) >= number, f"alert {number}")

    def settle(self) -> None:
        """No run waits or is at work any more."""
        self._wait(lambda: not self.machine.at_work(), "the runs to end")

    def looked(self) -> None:
        """The sensors of alerts have looked after this moment."""
        since = self.machine.clock.now()
        for name in _ALERTING:
            self._wait(lambda name=name: self._ticks(name, since), f"the sensor {name} to look")

    def ticks(self) -> list[InstigatorTick]:
        """Every tick of the schedule that ended, oldest first."""
        return sorted(self._ticks(SCHEDULE), key=lambda tick: tick.timestamp)

    def _to_tick(self, day: str) -> None:
        self.on(day, _SHORTLY_BEFORE)
        self._tick_of(day)

    def _tick_of(self, day: str) -> None:
        due = moment(day, _TICK)
        self._wait(lambda: self._ticks(SCHEDULE, due), f"the tick of {due}")

    def _ticks(self, name: str, since: datetime | None = None) -> list[InstigatorTick]:
        instance = self.machine.instance
        return [
            tick
            for state in instance.all_instigator_state()
            if state.instigator_name == name
            for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, statuses=_ENDED)
            if since is None or tick.timestamp >= since.timestamp()
        ]

    def _run_of(self, tag: str, value: str) -> dg.DagsterRun:
        asked = dg.RunsFilter(tags={tag: value})
        self._wait(lambda: self.machine.instance.get_runs(asked), f"a run of {value}")
        return self.machine.instance.get_runs(asked)[0]

    def _has_made(self, run: dg.DagsterRun, asset: str) -> bool:
        made = self.machine.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        return dg.AssetKey(asset) in [entry.get_dagster_event().asset_key for entry in made]

    def _wait(self, happened: Callable[[], object], what: str) -> None:
        self.machine.wait_for(happened, what)

    def _tell(self, what: str) -> None:
        self.told.append(Happening(self.machine.clock.now(), what))

    def happened(self) -> list[Happening]:
        """Everything, in the order of the simulated time: steps, ticks, runs, alerts."""
        found = list(self.told)
        for tick in self.ticks():
            said = tick.skip_reason or f"asks for {len(tick.run_ids)} run"
            due = datetime.fromtimestamp(tick.timestamp, CHICAGO)
            ended = datetime.fromtimestamp(tick.end_timestamp or tick.timestamp, UTC)
            found.append(Happening(ended, f"tick of `{SCHEDULE}` for {due:%a %d %H:%M}: {said}"))
        for record in self.machine.runs():
            run = record.dagster_run
            began, ended = record.start_time or record.create_timestamp.timestamp(), record.end_time
            text = f"run of `{run.job_name}` for {purpose(run)}: {run.status.value}"
            text += f", {ended - began:.0f} s" if ended else ""
            found.append(Happening(datetime.fromtimestamp(began, UTC), text))
        for posted in open_box(self.machine.settings).read().values():
            found.append(Happening(posted.at, f"alert: {posted.alert.title.removeprefix('CBI: ')}"))
        return sorted(found, key=lambda one: one.at)


def purpose(run: dg.DagsterRun) -> str:
    """The session or the bundle that a run is for."""
    return run.tags.get(SESSION_TAG) or run.tags[DATASET_VERSION_TAG]


def moment(day: str, hour: str) -> datetime:
    """A time of day in Chicago."""
    return datetime.combine(date.fromisoformat(day), time.fromisoformat(hour), CHICAGO)


@contextmanager
def month(folder: Path, start: datetime, **values: Any) -> Iterator[Month]:
    """A month in a folder, its machine booted.

    Args:
        start: what the clock shows.
        values: of the settings.
    """
    settings: Settings = new_project(folder / "project", **values)
    own = {f"CBI_{name.upper()}": str(value) for name, value in values.items()}
    with webhook(200) as server:
        machine = Machine(settings, Clock(folder / "clock", start), {**own, WEBHOOK_KEY: server.url})
        try:
            yield Month(machine, Cloud(settings.bundles_dir), server)
        finally:
            machine.shut_down()
