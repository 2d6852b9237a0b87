"""The run folder: every stage's record, written once, and the predictor that ships."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Any

from headstart import _io, backbones, registry
from headstart._events import Event, emit
from headstart.errors import OutOfBudget, RunError
from headstart.evidence import Choice, Evidence, Forgetting, Ranking, Trial, Verdict
from headstart.features import FeatureStore, Lens, Move, Profile
from headstart.problem import Exam, Problem
from headstart.stages.extract import Extraction
from headstart.stages.mistakes import Mistake
from headstart.strategy import Plan, Predictor

FORMAT = 1
_writing = RLock()  # trials run side by side and share run.json and events.jsonl

# How each stage's record comes back from its JSON. A choice holds recipes, so it is made again: that costs nothing.
READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "plan": lambda found: Plan(**found),
    "ranking": Ranking.from_dict,
    "profile": Profile.from_dict,
    "features": lambda found: Extraction.from_dict(found),
    "trials": Trial.from_dict,
    "mistakes": lambda found: tuple(Mistake(**one) for one in found["items"]),
    "forgetting": lambda found: tuple(Forgetting(**one) for one in found["items"]),
    "verdict": Verdict.from_dict,
}


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder on disk. ``once`` is the whole of resuming: a record whose inputs match is read, not made again."""

    folder: Path
    store: FeatureStore
    deadline: float = float("inf")  # of time.monotonic()

    @classmethod
    def create(
        cls, out: Path | str, problem: Problem, exam: Exam | None = None, *, store: FeatureStore | None = None
    ) -> Run:
        """A run folder at ``out``: a new one, or the one there, to be continued.

        Raises ``RunError`` if the place cannot be written or belongs to a newer Headstart.
        """
        run = cls(Path(out), store or FeatureStore(_io.cache_folder() / "features"))
        if run.folder.is_file():
            raise RunError(f"{run.folder} is a file; a folder is needed. Choose another place with --out.")
        known = run._about() if (run.folder / "run.json").exists() else {}
        if not known and run.folder.exists() and any(run.folder.iterdir()):
            raise RunError(
                f"{run.folder} holds other files and no run; an empty or new folder is needed. Choose another place with --out."
            )
        data = _io.fingerprint(problem)
        other = known.get("data") not in (None, data)
        if other:  # records of the other data stay on disk; the report and the predictor are this call's
            (run.folder / "events.jsonl").unlink(missing_ok=True)
            known = {"created": known.get("created")}
        created = known.get("created") or datetime.now(UTC).isoformat(timespec="seconds")
        kept = {"records": known.get("records", {}), "stages": known.get("stages", {})}
        run.note(format=FORMAT, version=_version(), name=run.folder.name, created=created, **kept)
        run.note(problem=_summary(problem, exam), machine=_machine(), data=data)
        if other:
            message = f"{run.folder.name} was made from other data. Its records stay; verdict, report and predictor are new."
            run.hear(Event("warning", message))
            emit("warning", message)
        for event in problem.train.items.notes:
            run.hear(event)
        return run

    @classmethod
    def open(cls, folder: Path | str, *, store: FeatureStore | None = None) -> Run:
        """The run at ``folder``. ``RunError`` if there is none, or one of a newer format."""
        run = cls(Path(folder), store or FeatureStore(_io.cache_folder() / "features"))
        if not (run.folder / "run.json").exists():
            raise RunError(
                f"{run.folder} is no run folder: it has no run.json. Name the folder that `headstart transfer` wrote."
            )
        run._about()
        return run

    def __repr__(self) -> str:
        return (
            f"Run({str(self.folder)!r}: {self.verdict.sentence if self._current('verdict').exists() else 'no verdict yet'})"
        )

    def _repr_html_(self) -> str:
        import html

        return f"<p><b>{html.escape(repr(self))}</b></p>"

    @property
    def verdict(self) -> Verdict:
        return self._record("verdict")

    @property
    def evidence(self) -> Evidence:
        return Evidence.load(self.folder, self._current("evidence").stem)

    @property
    def ranking(self) -> Ranking:
        return self._record("ranking")

    @property
    def profile(self) -> Profile:
        return self._record("profile")

    @property
    def predictor(self) -> Predictor:
        """What shipped, ready to predict."""
        return load_predictor(self.folder / "predictor", store=self.store)

    def once(self, name: str, verb: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """The record of ``verb(*args, **options)``: read when it is there for the same inputs, else made and written.

        A record made from other inputs is never overwritten: the new one gets a name with the inputs' hash.
        """
        identity = {key: value for key, value in options.items() if key not in ("trials", "store", "run")}
        inputs = _io.fingerprint([_version(), verb.__name__, list(args), identity])
        stem = self._stem(name, args, options)
        path = self._free(stem, inputs)
        if path.exists():
            record = self._read(name, path)
            if record is not None:
                self._recorded(stem, path)
                return record
        if time.monotonic() > self.deadline:
            raise OutOfBudget(
                f"The budget is used up before '{stem}'. What was finished is kept in {self.folder}: the same command continues. "
                "A larger --budget, fewer strategies or fewer backbones would end in one go."
            )
        started = time.perf_counter()
        record = verb(*args, **options)
        self._write(record, path, inputs)
        self._recorded(stem, path, name=name, seconds=time.perf_counter() - started)
        return record

    def ship(self, predictor: Predictor, *, mark: str = "") -> None:
        """Write ``predictor`` as this run's. ``mark`` identifies what it was fitted from."""
        save_predictor(predictor, self.folder / "predictor", mark=mark)

    def shipped(self, mark: str) -> bool:
        """Whether the predictor on disk is the one that ``mark`` identifies."""
        path = self.folder / "predictor" / "predictor.json"
        try:
            about = _io.read_json(path) if path.exists() else {}
            return about.get("inputs") == mark and about.get("weights") == _weights_digest(path.parent)
        except RunError:
            return False

    def hear(self, event: Event) -> None:
        """Keep ``event`` for the report, unless it only tells how far the work is, or was told before."""
        if event.kind == "progress":
            return
        log = self.folder / "events.jsonl"
        with _writing:
            told = log.read_text("utf-8") if log.exists() else ""
            line = json.dumps({"kind": event.kind, "message": event.message}, ensure_ascii=True)[:-1]
            if line not in told:
                _io.write_text(log, told + json.dumps(asdict(event), ensure_ascii=True, default=str) + "\n")

    def spent(self, *, seconds: float, peak_memory: int) -> None:
        """Add what one call spent: a run that was continued cost the sum of its calls."""
        known = self._about()
        peak = max(known.get("peak_memory", 0), peak_memory)
        self.note(seconds=known.get("seconds", 0.0) + seconds, peak_memory=peak)

    def _about(self) -> dict[str, Any]:
        found = _io.read_json(self.folder / "run.json")
        if not isinstance(found, dict) or not isinstance(found.get("format"), int):
            raise RunError(f"{self.folder}/run.json is not one of Headstart's. Choose another folder.")
        if found["format"] > FORMAT:
            raise RunError(
                f"{self.folder} has format {found['format']}, written by Headstart {found.get('version', '?')}; this one reads "
                f"up to {FORMAT}. Upgrade Headstart, or choose another --out."
            )
        return {"records": {}, "stages": {}, **found}

    def note(self, **facts: Any) -> None:
        """Add ``facts`` to run.json; it is only written when something changes."""
        path = self.folder / "run.json"
        with _writing:
            known = _io.read_json(path) if path.exists() else {}
            if any(known.get(key) != _io.plain(value) for key, value in facts.items()):
                _io.write_json(path, {**known, **facts})

    def _recorded(self, stem: str, path: Path, *, name: str = "", seconds: float = 0.0) -> None:
        """Note which file holds ``stem``'s record, and the seconds that stage ``name`` took."""
        with _writing:
            about = self._about()
            stages = {**about["stages"], name: about["stages"].get(name, 0.0) + seconds} if name else about["stages"]
            self.note(records={**about["records"], stem: str(path.relative_to(self.folder))}, stages=stages)

    def _record(self, name: str) -> Any:
        return READERS[name](_bare(self._current(name)))

    def _current(self, name: str) -> Path:
        return self.folder / self._about()["records"].get(name, f"{name}.json")

    def _stem(self, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> str:
        if name != "trials":
            return name
        recipe = args[1]
        return f"trials/{recipe.strategy.name}-{recipe.hash}-{options.get('seed', 0)}"

    def _free(self, stem: str, inputs: str) -> Path:
        path = self.folder / f"{stem}.json"
        if not path.exists():
            return path
        try:
            same = _io.read_json(path).get("inputs") == inputs
        except (RunError, AttributeError):
            path.unlink()  # a damaged record says nothing; it is made again in its place
            return path
        return path if same else self.folder / f"{stem}-{inputs[:8]}.json"

    def _read(self, name: str, path: Path) -> Any:
        try:
            if name == "evidence":
                return Evidence.load(self.folder, path.stem)
            if name not in READERS:
                return None
            return READERS[name](_bare(path))
        except (RunError, TypeError, KeyError) as error:
            emit("warning", f"{path.name} cannot be read ({error}); it is made again.")
            return None

    def _write(self, record: Any, path: Path, inputs: str) -> None:
        if isinstance(record, Evidence):
            record.save(path.parent, path.stem)
            record = _io.read_json(path)
        elif isinstance(record, (Trial, Choice)):
            record = record.to_dict()
        elif isinstance(record, tuple):
            record = {"items": record}
        _io.write_json(path, {**_io.plain(record), "inputs": inputs})


def _bare(path: Path) -> dict[str, Any]:
    """The JSON of a record without the hash of its inputs."""
    return {key: value for key, value in _io.read_json(path).items() if key != "inputs"}


def save_predictor(predictor: Predictor, folder: Path, *, mark: str = "") -> None:
    """Write ``predictor.json`` and ``weights.safetensors``. The weights come first: the JSON is the commit."""
    state, arrays = predictor.state()
    _io.write_arrays(folder / "weights.safetensors", arrays)
    record = {"format": FORMAT, **state, "inputs": mark, "weights": _weights_digest(folder)}
    _io.write_json(folder / "predictor.json", record)


def load_predictor(folder: Path, *, store: FeatureStore | None = None) -> Predictor:
    """The predictor that ``save_predictor`` wrote. Its backbones are found by name and must have the same fingerprint."""
    if not (folder / "predictor.json").exists():
        raise RunError(f"There is no predictor in {folder.parent}: the run did not finish. Run `headstart transfer` again.")
    state = _io.read_json(folder / "predictor.json")
    if state.get("format", 0) > FORMAT:
        raise RunError(f"The predictor in {folder} has a newer format ({state['format']}). Upgrade Headstart.")
    if state.get("weights") != _weights_digest(folder):
        raise RunError(
            f"The weights in {folder} are missing or damaged. Run the same `headstart transfer` again: it makes them anew."
        )
    lens = lens_from_spec(state["lens"], store=store)
    return Predictor.restore(state, _io.read_arrays(folder / "weights.safetensors"), lens)


def _weights_digest(folder: Path) -> str:
    file = folder / "weights.safetensors"
    return _io.digest(file.read_bytes()) if file.exists() else ""


def lens_from_spec(spec: dict[str, Any], *, store: FeatureStore | None = None) -> Lens:
    """The lens that ``Lens.spec`` recorded. ``RunError`` if a backbone here is not the one that it read."""
    reads = []
    for name, fingerprint, tap in spec["reads"]:
        backbone = backbones.find(name)
        if backbone.fingerprint != fingerprint:
            raise RunError(
                f"'{name}' here is not the model that this was made with (fingerprint {backbone.fingerprint[:12]}, needed "
                f"{fingerprint[:12]}). Install the weights it names, or run the transfer again."
            )
        reads.append((backbone, tap))
    moves = tuple(Move(*one) for one in spec.get("plan", ()))
    return Lens(tuple(reads), spec["cut"], store or FeatureStore(), moves)


def free_folder(name: str, root: Path | str = "runs") -> Path:
    """A place for a run on data called ``name``: the same name, tamed, under ``root``."""
    tame = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "run"
    return Path(root) / tame[:60]


def _summary(problem: Problem, exam: Exam | None) -> dict[str, Any]:
    counts = {**{name: len(part) for name, part in problem.parts().items()}, "exam": len(exam) if exam else 0}
    kind = registry.get("inputs", problem.kind)()
    classes: dict[str, int] = {}
    if problem.train.labelled and problem.task.link != "identity":
        totals = problem.task.columns(problem.train.targets).sum(axis=0)
        classes = {name: int(total) for name, total in zip(problem.task.labels, totals, strict=True)}
    task = {key: value for key, value in problem.task.spec().items() if key != "classes"}
    about = {"task": task, "kind": problem.kind, "plural": kind.plural, "setting": problem.setting}
    return {**about, "counts": counts, "classes": classes, "has": sorted(problem.has)}


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def _version() -> str:
    from headstart import __version__

    return __version__
