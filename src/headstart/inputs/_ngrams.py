"""Classical features of documents: word and character n-grams, TF-IDF weighted (Salton & Buckley 1988; Joachims 1998).

A text is cut at blanks into pieces. What a piece contains is worked out once for every *different* piece, and the counts of
a text are the product of two sparse tables, (texts, pieces) × (pieces, n-grams): two to four times as fast as walking
through every text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

WORD = re.compile(r"\w+|[^\w\s]")  # a word, or one mark: "?" tells questions apart, "£" and "!" tell spam apart
SIZES = (2, 3, 4, 5)  # characters of a gram, the blank on either side of a piece included
MOST = 200_000  # n-grams of either kind; the most frequent stay
LARGE = 1000  # from this many texts on, an n-gram that stands in a single one is left out: it halves the table


def fit_plain(inputs: Sequence[Any]) -> dict[str, np.ndarray]:
    """The vocabulary of training ``inputs``, as arrays: names joined by NUL as UTF-8 bytes, and the weight of each."""
    if _is_tagged(inputs):
        from headstart.inputs import _windows

        return _windows.fit(inputs)
    corpus = Corpus.of(inputs)
    state: dict[str, np.ndarray] = {}
    for block, (names, counts) in {"words": corpus.words(), "grams": corpus.grams()}.items():
        kept, idf = _kept(names, counts)
        state |= {block: _packed(names[i] for i in kept), f"{block}_idf": idf}
    return state


def plain(inputs: Sequence[Any], state: dict[str, np.ndarray]) -> csr_matrix:
    """Rows of n-gram weights: one a text, or one a word of every sequence of words, item after item.

    Word 1- and 2-grams, and 2 to 5 characters within a word and the blanks around it. Each of the two blocks has length
    one: 1 + log count, times log((1 + n) / (1 + texts with it)) + 1.
    """
    from scipy.sparse import hstack

    if "windows" in state:
        from headstart.inputs import _windows

        return _windows.rows(inputs, state)
    corpus = Corpus.of(inputs)
    blocks = []
    for block, (names, counts) in {"words": corpus.words(), "grams": corpus.grams()}.items():
        column = {name: i for i, name in enumerate(vocabulary(state[block]))}
        blocks.append(_weighted(_columns(counts, names, column), state[f"{block}_idf"]))
    return hstack(blocks, format="csr")


@dataclass(frozen=True, eq=False)
class Corpus:
    """Texts as pieces: ``pieces`` are the different ones, ``flat`` the piece numbers, text after text."""

    pieces: list[str]
    flat: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, texts: Iterable[str]) -> Corpus:
        number: dict[str, int] = {}
        cut = [text.lower().replace("\0", " ").split() for text in texts]
        flat = np.fromiter((number.setdefault(piece, len(number)) for piece in chain.from_iterable(cut)), dtype=np.int64)
        return cls(list(number), flat, np.cumsum([0, *map(len, cut)]))

    def grams(self) -> tuple[list[str], csr_matrix]:
        """Character n-grams, and how often each stands in each text."""
        number: dict[str, int] = {}
        cut = [[number.setdefault(gram, len(number)) for gram in _grams(f" {piece} ")] for piece in self.pieces]
        holds = _counts(_owners(cut), list(chain.from_iterable(cut)), shape=(len(cut), len(number)))
        texts = len(self.offsets) - 1
        of = np.repeat(np.arange(texts), np.diff(self.offsets))
        return list(number), _counts(of, self.flat, shape=(texts, len(cut))) @ holds

    def words(self) -> tuple[list[str], csr_matrix]:
        """Words and pairs of neighbours, and how often each stands in each text."""
        from scipy.sparse import hstack

        number: dict[str, int] = {}
        cut = [[number.setdefault(word, len(number)) for word in WORD.findall(piece)] for piece in self.pieces]
        every, lengths = (
            np.array(list(chain.from_iterable(cut)), dtype=np.int64),
            np.array(list(map(len, cut)), dtype=np.int64),
        )
        # The words of the texts in order: in the place of a piece stand its own words.
        size, texts = lengths[self.flat], len(self.offsets) - 1
        first = (np.cumsum(lengths) - lengths)[self.flat] - (np.cumsum(size) - size)
        flat = every[np.repeat(first, size) + np.arange(size.sum())]
        of = np.repeat(np.repeat(np.arange(texts), np.diff(self.offsets)), size)
        names, beside = list(number), of[1:] == of[:-1]
        codes, pair = np.unique((flat[:-1] * len(names) + flat[1:])[beside], return_inverse=True)
        pairs = [f"{names[code // len(names)]} {names[code % len(names)]}" for code in codes.tolist()]
        one = _counts(of, flat, shape=(texts, len(names)))
        two = _counts(of[:-1][beside], pair, shape=(texts, len(pairs)))
        return names + pairs, hstack([one, two], format="csr")


def _grams(piece: str) -> list[str]:
    """2 to 5 characters of a piece with a blank on either side."""
    return [piece[at : at + size] for size in SIZES for at in range(len(piece) - size + 1)]


def _owners(lists: Sequence[Sequence[Any]]) -> np.ndarray:
    """For each entry of all lists in a row, the number of its list."""
    return np.repeat(np.arange(len(lists)), [len(one) for one in lists])


def _counts(rows: Any, columns: Any, *, shape: tuple[int, int]) -> csr_matrix:
    """How often each (row, column) comes."""
    from scipy.sparse import csr_matrix

    return csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)


def _kept(names: list[str], counts: csr_matrix) -> tuple[list[int], np.ndarray]:
    """Which n-grams stay, by name, and their weights. Of equally rare ones the first by name stay: no order matters."""
    texts = counts.shape[0]
    seen = np.bincount(counts.indices, minlength=len(names))
    least = 2 if texts >= LARGE else 1
    order = sorted(np.flatnonzero(seen >= least).tolist(), key=names.__getitem__)
    if len(order) > MOST:
        order = sorted(sorted(order, key=lambda i: -seen[i])[:MOST], key=names.__getitem__)
    return order, np.log((1 + texts) / (1 + seen[order])) + 1


def _columns(counts: csr_matrix, names: list[str], column: dict[str, int]) -> csr_matrix:
    """``counts`` with the columns of the vocabulary; what it does not know is left out."""
    from scipy.sparse import csr_matrix

    place = np.array([column.get(name, -1) for name in names], dtype=np.int32)
    found = place[counts.indices]
    known = found >= 0
    ends = np.concatenate([[0], np.cumsum(known)])[counts.indptr]
    made = csr_matrix((counts.data[known], found[known], ends), shape=(counts.shape[0], len(column)))
    made.sort_indices()
    return made


def _weighted(counts: csr_matrix, idf: np.ndarray) -> csr_matrix:
    values = (1 + np.log(counts.data)) * idf[counts.indices]
    of = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    counts.data = values / np.sqrt(np.bincount(of, values**2, counts.shape[0]))[of]
    return counts


def _packed(names: Iterable[str]) -> np.ndarray:
    return np.frombuffer("\0".join(names).encode("utf-8", "surrogatepass"), dtype=np.uint8)


def vocabulary(array: np.ndarray) -> list[str]:
    """The n-grams that ``state["words"]`` or ``state["grams"]`` names, in the order of their columns."""
    return array.tobytes().decode("utf-8", "surrogatepass").split("\0") if len(array) else []


def _is_tagged(inputs: Sequence[Any]) -> bool:
    """Whether items are sequences of words; texts otherwise."""
    return len(inputs) > 0 and not isinstance(inputs[0], str)
