"""The verdict: what one ingredient is worth, by an interval of the gain and a rule fixed before the exam opened.

The interval covers the exam items and, where fold or half refits sat the exam, the training draw (scope ``recipes``);
else it speaks of the two fitted models alone (scope ``pair``). The same interval serves every claim, so the printed
interval never contradicts the verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.evidence import Evidence, Interval, Verdict
from headstart.stages import _intervals as iv
from headstart.stages import _wording as words

if TYPE_CHECKING:
    from headstart.evidence import Choice
    from headstart.strategy import Recipe

MIN_ITEMS, MIN_BLOCKS, MIN_PER_CLASS = 20, 5, 5
MIN_TRAIN = 50  # below it, learners saturate on halves, and item noise is not subtracted from the fold spread
MAX_LEFT_OUT = 1000  # more blocks than this are left out in groups


def judge(evidence: Evidence, choice: Choice, *, margin: float = 0.02, alpha: float = 0.025) -> Verdict:
    """*helps*, *no difference*, *hurts* or *undecided*, for the two finalists that ``choice`` named.

    ``margin`` is the difference that is not worth having: 0.02 of a score in [0, 1], because 0.01 would need ten thousand
    exam items. ``alpha`` is the error of one side.
    """
    challenger, incumbent = _name(choice.challenger), _name(choice.incumbent)
    if len(evidence.blocks) == 0:
        return undecided_without(choice, "the exam is empty", margin=margin)
    if challenger is None or incumbent is None or not (len(evidence.of(challenger)) and len(evidence.of(incumbent))):
        return _one_sided(evidence, choice, margin=margin, alpha=alpha)
    exam = _Paired.of(evidence, challenger, incumbent, alpha=alpha)
    spread, gains = _training_draw(evidence, challenger, incumbent, one_stratum=exam.one_stratum)
    full = exam.within(iv.widen(exam.pair, V=spread.V, nu=spread.nu, alpha=alpha)) if spread else exam.pair
    too_small = _too_small(evidence, exam)
    outcome = "undecided" if too_small else decide(full.low, full.high, exam.midp, margin=margin, alpha=alpha)
    advice = f"Add exam {evidence.unit} until there are enough." if too_small else ""
    if outcome == "undecided" and not too_small:
        advice = _advice(evidence, exam, full, spread, margin=margin, alpha=alpha)
    verdict = Verdict(
        worth=choice.worth,
        outcome=outcome,
        sentence="",
        reason=words.reason(outcome, (full.low, full.high), exam.midp, too_small=too_small, margin=margin, alpha=alpha),
        challenger=challenger,
        incumbent=incumbent,
        gain=_interval(full),
        pair=_interval(exam.pair),
        scope="recipes" if spread else "pair",
        scores={name: _own_score(evidence, name, alpha=alpha) for name in (challenger, incumbent)},
        margin=margin,
        exam_items=exam.n,
        seeds=exam.seeds,
        ships=_ships(choice, outcome) or "",
        advice=advice,
        details=_details(evidence, exam, full, spread, gains=gains, margin=margin, alpha=alpha),
    )
    tail = words.tail(evidence, (challenger, incumbent), blocks=exam.blocks, seeds=exam.seeds, scope=verdict.scope)
    return replace(verdict, sentence=words.sentence(verdict, tail=tail, level=words.level(alpha), why=too_small))


def undecided_without(choice: Choice, reason: str, *, margin: float = 0.02) -> Verdict:
    """The verdict when nothing can be compared: no labelled exam, or an arm that does not exist. ``reason`` is printed."""
    reason = reason.strip().rstrip(".")
    ships = _ships(choice, "undecided")
    return Verdict(
        worth=choice.worth,
        outcome="undecided",
        sentence=f"Undecided: {reason[:1].lower()}{reason[1:]}.",
        reason=f"{reason[:1].upper()}{reason[1:]}. {f'{ships} ships; no exam confirmed it.' if ships else 'Nothing ships.'}",
        challenger=_name(choice.challenger),
        incumbent=_name(choice.incumbent),
        gain=None,
        pair=None,
        scope="pair",
        scores={},
        margin=margin,
        exam_items=0,
        seeds=0,
        ships=ships or "",
    )


def judge_layers(
    evidence: Evidence, choice: Choice, arms: Sequence[Recipe], *, margin: float = 0.02, alpha: float = 0.025
) -> tuple[Verdict, ...]:
    """The verdict had each of ``arms`` been the challenger: one base, read at other layers, the last arm at its last.

    They say what the layer is worth, and ship nothing. ``alpha``, the error of one side, is shared out among them (Bonferroni).
    An arm that could not be fitted has none.
    """
    found, read = [], arms[0] if len(arms) > 1 else choice.challenger
    for arm in arms:
        if not len(evidence.of(arm.name)):
            continue
        verdict = judge(evidence, replace(choice, challenger=arm), margin=margin, alpha=alpha / len(arms))
        where = f"Read at {arm.lens.reads[0][1]}{', the last layer' if arm is arms[-1] else ''}"
        told = f"{where}: {verdict.sentence[:1].lower()}{verdict.sentence[1:]}"
        if arm is arms[-1] and read is not None and len(evidence.of(read.name)):
            alone = judge(evidence, replace(choice, challenger=read, incumbent=arm), margin=margin, alpha=alpha / len(arms))
            told += words.layer(read.lens.reads[0][1], alone, level=words.level(alpha / len(arms)))
        found.append(replace(verdict, sentence=told, ships="", advice=""))
    return tuple(found)


def decide(low: Any, high: Any, midp: tuple[Any, Any] | None, *, margin: float, alpha: float = 0.025) -> Any:
    """The decision rule, for one interval or arrays of them. ``midp`` is None where the metric has no sign test."""
    up, down = midp if midp is not None else (0.0, 0.0)
    equal = (-margin < np.asarray(low)) & (np.asarray(high) < margin)
    helps, hurts = (np.asarray(low) > 0) & (up <= alpha), (np.asarray(high) < 0) & (down <= alpha)
    outcome = np.select([equal, helps, hurts], ["no difference", "helps", "hurts"], "undecided")
    return outcome if outcome.ndim else str(outcome)


# ---------------------------------------------------------------- the exam, item by item


@dataclass(frozen=True, eq=False)
class _Paired:
    """What the exam says about two fitted arms, items taken as the only source of chance."""

    pair: iv.Limits
    parts: list[np.ndarray] | None  # differences item by item, a stratum each; None for a corpus metric
    midp: tuple[float, float] | None
    n: int
    blocks: int | None  # how many real blocks there are; None when every item is its own
    seeds: int
    design: str

    @classmethod
    def of(cls, evidence: Evidence, challenger: str, incumbent: str, *, alpha: float) -> _Paired:
        T, C = evidence.of(challenger), evidence.of(incumbent)
        number = _numbered(evidence.blocks)
        n, real = T.shape[1], int(number.max(initial=-1)) + 1 < T.shape[1]
        parts = _differences(evidence, T, C)
        if parts is None:
            pair, design = (
                _jackknife(evidence, [T, C], number, alpha=alpha),
                "jackknife over " + ("blocks" if real else "items"),
            )
        else:
            limits = [iv.paired_score(d, alpha=alpha, blocks=_within(number, i) if real else None) for i, d in parts]
            pair, design = iv.mean_of_parts(limits), "score interval" if len(parts) == 1 else "score intervals by class"
            if real:
                pair, design = _over_blocks(evidence, [T, C], number, parts, pair, alpha=alpha), "jackknife over blocks"
        tables = None if parts is None else [d for _, d in parts]
        simple = tables is not None and len(tables) == 1 and not real
        signs = tuple(float(p) for p in iv.sign_midp(tables[0])) if simple and tables else None
        blocks = int(number.max(initial=-1)) + 1 if real else None
        return cls(pair, tables, signs, n, blocks, max(len(T), len(C)), design)  # type: ignore[arg-type]

    @property
    def one_stratum(self) -> bool:
        return self.parts is not None and len(self.parts) == 1

    def within(self, limits: iv.Limits) -> iv.Limits:
        """``limits`` cut to what a difference of scores in [0, 1] can be."""
        return limits if self.parts is None else _clipped(limits, -1.0)

    def disagreement(self, alpha: float) -> float:
        """Mean square of the items' differences; for other designs what the interval's width amounts to."""
        if self.midp is not None and self.parts is not None:
            return float((1 + (self.parts[0] ** 2).sum()) / (self.n + 2))
        half = (self.pair.high - self.pair.low) / (2 * iv.normal_quantile(alpha))
        return float(half**2 * self.n + self.pair.value**2)

    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = {"n": self.n, "blocks": self.blocks, "design": self.design, "midp": self.midp}
        if self.one_stratum and self.parts is not None:
            d = self.parts[0]
            found |= {"kappa": float(iv.design_effect(d)), "b": float(d[d > 0].sum()), "c": float(-d[d < 0].sum())}
        return found


def _numbered(blocks: np.ndarray) -> np.ndarray:
    """Block numbers in the order of their names, so that the order of items has no say."""
    return np.unique(np.asarray(blocks).astype(str), return_inverse=True)[1]


def _within(number: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.unique(number[index], return_inverse=True)[1]


def _values(evidence: Evidence, tables: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """Each stratum's item indices and values in [0, 1], mean over the tables; None for a corpus metric."""
    found = [strata for table in tables if (strata := evidence.task.strata(table)) is not None]
    if len(found) < len(tables):
        return None
    return [(index, np.mean([strata[k][1] for strata in found], axis=0)) for k, (index, _) in enumerate(found[0])]


