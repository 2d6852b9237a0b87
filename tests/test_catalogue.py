"""The user's own list of backbones: what is added is listed and takes part, and whatever is wrong is said before."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import headstart
from headstart import backbones
from headstart._events import listen
from headstart.backbone import Card
from headstart.backbones import _catalogue, own
from headstart.cli import _lists
from headstart.errors import MissingExtra, NotAdmissible, RunError, UnknownName
from headstart.stages.rank import suitable


@pytest.fixture(autouse=True)
def listed(tmp_path, monkeypatch):
    """A list of its own for each test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("HEADSTART_ALLOW_HUB", raising=False)
    return tmp_path / "config" / "headstart" / "backbones.json"


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A slim network of random weights, saved as a backbone folder."""
    base, place = backbones.find("efficientnet_lite0:slim"), tmp_path_factory.mktemp("saved") / "mine"
    own.save_backbone(base.network(seed=1).module, base, place, name="mine", trained_on="my garments", items=["a" * 32])
    return place


def test_an_added_folder_is_listed_with_its_card_and_takes_part(folder, listed, monkeypatch):
    monkeypatch.chdir(folder.parent)
    name = f"own:{folder}"
    assert name not in {one.name for one in backbones.known()}
    assert backbones.add("own:mine").name == name  # an absolute path: it is found from every folder
    monkeypatch.chdir("/")
    (found,) = (one for one in backbones.known("image") if one.name == name)
    assert found.installed
    assert found.card.trained_on == "my garments"
    assert found.card.parameters == backbones.find(name).card.parameters
    assert name in suitable("image")
    assert name not in suitable("text")
    assert not any(one.name == name for one in backbones.known("text"))
    assert "a" * 32 not in listed.read_text()  # what it was trained on stays in its folder


def test_a_ranking_of_all_that_suits_reads_what_was_added(folder, monkeypatch):
    monkeypatch.setattr(backbones.registry.get("backbones", "packaged"), "suitable", lambda kind: (), raising=False)
    backbones.add(f"own:{folder}")
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 120, (32, 32, 3), dtype=np.uint8) + 120 * np.uint8(i % 2) for i in range(12)]
    problem, _ = headstart.read(headstart.from_arrays(photos, ["dark", "light"] * 6))
    assert headstart.rank(problem).best == f"own:{folder}"


def test_adding_twice_is_one_entry_and_removing_takes_it_off(folder):
    for _ in range(2):
        backbones.add(f"own:{folder}")
    assert [one.name for one in _catalogue.entries()] == [f"own:{folder}"]
    backbones.remove(f"own:{folder}")
    assert _catalogue.entries() == ()
    assert (folder / own.WEIGHTS).exists()
    with pytest.raises(UnknownName, match="No added backbone is called"):
        backbones.remove(f"own:{folder}")


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("own:nowhere", MissingExtra, "no backbone in 'nowhere'"),
        ("transformers:./nowhere", NotAdmissible, "not a folder on this machine"),
        ("transformers:.", NotAdmissible, "holds no config.json"),
        ("efficientnet_lite0", UnknownName, "own:"),
        ("packaged:efficientnet_lite0", NotAdmissible, "is listed anyway"),
        ("elsewhere:model", UnknownName, "transformers:"),
        ("own:", UnknownName, "own:"),
    ],
)
def test_what_cannot_be_opened_is_not_listed(name, error, words, listed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=re.escape(words)):
        backbones.add(name)
    assert not listed.exists()


def test_a_hub_name_that_is_not_here_is_listed_with_its_command_and_nothing_is_downloaded(monkeypatch):
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    found = backbones.add("transformers:somebody/encoder")
    assert not found.installed
    assert found.install == "HEADSTART_ALLOW_HUB=1 headstart add transformers:somebody/encoder"
    assert found in backbones.known()
    assert all("somebody" not in name for kind in ("image", "text") for name in suitable(kind))


@pytest.fixture
def vit(tmp_path):
    """A folder with a tiny vision transformer of random weights, where the hub's client would keep it."""
    library = pytest.importorskip("transformers", reason="the transformers library is not installed")
    made = tmp_path / "hub" / "models--somebody--vit"
    (made / "refs").mkdir(parents=True)
    (made / "refs" / "main").write_text("abc")
    folder = made / "snapshots" / "abc"
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    library.ViTModel(library.ViTConfig(image_size=16, patch_size=8, **sizes)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 16}))
    (folder / "README.md").write_text("---\nlicense: mit\ndatasets:\n- garments\n---\n")
    return folder


def test_a_transformers_folder_is_listed_with_what_its_readme_says(vit):
    found = backbones.add(f"transformers:{vit}")
    assert found.name in suitable("image")
    assert (found.card.licence, found.card.trained_on) == ("mit", "garments")


