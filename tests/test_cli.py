"""The command line: what it prints where, how it ends, and that nothing said wrong ends in a traceback."""

import csv
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from headstart.cli import _console

HEAVY = ("numpy", "scipy", "sklearn", "torch", "onnx", "onnxruntime", "PIL", "pyarrow", "rich")


def command(*words):
    return [sys.executable, "-m", "headstart", *map(str, words)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a cache of its own, a table to learn from and one to predict. Class names are hostile."""
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 3)).round(4)
    labels = np.where(X[:, 0] > 0, '=HYPERLINK("x")', "no")
    write(folder / "data.csv", ["a", "b", "c", "label"], [[*row, label] for row, label in zip(X, labels, strict=True)])
    write(folder / "new.csv", ["c", "b", "a"], X[:20, ::-1].tolist())  # the same columns, in another order
    write(folder / "numbers.csv", ["a", "b", "c", "price"], [[*row, -100 + 10 * row[0]] for row in X])
    write(folder / "one.csv", ["a", "label"], [[1.5, "x"], [2.5, "x"], [3.5, "x"]])
    return folder


def write(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture(scope="module")
def headstart(place):
    """Runs the command in ``place``."""
    environment = {**os.environ, "HEADSTART_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}

    def call(*words):
        return subprocess.run(command(*words), cwd=place, env=environment, capture_output=True, text=True, timeout=120)

    call.environment = environment
    return call


@pytest.fixture(scope="module")
def finished(headstart):
    """The end of a transfer into ``runs/data``."""
    done = headstart("transfer", "data.csv", "--budget", "20s")
    assert done.returncode == 0, done.stderr
    return done


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom headstart.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit as end:\n"
        f"    print(end.code, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
    words = set(re.findall(r"^  (\w+)  ", done.stdout, re.MULTILINE))
    commands = {
        "transfer",
        "rank",
        "locate",
        "extract",
        "estimate",
        "predict",
        "report",
        "export",
        "list",
        "add",
        "remove",
        "doctor",
        "fetch",
    }
    assert commands <= words


def test_options_of_transfer_are_the_arguments_of_the_function():
    import inspect

    from headstart import cli, workflow

    options = inspect.signature(cli.transfer).parameters
    arguments = inspect.signature(workflow.transfer).parameters
    assert set(arguments) - {"problem", "exam", "store", "on_event", "limits"} <= set(options)
    assert {"max_params", "max_memory", "max_seconds"} <= set(options)  # the fields of ``limits``
    assert all(options[name].default == arguments[name].default for name in ("worth", "margin", "seed"))
    assert _console.seconds(options["budget"].default) == arguments["budget"].default


def test_a_transfer_ends_with_the_verdict_and_how_to_predict(finished, place):
    assert finished.stdout.startswith("Undecided: ")
    assert "Ships:   plain" in finished.stdout
    assert "Predict: headstart predict runs/data new_rows.csv" in finished.stdout
    assert "Read 120 rows in train" in finished.stderr
    assert "inner accuracy" in finished.stderr
    assert (place / "runs/data/report.html").read_text("utf-8").startswith("<!")


def test_json_is_one_document_on_stdout_and_the_same_command_continues(headstart, finished):
    again = headstart("transfer", "data.csv", "--budget", "20s", "--json")
    found = json.loads(again.stdout)
    assert again.returncode == 0
    assert found["verdict"]["ships"] == "plain"
    assert found["run"] == "runs/data"
    assert "inner accuracy" not in again.stderr  # every record was there


@pytest.mark.parametrize(
    "words",
    [("list", "strategies"), ("list", "backbones"), ("list", "runs"), ("estimate", "data.csv"), ("rank", "data.csv")],
)
def test_json_everywhere(headstart, finished, words):
    done = headstart(*words, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("tranfer", "data.csv"), 2, "Did you mean 'transfer'"),
        (("transfer", "data.csv", "--buget", "10s"), 2, "--budget"),
        (("transfer", "data.csv", "--budget", "soon"), 2, "'soon' is no length of time"),
        (("transfer", "data.csv", "--strategy", "plian"), 2, "Did you mean 'plain'"),
        (("transfer", "data.csv", "--backbone", "efficientnet_lit0"), 2, "Did you mean 'efficientnet_lite0'"),
        (("transfer", "data.csv", "--label", "lable"), 2, "Did you mean 'label'"),
        (("transfer", "data.csv", "--metric", "f2"), 2, "'f2' is no metric"),
        (("transfer", "data.csv", "--margin", "x"), 2, "valid number"),
        (("transfer", "data.csv", "--margin", "nan"), 2, "The margin is nan"),
        (("transfer", "data.csv", "--seed", "-1"), 2, "greater than or equal to 0. `headstart transfer --help`"),
        (("transfer", "data.csv", "--worth", "bse"), 2, "Did you mean 'base'"),
        (("transfer", "data.csv", "--backbone", "efficientnet_lite0"), 2, "reads image items; the data holds numbers"),
        (("transfer", "nowhere"), 2, "There is no 'nowhere'"),
        (("transfer", "one.csv"), 2, "only one class"),
        (("transfer", "no\x1b[2Jthing"), 2, r"no\x1b[2Jthing"),
        (("transfer", "data.csv", "--out", "new.csv"), 3, "new.csv is a file"),
        (("transfer", "data.csv", "--strategy", "linear_probe"), 2, "'linear_probe' needs features"),
        (("locate", "data.csv", "--backbone", "mobilenet_v2"), 3, "headstart fetch mobilenet_v2"),
        (("extract", "data.csv", "--backbone", "efficientnet_lite0"), 2, "reads image items"),
        (("predict", "nowhere", "new.csv"), 3, "no run folder"),
        (("list", "strategy"), 2, "Did you mean 'strategies'"),
        (("export", "runs/data"), 2, "'plain' has no network"),
        (("export", "runs/data", "--out", "model.pt"), 2, ".onnx is needed"),
        (("fetch", "mobilenet"), 2, "mobilenet_v2"),
    ],
    ids=lambda value: " ".join(value).encode("unicode_escape").decode() if isinstance(value, tuple) else "",
)
def test_mistakes_are_told_without_a_traceback(headstart, finished, words, code, told):
    done = headstart(*words)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    assert done.stdout == ""


def test_a_bug_of_ours_is_one_line_and_debug_shows_it(headstart, finished, place):
    about = place / "runs/data/run.json"
    whole = about.read_bytes()
    found = json.loads(whole)
    try:
        about.write_text(json.dumps({**found, "problem": 7}))
        short = headstart("predict", "runs/data", "new.csv")
        long = headstart("predict", "runs/data", "new.csv", "--debug")
    finally:
        about.write_bytes(whole)
    assert short.returncode == 1
    assert "This is a bug in Headstart" in short.stderr
    assert "Traceback" not in short.stderr
    assert "Traceback" in long.stderr


def test_answers_do_not_run_in_a_spreadsheet(headstart, finished, place):
    done = headstart("predict", "runs/data", "new.csv", "--proba")
    header, *rows = csv.reader(done.stdout.splitlines())
    assert header == ["name", "prediction", "confidence", 'p(=HYPERLINK("x"))', "p(no)"]
    assert {row[1] for row in rows} == {'\'=HYPERLINK("x")', "no"}
    truth = [label for *_, label in list(csv.reader(open(place / "data.csv", encoding="utf-8")))[1:21]]  # noqa: SIM115
    assert np.mean([row[1].lstrip("'") == label for row, label in zip(rows, truth, strict=True)]) > 0.8
    raw = headstart("predict", "runs/data", "new.csv", "--raw")
    assert '=HYPERLINK(""x"")' in raw.stdout
    assert "'=" not in raw.stdout


def test_answers_go_to_a_file_once(headstart, finished, place):
    first = headstart("predict", "runs/data", "new.csv", "--out", "answers.jsonl")
    assert first.returncode == 0, first.stderr
    one = json.loads((place / "answers.jsonl").read_text().splitlines()[0])
    assert one["name"] == "row 1"
    assert 0.5 <= one["confidence"] <= 1
    again = headstart("predict", "runs/data", "new.csv", "--out", "answers.jsonl")
    assert again.returncode == 3
    assert "not overwritten" in again.stderr
    assert headstart("predict", "runs/data", "new.csv", "--out", "answers.jsonl", "--force").returncode == 0
    assert headstart("predict", "runs/data", "new.csv", "--out", "answers.txt").returncode == 2


def test_numbers_are_predicted_as_numbers(headstart):
    assert headstart("transfer", "numbers.csv", "--label", "price", "--budget", "20s", "--out", "runs/price").returncode == 0
    done = headstart("predict", "runs/price", "numbers.csv")
    header, *rows = csv.reader(done.stdout.splitlines())
    assert header == ["name", "prediction"]
    assert np.allclose(np.mean([float(row[1]) for row in rows]), -100, atol=2)  # no ' before a number


def test_the_report_is_made_again_from_the_records(headstart, finished, place):
    report = place / "runs/data/report.html"
    headstart("report", "runs/data")
    before = report.read_bytes()
    assert not re.search(rb"(?<!\d)0 rows", before)  # the exam has rows, though nothing could be judged on it
    report.unlink()
    assert headstart("report", "runs/data").stdout == "Report: runs/data/report.html\n"
    assert report.read_bytes() == before


def test_a_run_of_a_newer_format_is_left_alone(headstart, place):
    folder = place / "newer"
    folder.mkdir()
    (folder / "run.json").write_text('{"format": 99, "version": "9.0"}')
    for words in (("transfer", "data.csv", "--out", "newer"), ("predict", "newer", "new.csv"), ("report", "newer")):
        done = headstart(*words)
        assert done.returncode == 3
        assert "format 99" in done.stderr
    assert (folder / "run.json").read_text() == '{"format": 99, "version": "9.0"}'


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="a superuser may write everywhere")
def test_a_folder_that_cannot_be_written(headstart, place):
    (place / "locked").mkdir(mode=0o500)
    done = headstart("transfer", "data.csv", "--out", "locked/run")
    assert done.returncode == 3
    assert "Cannot write" in done.stderr


def test_a_place_where_no_folder_can_be(headstart):
    done = headstart("transfer", "data.csv", "--out", "/proc/run")
    assert done.returncode == 3
    assert "Cannot write" in done.stderr


def test_ctrl_c_keeps_what_is_finished(headstart, place):
    X = np.random.default_rng(3).normal(size=(1800, 6)).round(3)
    write(place / "many.csv", [*"abcdef", "label"], [[*row, "xy"[int(row[0] * row[1] > 0)]] for row in X])
    words = command("transfer", "many.csv", "--budget", "20s", "--out", "runs/many")
    process = subprocess.Popen(
        words,
        cwd=place,
        env=headstart.environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background inherits "ignore"
    )
    for line in process.stderr:
        if "chance: inner" in line:  # plain is still at work
            break
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    out, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.strip().endswith("Stopped. What was finished is kept; the same command continues.")
    assert "Traceback" not in told
    assert out == ""
    assert time.monotonic() - started < 20
    assert (place / "runs/many/run.json").exists()
    again = headstart("transfer", "many.csv", "--budget", "20s", "--out", "runs/many")
    assert again.returncode == 0, again.stderr
    assert "No pre-trained model" not in again.stderr  # the ranking was kept


def test_doctor_says_what_is_here(headstart):
    done = headstart("doctor", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == (3 if found["missing"] else 0)
    assert found["libraries"]["torch"]
    assert {one["name"] for one in found["backbones"]} >= {"efficientnet_lite0", "mobilenet_v2"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no full device")
def test_answers_that_cannot_be_written_are_no_bug_of_ours(headstart, finished, place):
    words = command("predict", "runs/data", "new.csv")
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, cwd=place, env=headstart.environment, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 3
    assert "No space left" in done.stderr
    assert "bug" not in done.stderr


def test_a_closed_stdout_is_no_bug_of_ours(headstart, finished, place):
    line = f"{shlex.join(command('predict', 'runs/data', 'new.csv'))} >&-"
    done = subprocess.run(line, shell=True, cwd=place, env=headstart.environment, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr


def test_the_list_of_runs_says_why_one_cannot_be_read(headstart, place):
    (place / "old" / "newer").mkdir(parents=True)
    (place / "old" / "newer" / "run.json").write_text('{"format": 99}')
    (place / "old" / "half").mkdir()
    (place / "old" / "half" / "run.json").write_text('{"format": 1}')
    told = headstart("list", "runs", "--root", "old").stdout
    assert "has format 99" in told
    assert "not finished" in told


def test_completion_can_be_shown():
    done = subprocess.run(command("--show-completion", "bash"), capture_output=True, text=True)
    script = (
        done.stdout
        if done.returncode == 0
        else subprocess.run(
            command(), env={**os.environ, "_HEADSTART_COMPLETE": "source_bash"}, capture_output=True, text=True
        ).stdout
    )
    assert "_HEADSTART_COMPLETE" in script


@pytest.mark.parametrize(
    ("text", "length"),
    [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("0.5h", 1800), ("1h5s", 3605), (" 2M ", 120)],
)
def test_lengths_of_time(text, length):
    assert _console.seconds(text) == length


@pytest.mark.parametrize("text", ["", "soon", "-5", "0", "10 minutes", "1m1h", "inf", "nan", "5d"])
def test_what_is_no_length_of_time(text):
    with pytest.raises(ValueError, match="no length of time"):
        _console.seconds(text)


def test_nothing_steers_the_terminal():
    assert _console.visible("a\x1b[31m\r\n\u202eb é 猫") == r"a\x1b[31m\r\n\u202eb é 猫"
    assert _console.visible("\udcff") == r"\udcff"


def tagged(path, count=40):
    """A table of sentences with a tag for every word, as JSON lines."""
    lines = []
    for n in range(count):
        name = ("Ada", "Bob", "Eve")[n % 3]
        lines.append({"tokens": [name, "runs", f"on{n % 7}"], "ner_tags": ["B-PER", "O", "O"]})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def test_a_tagger_learned_from_a_table_answers_a_file_of_sentences(headstart, place):
    """The command that a run ends with works as it stands."""
    tagged(place / "sent.jsonl")
    done = headstart("transfer", "sent.jsonl", "--strategy", "plain", "--strategy", "chance", "--budget", "20s")
    assert done.returncode == 0, done.stderr
    (place / "new_sentences.txt").write_text("Ada sleeps well\nthen Bob runs\n", "utf-8")
    line = next(line for line in done.stdout.splitlines() if "headstart predict" in line)
    asked = headstart(*shlex.split(line.partition("headstart ")[2]))
    assert asked.returncode == 0, asked.stderr
    rows = list(csv.DictReader(asked.stdout.splitlines()))
    assert [row["prediction"] for row in rows if row["word"] in ("Ada", "Bob")] == ["B-PER", "B-PER"]


def test_rows_of_tagged_words_go_to_a_file_with_their_tags(headstart, place):
    from headstart.backbones import known

    if not any(one.name == "all_minilm_l6_v2" and one.installed for one in known("text")):
        pytest.skip("the weights of all_minilm_l6_v2 are not installed")
    tagged(place / "rows.jsonl", count=12)
    done = headstart("extract", "rows.jsonl", "--backbone", "all_minilm_l6_v2", "--out", "rows.npz")
    assert done.returncode == 0, done.stderr
    with np.load(place / "rows.npz") as found:
        assert {name: len(found[name]) for name in ("X", "y", "names", "split")} == dict.fromkeys(
            ("X", "y", "names", "split"), 36
        )
    refused = headstart("extract", "rows.jsonl", "--backbone", "all_minilm_l6_v2", "--tap", "layer6", "--out", "other.npz")
    assert refused.returncode == 2
    assert "'layer6' has 12 rows for 36 targets" in refused.stderr