def _differences(evidence: Evidence, T: np.ndarray, C: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]] | None:
    challenger, incumbent = _values(evidence, T), _values(evidence, C)
    if challenger is None or incumbent is None:
        return None
    # Rounding: thirds of three seeds must cancel, or a difference of 1e-17 would count as a disagreement.
    return [(i, np.round(t - c, 12)) for (i, t), (_, c) in zip(challenger, incumbent, strict=True)]


def _jackknife(evidence: Evidence, tables: Sequence[np.ndarray], number: np.ndarray, *, alpha: float) -> iv.Limits:
    """Delete-one-block t of the first arm's score minus the second's (or of one arm's score)."""

    def statistic(weights: np.ndarray | None) -> float:
        scores = [float(np.mean([evidence.task.score(table, weights) for table in arm])) for arm in tables]
        return scores[0] - sum(scores[1:])

    groups = number % MAX_LEFT_OUT
    left_out = np.array([statistic((groups != g).astype(float)) for g in range(int(groups.max(initial=-1)) + 1)])
    return iv.jackknife(statistic(None), left_out, alpha=alpha)


def _over_blocks(
    evidence: Evidence,
    tables: Sequence[np.ndarray],
    number: np.ndarray,
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    score: iv.Limits,
    *,
    alpha: float,
) -> iv.Limits:
    """The jackknife over blocks; at least ``score`` while fewer than 5 blocks disagree and tell it little of the spread."""
    limits = _jackknife(evidence, tables, number, alpha=alpha)
    disagreeing = np.unique(np.concatenate([number[index][d != 0] for index, d in parts]))
    return _clipped(limits if len(disagreeing) >= MIN_BLOCKS else iv.envelope(limits, score), -1.0)


