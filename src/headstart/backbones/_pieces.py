"""Texts as word pieces: cut by a tokenizer file, chunked where they are long, and laid out in batches of one exact length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from headstart.errors import MissingExtra, NotAdmissible
from headstart.features import Features

SPECIAL, BEGINS, CONTINUES, FIRST = 0, 1, 2, 3  # markers: what a piece is
PART = 4096  # texts tokenised at a time: what stands between text and numbers stays small
SAMPLE = 300  # texts that are looked into for unknown pieces


@dataclass(frozen=True)
class Pieces:
    """The tokenizer in the file that ``file()`` names, for a model that reads ``limit`` pieces at once, special ones too.

    A text is a ``str``, or a tuple of words where somebody has split it. Its truncation and padding rules are left out.
    """

    file: Callable[[], Path]
    limit: int

    @property
    def room(self) -> int:
        """Pieces of its own that a text may have to be read at once."""
        opened = self._opened()
        return self.limit - len(opened.before) - len(opened.after)

    def prepare(self, inputs: Sequence[str | tuple[str, ...]]) -> Features:
        """Every text as rows (pieces, 2), int32: the number of the piece in the vocabulary, and its marker.

        Markers: 0 a special piece, 1 begins a word, 2 continues one, 3 the first special piece of a chunk. A longer text
        than the model reads is cut at word borders into chunks of about one length, each with its own special pieces.
        """
        opened, room = self._opened(), self.room
        rows, counts = [np.zeros((0, 2), np.int32)], [np.zeros(1, np.int64)]
        for start in range(0, len(inputs), PART):
            bodies = opened.bodies(inputs[start : start + PART])
            added, total = _framed(bodies, opened, room)
            rows.append(added)
            counts.append(total)
        return Features(np.concatenate(rows), np.cumsum(np.concatenate(counts)))

    def long(self, inputs: Sequence[str | tuple[str, ...]]) -> int:
        """How many of ``inputs`` are read in parts. Only texts with more bytes than a model reads pieces are looked into."""
        room = self.room
        doubtful = [one for one in inputs if _bytes(one) > room]
        if not doubtful:
            return 0
        opened = self._opened()
        parts = (doubtful[start : start + PART] for start in range(0, len(doubtful), PART))
        return sum(int((np.diff(opened.bodies(part).offsets) > room).sum()) for part in parts)

    def strange(self, inputs: Sequence[str | tuple[str, ...]]) -> float:
        """The share of texts of which more than half of the pieces are unknown, from a sample of them."""
        opened = self._opened()
        bodies = opened.bodies(list(inputs[:: max(1, len(inputs) // SAMPLE)])).parts()
        return sum(float((body[:, 0] == opened.unknown).mean()) > 0.5 for body in bodies if len(body)) / max(1, len(bodies))

    def _opened(self) -> _Opened:
        file = self.file()
        return _open(file, file.stat().st_mtime_ns)


@dataclass(frozen=True, eq=False)
class _Opened:
    """A tokenizer and the special pieces that it puts around a text."""

    tokenizer: Any
    before: tuple[int, ...]
    after: tuple[int, ...]
    unknown: int
    blank: str = ""  # what a word inside a text begins with, where the tokenizer tells it from the first by a blank

    def bodies(self, inputs: Sequence[str | tuple[str, ...]]) -> Features:
        """Pieces and markers (pieces, 2) of whole texts, without special pieces."""
        words = np.asarray([not isinstance(one, str) for one in inputs], dtype=bool)
        if not words.any() or words.all():
            return self._alike([_clean(one) for one in inputs], split=bool(len(words) and words[0]))
        found: list[np.ndarray] = [np.zeros(0)] * len(inputs)
        for split in (False, True):
            places = np.flatnonzero(words == split)
            for place, part in zip(places, self.bodies([inputs[int(i)] for i in places]).parts(), strict=True):
                found[place] = part
        return Features(np.concatenate(found), np.concatenate([[0], np.cumsum([len(part) for part in found])]))

    def _alike(self, texts: list[Any], *, split: bool) -> Features:
        if split and self.blank:
            texts = [[self.blank * (place > 0) + word for place, word in enumerate(words)] for words in texts]
        encoded = self.tokenizer.encode_batch(texts, is_pretokenized=split, add_special_tokens=False)
        numbers = [one.ids for one in encoded]
        words = [one.word_ids for one in encoded]
        if split:
            self._complete(texts, numbers, words)
        counts = np.asarray([len(one) for one in numbers], dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = np.empty((int(offsets[-1]), 2), np.int32)
        rows[:, 0] = np.fromiter(chain.from_iterable(numbers), np.int32, count=len(rows))
        index = np.fromiter((-1 if i is None else i for i in chain.from_iterable(words)), np.int32, count=len(rows))
        begins = np.ones(len(rows), dtype=bool)
        begins[1:] = (index[1:] != index[:-1]) | (index[1:] < 0)
        begins[offsets[:-1][counts > 0]] = True
        rows[:, 1] = np.where(begins, BEGINS, CONTINUES)
        return Features(rows, offsets)

    def _complete(self, texts: list[Any], numbers: list[list[int]], words: list[list[int]]) -> None:
        """Every given word has a piece of its own: the unknown one where the tokenizer drops all of its characters."""
        for place, (text, known) in enumerate(zip(texts, words, strict=True)):
            missing = sorted(set(range(len(text))).difference(known)) if len(set(known)) < len(text) else ()
            for word in missing:
                at = int(np.searchsorted(known, word))
                numbers[place] = [*numbers[place][:at], self.unknown, *numbers[place][at:]]
                known.insert(at, word)


@lru_cache(maxsize=8)
def _open(file: Path, stamp: int) -> _Opened:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtra(
            "Text encoders need the tokenizers library, which is not installed. Bring it with: pip install tokenizers"
        ) from error
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        raise NotAdmissible(
            f"{file} is not a tokenizer file: {error}. The tokenizer.json that the tokenizers library writes is needed."
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    probe = tokenizer.encode("a")
    own = [place for place, special in enumerate(probe.special_tokens_mask) if not special]
    first, last = (own[0], own[-1] + 1) if own else (len(probe.ids), len(probe.ids))
    unknown = tokenizer.token_to_id(getattr(tokenizer.model, "unk_token", None) or "[UNK]")
    ran, split = (tokenizer.encode(x, is_pretokenized=x != "a a", add_special_tokens=False) for x in ("a a", ["a", "a"]))
    blank = " " if ran.ids != split.ids else ""
    return _Opened(tokenizer, tuple(probe.ids[:first]), tuple(probe.ids[last:]), 0 if unknown is None else unknown, blank)


def told_strange(share: float, name: str) -> tuple[str, ...]:
    """What to say where a model knows few of the pieces of a good part of the texts."""
    if share < 0.1:
        return ()
    return (f"In {share:.0%} of the texts, {name} does not know most of what they are made of: it cannot tell them apart.",)


def no_view(view: str) -> None:
    """``NotAdmissible`` for any view but the text as it is."""
    if view:
        raise NotAdmissible(f"Texts have no view '{view}'; only the text as it is can be read. Leave the view out.")


def no_onnx(name: str) -> NotAdmissible:
    """Why no text backbone is written as ONNX."""
    return NotAdmissible(
        f"{name} cannot be exported as ONNX: texts are cut into pieces outside of the network. Keep the run folder and use "
        "`headstart predict`."
    )


def told_long(count: int, total: int, reads: str) -> tuple[str, ...]:
    """What to say of ``count`` of ``total`` texts that are longer than a model ``reads``; nothing of none."""
    if not count:
        return ()
    are = "is" if count == 1 else "are"
    parts = "each is read in parts, and its rows are made of all of them."
    return (f"{count} of {total} texts {are} longer than the {reads}; {parts}",)


def _clean(text: str | tuple[str, ...]) -> Any:
    """Half of a surrogate pair is no character, and the tokenizer refuses it: it becomes a question mark."""
    if isinstance(text, str):
        return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
    return [_clean(word) for word in text]


def _bytes(text: str | tuple[str, ...]) -> int:
    """No piece is shorter than a byte; normalised characters, too, are no more than there were bytes."""
    if isinstance(text, str):
        return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return sum(max(1, _bytes(word)) for word in text)


def _framed(bodies: Features, opened: _Opened, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Special pieces around every chunk: rows (pieces, 2), and how many of them each text has."""
    sizes = np.diff(bodies.offsets)
    texts = np.arange(len(sizes))
    if (sizes > room).any():
        cut = [_cuts(part[:, 1], room) for part in bodies.parts()]
        texts, sizes = np.repeat(texts, [len(one) for one in cut]), np.concatenate(cut)
    before, after = len(opened.before), len(opened.after)
    lengths = sizes + before + after
    ends = np.cumsum(lengths)
    begins = ends - lengths
    rows = np.empty((int(lengths.sum()), 2), np.int32)
    own = np.ones(len(rows), dtype=bool)
    for offset, number in enumerate(opened.before):
        rows[begins + offset] = number, SPECIAL if offset else FIRST
        own[begins + offset] = False
    for offset, number in enumerate(opened.after):
        rows[ends - after + offset] = number, SPECIAL
        own[ends - after + offset] = False
    rows[own] = bodies.rows
    return rows, np.bincount(texts, weights=lengths, minlength=len(bodies)).astype(np.int64)


