"""The closed forms behind the verdict, against published and enumerated numbers."""

import math

import numpy as np
import pytest
from scipy import stats

from headstart.stages import _intervals as iv
from headstart.stages.judge import decide

GOLDEN = [
    (20, 0, 0, -0.1611, 0.1611, 0.5),
    (50, 0, 0, -0.0713, 0.0713, 0.5),
    (400, 0, 0, -0.0095, 0.0095, 0.5),
    (20, 5, 0, 0.0486, 0.4687, 0.0156),
    (50, 10, 3, -0.0015, 0.2855, 0.0287),
    (100, 15, 5, 0.0134, 0.1924, 0.0133),
    (400, 40, 20, 0.0124, 0.0892, 0.0049),
]


@pytest.mark.parametrize(("n", "b", "c", "low", "high", "p"), GOLDEN)
def test_tango_limits_and_mid_p(n, b, c, low, high, p):
    d = np.r_[np.ones(b), -np.ones(c), np.zeros(n - b - c)]
    found = iv.paired_score(d)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert iv.sign_midp(d)[0] == pytest.approx(p, abs=5e-5)
    mirrored = iv.paired_score(-d)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low), abs=1e-12)


def test_three_seeds_narrow_by_the_design_effect():
    d = np.repeat([1 / 3, 2 / 3, 1, -1 / 3, -1, 0], [12, 6, 4, 6, 2, 20])
    found = iv.paired_score(d)
    assert iv.design_effect(d) == pytest.approx(0.6863, abs=5e-5)
    assert (found.low, found.high) == (pytest.approx(0.0322, abs=5e-5), pytest.approx(0.2877, abs=5e-5))


def test_no_disagreement_is_the_closed_form():
    z2 = iv.normal_quantile(0.025) ** 2
    for n in (5, 20, 189):
        assert iv.paired_score(np.zeros(n)).high == pytest.approx(z2 / (n + z2), abs=1e-9)
    assert iv.paired_score(np.zeros(189)).high < 0.02  # "no difference" first at 189 items
    assert iv.paired_score(np.zeros(188)).high > 0.02


def test_tango_limits_solve_their_equation():
    rng = np.random.default_rng(1)
    for _ in range(50):
        n = int(rng.integers(20, 300))
        b, c = (int(x) for x in rng.multinomial(n, [0.2, 0.1, 0.7])[:2])
        for limit, z in zip(iv.tango(n, b, c), (1.959964, -1.959964), strict=True):
            B, C = -b - c + (2 * n - b + c) * limit, -c * limit * (1 - limit)
            q = (math.sqrt(B * B - 8 * n * C) - B) / (4 * n)
            assert (b - c - n * limit) / math.sqrt(n * (2 * q + limit * (1 - limit))) == pytest.approx(z, abs=1e-5)


def test_mid_p_equals_scipy():
    for k, n in [(0, 0), (0, 4), (4, 4), (5, 5), (13, 20), (40, 60)]:
        expected = stats.binom.sf(k, n, 0.5) + stats.binom.pmf(k, n, 0.5) / 2
        assert iv.midp(k, n) == pytest.approx(expected, abs=1e-12)
    assert iv.midp(4, 4) > 0.025 > iv.midp(5, 5)  # at least five disagreements, all one way


def _size(n, p_b, p_c, wanted, *, margin=0.02, sign_test=True):
    """Exact probability of the outcome ``wanted`` when an item goes up with ``p_b`` and down with ``p_c``."""
    b, c = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    keep = b + c <= n
    if n > 200:  # far tails hold less than 1e-9
        keep &= (b <= stats.binom.isf(1e-10, n, p_b)) & (c <= stats.binom.isf(1e-10, n, p_c))
    b, c = b[keep], c[keep]
    low, high = iv.tango(n, b, c)
    midp = (iv.midp(b, b + c), iv.midp(c, b + c)) if sign_test else None
    chance = stats.multinomial.pmf(np.stack([b, c, n - b - c], axis=1), n, [p_b, p_c, 1 - p_b - p_c])
    return float(chance[decide(low, high, midp, margin=margin) == wanted].sum())


@pytest.mark.parametrize("n", [20, 37, 60, 100])
def test_false_helps_is_at_most_2_5_percent_by_enumeration(n):
    sizes = [_size(n, p / 2, p / 2, "helps") for p in (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)]
    assert max(sizes) <= 0.0254  # 2.5 % to one decimal; the worst on a fine grid is 2.53 %, at 90 % disagreement
    assert max(sizes) > 0.005  # and not by never saying it


def test_without_the_sign_test_the_size_is_too_large():
    sizes = [_size(n, p / 2, p / 2, "helps", sign_test=False) for n in (20, 37, 60) for p in np.arange(0.1, 0.95, 0.1)]
    assert max(sizes) > 0.0255


