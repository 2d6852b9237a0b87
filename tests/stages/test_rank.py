"""The ranking: who leads, who cannot be told apart, what was known before, what it may cost, and the race."""

import json
import re
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from headstart import _events, _io, report
from headstart import backbones as sources
from headstart.backbone import Tap
from headstart.cli import _ranking
from headstart.cli._data import limits_of
from headstart.errors import MissingExtra, NotAdmissible, ProblemError, UnknownName
from headstart.evidence import Candidate, Interval, LeftOut, Ranking, Rung
from headstart.features import Features, FeatureStore
from headstart.problem import Exam, Examples, Items
from headstart.registry import get
from headstart.stages import _history, _limits, _memory, _rivals
from headstart.stages import race as racing
from headstart.stages._history import History
from headstart.stages.estimate import estimate
from headstart.stages.race import race
from headstart.stages.rank import rank
from headstart.strategy import Limits, Plan
from headstart.testing import ToyBackbone, toy_problem
from headstart.workflow import transfer


@dataclass(frozen=True, eq=False)
class Named(ToyBackbone):
    """A toy backbone with facts of our choice on its card, that counts what it reads."""

    facts: dict[str, Any] = field(default_factory=dict)
    read: list[int] = field(default_factory=list)
    slow: float = 0.0
    same: bool = False  # every row alike

    @property
    def card(self):
        return replace(super().card, **self.facts)

    def features(self, inputs, taps, *, view=""):
        self.read.append(len(inputs))
        time.sleep(self.slow * len(inputs))
        found = super().features(inputs, taps, view=view)
        return {tap: Features.one_each(np.ones_like(one.rows)) for tap, one in found.items()} if self.same else found


def named(name, *, useful=True, seed=0, slow=0.0, same=False, **facts):
    return Named(useful, True, "numbers", 16, seed, {"name": name, **facts}, [], slow, same)


def heard(call):
    """What ``call`` gives, and the events that it emitted."""
    events = []
    with _events.listen(events.append):
        return call(), events


def untimed(found):
    return replace(found, candidates=tuple(replace(one, seconds=0.0, whole=None) for one in found.candidates))


def candidate(name, *, prior=None, past=None, problems=0, rank=1.0):
    return Candidate(name, {"ridge_loo": -rank}, 0.0, 0.0, 1, prior, past=past, past_problems=problems)


def answers(hits):
    hits = np.asarray(hits, dtype=float)
    table = np.stack([hits, np.ones_like(hits), hits], axis=1)
    return _rivals.Answers(table, np.arange(len(hits)).astype(str))


def another(seed, n=60):
    """A toy problem with class names of its own, and its exam: to the log, the toy problems of one name are the same one."""
    problem, exam = toy_problem(n=n, seed=seed)
    task = replace(problem.task, classes=tuple(f"{name}-{seed}" for name in problem.task.classes))
    items = problem.train.items
    items = replace(items, targets=np.array([f"{name}-{seed}" for name in items.targets], dtype=object))
    return replace(problem, task=task, train=replace(problem.train, items=items)), Exam(replace(exam.examples, items=items))


def log_of(path, *lines):
    """A log in which each of ``lines`` has the places on a problem of its own."""
    path.write_text(
        "\n".join(
            json.dumps(
                {"format": 1, "data": [f"d{i}"], "unit": "item", "places": {base.fingerprint[:16]: at for base, at in line}}
            )
            for i, line in enumerate(lines)
        )
    )
    return History(path)


TASK = get("tasks", "classification")(classes=("no", "yes"))


# intervals and groups


def test_the_bootstrap_of_a_mean_has_the_closed_form_error():
    table = answers([1] * 60 + [0] * 40).outcomes
    draws = _rivals.bootstrap(TASK, [table, table], np.arange(100).astype(str), draws=4000)
    assert draws[:, 0].std() == pytest.approx(np.sqrt(0.6 * 0.4 / 100), rel=0.05)
    assert (draws[:, 0] == draws[:, 1]).all()  # one set of weights for all: a candidate never differs from itself


def test_blocks_are_drawn_whole():
    table = answers(np.repeat([1, 0], 50)).outcomes
    single = _rivals.bootstrap(TASK, [table], np.arange(100).astype(str))
    tens = _rivals.bootstrap(TASK, [table], np.repeat(np.arange(10), 10).astype(str))
    assert tens.std() == pytest.approx(single.std() * np.sqrt(10), rel=0.15)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "macro_f1"])
def test_the_fast_way_scores_as_the_task_does(metric):
    task = get("tasks", "classification")(classes=("a", "b", "c"), metric=metric)
    draw = np.random.default_rng(0)
    truth, said = draw.choice(["a", "b", "c"], 40, p=[0.7, 0.25, 0.05]), draw.choice(["a", "b", "c"], 40)
    table = task.outcomes(truth, said)
    weights = draw.multinomial(40, np.full(40, 1 / 40), size=50).astype(float)
    assert _rivals._scores(task, table, weights) == pytest.approx([task.score(table, row) for row in weights])


