"""The decision rule on tables of outcomes: which scope, which interval, which words."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from headstart import _io
from headstart.evidence import Arm, Cell, Evidence, Verdict
from headstart.stages import _intervals as iv
from headstart.stages.judge import judge, undecided_without
from headstart.tasks.classification import Classification
from headstart.tasks.regression import Regression

NUMBERS = re.compile(r"scores (\S+) against (\S+) .*\(gain (\S+), 95 % interval (\S+) to (\S+);")
ACCURACY = Classification(("cat", "dog"))


def outcomes_of(hits, truth=None):
    """(…, n) hits as the classification task's (…, n, 3) outcomes."""
    hits = np.asarray(hits, dtype=float)
    truth = np.broadcast_to(np.zeros(hits.shape[-1]) if truth is None else truth, hits.shape)
    return np.stack([hits, truth, np.where(hits > 0, truth, 1 - truth)], axis=-1)


def evidence_of(T, C, *, draws=None, task=ACCURACY, blocks=None, **more):
    """Evidence for arms ``with`` and ``without``: (seeds, n, k) outcomes each, and draws: name → two (n, k) tables."""
    cells = [Cell("with", seed=s) for s in range(len(T))] + [Cell("without", seed=s) for s in range(len(C))]
    tables = [*T, *C]
    for name, pair in (draws or {}).items():
        for arm, table in zip(("with", "without"), pair, strict=True):
            cells.append(Cell(arm, draw=name))
            tables.append(table)
    n = np.shape(T)[1]
    items = tuple(f"item {i:05d}" for i in range(n))
    arms = (Arm("with", ("base",), len(T) == 1, {}), Arm("without", (), len(C) == 1, {}))
    fields = {"train_size": 100, "unit": "images", "exam": "f00d", "slices": {}, "worth": "base", **more}
    labels = np.array(items if blocks is None else blocks, dtype=object)
    return Evidence(
        task=task, arms=arms, cells=tuple(cells), outcomes=np.stack(tables), blocks=labels, items=items, **fields
    )


def choice_of(*, challenger="with", incumbent="without", inner=(0.8, 0.7), worth="base", reason=""):
    named = [SimpleNamespace(name=name) if name else None for name in (challenger, incumbent)]
    inner_scores = {"with": inner[0], "without": inner[1]}
    return SimpleNamespace(
        worth=worth, challenger=named[0], incumbent=named[1], inner_scores=inner_scores, cheaper="without", reason=reason
    )


def table(n, b, c, both=0.5):
    """One seed of hits for both arms, with b items only the first gets right and c only the second."""
    rest = n - b - c
    shared = (np.arange(rest) < round(both * rest)).astype(float)
    return outcomes_of(np.r_[np.ones(b), np.zeros(c), shared])[None], outcomes_of(np.r_[np.zeros(b), np.ones(c), shared])[
        None
    ]


def folds_of(T, C, gains):
    """Fold models whose gain on the exam is the whole refits' plus ``gains``: that many items more are won (or lost)."""
    n, draws = T.shape[1], {}
    for k, gain in enumerate(gains):
        first = T[0].copy()
        flip = np.flatnonzero(first[:, 0] == (0 if gain > 0 else 1))[: abs(round(gain * n))]
        first[flip, 0] = 1 if gain > 0 else 0
        draws[f"fold/{k // 5}/{k % 5}"] = (first, C[0])
    return draws


def test_helps_with_the_pair_interval_when_no_draw_sat_the_exam():
    verdict = judge(evidence_of(*table(400, 40, 20)), choice_of())
    assert verdict.outcome == "helps"
    assert (verdict.scope, verdict.ships) == ("pair", "with")
    assert (verdict.gain.low, verdict.gain.high) == (pytest.approx(0.0124, abs=5e-5), pytest.approx(0.0892, abs=5e-5))
    assert verdict.gain == verdict.pair
    assert "these two trained models" in verdict.sentence
    assert verdict.details["midp"][0] == pytest.approx(0.0049, abs=5e-5)
    assert (verdict.details["b"], verdict.details["c"], verdict.details["kappa"]) == (40, 20, 1)


