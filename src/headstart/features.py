"""Cached features: what a backbone says about items, computed once. Features, FeatureStore, Lens, Profile.

A shard is two files: ``ID.npy`` with the rows and ``ID.json``, its commit record, written last. There is no shared index:
readers take the union of the records they find. A shard that is torn or damaged is ignored and computed again, so a kill
at any moment, or several processes at once, cost time and nothing else.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np

from headstart import _io
from headstart._checkpoint import Checkpoint
from headstart._events import emit
from headstart.backbone import Backbone, Tap, feature_taps, tap_named
from headstart.errors import NotAdmissible, RunError, UnknownName
from headstart.problem import Examples

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Features:
    """Rows of numbers, item after item: ``rows`` (units, width); item i owns ``rows[offsets[i]:offsets[i + 1]]``."""

    rows: np.ndarray
    offsets: np.ndarray

    @classmethod
    def one_each(cls, rows: np.ndarray) -> Features:
        """Features with exactly one unit an item."""
        return cls(rows, np.arange(len(rows) + 1))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def parts(self) -> list[np.ndarray]:
        """The rows of each item."""
        return [self.rows[start:stop] for start, stop in pairwise(self.offsets)]


def unit_offsets(examples: Examples, unit: str) -> np.ndarray:
    """The offsets of ``examples`` when every item is one unit, or every ``word`` of it is."""
    counts = [len(raw) for raw in examples.inputs] if unit == "word" else np.ones(len(examples), dtype=int)
    return np.concatenate([[0], np.cumsum(counts)]).astype(int)


class FeatureStore:
    """Features of items, by backbone, view and content. ``path=None`` keeps them in memory only.

    ``cap_bytes`` bounds the folder: training states and augmented views go first, oldest first; whatever is missing is
    computed again.
    """

    def __init__(self, path: Path | None = None, *, cap_bytes: int = 20 * 2**30) -> None:
        self.path = path
        self.cap_bytes = cap_bytes
        self._shards: dict[str, dict[str, tuple[_Shard, int]]] = {}
        self._loaded: set[str] = set()
        self._locks: defaultdict[str, RLock] = defaultdict(RLock)  # fits side by side must not compute one thing twice

    def __getstate__(self) -> dict[str, Any]:
        """Where it lies and its cap: a copy in another process reads what is on disk, or computes it again."""
        return {"path": self.path, "cap_bytes": self.cap_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"], cap_bytes=state["cap_bytes"])  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"FeatureStore({str(self.path) if self.path else 'in memory'!r})"

    def spec(self) -> str:
        return "store"  # where features lie is no part of any identity

    def checkpoint(self, key: str) -> Checkpoint | None:
        """Where the training called ``key`` keeps its state, among the features; None in memory only.

        Another version of this package may train otherwise, so it goes on from none of this one's.
        """
        from headstart import __version__

        name = _io.fingerprint([__version__, key])
        return Checkpoint(self.path / "training" / f"{name}.safetensors") if self.path else None

    def features(self, backbone: Backbone, examples: Examples, taps: Sequence[str], *, view: str = "") -> list[Features]:
        """The rows of ``examples`` at each of ``taps``. Missing items are computed, all taps of a table in one pass."""
        named = [tap_named(backbone, tap) for tap in taps]
        tables = {table: self._table(backbone, examples, table, view) for table in dict.fromkeys(t.table for t in named)}
        return [_columns(tables[tap.table], tap) for tap in named]

    def _table(self, backbone: Backbone, examples: Examples, table: str, view: str) -> list[tuple[_Shard, int]]:
        every = [tap.name for tap in backbone.taps if tap.table == table]

        def compute(inputs: list[Any]) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
            found = backbone.features(inputs, every, view=view)
            widths = [[tap, found[tap].rows.shape[1]] for tap in every]
            return np.concatenate([found[tap].rows for tap in every], axis=1), found[every[0]].offsets, {"taps": widths}

        group = _group(backbone, view, table)
        return self._gather(group, examples, compute, f"reading {backbone.card.name}", backbone.shard)

    def states(self, backbone: Backbone, examples: Examples, tap: str, *, view: str = "") -> list[np.ndarray]:
        """The whole state of each item at a resumable ``tap``, float16; those of texts differ in length."""
        if not tap_named(backbone, tap).resumable:
            raise NotAdmissible(f"The network cannot continue from '{tap}'. Choose a resumable tap of {backbone.card.name}.")
        group = f"{_group(backbone, view)}/state-{_safe(tap)}"

        def compute(inputs: list[Any]) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
            found = backbone.states(inputs, tap, view=view)
            ragged = isinstance(found, Features)
            rows, offsets = (found.rows, found.offsets) if ragged else (found, np.arange(len(found) + 1))
            return rows.astype(np.float16), offsets, {"taps": [], "ragged": ragged}

        what = f"running {backbone.card.name} up to {tap}"
        return [shard.state(row) for shard, row in self._gather(group, examples, compute, what, backbone.shard)]

    def missing(self, backbone: Backbone, examples: Examples, tap: str = "", *, view: str = "") -> list[str]:
        """Fingerprints of the items whose rows at ``tap`` (by default: their own rows) would have to be computed."""
        group = _group(backbone, view, tap_named(backbone, tap).table if tap else "")
        with self._locks[group]:
            known = self._index(group)
        return sorted(set(examples.fingerprints) - set(known))

    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in self._files()) if self.path else 0

    def trim(self) -> int:
        """Bring the folder under its cap; the bytes that were freed."""
        if self.path is None:
            return 0
        for stale in self.path.rglob(".*.tmp"):  # what killed writers left; a living one is younger than a day
            if time.time() - stale.stat().st_mtime > 86400:
                stale.unlink(missing_ok=True)
        freed, size = 0, self.size()
        if size <= self.cap_bytes:
            return 0
        root = self.path

        def worth(file: Path) -> tuple[bool, float]:
            _, view, *more = file.relative_to(root).parts[:-1]  # fingerprint/view[/table-name or /state-place]
            return view == "plain" and not any(part.startswith("state-") for part in more), file.stat().st_mtime

        for file in sorted(self._files(), key=worth):
            if size - freed <= self.cap_bytes:
                break
            bytes_freed = file.stat().st_size
            file.with_suffix(".json").unlink(missing_ok=True)
            file.unlink(missing_ok=True)
            freed += bytes_freed
        self._shards.clear()
        self._loaded.clear()
        emit("data", f"The feature store was over its cap; {freed / 2**20:.0f} MB of it were dropped.")
        return freed

    def _files(self) -> list[Path]:
        return [] if self.path is None or not self.path.exists() else list(self.path.rglob("*.npy"))

    def _gather(
        self, group: str, examples: Examples, compute: Callable[..., Any], what: str, size: int
    ) -> list[tuple[_Shard, int]]:
        with self._locks[group]:
            return self._compute(group, examples, compute, what, size)

    def _compute(
        self, group: str, examples: Examples, compute: Callable[..., Any], what: str, size: int
    ) -> list[tuple[_Shard, int]]:
        known = self._index(group)
        wanted: dict[str, Any] = {}
        for item, raw in zip(examples.fingerprints, examples.inputs, strict=True):
            if item not in known:
                wanted.setdefault(item, raw)
        if wanted:
            known = self._index(group, fresh=True)
            wanted = {item: raw for item, raw in wanted.items() if item not in known}
        items = list(wanted)
        for start in range(0, len(items), size):
            part = items[start : start + size]
            emit("progress", what, done=start, total=len(items))
            rows, offsets, more = compute([wanted[item] for item in part])
            self._commit(group, part, rows, offsets, more)
        if items:
            emit("progress", what, done=len(items), total=len(items))
            known = self._shards[group]
        return [known[item] for item in examples.fingerprints]

    def _commit(self, group: str, items: list[str], rows: np.ndarray, offsets: np.ndarray, more: dict[str, Any]) -> None:
        if self.path is not None:
            file = self.path / group / f"{_io.fingerprint(items)[:16]}.npy"
            record = {"format": FORMAT, "items": items, "offsets": offsets.tolist(), **more}
            try:
                _io.write_array(file, rows)
                _io.write_json(file.with_suffix(".json"), {**record, "digest": _io.digest(np.ascontiguousarray(rows).data)})
                rows = _io.read_array(file, mapped=True)  # the memory goes back: a store may be larger than it
            except RunError as error:
                emit("warning", f"Features are not kept for the next run. {error} HEADSTART_CACHE names another place.")
                self.path = None
        shard = _Shard(rows, offsets, more["taps"], more.get("ragged", False))
        index = self._shards.setdefault(group, {})
        for row, item in enumerate(items):
            index.setdefault(item, (shard, row))

    def _index(self, group: str, *, fresh: bool = False) -> dict[str, tuple[_Shard, int]]:
        index = self._shards.setdefault(group, {})
        if self.path is not None and (fresh or group not in self._loaded):
            folder = self.path / group
            for file in sorted(folder.glob("*.json")) if folder.exists() else []:
                for item, place in _read_shard(file):
                    index.setdefault(item, place)
            self._loaded.add(group)
        return index


@dataclass(frozen=True, eq=False)
class _Shard:
    rows: np.ndarray
    offsets: np.ndarray
    taps: list[list[Any]]
    ragged: bool = False  # of states: an item owns several rows

    def state(self, row: int) -> np.ndarray:
        return self.rows[self.offsets[row] : self.offsets[row + 1]] if self.ragged else self.rows[row]

    def span(self, tap: str) -> slice:
        start = 0
        for name, width in self.taps:
            if name == tap:
                return slice(start, start + width)
            start += width
        raise KeyError(tap)


def _read_shard(file: Path) -> Iterator[tuple[str, tuple[_Shard, int]]]:
    try:
        record = _io.read_json(file)
        if record["format"] > FORMAT:
            return  # a newer version's; it stays, and what it holds is computed again here
        rows = _io.read_array(file.with_suffix(".npy"), mapped=True)
        whole = record["format"] == FORMAT and record["digest"] == _io.digest(np.ascontiguousarray(rows).data)
        shard = _Shard(rows, np.asarray(record["offsets"]), record["taps"], record.get("ragged", False))
        items = record["items"]
    except (RunError, KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        emit("warning", f"The cached features in {file.name} are damaged or of another format; they are computed again.")
        with suppress(OSError):  # of no use to anyone, and else every later start would warn again
            file.unlink(missing_ok=True)
        return
    for row, item in enumerate(items):
        yield item, (shard, row)


def _columns(places: list[tuple[_Shard, int]], tap: Tap) -> Features:
    parts, counts = [], []
    for shard, row in places:
        start, stop = shard.offsets[row], shard.offsets[row + 1]
        parts.append(shard.rows[start:stop, shard.span(tap.name)])
        counts.append(stop - start)
    rows = np.concatenate(parts) if parts else np.zeros((0, tap.width), dtype=np.float32)
    return Features(np.ascontiguousarray(rows), np.concatenate([[0], np.cumsum(counts)]).astype(int))


def _group(backbone: Backbone, view: str, table: str = "") -> str:
    """Where in the store rows of one table lie."""
    return f"{backbone.fingerprint}/{_safe(view)}" + (f"/table-{_safe(table)}" if table else "")


def _safe(name: str) -> str:
    """A folder name for a tap or view: names from outside never become paths."""
    tame = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
    return (
        tame
        if name not in ("", "plain") and tame == name and not name.startswith(".")
        else (_io.digest(name.encode())[:12] if name else "plain")
    )


@dataclass(frozen=True)
class Move:
    """What a freeze plan says of one stage: the ``share`` of the learning rate at which it moves (0: it stays as it is; None:
    it moves as the strategy sees fit).

    ``gradient`` is its relative gradient norm on rows that the head had not seen, where that was measured.
    """

    stage: str
    share: float | None
    gradient: float | None = None


@dataclass(frozen=True, eq=False)
class Lens:
    """How items are looked at: ``reads`` (backbone, tap) pairs, the ``cut`` below which nothing moves, the ``plan`` of what
    moves (empty: all above the cut, as the strategy sees fit), and the store.

    ``Lens()`` reads nothing. ``lens.untrained()`` is the same lens with random weights: scratch is any recipe whose lens
    is untrained or empty.
    """

    reads: tuple[tuple[Backbone, str], ...] = ()
    cut: str | None = None
    store: FeatureStore = field(default_factory=FeatureStore)
    plan: tuple[Move, ...] = ()

    def __post_init__(self) -> None:
        """``UnknownName`` for a cut, or a stage of the plan, at which the backbone cannot be continued."""
        named = [*([self.cut] if self.cut is not None else []), *(move.stage for move in self.plan)]
        if not named or len(self.reads) != 1:
            return
        places = list(dict.fromkeys(tap.place for tap in self.backbone.taps if tap.resumable))
        for name in named:
            if name not in places:
                raise UnknownName.of(f"layer of {self.backbone.card.name} that can be cut at", name, places)

    @property
    def still(self) -> tuple[str, ...]:
        """The stages that the plan leaves as they are."""
        return tuple(move.stage for move in self.plan if move.share == 0)

    @property
    def backbone(self) -> Backbone:
        """The one backbone that is read. ``NotAdmissible`` if there are none or several."""
        if len(self.reads) != 1:
            raise NotAdmissible(f"This needs a lens with one backbone; this one reads {len(self.reads)}.")
        return self.reads[0][0]

    @property
    def has(self) -> frozenset[str]:
        """What the lens brings: ``features``, ``layers`` (several taps of one backbone), ``network`` (one backbone, that can be
        trained), ``base`` (pre-trained), ``own_classes`` (one backbone, with a classifier of what it was trained on)."""
        present = {"features"} if self.reads else set()
        if len(self.reads) == 1 and self.reads[0][0].trainable:
            present.add("network")
        if len(self.reads) == 1 and len(feature_taps(self.backbone, tap_named(*self.reads[0]).unit)) > 1:
            present.add("layers")
        if any(backbone.pretrained for backbone, _ in self.reads):
            present.add("base")
        if len(self.reads) == 1 and any(tap.labels for tap in self.reads[0][0].taps):
            present.add("own_classes")
        return frozenset(present)

    @property
    def title(self) -> str:
        return " + ".join(dict.fromkeys(backbone.card.name for backbone, _ in self.reads))

    def read(self, examples: Examples, *, view: str = "") -> list[Features]:
        """One ``Features`` a read."""
        return [self.store.features(backbone, examples, [tap], view=view)[0] for backbone, tap in self.reads]

    def joined(self, examples: Examples, *, view: str = "") -> Features:
        """All reads side by side: rows (units, total width), float64. Every read must have the same units."""
        found = self.read(examples, view=view)
        if not found:
            raise NotAdmissible("This lens reads nothing, so it has no features. Choose a backbone, or 'plain'.")
        if any(not np.array_equal(one.offsets, found[0].offsets) for one in found):
            raise NotAdmissible("The reads of this lens have different units; one kind of unit is needed to join them.")
        return Features(np.concatenate([one.rows for one in found], axis=1).astype(np.float64), found[0].offsets)

    def matrix(self, examples: Examples, *, view: str = "") -> np.ndarray:
        """The rows of ``joined``, (units, total width), float64."""
        return self.joined(examples, view=view).rows

    def untrained(self, *, slim: bool = False) -> Lens:
        """The same lens with random weights, whole networks, read at their last feature tap when ``slim``."""

        def fresh(backbone: Backbone, tap: str) -> tuple[Backbone, str]:
            new = backbone.untrained(slim=slim)
            return new, feature_taps(new, tap_named(backbone, tap).unit)[-1].name if slim else tap

        return replace(self, reads=tuple(fresh(*read) for read in self.reads), cut=None, plan=())

    def spec(self) -> dict[str, Any]:
        reads = [[b.card.name, b.fingerprint, tap] for b, tap in self.reads]
        plan = {"plan": [[move.stage, move.share] for move in self.plan]} if self.plan else {}
        return {"reads": reads, "cut": self.cut, **plan}


@dataclass(frozen=True)
class TapScore:
    """How well a head on one tap predicts rows it has not seen: exact leave-one-out score and log-loss.

    ``error`` is one standard error of the loss, ``score_error`` one of the score (by bootstrap; None in old records).
    """

    tap: str
    depth: float
    width: int
    score: float
    log_loss: float
    error: float
    score_error: float | None = None

    @property
    def place(self) -> str:
        """Where in the network the tap stands, however it is pooled: the name that cuts and plans go by."""
        return self.tap.partition(":")[0]


@dataclass(frozen=True)
class Profile:
    """Which layers transfer: a score at every tap, the tap to read, the cut to freeze at and the plan of what moves above it,
    with the reason.

    ``similarity`` holds the linear CKA between any two taps, in the order of ``scores``: for reading, no decision uses it.
    """

    backbone: str
    scores: tuple[TapScore, ...]
    read: str
    cut: str | None
    reason: str
    plan: tuple[Move, ...] = ()
    similarity: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Profile:
        parts = {
            "scores": tuple(TapScore(**score) for score in found["scores"]),
            "plan": tuple(Move(**move) for move in found.get("plan", ())),
            "similarity": tuple(tuple(row) for row in found.get("similarity", ())),
        }
        return cls(**{**found, **parts})

    def lens(self, store: FeatureStore | None = None) -> Lens:
        """The lens that this profile advises. ``RunError`` if the backbone has not the layers that it names."""
        from headstart.backbones import find

        base = find(self.backbone)
        try:
            tap_named(base, self.read)
            return Lens(((base, self.read),), self.cut, store or FeatureStore(), self.plan)
        except UnknownName as error:
            raise RunError(
                f"The profile of '{self.backbone}' does not fit it: {error} Run `headstart locate` again."
            ) from error
