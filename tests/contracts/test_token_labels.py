"""Tags for words: the metric against seqeval, decoding against every sequence there is, transitions where they were planted."""

import itertools
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.errors import ProblemError
from headstart.features import Features
from headstart.problem import Examples, Items
from headstart.tasks import task_from_spec
from headstart.tasks.token_labels import TokenLabels, viterbi
from headstart.testing import check_task

BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
ODD = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "E-PER", "S-LOC", "I-ORG", "B", "I", "S", "B-A-B", "I-A-B", "E-_")


def column(sequences):
    found = np.empty(len(sequences), dtype=object)
    for row, tags in enumerate(sequences):
        found[row] = tuple(map(str, tags))
    return found


def draw(seed, tags=BIO, n=40):
    """Tags of two taggers that agree on half of the words: many spans that meet, overlap, touch and miss each other."""
    rng = np.random.default_rng(seed)
    truth = [rng.choice(tags, rng.integers(0, 9)) for _ in range(n)]
    return column(truth), column([np.where(rng.random(len(t)) < 0.5, t, rng.choice(tags, len(t))) for t in truth])


def sentences(targets, *, words=None, blocks=None):
    n, targets = len(targets), column(targets)
    inputs = words or [tuple(f"w{i}" for i in range(len(tags))) for tags in targets]
    named = tuple(map(str, range(n)))
    return Examples.of(
        Items("text", inputs, named, named, targets, None if blocks is None else np.array(blocks, dtype=object))
    )


@pytest.mark.parametrize("metric", ["span_f1", "macro_span_f1", "accuracy"])
@pytest.mark.parametrize("tags", [BIO, ODD], ids=["valid", "odd"])
def test_laws(metric, tags):
    for seed in range(3):
        check_task(TokenLabels(tags, metric=metric), *draw(seed, tags))


def test_laws_with_transitions_and_plain_tags():
    truth, answer = draw(0)
    check_task(replace(TokenLabels(BIO).fitted(truth), weight=0.5), truth, answer)
    check_task(TokenLabels(("NOUN", "VERB", "DET")), *draw(1, ("NOUN", "VERB", "DET")))
    many = ("O", *(f"{place}-T{i}" for i in range(20) for place in "BI"))
    task = TokenLabels(many)
    check_task(task, *draw(2, many))
    assert task.outcomes(*draw(2, many)).shape[1] == 3 * 20
    assert task.confusion(task.outcomes(*draw(2, many))) is None


tagged = st.lists(
    st.lists(st.tuples(st.sampled_from(ODD), st.sampled_from(ODD)), min_size=1, max_size=9), min_size=1, max_size=6
)


@given(tagged)
@settings(max_examples=300, deadline=None)
def test_span_f1_equals_seqeval_on_any_tags(pairs):
    seqeval = pytest.importorskip("seqeval.metrics")
    truth, answer = [[a for a, _ in sentence] for sentence in pairs], [[b for _, b in sentence] for sentence in pairs]
    for metric, average in (("span_f1", "micro"), ("macro_span_f1", "macro")):
        task = TokenLabels(ODD, metric=metric)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # seqeval warns about sentences without entities
            expected = seqeval.f1_score(truth, answer, average=average)
        expected = np.nan_to_num(expected)  # no entity at all: seqeval's micro is 0, its macro the mean of nothing
        assert task.score(task.outcomes(column(truth), column(answer))) == pytest.approx(expected, abs=1e-12)


@given(tagged)
@settings(max_examples=100, deadline=None)
def test_spans_are_those_of_seqeval(pairs):
    labelling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    task = TokenLabels(ODD)
    for sentence in pairs:
        tags = [tag for tag, _ in sentence]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = [(kind, start, last + 1) for kind, start, last in labelling.get_entities(tags)]
        assert task.spans(tags) == expected


def test_scores_of_types_and_confusion_are_counted_by_hand():
    truth = column([["B-PER", "I-PER", "O", "B-LOC", "O"], ["B-PER", "O", "B-LOC", "O", "O"]])
    answer = column([["B-PER", "I-PER", "O", "B-PER", "O"], ["B-PER", "I-PER", "O", "O", "B-LOC"]])
    task = TokenLabels(BIO)
    outcomes = task.outcomes(truth, answer)
    # Found: PER 0-2. LOC 3-4 was answered PER. PER of sentence 2 has another end. LOC missed; one LOC where nothing is.
    assert task.by_type(outcomes)[0] == ("PER", 2, pytest.approx(1 / 3), 0.5, pytest.approx(0.4))
    assert task.by_type(outcomes)[1] == ("LOC", 2, 0.0, 0.0, 0.0)
    assert task.score(outcomes) == pytest.approx(2 / 8)
    assert TokenLabels(BIO, metric="macro_span_f1").score(outcomes) == pytest.approx(0.2)
    assert task.confusion(outcomes).tolist() == [[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 0, 0]]
    # Words right: 4 of 5, then 2 of 5.
    assert TokenLabels(BIO, metric="accuracy").score(TokenLabels(BIO, metric="accuracy").outcomes(truth, answer)) == 0.6


