"""Which items the readers find, under which labels and parts; and what they refuse."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pytest
from PIL import Image
from pyarrow import parquet

from headstart._events import listen
from headstart.errors import ProblemError, UnknownName
from headstart.readers import Options, arrays, folder, table


def photo(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(path, "PNG")
    return path


def heard(function, *args):
    events = []
    with listen(events.append):
        found = function(*args)
    return found, events


def rows_of(found):
    labels = [None] * len(found.names) if found.targets is None else found.targets.tolist()
    return sorted(zip(found.names, labels, found.parts, strict=True), key=str)


# --- folder -----------------------------------------------------------------------------------------------------------


def test_class_folders_give_labels(tmp_path):
    for name in ("cat/1.png", "cat/more/2.PNG", "dog/1.png"):
        photo(tmp_path / name)
    found = folder.read(tmp_path)
    assert found.kind == "image"
    assert rows_of(found) == [("cat/1.png", "cat", ""), ("cat/more/2.PNG", "cat", ""), ("dog/1.png", "dog", "")]
    assert [Path(raw).exists() for raw in found.inputs] == [True] * 3


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("Training", "VAL", "Exam"), ("train", "dev", "testing")])
def test_part_folders_give_parts_whatever_their_spelling(tmp_path, names):
    for part in names:
        photo(tmp_path / part / "cat" / "1.png")
    assert [
        part for _, _, part in sorted(rows_of(folder.read(tmp_path)), key=lambda row: names.index(row[0].split("/")[0]))
    ] == [
        "train",
        "valid",
        "exam",
    ]


def test_a_class_may_be_called_train(tmp_path):
    for name in ("train/1.png", "car/1.png", "test/1.png"):
        photo(tmp_path / name)
    assert {label for _, label, _ in rows_of(folder.read(tmp_path))} == {"train", "car", "test"}


def test_images_alone_and_one_image_have_no_labels(tmp_path):
    photo(tmp_path / "b.png")
    photo(tmp_path / "a.png")
    found = folder.read(tmp_path)
    assert found.targets is None
    assert found.names == ("a.png", "b.png")
    assert folder.read(tmp_path / "a.png").names == ("a.png",)


def test_what_is_passed_over_is_told(tmp_path):
    photo(tmp_path / "cat/1.png")
    photo(tmp_path / "cat/.hidden.png")
    photo(tmp_path / ".git/1.png")
    (tmp_path / "cat/notes.txt").write_text("x")
    (tmp_path / "README.md").write_text("x")
    (tmp_path / "nothing").mkdir()
    photo(tmp_path / "cat/2.png").rename(tmp_path / "cat/no_suffix")
    found, events = heard(folder.read, tmp_path)
    assert found.names == ("cat/1.png", "cat/no_suffix")
    told = " ".join(event.message for event in events)
    assert "files that are no images, 1: 'cat/notes.txt'" in told
    assert "'nothing' holds no images" in told


def test_folders_beside_the_parts_are_told(tmp_path):
    for name in ("train/cat/1.png", "drafts/cat/1.png"):
        photo(tmp_path / name)
    found, events = heard(folder.read, tmp_path)
    assert found.names == ("train/cat/1.png",)
    assert "'drafts'" in events[0].message


def test_links_do_not_leave_the_folder(tmp_path):
    outside = photo(tmp_path / "outside/secret.png")
    photo(tmp_path / "data/cat/1.png")
    links = {
        "out.png": outside,
        "in.png": tmp_path / "data/cat/1.png",
        "nowhere.png": tmp_path / "gone",
        "loop": tmp_path / "data",
    }
    for name, target in links.items():
        os.symlink(target, tmp_path / "data/cat" / name)
    os.symlink(outside.parent, tmp_path / "data/dog")
    found, events = heard(folder.read, tmp_path / "data")
    assert found.names == ("cat/1.png", "cat/in.png")
    assert "lead to folders, 4:" in events[-1].message


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "line\nbreak", "Größe", "日本語", "x" * 200, "x..", " a ", "'\"&"]
)
def test_class_names_are_data(tmp_path, name):
    photo(tmp_path / name.replace("/", "-") / "1.png")
    photo(tmp_path / "other" / "1.png")
    assert set(folder.read(tmp_path).targets) == {name.replace("/", "-"), "other"}


def test_a_name_that_is_no_unicode_is_read(tmp_path):
    (tmp_path / "cat").mkdir()
    try:
        os.rename(photo(tmp_path / "cat/1.png"), os.fsencode(tmp_path) + b"/cat/\xff.png")
    except OSError:
        pytest.skip("this file system takes only unicode names")
    assert folder.read(tmp_path).names == ("cat/\udcff.png",)


def test_missing_and_empty_folders_are_errors(tmp_path):
    with pytest.raises(ProblemError, match="no folder"):
        folder.read(tmp_path / "gone")
    with pytest.raises(ProblemError, match="holds no images"):
        folder.read(tmp_path)


# --- table ------------------------------------------------------------------------------------------------------------

RECORDS = [
    {"a": 1.5, "b": 2, "word": "x", "label": "cat", "who": "p1", "split": "train"},
    {"a": None, "b": 3, "word": "y", "label": "dog", "who": "p1", "split": "Validation"},
    {"a": -2.0, "b": 4, "word": "z", "label": "cat", "who": "p2", "split": "test"},
]


def write(path: Path, records: list[dict]) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(arrow.Table.from_pylist(records), path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(record) for record in records), encoding="utf-8")
    else:
        mark = "\t" if path.suffix == ".tsv" else ","
        cells = [[("" if value is None else str(value)) for value in record.values()] for record in records]
        path.write_text("\n".join(mark.join(row) for row in [list(records[0]), *cells]) + "\n", encoding="utf-8-sig")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_format_says_the_same(tmp_path, suffix):
    path = write(tmp_path / f"t{suffix}", RECORDS)
    found, events = heard(table.read, path, Options(label="label", split="split", block="who", slices=("word",)))
    assert found.kind == "numbers"
    assert found.columns == ("a", "b")
    np.testing.assert_array_equal(np.stack(found.inputs), [[1.5, 2], [np.nan, 3], [-2, 4]])
    assert found.targets.tolist() == ["cat", "dog", "cat"]
    assert found.parts == ("train", "valid", "exam")
    assert found.blocks.tolist() == ["p1", "p1", "p2"]
    assert found.slices["word"].tolist() == ["x", "y", "z"]
    assert found.names == ("row 1", "row 2", "row 3")
    assert any("'a', 'b'" in event.message for event in events)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_numeric_labels_stay_numbers(tmp_path, suffix):
    path = write(tmp_path / f"t{suffix}", [{"a": i, "label": value} for i, value in enumerate((0.5, None, 3.0))])
    np.testing.assert_array_equal(table.read(path).targets, [0.5, np.nan, 3.0])


def test_labels_with_leading_zeros_are_names(tmp_path):
    (tmp_path / "t.csv").write_text("a,label\n1,007\n2,07\n")
    assert table.read(tmp_path / "t.csv").targets.tolist() == ["007", "07"]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_several_labels_are_tuples(tmp_path, suffix):
    several = [["red", "round"], ["red"], []]
    as_cell = (lambda labels: "|".join(labels) or None) if suffix == ".csv" else (lambda labels: labels)
    path = write(tmp_path / f"t{suffix}", [{"a": i, "label": as_cell(labels)} for i, labels in enumerate(several)])
    last = None if suffix == ".csv" else ()  # an empty cell is a missing label, an empty list says "none of them"
    assert table.read(path).targets.tolist() == [("red", "round"), ("red",), last]


def test_an_image_column_is_known_by_its_cells(tmp_path):
    names = ["img/a.png", "img/ü b.JPG", "../outside.png", "/etc/passwd.png", "img/$(touch x).png", "", "a\0b.png"]
    rows = [f'"{name}",{i},cat' for i, name in enumerate(names)]
    (tmp_path / "t.csv").write_text("file,n,label\n" + "\n".join(rows), encoding="utf-8")
    found = table.read(tmp_path / "t.csv")
    assert found.kind == "image"
    assert found.names == ("img/a.png", "img/ü b.JPG", "img/$(touch x).png")
    assert found.inputs[0] == tmp_path.resolve() / "img/a.png"
    assert len(found.targets) == len(found.parts) == 3
    refused = dict(found.skipped)
    assert refused["../outside.png"] == refused["/etc/passwd.png"] == "lies outside the table's folder"
    assert refused["row 6"] == "names no image"
    assert len(refused) == 4


def test_a_link_out_of_the_tables_folder_is_not_followed(tmp_path):
    photo(tmp_path / "secret/1.png")
    (tmp_path / "data").mkdir()
    os.symlink(tmp_path / "secret", tmp_path / "data/in")
    (tmp_path / "data/t.csv").write_text("file,label\nin/1.png,a\n")
    assert len(table.read(tmp_path / "data/t.csv").skipped) == 1


def test_image_bytes_in_a_column(tmp_path):
    content = photo(tmp_path / "1.png").read_bytes()
    records = [
        {"image": {"bytes": content, "path": "x"}, "label": "a"},
        {"image": {"bytes": content, "path": "y"}, "label": "b"},
    ]
    assert table.read(write(tmp_path / "t.parquet", records)).inputs == [content, content]


def test_semicolons_quotes_and_line_breaks(tmp_path):
    (tmp_path / "t.csv").write_text('a;label\n1;"x;\ny"\n\n2;"say ""z"""\n')
    assert table.read(tmp_path / "t.csv").targets.tolist() == ["x;\ny", 'say "z"']