def test_who_is_clearly_behind_and_who_is_not():
    hits = np.random.default_rng(1).random(400) < 0.8
    near, far = hits.copy(), hits.copy()
    near[:3] = ~near[:3]
    far[hits.nonzero()[0][:80]] = False
    found = [candidate("far", rank=3), candidate("near", rank=2), candidate("best", rank=1)]
    best, second, third = _rivals.ordered(found, [answers(far), answers(near), answers(hits)], TASK)
    assert (best.backbone, second.backbone, third.backbone) == ("best", "near", "far")
    assert [one.tied for one in (best, second, third)] == [True, True, False]
    assert third.behind.low <= 0.2 <= third.behind.high
    assert best.interval.low < 0.8 < best.interval.high
    assert best.behind is None


def test_all_right_is_no_certainty():
    (only,) = _rivals.ordered([candidate("x")], [answers([1] * 20)], TASK)
    assert only.interval.high == 1
    assert only.interval.low == pytest.approx(20 / (20 + 1.96**2))  # Wilson's


def test_few_blocks_tell_nobody_apart():
    bases = [named("good"), named("poor", useful=False)]
    few = rank(toy_problem(n=120, block=30)[0], bases)
    assert all(one.tied for one in few.candidates)
    assert "; 4 blocks are too few to tell the others apart from it" in few.conclusion
    enough = rank(toy_problem(n=120, block=20)[0], bases)
    assert [one.tied for one in enough.candidates] == [True, False]
    assert "every other is clearly behind" in enough.conclusion


def test_identical_candidates_are_tied_and_said_to_be():
    problem, _ = toy_problem(n=90)
    found, events = heard(lambda: rank(problem, [named("a"), named("b"), named("poor", useful=False)]))
    first, second, third = found.candidates
    assert {first.backbone, second.backbone} == {"a", "b"}
    assert first.mean_rank == second.mean_rank
    assert second.tied
    assert (second.behind.low, second.behind.high) == (0, 0)
    assert "Answers every row as a does" in second.note
    assert not third.tied
    assert "b (behind by 0.000, 0.000 to 0.000) cannot be told apart" in events[-1].message


# what is known before


def test_the_prior_decides_only_what_the_rows_cannot():
    hits = np.random.default_rng(1).random(400) < 0.8
    near, far = hits.copy(), hits.copy()
    near[hits.nonzero()[0][:2]] = False
    near[(~hits).nonzero()[0][:1]] = True
    far[hits.nonzero()[0][:80]] = False
    tables = [answers(hits), answers(near), answers(far)]

    def leader(*priors):
        found = [candidate(name, prior=prior, rank=i) for i, (name, prior) in enumerate(zip("abc", priors, strict=True))]
        return _rivals.ordered(found, tables, TASK)[0].backbone

    assert leader(None, None, None) == "a"
    assert leader(0.7, 0.8, 0.9) == "b"  # c is published best, but clearly behind on these rows
    assert leader(0.8, 0.7, 0.9) == "a"
    assert leader(None, 0.8, 0.9) == "a"  # of a there is nothing to compare with


def test_a_model_of_which_nothing_is_known_does_not_beat_known_ones():
    found = [
        candidate("new"),
        candidate("worse", past=0.4, problems=3),
        candidate("better", past=0.3, problems=3),
    ]
    same = [answers([1] * 30 + [0] * 10)] * 3
    assert [one.backbone for one in _rivals.ordered(found, same, TASK)] == ["better", "worse", "new"]


def test_the_log_wins_where_it_knows_enough_other_problems():
    known = [candidate("a", prior=0.9, past=0.8, problems=3), candidate("b", prior=0.8, past=0.1, problems=5)]
    assert _rivals.static_best(known) == ("b", "log")
    assert _rivals.static_best([replace(one, past_problems=2) for one in known]) == ("a", "card")
    assert _rivals.static_best([known[0], replace(known[1], past_problems=2)]) == ("a", "card")
    assert _rivals.static_best([candidate("a"), candidate("b")]) == (None, "card")


def test_the_priors_choice_is_always_on_the_shortlist():
    ranked = [replace(candidate(name), tied=name != "d") for name in "abcd"]
    assert _rivals.shortlist(ranked, "d", size=2) == ("a", "d")
    assert _rivals.shortlist(ranked, "a", size=2) == ("a", "b")
    assert _rivals.shortlist(ranked, None, size=3) == ("a", "b", "c")
    assert _rivals.shortlist(ranked, "d", size=1) == ("a", "d")  # beside the leader, whatever the size


def test_the_log_speaks_of_other_problems_only(tmp_path):
    history, bases = (
        History(tmp_path / "log" / "rankings.jsonl"),
        [named("good", prior=0.1), named("poor", useful=False, prior=0.9)],
    )
    for seed in range(3):
        problem, _ = another(seed)
        found = rank(problem, bases, history=history)
        assert (found.static_best, found.static_from) == ("poor", "card")
    again, _ = another(2)
    assert rank(again, bases, history=history).static_from == "card"  # its own line says nothing of it
    grown, _ = another(2)
    assert rank(replace(grown, train=grown.train.take(np.arange(50))), bases, history=history).static_from == "card"
    new, _ = another(9)
    found = rank(new, bases, history=history)
    assert (found.static_best, found.static_from) == ("good", "log")
    assert {one.backbone: (one.past, one.past_problems) for one in found.candidates} == {"good": (0, 3), "poor": (1, 3)}
    assert "places on other problems alone would have chosen the same" in found.conclusion
    assert untimed(rank(new, bases, history=history)) == untimed(found)  # the same log, the same ranking


