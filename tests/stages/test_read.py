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


# --- texts ------------------------------------------------------------------------------------------------------------

LINES = {"good": ["fine thing", "very good", "so nice"], "bad": ["poor thing", "very bad", "so sad"]}


def texts(root: Path) -> Path:
    for name, lines in LINES.items():
        (root / name).mkdir(parents=True)
        for i, line in enumerate(lines):
            (root / name / f"{i}.txt").write_text(line, encoding="utf-8")
    return root


def test_a_folder_of_texts_and_a_table_are_the_same_problem(tmp_path):
    rows = [f'"{line}",{name}' for name in ("bad", "good") for line in LINES[name]]
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *rows]))
    problems = [read(path)[0] for path in (texts(tmp_path / "folder"), tmp_path / "t.csv")]
    problems.append(
        read(from_arrays([line for name in ("bad", "good") for line in LINES[name]], ["bad"] * 3 + ["good"] * 3))[0]
    )
    assert {problem.kind for problem in problems} == {"text"}
    assert problems[0].spec() == problems[1].spec() == problems[2].spec()


def test_bad_texts_and_copies_are_left_out_and_told(tmp_path, heard):
    root = texts(tmp_path / "t")
    (root / "bad/empty.txt").touch()
    (root / "bad/latin.txt").write_bytes(b"caf\xe9")
    (root / "bad/zero.txt").write_bytes(b"a\0b")
    (root / "good/copy.txt").write_text("fine thing\r\n".strip())
    assert len(read(root)[0].train) == 6
    assert "texts that cannot be used, 3:" in heard.told()
    assert "'bad/latin.txt' is not UTF-8: byte 3 (line 1) is 0xe9" in heard.told()
    assert "'good/copy.txt' = 'good/0.txt'" in heard.told()
    with pytest.raises(ProblemError, match="Of 10 texts, 3 cannot be used"):
        read(root, strict=True)
    with pytest.raises(ProblemError, match=r"None of the 1 texts can be used: 'latin.txt' is not UTF-8"):
        read_examples(root / "bad/latin.txt")


def test_new_texts_are_read_from_the_column_that_was_learned_from(tmp_path):
    rows = ["so it goes on and on,fine,1.5", "and then it ends at last,fine,2.5"] * 3
    (tmp_path / "t.csv").write_text("\n".join(["note,label,a", *(f"{i} {row}" for i, row in enumerate(rows))]))
    options = Options(inputs=("note",), label="label")
    problem, _ = read(tmp_path / "t.csv", options=Options(inputs=("note",), label="a"))
    assert problem.train.items.memo["columns"] == ("note",)
    (tmp_path / "new.csv").write_text("a,note\n1,no\n")
    assert read_examples(tmp_path / "new.csv", options=options).inputs == ["no"]
    (tmp_path / "new.txt").write_text("one\ntwo\n")
    assert read_examples(tmp_path / "new.txt", options=options).inputs == ["one\ntwo\n"]
    assert len(read_examples(texts(tmp_path / "folder"))) == 6


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([f"I liked it {i} times" for i in range(120)], r"120 different values in 120 items.*free text.*--label"),
        ([*map(str, range(119)), "many"], "numbers beside words such as 'many'.*--task regression"),
    ],
)
def test_free_text_is_no_label(labels, words):
    with pytest.raises(ProblemError, match=words):
        read(from_arrays([f"text number {i}" for i in range(120)], labels), task="classification")


def test_texts_may_have_several_labels_or_a_number():
    X = [f"text number {i}" for i in range(8)]
    assert read(from_arrays(X, [("a",), ("b",), ("a", "b"), ()] * 2))[0].task.name == "multi_label"
    assert read(from_arrays(X, [0.5, 1.5] * 4))[0].task.name == "regression"
    assert read(from_arrays([tuple(text.split()) for text in X], ["a", "b"] * 4))[0].task.name == "classification"


# --- tagged words -----------------------------------------------------------------------------------------------------

WORDS = [("EU", "calls"), ("Ann", "Lee", "left"), ("he", "left"), ("Bo", "ate"), ("Oslo", "slept")]


def tagged(tags, words=None, **more):
    return read(from_arrays(words or WORDS, tags, **more), task=more.get("task", "auto"))


GOOD = [("B-ORG", "O"), ("B-PER", "I-PER", "O"), ("O", "O"), ("B-PER", "O"), ("B-LOC", "O")]


def test_a_tag_for_each_word_makes_token_labels(heard):
    problem, _ = tagged(GOOD)
    assert problem.task.name == "token_labels"
    # An entity of a type that is known may be longer than any in training.
    assert problem.task.classes == ("O", "B-LOC", "B-ORG", "B-PER", "I-LOC", "I-ORG", "I-PER")
    assert problem.train.targets.tolist() == GOOD
    assert not heard.told("data")


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ([("I-ORG", "O"), ("I-PER", "I-PER", "O"), ("O", "O"), ("I-PER", "O"), ("I-LOC", "O")], "were IOB1"),
        ([("S-ORG", "O"), ("B-PER", "E-PER", "O"), ("O", "O"), ("S-PER", "O"), ("S-LOC", "O")], "were IOBES"),
        ([("U-ORG", "O"), ("B-PER", "L-PER", "O"), ("O", "O"), ("U-PER", "O"), ("U-LOC", "O")], "were BILOU"),
        ([("B-ORG", "O"), ("B-PER", "I-PER", "O"), ("O", "O"), ("I-PER", "O"), ("B-LOC", "O")], "1: 'item 4' word 1."),
    ],
)
def test_every_scheme_becomes_bio_and_that_is_told(heard, tags, told):
    assert tagged(tags)[0].train.targets.tolist() == GOOD
    assert told in heard.told("data")


