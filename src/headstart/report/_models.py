"""Which model and which layers: the ranking and the profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstart.evidence import Candidate, Ranking
from headstart.features import Profile
from headstart.report import _page, _svg
from headstart.report._records import Records

_LIMIT = 60


def ranking(records: Records) -> str:
    """The candidates, the most promising first, each with its interval, what it costs, and under which licence it comes."""
    found = records.ranking
    if found is None:
        return ""
    if not found.candidates:
        told = _page.message(found.reason) or "No pre-trained model suits this kind of input."
        return _page.paragraphs(told) + _left_out(found)
    limits = [edge for one in found.candidates if one.interval for edge in (one.interval.low, one.interval.high)]
    scale, raced = _svg.Scale.around(limits), any(one.raced for one in found.candidates)
    cards = {card.get("name"): card for card in records.run.get("backbones") or () if isinstance(card, Mapping)}
    rows = []
    for place, one in enumerate(found.candidates[:_LIMIT]):
        cells = _candidate(one, found, scale if limits else None, raced=raced)
        rows.append([*(["@won"] if place == 0 else []), *cells])
    drawn = [_page.text(_capital(found.metric or "score")), _svg.ruler(scale)] if limits else []
    known = "Elsewhere" if found.static_from == "log" else "Published"
    head = ["Model", *drawn, "Mean rank", *(["Race"] if raced else []), known, "Full pass", "Parameters"]
    numeric = "-" + ("nw" if limits else "") + "n" * (4 + raced)
    read = (
        f"Linear heads on {_page.counted(found.rows)} training {_page.text(records.plural, limit=24)}, each answered unseen"
    )
    return (
        _page.paragraphs(_page.message(found.conclusion, limit=600))
        + _page.table(head, rows, numeric=numeric, label=read)
        + _page.note(_group_key(found) if limits else "")
        + _rankers(found, cards)
        + _left_out(found)
        + _page.note(_baseline(records))
    )


def _rankers(found: Ranking, cards: Mapping[Any, Mapping[str, Any]]) -> str:
    """At which layer each candidate was scored, what each ranker says of it, what that took, and the licence."""
    names = list(dict.fromkeys(name for one in found.candidates for name in one.scores))
    rows = []
    for one in found.candidates[:_LIMIT]:
        licence = cards.get(one.backbone, {}).get("licence") or _page.NONE
        scores = [_page.number(one.scores.get(name)) for name in names]
        rows.append(
            [
                _page.text(one.backbone),
                _page.text(one.tap or _page.NONE),
                *scores,
                _page.duration(one.seconds),
                _page.text(licence, limit=32),
            ]
        )
    head = ["Model", "Layer", *(_page.text(name.replace("_", " ")) for name in names), "Time", "Licence"]
    table = _page.table(head, rows, numeric="--" + "n" * (len(names) + 1) + "-")
    return _page.folded("Every score of promise, and the licences", table)


def _left_out(found: Ranking) -> str:
    told = [f"<b>{_page.text(one.backbone)}</b>: {_page.message(one.reason)}" for one in found.left_out[:_LIMIT]]
    return _page.note(f"Left out. {'; '.join(told)}.") if told else ""


def _group_key(found: Ranking) -> str:
    full, hollow = (_svg.sample(side) for side in ("with", "without"))
    told = "Intervals: 95 %, by resampling the rows, the same for all. Full pass: reading all of the data once."
    told += (
        " Race: the score on held-out rows after each heat of real tuning." if any(o.raced for o in found.candidates) else ""
    )
    if found.static_from == "log":
        told += " Elsewhere: the mean place on other problems on this machine, 0 the first, 1 the last."
    return (
        f'<span class="key">{full} cannot be told apart from the first</span>'
        f'<span class="key">{hollow} clearly behind</span> {told}'
    )


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def layers(records: Records) -> str:
    """The score at every tap, drawn and listed; the tap to read and the cut are named with the reason."""
    found = records.profile
    if found is None or not found.scores:
        return ""
    metric = "accuracy of words" if records.task == "token_labels" else records.metric
    drawn = _svg.profile(found, metric=metric) if len(found.scores) > 1 else ""
    rows = []
    for one in sorted(found.scores, key=lambda score: score.depth):
        told = (("read", one.tap == found.read), ("frozen up to here", one.place == found.cut))
        marks = [word for word, true in told if true]
        name = _page.text(one.tap) + "".join(f'<span class="tag">{word}</span>' for word in marks)
        cells = [name, _page.number(one.depth, decimals=2), _page.counted(one.width)]
        cells += [_page.number(one.score), _page.number(one.score_error), _page.number(one.log_loss)]
        rows.append([*(["@won"] if one.tap == found.read else []), *cells])
    head = ["Layer", "Depth", "Width", _page.text(metric), "± error", "Loss"]
    every = _page.folded(f"All {len(rows)} layers", _page.table(head, rows, numeric="-nnnnn"))
    of = f"<b>{_page.text(found.backbone)}</b>. {_page.message(found.reason)}"
    band = _page.note("The band is one standard error of the score to each side.")
    return _page.paragraphs(of) + drawn + band + every + _freeze_plan(found) + _similarity(found)


def forgetting(records: Records) -> str:
    """What the base could do before it was tuned, and how much of that is left."""
    made = ""
    for one in records.forgetting:
        pairs = [("Accuracy before", f"{one.before:.1%}"), ("Accuracy after", f"{one.after:.1%}")]
        if one.measured == "answers":
            pairs = [("Same answers", f"{one.after:.1%}"), ("Mean divergence", f"{_page.number(one.divergence)} nats")]
        made += _page.paragraphs(_page.message(one.sentence)) + _page.facts(pairs)
    told = "The predictor is made for your task alone. This matters where its network becomes the base of another task."
    return made + _page.note(told) if made else ""


def _freeze_plan(found: Profile) -> str:
    """What moves in tuning, stage by stage."""
    if not found.plan:
        return ""
    rows = [
        [
            _page.text(move.stage) + ('<span class="tag">frozen</span>' if move.share == 0 else ""),
            "slower the deeper" if move.share is None else _page.number(move.share, decimals=2),
            _page.number(move.gradient),
        ]
        for move in found.plan
    ]
    table = _page.table(["Layer", "Share of the rate", "Relative gradient"], rows, numeric="-nn")
    moving = sum(move.share != 0 for move in found.plan)
    return _page.folded(f"What tuning moves: {moving} of {len(rows)} layers", table)


def _similarity(found: Profile) -> str:
    """How alike the layers are."""
    if len(found.similarity) < 2 or len(found.similarity) != len(found.scores):
        return ""
    told = _page.note(
        "How alike two layers see the data (linear CKA, 0 to 1). Neighbours that are alike repeat each other. For reading "
        "only: nothing is chosen by it."
    )
    return _page.folded("How alike the layers are", _svg.similarity(found) + told)


def _candidate(one: Candidate, found: Ranking, scale: _svg.Scale | None, *, raced: bool) -> list[str]:
    told = f"<br><small>{_page.message(one.note, limit=160)}</small>" if one.note else ""
    best = "best elsewhere" if found.static_from == "log" else "best published"
    tag = f'<span class="tag">{best}</span>' if one.backbone == found.static_best else ""
    drawn = []
    if scale is not None:
        score, side = one.interval, "with" if one.tied else "without"
        picture = _svg.interval(scale, score.value, score.low, score.high, side=side) if score else ""
        drawn = [_page.number(score.value if score else None), picture]
    name = _page.text(one.backbone)
    return [
        (f'<span class="nowrap">{name}</span>' if len(one.backbone) <= 20 else name) + tag + told,
        *drawn,
        _page.number(one.mean_rank, decimals=1),
        *([" → ".join(_page.number(rung.score) for rung in one.raced) or _page.NONE] if raced else []),
        _page.number(one.past, decimals=2) if found.static_from == "log" else _page.number(one.prior),
        _page.duration(one.whole) if one.whole is not None else "cached",
        _page.amount(one.parameters, ("", "k", "M", "G")),
    ]


def _baseline(records: Records) -> str:
    found = records.ranking
    if found is None or not found.static_best or found.conclusion:  # the conclusion says it too
        return ""
    source = "Places on other problems" if found.static_from == "log" else "Published scores"
    if found.static_best == found.best:
        return f"{source} alone would have chosen the same model."
    return f"{source} alone would have chosen {_page.text(found.static_best)}."