def _own_score(evidence: Evidence, arm: str, *, alpha: float) -> Interval:
    """One arm's score; its interval covers the exam items."""
    tables, number = evidence.of(arm), _numbered(evidence.blocks)
    real = int(number.max(initial=-1)) + 1 < len(number)
    values = _values(evidence, tables)
    if values is None or real:
        limits = _jackknife(evidence, [tables], number, alpha=alpha)
    else:
        limits = iv.mean_of_parts([iv.wilson(part, alpha=alpha) for _, part in values])
    if evidence.task.link != "identity":  # only R² may fall below 0
        limits = _clipped(limits, 0.0)
    return _interval(limits) or Interval(float(limits.value), float(limits.value), float(limits.value))


# ---------------------------------------------------------------- training draw


def _training_draw(
    evidence: Evidence, challenger: str, incumbent: str, *, one_stratum: bool
) -> tuple[iv.Spread | None, dict[str, float]]:
    """The spread of the gain over training draws that both arms share, and those gains. None: too few draws."""
    a = 0.5 if one_stratum and evidence.train_size >= MIN_TRAIN else 0.0
    halves = _shared_draws(evidence, challenger, incumbent, kind="half")
    if len(halves) >= 5 and evidence.train_size >= MIN_TRAIN:
        gains = _gains(evidence, halves)
        noise = _item_noise(evidence, halves) if one_stratum else 0.0
        return iv.half_spread(np.array(list(gains.values())), noise=noise, a=a), gains
    drawn = _shared_draws(evidence, challenger, incumbent, kind="fold")
    repeats: dict[str, list[str]] = {}
    for name in drawn:
        repeats.setdefault(name.split("/")[1], []).append(name)
    usable = [names for names in repeats.values() if len(names) >= 2]
    if sum(len(names) - 1 for names in usable) < 2:
        return None, {}
    gains = _gains(evidence, drawn)
    every = {**evidence.draws(challenger), **evidence.draws(incumbent)}
    folds = 1 + max(int(name.split("/")[2]) for name in every)
    noises = [_item_noise(evidence, {name: drawn[name] for name in names}) for names in usable] if one_stratum else [0.0]
    by_repeat = [np.array([gains[name] for name in names]) for names in usable]
    return iv.fold_spread(by_repeat, folds=folds, noise=float(np.mean(noises)), a=a), gains