@given(st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_every_missed_and_false_span_stands_in_the_confusion_once(seed):
    truth, answer = draw(seed, ODD)
    task = TokenLabels(ODD)
    outcomes = task.outcomes(truth, answer)
    table, T = task.confusion(outcomes), len(task.types)
    counts = [count for _, count, *_ in task.by_type(outcomes)]
    assert table[:T].sum(axis=1).tolist() == counts
    assert np.diag(table)[:T].tolist() == outcomes.sum(axis=0)[:T].tolist()
    assert (table >= 0).all()
    both = TokenLabels(ODD).outcomes(truth, truth)
    assert TokenLabels(ODD).confusion(both)[:, T:].sum() == 0


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_decoding_finds_the_best_of_all_valid_sequences(seed, weighted):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 5, 6)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    scores = rng.normal(0, 2, (offsets[-1], 5))
    task = TokenLabels(BIO).fitted(draw(seed)[0])
    task = replace(task, weight=0.5 if weighted else 0.0)
    sure = np.log(task.proba(scores))
    steps = np.array(task.transitions) * task.weight

    def valid(tags):
        return all(tag[0] != "I" or before in (f"B{tag[1:]}", tag) for before, tag in zip(("O", *tags), tags, strict=False))

    for item, answer in enumerate(task.decode(scores, offsets)):
        rows = sure[offsets[item] : offsets[item + 1]]
        best, found = -np.inf, ()
        for path in itertools.product(range(5), repeat=len(rows)):
            if valid([BIO[tag] for tag in path]):
                value = sum(row[tag] for row, tag in zip(rows, path, strict=True))
                value += sum(steps[before, tag] for before, tag in zip((5, *path), path, strict=False))
                if value > best:
                    best, found = value, path
        assert answer == tuple(BIO[tag] for tag in found)


def test_a_type_that_only_ever_begins_with_inside_may_begin_so():
    task = TokenLabels(("O", "I-PER"))  # IOB1: B only where two spans touch
    assert task.decode(np.array([[0.0, 3.0], [0.0, 1.0]]), np.array([0, 2]))[0] == ("I-PER", "I-PER")
    scores = np.array([[0.0, 1.0, 3.0], [0.0, 0.0, 3.0]])
    assert TokenLabels(("O", "B-PER", "I-PER")).decode(scores, np.array([0, 2]))[0] == ("B-PER", "I-PER")


def test_plain_tags_are_decoded_one_by_one():
    task = TokenLabels(("NOUN", "VERB"))
    assert task.metric == "accuracy"
    assert list(task.decode(np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]]), np.array([0, 2, 2, 3]))) == [
        ("NOUN", "VERB"),
        (),
        ("NOUN",),
    ]


def test_a_hundred_thousand_words_are_decoded_in_seconds():
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 60, 3400))])
    scores, steps = rng.normal(size=(offsets[-1], 9)), rng.normal(size=(10, 9))
    started = time.perf_counter()
    best = viterbi(scores, offsets, steps)
    assert time.perf_counter() - started < 5  # a third of a second where nothing else runs
    alone = viterbi(scores[offsets[7] : offsets[8]], np.array([0, offsets[8] - offsets[7]]), steps)
    assert (best[offsets[7] : offsets[8]] == alone).all()


def planted(seed, n, *, noise):
    """Tags that follow one another in a fixed order, seen through noise."""
    rng = np.random.default_rng(seed)
    start, lengths = rng.integers(0, 3, n), rng.integers(3, 9, n)
    tags = [[("a", "b", "c")[(s + i) % 3] for i in range(length)] for s, length in zip(start, lengths, strict=True)]
    flat = np.array([ord(tag) - 97 for one in tags for tag in one])
    scores = np.eye(3)[flat] + rng.normal(0, noise, (len(flat), 3))
    return column(tags), Features(scores, np.concatenate([[0], np.cumsum(lengths)]))


def test_transitions_are_used_where_they_help_and_left_alone_where_not():
    targets, scores = planted(0, 200, noise=0.8)
    bare = TokenLabels(("a", "b", "c"))
    task = bare.fitted(targets).tuned(scores, targets)
    assert task.weight > 0
    truth, new = planted(1, 200, noise=0.8)
    score = lambda one: one.score(one.outcomes(truth, one.decode(new.rows, new.offsets)))  # noqa: E731
    assert score(task) > score(bare) + 0.1
    perfect = Features(np.eye(3)[bare.encode(targets)] * 50, scores.offsets)
    assert bare.fitted(targets).tuned(perfect, targets).weight == 0
    assert bare.tuned(scores, targets) is bare  # it has learned no transitions
    assert task_from_spec(task.spec()) == task