@pytest.mark.parametrize(("n", "margin", "p_d"), [(300, 0.05, 0.1), (1500, 0.02, 0.05)])
def test_false_no_difference_at_a_true_gain_of_the_margin(n, margin, p_d):
    size = _size(n, (p_d + margin) / 2, (p_d - margin) / 2, "no difference", margin=margin)
    assert 0.001 < size <= 0.0262


def test_parts_combine_by_squares():
    one = iv.Limits(0.2, 0.1, 0.4)
    assert iv.mean_of_parts([one]) == iv.Limits(0.2, pytest.approx(0.1), pytest.approx(0.4))
    four = iv.mean_of_parts([one] * 4)
    assert (four.low, four.high) == (pytest.approx(0.15), pytest.approx(0.3))


def test_jackknife_of_a_mean_is_the_t_interval():
    x = np.random.default_rng(2).normal(size=30)
    left_out = (x.sum() - x) / 29
    found, expected = iv.jackknife(x.mean(), left_out), stats.t.interval(0.95, 29, x.mean(), stats.sem(x))
    assert (found.low, found.high) == pytest.approx(expected)


def test_jackknife_without_spread_is_not_certain():
    found = iv.jackknife(0.0, np.zeros(20))
    assert found.high == pytest.approx(0.1611, abs=5e-5)
    assert iv.jackknife(0.5, np.array([0.5, np.nan])).low == -math.inf


def test_wilson():
    found = iv.wilson(np.repeat([1.0, 0.0], [8, 2]))
    assert (found.low, found.high) == (pytest.approx(0.4902, abs=5e-5), pytest.approx(0.9433, abs=5e-5))
    perfect = iv.wilson(np.ones(30))
    assert perfect.high == pytest.approx(1.0)
    assert perfect.low == pytest.approx(30 / (30 + iv.normal_quantile(0.025) ** 2))


def test_blocks_that_agree_count_as_one_item():
    d = np.repeat([1.0, -1.0, 0, 0, 0, 0, 0, 0, 0, 0], 20)
    blocks = np.repeat(np.arange(10), 20)
    assert iv.design_effect(d, blocks) == pytest.approx(20, rel=0.01)
    assert iv.paired_score(np.zeros(200), blocks=blocks).high == pytest.approx(iv.paired_score(np.zeros(10)).high)


def test_fold_spread_is_the_delete_one_fold_jackknife():
    gains = np.array([0.0, 0.1, 0.2, 0.3, 0.4])
    found = iv.fold_spread([gains], folds=5, noise=0.0, a=0.5)
    assert (found.V, found.nu) == (pytest.approx(16 / 5 * 0.025), 4)
    two = iv.fold_spread([gains, gains * 0], folds=5, noise=0.005, a=0.5)
    assert (two.V, two.nu) == (pytest.approx(16 / 5 * (0.0125 - 0.0025)), 8)
    assert iv.fold_spread([gains * 0.01], folds=5, noise=1.0, a=0.5).V == 0.0
    half = iv.half_spread(gains, noise=0.01, a=0.5)
    assert (half.V, half.nu) == (pytest.approx(0.02), 4)


def test_residual_mean_square_removes_rows_and_columns():
    rng = np.random.default_rng(3)
    additive = rng.normal(size=(40, 1)) + rng.normal(size=(1, 5))
    assert iv.residual_mean_square(additive) == pytest.approx(0, abs=1e-20)
    noise = rng.normal(size=(4000, 5))
    assert iv.residual_mean_square(additive[:1] + noise) == pytest.approx(1.0, abs=0.05)


def test_widen_squares_and_adds():
    found = iv.widen(iv.Limits(0.1, 0.07, 0.14), V=(0.04 / 2.306) ** 2, nu=8)
    assert (found.low, found.high) == (
        pytest.approx(0.1 - 0.05, abs=1e-4),
        pytest.approx(0.1 + math.sqrt(32) / 100, abs=1e-4),
    )


EQUATE = [
    (0.02, [1314, 2627, 5254]),
    (0.03, [584, 1168, 2335]),
    (0.05, [211, 421, 841]),
    (0.01, [5254, 10508, 21015]),
]


@pytest.mark.parametrize(("margin", "expected"), EQUATE)
def test_items_for_no_difference(margin, expected):
    assert [math.ceil(iv.items_to_equate(0.0, p, margin=margin)) for p in (0.05, 0.1, 0.2)] == expected


def test_items_for_a_decision():
    assert [math.ceil(iv.items_to_decide(gain, 0.2)) for gain in (0.02, 0.05, 0.08)] == [3923, 626, 243]
    assert iv.items_to_decide(0.05, 0.2, V=0.03**2, nu=8) == math.inf
    assert iv.items_to_decide(0.05, 0.2, V=0.01**2, nu=8) > 626
    assert iv.items_to_equate(0.03, 0.1, margin=0.02) == math.inf


def test_later_openings_together_cost_as_much_as_the_first():
    assert iv.alpha_at(1) == 0.025
    assert sum(iv.alpha_at(k) for k in range(2, 2000)) == pytest.approx(0.025, abs=2e-5)
