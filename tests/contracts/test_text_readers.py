"""What the readers make of texts and of tagged words, and of files that are odd, damaged or very large."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pytest
from pyarrow import parquet

from headstart._events import listen
from headstart.errors import ProblemError, UnknownName
from headstart.readers import Options, arrays, conll, folder, part_of, table
from headstart.readers._files import Lines
from headstart.stages.read import read_examples


def heard(function, *args):
    events = []
    with listen(events.append):
        found = function(*args)
    return found, "\n".join(event.message for event in events)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- tables -----------------------------------------------------------------------------------------------------------

REVIEWS = [
    {"id": i, "review": f"It was, all in all, number {i} of the films\nthat I saw.", "stars": i % 5, "who": f"p{i}"}
    for i in range(12)
]


def as_table(path: Path, records: list[dict]) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(arrow.Table.from_pylist(records), path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    else:
        mark = "\t" if path.suffix == ".tsv" else ","
        quote = lambda cell: '"' + str(cell).replace('"', '""') + '"'  # noqa: E731
        rows = [list(records[0]), *(record.values() for record in records)]
        path.write_text("\n".join(mark.join(map(quote, row)) for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_format_gives_the_same_texts(tmp_path, suffix):
    path = as_table(tmp_path / f"t{suffix}", REVIEWS)
    found, told = heard(table.read, path, Options(label="stars"))
    assert found.kind == "text"
    assert found.inputs == [record["review"] for record in REVIEWS]
    assert found.columns == ("review",)
    assert found.names[:2] == ("row 1", "row 2")
    np.testing.assert_array_equal(found.targets, [i % 5 for i in range(12)])
    assert "texts in the column 'review' (--text names another). Not used: 'id', 'who'." in told


LONG = [f"the {i}th of many long and winding roads that lead to it" for i in range(9)]
COLUMNS = {
    "the usual name": ({"a": LONG, "text": [f"x {i}" for i in range(9)]}, "text"),
    "the plural of it": ({"a": LONG, "Reviews": [f"x {i}" for i in range(9)]}, "Reviews"),
    "the first of the usual names": ({"title": LONG, "body": LONG}, "body"),
    "the longest": ({"a": [f"two short {i}" for i in range(9)], "b": LONG}, "b"),
    "a script without blanks": ({"a": ["カードはどこですか" * 2 + str(i) for i in range(9)], "b": ["x"] * 9}, "a"),
    "beside numbers": ({"n": list(range(9)), "note": LONG}, "note"),
    "names beside numbers are no texts": ({"n": list(range(9)), "who": [f"Mr. Bo Li {i}" for i in range(9)]}, None),
    "Mr and Mrs are no titles": ({"n": list(range(9)), "title": ["Mr", "Mrs", "Dr"] * 3}, None),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_which_column_is_taken_for_the_texts(tmp_path, name):
    columns, expected = COLUMNS[name]
    records = [dict(zip(columns, row, strict=True), label="x") for row in zip(*columns.values(), strict=True)]
    found = table.read(as_table(tmp_path / "t.csv", records))
    assert (found.kind, found.columns) == (("text", (expected,)) if expected else ("numbers", ("n",)))


def test_a_named_column_is_text_whatever_it_looks_like(tmp_path):
    path = write(tmp_path / "t.csv", "word,n,label\nx,1,a\ny,2,b\n")
    found = table.read(path, Options(inputs=("word",)))
    assert (found.kind, found.inputs, found.columns) == ("text", ["x", "y"], ("word",))
    assert table.read(path, Options(inputs=("n",))).kind == "numbers"


def test_a_named_column_of_files_holds_images(tmp_path):
    write(tmp_path / "img/1", b"\x89PNG")
    path = write(tmp_path / "t.csv", "file,label\nimg/1,a\nimg/1,b\n")
    assert table.read(path, Options(inputs=("file",))).kind == "image"


def test_several_columns_make_one_text(tmp_path):
    path = write(tmp_path / "t.csv", "title,body,label\nA,first,x\n,second,y\nC,,x\n")
    found, told = heard(table.read, path, Options(inputs=("title", "body")))
    assert found.inputs == ["A\nfirst", "second", "C"]
    assert found.columns == ("title", "body")
    assert "several columns, one a line: 'title', 'body'" in told


def test_labels_have_usual_names_too(tmp_path):
    found, told = heard(table.read, write(tmp_path / "t.csv", "text,category\nhow are you,a\nwhere are they,b\n"))
    assert found.targets.tolist() == ["a", "b"]
    assert "'category' was taken for the labels" in told
    assert "Not used" not in told


def test_cells_that_are_no_texts_are_left_to_the_check_of_items(tmp_path):
    path = as_table(tmp_path / "t.jsonl", [{"text": text} for text in ("one of them", None, 5, "and more of it")])
    assert table.read(path).inputs == ["one of them", "", 5, "and more of it"]


def test_line_ends_in_cells_are_one_kind(tmp_path):
    path = write(tmp_path / "t.csv", 'text,label\r\n"one of\r\nthem",a\r\n"two of\rthem",b\r\n')
    assert table.read(path).inputs == ["one of\nthem", "two of\nthem"]


def test_tables_of_the_parts_are_read_together(tmp_path):
    write(tmp_path / "train.csv", "text,category\nhow are you,a\nwhere are they,b\n")
    write(tmp_path / "test-00000-of-00001.csv", "category,text\nb,what is it\n")
    found, told = heard(table.read, tmp_path)
    assert found.inputs == ["how are you", "where are they", "what is it"]
    assert found.parts == ("train", "train", "exam")
    assert found.names[-1] == "test-00000-of-00001.csv row 1"
    assert "'train.csv' (train, 2 rows)" in told
    write(tmp_path / "dev.csv", "text\nhow is she\n")
    with pytest.raises(ProblemError, match=r"train.csv and dev.csv do not fit: the column 'category'"):
        table.read(tmp_path)


WORDS = [["Ann", "Lee", "left"], ["Oslo"], ["he", "ran"]]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_lists_of_words_and_of_tags(tmp_path, suffix):
    tags = [["B-PER", "I-PER", "O"], ["B-LOC"], ["O", "O"]]
    records = [{"id": str(i), "tokens": words, "ner_tags": tags[i]} for i, words in enumerate(WORDS)]
    found, told = heard(table.read, as_table(tmp_path / f"t{suffix}", records))
    assert found.inputs == [tuple(words) for words in WORDS]
    assert found.targets.tolist() == [tuple(one) for one in tags]
    assert "words in the column 'tokens', their tags in the column 'ner_tags'" in told


def test_numbers_for_tags_get_the_names_that_the_file_has(tmp_path):
    feature = {"names": ["O", "B-PER", "I-PER"], "_type": "ClassLabel"}
    about = {"info": {"features": {"ner_tags": {"feature": feature, "_type": "Sequence"}}}}
    plain = arrow.table({"tokens": WORDS, "ner_tags": [[1, 2, 0], [1], [0, 0]]})
    for metadata, first in ((None, (1, 2, 0)), ({"huggingface": json.dumps(about)}, ("B-PER", "I-PER", "O"))):
        parquet.write_table(plain.replace_schema_metadata(metadata), tmp_path / "t.parquet")
        assert table.read(tmp_path / "t.parquet").targets[0] == first


def test_lists_that_are_labels_stay_labels(tmp_path):
    records = [{"text": f"so it went on {i}", "tags": ["a", "b"][: i % 3]} for i in range(6)]
    found = table.read(as_table(tmp_path / "t.jsonl", records), Options(label="tags"))
    assert (found.inputs[0], found.targets[2]) == ("so it went on 0", ("a", "b"))
    numbers = [{"n": i, "genres": ["a", "b"]} for i in range(6)]
    assert table.read(as_table(tmp_path / "n.jsonl", numbers)).kind == "numbers"


# --- quotes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", ['"so it is,a\n"what" I said,b\n', 'so "it is,a\n"x" is it not,b\n', '"so it,a\nand"\t,b\n']
)
def test_a_table_without_quoting_is_read_as_such(tmp_path, body):
    found, told = heard(table.read, write(tmp_path / "t.csv", "text,label\n" + body), Options(inputs=("text",)))
    assert found.targets.tolist() == ["a", "b"]
    assert found.inputs[0].startswith(('"so', 'so "'))
    assert "taken for letters" in told


def test_quotes_that_swallow_rows_do_not_go_unseen(tmp_path):
    path = write(tmp_path / "t.tsv", 'text\tlabel\n"a poor film\tbad\nso good\tgood\nthe end"\tbad\n')
    found, told = heard(table.read, path, Options(inputs=("text",)))
    assert found.targets.tolist() == ["bad", "good", "bad"]
    assert "row 1 do not match" in told


def test_quotes_that_match_nowhere_are_an_error_with_the_line(tmp_path):
    path = write(tmp_path / "t.csv", 'text,label\n"it, is",a\n\n"so, it\nis,b\n')
    with pytest.raises(ProblemError, match=r"row 2 \(line 4\)"):
        table.read(path)


def test_a_long_quoted_cell_is_a_text(tmp_path):
    text = 'so, "it" goes\n' * 20_000
    path = as_table(tmp_path / "t.csv", [{"text": text, "label": "a"}, {"text": "short it is", "label": "b"}])
    assert table.read(path).inputs[0] == text


# --- encodings and sizes ----------------------------------------------------------------------------------------------

READ = {
    ".csv": lambda path: table.read(path, Options(inputs=("text",))),
    ".jsonl": table.read,
    ".conll": conll.read,
}
CONTENT = {
    ".csv": "text,label\r\n{0},a\nso it is,b\r",
    ".jsonl": '{{"text": "{0}", "label": "a"}}\r\n{{"text": "so it is", "label": "b"}}\n',
    ".conll": "{0} O\r\n\r\nso O\nit O",
}


@pytest.mark.parametrize("suffix", READ)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_the_encoding(tmp_path, suffix, encoding):
    path = write(tmp_path / f"t{suffix}", CONTENT[suffix].format("Größe😀").encode(encoding))
    found, told = heard(READ[suffix], path)
    assert found.inputs[0] in ("Größe😀", ("Größe😀",))
    assert len(found.inputs) == 2
    assert ("byte-order mark" in told) == (encoding in ("utf-16", "utf-32"))


@pytest.mark.parametrize("suffix", READ)
def test_the_first_bad_byte_is_named_with_its_line(tmp_path, suffix):
    lines = CONTENT[suffix].format("x").encode()
    path = write(tmp_path / f"t{suffix}", lines + b"\n" * (2**20) + "é".encode() + b"\xe9\n")
    place, line = len(lines) + 2**20 + 2, lines.count(b"\n") + 2**20 + 1
    with pytest.raises(ProblemError, match=rf"byte {place:,} \(line {line:,}\) is 0xe9.*Save it as UTF-8"):
        READ[suffix](path)


def test_utf_16_without_a_mark_is_named(tmp_path):
    with pytest.raises(ProblemError, match="zero bytes in its header, as UTF-16 without a mark"):
        table.read(write(tmp_path / "t.csv", "text,label\na,b\n".encode("utf-16-le")))


@pytest.mark.parametrize("suffix", READ)
def test_empty_files_are_errors(tmp_path, suffix):
    for content in (b"", b"\n\r\n \n", b"\xef\xbb\xbf"):
        with pytest.raises(ProblemError, match=r"no rows|no sentences|texts"):
            READ[suffix](write(tmp_path / f"t{suffix}", content))


def test_zero_bytes_stay_for_the_check_of_items(tmp_path):
    assert table.read(write(tmp_path / "t.csv", b"text,label\nso it is\0,a\nthat is it,b\n")).inputs[0] == "so it is\0"
    assert conll.read(write(tmp_path / "t.conll", b"so\0 O\nit O\n")).inputs[0][0] == "so\0"


HUGE = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from headstart.readers import Options, conll, table
path = Path(sys.argv[1])
peak = lambda: int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
before = peak()
read = conll.read if path.suffix == ".conll" else table.read
found = read(path, Options(inputs=() if path.suffix == ".conll" else ("text",)))
print(len(found.inputs), found.inputs[0], found.skipped[0], (peak() - before) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize(
    ("suffix", "begin", "end"),
    [
        (".csv", 'text,label\n"', '",a\nso it is,b\n'),
        (".jsonl", '{"text": "', '", "label": "a"}\n{"text": "so it is", "label": "b"}\n'),
        (".conll", "x O\n", " O\n\nso O\nit O\nis O\n"),
    ],
    ids=["csv", "jsonl", "conll"],
)
def test_a_line_of_a_hundred_megabytes_costs_one_item_and_little_memory(tmp_path, suffix, begin, end):
    path = tmp_path / f"t{suffix}"
    with open(path, "wb") as file:
        file.write(begin.encode())
        for _ in range(100):
            file.write(b'a "" b ' * 142_858 if suffix == ".csv" else b"abcdefg" * 142_858)
        file.write(end.encode())
    code = [sys.executable, "-c", HUGE, str(path), str(Path(__file__).parents[2] / "src")]
    done = subprocess.run(code, capture_output=True, text=True, check=True).stdout
    assert done.startswith(("1 so it is ('row 1', '", "1 ('so', 'it', 'is') ('t.conll:1', '"))
    assert "line of more than 16,000,000 characters" in done
    assert int(done.split()[-1]) < 400


def test_every_newline_ends_a_line(tmp_path):
    assert list(Lines(write(tmp_path / "t", b"a\r\nb\rc\n\nd"))) == ["a\r\n", "b\r", "c\n", "\n", "d"]


# --- folders ----------------------------------------------------------------------------------------------------------


def test_folders_of_texts_give_labels_and_parts(tmp_path):
    for name in ("train/a/1.txt", "train/a/more/2.TXT", "train/b/1.txt", "dev/a/1.txt", "test/b/1.txt"):
        write(tmp_path / name, f"text {name}\r\nend")
    found = folder.read(tmp_path)
    assert found.kind == "text"
    rows = dict(zip(found.names, zip(found.inputs, found.targets, found.parts, strict=True), strict=True))
    assert rows["train/a/more/2.TXT"] == ("text train/a/more/2.TXT\nend", "a", "train")
    assert rows["test/b/1.txt"][1:] == ("b", "exam")
    assert len(rows) == 5


def test_of_images_and_texts_the_majority_is_read_and_the_rest_told(tmp_path):
    for name in ("a/1.txt", "a/2.txt", "b/1.txt", "a/x.png", "c/y.png", "README.txt"):
        write(tmp_path / name, "so")
    found, told = heard(folder.read, tmp_path)
    assert (found.kind, found.names) == ("text", ("a/1.txt", "a/2.txt", "b/1.txt"))
    assert "files that are no texts, 2: 'a/x.png', 'c/y.png'" in told
    assert "'c' holds no texts" in told
    for name in ("b/2.png", "b/3.png"):
        write(tmp_path / name, "so")
    assert folder.read(tmp_path).kind == "image"


def test_texts_that_cannot_be_read_are_skipped_with_the_reason(tmp_path):
    write(tmp_path / "a/1.txt", "so")
    write(tmp_path / "a/bad.txt", b"so\n\xff")
    write(tmp_path / "a/long.txt", b"x" * 4_000_005)
    write(tmp_path / "a/wide.txt", "sö".encode("utf-16"))
    found = folder.read(tmp_path)
    assert found.inputs == ["so", "sö"]
    assert dict(found.skipped)["a/bad.txt"] == "is not UTF-8: byte 3 (line 2) is 0xff"
    assert "more than 1,000,000 characters" in dict(found.skipped)["a/long.txt"]


def test_one_file_is_one_text(tmp_path):
    found = folder.read(write(tmp_path / "letter.txt", "so\n\nit is"))
    assert (found.kind, found.inputs, found.names, found.targets) == ("text", ["so\n\nit is"], ("letter.txt",), None)


# --- tagged words -----------------------------------------------------------------------------------------------------

SENTENCES = [("EU", "rejects", "calls"), ("Ann", "Lee")]
TAGS = [("B-ORG", "O", "O"), ("B-PER", "I-PER")]
LAYOUTS = {
    "word tag": ("EU B-ORG\nrejects O\ncalls O\n\nAnn B-PER\nLee I-PER\n", ()),
    "tabs": ("EU\tB-ORG\nrejects\tO\ncalls\tO\n\t\nAnn\tB-PER\nLee\tI-PER", ()),
    "tag in the middle": ("EU B-ORG 0\nrejects O 0\ncalls O 0\n\n\n\nAnn B-PER 0\nLee I-PER 0\n", ()),
    "four columns": ("EU NNP B-NP B-ORG\nrejects VB B-VP O\ncalls NN B-NP O\n\nAnn NN B-NP B-PER\nLee NN I-NP I-PER\n", ()),
    "word last": ("B-ORG EU\nO rejects\nO calls\n\nB-PER Ann\nI-PER Lee\n", ("2",)),
    "counted from the end": ("B-ORG EU\nO rejects\nO calls\n\nB-PER Ann\nI-PER Lee\n", ("-1", "-2")),
    "comments": ("# id = 1 of 2\nEU B-ORG\nrejects O\ncalls O\n\n#second\nAnn B-PER\nLee I-PER\n", ()),
    "indices": ("1\tEU\tB-ORG\n2\trejects\tO\n3\tcalls\tO\n\n1\tAnn\tB-PER\n2\tLee\tI-PER\n", ("2", "3")),
    "plain tags": ("EU\tNOUN\nrejects\tVERB\ncalls\tNOUN\n\nAnn\tNOUN\nLee\tNOUN\n", ()),
    "mixed newlines": ("EU B-ORG\r\nrejects O\rcalls O\n\r\nAnn B-PER\nLee I-PER\n", ()),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_sentences(tmp_path, name):
    content, named = LAYOUTS[name]
    path = write(tmp_path / "t.bio", content)
    found = conll.read(path, Options(inputs=named[:1], label=named[1] if named[1:] else None))
    assert found.inputs == SENTENCES
    assert found.targets.tolist() == ([("NOUN", "VERB", "NOUN"), ("NOUN", "NOUN")] if name == "plain tags" else TAGS)
    assert found.names[0].startswith("t.bio:")
    assert (found.parts, found.blocks) == (("", ""), None)


def test_names_are_the_line_of_the_first_word(tmp_path):
    path = write(tmp_path / "t.conll", "# about it all\n\nEU B-ORG\n\n\nAnn B-PER\nLee I-PER\n")
    assert conll.read(path).names == ("t.conll:3", "t.conll:6")


def test_hash_signs_may_be_words(tmp_path):
    path = write(tmp_path / "t.conll", "#\tO\n#oslo\tB-LOC\nis\tO\n\n# a comment on it\nit\tO\n")
    assert conll.read(path).inputs == [("#", "#oslo", "is"), ("it",)]


def test_documents_are_blocks(tmp_path):
    body = "a O\n\nb B-X\n\n-DOCSTART- -X-\n\nc O\n"
    path = write(tmp_path / "t.conll", f"-DOCSTART- -X-\n\n{body}")
    found, told = heard(conll.read, path)
    assert found.inputs == [("a",), ("b",), ("c",)]
    assert found.blocks.tolist() == ["t.conll document 1"] * 2 + ["t.conll document 2"]
    assert "Documents in 't.conll': 2." in told
    assert conll.read(write(tmp_path / "u.conll", body)).blocks.tolist() == ["", "", "u.conll document 1"]


CONLLU = """# newdoc id = one
# text = Ann left it
1\tAnn\tAnn\tPROPN\tNNP\t_\t2\tnsubj\t_\t_
2\tleft\tleave\tVERB\tVBD\t_\t0\troot\t_\tSpaceAfter=No
2-3\tdidn't\t_\t_\t_\t_\t_\t_\t_\t_
2.1\tthere\t_\t_\t_\t_\t_\t_\t_\t_
3\t10 000\t_\tNUM\tCD\t_\t2\tobj\t_\t_

