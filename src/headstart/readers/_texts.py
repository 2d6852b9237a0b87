"""Which column of a table holds texts, or lists of words, and what their tags are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart._events import emit
from headstart.errors import ProblemError
from headstart.readers._files import one_newline
from headstart.readers._tables import Table

USUAL_TEXTS = ("text", "review", "sentence", "content", "message", "body", "query", "question", "title", "comment")
USUAL_WORDS = ("tokens", "words")
USUAL_TAGS = ("ner_tags", "tags", "labels", "ner", "pos_tags", "upos")
LOOKED_AT = 1000  # cells: enough to know a column by
FEW_WORDS, MANY_WORDS = 3, 8  # in the middle cell of a column of texts: alone; beside columns of numbers


@dataclass(frozen=True)
class Texts:
    """The texts of a table, one a row; the columns they come from; and the column with the words' tags, if there is one."""

    inputs: list[Any]
    columns: tuple[str, ...]
    tags: str | None = None


@dataclass(frozen=True)
class _Look:
    """What the cells of a column are like: how many differ (a share), and how long the middle one is, in words."""

    name: str
    words: int
    differ: float


def find_texts(table: Table, asked: tuple[str, ...], roles: list[str]) -> Texts | None:
    """The texts in the columns that were ``asked`` for, or in the one that looks most like texts. None: there are none.

    Lists of words come first where another column has a tag for each word; else a column of texts.
    """
    lists = [name for name in asked or table.columns if name not in roles and _holds_lists(table.columns[name])]
    if asked:
        if lists and len(asked) == 1:
            return _word_lists(table, asked[0], roles)
        return _asked(table, asked)
    tagged = [name for name in lists if _tag_columns(table, name, [*roles, *table.columns])]
    if tagged:
        return _word_lists(table, _preferred(tagged, USUAL_WORDS), roles)
    chosen = _most_like_text(table, roles)
    if chosen is not None:
        return Texts(_joined(table, (chosen,)), (chosen,))
    usual = [name for name in lists if _rank(name, USUAL_WORDS) < 99]
    return _word_lists(table, usual[0], roles) if usual else None


def _asked(table: Table, asked: tuple[str, ...]) -> Texts | None:
    if any(_strings(table, name) is None or table.numbers(name) is not None for name in asked):
        return None
    if len(asked) > 1:
        told = ", ".join(map(repr, asked))
        emit("data", f"Each text is made of several columns, one a line: {told}.", columns=list(asked))
    return Texts(_joined(table, asked), asked)


def _most_like_text(table: Table, roles: list[str]) -> str | None:
    free = [name for name in table.columns if name not in roles]
    numeric = [name for name in free if table.numbers(name) is not None]
    known = set(numeric)
    looks = [_look(name, strings) for name in free if name not in known and (strings := _strings(table, name))]
    enough = MANY_WORDS if numeric else FEW_WORDS
    likely = [look for look in looks if _is_usual(look) or (look.differ > 0.5 and look.words >= enough)]
    if not likely:
        return None
    chosen = min(likely, key=lambda look: (_rank(look.name, USUAL_TEXTS), -look.words))
    left = [name for name in free if name != chosen.name]
    others = f" Not used: {', '.join(repr(name[:80]) for name in left[:8])}{', …' if len(left) > 8 else ''}." if left else ""
    told = f"Inputs: the texts in the column {chosen.name!r} (--text names another)."
    emit("data", told + others, column=chosen.name, left=left)
    return chosen.name


def _look(name: str, values: Sequence[str]) -> _Look:
    seen = [value for value in values[:: max(1, len(values) // LOOKED_AT)] if value.strip()][:LOOKED_AT]
    if not seen:
        return _Look(name, 0, 0.0)
    return _Look(name, int(np.median([_words_in(value) for value in seen])), len(set(seen)) / len(seen))


def _is_usual(look: _Look) -> bool:
    """Named like texts, and not a few words again and again: ``title`` may hold Mr and Mrs."""
    return _rank(look.name, USUAL_TEXTS) < 99 and look.differ > (0.1 if look.words >= FEW_WORDS else 0.5)


def _words_in(value: str) -> int:
    """Words between blanks; two letters of a script that has no blanks count as one."""
    start = value[:2000]
    return max(len(start.split()), sum(letter >= "⺀" for letter in start) // 2)


def _rank(name: str, usual: Sequence[str]) -> int:
    tame = name.strip().lower()
    tame = tame if tame in usual else tame.removesuffix("s")
    return usual.index(tame) if tame in usual else 99


def _preferred(names: Sequence[str], usual: Sequence[str]) -> str:
    return min(names, key=lambda name: _rank(name, usual))


def _strings(table: Table, name: str) -> list[str] | None:
    """The column if most of its cells are strings, with those that are not as they are; None otherwise."""
    values = table.columns[name]
    if isinstance(values, np.ndarray):
        return None
    if table.text:
        return list(values)
    seen = [value for value in values if value is not None]
    if sum(isinstance(value, str) for value in seen) <= len(seen) / 2:
        return None
    return [value if isinstance(value, str) else "" for value in values]


def _joined(table: Table, names: tuple[str, ...]) -> list[Any]:
    if len(names) == 1:  # what is no text stays what it is: the check of the item says so
        values = table.columns[names[0]]
        return [one_newline(value) if isinstance(value, str) else "" if value is None else value for value in values]
    columns = [table.columns[name] for name in names]
    return ["\n".join(one_newline(str(cell)) for cell in cells if cell) for cells in zip(*columns, strict=True)]


def _holds_lists(values: Sequence[Any], of: type | tuple[type, ...] = str) -> bool:
    if isinstance(values, np.ndarray):
        return False
    seen = [value for value in values if value is not None][:LOOKED_AT]
    alike = [isinstance(value, (list, tuple)) and all(isinstance(one, of) for one in value) for value in seen]
    return any(seen) and sum(alike) > len(alike) / 2


def _word_lists(table: Table, name: str, roles: list[str]) -> Texts:
    free = [other for other in table.columns if other not in roles]
    given = _tag_columns(table, name, roles)
    fitting = [] if given else _tag_columns(table, name, free)
    if len(fitting) > 1 and _rank(_preferred(fitting, USUAL_TAGS), USUAL_TAGS) == 99:
        raise ProblemError(f"The columns {', '.join(fitting)} all have a tag for each word. Name one with --label.")
    tags = _preferred(fitting, USUAL_TAGS) if fitting else None
    taken = f", their tags in the column {tags!r} (--label names another)" if tags else ""
    emit("data", f"Inputs: the lists of words in the column {name!r}{taken}.", column=name, tags=tags)
    values = table.columns[name]
    inputs = [tuple(value) if isinstance(value, (list, tuple)) else () if value is None else value for value in values]
    return Texts(inputs, (name,), tags)


def _tag_columns(table: Table, words: str, among: Sequence[str]) -> list[str]:
    """Those of ``among`` that have, in most rows, one tag (a word or a number) for each word."""
    found = []
    for name in dict.fromkeys(among):
        if name == words or not _holds_lists(table.columns[name], (str, int)):
            continue
        pairs = list(zip(table.columns[words], table.columns[name], strict=True))[:LOOKED_AT]
        both = [(one, tags) for one, tags in pairs if isinstance(one, (list, tuple)) and isinstance(tags, (list, tuple))]
        if sum(len(one) == len(tags) for one, tags in both) > len(both) / 2:
            found.append(name)
    return found
