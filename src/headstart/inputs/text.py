"""One text: a document, or a sentence that somebody has split into words.

What happens to each odd text stands as a table in ``docs/data.md``.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart import _io
from headstart.errors import ProblemError

MAX_CHARACTERS = 1_000_000  # a thick novel; what is longer is a file that was not cut into texts
_VISIBLE = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}  # signs for control characters
SHOWN = (420, 180)  # characters of a long text that ``show`` keeps: at its start, at its end


@dataclass(frozen=True)
class Text:
    """A document (``str``), or a sentence as a tuple of its words (``tuple[str, ...]``) where each word has a tag.

    Texts are taken as they are: no case is changed, nothing is normalised.
    """

    name = "text"
    plural = "texts"

    def check(self, raw: Any) -> None:
        """``ProblemError`` with a short reason unless it is a text that any model can read."""
        self.load(raw)

    def load(self, raw: Any) -> str | tuple[str, ...]:
        """The text, or the tuple of words, itself."""
        if isinstance(raw, str):
            _check(raw)
            if not raw.strip():
                raise ProblemError("is empty" if not raw else "holds nothing but blanks")
            return raw
        if not isinstance(raw, tuple):
            raise ProblemError(f"is a {type(raw).__name__}; a text, or a tuple of words, is needed")
        if not raw:
            raise ProblemError("has no words")
        for place, word in enumerate(raw, start=1):
            if not isinstance(word, str):
                raise ProblemError(f"has a {type(word).__name__} for word {place}; every word is a text")
            if not word.strip():
                raise ProblemError(f"has nothing for word {place}; a word needs at least one letter or sign")
        _check("\n".join(raw))
        return raw

    def fingerprint(self, raw: Any) -> str:
        """The digest of the UTF-8 bytes. A tuple of words is never the same as a text: no text holds a zero byte."""
        text = self.load(raw)
        return _io.digest((text if isinstance(text, str) else "\0" + "\0".join(text)).encode())

    def fit_plain(self, inputs: Sequence[Any]) -> dict[str, np.ndarray]:
        """The vocabulary of the training items, as arrays."""
        from headstart.inputs import _ngrams

        return _ngrams.fit_plain(inputs)

    def plain(self, inputs: Sequence[Any], state: dict[str, np.ndarray]) -> Any:
        """Counts of words and pieces of words: a sparse matrix, one row a document or, of tuples, one row a word."""
        from headstart.inputs import _ngrams

        return _ngrams.plain(inputs, state)

    def views(self, count: int) -> tuple[str, ...]:
        """None: another wording is another text."""
        return ()

    def work(self, raw: Any) -> float:
        """One for some sixteen word pieces: what an encoder's upper layers take for as long as for a photo."""
        return max(0.1, (len(raw) if isinstance(raw, str) else sum(map(len, raw)) + len(raw)) / 70)

    def show(self, raw: Any, name: str) -> str:
        """A figure with the escaped text; of a long one, its start and end with the number of characters between."""
        caption = html.escape(name.encode("utf-8", "backslashreplace").decode())
        try:
            text = self.load(raw)
        except ProblemError as error:
            return f"<figure><p>{html.escape(str(error))}</p><figcaption>{caption}</figcaption></figure>"
        whole = (text if isinstance(text, str) else " ".join(text)).translate(_VISIBLE)
        # dir: letters that turn the direction of writing must not turn the page.
        return f'<figure><p class="text" dir="auto">{_shortened(whole)}</p><figcaption>{caption}</figcaption></figure>'


def _check(text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise ProblemError(f"has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read. Cut it into parts")
    if "\0" in text:
        raise ProblemError(f"has a zero byte (NUL) at character {text.index(chr(0)) + 1:,}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ProblemError(f"has half a character (a lone surrogate) at character {error.start + 1:,}") from error


def _shortened(text: str) -> str:
    start, end = SHOWN
    gone = len(text) - start - end
    if gone <= 0:
        return html.escape(text)
    return f"{html.escape(text[:start])} <em>[… {gone:,} characters …]</em> {html.escape(text[-end:])}"
