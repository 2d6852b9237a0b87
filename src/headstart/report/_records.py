"""A run folder, read for the report. What is missing is None; what is damaged is None and said so."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headstart import _io
from headstart.errors import HeadstartError, RunError
from headstart.evidence import Evidence, Forgetting, Interval, Ranking, Trial, Verdict
from headstart.features import Profile

FORMAT = 1
_STAGES = ("ranking", "profile", "choice", "evidence", "verdict", "mistakes", "forgetting", "plan")
_METRICS = {
    "r2": "R²",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "span_f1": "span F1",
    "macro_span_f1": "macro span F1",
}
ODD = (
    HeadstartError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
)  # what a record of another shape raises


@dataclass(frozen=True, eq=False)
class Records:
    """Everything that the report tells, in the words of the run."""

    name: str
    folder: str  # its base name: what commands are shown with
    run: Mapping[str, Any] = field(default_factory=dict)
    ranking: Ranking | None = None
    profile: Profile | None = None
    trials: tuple[Trial, ...] = ()
    choice: Mapping[str, Any] = field(default_factory=dict)
    evidence: Evidence | None = None
    verdict: Verdict | None = None
    mistakes: tuple[Mapping[str, Any], ...] = ()
    forgetting: tuple[Forgetting, ...] = ()
    events: tuple[Mapping[str, Any], ...] = ()
    planned: Mapping[str, Any] = field(default_factory=dict)
    predictor: bool = False
    troubles: tuple[str, ...] = ()

    @property
    def problem(self) -> Mapping[str, Any]:
        return _mapping(self.run.get("problem"))

    @property
    def counts(self) -> Mapping[str, Any]:
        return _mapping(self.problem.get("counts"))

    @property
    def plan(self) -> Mapping[str, Any]:
        return _mapping(self.run.get("plan")) or self.planned

    @property
    def task(self) -> str:
        return str(_mapping(self.problem.get("task")).get("task") or "")

    @property
    def metric(self) -> str:
        """The name of the score, as people write it."""
        kept = self.evidence.task.metric if self.evidence is not None else _mapping(self.problem.get("task")).get("metric")
        return _METRICS.get(str(kept), str(kept or "score").replace("_", " "))

    @property
    def plural(self) -> str:
        return str(self.problem.get("plural") or (self.evidence.unit if self.evidence else "") or "items")

    @property
    def worth(self) -> str:
        return str((self.verdict.worth if self.verdict else self.choice.get("worth")) or "base")

    @property
    def challenger(self) -> str | None:
        return self.verdict.challenger if self.verdict else self.choice.get("challenger")

    @property
    def incumbent(self) -> str | None:
        return self.verdict.incumbent if self.verdict else self.choice.get("incumbent")

    @property
    def shipped(self) -> str | None:
        """The recipe that ships, by name."""
        ships = self.verdict.ships if self.verdict else None
        return {"challenger": self.challenger, "incumbent": self.incumbent}.get(ships or "", ships)

    @property
    def finalists(self) -> tuple[str, ...]:
        return tuple(name for name in (self.challenger, self.incumbent) if name)

    def side(self, recipe: str | None, uses: Any = ()) -> str:
        """``with`` or ``without`` the ingredient in question: how a recipe is drawn."""
        if recipe and recipe in self.finalists:
            return "with" if recipe == self.challenger else "without"
        return "with" if self.worth in uses else "without"

    def exam_score(self, recipe: str) -> Interval | None:
        return _by_side(self.verdict.scores if self.verdict else {}, recipe, self.challenger, self.incumbent)

    def inner_score(self, recipe: str) -> float | None:
        return _by_side(_mapping(self.choice.get("inner_scores")), recipe, self.challenger, self.incumbent)


def read(folder: Path) -> Records:
    """The records in ``folder``. ``RunError`` if it is no run folder, or one of a newer format."""
    if not folder.is_dir():
        raise RunError(f"There is no folder {folder}. Give the folder that `headstart transfer` wrote (its --out).")
    reader = _Reader(folder)
    run = _mapping(reader.json(folder / "run.json"))
    if isinstance(run.get("format"), int) and run["format"] > FORMAT:
        raise RunError(
            f"{folder} was written in format {run['format']}; this version reads up to {FORMAT}. Upgrade headstart."
        )
    files = {stage: _file_of(run, stage) for stage in _STAGES}
    known = [folder / "run.json", folder / "trials", folder / "events.jsonl", *(folder / name for name in files.values())]
    if not any(path.exists() for path in known):
        raise RunError(f"{folder} holds no records of a run. Give the folder that `headstart transfer` wrote (its --out).")

    def record(stage: str, make: Callable[[Any], Any]) -> Any:
        return reader.made(files[stage], make, reader.json(folder / files[stage]))

    evidence_there = (folder / files["evidence"]).exists()
    return Records(
        name=str(run.get("name") or folder.resolve().name),
        folder=folder.resolve().name,
        run=run,
        ranking=record("ranking", Ranking.from_dict),
        profile=record("profile", Profile.from_dict),
        trials=tuple(_trials(folder, run, reader)),
        choice=_mapping(record("choice", dict)),
        planned=_mapping(record("plan", dict)),
        evidence=reader.made(files["evidence"], lambda stem: Evidence.load(folder, stem), Path(files["evidence"]).stem)
        if evidence_there
        else None,
        verdict=record("verdict", Verdict.from_dict),
        mistakes=tuple(one for one in (record("mistakes", dict) or {}).get("items", ()) if isinstance(one, dict)),
        forgetting=record("forgetting", lambda found: tuple(Forgetting(**one) for one in found["items"])) or (),
        events=tuple(_events(folder / "events.jsonl")),
        predictor=(folder / "predictor" / "predictor.json").exists(),
        troubles=tuple(reader.troubles),
    )


class _Reader:
    """Reads records and remembers which could not be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.troubles: list[str] = []

    def json(self, path: Path) -> Any:
        if not path.exists():
            return None
        try:
            found = _io.read_json(path)
        except RunError:
            self.troubles.append(f"{path.relative_to(self.folder)} is damaged and was left out.")
            return None
        # A run writes the hash of a record's inputs beside its fields.
        return {key: value for key, value in found.items() if key != "inputs"} if isinstance(found, dict) else found

    def made(self, name: str, make: Callable[[Any], Any], found: Any) -> Any:
        if found is None:
            return None
        try:
            return make(found)
        except ODD as error:
            self.troubles.append(f"{name} could not be read ({type(error).__name__}) and was left out.")
            return None


def _trials(folder: Path, run: Mapping[str, Any], reader: _Reader) -> list[Trial]:
    """The trials that the run names as its own; all that lie there when it names none."""
    own = {Path(str(path)).name for name, path in _mapping(run.get("records")).items() if name.startswith("trials/")}
    paths = [path for path in sorted((folder / "trials").glob("*.json")) if not own or path.name in own]
    found = [reader.made(f"trials/{path.name}", Trial.from_dict, reader.json(path)) for path in paths]
    return [trial for trial in found if trial is not None]


def _events(path: Path) -> list[dict[str, Any]]:
    """One event a line; a line that a kill left half-written is skipped."""
    found = []
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "kind" in event:
            found.append(event)
    return found


def _file_of(run: Mapping[str, Any], stage: str) -> str:
    """The current file of a stage. Only its last part is used: a record never names a place outside the run."""
    named = _mapping(run.get("records")).get(stage)
    return Path(named).name if isinstance(named, str) and Path(named).name else f"{stage}.json"


def _by_side(found: Mapping[str, Any], recipe: str, challenger: str | None, incumbent: str | None) -> Any:
    side = "challenger" if recipe == challenger else "incumbent" if recipe == incumbent else ""
    return found.get(recipe, found.get(side))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
