"""The aliases under `models/`: which stored model serves, which served before it, which was refitted last.

`champion.json` holds champion and previous together, so that both move in one step, the versions that a person rolled
back from, and every change that the warehouse has not recorded yet; `candidate.json` is the last refit. Who may be
promoted is decided by `evaluation/gates.py`; here an alias moves whole, to a model that verifies, or not.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from cbi_pipeline.atomic import remove_directory, replace_file
from cbi_pipeline.contracts.verdict import Admission
from cbi_pipeline.errors import ModelError
from cbi_pipeline.registry.artifacts import LoadedModel, checked_name, load_model, model_names

CHAMPION_FILE: Final = "champion.json"
CANDIDATE_FILE: Final = "candidate.json"
_LOCK_FILE: Final = ".aliases.lock"

T = TypeVar("T", bound="Alias")


class Alias(BaseModel):
    """A model, and the manifest that was signed off."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_version: str
    manifest_sha256: str


class Served(Alias):
    """A model that serves or served, and the evaluation it came from.

    Attributes:
        scorecard_id, entry: the evaluation, and the entry of its leaderboard that the model is a refit of; they name
            its out-of-fold forecasts in the warehouse.
        admission: by the gates, without their judgement, or over them (`contracts.verdict.Admission`).
    """

    scorecard_id: str
    entry: str
    admission: Admission


class Promotion(Served):
    """How a model came to serve.

    Attributes:
        promoted_at, promoted_by, reason: when, who and why.
        judged_against: what served before the first model of this scorecard: whatever the gates compare the scorecard
            with, however many refits of it came since. None if nothing did.
    """

    promoted_at: datetime
    promoted_by: str
    reason: str
    judged_against: Served | None


class Change(Served):
    """One change of the champion, as the warehouse records it.

    Attributes:
        action: a promotion, or a person's way back.
        promoted_at, promoted_by, reason: when, who and why.
        replaced: version of the champion before; None for the first.
    """

    action: Literal["promote", "rollback"]
    promoted_at: datetime
    promoted_by: str
    reason: str
    replaced: str | None


