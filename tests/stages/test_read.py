"""From files to a problem: what is kept, what is left out, and that it is told."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart._events import listen
from headstart.errors import ProblemError, UnknownName
from headstart.readers import Options
from headstart.readers.arrays import from_arrays
from headstart.stages.read import read, read_examples

EXAMPLE = Path(__file__).parents[2] / "examples" / "clothing"


def photo(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path, "PNG")
    return path


def photos(root: Path, *, classes: tuple[str, ...] = ("cat", "dog"), each: int = 3, seed: int = 0) -> Path:
    for c, name in enumerate(classes):
        for i in range(each):
            photo(root / name / f"{i}.png", 1000 * seed + 100 * c + i)
    return root


class Heard(list):
    def told(self, kind: str = "data") -> str:
        return "\n".join(event.message for event in self if event.kind == kind)


@pytest.fixture
def heard():
    found = Heard()
    with listen(found.append):
        yield found


def test_a_folder_becomes_a_problem_with_an_exam(tmp_path, heard):
    photos(tmp_path / "train")
    photos(tmp_path / "val", each=1, seed=1)
    photos(tmp_path / "test", each=2, seed=2)
    problem, exam = read(tmp_path)
    assert (len(problem.train), len(problem.valid), len(exam)) == (6, 2, 4)
    assert problem.task.classes == ("cat", "dog")
    assert problem.train.items is problem.valid.items is exam.examples.items
    assert exam.examples.targets.tolist() == ["cat", "cat", "dog", "dog"]
    assert heard[-1].kind == "stage"
    assert (heard[-1].data["train"], heard[-1].data["exam"], heard[-1].data["skipped"]) == (6, 4, 0)
    assert not heard.told("data")
    done = [event.data["done"] for event in heard if event.kind == "progress"]
    assert done == sorted(done)
    assert done[-1] == 12


def test_without_part_folders_there_is_no_exam(tmp_path):
    problem, exam = read(photos(tmp_path))
    assert exam is None
    assert problem.valid is None
    assert len(problem.train) == 6


def test_the_identity_of_a_problem_does_not_depend_on_where_it_lies(tmp_path):
    problems = [read(photos(tmp_path / name))[0] for name in ("a", "b")]
    assert problems[0].spec() == problems[1].spec()


@pytest.mark.skipif(not EXAMPLE.exists(), reason="the examples are not part of this copy")
def test_the_example_has_400_photos_to_learn_from_and_200_for_the_exam(heard):
    problem, exam = read(EXAMPLE, strict=True)
    assert (len(problem.train), len(exam), len(problem.task.classes)) == (400, 200, 10)
    assert not heard.told("data") + heard.told("warning")
    assert sum(file.stat().st_size for file in EXAMPLE.rglob("*") if file.is_file()) < 6e6


# --- items that cannot be used ----------------------------------------------------------------------------------------


def test_unusable_images_are_left_out_and_told_or_stop_when_strict(tmp_path, heard):
    photos(tmp_path)
    whole = (tmp_path / "cat/0.png").read_bytes()
    (tmp_path / "cat/half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cat/empty.png").touch()
    (tmp_path / "dog/words.jpg").write_text("hello")
    (tmp_path / "dog/<script>\n.jpg").write_text("hello")
    problem, _ = read(tmp_path)
    assert len(problem.train) == 6
    event = next(event for event in heard if event.kind == "data")
    assert event.data["count"] == 4
    assert dict(event.data["items"])["cat/half.png"] == "is truncated"
    assert "\n" not in event.message
    with pytest.raises(ProblemError, match=r"Of 10 images, 4 cannot be used: .*empty.png' is empty"):
        read(tmp_path, strict=True)


def test_nothing_usable_is_an_error(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/1.jpg").write_text("hello")
    with pytest.raises(ProblemError, match="None of the 1 images can be used"):
        read(tmp_path)


def test_paths_that_leave_a_tables_folder_are_left_out(tmp_path, heard):
    photos(tmp_path / "data")
    photo(tmp_path / "outside.png", 9)
    files = [f"{c}/{i}.png,{c}" for c in ("cat", "dog") for i in range(3)]
    (tmp_path / "data/t.csv").write_text("\n".join(["file,label", *files, "../outside.png,cat", "cat/gone.png,cat"]))
    problem, _ = read(tmp_path / "data/t.csv")
    assert len(problem.train) == 6
    assert "'../outside.png' lies outside" in heard.told()
    assert "'cat/gone.png' cannot be read" in heard.told()
    with pytest.raises(ProblemError, match="Of 8 images, 2"):
        read(tmp_path / "data/t.csv", strict=True)


def test_infinite_numbers_are_left_out(heard):
    X = np.random.default_rng(0).normal(size=(9, 2))
    X[3, 1] = np.inf
    X[4, 0] = np.nan
    problem, _ = read(from_arrays(X, ["a", "b", "c"] * 3), task="classification")
    assert len(problem.train) == 8
    assert "'item 4' has an infinite number in column 2" in heard.told()


# --- labels -----------------------------------------------------------------------------------------------------------


def labelled(labels, **more):
    X = np.random.default_rng(1).normal(size=(len(labels), 2))
    return from_arrays(X, labels, **more)


@pytest.mark.parametrize("nothing", [None, float("nan"), "", "  "])
def test_items_without_a_label_are_left_out(heard, nothing):
    problem, _ = read(labelled(["a", "b", nothing, "a", "b"]))
    assert len(problem.train) == 4
    assert "rows without a label, 1: 'item 3'" in heard.told()


def test_missing_labels_everywhere_are_an_error(tmp_path):
    with pytest.raises(ProblemError, match="None of the 2 rows has a label"):
        read(labelled([None, None]))
    with pytest.raises(ProblemError, match="have no labels"):
        read(photo(tmp_path / "1.png", 1).parent)


@pytest.mark.parametrize("labels", [["a", "b", 3.0, "a"], [1, 2, ("a",), 2], ["a", True, "b", "b"]])
@pytest.mark.parametrize("task", ["auto", "classification"])
def test_mixed_labels_are_an_error(labels, task):
    with pytest.raises(ProblemError, match="mixed types"):
        read(labelled(labels), task=task)


@pytest.mark.parametrize(
    ("labels", "task", "classes"),
    [
        (["b", "a"] * 4, "classification", ("a", "b")),
        ([1.0, 2.0, 10.0] * 3, "classification", ("1", "10", "2")),
        ([True, False] * 3, "classification", ("False", "True")),
        ([0.5, 1, 2, 3], "regression", None),
        (list(range(25)), "regression", None),
        ([("x",), ("x", "y"), (), ("y",)], "multi_label", ("x", "y")),
    ],
)
def test_the_labels_say_the_task(labels, task, classes):
    problem, _ = read(labelled(labels))
    assert problem.task.name == task
    assert getattr(problem.task, "classes", None) == classes
    assert problem.train.targets.dtype == (np.float64 if task == "regression" else object)


def test_options_of_the_task_reach_it():
    problem, _ = read(labelled(["a", "b"] * 3), metric="balanced_accuracy", class_weights="balanced")
    assert (problem.task.metric, problem.task.class_weights) == ("balanced_accuracy", "balanced")
    problem, _ = read(labelled([1, 2, 3, 5]), task="regression", options=Options(label="price"))
    assert problem.task.target == "price"
    assert (problem.task.mean, problem.task.scale) == (2.75, pytest.approx(np.std([1, 2, 3, 5])))
    problem, _ = read(labelled(["a", "b"] * 3), task="multi_label")
    assert problem.train.targets[0] == ("a",)


@pytest.mark.parametrize(
    ("labels", "more", "words"),
    [
        (["a"] * 4, {}, "one class"),
        (["a", "a", "a", "b"], {}, "'b' has 1 training example"),
        (["a", "b", "a", "b"], {"task": "regression"}, "'item 1' has the target 'a'"),
        ([1.0, 2.0, np.inf, 0.5], {}, "finite"),
        ([2.0, 2.0, 2.0, 2.0], {"task": "regression"}, "Every target is 2.0"),
        ([("a",), ("b",), ("a",), ("b",)], {"task": "classification"}, "multi_label"),
        ([0.1, 0.2, 0.3, 0.4], {"class_weights": "balanced"}, "for classification"),
        (["a", "b", "a", "b"], {"metric": "acuracy"}, "acuracy"),
    ],
)
def test_labels_that_cannot_be_learned_are_errors(labels, more, words):
    with pytest.raises(ProblemError, match=words):
        read(labelled(labels), **more)


def test_a_class_that_stands_only_in_the_exam_is_an_error(tmp_path):
    photos(tmp_path / "train")
    photos(tmp_path / "test", classes=("cat", "bird"), seed=1)
    with pytest.raises(ProblemError, match="Class 'bird' has 3 items in the exam and none to learn from"):
        read(tmp_path)


def test_one_class_folder_is_an_error(tmp_path):
    with pytest.raises(ProblemError, match="only one class, 'cat'"):
        read(photos(tmp_path, classes=("cat",)))


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a\nb", "x" * 200, "日本語", "..", "=1+1"])
def test_hostile_class_names_are_names(name):
    problem, _ = read(labelled([name, "plain"] * 2))
    assert problem.task.classes == tuple(sorted((name, "plain")))


def test_class_names_that_look_alike_are_told(heard):
    twins = [unicodedata.normalize(form, "Größe") for form in ("NFC", "NFD")]
    problem, _ = read(labelled(twins * 2 + ["cat", "Cat "] * 2))
    assert len(problem.task.classes) == 4
    assert heard.told("warning").count("look alike") == 2
    assert "\\xf6" in heard.told("warning")


# --- copies -----------------------------------------------------------------------------------------------------------


def test_a_copy_of_an_exam_photo_leaves_the_training_part(tmp_path, heard):
    photos(tmp_path / "train")
    photos(tmp_path / "valid", seed=1)
    photos(tmp_path / "test", seed=2)
    content = (tmp_path / "test/cat/0.png").read_bytes()
    (tmp_path / "train/cat/again.png").write_bytes(content)
    (tmp_path / "valid/cat/again.png").write_bytes(content)
    (tmp_path / "valid/dog/again.png").write_bytes((tmp_path / "train/dog/1.png").read_bytes())
    problem, exam = read(tmp_path)
    assert (len(problem.train), len(problem.valid), len(exam)) == (6, 6, 6)
    everything = [*problem.train.fingerprints, *problem.valid.fingerprints, *exam.examples.fingerprints]
    assert len(set(everything)) == 18
    assert "exact duplicates across parts (the exam's copy stays, else the one in train), 3:" in heard.told()
    assert "'train/cat/again.png' = 'test/cat/0.png'" in heard.told()
    assert not heard.told("warning")


def test_the_first_copy_within_a_part_stays(tmp_path, heard):
    photos(tmp_path)
    (tmp_path / "cat/z.png").write_bytes((tmp_path / "cat/1.png").read_bytes())
    problem, _ = read(tmp_path)
    assert "cat/1.png" in problem.train.names
    assert "cat/z.png" not in problem.train.names
    assert "exact duplicates within a part (the first stays), 1:" in heard.told()


def test_one_content_under_two_labels_is_told(tmp_path, heard):
    photos(tmp_path)
    (tmp_path / "dog/z.png").write_bytes((tmp_path / "cat/1.png").read_bytes())
    assert len(read(tmp_path)[0].train) == 6
    assert "'dog/z.png [dog]' = 'cat/1.png [cat]'" in heard.told("warning")


def test_rows_of_numbers_may_repeat_within_a_part_but_not_across(heard):
    X = np.array([[1.0, 2], [1, 2], [3, 4], [3, 5], [7, 7], [3, 4], [9, 9]])
    problem, exam = read(from_arrays(X, [0.5, 0.7, 1.5, 2.5, 9, 1.4, 3.5], parts=["train"] * 5 + ["test"] * 2))
    assert problem.train.names == ["item 1", "item 2", "item 4", "item 5"]
    assert len(exam) == 2
    assert "exact duplicates across parts" in heard.told()
    assert not heard.told("warning")  # two measurements of one thing may differ


def test_no_block_stands_on_both_sides(heard):
    parts = ["train"] * 6 + ["valid"] * 2 + ["test"] * 2
    blocks = ["p1", "p1", "p2", "p2", "p3", "p3", "p3", "p4", "p1", "p5"]
    problem, exam = read(labelled(["a", "b"] * 5, parts=parts, blocks=blocks))
    assert sorted(set(problem.train.blocks)) == ["p2", "p3"]
    assert problem.valid.blocks.tolist() == ["p4"]
    assert exam.examples.blocks.tolist() == ["p1", "p5"]
    assert "Left out of train: items whose block stands in the exam too, 2 (blocks 'p1')" in heard.told()


# --- sources and new items --------------------------------------------------------------------------------------------


def test_sources_that_are_not_there_or_not_known(tmp_path):
    with pytest.raises(ProblemError, match="There is no"):
        read(tmp_path / "gone")
    with pytest.raises(ProblemError, match="holds no images"):
        read(tmp_path)
    (tmp_path / "x.docx").touch()
    with pytest.raises(ProblemError, match="No reader is known"):
        read(tmp_path / "x.docx")
    with pytest.raises(ProblemError, match="cannot be used"):
        read("x" * 5000)
    with pytest.raises(UnknownName, match="Did you mean 'folder'"):
        read(tmp_path, reader="foldr")
    with pytest.raises(UnknownName, match="Did you mean 'classification'"):
        read(labelled(["a", "b"] * 2), task="clasification")


@pytest.mark.parametrize("source", ["", " "])
def test_an_empty_path_is_not_the_current_folder(source):
    with pytest.raises(ProblemError, match="path is empty"):
        read(source)


def test_a_training_part_of_copies_is_an_error_that_says_so(tmp_path):
    photos(photos(tmp_path / "train").parent / "test")
    with pytest.raises(ProblemError, match="a copy of an exam item"):
        read(tmp_path)


def test_only_an_exam_is_an_error(tmp_path):
    photos(tmp_path / "test")
    with pytest.raises(ProblemError, match="no training items"):
        read(tmp_path)


def test_new_items_need_no_labels(tmp_path, heard):
    photos(tmp_path / "new")
    (tmp_path / "new/cat/copy.png").write_bytes((tmp_path / "new/cat/0.png").read_bytes())
    (tmp_path / "new/bad.png").touch()
    examples = read_examples(tmp_path / "new")
    assert len(examples) == 7  # copies too: each file gets its answer
    assert not examples.labelled
    assert "'bad.png' is empty" in heard.told()
    with pytest.raises(ProblemError, match="Of 8 images, 1"):
        read_examples(tmp_path / "new", strict=True)
    assert read_examples(tmp_path / "new", labelled=True).targets.tolist() == ["cat"] * 4 + ["dog"] * 3
    assert len(read_examples(tmp_path / "new/cat/0.png")) == 1


def test_a_new_table_need_not_have_the_label_column(tmp_path):
    (tmp_path / "train.csv").write_text("a,b,price\n1,2,3\n4,5,6.5\n7,8,9\n1,1,2\n")
    (tmp_path / "new.csv").write_text("b,a\n2,1\n")
    options = Options(label="price")
    problem, _ = read(tmp_path / "train.csv", options=options)
    columns = problem.train.items.memo["columns"]
    assert columns == ("a", "b")
    new = read_examples(tmp_path / "new.csv", options=Options(inputs=columns, label="price"))
    np.testing.assert_array_equal(new.inputs[0], [1, 2])
    assert read_examples(tmp_path / "train.csv", options=options).inputs[0].shape == (2,)