def test_the_training_draw_widens_the_interval():
    T, C = table(400, 40, 20)
    gains = np.array([0.0, 0.05, -0.05, 0.1, -0.1] * 2)
    verdict = judge(evidence_of(T, C, draws=folds_of(T, C, gains), train_size=40), choice_of())
    assert (verdict.scope, verdict.outcome) == ("recipes", "undecided")
    assert verdict.details["V"] == pytest.approx(16 / 5 * np.var(gains[:5], ddof=1))
    assert (verdict.details["nu"], verdict.details["a"]) == (8, 0.0)
    assert verdict.gain.low == pytest.approx(
        0.05 - np.hypot(0.05 - verdict.pair.low, 2.306 * verdict.details["V"] ** 0.5), abs=1e-4
    )
    assert verdict.details["intervals"]["pair"] == [verdict.pair.low, verdict.pair.high]
    assert "training draw included" in verdict.sentence
    larger = judge(evidence_of(T, C, draws=folds_of(T, C, gains), train_size=50), choice_of())
    assert larger.details["a"] == 0.5
    assert larger.details["V"] < verdict.details["V"]


def test_draws_of_one_arm_alone_leave_the_scope_at_the_pair():
    T, C = table(100, 30, 5)
    whole = evidence_of(T, C, draws=folds_of(T, C, [0.1, 0.0, -0.1, 0.1, 0.0]))
    keep = [i for i, cell in enumerate(whole.cells) if not (cell.arm == "without" and cell.draw)]
    half = replace(whole, cells=tuple(whole.cells[i] for i in keep), outcomes=whole.outcomes[keep])
    assert judge(whole, choice_of()).scope == "recipes"
    assert judge(half, choice_of()).scope == "pair"


def test_folds_that_only_one_arm_had_are_left_out():
    T, C = table(100, 30, 5)
    gains = [0.1, 0.0, -0.1, 0.05, 0.0]
    whole = evidence_of(T, C, draws=folds_of(T, C, gains), train_size=40)
    dropped = {("without", "fold/0/3"), ("without", "fold/0/4")}
    keep = [i for i, cell in enumerate(whole.cells) if (cell.arm, cell.draw) not in dropped]
    found = judge(replace(whole, cells=tuple(whole.cells[i] for i in keep), outcomes=whole.outcomes[keep]), choice_of())
    assert found.details["nu"] == 2
    assert found.details["V"] == pytest.approx(16 / 5 * np.var(gains[:3], ddof=1))  # still fifths of the training data


def test_halves_are_preferred_from_fifty_training_items_up():
    T, C = table(100, 30, 5)
    gains = [0.1, 0.0, -0.1, 0.05, 0.0]
    folds = folds_of(T, C, gains)
    halves = {name.replace("fold/0", "half"): pair for name, pair in folds.items()}
    found = judge(evidence_of(T, C, draws=folds | halves, train_size=50), choice_of()).details
    assert (found["draws"], found["nu"]) == ("half", 4)
    assert found["V"] == pytest.approx(max(0, np.var(gains, ddof=1) - found["item_noise"] / 2))
    assert judge(evidence_of(T, C, draws=folds | halves, train_size=49), choice_of()).details["draws"] == "fold"


def test_no_difference_comes_first_and_ships_the_cheaper():
    verdict = judge(evidence_of(*table(189, 0, 0, both=1)), choice_of())
    assert (verdict.outcome, verdict.ships) == ("no difference", "without")
    assert judge(evidence_of(*table(188, 0, 0, both=1)), choice_of()).outcome == "undecided"
    small_but_certain = judge(evidence_of(*table(20000, 150, 50)), choice_of())
    assert small_but_certain.gain.low > 0
    assert small_but_certain.outcome == "no difference"


def test_four_wins_and_no_loss_are_not_enough_for_the_sign_test():
    interval_only = judge(evidence_of(*table(150, 4, 0)), choice_of(inner=(0.6, 0.7)))
    assert (interval_only.outcome, interval_only.ships) == ("undecided", "without")
    later = judge(evidence_of(*table(100, 15, 5)), choice_of(), alpha=iv.alpha_at(2))
    assert judge(evidence_of(*table(100, 15, 5)), choice_of()).outcome == "helps"
    assert later.outcome == "undecided"
    assert "97.5 % interval" in later.sentence


