"""The report: made from records alone, complete, safe whatever the names are, and the same bytes every time."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from headstart import _io, report
from headstart.errors import RunError
from headstart.evidence import Arm, Candidate, Cell, Evidence, Interval, Ranking, Trial, Verdict
from headstart.features import Profile, TapScore
from headstart.report import _page
from headstart.stages import _tagged
from headstart.tasks.classification import Classification
from headstart.tasks.regression import Regression
from headstart.tasks.token_labels import TokenLabels

GARMENTS = ("dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt")
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "line\nbreak\ttab",
    "../../etc/passwd",
    "' onmouseover='alert(1)",
    "\u202egnirts desrever",
    "x" * 5000,
    "</title></style><script>",
    "&lt;b&gt; &amp;",
    "lone \ud800 surrogate",
)
WITH, WITHOUT = "linear_probe on efficientnet_lite0", "plain"


def a_run(folder: Path, *, classes: tuple[str, ...] = GARMENTS, name: str = "clothing") -> Path:
    """A finished run, as `transfer` leaves it: 10 garments, 400 training and 200 exam images."""
    rng = np.random.default_rng(7)
    evidence = _evidence(classes, rng)
    evidence.save(folder)
    records = {
        "run": _run(classes, name),
        "ranking": _ranking(),
        "profile": _profile(),
        "choice": {
            "worth": "base",
            "challenger": WITH,
            "incumbent": WITHOUT,
            "inner_scores": {WITH: 0.8125, WITHOUT: 0.5375},
            "cheaper": WITHOUT,
            "reason": "",
        },
        "verdict": _verdict(evidence),
        "mistakes": {"items": [_mistake(i, classes) for i in range(12)]},
    }
    for stage, record in records.items():
        _io.write_json(folder / f"{stage}.json", record)
    for i, trial in enumerate(_trials(rng)):
        _io.write_json(folder / "trials" / f"{i}.json", trial.to_dict())
    _io.write_text(folder / "events.jsonl", "".join(json.dumps(event) + "\n" for event in _events(classes)))
    _io.write_json(folder / "predictor" / "predictor.json", {"format": 1})
    return folder


def _evidence(classes: tuple[str, ...], rng: np.random.Generator) -> Evidence:
    task = Classification(classes=classes)
    truth = np.repeat(np.arange(len(classes)), 20)

    def answers(right: float) -> np.ndarray:
        near = np.where(rng.random(len(truth)) < 0.6, (truth + 2) % len(classes), rng.integers(0, len(classes), len(truth)))
        chosen = np.where(rng.random(len(truth)) < right - 0.03 * (truth % 4), truth, near)
        return np.stack([chosen == truth, truth, chosen], axis=1).astype(float)

    cells = [Cell(WITH, seconds=1.3), *(Cell(WITHOUT, seed=s, seconds=2.1) for s in range(3))]
    outcomes = np.stack([answers(0.86), *(answers(0.58) for _ in range(3))])
    arms = (Arm(WITH, ("base",), True, {}), Arm(WITHOUT, (), False, {}))
    items = tuple(f"exam/{classes[c][:40]}/{i:03d}.jpg" for i, c in enumerate(truth))
    light = np.where(rng.random(len(truth)) < 0.7, "day", "night").astype(object)
    return Evidence(
        task,
        "base",
        arms,
        tuple(cells),
        outcomes,
        np.array(items, dtype=object),
        {"light": light},
        items,
        "e1",
        400,
        "images",
    )


def _verdict(evidence: Evidence) -> Verdict:
    ours, theirs = evidence.score(WITH), evidence.score(WITHOUT)
    gain = ours - theirs

    def around(value: float, half: float) -> Interval:
        return Interval(value, value - half, value + half)

    refits = {f"fold/{i // 5}/{i % 5}": gain + 0.02 * (-1) ** i * (i % 3) for i in range(10)}
    sentence = (
        f"Transfer helps: {WITH} scores {ours:.2f} against {theirs:.2f} for {WITHOUT} without pre-training "
        f"(gain {gain:.2f}, 95 % interval {gain - 0.081:.2f} to {gain + 0.081:.2f}; 200 exam images, 400 training images, "
        "3 seeds, training draw included)."
    )
    return Verdict(
        worth="base",
        outcome="helps",
        sentence=sentence,
        reason="The whole interval of the gain lies above 0.",
        challenger=WITH,
        incumbent=WITHOUT,
        gain=around(gain, 0.081),
        pair=around(gain, 0.062),
        scope="recipes",
        scores={WITH: around(ours, 0.051), WITHOUT: around(theirs, 0.067)},
        margin=0.02,
        exam_items=200,
        seeds=3,
        ships=WITH,
        details={"n": 200, "kappa": 0.71, "midp": [0.0, 1.0], "V": 0.00031, "nu": 8, "alpha": 0.025, "draw_gains": refits},
    )


def _run(classes: tuple[str, ...], name: str) -> dict:
    stages = {"rank": 41.2, "locate": 3.4, "extract": 2.2, "adapt": 128.9, "compare": 31.0, "judge": 0.3, "report": 0.4}
    card = {"kind": "image", "trained_on": "ImageNet-1k", "parameters": 4_652_008, "weights_bytes": 18_826_032}
    return {
        "format": 1,
        "version": "0.1.0",
        "name": name,
        "created": "2026-05-04T10:11:12+00:00",
        "problem": {
            "task": Classification(classes=classes).spec(),
            "kind": "image",
            "plural": "images",
            "setting": "inductive",
            "counts": {"train": 400, "valid": 0, "exam": 200},
            "classes": dict.fromkeys(classes, 40),
        },
        "plan": {"seconds": 600.0, "folds": 5, "repeats": 2, "scratch_folds": 1, "seeds": 3, "scratch_seeds": 1},
        "backbones": [
            {**card, "name": "efficientnet_lite0", "licence": "Apache-2.0"},
            {**card, "name": "mobilenet_v2", "licence": "BSD-3"},
        ],
        "seconds": sum(stages.values()),
        "stages": stages,
        "peak_memory": 1_240_000_000,
        "machine": "2 cores, Linux x86_64",
    }


def _ranking() -> Ranking:
    def one(name: str, scores: tuple[float, float, float], mean_rank: float, prior: float) -> Candidate:
        return Candidate(
            name, dict(zip(("ridge_loo", "nearest", "logme"), scores, strict=True)), mean_rank, 11.0, 4652008, prior
        )

    found = (
        one("efficientnet_lite0", (0.797, 0.702, 1.214), 1.3, 0.751),
        one("efficientnet_lite2", (0.785, 0.705, 1.190), 2.0, 0.774),
        one("mobilenet_v2", (0.762, 0.671, 1.102), 3.3, 0.718),
    )
    return Ranking(found, 400, "efficientnet_lite2")


def _profile() -> Profile:
    depth = np.linspace(0.05, 1.0, 17)
    score = 0.28 + 0.55 * (1 - np.exp(-2.6 * depth)) - 0.05 * np.maximum(0, depth - 0.85) / 0.15
    taps = tuple(
        TapScore(f"blocks.{i}", float(d), 24 + 16 * i, float(s), float(2.2 - 1.6 * s), 0.019)
        for i, (d, s) in enumerate(zip(depth, score, strict=True))
    )
    return Profile(
        "efficientnet_lite0", taps, "blocks.14", "blocks.9", "The lowest loss; nothing above it is clearly better."
    )


def _trials(rng: np.random.Generator) -> list[Trial]:
    def one(recipe: str, uses: tuple[str, ...], score: float, seconds: float, folds: int = 10) -> Trial:
        scores = {f"{k // 5}/{k % 5}": round(float(rng.normal(score, 0.03)), 4) for k in range(folds)}
        return Trial(recipe, uses, {}, 0, "done", float(np.mean(list(scores.values()))), scores, seconds, 410_000_000)

    failure = Trial(
        "fine_tune on mobilenet_v2", ("base",), {}, 0, "failed", None, {}, 3.1,
        message="RunError: Cannot read /home/ann/secret/weights.pth: No such file. Fetch it again.",
    )  # fmt: skip
    return [
        one(WITH, ("base",), 0.8125, 4.2),
        one("nearest_mean on efficientnet_lite0", ("base",), 0.741, 0.8),
        one("fine_tune on efficientnet_lite0", ("base",), 0.80, 61.0, folds=1),
        one(WITHOUT, (), 0.5375, 9.6),
        one("scratch", (), 0.455, 48.3, folds=1),
        one("chance", (), 0.10, 0.0),
        failure,
    ]


def _events(classes: tuple[str, ...]) -> list[dict]:
    told = [("data", f"'/home/ann/photos/{classes[0]}/{i}.jpg' is truncated; it was skipped.") for i in range(4)]
    told += [("data", "2 exact duplicates of exam images were removed from the training images."), ("stage", "rank")]
    told += [("warning", "The graph of mobilenet_v2 is not cached, so later starts are slower.")]
    return [{"kind": kind, "message": message, "data": {}, "time": 1.0} for kind, message in told]


def _mistake(i: int, classes: tuple[str, ...]) -> dict:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.full((48, 48, 3), 20 * i, np.uint8)).save(buffer, "JPEG")
    source = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    truth, answer = classes[i % len(classes)], classes[(i + 2) % len(classes)]
    shown = f'<figure><img src="{source}" alt=""><figcaption>{i}.jpg</figcaption></figure>'
    return {"name": f"exam/{i}.jpg", "truth": truth, "answer": answer, "confidence": 0.97 - 0.03 * i, "html": shown}


class _Seen(HTMLParser):
    """Every tag and attribute of a page, and its text."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_run(tmp_path_factory.mktemp("runs") / "clothing")