class RolledBack(BaseModel):
    """A version that a person took out of service: no run brings it back, only a person does."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_version: str
    at: datetime
    by: str
    reason: str


class Champion(Promotion):
    """`champion.json`: which model serves, and which one served before it.

    Attributes:
        previous: the champion before this one.
        rolled_back: versions that a person rolled back from and nobody promoted since.
        unpublished: changes that are not in the warehouse yet, oldest first (`published` drops them).
    """

    previous: Promotion | None
    rolled_back: tuple[RolledBack, ...] = ()
    unpublished: tuple[Change, ...] = ()

    def why_rolled_back(self, version: str) -> str | None:
        """Who took a version out of service, when and why; None if nobody did."""
        for entry in self.rolled_back:
            if entry.model_version == version:
                return f"rolled back by {entry.by} on {entry.at:%Y-%m-%d %H:%M} UTC: {entry.reason}"
        return None


def set_champion(
    models_dir: Path,
    name: str,
    *,
    admission: Admission,
    by: str,
    reason: str,
    replacing: str | None,
    by_hand: bool = False,
    promoted_at: datetime | None = None,
) -> Champion:
    """Make a saved model the champion, after verifying it; champion and previous are replaced in one step.

    An alias that names this very model already is left as it is, with the time of its promotion; only another
    admission (`judged`, `override`) is recorded. A version that a person rolled back from is promoted by hand alone:
    otherwise the present champion stays, and is returned.

    Args:
        models_dir: folder of the models.
        name: version of the model.
        admission, by, reason: how, by whom and why it is promoted.
        replacing: version of the champion at the moment the gates let it; None if there was none.
        by_hand: whether a person asks, which lifts an earlier rollback of the version.
        promoted_at: time of the promotion, now if not given.

    Raises:
        ModelError: the model is absent or does not verify, or another model became champion since the gates judged
            this one; the earlier champion stays.
    """
    with only_writer(models_dir):
        model = load_model(models_dir / checked_name(name))
        current = replaceable_champion(models_dir)
        here = current.model_version if current else None
        if here not in (replacing, name):
            raise ModelError(
                name,
                f"The gates let it replace {replacing}, but {here} has become champion since.",
                "materialise scorecard and champion again, or run `cbi run`.",
            )
        if current is not None and not by_hand and current.why_rolled_back(name):
            return current
        same = current is not None and current.manifest_sha256 == model.manifest_sha256
        if current is not None and same and here == name and admission in (current.admission, "unjudged"):
            return current
        scorecard_id = model.metrics["scorecard_id"]
        again = current is not None and current.scorecard_id == scorecard_id
        promotion = Promotion(
            model_version=name,
            manifest_sha256=model.manifest_sha256,
            scorecard_id=scorecard_id,
            entry=model.metrics["entry"],
            admission=admission,
            promoted_at=promoted_at or datetime.now(UTC),
            promoted_by=by,
            reason=reason,
            judged_against=(current.judged_against if again else _as(Served, current)) if current else None,
        )
        previous = None if current is None else _as(Promotion, current) if here != name else current.previous
        return _replace(models_dir, promotion, "promote", previous, current)


def roll_back(models_dir: Path, *, by: str, reason: str, promoted_at: datetime | None = None) -> Champion:
    """Make the previous champion the champion again, as it was admitted then; the two change places in one step.

    The version that is left is remembered: no run promotes it again, `cbi models promote` does.

    Raises:
        ModelError: there is no previous champion, or it does not verify.
    """
    with only_writer(models_dir):
        current = read_champion(models_dir)
        if current is None or current.previous is None:
            raise ModelError(
                str(models_dir / CHAMPION_FILE), "No earlier champion is known.", "name one: `cbi models promote`."
            )
        earlier = current.previous
        load_model(models_dir / checked_name(earlier.model_version), manifest_sha256=earlier.manifest_sha256)
        now = promoted_at or datetime.now(UTC)
        left = RolledBack(model_version=current.model_version, at=now, by=by, reason=reason)
        back = earlier.model_copy(update={"promoted_at": now, "promoted_by": by, "reason": reason})
        return _replace(models_dir, back, "rollback", _as(Promotion, current), current, left)


def mark_published(models_dir: Path, changes: Sequence[Change]) -> None:
    """Drop changes that the warehouse has recorded; those that were made meanwhile stay."""
    with only_writer(models_dir):
        current = read_champion(models_dir)
        if current is None or not changes:
            return
        left = tuple(change for change in current.unpublished if change not in changes)
        if left != current.unpublished:
            _write(models_dir, current.model_copy(update={"unpublished": left}))


def set_candidate(models_dir: Path, name: str) -> Alias:
    """Name the model that was refitted last, after verifying it; it need not become champion.

    Raises:
        ModelError: the model is absent or does not verify.
    """
    with only_writer(models_dir):
        model = load_model(models_dir / checked_name(name))
        candidate = Alias(model_version=name, manifest_sha256=model.manifest_sha256)
        replace_file(models_dir / CANDIDATE_FILE, candidate.model_dump_json(indent=2).encode())
        return candidate


def read_champion(models_dir: Path) -> Champion | None:
    """The champion alias; None if no model was promoted yet.

    Raises:
        ModelError: the alias cannot be read, or names no possible model.
    """
    return _read(models_dir / CHAMPION_FILE, Champion)


def read_candidate(models_dir: Path) -> Alias | None:
    """The candidate alias; None if no model was refitted yet. Raises as `read_champion`."""
    return _read(models_dir / CANDIDATE_FILE, Alias)


def replaceable_champion(models_dir: Path) -> Champion | None:
    """The alias as it stands; one that cannot be read is as good as none, since a new one replaces it."""
    try:
        return read_champion(models_dir)
    except ModelError:
        return None


def load_champion(models_dir: Path) -> LoadedModel:
    """The verified champion, with the manifest that was signed off.

    Raises:
        ModelError: there is no champion, or it does not verify.
    """
    return load_serving(models_dir)[0]


def load_serving(models_dir: Path) -> tuple[LoadedModel, Champion]:
    """The verified champion and how it was promoted, from one reading of the alias; raises as `load_champion`."""
    champion = read_champion(models_dir)
    if champion is None:
        raise ModelError(str(models_dir / CHAMPION_FILE), "No model was promoted yet.", "run `cbi run`.")
    return load_model(models_dir / champion.model_version, manifest_sha256=champion.manifest_sha256), champion


def aliases(models_dir: Path) -> dict[str, str]:
    """Version by alias, as far as there are such. Raises as `read_champion`."""
    return {alias: model.model_version for alias, model in aliased_models(models_dir).items()}


def aliased_models(models_dir: Path) -> dict[str, Alias]:
    """Model by alias: champion, previous and candidate, as far as there are such. Raises as `read_champion`."""
    champion, candidate = read_champion(models_dir), read_candidate(models_dir)
    named = {
        "champion": champion,
        "previous": champion.previous if champion else None,
        "candidate": candidate,
    }
    return {alias: model for alias, model in named.items() if model is not None}


def prunable(models_dir: Path, keep: int) -> list[str]:
    """Versions of the stored models beyond the `keep` newest that no alias names, newest first.

    Raises:
        ModelError: an alias cannot be read, so that nobody knows what it protects.
    """
    protected = set(aliases(models_dir).values())
    newest_first = sorted(
        model_names(models_dir), key=lambda name: (models_dir / name).stat().st_mtime_ns, reverse=True
    )
    return [name for name in newest_first[keep:] if name not in protected]


def prune(models_dir: Path, keep: int) -> list[str]:
    """Remove the `prunable` models; their versions. Raises as `prunable`; nothing is removed then."""
    with only_writer(models_dir):
        removed = prunable(models_dir, keep)
        for name in removed:
            remove_directory(models_dir / name)
        return removed


@contextmanager
def only_writer(models_dir: Path) -> Iterator[None]:
    """One process or thread at a time changes aliases; the system frees the lock if its holder dies."""
    models_dir.mkdir(parents=True, exist_ok=True)
    with (models_dir / _LOCK_FILE).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read(path: Path, kind: type[T]) -> T | None:
    if not path.exists():
        return None
    try:
        alias = kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        rule = f"The alias is not valid ({error.errors()[0]['msg']})."
        fix = "restore the file; or move it away, after which nothing serves until `cbi run` or `cbi models promote`."
        raise ModelError(str(path), rule, fix) from error
    checked_name(alias.model_version)
    return alias


def _as(kind: type[T], model: Alias) -> T:
    """The part of a record that another kind of record holds."""
    return kind(**{name: getattr(model, name) for name in kind.model_fields})


def _replace(
    models_dir: Path,
    promotion: Promotion,
    action: Literal["promote", "rollback"],
    previous: Promotion | None,
    current: Champion | None,
    left: RolledBack | None = None,
) -> Champion:
    """Write the alias with the change that it is, in one step."""
    change = Change(
        **promotion.model_dump(exclude={"judged_against"}),
        action=action,
        replaced=current.model_version if current else None,
    )
    kept = [entry for entry in current.rolled_back if entry.model_version != promotion.model_version] if current else []
    champion = Champion(
        **promotion.model_dump(),
        previous=previous,
        rolled_back=(*kept, *((left,) if left else ())),
        unpublished=(*(current.unpublished if current else ()), change),
    )
    _write(models_dir, champion)
    return champion


def _write(models_dir: Path, champion: Champion) -> None:
    replace_file(models_dir / CHAMPION_FILE, champion.model_dump_json(indent=2).encode())
