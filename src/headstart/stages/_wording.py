"""The words of a verdict. Sentences are product text: one that a manager can read, with every number that it stands on."""

from __future__ import annotations

from collections.abc import Sequence

from headstart.evidence import Evidence, Interval, Verdict

# For each ingredient: the subject, whether it is plural, and what the other arm does without.
SUBJECTS = {
    "base": ("Transfer", False, "without pre-training"),
    "source": ("The source domain", False, "without source data"),
    "unlabelled": ("Adaptation", False, "without adaptation"),
    "siblings": ("Joint training", False, "trained alone"),
    "descriptions": ("Descriptions", True, "without descriptions"),
}


def sentence(verdict: Verdict, *, tail: str, level: str, why: str = "") -> str:
    """``verdict`` in words. ``tail`` says what the exam was, ``why`` what made it unable to decide anything."""
    subject, plural, without = SUBJECTS.get(verdict.worth, (verdict.worth.capitalize(), False, f"without {verdict.worth}"))
    scores = (verdict.scores[verdict.challenger or ""].value, verdict.scores[verdict.incumbent or ""].value)
    gain = verdict.gain
    digits = decimals(scores, gain, margin=verdict.margin) if gain else 2
    show = lambda value: number(value, digits)  # noqa: E731
    both = f"{verdict.challenger} scores {show(scores[0])} against {show(scores[1])} for {verdict.incumbent} {without}"
    if gain is None:
        return f"Undecided: {why}. {both} ({tail}). {verdict.advice}".rstrip()
    numbers = f"gain {show(gain.value)}, {level} interval {show(gain.low)} to {show(gain.high)}; {tail}"
    if verdict.outcome in ("helps", "hurts"):
        return f"{subject} {verdict.outcome[:-1] if plural else verdict.outcome}: {both} ({numbers})."
    if verdict.outcome == "no difference":
        return f"No difference worth having: {both}, within ±{verdict.margin:g} ({numbers})."
    ruled_out = f"the exam rules out {_ruled_out(gain, digits)} ({numbers})"
    return f"Undecided: {why + '. ' if why else ''}{both}, and {ruled_out}. {verdict.advice}".rstrip()


def layer(read: str, verdict: Verdict, *, level: str) -> str:
    """What reading at ``read`` is worth: ``verdict`` is that of the right layer against the last one."""
    gain = verdict.gain
    if gain is None:
        return ""
    scores = (verdict.scores[verdict.challenger or ""].value, verdict.scores[verdict.incumbent or ""].value)
    digits = decimals(scores, gain, margin=verdict.margin)
    low, high = number(gain.low, digits), number(gain.high, digits)
    return f" Reading at {read} instead is worth {number(gain.value, digits)} ({level} interval {low} to {high})."


def reason(
    outcome: str,
    ends: tuple[float, float],
    midp: tuple[float, float] | None,
    *,
    too_small: str,
    margin: float,
    alpha: float,
) -> str:
    """Which part of the rule decided."""
    unconfirmed = "The better inner score ships; the exam could not confirm it."
    if too_small:
        return f"{too_small[:1].upper()}{too_small[1:]}. {unconfirmed}"
    if outcome in ("helps", "hurts"):
        return f"The whole interval of the gain lies {'above' if outcome == 'helps' else 'below'} 0."
    if outcome == "no difference":
        return f"The whole interval of the gain lies within ±{margin:g}, so the cheaper one ships."
    if midp and (ends[0] > 0 or ends[1] < 0):
        p = midp[0] if ends[0] > 0 else midp[1]
        return f"The interval leaves out 0, but the sign test does not agree (p = {p:.3f}, above {alpha:g}). {unconfirmed}"
    return f"The interval of the gain holds 0 and reaches beyond ±{margin:g}. {unconfirmed}"


def tail(evidence: Evidence, sides: Sequence[str], *, blocks: int | None, seeds: int, scope: str) -> str:
    """What stands behind the numbers of two arms: exam and training items, seeds, scope."""
    grouped = f" in {groups(blocks)}" if blocks is not None else ""
    said = [f"{len(evidence.blocks):,} exam {evidence.unit}{grouped}", f"{evidence.train_size:,} training {evidence.unit}"]
    if seeds > 1 or not all(arm.deterministic for arm in evidence.arms if arm.name in sides):
        said.append(f"{seeds} seed{'' if seeds == 1 else 's'}")
    said.append("training draw included" if scope == "recipes" else "these two trained models")
    if evidence.transductive:
        said.append("the exam's inputs were seen without labels")
    opened = evidence.notes.get("opened", 1)
    if isinstance(opened, int) and opened > 1:
        said.append(f"exam opened {opened} times")
    return ", ".join(said)


def groups(count: int) -> str:
    """``1 group``, ``5 groups``."""
    return f"{count} group{'' if count == 1 else 's'}"


def level(alpha: float) -> str:
    """The level of the interval whose sides err by ``alpha``: ``95 %``."""
    return f"{100 * (1 - 2 * alpha):.4g} %"


def decimals(scores: tuple[float, float], gain: Interval, *, margin: float) -> int:
    """Two decimals where the printed numbers agree, else three.

    They agree when the gain is the difference of the printed scores and no bound turns into 0 or into ±margin.
    """
    for digits in (2, 3):
        shown = [round(value, digits) for value in (*scores, gain.value, gain.low, gain.high)]
        adds_up = abs(shown[0] - shown[1] - shown[2]) < 0.1**digits / 2
        edges = (0.0, margin, -margin)
        keeps_side = all(
            (low < edge) == (value < edge) and (low > edge) == (value > edge)
            for low, value in zip(shown[3:], (gain.low, gain.high), strict=True)
            for edge in edges
        )
        if adds_up and keeps_side:
            return digits
    return 3


def number(value: float, digits: int) -> str:
    """``value`` with a real minus sign, and no minus before a zero."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def _ruled_out(gain: Interval, digits: int) -> str:
    loss = "any loss" if gain.low >= 0 else f"a loss beyond {number(-gain.low, digits)}"
    return ("any gain" if gain.high <= 0 else f"a gain above {number(gain.high, digits)}") + f" and {loss}"


def one_figure(value: float) -> str:
    """``value`` to one significant figure; above 5,000 only "thousands"."""
    rounded = float(f"{value:.0e}")
    return "thousands of" if rounded > 5000 else f"{rounded:,.0f}"


def advice(low: float, middle: float, high: float, *, have: int, unit: str) -> str:
    """How many more exam items settle it, as a range: ``low``, ``middle`` and ``high`` are estimates of the whole exam."""
    if middle == float("inf"):
        return f"More exam {unit} cannot settle it; more training data or seeds might."
    fewest, likely, most = (one_figure(max(total - have, have / 10, 5)) for total in (low, middle, high))
    if fewest == "thousands of":
        return f"Thousands more exam {unit} would be needed to settle it."
    if most == "thousands of":
        if likely == most:
            return f"At least {fewest} and perhaps thousands more exam {unit} would be needed to settle it."
        return (
            f"About {likely} more exam {unit} would settle it if the gain is what it seems; thousands if it is far smaller."
        )
    amount = f"About {fewest}" if fewest == most else f"About {fewest} to {most}"
    return f"{amount} more exam {unit} would likely settle it."
