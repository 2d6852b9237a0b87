"""The plain baseline on texts: its features are the known ones, its model is strong, and odd texts do it no harm."""

from dataclasses import replace

import numpy as np
import pytest

from headstart import _io, registry
from headstart._sparse import machines, sparse_head
from headstart.errors import NotAdmissible
from headstart.features import Lens
from headstart.inputs import _ngrams, _windows
from headstart.problem import Exam, Examples, Items, Problem
from headstart.strategies.plain import Plain
from headstart.strategy import Recipe
from headstart.testing import check_strategy

TEXTS = [
    "A cat sat.",
    "The CAT ran, ran!",
    "Über Äpfel: 5 £",
    "dogs don't\nrun\trun",
    "snake_case x",
    "日本語 テキスト",
    "🙂🙂 fine",
    "a",
]
ODD = ["?!", "the of and a", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \u200b", "x" * 50_000, " . ", "word " * 20_000]


def examples(inputs, targets, *, blocks=None):
    tuples = np.empty(len(targets), dtype=object)
    tuples[:] = targets
    found = np.array(targets) if isinstance(targets[0], float) else tuples
    names = tuple(f"text-{i}" for i in range(len(inputs)))
    prints = tuple(_io.digest(f"{i} {text}".encode()) for i, text in enumerate(inputs))
    return Examples.of(Items("text", list(inputs), names, prints, found, blocks))


def topics(n, *, classes=3, seed=0):
    """Texts of common words with one word of their class's own; the class of each."""
    rng = np.random.default_rng(seed)
    common = [f"word{i}" for i in range(30)]
    own = [[f"{letter}{i}{letter}" for i in range(6)] for letter in "qzjkx"[:classes]]
    label = np.arange(n) % classes
    return [" ".join([*rng.choice(common, 8), rng.choice(own[c]), *rng.choice(common, 3)]) for c in label], label


def problem(task, n=120, asked=90):
    texts, label = topics(n + asked)
    if task == "classification":
        targets, made = [f"class {c}" for c in label], registry.get("tasks", task)(tuple(f"class {c}" for c in range(3)))
    elif task == "multi_label":
        targets = [("zero",) if c == 0 else ("both", "one") if c == 1 else ("both",) for c in label]
        made = registry.get("tasks", task)(("zero", "one", "both"))
    else:
        targets = [float(c) + 0.01 * (len(text) % 7) for c, text in zip(label, texts, strict=True)]
        made = registry.get("tasks", task)().fitted(np.array(targets))
    every = examples(texts, targets)
    return Problem(made, every.take(np.arange(n))), Exam(every.take(np.arange(n, n + asked)))


def tagged(n, seed=0):
    """Sentences where a capital after "in" is a place and one after "said" a person; three words of either."""
    rng = np.random.default_rng(seed)
    names, verbs = ["Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir"], ["runs", "sleeps", "works", "sings"]
    sentences, tags = [], []
    for i in range(n):
        first, second = rng.choice(names, 2)
        if i % 2:
            sentences.append(("she", rng.choice(verbs), "in", first, second, "."))
            tags.append(("O", "O", "O", "B-LOC", "I-LOC", "O"))
        else:
            sentences.append(("so", "said", first, second, "who", rng.choice(verbs), "."))
            tags.append(("O", "O", "B-PER", "I-PER", "O", "O", "O"))
    return [tuple(map(str, words)) for words in sentences], tags


def tag_problem(n=60, asked=40):
    sentences, tags = tagged(n + asked)
    every = examples(sentences, tags)
    task = registry.get("tasks", "token_labels")(("O", "B-LOC", "I-LOC", "B-PER", "I-PER"))
    train = every.take(np.arange(n))
    return Problem(task.fitted(train.targets), train), Exam(every.take(np.arange(n, n + asked)))


def dense(texts, state):
    return _ngrams.plain(texts, state).toarray()


# What the features are


def test_they_are_what_scikit_learn_calls_tf_idf():
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\w+|[^\w\s]")
    grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    state, asked = _ngrams.fit_plain(TEXTS), [*TEXTS, "The dogs sat: unseen!"]
    theirs = [one.fit(TEXTS) for one in (words, grams)]
    assert [list(one.get_feature_names_out()) for one in theirs] == [
        _ngrams.vocabulary(state[b]) for b in ("words", "grams")
    ]
    np.testing.assert_allclose(
        dense(asked, state), np.hstack([one.transform(asked).toarray() for one in theirs]), atol=1e-12
    )


def test_a_text_of_known_words_has_known_weights():
    state = _ngrams.fit_plain(["b b", "b a"])
    assert _ngrams.vocabulary(state["words"]) == ["a", "b", "b a", "b b"]
    rare, common = np.log(3 / 2) + 1, 1.0
    b, pair = (1 + np.log(2)) * common, rare
    np.testing.assert_allclose(dense(["b b"], state)[0, :4], np.array([0, b, 0, pair]) / np.hypot(b, pair))


def test_rare_n_grams_leave_large_vocabularies(monkeypatch):
    monkeypatch.setattr(_ngrams, "LARGE", 3)
    assert _ngrams.vocabulary(_ngrams.fit_plain(["one two", "one", "three"])["words"]) == ["one"]
    monkeypatch.setattr(_ngrams, "LARGE", 1000)
    monkeypatch.setattr(_ngrams, "MOST", 2)
    assert _ngrams.vocabulary(_ngrams.fit_plain(["b c a", "c", "c a"])["words"]) == ["a", "c"], "the most frequent stay"


@pytest.mark.parametrize("inputs", [TEXTS + ODD, tagged(20)[0]], ids=["documents", "words"])
def test_an_item_s_row_depends_on_the_item_alone(inputs):
    state = {name: np.frombuffer(a.tobytes(), a.dtype) for name, a in _ngrams.fit_plain(inputs).items()}
    whole = dense(inputs, state)
    assert np.array_equal(np.concatenate([dense([one], state) for one in inputs]), whole)
    turned = _ngrams.fit_plain(inputs[::-1])
    assert all(np.array_equal(turned[name], state[name]) for name in state), "the order of items makes another vocabulary"
    assert dense([], state).shape == (0, whole.shape[1])


def test_nothing_known_gives_empty_rows():
    state = _ngrams.fit_plain(["abc abc"])
    assert dense(["日本語", "", " \n"], state).tolist() == [[0.0] * len(dense(["abc"], state)[0])] * 3
    assert dense([""], _ngrams.fit_plain(["", " "])).shape == (1, 0)
    known = _windows.fit([("only",), ("these",)])
    assert _windows.rows([("日", "本")], known).shape[0] == 2


def test_a_window_sees_two_words_to_each_side_and_no_other_sentence():
    base, far, near = ("a", "b", "c", "d", "e"), ("Z", "b", "c", "d", "e"), ("a", "b", "c", "d", "Z")
    state = _windows.fit([base, far, near])
    rows = _windows.rows([base, far, near], state).toarray().reshape(3, 5, -1)
    assert np.array_equal(rows[0, 3], rows[1, 3]), "three words away"
    assert not np.array_equal(rows[0, 2], rows[1, 2]), "two words away"
    assert np.array_equal(rows[1], _windows.rows([far], state).toarray()), "the sentence before"
    assert len(set(map(bytes, rows[0]))) == 5


def test_large_corpora_are_read_in_parts(monkeypatch):
    sentences, _ = tagged(30)
    whole = _windows.fit(sentences)
    rows = _windows.rows(sentences, whole).toarray()
    monkeypatch.setattr(_windows, "AT_ONCE", 20)
    assert np.array_equal(_windows.fit(sentences)["windows"], whole["windows"])
    assert np.array_equal(_windows.rows(sentences, whole).toarray(), rows)


# What the model does


@pytest.mark.parametrize("task", ["classification", "multi_label", "regression"])
def test_laws_on_documents(task):
    found, exam = problem(task)
    check_strategy(Plain(), found, exam, Lens())


def test_laws_on_tagged_words():
    found, exam = tag_problem()
    check_strategy(Plain(), found, exam, Lens())


@pytest.mark.parametrize("task", ["classification", "multi_label", "regression"])
def test_it_finds_the_word_that_matters(task):
    found, exam = problem(task)
    reached = found.task.score(found.task.sit(Recipe(Plain(), Lens()).fit(found), exam.examples))
    assert reached > (0.8 if task == "regression" else 0.95)


def test_it_tags_by_the_words_around():
    found, exam = tag_problem()
    predictor = Recipe(Plain(), Lens()).fit(found)
    assert found.task.score(found.task.sit(predictor, exam.examples)) > 0.95
    assert [len(answer) for answer in predictor.predict(exam.examples)] == [len(words) for words in exam.examples.inputs]


def test_it_answers_as_scikit_learn_s_own_pipeline():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.svm import LinearSVC

    found, exam = problem("classification")
    predictor = Recipe(Plain(), Lens()).fit(found)
    both = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\w+|[^\w\s]"),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    theirs = make_pipeline(both, LinearSVC(C=predictor.notes["strength"], tol=1e-6, random_state=0))
    theirs.fit(found.train.inputs, list(found.train.targets))
    scores = predictor.scores(exam.examples) * predictor.temperature
    np.testing.assert_allclose(scores, theirs.decision_function(exam.examples.inputs), atol=0.05)
    assert list(predictor.predict(exam.examples)) == list(theirs.predict(exam.examples.inputs))


def test_probabilities_mean_what_they_say():
    texts, label = topics(900, seed=1)
    wrong = np.random.default_rng(0).random(900) < 0.3  # these labels follow nothing
    label = np.where(wrong, np.random.default_rng(1).integers(0, 3, 900), label)
    every = examples(texts, [f"{c}" for c in label])
    found = Problem(registry.get("tasks", "classification")(("0", "1", "2")), every.take(np.arange(600)))
    asked = every.take(np.arange(600, 900))
    predictor = Recipe(Plain(), Lens()).fit(found)
    right = predictor.predict(asked) == asked.targets
    assert abs(predictor.predict_proba(asked).max(axis=1).mean() - right.mean()) < 0.06


def test_odd_texts_are_learned_from_and_answered():
    found, exam = problem("classification")
    mixed = examples([*found.train.inputs, *ODD], [*found.train.targets, *["class 0"] * len(ODD)])
    predictor = Recipe(Plain(), Lens()).fit(replace(found, train=mixed))
    assert np.isfinite(predictor.scores(mixed)).all()
    assert found.task.score(found.task.sit(predictor, exam.examples)) > 0.95


def test_texts_without_one_known_letter_get_the_usual_answer():
    blank = examples(["\u2003", " ", "\n", "\t"] * 3, ["a", "a", "a", "b"] * 3)
    predictor = Recipe(Plain(), Lens()).fit(Problem(registry.get("tasks", "classification")(("a", "b")), blank))
    assert predictor.predict(blank).tolist() == ["a"] * 12
    found, _ = problem("classification")
    asked = Recipe(Plain(), Lens()).fit(found).scores(examples(["日本", "語"], ["class 0"] * 2))
    assert np.array_equal(asked[0], asked[1])


def test_a_class_that_a_fold_lacks_is_no_failure():
    found, _ = problem("classification", n=12)
    one_block = np.array(["rare" if target == "class 2" else f"block {i}" for i, target in enumerate(found.train.targets)])
    train = Examples.of(replace(found.train.items, blocks=np.resize(one_block, len(found.train.items.inputs))))
    predictor = Recipe(Plain(), Lens()).fit(replace(found, train=train.take(np.arange(12))))
    assert np.isfinite(predictor.scores(train)).all()
    X, Y = _ngrams.plain(TEXTS, _ngrams.fit_plain(TEXTS)), np.eye(3)[[0, 1, 0, 1, 0, 1, 0, 1]]
    W, bias = machines(X, Y, 1.0, weights=np.ones(8), link="softmax")
    assert (W[:, 2].any(), bias[2]) == (False, -1)
    W, bias = machines(X, Y[:, [0, 2]] + [[0, 1]], 1.0, weights=np.ones(8), link="sigmoid")
    assert (W[:, 1].any(), bias[1]) == (False, 1)


def test_out_of_fold_scores_are_of_whole_blocks_in_order(monkeypatch):
    monkeypatch.setattr("headstart._sparse.WORK", 1.0)
    monkeypatch.setattr("headstart._sparse.MOST", 80)
    texts, label = topics(200)
    X, blocks = _ngrams.plain(texts, _ngrams.fit_plain(texts)), np.array([f"{i // 6}" for i in range(200)])
    task = registry.get("tasks", "classification")(("0", "1", "2"))
    head = sparse_head(X, task, np.array([str(c) for c in label], dtype=object), blocks=blocks)
    assert len(head.rows) < 80
    assert (np.diff(head.rows) > 0).all()
    chosen = set(blocks[head.rows])
    assert head.rows.tolist() == [i for i in range(200) if blocks[i] in chosen]
    assert (head.scores.argmax(axis=1) == label[head.rows]).mean() > 0.6


def test_weights_count_as_repetitions():
    texts, label = topics(40, classes=2)
    X, Y = _ngrams.plain(texts, _ngrams.fit_plain(texts)), np.eye(2)[label]
    times = np.arange(40) % 3
    again = np.repeat(np.arange(40), times)
    once = machines(X, Y, 1.0, weights=times.astype(float), link="softmax")
    repeated = machines(X[again], Y[again], 1.0, weights=np.ones(len(again)), link="softmax")
    np.testing.assert_allclose(X @ once[0] + once[1], X @ repeated[0] + repeated[1], atol=0.1)


def test_many_rows_of_numbers_are_fitted_as_few_are(monkeypatch):
    found, exam = problem("regression", n=100)
    whole = Recipe(Plain(), Lens()).fit(found).predict(exam.examples)
    monkeypatch.setattr("headstart._sparse.MOST", 50)
    assert np.corrcoef(whole, Recipe(Plain(), Lens()).fit(found).predict(exam.examples))[0, 1] > 0.95


def test_words_for_a_task_on_texts_are_refused():
    sentences, _ = tagged(8)
    train = examples(sentences, ["a", "b"] * 4)
    with pytest.raises(NotAdmissible, match="8 items gave 52 rows of classical features; one for each item is needed"):
        Recipe(Plain(), Lens()).fit(Problem(registry.get("tasks", "classification")(("a", "b")), train))


def test_fits_side_by_side_are_the_fits_one_after_another():
    """liblinear has one random generator for the whole process."""
    from concurrent.futures import ThreadPoolExecutor

    from scipy.sparse import random as sparse_random

    X = sparse_random(300, 400, density=0.05, format="csr", random_state=0)
    Y = np.eye(6)[np.random.default_rng(0).integers(0, 6, 300)]
    fit = lambda C: machines(X, Y, C, weights=np.ones(300), link="softmax")[0]  # noqa: E731
    alone = [fit(C) for C in (1.0, 3.0)]
    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            assert all(np.array_equal(a, b) for a, b in zip(alone, pool.map(fit, (1.0, 3.0)), strict=True))
