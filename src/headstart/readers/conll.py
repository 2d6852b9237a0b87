"""Files of tagged words: a word and its tag a line, a blank line between sentences. Also plain sentences, one a line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from headstart._events import emit
from headstart.errors import ProblemError, UnknownName
from headstart.readers import ABOUT, IMAGE_SUFFIXES, PARTS, TEXT_SUFFIXES, Found, Options, part_of
from headstart.readers._files import LONGEST_LINE, Lines

SUFFIXES = (".conll", ".conllu", ".conllx", ".bio", ".iob", ".iob2", ".iobes", ".bilou")
OTHERS = (*IMAGE_SUFFIXES, ".csv", ".jsonl", ".ndjson", ".json", ".parquet", ".npz", ".npy", ".zip", ".gz", ".md", ".py")
CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
FORM, UPOS = 1, 3
DOCUMENT = "-DOCSTART-"
TAG = re.compile(r"O|[BIESLUM]-\S+")  # BIO, IOB1, IOBES, BILOU, BMES
BARE = frozenset("OBI")  # the same with one type, which then needs no name
GLANCE = 65536  # bytes that tell what a file is
LOOKED_AT = 20_000  # lines that tell which columns it has


@dataclass(frozen=True)
class _Layout:
    """How the lines of a file are cut: at tabs or at blanks, into ``width`` columns; ``width`` 0 for plain sentences."""

    tabs: bool
    width: int
    conllu: bool = False
    tags: tuple[int, ...] = ()  # the columns that hold BIO-like tags, by their cells

    def cells(self, line: str) -> list[str]:
        return line.rstrip().split("\t") if self.tabs and "\t" in line.rstrip() else line.split()

    def is_comment(self, cells: list[str]) -> bool:
        """Whether a line that begins with ``#`` is about the words. It may be one: tweets are full of hash signs."""
        if self.conllu or len(cells) != self.width:
            return True
        return bool(self.tags) and not TAG.fullmatch(cells[self.tags[-1]])

    def tag(self, word: int) -> int | None:
        """The column with the tags, if nobody names one."""
        likely = [column for column in self.tags if column != word]
        if not likely and self.conllu:
            return UPOS
        likely = likely or [column for column in range(self.width) if column != word]
        return likely[-1] if likely else None


@dataclass(eq=False)
class _Sentence:
    line: int
    document: str
    rows: list[list[str]] = field(default_factory=list)
    trouble: str = ""


def read(path: str | Path, options: Options = Options()) -> Found:  # noqa: B008 (frozen)
    """The sentences in the file at ``path``, or in the files of a folder whose names say train, valid or test.

    Columns stand between tabs or blanks. Words are the first column (``options.inputs`` names another, counted from 1),
    tags the last one with BIO-like tags, else the last (``options.label``); in CoNLL-U, which knows its columns by name,
    ``form`` and ``upos``. Lines that begin with ``#`` are comments unless they look like the other lines. ``-DOCSTART-``
    and ``# newdoc`` begin a document, which is the block of its sentences. A text file without columns has a sentence a
    line, split at blanks, and no tags. Names are ``file:line``.
    """
    _refuse(options)
    root = Path(path)
    files = [(root, "")] if not root.is_dir() else _files(root)
    found = [_read(file, root, options) for file, _ in files]
    sentences = [(name, one) for inside in found for name, one in inside.sentences]
    parts = [part for (_, part), inside in zip(files, found, strict=True) for _ in inside.sentences]
    bad = [i for i, (_, one) in enumerate(sentences) if one.trouble]
    good = sorted(set(range(len(sentences))) - set(bad))
    if not sentences:
        raise ProblemError(f"{path} holds no sentences. A word a line, and a blank line between sentences, are needed.")
    words = [inside.word for inside in found for _ in inside.sentences]
    tags = [inside.tag for inside in found for _ in inside.sentences]
    documents = [sentences[i][1].document for i in good]
    return Found(
        kind="text",
        inputs=[tuple(row[words[i]] for row in sentences[i][1].rows) for i in good],
        names=tuple(sentences[i][0] for i in good),
        targets=_targets([sentences[i][1] for i in good], [tags[i] for i in good]),
        parts=tuple(parts[i] for i in good),
        blocks=np.array(documents, dtype=object) if any(documents) else None,
        root=str(root if root.is_dir() else root.parent),
        skipped=tuple((sentences[i][0], sentences[i][1].trouble) for i in bad),
    )