# newdoc
1\t#\t#\tSYM\tNN\t_\t0\troot\t_\t_
"""


def test_conllu_knows_its_columns_by_name(tmp_path):
    path = write(tmp_path / "t.conllu", CONLLU)
    found, told = heard(conll.read, path)
    assert found.inputs == [("Ann", "left", "10 000"), ("#",)]
    assert found.targets.tolist() == [("PROPN", "VERB", "NUM"), ("SYM",)]
    assert len(set(found.blocks)) == 2
    assert "words left out, 2" in told
    assert conll.read(path, Options(label="DEPREL")).targets[0] == ("nsubj", "root", "obj")
    with pytest.raises(UnknownName, match="Did you mean 'upos'"):
        conll.read(path, Options(label="upso"))


def test_a_sentence_with_a_bad_line_is_skipped_with_the_line(tmp_path):
    lines = [f"w{i} O\n\n" for i in range(20)]
    lines[7] = "w B-X\nonly\n\n"
    lines[9] = "too many O\n\n"
    found = conll.read(write(tmp_path / "t.conll", "".join(lines)))
    assert len(found.inputs) == 18
    assert found.skipped == (
        ("t.conll:15", "has 1 column in line 16; the other lines have 2"),
        ("t.conll:20", "has 3 columns in line 20; the other lines have 2"),
    )


BAD_WORDS = {
    "no columns": ("t.conll", "one two three\n\na b\n\nc d e f\n\ng\n", {}, "no file of tagged words"),
    "no such column": ("t.conll", "a O\nb O\n", {"label": "3"}, "has no column 3; it has 2. Columns are counted from 1"),
    "column 0": ("t.conll", "a O\nb O\n", {"label": "0"}, "has no column 0"),
    "a name": ("t.conll", "a O\nb O\n", {"label": "ner"}, "No column of t.conll is called 'ner'"),
    "two columns of words": ("t.conll", "a O\nb O\n", {"inputs": ("1", "2")}, "one column; 2 are named"),
    "the words as tags": ("t.conll", "a O\nb O\n", {"label": "1"}, "Column 1 of t.conll holds the words"),
    "a block": ("t.conll", "a O\nb O\n", {"block": "who"}, "no column 'who' for --block"),
    "a slice": ("t.conll", "a O\nb O\n", {"slices": ("who",)}, "for --slice"),
}


@pytest.mark.parametrize("name", BAD_WORDS)
def test_bad_files_of_words_are_errors_that_say_where(tmp_path, name):
    file, content, options, words = BAD_WORDS[name]
    with pytest.raises((ProblemError, UnknownName), match=words):
        conll.read(write(tmp_path / file, content), Options(**options))


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (("train.txt", "valid.txt", "test.txt"), ("train", "valid", "exam")),
        (("eng.train", "eng.testa", "eng.testb"), ("train", "valid", "exam")),
        (("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated"), ("train", "valid", "exam")),
        (("de_gsd-ud-train.conllu", "de_gsd-ud-dev.conllu", "de_gsd-ud-test.conllu"), ("train", "valid", "exam")),
        (("train/a.conll", "dev/b.conll", "Test/c.annotated"), ("train", "valid", "exam")),
        (("one.conll", "two.bio", "three.iob"), ("", "", "")),
    ],
)
def test_file_names_say_the_parts(tmp_path, names, parts):
    words = ("x", "y", "z")
    for name, word in zip(names, words, strict=True):
        write(tmp_path / name, f"{word} B-X\n{word} O\n\n{word} O\n")
    write(tmp_path / "README.md", "x B-X\n\n")
    found = conll.read(tmp_path)
    assert conll.looks_tagged(tmp_path)
    said = dict(zip((one[0] for one in found.inputs), found.parts, strict=True))
    assert tuple(said[word] for word in words) == parts
    assert found.names[0].rpartition(":")[0] in names


def test_files_beside_the_parts_are_told(tmp_path):
    for name in ("train.txt", "train_extra.txt", "other.txt"):
        write(tmp_path / name, f"{name} B-X\n\ny O\n")
    found, told = heard(conll.read, tmp_path)
    assert len(found.inputs) == 4
    assert "Not read: other files, 1: 'other.txt'" in told


def test_a_folder_without_tagged_words_is_an_error(tmp_path):
    write(tmp_path / "a.csv", "a,b\n")
    with pytest.raises(ProblemError, match="holds no files of tagged words"):
        conll.read(tmp_path)


def test_texts_and_tables_do_not_look_tagged(tmp_path):
    for name, content in {
        "letter.txt": "Dear Ann ,\n\nhow are you ?\n",
        "four.txt": "a b c d\ne f g h\n\n",
        "t.tsv": "word\ttag\nso\tO\n",
        "bin.dat": b"\0\1 O\n\n",
        "latin.txt": b"\xff\xfe\xfd O\n",
        "empty.txt": "",
    }.items():
        assert not conll.looks_tagged(write(tmp_path / name, content)), name
    assert conll.looks_tagged(write(tmp_path / "ner.tsv", "Ann\tB-PER\nleft\tO\n\nBo\tB-PER\n"))


def test_plain_sentences_are_split_at_blanks(tmp_path):
    found, told = heard(conll.read, write(tmp_path / "t.txt", "Ann left .\n\n  Bo  ate\tcake now .\n"))
    assert found.inputs == [("Ann", "left", "."), ("Bo", "ate", "cake", "now", ".")]
    assert (found.names, found.targets) == (("t.txt:1", "t.txt:3"), None)
    assert "every line was taken for a sentence" in told


def test_one_column_has_no_tags(tmp_path):
    found = conll.read(write(tmp_path / "t.txt", "Ann\nleft\n\nBo\n"))
    assert (found.inputs, found.targets) == ([("Ann", "left"), ("Bo",)], None)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train", "train"),
        ("eng.testa", "valid"),
        ("esp.testb", "exam"),
        ("validation-00000-of-00001", "valid"),
        ("train_test", ""),
        ("contest", ""),
        ("constrained", ""),
        ("", ""),
    ],
)
def test_a_part_is_a_whole_word_of_the_name(name, part):
    assert part_of(name) == part


# --- lists in memory --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "first"),
    [
        (["so it is", "and more"], "so it is"),
        (np.array(["so it is", "and more"]), "so it is"),
        (np.array(["so it is", "and more"], dtype=object), "so it is"),
        (["the file cat.png is fine", "and more", "still more"], "the file cat.png is fine"),
        ([("so", "it"), ("is",)], ("so", "it")),
        ([["so", "it"], ["is", "not"]], ("so", "it")),
        ([np.array(["so", "it"]), np.array(["is"])], ("so", "it")),
    ],
)
def test_lists_of_texts_and_of_words(X, first):
    found = arrays.from_arrays(X, ["a", "b", "a"][: len(X)])
    assert (found.kind, found.inputs[0], found.names[0]) == ("text", first, "item 1")


def test_lists_of_tags_are_targets():
    X = [("so", "it"), ("is", "not")]
    for y in ([["O", "B-X"], ["O", "O"]], [("O", "B-X"), ("O", "O")], [np.array(["O", "B-X"]), np.array(["O", "O"])]):
        assert arrays.from_arrays(X, y).targets.tolist() == [("O", "B-X"), ("O", "O")]
    assert arrays.from_arrays(X, np.array([["O", "B-X"], ["O", "O"]])).targets.tolist() == [("O", "B-X"), ("O", "O")]
    assert arrays.from_arrays(X, [[0, 1], [0, 0]]).targets.tolist() == [(0, 1), (0, 0)]


def test_paths_of_texts_are_read_and_paths_of_images_are_not(tmp_path):
    one = write(tmp_path / "1.txt", "so it is")
    assert arrays.from_arrays([one]).inputs == ["so it is"]
    assert arrays.from_arrays([str(write(tmp_path / "photo", b"\x89PNG"))]).kind == "image"
    with pytest.raises(ProblemError, match="is not UTF-8"):
        arrays.from_arrays([write(tmp_path / "2.txt", b"\xff")])


def test_an_npz_file_may_hold_texts(tmp_path):
    np.savez(tmp_path / "t.npz", X=np.array(["so it is", "and more"]), y=np.array(["a", "b"]))
    assert arrays.read(tmp_path / "t.npz").inputs == ["so it is", "and more"]


def test_quotes_around_every_cell_stay_quotes_whatever_stands_in_them(tmp_path):
    rows = "".join(f'"text number {n}","{"ab"[n % 2]}"\n' for n in range(20))
    (tmp_path / "t.csv").write_text(f'"text","label"\n"with a\ttab in it","a"\n{rows}', "utf-8")
    found = table.read(tmp_path / "t.csv", Options())
    assert found.inputs[0] == "with a\ttab in it"
    assert set(found.targets) == {"a", "b"}


def test_one_document_says_nothing_about_what_depends_on_what(tmp_path):
    sentences = "\n\n".join(f"Ada{n} B-PER\nruns O" for n in range(6))
    (tmp_path / "t.conll").write_text(f"-DOCSTART- O\n\n{sentences}\n", "utf-8")
    found = conll.read(tmp_path / "t.conll", Options())
    assert len(found.inputs) == 6
    assert found.blocks is None or len(set(found.blocks)) != 1 or set(found.blocks) == {""}


def test_lines_of_plain_sentences_are_read_whatever_columns_the_training_data_had(tmp_path):
    (tmp_path / "new.txt").write_text("Ada runs home\nBob sleeps\n", "utf-8")
    for inputs in (("tokens",), ("2",)):
        found = read_examples(tmp_path / "new.txt", task="token_labels", options=Options(inputs=inputs))
        assert found.inputs == [("Ada", "runs", "home"), ("Bob", "sleeps")]
