"""The shape of the package, as facts: who may import whom, what stays light, that every public name is explained."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import headstart
from headstart import registry

SOURCE = Path(headstart.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
HEAVY = ("numpy", "scipy", "sklearn", "torch", "transformers", "pandas", "PIL", "onnxruntime", "onnx", "pyarrow")

# Doors → workflow → run → stages → plug-ins → nouns → support. A file imports from its own layer's left, never its right.
LAYERS = [
    {"errors", "registry", "_io", "_events", "_cutting", "_checkpoint"},
    {"problem", "backbone", "features", "strategy", "evidence"},
    {"_linear", "_sparse", "_network", "_pairs", "_training", "_augment", "_laws", "testing"},
    {"inputs", "tasks", "readers", "backbones", "rankers", "strategies", "tuning", "engines"},
    {"stages"},
    {"run", "report"},
    {"workflow"},
    {"cli", "estimator", "__main__", "__init__"},
]
PLUGINS = LAYERS[3]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def home(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path):
    """(top-level name inside the package, whole dotted name) of every import of ours in a file, lazy ones too."""
    tree = ast.parse(path.read_text("utf-8"))
    typing_only = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "headstart" and node not in typing_only:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole.split(".")[1], whole


def test_every_file_has_a_layer():
    assert {home(path) for path in FILES} == set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path):
    mine = home(path)
    for name, whole in imports(path):
        if name not in LEVEL:
            continue  # a public name of the package itself
        if name in PLUGINS and mine in PLUGINS and name != mine and whole.count(".") > 1:
            inside = whole.split(".")[2]
            assert inside[:1].isupper() or inside.startswith(("task_from", "part_named", "IMAGE")), (
                f"{path.name} imports the plug-in {whole}"
            )
        if mine in PLUGINS and name == mine and path.name != "__init__.py" and whole.count(".") >= 2:
            inside = whole.split(".")[2]
            registered = importlib.import_module(f"headstart.{mine}").TABLE
            assert inside not in registered or mine == "backbones", f"{path.name} imports its sibling {whole}"
        lazily = mine in ("features", "strategy", "evidence", "backbone", "problem", "_laws") and name in (
            "backbones",
            "tasks",
            "rankers",
            "_linear",
        )
        assert LEVEL[name] <= LEVEL[mine] or lazily, f"{path.relative_to(SOURCE)} imports {whole}, which stands to its right"


def test_files_and_functions_stay_small():
    for path in FILES:
        text = path.read_text("utf-8")
        assert text.count("\n") <= 450, f"{path.name}: which second idea moved in?"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno <= 70, f"{path.name}: {node.name} is long"


def test_importing_the_package_loads_nothing_heavy():
    code = f"import headstart, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_every_public_name_loads_and_is_explained():
    for name in headstart.__all__:
        value = getattr(headstart, name)
        if name != "__version__":
            assert inspect.getdoc(value), name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        headstart.nonsense  # noqa: B018


def test_no_public_function_has_the_name_of_a_module():
    modules = {path.stem for path in SOURCE.glob("*.py")} | {path.name for path in SOURCE.iterdir() if path.is_dir()}
    assert not modules & set(headstart.__all__)


@pytest.mark.parametrize("folder", registry.FOLDERS)
def test_tables_name_files_and_files_are_in_tables(folder):
    table = importlib.import_module(f"headstart.{folder}").TABLE
    files = {path.stem for path in (SOURCE / folder).glob("*.py") if not path.stem.startswith("_")}
    assert files == set(table)
    for name in table:
        module = importlib.import_module(f"headstart.{folder}.{name}")
        assert module.__doc__, f"{folder}/{name}.py does not say what it is"


def test_every_module_class_and_function_of_ours_is_documented():
    for path in FILES:
        tree = ast.parse(path.read_text("utf-8"))
        assert ast.get_docstring(tree) or not tree.body, path.name
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"


def test_nothing_unsafe_is_used():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                assert not {"pickle", "joblib", "marshal", "shelve"} & {alias.name for alias in node.names}, path.name
            if isinstance(node, ast.Call):
                called, words = ast.unparse(node.func), {word.arg: word.value for word in node.keywords}
                assert called not in ("eval", "exec", "os.system"), f"{path.name}: {called}"
                assert "trust_remote_code" not in words, path.name
                if called == "torch.load":
                    assert ast.unparse(words["weights_only"]) == "True", path.name
                if called in ("np.load", "numpy.load"):
                    assert ast.unparse(words["allow_pickle"]) == "False", path.name
                if "shell" in words:
                    assert ast.unparse(words["shell"]) == "False", path.name
