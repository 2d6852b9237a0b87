"""The whole story: kill and resume, save and predict in a fresh process, same seed same answer, the seal."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

import headstart
from headstart import _io
from headstart.errors import NotAdmissible, OutOfBudget, ProblemError, RunError
from headstart.features import FeatureStore, Lens
from headstart.problem import Exam, Examples
from headstart.registry import get
from headstart.stages.compare import compare
from headstart.strategy import Recipe
from headstart.testing import toy_backbone, toy_problem

CHEAP = ["chance", "plain", "nearest_mean", "linear_probe"]


def go(out, *, strategies=CHEAP, backbone=None, events=None, **options):
    problem, exam = toy_problem(n=90, exam=120, seed=1)
    bases = [backbone or toy_backbone()]
    heard = events.append if events is not None else None
    return headstart.transfer(
        problem, exam=exam, backbones=bases, strategies=strategies, out=out, store=FeatureStore(), on_event=heard, **options
    )


def records(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*.json"))
        if path.name != "run.json"
    }


def test_the_story_ends_in_a_verdict_and_a_predictor(tmp_path):
    run = go(tmp_path / "run")
    assert run.verdict.outcome == "helps"
    assert run.verdict.ships == run.verdict.challenger
    assert run.verdict.sentence.startswith("Transfer helps: ")
    _, exam = toy_problem(n=90, exam=120, seed=1)
    hits = (run.predictor.predict(exam.examples) == exam.examples.targets).mean()
    assert hits == pytest.approx(run.verdict.scores[run.verdict.challenger].value)
    assert (tmp_path / "run" / "report.html").exists()
    assert run.verdict.sentence[:40] in repr(run)


def test_the_same_seed_gives_the_same_records(tmp_path):
    first, second = go(tmp_path / "a"), go(tmp_path / "b")
    one, other = records(first.folder), records(second.folder)
    timed = {"seconds", "whole", "peak_memory", "inputs"}

    def untimed(content):
        def strip(value):
            if isinstance(value, dict):
                return {key: strip(inner) for key, inner in value.items() if key not in timed}
            return [strip(inner) for inner in value] if isinstance(value, list) else value

        return strip(json.loads(content))

    assert one.keys() == other.keys()
    for name in one:
        assert untimed(one[name]) == untimed(other[name]), name
    assert np.array_equal(_io.read_array(first.folder / "outcomes.npy"), _io.read_array(second.folder / "outcomes.npy"))


def test_a_second_call_reads_what_is_there(tmp_path, monkeypatch):
    go(tmp_path / "run")
    before = records(tmp_path / "run")
    monkeypatch.setattr(Recipe, "fit", lambda *_, **__: pytest.fail("something was fitted again"))
    run = go(tmp_path / "run")
    assert records(tmp_path / "run") == before
    assert run.verdict.outcome == "helps"


def test_other_inputs_never_overwrite_a_record(tmp_path):
    go(tmp_path / "run")
    before = records(tmp_path / "run")
    run = go(tmp_path / "run", margin=0.9)
    after = records(tmp_path / "run")
    kept = [name for name in before if not name.startswith("predictor/")]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert run.verdict.margin == 0.9
    assert run.verdict.outcome == "no difference"
    assert run.predictor.strategy.name == run.verdict.ships.split()[0]  # what is saved is what was judged
    back = go(tmp_path / "run")
    assert back.predictor.strategy.name == back.verdict.ships.split()[0] == "linear_probe"


KILLED = """
import sys, time, headstart
from headstart.features import FeatureStore
from headstart.testing import toy_backbone, toy_problem
problem, exam = toy_problem(n=90, exam=120, seed=1)
def slowly(event):
    if event.kind == "stage":
        print(event.message, flush=True)
        time.sleep(0.3)