def _sections(markup: str) -> list[str]:
    return re.findall(r'<section id="([a-z]+)"', markup)


def _assert_safe(markup: str) -> None:
    seen = _Seen(markup)
    assert not {"script", "iframe", "object", "embed", "form", "link", "base"} & set(seen.tags)
    for tag, name, value in seen.attributes:
        assert not name.startswith("on"), (tag, name, value)
        if name == "src":
            assert value.startswith("data:image/")
        if name == "href":
            assert value.startswith("#")
    assert [name for tag, name, value in seen.attributes if tag == "svg" and name == "role" and value == "img"]


def test_every_section_is_there_in_order(finished: Path) -> None:
    assert _sections(report.build(finished)) == [
        "ships", "scores", "models", "layers", "confusion", "classes", "slices", "mistakes", "data", "spent", "fairness",
        "predict", "limits",
    ]  # fmt: skip


def test_the_verdict_and_its_numbers_are_on_the_page(finished: Path) -> None:
    text = _Seen(report.build(finished)).text
    verdict = Verdict.from_dict(_io.read_json(finished / "verdict.json"))
    assert verdict.sentence in text
    assert verdict.gain is not None
    assert verdict.pair is not None
    for interval in (verdict.gain, verdict.pair):
        for value in (interval.value, interval.low, interval.high):
            assert f"{value:+.3f}" in text
    for interval in verdict.scores.values():
        assert f"{interval.value:.3f}" in text
        assert f"{interval.low:.3f} to {interval.high:.3f}" in text
    assert "±0.02" in text
    assert "200 images" in text
    assert "3 seeds" in text


