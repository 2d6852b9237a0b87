"""The report: one HTML file made from a run folder alone.

It needs no script and asks nothing of any other place. The same folder gives the same bytes, so ``headstart report`` can
rebuild it at any time. A record that is missing or damaged leaves its section out, and the report says so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from headstart import _io
from headstart.report import _account, _answers, _models, _page, _records, _spans, _verdict

_SECTIONS: tuple[tuple[str, str, Callable[[_records.Records], str], str], ...] = (
    ("ships", "What ships, and why", _verdict.ships, ""),
    ("scores", "Scores", _verdict.scores, "Exam scores judge; inner scores only choose."),
    ("models", "Which model", _models.ranking, "Higher scores promise more. A low mean rank is good."),
    ("layers", "Which layers", _models.layers, "How well a simple head on each layer predicts rows it has not seen."),
    ("forgetting", "What tuning took", _models.forgetting, "How much of what the base could do before is still there."),
    ("confusion", "Confusions", _answers.confusion, "Answers of the recipe that ships, on the exam."),
    ("classes", "Class by class", _answers.recall, "How much of each class is found, and how much of each answer is right."),
    ("types", "Type by type", _spans.types, "How many of each type are found, and how many of the answers are right."),
    ("borders", "Types taken for others", _spans.confusion, "Answers of the recipe that ships, on the exam."),
    ("slices", "Slices", _answers.slices, "The same finalists on parts of the exam."),
    ("mistakes", "Most telling mistakes", _answers.mistakes, "What it answered, how sure it was, and the truth."),
    ("data", "What was done to your data", _account.data, ""),
    ("spent", "Time and memory", _account.spent, ""),
    ("fairness", "Why the comparison is fair", _verdict.fairness, ""),
    ("predict", "How to predict", _account.predict, ""),
    ("limits", "What this does not say", _verdict.limits, ""),
)


def build(folder: Path) -> str:
    """The report of the run in ``folder``, as one HTML document. ``RunError`` if it is no run folder."""
    records = _records.read(Path(folder))
    troubles = list(records.troubles)

    def made(title: str, make: Callable[[_records.Records], str]) -> str:
        # A record that reads well can still hold odd values. A report without a section is better than no report.
        try:
            return make(records)
        except _records.ODD as error:
            troubles.append(f"“{title}” was left out: its records hold something unexpected ({type(error).__name__}).")
            return ""

    top = made("Verdict", _verdict.verdict)
    sections = [_page.section(key, title, made(title, make), aside=aside) for key, title, make, aside in _SECTIONS]
    left_out = _page.section("troubles", "Left out", _page.listing([_page.message(one) for one in troubles]))
    body = f"<main>{top}{_page.contents(sections)}{''.join(sections)}{left_out}</main>"
    return _page.page(f"Headstart: {records.name}", f"{_head(records)}{body}{_foot(records)}")


def write(folder: Path) -> Path:
    """Put the report of the run in ``folder`` into it, as ``report.html``; says where it lies."""
    path = Path(folder) / "report.html"
    _io.write_text(path, build(Path(folder)))
    return path


def _head(records: _records.Records) -> str:
    day = records.run.get("created")
    when = f" · {_page.text(str(day)[:10])}" if day else ""
    return f'<p class="brand"><b>Headstart</b> · {_page.text(records.name)}{when}</p><h1>{_verdict.question(records)}</h1>'


def _foot(records: _records.Records) -> str:
    version = records.run.get("version")
    made = f"Headstart {_page.text(version)}" if version else "Headstart"
    return f"<footer>{made}. Made from the records of the run alone; every number here is in one of them.</footer>"