def test_a_small_sample_and_other_rows_of_the_same_classes_are_the_same_problem():
    problem, _ = toy_problem(n=1850)  # 2000 items, with the exam
    items, draw = problem.train.items, np.random.default_rng(0)
    renamed = replace(problem.task, classes=("x", "y", "z"))
    for _ in range(20):
        some = draw.permutation(2000)[:100]
        sample = Items("numbers", [items.inputs[i] for i in some], ("",) * 100, tuple(items.fingerprints[i] for i in some))
        part = replace(problem, task=renamed, train=Examples.of(sample))
        assert _history._sketch(problem) & _history._sketch(part)
    assert _history._sketch(problem) & _history._sketch(toy_problem(seed=1)[0])
    assert not _history._sketch(another(0)[0]) & _history._sketch(another(1)[0])
    numbers = [toy_problem(task="regression", seed=seed)[0] for seed in range(2)]
    assert not _history._sketch(numbers[0]) & _history._sketch(numbers[1])  # no classes, so their rows decide


def test_models_are_compared_on_problems_that_all_have_places_for(tmp_path):
    problem, _ = toy_problem(n=60)
    good, poor, new = bases = [named("good"), named("poor", useful=False), named("new", seed=4)]
    found = [candidate(base.card.name) for base in bases]

    def past(*lines):
        told = log_of(tmp_path / "rankings.jsonl", *lines).informed(found, bases, problem)
        return [(one.past, one.past_problems) for one in told]

    both = [[(good, 0.0), (poor, 1.0)]] * 3
    assert past(*both, [(poor, 0.0)], [(poor, 0.0), (new, 1.0)]) == [(0, 3), (1, 3), (None, 0)]
    assert past(*both[:2], [(poor, 0.0)], [(good, 1.0)]) == [(None, 0)] * 3


def test_of_one_problem_the_line_with_most_places_counts_then_the_latest(tmp_path):
    history, (problem, _) = History(tmp_path / "rankings.jsonl"), toy_problem(n=60)
    bases = [named("good"), named("poor", useful=False), named("third", useful=False, seed=3)]
    rank(problem, bases, history=history)
    rank(problem, bases[:2], history=history)
    assert [len(line["places"]) for line in history._problems()] == [3]
    other, (line,) = named("other"), history._problems()
    with history.path.open("a") as log:
        log.write(json.dumps({**line, "places": {**line["places"], other.fingerprint[:16]: 0.5}}) + "\n")
    assert len(history._lines()) == 3
    assert history._problems()[0]["places"][other.fingerprint[:16]] == 0.5


def test_only_the_usual_panel_is_logged(tmp_path):
    history, (problem, _) = History(tmp_path / "rankings.jsonl"), toy_problem(n=60)
    rank(problem, [named("good"), named("poor", useful=False)], history=history, rankers=["nearest"])
    assert history._lines() == []


def test_empty_lines_do_not_count_among_the_latest(tmp_path, monkeypatch):
    monkeypatch.setattr(_history, "MOST", 3)
    history = log_of(tmp_path / "rankings.jsonl", *[[(named("a"), 0.0)]] * 5)
    history.path.write_text(history.path.read_text().replace("\n", "\n\n\n"))
    assert [line["data"] for line in history._lines()] == [["d2"], ["d3"], ["d4"]]


def test_the_log_does_not_grow_by_saying_the_same_again(tmp_path):
    history, (problem, _) = History(tmp_path / "rankings.jsonl"), toy_problem(n=60)
    for _ in range(3):
        rank(problem, [named("good"), named("poor", useful=False)], history=history)
    lines = [json.loads(line) for line in history.path.read_text().splitlines() if line]
    assert len(lines) == 1
    assert sorted(lines[0]["places"].values()) == [0.0, 1.0]


def test_damaged_lines_of_the_log_are_passed_over(tmp_path):
    history, (problem, _) = History(tmp_path / "rankings.jsonl"), toy_problem(n=60)
    bases = [named("good"), named("poor", useful=False)]
    rank(problem, bases, history=history)
    whole = history.path.read_text()
    odd = [
        '{"format": 1, "da',
        "[]",
        "null",
        '{"format": 1, "data": 3, "unit": "item", "places": {}}',
        "\x00\xff",
        '{"format": 9}',
    ]
    history.path.write_text("\n".join([*odd, whole.replace(": 1.0", ": 7.0"), whole, whole[:40]]))
    assert len(history._lines()) == 1
    new, _ = another(5)
    assert rank(new, bases, history=history).best == "good"
    assert len(history._lines()) == 2


def test_a_log_that_cannot_be_written_is_a_warning(tmp_path):
    (tmp_path / "file").write_text("")
    problem, _ = toy_problem(n=60)
    bases = [named("good"), named("poor", useful=False)]
    found, events = heard(lambda: rank(problem, bases, history=History(tmp_path / "file" / "rankings.jsonl")))
    assert found.best == "good"
    assert any(event.kind == "warning" and "not kept for later" in event.message for event in events)