def looks_tagged(path: Path) -> bool:
    """Whether a file, or a folder's files for training and testing, hold tagged words."""
    if not path.is_dir():
        return path.suffix.lower() in SUFFIXES or _glance(path) is not None
    inside = [file for file in _candidates(path) if part_of(file.name) or file.suffix.lower() in SUFFIXES]
    for folder in _part_folders(path):
        inside += _candidates(folder)[:3]
    return any(looks_tagged(file) for file in inside[:12])


def _refuse(options: Options) -> None:
    given = {"--split": options.split, "--block": options.block, "--slice": ", ".join(options.slices)}
    for option, name in given.items():
        if name:
            raise ProblemError(
                f"Files of tagged words have no column '{name}' for {option}: their parts are files, their blocks documents "
                f"({DOCUMENT}). Leave it out."
            )
    if len(options.inputs) > 1:
        raise ProblemError(f"The words stand in one column; {len(options.inputs)} are named. Name one with --input.")


def _files(root: Path) -> list[tuple[Path, str]]:
    """The files to read below ``root``, with their parts."""
    direct = _candidates(root)
    parts = [(file, part) for file in direct if (part := part_of(file.name))]
    inside = [(file, PARTS[folder.name.lower()]) for folder in _part_folders(root) for file in _candidates(folder)]
    files = parts or inside or [(file, "") for file in direct]
    tagged = [(file, part) for file, part in files if file.suffix.lower() in SUFFIXES or _glance(file) is not None]
    files = tagged or [(file, part) for file, part in files if file.suffix.lower() in TEXT_SUFFIXES]
    if not files:
        raise ProblemError(
            f"The folder {root} holds no files of tagged words. Files such as train.txt and test.txt are needed, with a word "
            "and its tag a line, and a blank line between sentences."
        )
    files.sort(key=lambda one: ("train", "valid", "exam", "").index(one[1]))
    read = {file for file, _ in files}
    left = [file.name for file in direct if file not in read]
    if left:
        emit("data", f"Not read: other files, {len(left)}: {', '.join(map(repr, left[:5]))}.", files=left)
    return files


def _candidates(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if not file.name.startswith(".")
        and not file.name.lower().startswith(ABOUT)
        and file.suffix.lower() not in OTHERS
        and file.is_file()
    )


def _part_folders(root: Path) -> list[Path]:
    return sorted(one for one in root.iterdir() if one.name.lower() in PARTS and one.is_dir() and not one.is_symlink())


def _glance(file: Path) -> _Layout | None:
    """The layout of a file whose start looks like words with tags."""
    try:
        with open(file, "rb") as opened:
            content = opened.read(GLANCE)
    except OSError:
        return None
    if b"\0" in content:
        return None
    lines = content.decode("utf-8", "replace").splitlines()
    lines = lines[:-1] if len(content) == GLANCE else lines
    layout = _layout([line for line in lines if line.strip()], file)
    tagged = layout.width > 1 and (layout.tags or layout.conllu)
    return layout if tagged and any(not line.strip() for line in lines) else None


@dataclass(frozen=True, eq=False)
class _Inside:
    """The sentences of a file with their names; which column holds words, and which tags (None: no tags)."""

    sentences: list[tuple[str, _Sentence]]
    word: int
    tag: int | None


def _read(file: Path, root: Path, options: Options) -> _Inside:
    try:
        lines = list(_stripped(file))
    except OSError as error:
        raise ProblemError(f"{file} cannot be read: {error.strerror or error}. Check the path.") from error
    layout = _layout([line for _, line in lines if line], file, told=bool(options.inputs or options.label))
    name = file.relative_to(root).as_posix() if root.is_dir() else file.name
    if not layout.width:
        emit("data", f"'{name}' has no columns: every line was taken for a sentence, and split at blanks.", file=name)
        found = [_Sentence(n, "", [[word] for word in line.split()], _too_long(line)) for n, line in lines if line]
        return _Inside([(f"{name}:{one.line}", one) for one in found], 0, None)
    word = _column(options.inputs[0], layout, file) if options.inputs else FORM if layout.conllu else 0
    tag = _column(options.label, layout, file) if options.label else layout.tag(word)
    if tag == word:
        raise ProblemError(
            f"Column {word + 1} of {file.name} holds the words; the tags stand in another. Name both with --input and --label."
        )
    found = list(_sentences(lines, layout, name))
    _check_columns(found, layout, file)
    documents = len({one.document for one in found} - {""})
    if documents == 1 and all(one.document for one in found):  # that says nothing about what depends on what
        found = [replace(one, document="") for one in found]
    elif documents:
        told = f"Documents in '{name}': {documents}. The sentences of one are never divided."
        emit("data", told, file=name, documents=documents)
    return _Inside([(f"{name}:{one.line}", one) for one in found], word, tag)