BAD_TABLES = {
    "not utf-8": ("t.csv", b"a,label\n1,ok\n2,\xe9t\xe9\n", "line 3.*0xe9"),
    "no rows": ("t.csv", b"a,label\n", "no rows"),
    "nothing": ("t.csv", b"", "no rows"),
    "ragged": ("t.csv", b"a,label\n1,x\n2\n", "Row 2 .* 1 cell;"),
    "twice": ("t.csv", b"a,a,label\n1,2,x\n", "called 'a'"),
    "no numbers": ("t.csv", b"a,label\nx,y\n", "neither"),
    "json": ("t.jsonl", b'{"a": 1}\n{"a": \n', "Line 2"),
    "json list": ("t.jsonl", b"[1]\n", "object"),
    "deep json": ("t.jsonl", b"[" * 100_000, "Line 1"),
    "parquet": ("t.parquet", b"PAR1nonsense", "Parquet"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_tables_are_errors_that_say_where(tmp_path, name):
    file, content, words = BAD_TABLES[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ProblemError, match=words):
        table.read(tmp_path / file)


def test_a_column_lost_to_one_cell_is_told_with_the_cell(tmp_path):
    records = [{"a": i, "b": "1.5x" if i == 2 else i, "label": "x"} for i in range(9)]
    _, events = heard(table.read, write(tmp_path / "t.csv", records))
    assert any("'b' (1 of 9 cells, such as '1.5x' in row 3)" in event.message for event in events)


def test_a_hundred_thousand_columns_are_read_in_seconds(tmp_path):
    names = [f"x{i}" for i in range(100_000)]
    (tmp_path / "t.csv").write_text(",".join([*names, "label"]) + "\n" + ",".join(["1"] * 100_000 + ["y"]) + "\n")
    begun = time.perf_counter()
    assert table.read(tmp_path / "t.csv").columns == tuple(names)
    assert time.perf_counter() - begun < 20


def test_bad_options_are_errors(tmp_path):
    path = write(tmp_path / "t.csv", RECORDS)
    with pytest.raises(UnknownName, match="Did you mean 'label'"):
        table.read(path, Options(label="lable"))
    with pytest.raises(UnknownName):
        table.read(path, Options(inputs=("nothing",)))
    with pytest.raises(ProblemError, match="'p1' in the split column"):
        table.read(path, Options(split="who"))
    with pytest.raises(ProblemError, match=r"'word' .* no numbers"):
        table.read(path, Options(inputs=("a", "word")))
    with pytest.raises(ProblemError, match="'label' is the label column"):
        table.read(path, Options(inputs=("a", "label")))


# --- arrays -----------------------------------------------------------------------------------------------------------


def test_an_npz_file_gives_what_was_put_in(tmp_path):
    X, y = np.arange(8.0).reshape(4, 2), np.array(["a", "b", "a", "b"])
    np.savez(tmp_path / "t.npz", X=X, y=y, split=np.array(["train", "train", "val", "test"]), site=np.array([1, 1, 2, 2]))
    found = arrays.read(tmp_path / "t.npz", Options(slices=("site",), block="site"))
    np.testing.assert_array_equal(np.stack(found.inputs), X)
    assert found.targets.tolist() == y.tolist()
    assert found.parts == ("train", "train", "valid", "exam")
    assert found.slices["site"].tolist() == found.blocks.tolist() == ["1", "1", "2", "2"]
    with pytest.raises(UnknownName, match="array of"):
        arrays.read(tmp_path / "t.npz", Options(label="z"))


def test_an_npz_file_that_needs_pickle_is_refused(tmp_path):
    np.savez(tmp_path / "t.npz", X=np.array([{"a": 1}], dtype=object))
    (tmp_path / "no.npz").write_bytes(b"nothing")
    for name in ("t.npz", "no.npz"):
        with pytest.raises(ProblemError, match="plain arrays"):
            arrays.read(tmp_path / name)


@pytest.mark.parametrize(
    ("X", "kind"),
    [
        (np.zeros((3, 2)), "numbers"),
        ([[1, 2], [3, 4]], "numbers"),
        (np.zeros((3, 8, 8), np.uint8), "image"),
        (np.zeros((3, 8, 8, 3), np.uint8), "image"),
        (["a.png", Path("b.png")], "image"),
        (np.array(["a.png", "b.png"]), "image"),
        ([b"\x89PNG"], "image"),
        ([np.zeros((8, 8), np.uint8), np.zeros((4, 4, 3), np.uint8)], "image"),
    ],
)
def test_the_shape_of_x_says_the_kind(X, kind):
    found = arrays.from_arrays(X)
    assert found.kind == kind
    assert len(found.inputs) == len(found.names) == len(found.parts) == len(X)
    assert found.targets is None


def test_labels_keep_their_form():
    X = np.zeros((3, 2))
    assert arrays.from_arrays(X, np.array([1, 2, 3])).targets.tolist() == [1, 2, 3]
    assert arrays.from_arrays(X, ["a", None, "b"]).targets.tolist() == ["a", None, "b"]
    assert arrays.from_arrays(X, [("a",), (), ["b", "c"]]).targets.tolist() == [("a",), (), ("b", "c")]
    assert arrays.from_arrays(X, np.array([[1, 0], [0, 0], [1, 1]])).targets.tolist() == [("0",), (), ("0", "1")]


@pytest.mark.parametrize(
    ("X", "more", "words"),
    [
        (np.zeros((0, 2)), {}, "no items"),
        (np.zeros((2, 4, 4)), {}, "uint8"),
        (np.zeros(3), {}, "shape"),
        ([[1], [1, 2]], {}, "X is no array"),
        ([["a", 2]], {}, "no numbers"),
        (np.zeros((2, 2)), {"y": [1]}, "'y' has 1 entries for 2"),
        (np.zeros((2, 2)), {"parts": ["train", "later"]}, "'later' is no part"),
    ],
)
def test_bad_arrays_are_errors(X, more, words):
    with pytest.raises(ProblemError, match=words):
        arrays.from_arrays(X, **more)