# limits


def test_models_beyond_a_limit_are_left_out_unread_with_the_reason():
    problem, _ = toy_problem(n=60)
    small, large = named("small", parameters=1_000_000), named("large", parameters=9_000_000)
    found, events = heard(lambda: rank(problem, [large, small], limits=Limits(parameters=5e6)))
    assert [one.backbone for one in found.candidates] == ["small"]
    assert [(one.backbone, one.reason) for one in found.left_out] == [
        ("large", "it has 9.0 million parameters, 5.0 are allowed")
    ]
    assert large.read == []
    assert any(event.kind == "data" and "'large' is left out" in event.message for event in events)
    assert Ranking.from_dict(_io.plain(found)) == found


def test_memory_counts_weights_and_rows():
    problem, _ = toy_problem(n=60)
    heavy, light = named("heavy", weights_bytes=600 * 2**20), named("light", weights_bytes=100 * 2**20)
    found = rank(problem, [heavy, light], limits=Limits(memory=2**30))
    assert [one.backbone for one in found.left_out] == ["heavy"]
    assert found.left_out[0].reason == "it needs about 1200 MB, 1024 are allowed"


def test_a_slow_model_is_known_before_it_has_read_much():
    problem, _ = toy_problem(n=300)
    slow, fast = named("slow", slow=0.004), named("fast", seed=1)
    found = rank(problem, [slow, fast], limits=Limits(seconds=0.6), plan=Plan(rank_rows=200))
    assert [one.backbone for one in found.left_out] == ["slow"]
    assert sum(slow.read) <= 40
    assert sum(fast.read) == found.rows
    assert found.candidates[0].whole < 0.6


def test_a_limit_of_time_holds_in_every_call_on_a_store():
    problem, _ = toy_problem(n=300)
    slow, fast, store = named("slow", slow=0.004), named("fast", seed=1), FeatureStore()
    options = {"store": store, "plan": Plan(rank_rows=100)}
    for _ in range(2):
        found = rank(problem, [slow, fast], limits=Limits(seconds=0.6), **options)
        assert [one.backbone for one in found.left_out] == ["slow"]
    assert len(rank(problem, [slow, fast], **options).candidates) == 2  # now the store has all rows of a ranking
    found = rank(problem, [slow, fast], limits=Limits(seconds=0.6), **options)
    assert [one.backbone for one in found.left_out] == ["slow"]


def test_memory_counts_words_not_texts():
    @dataclass(frozen=True, eq=False)
    class OfWords(Named):
        @property
        def taps(self):
            return (Tap("stage3", 1.0, 16, unit="word"),)

    words = Items("numbers", [["w"] * 50] * 10, ("",) * 10, tuple(map(str, range(10))))
    task = replace(TASK, classes=("no", "yes"))
    problem = replace(toy_problem(n=60)[0], train=Examples.of(words), task=get("tasks", "token_labels")(task.classes))
    base = OfWords(True, True, "numbers", 16, 0, {"name": "words", "weights_bytes": 0}, [])
    assert _limits.excess(base, problem, Limits(memory=100_000)).factor == pytest.approx(16 * 500 * 16 / 100_000)
    assert _limits.excess(base, problem, Limits(memory=200_000)) is None


def test_memory_that_the_container_uses_is_not_free(tmp_path, monkeypatch):
    monkeypatch.setattr(_memory, "CONTAINER", tmp_path)
    free = _memory.available_memory()
    stat = "anon 700\ninactive_anon 90\ninactive_file 100\nactive_file 50\n"
    for name, text in {"memory.max": "1000\n", "memory.current": "900\n", "memory.stat": stat}.items():
        (tmp_path / name).write_text(text)
    assert _memory.available_memory() == 250
    (tmp_path / "memory.max").write_text("max\n")
    assert _memory.available_memory() == pytest.approx(free, rel=0.5)


def test_a_full_pass_is_extrapolated_from_the_rows_read():
    problem, _ = toy_problem(n=400)
    found = rank(problem, [named("slow", slow=0.002)], plan=Plan(rank_rows=100))
    assert found.candidates[0].whole == pytest.approx(0.8, rel=0.5)


def test_limits_that_none_keeps_name_the_nearest():
    problem, _ = toy_problem(n=60)
    bases = [named("large", parameters=9_000_000), named("small", parameters=2_000_000)]
    with pytest.raises(
        NotAdmissible, match=r"All 2 candidates .* nearest is 'small': it has 2.0 million parameters, 1.0 are"
    ):
        rank(problem, bases, limits=Limits(parameters=1e6))
    with pytest.raises(ProblemError, match="limit of memory is 0"):
        Limits(memory=0)


# rows are read once


def test_the_winners_rows_are_read_once():
    problem, _ = toy_problem(n=200)
    good, poor, store = named("good"), named("poor", useful=False), FeatureStore()
    found = rank(problem, [good, poor], store=store, plan=Plan(rank_rows=60))
    assert sum(good.read) == sum(poor.read) == found.rows
    store.features(good, problem.train, ["stage3"])
    assert sum(good.read) == 200
    rank(problem, [good, poor], store=store, plan=Plan(rank_rows=60), rankers=["nearest"])
    assert (sum(good.read), sum(poor.read)) == (200, found.rows)


