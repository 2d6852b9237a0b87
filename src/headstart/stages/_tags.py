"""Tags of words in one form: whatever scheme they were written in, they leave as BIO, and what was repaired is told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headstart._events import emit
from headstart.errors import ProblemError

SCHEMES = {  # what the letter before the hyphen may be
    "BIO": frozenset("BI"),
    "IOBES": frozenset("BIES"),
    "BILOU": frozenset("BILU"),
    "BMES": frozenset("BMES"),
}
TYPELESS = "entity"  # the type of spans whose tags are just B and I
_TAG = re.compile(r"([BIESLUM])(-(.+))?", re.DOTALL)


def tags_of(inputs: Sequence[Any], targets: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """One tuple of tags a sentence: BIO where they mark spans, as they are otherwise (parts of speech).

    ``ProblemError`` with the place of a sentence that is not split into words, or has not one tag for each.
    """
    found = [_strings(words, tags, name) for words, tags, name in zip(inputs, targets, names, strict=True)]
    if any(isinstance(tag, (int, np.integer)) for tags in targets for tag in tags):
        emit("data", "Tags that are numbers are called '0', '1', …: nothing says what they mean.")
    scheme = _scheme(found, names)
    if scheme is not None:
        found = _converted(found, names, scheme)
    out = np.empty(len(found), dtype=object)
    out[:] = found
    return out


def tag_names(targets: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Every tag in order, O first. Where a span of a type begins it may go on: with B-X comes I-X, seen or not."""
    tags = {tag for one in targets for tag in one}
    if tags and all(tag == "O" or tag.startswith(("B-", "I-")) for tag in tags):
        tags |= {f"I-{tag[2:]}" for tag in tags if tag != "O"}
    return tuple(sorted(tags, key=lambda tag: (tag != "O", tag)))


def _strings(words: Any, tags: Any, name: str) -> tuple[str, ...]:
    if not isinstance(words, tuple):
        raise ProblemError(
            f"{name!r} is one text; 'token_labels' needs sentences that are split into words, with a tag for each. Give a "
            "file with a word and its tag a line, or lists of words and of tags."
        )
    if not isinstance(tags, (tuple, list)):
        raise ProblemError(f"{name!r} has the label {str(tags)[:40]!r}; 'token_labels' needs a tag for each word.")
    if len(tags) != len(words):
        raise ProblemError(
            f"{name!r} has {len(words)} words and {len(tags)} tags; one tag for each word is needed. Repair it."
        )
    for place, tag in enumerate(tags, start=1):
        if tag is None or not str(tag).strip():
            raise ProblemError(f"{name!r} has no tag for word {place} ({words[place - 1][:40]!r}). Repair it.")
    return tuple(str(tag) for tag in tags)


def _scheme(found: Sequence[Sequence[str]], names: Sequence[str]) -> str | None:
    """The scheme of the tags; None if they mark no spans. ``ProblemError`` for a few odd ones among many of a scheme."""
    places: dict[str, tuple[int, int]] = {}
    for sentence, tags in enumerate(found):
        for word, tag in enumerate(tags):
            places.setdefault(tag, (sentence, word))
    marks = {tag: match for tag in places if (match := _TAG.fullmatch(tag)) and (match[3] or "B" in places)}
    letters = {match[1] for match in marks.values()}
    scheme = next((name for name, known in SCHEMES.items() if letters <= known), None)
    if not letters & {"B", "I", "S", "U"} or scheme is None:
        return None
    odd = sorted(places.keys() - marks.keys() - {"O"})
    typed = [tag for tag, match in marks.items() if match[3]]
    if not odd:
        return scheme
    if "O" in places and len(odd) <= len(typed) / 4:
        sentence, word = places[odd[0]]
        raise ProblemError(
            f"The tag {odd[0][:40]!r} of word {word + 1} in {names[sentence]!r} is neither O nor of the form B-TYPE, as the "
            f"{len(typed)} other kinds of tags are{f' (so are {len(odd) - 1} more)' if len(odd) > 1 else ''}. Repair it."
        )
    return None


@dataclass(eq=False)
class _Conversion:
    """Sentences in BIO; how often an entity began with B-, and the (sentence, word) where one began with another letter."""

    tags: list[tuple[str, ...]] = field(default_factory=list)
    begun: int = 0
    turned: list[tuple[int, int]] = field(default_factory=list)

    def add(self, tags: Sequence[str]) -> None:
        out: list[str] = []
        open_type: str | None = None
        for word, tag in enumerate(tags):
            match = _TAG.fullmatch(tag)
            if match is None:
                open_type = None
                out.append(tag)
                continue
            letter, name = match[1], match[3] or TYPELESS
            begins = letter in "BSU" or open_type != name
            if begins and letter not in "BSU":
                self.turned.append((len(self.tags), word))
            elif begins and open_type != name:  # in IOB1, B- only divides two neighbours of one type
                self.begun += 1
            out.append(f"{'B' if begins else 'I'}-{name}")
            open_type = None if letter in "ESLU" else name
        self.tags.append(tuple(out))


def _converted(found: Sequence[Sequence[str]], names: Sequence[str], scheme: str) -> list[tuple[str, ...]]:
    done = _Conversion()
    for tags in found:
        done.add(tags)
    if any("B" in tags for tags in found):
        emit("data", f"The tags B and I have no type; it is called '{TYPELESS}'.")
    if scheme != "BIO":
        emit("data", f"The tags were {scheme}; they are BIO now.", scheme=scheme)
    count = len(done.turned)
    if scheme == "BIO" and count > done.begun:
        told = f"The tags were IOB1, where an entity begins with I-; they are BIO now: {count:,} begin with B- instead."
        emit("data", told, scheme="IOB1", count=count)
    elif count:
        listed = ", ".join(_place(names[sentence], word) for sentence, word in done.turned[:5])
        told = f"Repaired tags: entities that did not begin with B- do now, {count:,}: {listed}{', …' if count > 5 else ''}."
        emit("data", told, count=count, items=[_place(names[sentence], word) for sentence, word in done.turned])
    return done.tags


def _place(name: str, word: int) -> str:
    return f"{name[:80]!r} word {word + 1}"
