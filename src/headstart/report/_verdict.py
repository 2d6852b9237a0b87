"""What was found: the verdict, what ships, the scores, why the comparison is fair, and what it does not say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headstart.evidence import Trial
from headstart.report import _page, _svg
from headstart.report._records import Records

_INGREDIENTS = {
    "base": "a pre-trained model",
    "source": "the related source data",
    "unlabelled": "the unlabelled data",
    "siblings": "learning the tasks together",
    "descriptions": "the class descriptions",
}
_OUTCOMES = {
    "helps": ("helps", "Helps", '<path d="M8 2 15 14H1z"/>'),
    "hurts": ("hurts", "Hurts", '<path d="M8 14 1 2h14z"/>'),
    "no difference": ("same", "No difference", '<path d="M1 4h14v3H1zM1 9.5h14v3H1z"/>'),
    "undecided": ("undecided", "Undecided", '<path d="M8 .8 15.2 8 8 15.2.8 8zm0 4.2L5 8l3 3 3-3z"/>'),
}
_SHIPS = {
    "helps": "It is the better one of the two, and the exam confirms it.",
    "hurts": "Doing without was better on the exam, so the one without ships.",
    "no difference": "The two are as good as each other within the margin, so the cheaper one ships.",
    "undecided": "It has the better inner score. The exam could not confirm that it is better.",
}


def question(records: Records) -> str:
    """What the run asks, for the heading."""
    what = _INGREDIENTS.get(records.worth, f"the ingredient “{_page.text(records.worth)}”")
    return f"Is {what} worth it for {_page.text(records.name, limit=80)}?"


def verdict(records: Records) -> str:
    """The band with the sentence, the figures under it, and the gain drawn."""
    found = records.verdict
    if found is None:
        return _band("same", "No verdict", _unjudged(records), "", _OUTCOMES["no difference"][2]) + _figures(records)
    kind, word, icon = _OUTCOMES.get(found.outcome, ("same", _page.text(found.outcome), ""))
    reason = _page.message(found.reason) if found.reason and found.reason not in found.sentence else ""
    band = _band(kind, word, _page.message(found.sentence, limit=900), reason, icon)
    return band + _figures(records) + _gain(records) + _layers(records)


def _layers(records: Records) -> str:
    """The verdict with the located layer and with the last one, where they differ."""
    found = records.verdict
    if found is None or not found.further:
        return ""
    rows = []
    for one in (found, *found.further):
        scores = [one.scores.get(name or "") for name in (one.challenger, one.incumbent)]
        gain = one.gain
        rows.append(
            [
                _page.text(one.challenger) + _tag("with"),
                _page.text(_OUTCOMES.get(one.outcome, ("", one.outcome))[1]),
                *(_page.number(score.value if score else None) for score in scores),
                _page.signed(gain.value) if gain else _page.NONE,
                _page.span(gain.low, gain.high, sign=True) if gain else _page.NONE,
            ]
        )
    head = ["Recipe", "Verdict", _capital(_metric(records)), "Without", "Gain", f"{_level(records)} interval"]
    table = _page.table(head, rows, numeric="--nnnn", kind="named", label="The first row is the verdict above")
    told = _page.listing([_page.message(one.sentence, limit=900) for one in found.further])
    return f"<h3>With and without the right layer</h3>{table}{told}"


def ships(records: Records) -> str:
    """What ships, and why."""
    found = records.verdict
    if found is None or not records.shipped:
        return ""
    side = records.side(records.shipped)
    name = f"<strong>{_page.text(records.shipped)}</strong>{_tag(side)}"
    why = _SHIPS.get(found.outcome, "") if len(records.finalists) == 2 else "It is the only finalist."
    fitted = "It is in <code>predictor/</code>." if records.predictor else "No predictor was saved in this run."
    cheaper = records.choice.get("cheaper")
    cost = f"The cheaper of the two is {_page.text(_named(records, cheaper))}." if cheaper else ""
    return _page.paragraphs(
        f"{name} ships. {why} {fitted}",
        _page.message(found.advice, limit=900) if found.advice not in found.sentence else "",
        _page.message(records.choice.get("reason") or ""),
        cost if found.outcome == "no difference" else "",
        _alone(records),
    ) + _page.note("The verdict speaks of the recipe, a mean over seeds. What ships is one fit of it.")


def _alone(records: Records) -> str:
    """The exam score of what ships, where there was nothing to compare it with and so no interval."""
    found, name = records.evidence, records.shipped
    if found is None or name is None or records.exam_score(name) is not None or not len(found.of(name)):
        return ""
    return f"On the exam its {_metric(records)} is {_page.number(found.score(name))}."


def scores(records: Records) -> str:
    """The finalists on the exam, then every recipe on the inner rows."""
    return _finalists(records) + _recipes(records)


def fairness(records: Records) -> str:
    """The same rows, seeds, folds and number of configurations on both sides: read from the plan and the trials."""
    plan, counts = records.plan, records.counts
    done = [trial for trial in records.trials if trial.status == "done"]
    if not plan and not done:
        return ""
    lines = []
    if counts.get("train"):
        lines.append(f"<b>Rows.</b> Every recipe learned from the same {_page.counted(counts['train'])} {_unit(records)}.")
    if plan.get("folds"):
        lines.append(_folds(plan))
    lines.append(_configurations(records, done))
    if plan.get("seeds"):
        lines.append(
            f"<b>Seeds.</b> {_page.plural(plan['seeds'], 'refit')} of a recipe with chance in it, "
            f"{_page.counted(plan.get('scratch_seeds', 1))} of a network trained from nothing; the same seeds on both sides."
        )
    lines.append("<b>Choice.</b> The two finalists were named by inner score before the exam was opened.")
    most = f", at most {_page.plural(plan['epochs'], 'epoch')}" if plan.get("epochs") else ""
    lines.append(f"<b>Time.</b> A network trains until its own inner loss stops improving{most}. Seconds stop no side.")
    return f'<div class="box">{_page.listing([line for line in lines if line])}</div>' + _rule(records)


def _rule(records: Records) -> str:
    """Every single number that the decision rule used."""
    found = records.verdict
    if found is None or not found.details:
        return ""
    rows: list[list[str]] = []
    for name, value in found.details.items():
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        rows += [[_page.text(f"{name} {key}".strip()), _value(one)] for key, one in inner]
    return _page.folded("Every number that the decision used", _page.table(["Name", "Value"], rows[:80], numeric="-n"))


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(one) for one in value[:12])
    return (
        _page.number(value, decimals=4) if isinstance(value, float) else _page.text(_page.NONE if value is None else value)
    )


def limits(records: Records) -> str:
    """What the verdict does not say."""
    found, unit = records.verdict, _unit(records)
    lines = [
        f"It speaks of {unit} like those of the exam. On others, from another place or time, it may be different.",
        "It compares the recipes tried here. One that was not tried may do better on either side.",
        "An interval does not cover mistakes in the labels, near-duplicates across the parts, or an exam used before.",
        "Inner scores of the winners are a little too high, because the winners were picked by them. Exam scores are not.",
    ]
    if found is not None and found.scope == "pair":
        lines.insert(
            0, "It speaks of these two trained models only: refits on other training data were not part of the interval."
        )
    if found is not None and found.scope == "recipes":
        lines.insert(
            0, "It speaks of the recipes, trained on about this much data; with much more or less the answer may turn."
        )
    if found is not None and found.gain is not None:
        lines.append(
            f"What it rules out: a gain above {_page.signed(found.gain.high)} and one below {_page.signed(found.gain.low)}, "
            f"from a {_level(records)} interval."
        )
    if records.evidence is not None and records.evidence.transductive:
        lines.append("The exam's inputs, without their labels, were used in training (transductive).")
    return _page.listing(lines)


def _band(kind: str, word: str, sentence: str, reason: str, icon: str) -> str:
    drawn = f'<svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">{icon}</svg>' if icon else ""
    why = f'<p class="reason">{reason}</p>' if reason else ""
    return (
        f'<div class="verdict {kind}"><p class="outcome">{drawn}<span>{word}</span></p>'
        f'<p class="sentence">{sentence}</p>{why}</div>'
    )


def _unjudged(records: Records) -> str:
    if records.counts and not records.counts.get("exam"):
        return "Nothing was judged: there is no labelled exam to judge on."
    if not records.trials:
        return "This run has not come to a verdict. No recipe has been tried yet."
    return "This run has not come to a verdict yet. What is known so far stands below."


def _figures(records: Records) -> str:
    found, pairs = records.verdict, []
    if found is not None and found.gain is not None:
        pairs.append(
            ("Gain", _page.signed(found.gain.value) + _small(_page.span(found.gain.low, found.gain.high, sign=True)))
        )
    for word, name in (("With", records.challenger), ("Without", records.incumbent)):
        score = records.exam_score(name) if name else None
        if score is not None:
            pairs.append(
                (f"{word}, {_metric(records)}", _page.number(score.value) + _small(_page.span(score.low, score.high)))
            )
    if found is not None:
        sat = len(records.evidence.blocks) if records.evidence else records.counts.get("exam", 0)
        items = found.exam_items or sat  # without a rival there is an exam and no judgement
        seeds = _small(_page.plural(found.seeds, "seed")) if found.seeds else ""
        pairs.append(("Exam", f"{_page.counted(items)} {_unit(records)}{seeds}"))
    if records.counts.get("train"):
        classes = records.problem.get("classes")
        more = _small(_page.plural(len(classes), "class", "classes")) if isinstance(classes, Mapping) and classes else ""
        pairs.append(("Trained on", f"{_page.counted(records.counts['train'])} {_unit(records)}{more}"))
    if records.run.get("seconds"):
        pairs.append(("Time", _page.duration(records.run["seconds"]) + _small(_page.text(records.run.get("machine") or ""))))
    return _page.facts(pairs) if pairs else ""


def _gain(records: Records) -> str:
    found = records.verdict
    if found is None or found.gain is None:
        return ""
    recipes = found.scope == "recipes"
    refits = tuple(value for value in _mapping(found.details.get("draw_gains")).values() if isinstance(value, float))
    whole, fitted = "recipes", "these two models"
    rows = [_svg.Gain(whole if recipes else fitted, found.gain.value, found.gain.low, found.gain.high, refits)]
    if found.pair is not None and recipes:
        rows.append(_svg.Gain(fitted, found.pair.value, found.pair.low, found.pair.high))
    told = f"Bars are {_level(records)} intervals{'; the one of the recipes covers the training draw' if recipes else ''}."
    told += " Thin lines are single refits on a part of the training data." if refits else ""
    return _svg.gain(rows, margin=found.margin, ends=("better without", "better with")) + _page.note(told)


def _level(records: Records) -> str:
    """The level of the intervals: 95 %, more where an exam was opened again."""
    alpha = records.verdict.details.get("alpha") if records.verdict else None
    return f"{100 * (1 - 2 * alpha):.4g} %" if isinstance(alpha, float) else "95 %"


def _finalists(records: Records) -> str:
    found = {name: score for name in records.finalists if (score := records.exam_score(name)) is not None}
    if not found:
        return ""
    scale = _svg.Scale.around([limit for score in found.values() for limit in (score.value, score.low, score.high)])
    rows = []
    for name, score in found.items():
        side = records.side(name)
        mark = ["@won"] if name == records.shipped else []
        cells = [
            _page.text(name) + _tag(side) + (_tag("", "ships") if mark else ""),
            _page.number(score.value),
            _page.span(score.low, score.high),
            _svg.interval(scale, score.value, score.low, score.high, side=side),
            _page.number(records.inner_score(name)),
            _page.duration(_seconds(records, name)),
        ]
        rows.append([*mark, *cells])
    head = [
        "Finalist",
        _capital(_metric(records)),
        f"{_level(records)} interval",
        _svg.ruler(scale),
        "Inner score",
        "Refits",
    ]
    items = f"{_page.counted(records.verdict.exam_items)} {_unit(records)}" if records.verdict else "the exam"
    return "<h3>On the exam</h3>" + _page.table(
        head, rows, numeric="-nnwnn", kind="named", label=f"Mean over seeds on {items}"
    )


def _recipes(records: Records) -> str:
    groups: dict[str, list[Trial]] = {}
    for trial in records.trials:
        groups.setdefault(trial.recipe, []).append(trial)
    if not groups:
        return "<p>No recipe has been tried yet.</p>" if not records.finalists else ""
    means = {name: _mean([t.inner_score for t in trials if t.status == "done"]) for name, trials in groups.items()}
    order = sorted(groups, key=lambda name: (means[name] is None, -(means[name] or 0.0), name))[:100]
    inner = [score for trials in groups.values() for t in trials for score in (*t.fold_scores.values(), t.inner_score)]
    scale = _svg.Scale.around(inner)
    rows = [_recipe(records, groups[name], means[name], scale) for name in order]
    head = ["Recipe", f"Inner {_metric(records)}", "Folds", _svg.ruler(scale), "Time", "Memory"]
    table = _page.table(
        head, rows, numeric="-nnwnn", kind="named", label="Scored inside the training data, on rows that the fit never saw"
    )
    left = f"{len(groups) - len(order)} more recipes are in trials/." if len(groups) > len(order) else ""
    return "<h3>Every recipe that was tried</h3>" + table + _page.note(f"{_key(records)} A thin line is one fold. {left}")


def _recipe(records: Records, trials: Sequence[Trial], mean: float | None, scale: _svg.Scale) -> list[str]:
    first = trials[0]
    side = records.side(first.recipe, first.uses)
    folds = [score for trial in trials for score in trial.fold_scores.values() if score is not None]
    failed = [trial for trial in trials if trial.status != "done"]
    told = "".join(f"<br><small>{_page.message(trial.message, limit=280)}</small>" for trial in failed[:3] if trial.message)
    mark = "@failed" if mean is None else "@won" if first.recipe in records.finalists else "@"
    return [
        mark,
        _page.text(first.recipe) + _tag(side) + (_tag("bad", _page.text(failed[0].status)) if failed else "") + told,
        _page.number(mean),
        _page.span(min(folds), max(folds)) if len(folds) > 1 else "one fold" if folds else _page.NONE,
        _svg.strip(scale, folds, mean, side=side) if mean is not None else "",
        _page.duration(sum(trial.seconds or 0.0 for trial in trials)),
        _page.memory(max(trial.peak_memory or 0 for trial in trials)),
    ]


def _key(records: Records) -> str:
    full, hollow = (_svg.sample(side) for side in ("with", "without"))
    what = _INGREDIENTS.get(records.worth, "the ingredient")
    return f'<span class="key">{full} with {what}</span><span class="key">{hollow} without</span>'


def _folds(plan: Mapping[str, Any]) -> str:
    first = plan.get("scratch_folds", 1)
    return (
        f"<b>Folds.</b> {_page.plural(plan.get('repeats', 1), 'repeat')} of {_page.plural(plan['folds'], 'fold')}, the same "
        "for all. A recipe that tunes a network is scored on the first repeat, a network trained from nothing on the first "
        f"{'fold' if first == 1 else _page.plural(first, 'fold')}."
    )


def _configurations(records: Records, done: Sequence[Trial]) -> str:
    if not done:
        return ""
    names = {trial.recipe: records.side(trial.recipe, trial.uses) for trial in done}
    with_it = sum(side == "with" for side in names.values())
    return (
        f"<b>Configurations.</b> {_page.plural(with_it, 'recipe')} with, {_page.counted(len(names) - with_it)} without "
        f"({_page.plural(len(done), 'trial')})."
    )


def _seconds(records: Records, name: str) -> float | None:
    if records.evidence is None:
        return None
    spent = [cell.seconds for cell in records.evidence.cells if cell.arm == name and not cell.draw]
    return sum(spent) if spent else None


def _named(records: Records, ships: Any) -> Any:
    return {"challenger": records.challenger, "incumbent": records.incumbent}.get(str(ships), ships)


def _tag(side: str, word: str = "") -> str:
    return f'<span class="tag {side}">{word or side}</span>'


def _small(content: str) -> str:
    return f"<small>{content}</small>" if content else ""


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


def _unit(records: Records) -> str:
    return _page.text(records.plural, limit=24)


def _metric(records: Records) -> str:
    return _page.text(records.metric, limit=32)