def test_outputs_of_the_models_own_head_come_from_the_same_pass():
    @dataclass(frozen=True, eq=False)
    class Labelled(Named):
        @property
        def taps(self):
            return (*super().taps[:2], Tap("stage3", 1.0, 16, labels=tuple(f"c{i}" for i in range(16))))

    problem, _ = toy_problem(n=90)
    base = Labelled(True, True, "numbers", 16, 0, {"name": "labelled"}, [])
    found = rank(problem, [base, named("without")], rankers=["leep", "nce", "ridge_loo"])
    of = {one.backbone: one.scores for one in found.candidates}
    assert -np.log(3) - 0.1 < of["labelled"]["leep"] < 0
    assert of["without"] == {**of["without"], "leep": None, "nce": None}
    assert sum(base.read) == 90


# the race


def test_the_budget_decides_whether_there_is_a_race():
    problem, _ = toy_problem(n=400)
    racers = [estimate(problem, seconds).shortlist for seconds in (30, 120, 600, 1e5)]
    assert racers == sorted(racers)
    assert racers[0] == 0
    assert racers[-1] == 8


def test_a_ranking_with_a_budget_races_or_says_what_it_would_need():
    photos = Items("image", ["x"] * 3000, ("",) * 3000, tuple(map(str, range(3000))))
    problem = replace(toy_problem(n=60)[0], train=Examples.of(photos))
    assert estimate(problem, 600).shortlist == 0
    assert estimate(problem, 600, ranking=True).shortlist >= 2
    plan, (event,) = heard(lambda: estimate(problem, 60, ranking=True))
    assert plan.shortlist == 0
    needed = re.fullmatch(r"There is no race: 60 s are too few to tune two models. About (\d+) s would do.", event.message)
    assert estimate(problem, int(needed[1]), ranking=True).shortlist == 2
    assert estimate(problem, int(needed[1]) - 1, ranking=True).shortlist == 0


def test_the_race_is_won_by_the_model_that_tunes_best():
    problem, _ = toy_problem(n=80)
    bases = [named("poor", useful=False), named("good"), named("worse", useful=False, seed=4)]
    heats = race(problem, bases, plan=Plan(threads=1))
    assert next(iter(heats)) == "good"
    assert [rung.epochs for rung in heats["good"]] == [2, 4]
    assert sorted(len(one) for one in heats.values()) == [1, 2, 2]
    assert heats["good"][0].score > heats["poor"][0].score


def test_the_race_decides_who_leads(monkeypatch):
    problem, _ = toy_problem(n=120)
    rungs = {"b": (Rung(2, 0.9, 0.1, 30),), "a": (Rung(2, 0.8, 0.2, 30, Interval(0.1, -0.1, 0.3)),)}
    monkeypatch.setattr("headstart.stages.rank.race", lambda *args, **options: rungs)
    bases = [named("a"), named("b"), named("poor", useful=False)]
    assert rank(problem, bases).best == "a"
    found = rank(problem, bases, plan=Plan(shortlist=2))
    assert found.best == "b"
    assert {one.backbone: one.raced for one in found.candidates} == {**rungs, "poor": ()}
    b, a, _ = found.candidates
    assert (b.behind, a.behind.value, a.note) == (None, 0, "Answers every row as b does.")
    assert [one.tied for one in found.candidates] == [True, True, False]
    assert found.conclusion == (
        f"b wins the race of 2 on 30 rows held out (not told apart there: a); "
        f"its leave-one-out accuracy is {b.interval.value:.3f} on 120 rows; "
        "a (behind by 0.000, 0.000 to 0.000) cannot be told apart from it."
    )
    assert Ranking.from_dict(_io.plain(found)) == found


def test_the_winner_of_a_race_may_be_behind_on_the_rows():
    hits = np.random.default_rng(1).random(400) < 0.8
    near, far = hits.copy(), hits.copy()
    near[:3] = ~near[:3]
    far[hits.nonzero()[0][:80]] = False
    rung = (Rung(2, 0.9, 0.1, 40, Interval(0.1, 0.05, 0.15)),)
    found = [replace(candidate(name, rank=i), raced=rung) for i, name in enumerate(("best", "near", "far"))]
    tables = [answers(hits), answers(near), answers(far)]

    def told(first):
        ranked = tuple(_rivals.ordered(found, tables, TASK, first=first))
        return _rivals.conclusion(Ranking(ranked, 400, metric="accuracy"), "rows", blocks=400), ranked

    sentence, (_, best, near) = told("far")
    assert sentence == (
        f"far wins the race of 3 on 40 rows held out; "
        f"its leave-one-out accuracy is {np.mean(far):.3f} on 400 rows; on these rows alone "
        f"best (ahead by 0.200, {-best.behind.high:.3f} to {-best.behind.low:.3f}), "
        f"near (ahead by {-near.behind.value:.3f}, {-near.behind.high:.3f} to {-near.behind.low:.3f}) are clearly ahead of it."
    )
    assert 0 < -best.behind.high < 0.2 < -best.behind.low
    assert "; best (" in told("near")[0]
    assert told("near")[0].endswith("cannot be told apart from it.")