def test_the_confusion_matrix_counts_every_exam_item_once(finished: Path) -> None:
    table = re.search(r'<table class="heat">.*?</table>', report.build(finished), re.DOTALL)
    assert table is not None
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", table.group())
    assert len(cells) == 100
    assert sum(float(cell) for cell in cells if cell != "·") == 200


def test_a_failed_recipe_is_shown_with_its_message_and_no_folder_of_this_machine(finished: Path) -> None:
    markup = report.build(finished)
    assert "Cannot read …/weights.pth" in markup
    assert "/home/ann" not in markup
    assert str(finished.parent) not in markup
    assert "headstart predict clothing photos/" in markup


def test_alike_events_are_counted_together(finished: Path) -> None:
    text = _Seen(report.build(finished)).text
    assert "4 like this:" in text
    assert "2 exact duplicates of exam images were removed" in text


def test_the_page_asks_nothing_of_other_places_and_is_small(finished: Path) -> None:
    markup = report.build(finished)
    assert "default-src 'none'" in markup
    assert not re.search(r"url\((?!#)|@import", markup)
    assert not re.search(r"https?://", markup)
    assert len(markup.encode()) < 1_000_000
    _assert_safe(markup)


def test_building_twice_gives_the_same_bytes(finished: Path) -> None:
    first = report.write(finished).read_bytes()
    assert report.write(finished).read_bytes() == first