@pytest.mark.parametrize("n", [1, 2, 19])
def test_fewer_than_twenty_items_decide_nothing(n):
    verdict = judge(evidence_of(*table(n, n, 0)), choice_of())
    assert (verdict.outcome, verdict.ships) == ("undecided", "with")
    assert f"the exam has {n} images; at least 20 are needed" in verdict.sentence
    assert judge(evidence_of(*table(20, 20, 0)), choice_of()).outcome == "helps"


def test_blocks_are_the_units():
    T, C = table(200, 30, 10)
    items = judge(evidence_of(T, C), choice_of())
    four = judge(evidence_of(T, C, blocks=np.arange(200) // 50), choice_of())
    five = judge(evidence_of(T, C, blocks=np.arange(200) // 40), choice_of())
    assert items.outcome == "helps"
    assert four.outcome == "undecided"
    assert "come from 4 groups; at least 5 are needed" in four.reason
    assert five.outcome == "undecided"  # one group won it all
    assert five.pair.high - five.pair.low > 3 * (items.pair.high - items.pair.low)
    spread_out = judge(evidence_of(T, C, blocks=np.arange(200) % 20), choice_of())
    assert spread_out.outcome == "helps"
    assert "200 exam images in 20 groups" in spread_out.sentence


def test_a_block_jackknife_is_the_interval_of_block_means():
    rng = np.random.default_rng(0)
    T, C = outcomes_of(rng.random((1, 300)) < 0.8), outcomes_of(rng.random((1, 300)) < 0.5)
    blocks = np.arange(300) // 10  # equal blocks: the mean over items is the mean over blocks
    means = (T[0, :, 0] - C[0, :, 0]).reshape(30, 10).mean(axis=1)
    half = 2.045 * means.std(ddof=1) / np.sqrt(30)
    found = judge(evidence_of(T, C, blocks=blocks), choice_of()).pair
    assert (found.low, found.high) == pytest.approx((means.mean() - half, means.mean() + half), abs=1e-4)
    quiet = judge(evidence_of(*table(300, 0, 0), blocks=blocks), choice_of()).pair
    assert quiet.high == pytest.approx(iv.paired_score(np.zeros(30)).high)  # no block disagrees: 30 units, not 300


def test_balanced_accuracy_combines_the_classes():
    task = Classification(("cat", "dog"), metric="balanced_accuracy")
    truth = np.repeat([0, 1], [90, 30])
    first = np.r_[np.ones(80), np.zeros(10), np.ones(24), np.zeros(6)]
    second = np.r_[np.ones(70), np.zeros(20), np.ones(12), np.zeros(18)]
    T, C = outcomes_of(first[None], truth), outcomes_of(second[None], truth)
    verdict = judge(evidence_of(T, C, task=task), choice_of())
    cats, dogs = iv.paired_score((first - second)[:90]), iv.paired_score((first - second)[90:])
    low = verdict.gain.value - np.hypot(cats.value - cats.low, dogs.value - dogs.low) / 2
    assert verdict.gain.value == pytest.approx((10 / 90 + 12 / 30) / 2)
    assert verdict.gain.low == pytest.approx(low)
    assert verdict.outcome == "helps"
    few = np.r_[np.arange(90), 90 + np.arange(4)]
    rare = judge(evidence_of(T[:, few], C[:, few], task=task), choice_of())
    assert "the rarest class has 4 exam images; at least 5 of every class are needed" in rare.sentence
    gone = judge(
        evidence_of(T[:, :90], C[:, :90], task=Classification(("a", "b", "c"), metric="balanced_accuracy")), choice_of()
    )
    assert gone.outcome == "helps"  # one class alone is plain accuracy


def test_corpus_metrics_use_the_jackknife():
    rng, task = np.random.default_rng(1), Regression()
    y = rng.normal(size=200)
    T = task.outcomes(y, y + rng.normal(scale=0.3, size=200))[None]
    C = task.outcomes(y, y + rng.normal(scale=0.8, size=200))[None]
    verdict = judge(evidence_of(T, C, task=task), choice_of())
    assert verdict.outcome == "helps"
    assert verdict.details["midp"] is None
    influence = _linearised(T[0], y) - _linearised(C[0], y)
    half = 1.972 * influence.std(ddof=1) / np.sqrt(200)
    assert verdict.pair.high - verdict.pair.low == pytest.approx(2 * half, rel=0.03)
    assert judge(evidence_of(T, T, task=task), choice_of()).outcome == "no difference"  # the very same answers


def _linearised(outcomes, y):
    """Influence values of R² = 1 − mean squared error / variance."""
    errors, spread = outcomes[:, 3], (y - y.mean()) ** 2
    return -(errors / spread.mean()) + errors.mean() / spread.mean() ** 2 * spread


def test_seeds_are_averaged_before_anything_else():
    rng = np.random.default_rng(4)
    T, C = outcomes_of(rng.random((3, 120)) < 0.8), outcomes_of(rng.random((1, 120)) < 0.6)
    verdict = judge(evidence_of(T, C), choice_of())
    d = T[..., 0].mean(0) - C[0, :, 0]
    assert verdict.gain.value == pytest.approx(d.mean())
    assert verdict.pair.low == pytest.approx(iv.paired_score(d).low)
    assert "3 seeds" in verdict.sentence
    same = judge(evidence_of(T, T[[2, 0, 1]]), choice_of())
    assert (same.details["b"], same.details["c"]) == (0, 0)  # thirds cancel exactly


def test_order_of_items_and_names_of_blocks_do_not_matter():
    rng = np.random.default_rng(5)
    T, C = outcomes_of(rng.random((2, 90)) < 0.8), outcomes_of(rng.random((2, 90)) < 0.6)
    draws = {f"fold/0/{k}": (outcomes_of(rng.random(90) < 0.7), outcomes_of(rng.random(90) < 0.6)) for k in range(5)}
    order = rng.permutation(90)
    moved = {name: (a[order], b[order]) for name, (a, b) in draws.items()}
    for blocks in (None, np.arange(90) // 6):
        there = None if blocks is None else np.array([f"speaker {99 - b}" for b in blocks])[order]
        plain = judge(evidence_of(T, C, draws=draws, blocks=blocks), choice_of())
        shuffled = judge(evidence_of(T[:, order], C[:, order], draws=moved, blocks=there), choice_of())
        assert (shuffled.outcome, shuffled.sentence) == (plain.outcome, plain.sentence)
        assert [shuffled.gain.low, shuffled.gain.high] == pytest.approx([plain.gain.low, plain.gain.high])


def test_swapped_arms_mirror_the_verdict():
    rng = np.random.default_rng(6)
    mirror = {"helps": "hurts", "hurts": "helps"}
    for p in (0.4, 0.6, 0.8):
        T, C = outcomes_of(rng.random((2, 100)) < p), outcomes_of(rng.random((2, 100)) < 0.6)
        draws = {f"fold/0/{k}": (outcomes_of(rng.random(100) < p), outcomes_of(rng.random(100) < 0.6)) for k in range(5)}
        one = judge(evidence_of(T, C, draws=draws), choice_of())
        other = judge(evidence_of(C, T, draws={k: (b, a) for k, (a, b) in draws.items()}), choice_of())
        assert other.outcome == mirror.get(one.outcome, one.outcome)
        assert (other.gain.low, other.gain.high) == pytest.approx((-one.gain.high, -one.gain.low))


def test_the_sentence():
    T, C = table(200, 50, 12, both=114 / 138)
    verdict = judge(evidence_of(T, C, draws=folds_of(T, C, [0.02, 0.0, -0.02, 0.01, 0.0] * 2), train_size=400), choice_of())
    assert verdict.sentence == (
        "Transfer helps: with scores 0.82 against 0.63 for without without pre-training "
        "(gain 0.19, 95 % interval 0.10 to 0.28; 200 exam images, 400 training images, training draw included)."
    )
    assert str(verdict) == verdict.sentence


@pytest.mark.parametrize(
    ("worth", "start"),
    [
        ("base", "Transfer helps: "),
        ("unlabelled", "Adaptation helps: "),
        ("source", "The source domain helps: "),
        ("siblings", "Joint training helps: "),
        ("descriptions", "Descriptions help: "),
    ],
)
def test_the_verb_depends_on_the_ingredient(worth, start):
    assert judge(evidence_of(*table(100, 30, 5)), choice_of(worth=worth)).sentence.startswith(start)
    assert judge(evidence_of(*table(100, 5, 30)), choice_of(worth=worth)).sentence.startswith(start.replace("help", "hurt"))


def test_printed_numbers_add_up_and_keep_their_side():
    rng = np.random.default_rng(7)
    for _ in range(200):
        n = int(rng.integers(20, 2000))
        b, c = (int(x) for x in rng.multinomial(n, [0.12, 0.08, 0.8])[:2])
        verdict = judge(evidence_of(*table(n, b, c)), choice_of())
        found = NUMBERS.search(verdict.sentence.replace("−", "-"))
        first, second, gain, low, high = (float(text) for text in found.groups())
        assert first - second == pytest.approx(gain, abs=0.00101)
        assert (low > 0) == (verdict.gain.low > 0) or abs(verdict.gain.low) < 5e-4
        assert (high < 0.02) == (verdict.gain.high < 0.02) or abs(verdict.gain.high - 0.02) < 5e-4


def test_undecided_says_what_is_ruled_out_and_what_would_help():
    T, C = table(60, 9, 6)
    verdict = judge(evidence_of(T, C), choice_of())
    assert verdict.outcome == "undecided"
    assert "the exam rules out a gain above 0.18 and a loss beyond 0.08" in verdict.sentence
    assert verdict.advice == (
        "About 700 more exam images would settle it if the gain is what it seems; thousands if it is far smaller."
    )
    assert verdict.sentence.endswith(verdict.advice)
    noisy = judge(evidence_of(T, C, draws=folds_of(T, C, [0.2, -0.2, 0.1, -0.1, 0.0] * 2)), choice_of())
    assert noisy.advice == "More exam images cannot settle it; more training data or seeds might."


def test_without_a_challenger_the_incumbents_score_is_told():
    T, C = table(100, 0, 20, both=0.75)
    choice = choice_of(challenger=None, reason="No pre-trained model exists for numbers")
    verdict = judge(evidence_of(T, C), choice)
    assert (verdict.outcome, verdict.ships, verdict.challenger) == ("undecided", "without", None)
    assert verdict.sentence.startswith(
        "Undecided: no pre-trained model exists for numbers; without scores 0.80 (95 % interval 0.71 to "
    )
    gone = choice_of(incumbent="nobody")
    assert "nobody did not sit the exam" in judge(evidence_of(T, C), gone).sentence


def test_without_an_exam_the_better_inner_score_ships():
    verdict = undecided_without(choice_of(inner=(0.6, 0.7)), "There is no labelled exam.")
    assert verdict.sentence == "Undecided: there is no labelled exam."
    assert (verdict.ships, verdict.gain, verdict.exam_items) == ("without", None, 0)
    assert undecided_without(choice_of(inner=(None, None)), "no labels").ships == "without"
    assert undecided_without(choice_of(challenger=None, incumbent=None), "nothing fits").ships == ""


def test_a_verdict_survives_the_disk(tmp_path):
    for T, C in (table(100, 30, 5), table(10, 3, 1)):
        verdict = judge(evidence_of(T, C, draws=folds_of(T, C, [0.1, 0.0, -0.1, 0.1, 0.0])), choice_of())
        _io.write_json(tmp_path / "verdict.json", verdict)
        again = Verdict.from_dict(_io.read_json(tmp_path / "verdict.json"))
        assert (again.outcome, again.gain, again.scores, again.sentence) == (
            verdict.outcome,
            verdict.gain,
            verdict.scores,
            verdict.sentence,
        )
