"""Text files: their encoding, their lines, and whole documents, in bounded memory."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from pathlib import Path

from headstart._events import emit
from headstart.errors import ProblemError

LONGEST_LINE = 16_000_000  # characters; a text of a million takes up to twelve in JSON (\uXXXX\uXXXX)
MAX_DOCUMENT = 4_000_004  # bytes: a million characters of four bytes each, and a byte-order mark
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16: it begins with the same two bytes
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class Lines:
    """The lines of a text file with their ends (``\\n``, ``\\r\\n`` or ``\\r``), one at a time.

    Of a line longer than ``LONGEST_LINE`` only the start comes, then what is in ``keep`` (a table's quotes and commas) with
    a dot for anything between; its number stands in ``long``. ``number`` is that of the line which came last. Raises
    ``ProblemError`` with the place of the first byte that is not of the file's encoding: UTF-8, or what its mark says.
    """

    def __init__(self, path: Path, *, keep: str = "") -> None:
        self.path = path
        self.number = 0
        self.long: list[int] = []
        self._drop = re.compile(f"[^{re.escape(keep)}\r\n]+")

    def __iter__(self) -> Iterator[str]:
        self.number = 0
        with open(self.path, "rb") as raw:
            encoding = _encoding(raw.peek(4)[:4])
            if encoding != "utf-8-sig":
                emit("data", f"'{self.path.name}' was read as {encoding.upper()}, as its byte-order mark says.")
            try:
                # newline: line ends stay as they are, for the CSV parser needs them inside quotes
                yield from self._cut(io.TextIOWrapper(raw, encoding, newline=""))
            except UnicodeDecodeError as error:
                raise ProblemError(f"{self.path} {_where(self.path, encoding)}. Save it as UTF-8.") from error

    def _cut(self, file: io.TextIOWrapper) -> Iterator[str]:
        while line := file.readline(LONGEST_LINE):
            self.number += 1
            if len(line) == LONGEST_LINE and line[-1] not in "\r\n":
                self.long.append(self.number)
                more = line
                while more and more[-1] not in "\r\n":
                    more = file.readline(LONGEST_LINE)
                    # Two quotes side by side are one letter, or an empty cell: without them a table has the same cells.
                    line += self._drop.sub(".", more).replace('""', "")
            yield line


def document(path: Path) -> str:
    """The whole file as one text with ``\\n`` at line ends. ``ProblemError`` with a short reason if it cannot be used."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_DOCUMENT + 1)
    except OSError as error:
        raise ProblemError(f"cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_DOCUMENT:
        raise ProblemError("has more than 1,000,000 characters. Cut it into parts")
    encoding = _encoding(content[:4])
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ProblemError(_where(path, encoding)) from error
    return one_newline(text)


def one_newline(text: str) -> str:
    """The same text, wherever it was written: every line ends in ``\\n``."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _encoding(start: bytes) -> str:
    return next((encoding for mark, encoding in MARKS.items() if start.startswith(mark)), "utf-8-sig")


def _where(path: Path, encoding: str) -> str:
    """The first byte of the file that is not of the encoding, in words. A second pass, so that the first one is fast."""
    decoder, line, name = codecs.getincrementaldecoder(encoding)(), 1, encoding.removesuffix("-sig").upper()
    with open(path, "rb") as file:
        block = b"-"
        while block:
            block = file.read(2**20)
            try:
                line += decoder.decode(block, final=not block).count("\n")
            except UnicodeDecodeError as error:
                place = file.tell() - len(error.object) + error.start
                line += error.object[: error.start].count(b"\n")
                return f"is not {name}: byte {place:,} (line {line:,}) is 0x{error.object[error.start]:02x}"
    return f"is not {name}"