def test_transitions_are_log_ratios():
    tags = [["O", "B-PER", "I-PER", "O"]] * 500 + [["O", "O", "O", "O"]] * 500
    task = TokenLabels(("O", "B-PER", "I-PER")).fitted(column(tags))
    table = np.exp(np.array(task.transitions))
    share = np.array([0.75, 0.125, 0.125])
    assert np.allclose(table[1], [0, 0, 1] / share, atol=0.02)  # after B-PER always I-PER
    assert np.allclose(table[3], [1, 0, 0] / share, atol=0.02)  # the start: always O
    assert np.allclose(table[0] * share, [1500 / 2000, 500 / 2000, 0], atol=0.01)


def test_loss_and_probabilities_go_by_words():
    import torch

    targets, _ = draw(0)
    task = TokenLabels(BIO)
    scores = np.random.default_rng(1).normal(size=(sum(map(len, targets)), 5))
    torch_loss = task.loss(torch.tensor(scores), torch.tensor(task.encode(targets))).numpy()
    assert np.allclose(task.losses(scores, targets), torch_loss, atol=1e-9)
    assert np.allclose(task.proba(scores).sum(axis=1), 1)
    assert task.columns(targets).shape == scores.shape
    flat = np.array([tag for tags in targets for tag in tags], dtype=object)
    assert np.allclose(task.unitwise.losses(scores, flat), task.losses(scores, targets))


def test_rows_have_every_word_with_the_block_of_its_sentence():
    examples = sentences([["O", "B-PER"], ["O"], ["B-PER", "I-PER", "O"]], blocks=["doc1", "doc1", "doc2"])
    features = Features(np.arange(12.0).reshape(6, 2), np.array([0, 2, 3, 6]))
    X, y, blocks = TokenLabels(BIO).rows(features, examples)
    assert X.tolist() == features.rows.tolist()
    assert list(y) == ["O", "B-PER", "O", "B-PER", "I-PER", "O"]
    assert list(blocks) == ["doc1"] * 3 + ["doc2"] * 3
    with pytest.raises(ProblemError, match="'0' has 2 tags and 1 words"):
        TokenLabels(BIO).rows(Features(np.zeros((5, 2)), np.array([0, 1, 2, 5])), examples)


def test_folds_keep_documents_whole_and_spread_rare_types():
    tags = [["B-LOC"]] * 5 + [["B-PER", "I-PER"]] * 50 + [["O", "O"]] * 45
    examples, task = sentences(tags), TokenLabels(BIO)
    for _, held in task.folds(examples, k=5, seed=0):
        assert (held < 5).sum() == 1
        assert len(held) == 20
    rare = sentences([["B-LOC"]] * 2 + tags[5:])
    assert len(task.folds(rare, k=5, seed=0)) == 5  # two sentences of a type do not make it two folds
    documents = sentences(tags, blocks=[f"doc{i // 10}" for i in range(100)])
    for fit, held in task.folds(documents, k=3, seed=0):
        assert not set(documents.blocks[fit]) & set(documents.blocks[held])
    keep, held = task.split(documents, fraction=0.3, seed=0)
    assert not set(documents.blocks[keep]) & set(documents.blocks[held])
    assert len(held) > 0


def test_amounts_count_sentences():
    examples, task = sentences([["B-PER"], ["O"]] * 30), TokenLabels(BIO)
    few, more = (task.shrink(examples, amount, seed=1) for amount in (6, 20))
    assert (len(few), len(more), task.amount(examples)) == (6, 20, 60)
    assert set(few) < set(more)


def test_what_cannot_be_learned_from_is_refused_by_name():
    task = TokenLabels(BIO)
    task.check(sentences([["B-PER", "O"]] * 4))  # I-PER and LOC are on no word: their turn may come
    for examples, said in [
        (sentences([["B-PER", "O"]] * 3), "3 training sentences; at least 4"),
        (sentences([["O", "O"]] * 5), "only the tag 'O'"),
        (sentences([["B-PER"], ["O"], ["O"], ["O"]]), "1 training sentence has an entity"),
        (sentences([["B-ORG"]] * 4), "Tag 'B-ORG' is not one of the 5 tags"),
        (sentences([["O", "B-PER"]] * 4, words=[("one",)] * 4), "'0' has 1 words and 2 tags"),
    ]:
        with pytest.raises(ProblemError, match=said):
            task.check(examples)
    with pytest.raises(ProblemError, match="Tag 'NOUN' says nothing about spans"):
        TokenLabels(("NOUN", "O"), metric="span_f1")
    with pytest.raises(ProblemError, match="'f2' is no metric"):
        TokenLabels(BIO, metric="f2")
    with pytest.raises(ProblemError, match="Sentence 2 has 1 words and 2 answered tags"):
        task.outcomes(column([["O"], ["O"]]), column([["O"], ["O", "O"]]))
    with pytest.raises(ProblemError, match="transitions do not fit 5 tags"):
        TokenLabels(BIO, transitions=((0.0,),))
