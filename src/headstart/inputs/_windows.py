"""Classical features of words in a sentence: the word, its spelling, and what stands around it.

The window of good taggers that use no lists of names (Ratinov & Roth 2009). A feature is a 64-bit number made of its
template and its parts, so that combinations cost array arithmetic instead of text. That two of a million features share a
number has a chance of 1 to 10⁷.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

AT_ONCE = 50_000  # words whose features are held as numbers at one time: about 20 MB
LARGE = 5_000  # from this many words on, a feature seen once is left out: it says nothing about the next sentence
MOST = 1_000_000  # features; the most frequent stay
LONG = 100  # letters of a word that its spelling is described by

LOWER, SHAPE = 1, 2  # columns of ``_spelling`` that combinations are made of


def fit(sentences: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """The features worth a column: sorted 64-bit numbers."""
    known: np.ndarray = np.zeros(0, dtype=np.uint64)
    counts: np.ndarray = np.zeros(0)
    for keys in _keys(sentences):
        new, times = np.unique(keys[keys != 0], return_counts=True)
        known, place = np.unique(np.concatenate([known, new]), return_inverse=True)
        counts = np.bincount(place, np.concatenate([counts, times]), len(known))
    kept = counts >= (2 if sum(map(len, sentences)) >= LARGE else 1)
    if kept.sum() > MOST:
        kept &= counts > np.sort(counts)[-MOST - 1]
    return {"windows": known[kept]}


def rows(sentences: Sequence[Sequence[str]], state: dict[str, np.ndarray]) -> csr_matrix:
    """A row of zeros and ones a word, item after item: (words, features)."""
    from scipy.sparse import csr_matrix

    known = state["windows"]
    columns, counts = [np.zeros(0, dtype=np.int32)], [np.zeros(1, dtype=np.int64)]
    for keys in _keys(sentences):
        place = np.minimum(np.searchsorted(known, keys), max(0, len(known) - 1))
        there = known[place] == keys if len(known) else np.zeros(keys.shape, dtype=bool)
        columns.append(place[there].astype(np.int32))
        counts.append(there.sum(axis=1))
    indices, ends = np.concatenate(columns), np.cumsum(np.concatenate(counts))
    made = csr_matrix((np.ones(len(indices)), indices, ends), shape=(len(ends) - 1, len(known)))
    made.sum_duplicates()
    return made


def _keys(sentences: Sequence[Sequence[str]]) -> Iterator[np.ndarray]:
    """The features of some whole sentences at a time, (words, templates) uint64; 0 where there is none."""
    part_of = np.cumsum([len(sentence) for sentence in sentences]) // AT_ONCE
    for part in np.unique(part_of):
        yield _described([sentences[i] for i in np.flatnonzero(part_of == part).tolist()])


def _described(sentences: Sequence[Sequence[str]]) -> np.ndarray:
    number: dict[str, int] = {}
    flat = np.array([number.setdefault(word, len(number)) for word in chain.from_iterable(sentences)], dtype=np.int64)
    of = np.repeat(np.arange(len(sentences)), [len(sentence) for sentence in sentences])
    key: dict[str, int] = {"": 0}
    spelling = [[key[text] if text in key else key.setdefault(text, _key(text)) for text in _spelling(w)] for w in number]
    own = np.array(spelling, dtype=np.uint64)[flat]
    words = _Words(own[:, LOWER], own[:, SHAPE], of)
    return np.concatenate([own, np.stack([*_around(words), *_places(words, list(number), flat)], axis=1)], axis=1)


def _spelling(word: str) -> list[str]:
    """What is seen of a word alone; "" where there is nothing."""
    lower, runs = word.lower()[:LONG], _shape(word[:LONG])
    shape = "".join(letter for letter, _ in groupby(runs))
    found = [f"word {word}", f"lower {lower}", f"shape {shape}", f"runs {runs[:12]}"]
    found.append("digits " + "".join("0" if letter.isdigit() else letter for letter in lower))
    for size in (1, 2, 3, 4):
        longer = len(lower) > size
        found += [f"starts {lower[:size]}" if longer else "", f"ends {lower[-size:]}" if longer else ""]
    marks = {"hyphen": "-" in word, "digit": "d" in runs, "capitals": word.isupper()}
    return found + [mark if holds else "" for mark, holds in marks.items()]


def _shape(word: str) -> str:
    """``EU-27`` → ``XX-dd``."""
    kinds = ((str.isupper, "X"), (str.isalpha, "x"), (str.isdigit, "d"))
    return "".join(next((sign for holds, sign in kinds if holds(letter)), letter) for letter in word)


@dataclass(frozen=True, eq=False)
class _Words:
    """Words of all sentences in a row: their lower case and shape as numbers, and the sentence ``of`` each."""

    lower: np.ndarray
    shape: np.ndarray
    of: np.ndarray

    def beside(self, values: np.ndarray, step: int) -> np.ndarray:
        """What stands ``step`` words further; a number of its own beyond the sentence."""
        there = np.arange(len(self.of)) + step
        inside = (there >= 0) & (there < len(self.of))
        there = np.where(inside, there, 0)
        return np.where(inside & (self.of[there] == self.of), values[there], np.uint64(9))


def _around(words: _Words) -> Iterator[np.ndarray]:
    """The two neighbours on either side, and what they form with the word."""
    w = {step: words.beside(words.lower, step) for step in (-2, -1, 0, 1, 2)}
    s = {step: words.beside(words.shape, step) for step in (-2, -1, 0, 1, 2)}
    for step in (-2, -1, 1, 2):
        yield _joined(10 + step, w[step])
        yield _joined(20 + step, s[step])
    pairs = ((w[-1], w[0]), (w[0], w[1]), (w[-2], w[-1]), (w[1], w[2]), (w[-1], w[1]), (w[-1], s[0]), (s[0], w[1]))
    shapes = ((s[-1], s[0]), (s[0], s[1]), (s[-1], s[0], s[1]), (s[-2], s[-1], s[0], s[1], s[2]))
    for template, parts in enumerate((*pairs, *shapes)):
        yield _joined(30 + template, *parts)


def _places(words: _Words, kinds: list[str], flat: np.ndarray) -> Iterator[np.ndarray]:
    """Whether the word begins the sentence, and whether the sentence is a headline, where capitals say nothing."""
    upper = np.array([word.isupper() for word in kinds])[flat]
    letters = np.array([word[:1].isalpha() for word in kinds])[flat]
    of_sentence = np.bincount(words.of, letters)
    headline = (np.bincount(words.of, upper) >= 0.7 * of_sentence) & (of_sentence >= 2)
    place = (2 * headline[words.of] + (words.beside(words.shape, -1) == 9)).astype(np.uint64)
    yield _joined(50, place)
    yield _joined(51, place, words.shape)


def _key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _joined(template: int, *parts: np.ndarray) -> np.ndarray:
    """One number for a template and its parts, in order."""
    found = np.full(len(parts[0]), template, dtype=np.uint64)
    for part in parts:
        found = _mixed(found * np.uint64(3) + part)
    return found


def _mixed(x: np.ndarray) -> np.ndarray:
    """Every bit of the answer depends on every bit of ``x``: splitmix64 (Steele, Lea & Flood 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
