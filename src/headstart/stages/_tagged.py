"""Tagged sentences for people: which spans of two readings differ, in a line and as safe markup."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[str, int, int]  # type, first word, word after the last

AROUND = 12  # words shown to both sides of what differs
WHOLE = 60  # sentences up to so many words are shown whole
MOST = 160  # words that are shown at most
LETTERS = 60  # of one word


@dataclass(frozen=True)
class Place:
    """Words that spans of the truth, of the answer or of both cover together."""

    start: int
    stop: int
    truth: tuple[Span, ...]
    answer: tuple[Span, ...]

    @property
    def verdict(self) -> str:
        """``right``, ``missed`` (nothing was answered), ``false`` (nothing is there), ``wrong`` (another type, other borders)."""
        if self.truth == self.answer:
            return "right"
        return "missed" if not self.answer else "false" if not self.truth else "wrong"


def places(truth: Sequence[Span], answer: Sequence[Span]) -> list[Place]:
    """The spans of both readings, those that overlap in one place, in the order of the words."""
    found: list[Place] = []
    both = [(span, True) for span in truth] + [(span, False) for span in answer]
    for span, true in sorted(both, key=lambda one: one[0][1:]):
        mine = ((span,), ()) if true else ((), (span,))
        if found and span[1] < found[-1].stop:
            last = found[-1]
            found[-1] = Place(last.start, max(last.stop, span[2]), last.truth + mine[0], last.answer + mine[1])
        else:
            found.append(Place(span[1], span[2], *mine))
    return found


def listed(words: Sequence[str], spans: Sequence[Span]) -> str:
    """``ORG: European Union; PER: Smith``, or ``none``."""
    return "; ".join(f"{kind}: {' '.join(map(_short, words[start:stop]))}" for kind, start, stop in spans) or "none"


def shown(words: Sequence[str], found: Sequence[Place], name: str, *, right: bool) -> str:
    """A figure with the sentence, its places marked and named; the right ones only if ``right``. Of a long sentence, the
    words around what differs."""
    marked = {place.start: place for place in found if right or place.verdict != "right"}
    kept, at = _kept(len(words), found), 0
    parts: list[str] = []
    while at < len(words):
        place = marked.get(at)
        stop = place.stop if place else at + 1
        if at not in kept:
            if parts[-1:] != ["…"]:
                parts.append("…")
        elif place:
            inner = " ".join(html.escape(_short(word)) for word in words[at:stop])
            told = html.escape(_told(place))
            parts.append(f'<mark class="{place.verdict}">{inner} <small>{told}</small></mark>')
        else:
            parts.append(html.escape(_short(words[at])))
        at = stop
    caption = html.escape(name.encode("utf-8", "backslashreplace").decode())
    # dir: letters that turn the direction of writing must not turn the page.
    return f'<figure><p class="tagged" dir="auto">{" ".join(parts)}</p><figcaption>{caption}</figcaption></figure>'


def _told(place: Place) -> str:
    truth, answer = (", ".join(kind for kind, _, _ in spans) for spans in (place.truth, place.answer))
    if place.verdict in ("missed", "false"):
        return f"{place.verdict}: {truth or answer}"
    if place.verdict == "right":
        return truth
    return f"{answer}, other borders" if truth == answer else f"{answer}, is {truth}"


def _kept(count: int, found: Sequence[Place]) -> set[int]:
    if count <= WHOLE:
        return set(range(count))
    kept: set[int] = set()
    for place in found:
        if place.verdict != "right" and len(kept) < MOST:
            kept |= set(range(max(0, place.start - AROUND), min(count, place.stop + AROUND)))
    return kept | {place.start for place in found if kept & set(range(place.start, place.stop))}


def _short(word: str) -> str:
    word = word.encode("utf-8", "backslashreplace").decode()
    return word if len(word) <= LETTERS else f"{word[:LETTERS]}…"