cheap = ["chance", "plain", "nearest_mean", "linear_probe"]
headstart.transfer(
    problem, exam=exam, backbones=[toy_backbone()], strategies=cheap, out=sys.argv[1], store=FeatureStore(), on_event=slowly
)
"""


@pytest.mark.parametrize("after", [1, 4, 7])
def test_a_killed_run_continues_to_the_same_end(tmp_path, after):
    whole = go(tmp_path / "whole")
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "cut")], stdout=subprocess.PIPE, text=True)
    for _ in range(after):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list((tmp_path / "cut").rglob("*.json")) or _io.read_json(tmp_path / "cut" / "run.json")
    run = go(tmp_path / "cut")
    assert run.verdict.gain == whole.verdict.gain
    assert np.array_equal(run.evidence.outcomes, whole.evidence.outcomes)


RESUMED = """
import sys, headstart
from headstart.features import FeatureStore
from headstart.strategy import Recipe
from headstart.testing import toy_backbone, toy_problem
problem, exam = toy_problem(n=90, exam=120, seed=1)
Recipe.fit = None  # whatever is fitted again is an error
cheap = ["chance", "plain", "nearest_mean", "linear_probe"]
run = headstart.transfer(problem, exam=exam, backbones=[toy_backbone()], strategies=cheap, out=sys.argv[1], store=FeatureStore())
print(run.verdict.sentence)
print("torch" in sys.modules)
"""


def test_a_fresh_process_rereads_a_finished_run_without_fitting_or_torch(tmp_path):
    run = go(tmp_path / "run")
    before = records(tmp_path / "run")
    found = subprocess.run([sys.executable, "-c", RESUMED, str(run.folder)], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == [run.verdict.sentence, "False"]
    assert records(tmp_path / "run") == before


def test_another_model_or_other_weights_are_never_taken_for_the_old_ones(tmp_path):
    first = go(tmp_path / "run")
    assert len(first.ranking.candidates) == 1
    problem, exam = toy_problem(n=90, exam=120, seed=1)
    both = [toy_backbone(), toy_backbone(useful=False)]
    again = headstart.transfer(problem, exam=exam, backbones=both, strategies=CHEAP, out=first.folder, store=FeatureStore())
    assert len(again.ranking.candidates) == 2
    wider = go(tmp_path / "run", backbone=toy_backbone(width=20))
    assert {one.width for one in wider.profile.scores} == {20}


@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_the_story_holds_for_other_tasks(tmp_path, task):
    problem, exam = toy_problem(task=task, n=120, exam=200)
    able = [name for name in CHEAP if name != "nearest_mean"]  # it needs exclusive classes
    run = headstart.transfer(
        problem, exam=exam, backbones=[toy_backbone()], strategies=able, out=tmp_path / "run", store=FeatureStore()
    )
    assert run.verdict.outcome == "helps"
    assert run.verdict.challenger == "linear_probe on toy_useful"
    score = problem.task.score(problem.task.sit(run.predictor, exam.examples))
    assert score == pytest.approx(run.verdict.scores[run.verdict.challenger].value)


def test_few_rows_of_numbers_still_get_an_answer(tmp_path):
    problem, exam = toy_problem(task="regression", n=9, exam=60, informative="columns")
    run = headstart.transfer(problem, exam=exam, strategies=["chance", "plain"], out=tmp_path / "run", store=FeatureStore())
    assert run.verdict.ships in ("chance", "plain")
    assert (
        headstart.transfer(
            problem, exam=exam, strategies=["chance", "plain"], out=tmp_path / "run", store=FeatureStore()
        ).verdict.ships
        == run.verdict.ships
    )


FRESH = """
import sys, json, numpy as np
from headstart import Run
from headstart.backbones import find
from headstart.features import FeatureStore
from headstart.testing import toy_backbone, toy_problem
find(toy_backbone())
predictor = Run.open(sys.argv[1], store=FeatureStore()).predictor
_, exam = toy_problem(n=90, exam=120, seed=1)
print(json.dumps([predictor.predict(exam.examples).tolist(), "torch" in sys.modules]))
"""


def test_a_fresh_process_predicts_the_same_without_torch(tmp_path):
    run = go(tmp_path / "run")
    found = subprocess.run([sys.executable, "-c", FRESH, str(run.folder)], capture_output=True, text=True, check=True)
    predictions, torch_loaded = json.loads(found.stdout)
    _, exam = toy_problem(n=90, exam=120, seed=1)
    assert predictions == run.predictor.predict(exam.examples).tolist()
    assert not torch_loaded


def test_networks_ship_and_come_back(tmp_path):
    for name in ("fine_tune", "scratch"):
        run = go(tmp_path / name, strategies=[name])
        _, exam = toy_problem(n=90, exam=120, seed=1)
        assert run.verdict.ships.startswith(name)
        hits = (run.predictor.predict(exam.examples) == exam.examples.targets).mean()
        judged = run.evidence.of(run.verdict.ships)[0, :, 0].mean()
        assert hits == pytest.approx(judged)  # the first seed's refit is the one that ships


@pytest.mark.parametrize("part", ["train", "valid", "source", "unlabelled", "siblings"])
def test_the_seal_finds_a_planted_exam_item_in_any_part(part):
    problem, exam = toy_problem(n=60, exam=60)
    leaked = exam.examples.take([5])
    arms = [Recipe(get("strategies", "chance")(), Lens())]
    if part == "train":
        planted = replace(problem, train=problem.train.join(leaked))
    elif part == "siblings":
        planted = replace(problem, siblings=(replace(problem, train=problem.train.join(leaked)),))
    else:
        planted = replace(problem, **{part: leaked})
    compare(problem, exam, arms)
    with pytest.raises(ProblemError, match="stand in the exam too"):
        compare(planted, exam, arms)
    compare(planted.without(exam), exam, arms)


def test_the_seal_is_by_block_and_by_card():
    problem, exam = toy_problem(n=60, exam=60, block=4)
    moved = Exam(exam.examples.join(problem.train.take([0])))
    chance = get("strategies", "chance")()
    with pytest.raises(ProblemError, match="by content or by block"):
        compare(problem, moved, [Recipe(chance, Lens())])
    base = toy_backbone()
    read = Lens(((base, "stage2"),))
    probe = get("strategies", "nearest_mean")()
    compare(problem, exam, [Recipe(probe, read)])
    seen = replace(base.card, items=frozenset(exam.examples.fingerprints[:3]))

    class Seen(type(base)):
        card = seen

    with pytest.raises(ProblemError, match="trained on 3 of the exam's items"):
        compare(problem, exam, [Recipe(probe, Lens(((Seen(*[getattr(base, f.name) for f in fields(base)]), "stage2"),)))])


def test_exam_inputs_may_be_unlabelled_only_when_said():
    problem, exam = toy_problem(n=60, exam=60)
    inputs = Examples(replace(exam.examples.items, targets=None), exam.examples.rows)
    chance = [Recipe(get("strategies", "chance")(), Lens())]
    both = replace(problem, unlabelled=inputs)
    with pytest.raises(ProblemError, match="'unlabelled' stand in the exam"):
        compare(both, exam, chance)
    assert compare(both, Exam(exam.examples, transductive=True), chance).transductive


def test_without_a_suitable_backbone_the_verdict_is_undecided(tmp_path):
    problem, exam = toy_problem(n=60, exam=60, informative="columns")
    run = headstart.transfer(problem, exam=exam, out=tmp_path / "run", store=FeatureStore())
    assert run.verdict.outcome == "undecided"
    assert "No pre-trained model for numbers" in run.verdict.reason + run.verdict.sentence
    assert run.verdict.ships == "plain"
    assert (run.predictor.predict(exam.examples) == exam.examples.targets).mean() > 0.5


def test_a_failing_strategy_is_a_failed_trial(tmp_path, monkeypatch):
    linear_probe = get("strategies", "linear_probe")

    def broken(*_, **__):
        raise ValueError("no luck")

    monkeypatch.setattr(linear_probe, "fit", broken)
    run = go(tmp_path / "run")
    failed = [_io.read_json(path) for path in (run.folder / "trials").glob("linear_probe*.json")]
    assert failed[0]["status"] == "failed"
    assert failed[0]["message"] == "ValueError: no luck"
    assert run.verdict.challenger == "nearest_mean on toy_useful"
    assert "no luck" in (run.folder / "report.html").read_text()


def test_run_folders_that_cannot_be_used(tmp_path):
    run = go(tmp_path / "run", strategies=["chance", "nearest_mean"])
    about = _io.read_json(run.folder / "run.json")
    _io.write_json(run.folder / "run.json", {**about, "format": 99, "version": "9.0"})
    with pytest.raises(RunError, match=r"format 99, written by Headstart 9\.0"):
        go(tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="holds other files"):
        go(tmp_path / "other")
    with pytest.raises(RunError, match="is a file"):
        go(tmp_path / "other" / "thesis.txt")
    with pytest.raises(RunError, match="no run folder"):
        headstart.Run.open(tmp_path / "other")
    assert (tmp_path / "other" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("damage", ["ranking.json", "evidence.json", "outcomes.npy", "verdict.json", "events.jsonl"])
def test_a_damaged_record_is_made_again(tmp_path, damage):
    run = go(tmp_path / "run")
    sentence = run.verdict.sentence
    path = run.folder / damage
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert go(tmp_path / "run").verdict.sentence == sentence


def test_a_full_disk_is_an_error_that_loses_nothing(tmp_path, monkeypatch):
    go(tmp_path / "run", strategies=["chance", "nearest_mean"])
    before = records(tmp_path / "run")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_io.os, "replace", full)
    with pytest.raises(RunError, match="No space left on device"):
        go(tmp_path / "run", margin=0.3)
    assert records(tmp_path / "run") == before
    assert not list(Path(tmp_path / "run").rglob("*.tmp"))


def test_a_run_out_of_time_stops_between_records_and_continues(tmp_path, monkeypatch):
    monkeypatch.setattr("headstart.workflow.PATIENCE", 0)
    with pytest.raises(OutOfBudget, match="the same command continues"):
        go(tmp_path / "run")
    monkeypatch.undo()
    assert go(tmp_path / "run").verdict.outcome == "helps"


def test_strategies_asked_for_by_name_must_be_admissible(tmp_path):
    problem, exam = toy_problem(n=60, exam=60)
    with pytest.raises(NotAdmissible, match="'linear_probe' needs features"):
        headstart.transfer(problem, exam=exam, strategies=["linear_probe"], out=tmp_path / "run", store=FeatureStore())


def test_an_exam_is_split_off_when_none_is_given(tmp_path):
    problem, _ = toy_problem(n=90, block=3)
    run = headstart.transfer(
        problem, backbones=[toy_backbone()], strategies=CHEAP, out=tmp_path / "run", store=FeatureStore()
    )
    assert run.verdict.exam_items == pytest.approx(30, abs=4)
    assert run.evidence.train_size + len(run.evidence.items) == 90


def test_writes_are_atomic_under_kill(tmp_path):
    code = f"""
import os
from pathlib import Path
from headstart import _io
n = 0
while True:
    _io.write_json(Path({str(tmp_path / "record.json")!r}), {{"n": n, "pad": "x" * 20000}})
    n += 1
"""
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", code])
        time.sleep(0.4)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if (tmp_path / "record.json").exists():
            assert len(_io.read_json(tmp_path / "record.json")["pad"]) == 20000


def test_what_takes_part_on_request_only_is_not_among_the_suitable():
    from headstart.testing import toy_backbone, toy_problem
    from headstart.workflow import admissible

    problem, _ = toy_problem(n=60)
    lens = Lens(((toy_backbone(), "stage3"),), "stage1")
    names = [recipe.strategy.name for recipe in admissible(problem, lens)]
    assert "fine_tune" in names
    assert "side_tuning" not in names
    assert [recipe.strategy.name for recipe in admissible(problem, lens, strategies=["side_tuning"])] == ["side_tuning"]