def _cuts(markers: np.ndarray, room: int) -> np.ndarray:
    """Pieces in each chunk of a text: cut at word borders, none over ``room``, about equally long."""
    total, at, found = len(markers), 0, []
    borders = np.flatnonzero(markers == BEGINS)
    while total - at > room:
        ideal = at + -(-(total - at) // -(-(total - at) // room))
        near = borders[(borders > at) & (borders <= at + room)]
        # A single word may be longer than the model reads: then the cut goes through it.
        stop = int(near[np.abs(near - ideal).argmin()]) if len(near) else at + room
        found.append(stop - at)
        at = stop
    return np.asarray([*found, total - at], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Layout:
    """What lies where in a stream of pieces, text after text.

    ``starts`` and ``lengths`` (chunks,) are the pieces of each chunk, ``texts`` (chunks,) says whose it is. ``words``
    (pieces,) numbers the words of all texts; special pieces have -1. ``word_offsets`` (texts + 1,) are each text's words.
    """

    starts: np.ndarray
    lengths: np.ndarray
    texts: np.ndarray
    words: np.ndarray
    word_offsets: np.ndarray

    @classmethod
    def of(cls, markers: np.ndarray, offsets: np.ndarray) -> Layout:
        """The layout that ``markers`` (pieces,) of texts with ``offsets`` tell."""
        markers = np.asarray(markers).astype(np.int8)
        begins = markers == FIRST
        begins[offsets[:-1][np.diff(offsets) > 0]] = True
        starts = np.flatnonzero(begins)
        ended = np.concatenate([[0], np.cumsum(markers == BEGINS)])
        words = np.where((markers == BEGINS) | (markers == CONTINUES), ended[1:] - 1, -1)
        lengths = np.diff(np.append(starts, len(markers)))
        return cls(starts, lengths, np.searchsorted(offsets, starts, side="right") - 1, words, ended[offsets])

    def spread(self, chunks: np.ndarray) -> np.ndarray:
        """Where the pieces of ``chunks``, all of one length, lie: (chunks × length,)."""
        return (self.starts[chunks][:, None] + np.arange(self.lengths[chunks[0]])).ravel()

    def batches(self, budget: int) -> Iterator[np.ndarray]:
        """Chunks of one exact length, as many as hold ``budget`` pieces together, the longest first."""
        order = np.argsort(-self.lengths, kind="stable")
        sizes, firsts = np.unique(-self.lengths[order], return_index=True)
        for size, first, last in zip(-sizes, firsts, [*firsts[1:], len(order)], strict=False):
            step = max(1, budget // int(size))
            for start in range(first, last, step):
                yield order[start : min(start + step, last)]