def test_the_prior_is_named_where_it_puts_a_model_first_that_scores_lower():
    hits = np.random.default_rng(1).random(400) < 0.8
    less = hits.copy()
    less[hits.nonzero()[0][:3]] = False
    less[(~hits).nonzero()[0][:2]] = True
    known = [candidate("better", prior=0.7), candidate("published", prior=0.9, rank=2)]
    ranked = tuple(_rivals.ordered(known, [answers(hits), answers(less)], TASK))
    assert ranked[0].backbone == "published"
    told = _rivals.conclusion(Ranking(ranked, 400, "published", metric="accuracy"), "rows", blocks=400)
    assert told.startswith(
        "published is put first by published scores, which settle what the rows leave open; its leave-one-out"
    )
    assert "better (ahead by" in told


def test_the_heat_says_how_far_the_losers_are_behind():
    problem, _ = toy_problem(n=80)
    heats = race(problem, [named("poor", useful=False), named("good")], plan=Plan(threads=1))
    (first,), (second,) = heats["good"], heats["poor"]
    assert first.behind is None
    assert first.held == second.held == 19
    assert second.behind.value == pytest.approx(second.loss - first.loss)
    assert 0 < second.behind.low < second.behind.value < second.behind.high


def test_a_leader_that_answers_like_a_constant_is_told():
    told = []
    for informative in ("nothing", "features"):
        problem, _ = toy_problem(n=60, informative=informative, seed=1)
        found, events = heard(lambda problem=problem: rank(problem, [named("good")]))
        told.append([one.message for one in events if "constant answer" in one.message])
        commonest = np.unique(problem.train.targets, return_counts=True)[1].max() / 60
        assert (found.candidates[0].interval.value <= commonest) == bool(told[-1])
    assert [len(one) for one in told] == [1, 0]


def test_the_race_looks_at_held_rows_only_to_score(monkeypatch):
    problem, _ = toy_problem(task="regression", n=80)
    inner, looked = racing._inner(problem, Plan(), 0), []
    assert (inner.task.mean, inner.task.scale) == (inner.train.targets.mean(), inner.train.targets.std())
    assert inner.task.mean != problem.task.mean
    locate = racing.locate

    def spied(problem, base, **options):
        looked.append(problem)
        return locate(problem, base, **options)

    monkeypatch.setattr(racing, "locate", spied)
    race(problem, [named("good"), named("poor", useful=False)], plan=Plan(threads=1))
    assert len(looked) == 2
    for seen in looked:
        assert seen.valid is None
        assert set(seen.train.fingerprints) == set(inner.train.fingerprints)
        assert not set(seen.train.fingerprints) & set(inner.valid.fingerprints)


def test_no_race_where_the_rows_decide(monkeypatch):
    problem, _ = toy_problem(n=160)
    monkeypatch.setattr("headstart.stages.rank.race", None)
    found = rank(problem, [named("good"), named("poor", useful=False)], plan=Plan(shortlist=4))
    assert found.shortlist == ("good",)


def test_the_race_scores_on_the_validation_part():
    problem, _ = toy_problem(n=57)
    rows = np.arange(57)
    given = replace(problem, train=problem.train.take(rows[:50]), valid=problem.train.take(rows[50:]))
    (first, *_) = race(given, [named("good"), named("poor", useful=False)], plan=Plan(threads=1)).values()
    assert first[0].score * 7 == pytest.approx(round(first[0].score * 7))


def test_a_model_that_can_only_be_read_races_with_a_probe_and_one_that_fails_is_out():
    @dataclass(frozen=True, eq=False)
    class Frozen(Named):
        trainable = False

    @dataclass(frozen=True, eq=False)
    class Broken(Named):
        def network(self, *, seed=0, unit="item"):
            raise NotAdmissible("no network here")

    problem, _ = toy_problem(n=60)
    frozen = Frozen(True, True, "numbers", 16, 0, {"name": "frozen"}, [])
    broken = Broken(True, True, "numbers", 16, 0, {"name": "broken"}, [])
    heats, events = heard(lambda: race(problem, [broken, frozen], plan=Plan(threads=1)))
    assert len(heats["frozen"]) == 1
    assert heats["broken"] == ()
    assert any("'broken' is out of the race: no network here" in event.message for event in events)


# input that is hard to rank


def test_one_candidate_is_its_own_leader():
    problem, _ = toy_problem(n=60)
    found = rank(problem, [named("only")])
    assert (found.best, found.shortlist) == ("only", ("only",))
    assert found.candidates[0].mean_rank == 1
    assert found.conclusion.startswith("only is the only candidate")


def test_a_kind_that_does_not_fit_and_two_of_one_name_are_refused():
    problem, _ = toy_problem(n=60)
    with pytest.raises(NotAdmissible, match="'odd' reads text items; these are numbers"):
        rank(problem, [named("good"), named("odd", kind="text")])
    with pytest.raises(NotAdmissible, match="Two different backbones are called 'x'"):
        rank(problem, [named("x"), named("x", useful=False)])
    assert len(rank(problem, [named("x"), named("x")]).candidates) == 1