def _shared_draws(evidence: Evidence, challenger: str, incumbent: str, *, kind: str) -> dict[str, tuple[Any, Any]]:
    first, second = evidence.draws(challenger, kind=kind), evidence.draws(incumbent, kind=kind)
    return {name: (first[name], second[name]) for name in sorted(first.keys() & second.keys())}


def _gains(evidence: Evidence, drawn: Mapping[str, tuple[Any, Any]]) -> dict[str, float]:
    score = evidence.task.score
    return {name: score(first) - score(second) for name, (first, second) in drawn.items()}


def _item_noise(evidence: Evidence, drawn: Mapping[str, tuple[Any, Any]]) -> float:
    """What the finite exam alone puts into the variance of the gains: MSE/n of the (item, draw) table of differences."""
    columns = []
    for first, second in drawn.values():
        parts = _differences(evidence, first[None], second[None])
        if parts is None:
            return 0.0
        columns.append(parts[0][1])
    table = np.stack(columns, axis=1)
    return iv.residual_mean_square(table) / len(table)


# ---------------------------------------------------------------- rule, advice, shipping


def _too_small(evidence: Evidence, exam: _Paired) -> str:
    """Why this exam can decide nothing, or an empty string."""
    unit = evidence.unit
    if exam.n < MIN_ITEMS:
        return f"the exam has {exam.n} {unit}; at least {MIN_ITEMS} are needed"
    if exam.blocks is not None and exam.blocks < MIN_BLOCKS:
        return f"the exam's {exam.n} {unit} come from {words.groups(exam.blocks)}; at least {MIN_BLOCKS} are needed"
    if exam.parts is not None and len(exam.parts) > 1:
        absent = max(0, len(evidence.task.labels) - len(exam.parts))
        smallest = 0 if absent else min(len(d) for d in exam.parts)
        if smallest < MIN_PER_CLASS:
            return f"the rarest class has {smallest} exam {unit}; at least {MIN_PER_CLASS} of every class are needed"
    if not math.isfinite(exam.pair.low):
        return "the score is not defined when one part of the exam is left out"
    return ""


def _ships(choice: Choice, outcome: str) -> str | None:
    """The name of what ships; None when there is no arm at all."""
    challenger, incumbent = _name(choice.challenger), _name(choice.incumbent)
    if challenger is None or incumbent is None:
        return challenger or incumbent
    if outcome != "undecided":
        return {"helps": challenger, "hurts": incumbent}.get(outcome, choice.cheaper)
    ours, theirs = choice.inner_scores.get(challenger), choice.inner_scores.get(incumbent)
    if ours is None or theirs is None:
        return incumbent if ours is None else challenger
    return choice.cheaper if ours == theirs else (challenger if ours > theirs else incumbent)