def test_neighbours_of_one_type_stay_two_entities():
    words = [("a", "b", "c", "d"), ("e", "f"), ("g", "h"), ("i", "j")]
    rest = [("O", "I-X"), ("I-X", "O"), ("O", "O")]
    problem, _ = tagged([("I-X", "B-X", "I-X", "I-Y"), *rest], words)
    assert problem.train.targets[0] == ("B-X", "B-X", "I-X", "B-Y")
    problem, _ = tagged([("S-X", "S-X", "B-X", "E-X"), ("O", "S-X"), ("S-X", "O"), ("O", "O")], words)
    assert problem.train.targets[0] == ("B-X", "B-X", "B-X", "I-X")
    problem, _ = tagged([("B", "I", "O", "B"), ("O", "B"), ("B", "I"), ("O", "O")], words)
    assert problem.train.targets[0] == ("B-entity", "I-entity", "O", "B-entity")


def test_other_tags_stay_as_they_are(heard):
    plain = [("NOUN", "VERB"), ("PROPN", "PROPN", "VERB"), ("PRON", "VERB"), ("PROPN", "VERB"), ("PROPN", "VERB")]
    assert tagged(plain)[0].train.targets.tolist() == plain
    numbers = [(1, 0), (2, 2, 0), (0, 0), (2, 0), (1, 0)]
    problem, _ = tagged(numbers)
    assert problem.train.targets.tolist() == [tuple(map(str, tags)) for tags in numbers]
    assert "called '0', '1'" in heard.told("data")


@pytest.mark.parametrize(
    ("words", "tags", "more", "told"),
    [
        (WORDS, [*GOOD[:4], ("B-LOC",)], {}, "'item 5' has 2 words and 1 tags"),
        (WORDS, [*GOOD[:4], ("B-LOC", "")], {}, r"'item 5' has no tag for word 2 \('slept'\)"),
        (WORDS, [*GOOD[:4], ("B-LOC", "0")], {}, "The tag '0' of word 2 in 'item 5' is neither O nor"),
        (["a b", "c d", "e f", "g h"], [("O", "B-X")] * 4, {"task": "token_labels"}, "'item 1' is one text; 'token_labels'"),
        (WORDS, GOOD, {"task": "classification"}, r"\('B-ORG', 'O'\); classification takes one. Use 'token_labels'"),
        (WORDS, ["x", "y", "x", "y", "x"], {"task": "token_labels"}, "'item 1' has the label 'x'; 'token_labels'"),
    ],
)
def test_tags_that_fit_no_words_are_errors(words, tags, more, told):
    with pytest.raises(ProblemError, match=told):
        read(from_arrays(words, tags), **more)


def test_a_tag_that_stands_only_in_the_exam_is_an_error():
    words = [*WORDS, ("new", "thing")]
    with pytest.raises(ProblemError, match="Tag 'B-NEW' has 1 word in the exam and none to learn from"):
        tagged([*GOOD, ("B-NEW", "O")], words, parts=["train"] * 5 + ["test"])


def test_a_copy_of_an_exam_sentence_leaves_training_whatever_its_tags(heard):
    problem, exam = tagged([*GOOD, ("B-LOC", "O")], [*WORDS, WORDS[0]], parts=["train"] * 5 + ["test"])
    assert (len(problem.train), len(exam)) == (4, 1)
    assert "'item 1 [B-ORG O]' = 'item 6 [B-LOC O]'" in heard.told("warning")


def test_new_sentences_come_as_columns_or_as_lines(tmp_path):
    (tmp_path / "new.conll").write_text("Ann\nleft\n\nBo\nate\n")
    (tmp_path / "new.txt").write_text("Ann left .\n\nBo ate cake .\n")
    assert read_examples(tmp_path / "new.conll", task="token_labels").inputs == [("Ann", "left"), ("Bo", "ate")]
    assert read_examples(tmp_path / "new.txt", task="token_labels").inputs == [
        ("Ann", "left", "."),
        ("Bo", "ate", "cake", "."),
    ]
    assert read_examples(tmp_path / "new.txt").inputs == ["Ann left .\n\nBo ate cake .\n"]


def columns(words, tags) -> str:
    pairs = [zip(one, names, strict=True) for one, names in zip(words, tags, strict=True)]
    return "\n".join("".join(f"{word} {tag}\n" for word, tag in sentence) for sentence in pairs)


def test_files_of_tagged_words_are_known_by_their_look(tmp_path):
    (tmp_path / "corpus").mkdir()
    new = [tuple(f"new{word}" for word in one) for one in WORDS]
    for name, words in {"train.txt": WORDS, "corpus/eng.train": WORDS, "corpus/eng.testb": new}.items():
        (tmp_path / name).write_text(columns(words, GOOD))
    for path in ("train.txt", "corpus"):
        problem, exam = read(tmp_path / path)
        assert problem.task.name == "token_labels"
        assert problem.train.inputs == WORDS
        assert (None if exam is None else exam.examples.inputs) == (new if path == "corpus" else None)
