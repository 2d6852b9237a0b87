"""Which model and which layers: the ranking and the profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstart.evidence import Candidate
from headstart.report import _page, _svg
from headstart.report._records import Records

_LIMIT = 60


def ranking(records: Records) -> str:
    """The candidates, the most promising first, with what each costs and under which licence it comes."""
    found = records.ranking
    if found is None:
        return ""
    if not found.candidates:
        return _page.paragraphs(_page.message(found.reason) or "No pre-trained model suits this kind of input.")
    rankers = list(dict.fromkeys(name for one in found.candidates for name in one.scores))
    cards = {card.get("name"): card for card in records.run.get("backbones") or () if isinstance(card, Mapping)}
    rows = []
    for place, one in enumerate(found.candidates[:_LIMIT]):
        rows.append(
            [*(["@won"] if place == 0 else []), *_candidate(one, rankers, cards.get(one.backbone, {}), found.static_best)]
        )
    head = ["Model", *(_page.text(name.replace("_", " ")) for name in rankers)]
    head += ["Mean rank", "Time", "Parameters", "Published", "Licence"]
    numeric = "-" + "n" * len(rankers) + "nnnn-"
    read = f"Scores of promise from {_page.counted(found.rows)} training {_page.text(records.plural, limit=24)}"
    return (
        _page.table(head, rows, numeric=numeric, label=read)
        + _page.paragraphs(_page.message(found.reason))
        + _page.note(_baseline(records))
    )


def layers(records: Records) -> str:
    """The score at every tap, drawn and listed; the tap to read and the cut are named with the reason."""
    found = records.profile
    if found is None or not found.scores:
        return ""
    metric = "accuracy of words" if records.task == "token_labels" else records.metric
    drawn = _svg.profile(found, metric=metric) if len(found.scores) > 1 else ""
    rows = []
    for one in sorted(found.scores, key=lambda score: score.depth):
        marks = [word for tap, word in ((found.read, "read"), (found.cut, "frozen up to here")) if tap == one.tap]
        name = _page.text(one.tap) + "".join(f'<span class="tag">{word}</span>' for word in marks)
        cells = [name, _page.number(one.depth, decimals=2), _page.counted(one.width)]
        cells += [_page.number(one.score), _page.number(one.error), _page.number(one.log_loss)]
        rows.append([*(["@won"] if one.tap == found.read else []), *cells])
    head = ["Layer", "Depth", "Width", _page.text(metric), "± error", "Loss"]
    every = _page.folded(f"All {len(rows)} layers", _page.table(head, rows, numeric="-nnnnn"))
    of = f"<b>{_page.text(found.backbone)}</b>. {_page.message(found.reason)}"
    return _page.paragraphs(of) + drawn + _page.note("The band is one error of the estimate to each side.") + every


def _candidate(one: Candidate, rankers: list[str], card: Mapping[str, Any], static_best: str | None) -> list[str]:
    told = f"<br><small>{_page.message(one.note, limit=160)}</small>" if one.note else ""
    best = '<span class="tag">best published</span>' if one.backbone == static_best else ""
    return [
        _page.text(one.backbone) + best + told,
        *(_page.number(one.scores.get(name)) for name in rankers),
        _page.number(one.mean_rank, decimals=1),
        _page.duration(one.seconds),
        _page.amount(one.parameters, ("", "k", "M", "G")),
        _page.number(one.prior),
        _page.text(card.get("licence") or _page.NONE, limit=32),
    ]


def _baseline(records: Records) -> str:
    found = records.ranking
    if found is None or not found.static_best:
        return ""
    if found.static_best == found.best:
        return "Published scores alone would have chosen the same model."
    return f"Published scores alone would have chosen {_page.text(found.static_best)}."