def test_hostile_names_stay_words(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "run", classes=HOSTILE, name="<script>alert(2)</script>\n" + "y" * 5000)
    path = report.write(folder)
    markup = path.read_text("utf-8")
    _assert_safe(markup)
    calm = _Seen(report.build(a_run(tmp_path / "calm")))
    assert set(_Seen(markup).tags) <= set(calm.tags)
    assert "line\\nbreak\\ttab" in markup
    assert "\u202e" not in markup
    assert "x" * 400 not in markup
    assert path.stat().st_size < 1_000_000


@pytest.mark.parametrize("outcome", ["helps", "hurts", "no difference", "undecided"])
def test_the_four_verdicts_differ_in_more_than_colour(finished: Path, tmp_path: Path, outcome: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    _io.write_json(folder / "verdict.json", {**_io.read_json(folder / "verdict.json"), "outcome": outcome})
    band = re.search(r'<p class="outcome">.*?</p>', report.build(folder))
    assert band is not None
    assert outcome in _Seen(band.group()).text.lower()
    assert len(set(re.findall(r'd="([^"]+)"', band.group()))) == 1


@pytest.mark.parametrize(
    ("missing", "section"),
    [
        ("ranking.json", "models"),
        ("profile.json", "layers"),
        ("evidence.json", "confusion"),
        ("outcomes.npy", "slices"),
        ("mistakes.json", "mistakes"),
        ("verdict.json", "ships"),
    ],
)
def test_a_missing_or_damaged_record_leaves_only_its_section_out(
    finished: Path, tmp_path: Path, missing: str, section: str
) -> None:
    whole = _sections(report.build(finished))
    for content in (None, b"{ half"):
        folder = tmp_path / f"run{content is None}"
        shutil.copytree(finished, folder)
        (folder / missing).unlink()
        if content is not None:
            (folder / missing).write_bytes(content)
        found = _sections(report.build(folder))
        assert section in whole
        assert section not in found
        assert {"scores", "data", "spent", "predict"} <= set(found)
        assert ("troubles" in found) == (content is not None or missing == "outcomes.npy")


def test_a_run_that_only_began_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    _io.write_json(folder / "run.json", {"format": 1, "name": "new"})
    assert "has not come to a verdict" in report.build(folder)


def test_a_run_without_an_exam_says_so(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    for name in ("verdict.json", "evidence.json", "mistakes.json"):
        (folder / name).unlink()
    run = _io.read_json(folder / "run.json")
    run["problem"]["counts"]["exam"] = 0
    _io.write_json(folder / "run.json", run)
    markup = report.build(folder)
    assert "no labelled exam" in markup
    assert WITH in markup


def test_a_lone_finalist_still_has_its_exam_score(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    verdict = _io.read_json(folder / "verdict.json")
    _io.write_json(folder / "verdict.json", {**verdict, "outcome": "undecided", "gain": None, "pair": None, "scores": {}})
    assert f"On the exam its accuracy is {Evidence.load(folder).score(WITH):.3f}." in report.build(folder)


def test_the_current_record_of_a_stage_is_used(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    verdict = _io.read_json(folder / "verdict.json")
    _io.write_json(folder / "verdict-3fa2.json", {**verdict, "sentence": "Another verdict.", "inputs": "3fa2"})
    names = {"verdict": "verdict-3fa2.json", "trials/a": "trials/0.json", "ranking": "../../ranking.json"}
    _io.write_json(folder / "run.json", {**_io.read_json(folder / "run.json"), "records": names})
    markup = report.build(folder)
    assert "Another verdict." in markup
    assert "scratch" not in markup.split('id="scores"')[1].split("<section")[0]
    assert "models" in _sections(markup)


def test_numbers_have_no_confusions(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "run")
    task = Regression(target="price", mean=0.0, scale=1.0)
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(200, 1))
    outcomes = np.stack([task.outcomes(truth[:, 0], truth[:, 0] + rng.normal(0, 0.3, 200)) for _ in range(4)])
    found = Evidence.load(folder)
    replace(found, task=task, outcomes=outcomes).save(folder)
    markup = report.build(folder)
    assert "R²" in markup
    assert "confusion" not in _sections(markup)
    assert "classes" not in _sections(markup)
    assert "slices" in _sections(markup)


TAGS = ("O", *(f"{place}-{kind}" for kind in ("PER", "LOC", "ORG", "<i>MISC</i>") for place in "BI"))


def a_tagged_run(folder: Path, *, tags: tuple[str, ...] = TAGS) -> Path:
    """The same run, but of a tagger: 200 sentences, of which the challenger gets more spans right."""
    a_run(folder)
    rng, task = np.random.default_rng(3), TokenLabels(tags)

    def column(sentences: list) -> np.ndarray:
        made = np.empty(len(sentences), dtype=object)
        made[:] = [tuple(map(str, one)) for one in sentences]
        return made

    truth = [np.where(rng.random(12) < 0.6, tags[0], rng.choice(tags, 12)) for _ in range(200)]

    def answers(wrong: float) -> np.ndarray:
        return task.outcomes(
            column(truth), column([np.where(rng.random(12) < wrong, rng.choice(tags, 12), one) for one in truth])
        )

    found = Evidence.load(folder)
    replace(found, task=task, unit="texts", outcomes=np.stack([answers(0.08), *(answers(0.2) for _ in range(3))])).save(
        folder
    )
    words = ("Smith", "of", "the", "European", "Union", "<script>alert(1)</script>") * 3
    asked = [("PER", 0, 1), ("ORG", 3, 5)]
    shown = _tagged.shown(words, _tagged.places(asked, [("ORG", 4, 5), ("<b>", 8, 9)]), "news/12", right=True)
    one = {
        "name": "news/12",
        "truth": _tagged.listed(words, asked),
        "answer": "ORG: Union",
        "confidence": 0.91,
        "html": shown,
    }
    _io.write_json(folder / "mistakes.json", {"items": [one] * 5})
    run = _io.read_json(folder / "run.json")
    about = {"task": {"task": "token_labels"}, "kind": "text", "plural": "texts", "classes": dict.fromkeys(tags, 300)}
    _io.write_json(folder / "run.json", {**run, "problem": {**run["problem"], **about}})
    return folder


def test_a_tagger_has_a_table_of_types_and_a_matrix_that_counts_every_span_once(tmp_path: Path) -> None:
    folder = a_tagged_run(tmp_path / "run")
    markup = report.build(folder)
    _assert_safe(markup)
    assert {"types", "borders", "mistakes"} <= set(_sections(markup))
    assert not {"confusion", "classes", "troubles"} & set(_sections(markup))
    found = Evidence.load(folder)
    task, outcomes = found.task, found.of(WITH)[0]
    assert isinstance(task, TokenLabels)
    part = markup.split('id="types"')[1].split("<section")[0]
    text = _Seen(part).text
    for name, count, precision, recall, f1 in task.by_type(outcomes):
        assert f"{name} {count:.0f} {precision:.3f} {recall:.3f} {f1:.3f}" in text
    matrix = re.search(r'<table class="heat">.*?</table>', markup.split('id="borders"')[1], re.DOTALL)
    assert matrix is not None
    rows = re.findall(r"<tr><th.*?</tr>", matrix.group(), re.DOTALL)[1:]
    cells = [re.findall(r"<td[^>]*>([^<]+)</td>", row) for row in rows]
    sums = [sum(float(cell) for cell in row if cell != "·") for row in cells[:4]]
    assert sums == [count for _, count, *_ in task.by_type(outcomes)]
    assert "span F1" in markup


def test_the_gain_of_a_type_has_an_interval_that_holds_it(tmp_path: Path) -> None:
    part = report.build(a_tagged_run(tmp_path / "run")).split('id="types"')[1].split("<section")[0]
    found = re.findall(r"([+−][\d.]+)<br><small><span class=\"nowrap\">([+−]?[\d.]+) to ([+−]?[\d.]+)", part)
    assert len(found) == 4
    for value, low, high in (tuple(float(one.replace("−", "-")) for one in row) for row in found):
        assert low < value < high
        assert value > 0


def test_sentences_keep_their_marks_and_nothing_else(tmp_path: Path) -> None:
    part = report.build(a_tagged_run(tmp_path / "run")).split('id="mistakes"')[1].split("<section")[0]
    assert part.count('<mark class="missed">Smith <small>missed: PER</small></mark>') == 5
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in part
    assert 'class="texts"' in part
    assert "ORG: European Union" in part


def test_tags_without_spans_and_many_types_are_shown_too(tmp_path: Path) -> None:
    markup = report.build(a_tagged_run(tmp_path / "plain", tags=("NOUN", "VERB", "DET")))
    matrix = markup.split('id="borders"')[1].split("<section")[0]
    assert "other borders" not in matrix
    assert "nothing" not in matrix
    assert "accuracy" in markup
    many = report.build(a_tagged_run(tmp_path / "many", tags=("O", *(f"B-T{i}" for i in range(45)))))
    assert "45 types are too many to count what was answered for what" in many
    assert "5 more types are rarer" in many


def test_many_classes_become_pairs(tmp_path: Path) -> None:
    markup = report.build(a_run(tmp_path / "run", classes=tuple(f"class {i:03d}" for i in range(120))))
    assert "too many for a matrix" in markup
    assert 'class="heat' not in markup
    assert len(markup) < 1_000_000


def test_what_an_input_kind_showed_is_not_believed() -> None:
    kept = _page.picture(
        '<figure onclick="x()"><img src="data:image/png;base64,AA==" onerror="x()"><img src="https://a.example/b.png">'
        '<script>alert(1)</script><svg><a href="javascript:x()">word</a></svg><figcaption>a &lt;b&gt;</figcaption>'
    )
    assert kept == '<figure><img src="data:image/png;base64,AA==" alt="">word<figcaption>a &lt;b&gt;</figcaption></figure>'
    texts = _page.picture(
        '<p class="text" dir="auto">a</p><p class="verdict" dir="rtl"><mark class="missed heat">b</mark></p>'
    )
    assert texts == '<p class="text" dir="auto">a</p><p><mark>b</mark></p>'


def test_other_folders_and_newer_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no records of a run"):
        report.build(tmp_path)
    with pytest.raises(RunError, match="There is no folder"):
        report.build(tmp_path / "nowhere")
    _io.write_json(tmp_path / "run.json", {"format": 99})
    with pytest.raises(RunError, match="Upgrade"):
        report.build(tmp_path)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (_page.number(0.8), "0.800"),
        (_page.number(-0.12345), "−0.123"),
        (_page.number(None), "–"),
        (_page.number(float("nan")), "–"),
        (_page.signed(0.17), "+0.170"),
        (_page.signed(-0.0001), "0.000"),
        (_page.duration(0.42), "0.4\u00a0s"),
        (_page.duration(252), "4\u00a0min 12\u00a0s"),
        (_page.duration(3900), "1\u00a0h 05\u00a0min"),
        (_page.memory(1_240_000_000), "1.2\u00a0GB"),
        (_page.message("Cannot read /home/ann/x/a.jpg: no"), "Cannot read …/a.jpg: no"),
        (_page.message("in C:\\Users\\ann\\a.jpg"), "in …/a.jpg"),
        (_page.message("fold 1/2, https://a.example/b/c"), "fold 1/2, https://a.example/b/c"),
    ],
)
def test_numbers_and_messages_are_written_one_way(shown: str, expected: str) -> None:
    assert shown == expected
