"""The feature store: computed once, kill-safe, shared, and the same bits whatever happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from headstart import features
from headstart._events import listen
from headstart.backbone import Card, Tap
from headstart.features import Features, FeatureStore
from headstart.problem import Examples, Items

SHARD = 256
CARD = Card("fake", "numbers", "nothing", "none", 1, 1, {"columns": 3})
TAPS = (Tap("low", 0.5, 4), Tap("high", 0.75, 3), Tap("out", 1.0, 2, resumable=False, labels=("a", "b")))


@dataclass(frozen=True, eq=False)
class Fake:
    """A backbone that counts the items it sees. ``seconds`` is what one pass takes."""

    seconds: float = 0.0
    seen: list[int] = field(default_factory=list)
    card: Card = CARD
    taps: tuple[Tap, ...] = TAPS
    fingerprint: str = "fake0"
    pretrained: bool = True
    trainable: bool = True
    shard: int = SHARD

    def features(self, inputs, taps, *, view=""):
        self.seen.append(len(inputs))
        time.sleep(self.seconds)
        table = np.asarray(inputs, dtype=np.float32) + len(view)
        return {
            tap.name: Features.one_each(np.sin(table[:, :1] * np.arange(1, tap.width + 1)))
            for tap in TAPS
            if tap.name in taps
        }

    def states(self, inputs, tap, *, view=""):
        self.seen.append(len(inputs))
        return np.asarray(inputs, dtype=np.float32)[:, None, :] + len(view)


def numbers(count: int, *, start: int = 0) -> Examples:
    rows = np.arange(start, start + count, dtype=np.float64)[:, None] * np.ones(3)
    names = tuple(str(row) for row in range(start, start + count))
    return Examples.of(Items("numbers", list(rows), names, tuple(f"item{name}" for name in names)))


def read(store: FeatureStore, backbone: Fake, examples: Examples, *, view: str = "") -> np.ndarray:
    return store.features(backbone, examples, ["high"], view=view)[0].rows


def fill(folder: str, count: str, seconds: str) -> None:
    """What the sub-processes of these tests do."""
    read(FeatureStore(Path(folder)), Fake(float(seconds)), numbers(int(count)))


def start(folder: Path, count: int, seconds: float) -> subprocess.Popen:
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_store; test_store.fill(*sys.argv[1:])"
    )
    return subprocess.Popen([sys.executable, "-c", code, str(folder), str(count), str(seconds)])


@pytest.fixture
def expected():
    return read(FeatureStore(), Fake(), numbers(3 * SHARD))


def test_the_second_read_computes_nothing(tmp_path):
    backbone, examples = Fake(), numbers(300)
    first = read(FeatureStore(tmp_path), backbone, examples)
    assert backbone.seen == [SHARD, 300 - SHARD]
    store = FeatureStore(tmp_path)
    assert store.missing(backbone, examples) == []
    again = store.features(backbone, examples, ["low", "high", "out"])  # all taps came from the one pass
    assert [found.rows.shape for found in again] == [(300, 4), (300, 3), (300, 2)]
    assert np.array_equal(again[1].rows, first)
    assert sum(backbone.seen) == 300


def test_only_new_items_are_computed(tmp_path):
    backbone = Fake()
    read(FeatureStore(tmp_path), backbone, numbers(100))
    store = FeatureStore(tmp_path)
    assert len(store.missing(backbone, numbers(101))) == 1
    read(store, backbone, numbers(101))
    assert backbone.seen == [100, 1]


def test_order_and_repeats_do_not_matter(tmp_path):
    examples, backbone = numbers(50), Fake()
    straight = read(FeatureStore(), Fake(), examples)
    order = np.random.default_rng(0).permutation(np.tile(np.arange(50), 2))
    assert np.array_equal(read(FeatureStore(tmp_path), backbone, examples.take(order)), straight[order])
    assert backbone.seen == [50]
    assert np.array_equal(read(FeatureStore(tmp_path), Fake(), examples), straight)


def test_no_items_give_no_rows_of_the_right_width():
    assert read(FeatureStore(), Fake(), numbers(0)).shape == (0, 3)


def test_views_and_backbones_are_kept_apart(tmp_path):
    store, examples = FeatureStore(tmp_path), numbers(4)
    rows = [read(store, Fake(), examples, view=view) for view in ("", "flip", "../../x", "plain")]
    rows.append(read(store, Fake(fingerprint="fake1"), examples))
    assert not np.array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[3])
    assert np.array_equal(rows[0], rows[4])
    assert len(list(tmp_path.rglob("*.npy"))) == 5
    assert not list(tmp_path.parent.glob("x*"))


def test_states_are_half_precision_and_cached(tmp_path):
    backbone, examples = Fake(), numbers(5)
    states = FeatureStore(tmp_path).states(backbone, examples, "low")
    assert {state.dtype.name for state in states} == {"float16"}
    assert [state.shape for state in states] == [(1, 3)] * 5
    again = FeatureStore(tmp_path).states(backbone, examples.take([3, 1]), "low")
    assert np.array_equal(again, np.stack([states[3], states[1]]))
    assert backbone.seen == [5]
    with pytest.raises(ValueError, match="cannot continue from 'out'"):
        FeatureStore(tmp_path).states(backbone, examples, "out")


def test_a_kill_loses_at_most_a_shard_and_no_bits(tmp_path, expected):
    process = start(tmp_path, 3 * SHARD, 0.5)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = len(list(tmp_path.rglob("*.json"))) * SHARD
    assert SHARD <= kept < 3 * SHARD
    backbone = Fake()
    assert np.array_equal(read(FeatureStore(tmp_path), backbone, numbers(3 * SHARD)), expected)
    assert sum(backbone.seen) == 3 * SHARD - kept


def test_two_processes_fill_one_store(tmp_path, expected):
    both = [start(tmp_path, 3 * SHARD, 0.1) for _ in range(2)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    backbone, heard = Fake(), []
    with listen(heard.append):
        assert np.array_equal(read(FeatureStore(tmp_path), backbone, numbers(3 * SHARD)), expected)
    assert backbone.seen == []
    assert heard == []


@pytest.mark.parametrize("harm", ["row", "short", "gone", "record", "nonsense"])
def test_a_damaged_shard_is_computed_again_with_one_warning(tmp_path, harm):
    examples = numbers(10)
    expected = read(FeatureStore(tmp_path), Fake(), examples)
    array, record = next(tmp_path.rglob("*.npy")), next(tmp_path.rglob("*.json"))
    content = bytearray(array.read_bytes())
    if harm == "row":
        content[-1] ^= 1
        array.write_bytes(content)
    elif harm == "short":
        array.write_bytes(content[:-30])
    elif harm == "gone":
        array.unlink()
    elif harm == "record":
        record.write_text(record.read_text()[:40])
    else:
        record.write_text("[1, 2]")
    backbone, heard = Fake(), []
    with listen(heard.append):
        assert np.array_equal(read(FeatureStore(tmp_path), backbone, examples), expected)
    assert backbone.seen == [10]
    assert [event.kind for event in heard if event.kind != "progress"] == ["warning"]
    again = Fake()
    assert np.array_equal(read(FeatureStore(tmp_path), again, examples), expected)
    assert again.seen == []


def test_shards_of_a_newer_format_stay(tmp_path):
    read(FeatureStore(tmp_path), Fake(), numbers(3))
    record = next(tmp_path.rglob("*.json"))
    newer = json.dumps({**json.loads(record.read_text()), "format": features.FORMAT + 1})
    record = record.rename(record.with_name("newer.json"))
    record.write_text(newer)
    backbone = Fake()
    read(FeatureStore(tmp_path), backbone, numbers(3))
    assert backbone.seen == [3]
    assert record.read_text() == newer


def test_over_the_cap_states_and_views_go_first(tmp_path):
    folder = tmp_path / "state-of-the-art"  # a name that looks like a state's
    store, backbone, examples = FeatureStore(folder), Fake(), numbers(64)
    read(store, backbone, examples)
    plain = store.size()
    read(store, backbone, examples, view="flip")
    store.states(backbone, examples, "low")
    full = store.size()
    assert FeatureStore(folder).trim() == 0
    heard = []
    with listen(heard.append):
        assert FeatureStore(folder, cap_bytes=plain).trim() == full - plain
    assert FeatureStore(folder).size() == plain
    assert [event.kind for event in heard] == ["data"]
    assert FeatureStore(folder).missing(backbone, examples) == []
    before = sum(backbone.seen)
    read(FeatureStore(folder), backbone, examples, view="flip")  # computed again
    assert sum(backbone.seen) == before + 64
    assert FeatureStore(folder, cap_bytes=0).trim() > 0
    assert FeatureStore(folder).size() == 0


@dataclass(frozen=True, eq=False)
class Words(Fake):
    """A backbone whose items differ in length: the item ``k`` has k + 1 words, and a row for each."""

    taps: tuple[Tap, ...] = (Tap("low:words", 0.5, 2, unit="word"), Tap("low", 0.5, 1), Tap("high", 1.0, 1))

    def features(self, inputs, taps, *, view=""):
        self.seen.append(len(inputs))
        assert {tap.partition(":")[2] for tap in taps} in ({"words"}, {""}), "one pass reads one table"
        counts = [int(row[0]) + 1 for row in inputs]
        words = Features(np.concatenate([np.full((n, 2), n) for n in counts]).astype(np.float32), np.cumsum([0, *counts]))
        rows = Features.one_each(np.asarray(counts, dtype=np.float32)[:, None])
        return {tap: words if tap.endswith("words") else rows for tap in taps}

    def states(self, inputs, tap, *, view=""):
        return self.features(inputs, ["low:words"])["low:words"]


def test_tables_of_different_units_are_kept_apart_and_read_by_themselves(tmp_path):
    backbone, examples, store = Words(), numbers(4), FeatureStore(tmp_path)
    words, rows = store.features(backbone, examples, ["low:words", "high"])
    assert words.offsets.tolist() == [0, 1, 3, 6, 10]
    assert rows.offsets.tolist() == [0, 1, 2, 3, 4]
    assert [part[0, 0] for part in words.parts()] == [1, 2, 3, 4]
    assert backbone.seen == [4, 4]
    turned = FeatureStore(tmp_path).features(backbone, examples.take([3, 0]), ["low:words"])[0]
    assert turned.offsets.tolist() == [0, 4, 5]
    assert backbone.seen == [4, 4]
    assert store.missing(backbone, numbers(6), "low:words") == store.missing(backbone, numbers(6)) == ["item4", "item5"]


def test_states_of_different_length_come_back_item_by_item(tmp_path):
    for store in (FeatureStore(tmp_path), FeatureStore(tmp_path)):
        states = store.states(Words(), numbers(3), "low")
        assert [state.shape for state in states] == [(1, 2), (2, 2), (3, 2)]