def test_a_model_in_the_cache_of_the_hub_is_used_without_asking_the_network(vit, tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub", reason="the client of the hub is not installed")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "nothing"))
    assert not backbones.add("transformers:somebody/vit").installed
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert backbones.add("transformers:somebody/vit").installed
    assert "transformers:somebody/vit" in suitable("image")
    assert backbones.find("transformers:somebody/vit").card.licence == "mit"


def test_a_folder_that_is_gone_is_listed_as_such_and_left_out(folder, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    for file in folder.iterdir():
        (gone / file.name).write_bytes(file.read_bytes())
    backbones.add(f"own:{gone}")
    gone.rename(tmp_path / "elsewhere")
    (found,) = (one for one in backbones.known() if one.name == f"own:{gone}")
    assert not found.installed
    assert f"headstart remove own:{gone}" in found.install
    assert f"own:{gone}" not in suitable("image")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format": 1, "backbones": [{"name": "own:x"}]}', "is damaged"),
        ('{"format": 1, "backbones": [{"name": "own:x", "place": "", "card": {}}]}', "add them again"),
        ('{"format": 9, "backbones": []}', "format 9"),
    ],
)
def test_a_damaged_list_is_said(content, words, listed):
    listed.parent.mkdir(parents=True)
    listed.write_text(content)
    heard = []
    with listen(heard.append):
        assert backbones.known()  # what Headstart itself knows can still be used
    (told,) = (str(event.message) for event in heard if event.kind == "warning")
    assert words in told
    assert str(listed) in told
    with pytest.raises(RunError, match=re.escape(words)):
        backbones.remove("own:x")
    assert listed.read_text() == content


@pytest.mark.parametrize(
    ("licence", "stated"),
    [
        ("MIT", True),
        ("not stated in the package; its repository is Apache-2.0", True),
        ("not stated in the folder", False),
        ("", False),
        (" ", False),
    ],
)
def test_which_cards_state_a_licence(licence, stated):
    assert backbones.states_licence(Card("a", "image", "photos", licence, 1, 4, {})) is stated


def test_a_card_without_a_licence_is_listed_as_such_and_warned_about(folder, tmp_path):
    bare, warned = tmp_path / "bare", {}
    bare.mkdir()
    (bare / own.WEIGHTS).write_bytes((folder / own.WEIGHTS).read_bytes())
    record = json.loads((folder / own.CARD).read_text())
    (bare / own.CARD).write_text(json.dumps({**record, "card": {**record["card"], "licence": ""}}))
    for place in (bare, folder):
        heard = []
        with listen(heard.append):
            backbones.add(f"own:{place}")
        warned[place] = [event.message for event in heard if event.kind == "warning"]
    assert len(warned[bare]) == 1
    assert "does not state its licence" in warned[bare][0]
    assert warned[folder] == []
    listed = {one["name"]: one["licence"] for one in _lists.rows("backbones")}
    assert listed[f"own:{bare}"] == "not stated"
    assert listed[f"own:{folder}"] == "Apache-2.0"


def test_the_head_of_a_readme_gives_licence_and_data(tmp_path):
    from headstart.backbones.transformers import _said

    (tmp_path / "README.md").write_text(
        "---\nlanguage: en\nlicense: apache-2.0\ndatasets:\n- snli\n- multi_nli\n---\n# A model\n"
    )
    assert _said(tmp_path, "license") == ["apache-2.0"]
    assert _said(tmp_path, "datasets") == ["snli", "multi_nli"]
    assert _said(tmp_path, "tags") == []
    (tmp_path / "README.md").write_text("# A model\nlicense: none of this counts\n")
    assert _said(tmp_path, "license") == []


@pytest.fixture(scope="module")
def told(folder, tmp_path_factory):
    """What the command line says, with a list of its own."""
    home = tmp_path_factory.mktemp("cli")

    def run(*words, columns=80):
        environment = {**os.environ, "XDG_CONFIG_HOME": str(home), "COLUMNS": str(columns)}
        return subprocess.run(
            [sys.executable, "-m", "headstart", *words], capture_output=True, text=True, env=environment, check=False
        )

    return run


def test_the_command_line_adds_lists_and_removes(told, folder):
    added = told("add", f"own:{folder}")
    assert added.returncode == 0, added.stderr
    assert "is on the list" in added.stdout
    document = json.loads(told("list", "backbones", "--json").stdout)
    (mine,) = (one for one in document if one["name"] == f"own:{folder}")
    assert mine["installed"] is True
    assert mine["input_px"] == 96
    assert {"kind", "parameters", "weights_bytes", "trained_on", "licence", "origin", "preprocessing", "notes"} <= set(mine)
    assert told("remove", f"own:{folder}").returncode == 0
    assert told("remove", f"own:{folder}").returncode == 2


@pytest.mark.parametrize("columns", [80, 120])
def test_the_list_fits_the_terminal_and_keeps_commands_whole(told, columns):
    name = f"transformers:somebody/{'long' * 12}"
    assert f"bring it with: HEADSTART_ALLOW_HUB=1 headstart add {name}" in told("add", name, columns=columns).stdout
    lines = told("list", "backbones", columns=columns).stdout.splitlines()
    assert max(len(line) for line in lines) > columns - 15
    for line in lines:
        assert len(line) <= columns or " " not in line.strip() or "bring it with" in line, line
    commands = [line.partition("bring it with: ")[2] for line in lines if "bring it with" in line]
    assert f"HEADSTART_ALLOW_HUB=1 headstart add {name}" in commands
    whole = re.compile(r"(HEADSTART_ALLOW_HUB=1 )?headstart (add|fetch) \S+|(python -m )?pip install .*\S==\S+")
    assert [command for command in commands if not whole.fullmatch(command)] == []