def _advice(
    evidence: Evidence, exam: _Paired, full: iv.Limits, spread: iv.Spread | None, *, margin: float, alpha: float
) -> str:
    """How many more exam items would settle it: a range, from the quartiles of what the gain may be."""
    V, nu = (spread.V, float(spread.nu)) if spread else (0.0, math.inf)
    p_d = exam.disagreement(alpha)

    def needed(gain: float) -> float:
        equal = iv.items_to_equate(gain, p_d, margin=margin, V=V, nu=nu, alpha=alpha)
        return min(iv.items_to_decide(gain, max(p_d, gain**2), V=V, nu=nu, alpha=alpha), equal)

    quartile = 0.674 * (full.high - full.low) / (2 * iv.normal_quantile(alpha))
    totals = [needed(full.value + step * quartile) for step in (-1, 0, 1)]
    return words.advice(min(totals), totals[1], max(totals), have=exam.n, unit=evidence.unit)


# ---------------------------------------------------------------- small pieces


def _one_sided(evidence: Evidence, choice: Choice, *, margin: float, alpha: float) -> Verdict:
    """*undecided*, because an arm is missing; the score of the other one is still told."""
    arms = {"challenger": _name(choice.challenger), "incumbent": _name(choice.incumbent)}
    there = [name for name in arms.values() if name is not None and len(evidence.of(name))]
    scores = {name: _own_score(evidence, name, alpha=alpha) for name in there}
    gone = next(side for side, name in arms.items() if name not in there)
    with_or_without = f"draws on {choice.worth}" if gone == "challenger" else f"does without {choice.worth}"
    named = arms[gone]
    reason = f"{named} did not sit the exam" if named else choice.reason.strip().rstrip(".")
    reason = reason or f"no recipe that {with_or_without} could be fitted"
    bare, told = undecided_without(choice, reason, margin=margin), reason
    for name, own in scores.items():
        interval = f"{words.level(alpha)} interval {words.number(own.low, 2)} to {words.number(own.high, 2)}"
        told += f"; {name} scores {words.number(own.value, 2)} ({interval}; {len(evidence.blocks):,} exam {evidence.unit})"
    seeds = max((len(evidence.of(name)) for name in there), default=0)
    details = {"exam": evidence.exam, "alpha": alpha, "margin": margin}
    why = f"{bare.reason.split('. ')[0]}. {bare.ships} ships; there was nothing to compare it with."
    told = told[:1].lower() + told[1:] if told[1:2].islower() else told
    bare = replace(bare, sentence=f"Undecided: {told}.", reason=why if bare.ships else bare.reason, details=details)
    return replace(bare, scores=scores, exam_items=len(evidence.blocks), seeds=seeds)


def _name(arm: Any) -> str | None:
    return arm if arm is None or isinstance(arm, str) else arm.name


def _clipped(limits: iv.Limits, lowest: float) -> iv.Limits:
    """``limits`` cut to [``lowest``, 1]; undefined ones stay so."""
    if not math.isfinite(limits.low):
        return limits
    return iv.Limits(limits.value, max(lowest, limits.low), min(1.0, limits.high))


def _interval(limits: iv.Limits) -> Interval | None:
    if not (math.isfinite(limits.low) and math.isfinite(limits.high)):
        return None
    return Interval(float(limits.value), float(limits.low), float(limits.high))


def _ends(limits: iv.Limits) -> list[float] | None:
    return [float(limits.low), float(limits.high)] if math.isfinite(limits.low) else None


def _details(
    evidence: Evidence,
    exam: _Paired,
    full: iv.Limits,
    spread: iv.Spread | None,
    *,
    gains: Mapping[str, float],
    margin: float,
    alpha: float,
) -> dict[str, Any]:
    """Every number that the rule used."""
    scope = {"scope": "recipes" if spread else "pair", "alpha": alpha, "margin": margin, "exam": evidence.exam}
    intervals = {"pair": _ends(exam.pair), "recipes": _ends(full) if spread else None}
    draw: dict[str, Any] = {"V": None, "nu": None, "a": None, "draws": None}
    if spread is not None:
        draw = {
            "V": spread.V,
            "nu": spread.nu,
            "a": spread.a,
            "draws": spread.kind,
            "s2": spread.s2,
            "item_noise": spread.noise,
        }
    return {**exam.record(), **draw, **scope, "draw_gains": dict(gains), "intervals": intervals}
