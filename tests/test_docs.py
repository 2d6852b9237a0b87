"""What the documents say is so."""

import re
import subprocess
from pathlib import Path

import pytest

import headstart
from headstart import registry

ROOT = Path(__file__).parents[1]


def text(name):
    return (ROOT / name).read_text("utf-8")


def test_the_diff_in_contributing_is_the_real_one_and_applies():
    diff = text("docs/adding_a_strategy.diff")
    assert diff.strip() in text("CONTRIBUTING.md")
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    subprocess.run(["git", "apply", "--check", "docs/adding_a_strategy.diff"], cwd=ROOT, check=True)
    changed = re.findall(r"^diff --git a/(\S+)", diff, re.M)
    assert sorted(changed) == ["src/headstart/strategies/__init__.py", "src/headstart/strategies/k_nearest.py"]
    table = diff.split("diff --git")[1]
    assert len(re.findall(r"^\+ ", table, re.M)) == 1, "one line in the table"


def test_every_name_in_the_readme_exists():
    for name in re.findall(r"headstart\.(\w+)\(", text("README.md")):
        assert hasattr(headstart, name), name


def test_every_method_is_in_the_changelog():
    log = text("CHANGELOG.md")
    for folder in ("strategies", "tuning", "rankers"):
        for name in registry.names(folder):
            assert f"`{name}`" in log, f"{name} has no changelog line"


def test_links_in_the_documents_lead_somewhere():
    for name in ("README.md", "CONTRIBUTING.md", *(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text(name)):
            assert ((ROOT / name).parent / target).exists(), f"{name} → {target}"


def test_the_documents_hold_no_path_of_a_machine():
    for path in ROOT.rglob("*.md"):
        if ".venv" not in path.parts and "runs" not in path.parts:
            assert not re.search(r"(?<![\w.])/(?:home|root|work|Users)/", path.read_text("utf-8")), path