def test_a_model_whose_package_is_missing_is_left_out_unless_it_is_the_only_one(monkeypatch):
    find = sources.find

    def without(name):
        if name == "absent":
            raise MissingExtra("The weights of 'absent' are not installed. Bring them with: headstart fetch absent")
        return find(name)

    monkeypatch.setattr(sources, "find", without)
    problem, _ = toy_problem(n=60)
    found, events = heard(lambda: rank(problem, ["absent", named("good")]))
    assert [(one.backbone, one.reason[:38]) for one in found.left_out] == [
        ("absent", "The weights of 'absent' are not instal")
    ]
    assert any(event.kind == "warning" and "headstart fetch absent" in event.message for event in events)
    with pytest.raises(MissingExtra, match="headstart fetch absent"):
        rank(problem, ["absent"])
    monkeypatch.setattr("headstart.stages.rank.suitable", lambda kind: ["absent"])
    found = rank(problem)  # nobody named it
    assert ([one.backbone for one in found.left_out], found.reason) == (
        ["absent"],
        "No pre-trained model for numbers can be opened here.",
    )
    assert _ranking.lines(found)[0].startswith("left out: absent: The weights of 'absent' are not installed")


def test_transfer_names_models_that_cannot_be_opened(tmp_path, monkeypatch):
    find = sources.find

    def without(name):
        if name == "absent":
            raise MissingExtra("The weights of 'absent' are not installed.")
        return find(name)

    monkeypatch.setattr(sources, "find", without)
    problem, exam = toy_problem(n=60)
    options = {"exam": exam, "budget": 60, "strategies": ["plain"]}
    run = transfer(problem, out=tmp_path / "some", backbones=["absent", named("good")], **options)
    assert run.ranking.best == "good"
    assert [one.backbone for one in run.ranking.left_out] == ["absent"]
    monkeypatch.setattr("headstart.stages.rank.suitable", lambda kind: ["absent"])
    run = transfer(problem, out=tmp_path / "none", **options)
    assert [one.backbone for one in run.ranking.left_out] == ["absent"]


def test_constant_features_rank_last_with_finite_scores():
    problem, _ = toy_problem(n=90)
    found = rank(problem, [named("flat", same=True, seed=1), named("good")])
    assert found.best == "good"
    assert not found.candidates[1].tied
    assert all(value is None or np.isfinite(value) for value in found.candidates[1].scores.values())
    json.dumps(_io.plain(found), allow_nan=False)


def test_more_classes_than_a_ranker_can_use_still_rank():
    problem, _ = toy_problem(n=40)
    names = np.array([f"c{i // 2:02d}" for i in range(40)], dtype=object)
    task = get("tasks", "classification")(classes=tuple(sorted(set(names))))
    problem = replace(
        problem,
        task=task,
        train=replace(
            problem.train, items=replace(problem.train.items, targets=np.resize(names, len(problem.train.items.inputs)))
        ),
    )
    found = rank(problem, [named("a"), named("b", useful=False)])
    assert len(found.candidates) == 2
    assert all(0 <= one.interval.low <= one.interval.high <= 1 for one in found.candidates)


def test_a_card_without_a_licence_is_warned_about():
    problem, _ = toy_problem(n=60)
    _, events = heard(lambda: rank(problem, [named("free", licence=""), named("good")]))
    warned = [event.message for event in events if event.kind == "warning"]
    assert warned == ["The card of 'free' names no licence. Find out whether you may use it."]


def test_an_unknown_ranker_is_told_before_anything_is_read():
    problem, _ = toy_problem(n=60)
    base = named("good")
    with pytest.raises(UnknownName, match="Did you mean 'nearest'"):
        rank(problem, [base], rankers=["nearst"])
    with pytest.raises(NotAdmissible, match="No ranker"):
        rank(problem, [base], rankers=[])
    assert base.read == []


@pytest.mark.parametrize("task", ["regression", "multi_label"])
def test_other_tasks_rank_too(task):
    problem, _ = toy_problem(task=task, n=150)
    found = rank(problem, [named("poor", useful=False), named("good")])
    assert found.best == "good"
    assert found.candidates[0].interval.low < found.candidates[0].interval.value < found.candidates[0].interval.high
    assert found.candidates[1].scores["nleep"] is None


def test_old_records_are_still_read():
    old = {
        "candidates": [{"backbone": "x", "scores": {"logme": 1.0}, "mean_rank": 1.0, "seconds": 2.0, "parameters": 3}],
        "rows": 40,
        "static_best": None,
        "reason": "",
    }
    assert Ranking.from_dict(old).best == "x"


def test_rankers_that_apply_to_nothing_are_an_error():
    problem, _ = toy_problem(n=60)
    with pytest.raises(NotAdmissible, match="None of the rankers that were named applies here: leep, nce"):
        rank(problem, [named("a"), named("b")], rankers=["leep", "nce"])