def _stripped(file: Path) -> Iterator[tuple[int, str]]:
    lines = Lines(file)
    for line in lines:
        yield lines.number, line.rstrip() if line.strip() else ""


def _layout(lines: Sequence[str], file: Path, *, told: bool = False) -> _Layout:
    """``told``: a column is named, so there are columns."""
    words = [line for line in lines[:LOOKED_AT] if not line.startswith(("#", DOCUMENT))] or list(lines[:LOOKED_AT])
    tabs = sum("\t" in line for line in words) > len(words) / 2
    table = [_Layout(tabs, 0).cells(line) for line in words]
    width, count = Counter(map(len, table)).most_common(1)[0] if table else (0, 0)
    regular = [row for row in table if len(row) == width]
    conllu = tabs and width == len(CONLLU) and all(re.match(r"\d", row[0]) for row in regular)
    tags = tuple(column for column in range(width) if _tags([row[column] for row in regular]))
    # Words that stand in columns have the same number of them everywhere; sentences have not.
    columns = len(table) > 0 and count >= 0.95 * len(table) and (width == 1 or tags or told or count >= 20)
    if not (tabs or columns or file.suffix.lower() in SUFFIXES):
        return _Layout(False, 0)
    return _Layout(tabs, width, conllu, tags)


def _tags(cells: list[str]) -> bool:
    alike = sum(TAG.fullmatch(cell) is not None for cell in cells)
    return alike > 0.98 * len(cells) or ("B" in cells and BARE.issuperset(cells))


def _column(name: str, layout: _Layout, file: Path) -> int:
    """The index of the column with this number, counted from 1 (or back from -1), or with its CoNLL-U name."""
    if layout.conllu and name.lower() in CONLLU:
        return CONLLU.index(name.lower())
    try:
        number = int(name)
    except ValueError:
        known = (*(CONLLU if layout.conllu else ()), *map(str, range(1, layout.width + 1)))
        raise UnknownName.of(f"column of {file.name}", name, known, "Columns are counted from 1.") from None
    if not 1 <= abs(number) <= layout.width:
        raise ProblemError(f"{file.name} has no column {number}; it has {layout.width}. Columns are counted from 1.")
    return number - 1 if number > 0 else layout.width + number


def _sentences(lines: Sequence[tuple[int, str]], layout: _Layout, name: str) -> Iterator[_Sentence]:
    document, documents, spans = "", 0, 0
    now: _Sentence | None = None
    for number, line in lines:
        cells = layout.cells(line) if line else []
        comment = line.startswith("#") and layout.is_comment(cells)
        begins = line.startswith((DOCUMENT, "# newdoc")) and (comment or line.startswith(DOCUMENT))
        if begins:
            documents += 1
            document = f"{name} document {documents}"
        if now is not None and (not line or begins):
            yield now
            now = None
        if not line or begins or comment:
            continue
        if layout.conllu and not cells[0].isdigit():  # 3-4 spells out a contraction, 3.1 is a word that is not there
            spans += 1
            continue
        now = now or _Sentence(number, document)
        now.rows.append(cells)
        now.trouble = now.trouble or _too_long(line)
        if len(cells) != layout.width and not now.trouble:
            now.trouble = f"has {_columns(len(cells))} in line {number}; the other lines have {layout.width}"
    if now is not None:
        yield now
    if spans:
        emit("data", f"Not read in '{name}': lines of contractions and of words left out, {spans}.", file=name, lines=spans)


def _columns(count: int) -> str:
    return f"{count} column{'' if count == 1 else 's'}"


def _too_long(line: str) -> str:
    return f"has a line of more than {LONGEST_LINE:,} characters" if len(line) >= LONGEST_LINE else ""


def _check_columns(found: Sequence[_Sentence], layout: _Layout, file: Path) -> None:
    """``ProblemError`` if so many lines have another number of columns that these are no columns."""
    odd = [one for one in found if one.trouble]
    if len(odd) > max(1, len(found) / 5):
        raise ProblemError(
            f"{file} is no file of tagged words: sentence {odd[0].line} and {len(odd) - 1} others have lines with different "
            f"numbers of columns; most have {layout.width}. The same columns in every line are needed."
        )


def _targets(sentences: Sequence[_Sentence], tags: Sequence[int | None]) -> np.ndarray | None:
    if all(tag is None for tag in tags):
        return None
    out = np.empty(len(sentences), dtype=object)
    for i, (one, tag) in enumerate(zip(sentences, tags, strict=True)):
        out[i] = None if tag is None else tuple(row[tag] for row in one.rows)
    return out