def test_features_that_tell_nothing_answer_one_in_k():
    problem, _ = toy_problem(n=300, informative="nothing")
    equal = np.resize(np.array(problem.task.classes, dtype=object), len(problem.train.items.inputs))
    problem = replace(problem, train=replace(problem.train, items=replace(problem.train.items, targets=equal)))
    found = rank(problem, [named("a"), named("b", useful=False)])
    assert [one.interval.value for one in found.candidates] == pytest.approx([1 / 3, 1 / 3], abs=0.08)  # not 0
    assert [one.interval.value for one in found.candidates] == [one.scores["ridge_loo"] for one in found.candidates]


# the doors


def test_limits_on_the_command_line_read_as_they_are_written():
    assert limits_of("5M", "2G", "1m30s") == Limits(seconds=90, memory=2 * 2**30, parameters=5e6)
    assert limits_of("500", "1.5GB", None) == Limits(memory=1.5 * 2**30, parameters=500)
    assert limits_of(None, None, None) is None
    for odd in ("five", "0", "-3M", "5X", ""):
        with pytest.raises(ProblemError, match="is no number of parameters"):
            limits_of(odd, None, None)


def test_the_command_gives_the_race_the_budget(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr("headstart.stages.estimate.estimate", lambda problem, seconds, **how: asked.update(how, at=seconds))
    problem, _ = toy_problem(n=30)
    np.savez(tmp_path / "rows.npz", X=np.array(problem.train.inputs), y=problem.train.targets.astype(str))
    _ranking.rank(str(tmp_path / "rows.npz"), budget="10m", as_json=True)
    assert asked == {"at": 600, "ranking": True}


def test_the_table_marks_the_group_and_names_who_was_left_out():
    problem, _ = toy_problem(n=90)
    bases = [named("a", prior=0.9), named("b"), named("poor", useful=False), named("large", parameters=10**9)]
    found = rank(problem, bases, limits=Limits(parameters=1e6), rankers=["ridge_loo", "nce", "logme"])
    told = _ranking.lines(found)
    head = " ".join(told[0].split())
    assert head == "backbone read at accuracy 95 % interval mean rank prior"
    assert ["backbone", "logme"] in [line.split() for line in told]
    assert "backbone parameters seconds one full pass" in [" ".join(line.split()) for line in told]
    assert [line[:3].strip() for line in told[1:4]] == ["=*", "=", ""]
    assert "left out: large: it has 1000.0 million parameters, 1.0 are allowed" in told
    assert told[-1] == found.conclusion


def test_transfer_keeps_what_the_ranking_knew(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    bases = [named("good", prior=0.1), named("poor", useful=False, prior=0.9), named("large", parameters=10**9)]
    for seed in range(3):
        rank(another(seed)[0], bases[:2], history=History.here())
    problem, exam = another(7)
    options = {"exam": exam, "backbones": bases, "limits": Limits(parameters=1e6), "strategies": ["plain", "nearest_mean"]}
    run = transfer(problem, out=tmp_path / "run", budget=60, **options)
    kept = _io.read_json(run.folder / "ranking.json")
    assert (kept["static_from"], kept["static_best"]) == ("log", "good")
    assert {one["backbone"]: one["past_problems"] for one in kept["candidates"]} == {"good": 3, "poor": 3}
    assert [one["backbone"] for one in kept["left_out"]] == ["large"]
    page = (run.folder / "report.html").read_text()
    assert "Places on other problems" in page or "places on other problems" in page
    assert "it has 1000.0 million parameters, 1.0 are allowed" in page
    read = sum(bases[0].read)
    assert transfer(problem, out=tmp_path / "run", budget=60, **options).ranking == run.ranking
    assert sum(bases[0].read) == read  # the second run reads its records


def test_the_report_draws_every_interval_and_escapes_what_it_is_told(tmp_path):
    problem, exam = toy_problem(n=60)
    run = transfer(
        problem,
        exam=exam,
        out=tmp_path / "run",
        budget=60,
        backbones=[named("good"), named("poor", useful=False)],
        strategies=["plain", "nearest_mean"],
    )
    found = run.ranking
    odd = replace(found, left_out=(LeftOut("<b>x", "<script>alert(1)</script>"),), conclusion="<img src=x>")
    _io.write_json(run.folder / "ranking.json", odd)
    page = report.build(run.folder)
    part = page[page.index('id="models"') : page.index('id="layers"')]
    assert part.count('"whisker with"') == 1
    assert part.count('"whisker without"') == 1
    for one in found.candidates:
        assert f"{one.interval.value:.3f}, from {one.interval.low:.3f} to {one.interval.high:.3f}" in part
    assert "<script" not in part
    assert "<img" not in part
    assert "clearly behind" in part


def test_who_lost_an_early_heat_to_another_is_not_called_level_with_the_winner():
    level, clear = Interval(0.1, -0.1, 0.3), Interval(0.2, 0.1, 0.3)
    raced = {
        "a": (Rung(2, 0.8, 0.3, 40, level), Rung(4, 0.9, 0.1, 40)),
        "c": (Rung(2, 0.8, 0.2, 40), Rung(4, 0.8, 0.3, 40, clear)),
        "b": (Rung(2, 0.8, 0.3, 40, level),),
    }
    found = [replace(candidate(name), raced=rungs) for name, rungs in raced.items()]
    assert _rivals._won(found) == "a wins the race of 3 on 40 rows held out"
