"""The exported file answers as ``predict`` does, without torch."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from headstart import backbones
from headstart.errors import NotAdmissible, UnknownName
from headstart.features import FeatureStore, Lens
from headstart.readers.arrays import from_arrays
from headstart.stages.export import export
from headstart.stages.predict import predict
from headstart.stages.read import read
from headstart.strategies.fine_tune import FineTune
from headstart.strategies.linear_probe import LinearProbe
from headstart.strategies.nearest_mean import NearestMean
from headstart.strategies.plain import Plain
from headstart.strategies.scratch import Scratch
from headstart.strategy import Plan, Recipe

PLAN = Plan(epochs=2, views=1, threads=1)

# Answers from the file in a process that has numpy and onnxruntime only.
ELSEWHERE = """
import json, sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]
found = dict(zip(names, session.run(None, {session.get_inputs()[0].name: np.load(sys.argv[2])})))
np.savez(sys.argv[3], **found)
loaded = [name for name in ("torch", "headstart", "onnx", "sklearn") if name in sys.modules]
print(json.dumps([loaded, session.get_modelmeta().custom_metadata_map]))
"""


@pytest.fixture(scope="module")
def images():
    """16 pictures in three colours, 160 x 120 pixels: photos must be cropped and resized."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 90, size=(18, 120, 160, 3)).astype(np.uint8)
    for colour in range(3):
        X[colour::3, 20:90, 30:130, colour] += 120
    return X


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(folder))
        yield FeatureStore(folder / "features")


def fitted(strategy, images, targets, store, *, task="classification", tap="head", cut=None):
    problem, _ = read(from_arrays(images, targets), task=task)
    lens = Lens(((backbones.find("efficientnet_lite0"), tap),), cut, store)
    if strategy.starts_from == "untrained":
        lens = lens.untrained(slim=True)
    return Recipe(strategy, lens).fit(problem, plan=PLAN, seed=0), problem


def answers(predictor, examples, folder):
    exported = export(predictor, folder / "model.onnx")
    np.save(folder / "sized.npy", predictor.lens.backbone.prepare(examples.inputs))
    command = [sys.executable, "-c", ELSEWHERE, *(str(folder / name) for name in ("model.onnx", "sized.npy", "found.npz"))]
    loaded, metadata = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert loaded == []
    return np.load(folder / "found.npz"), metadata, json.loads(exported.about.read_text("utf-8"))


@pytest.mark.parametrize(
    ("strategy", "tap", "cut"),
    [
        (LinearProbe(), "head", None),
        (LinearProbe(), "block9", None),
        (NearestMean(), "head", None),
        (FineTune(epochs=1), "head", "block13"),
        (Scratch(), "head", None),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_file_answers_as_predict_does(strategy, tap, cut, images, cached, tmp_path):
    targets = ["red", "green", "blue"] * 6
    predictor, problem = fitted(strategy, images, targets, cached, tap=tap, cut=cut)
    expected = predict(predictor, problem.train)
    found, metadata, about = answers(predictor, problem.train, tmp_path)
    assert np.abs(found["probabilities"] - expected.probabilities).max() <= 1e-5
    classes = json.loads(metadata["classes"])
    assert [classes[index] for index in found["class_index"]] == expected.predictions.tolist()
    assert about["classes"] == ["blue", "green", "red"]
    assert about["input"]["shape"][1:] == [predictor.lens.backbone.card.preprocessing["side"]] * 2 + [3]


def test_numbers_come_out_in_the_unit_of_the_targets(images, cached, tmp_path):
    targets = 1000 + 50.5 * np.arange(18)
    predictor, problem = fitted(LinearProbe(), images, targets, cached, task="regression")
    found, _, _ = answers(predictor, problem.train, tmp_path)
    assert np.allclose(found["value"], predict(predictor, problem.train).predictions, rtol=1e-5)


def test_several_labels_an_item(images, cached, tmp_path):
    targets = [("warm", "red"), ("green",), ("warm", "blue")] * 6
    predictor, problem = fitted(LinearProbe(), images, targets, cached, task="multi_label")
    found, _, _ = answers(predictor, problem.train, tmp_path)
    expected = predict(predictor, problem.train)
    assert np.abs(found["probabilities"] - expected.probabilities).max() <= 1e-5
    chosen = [tuple(np.array(expected.labels)[row]) for row in found["chosen"]]
    assert chosen == expected.predictions.tolist()


def test_what_cannot_be_written_is_told(images, cached, tmp_path):
    problem, _ = read(from_arrays(images, ["red", "green", "blue"] * 6))
    predictor = Recipe(Plain(), Lens()).fit(problem)
    with pytest.raises(NotAdmissible, match="'plain' has no network"):
        export(predictor, tmp_path / "model.onnx")
    with pytest.raises(UnknownName, match="Did you mean 'onnx'"):
        export(replace(predictor), tmp_path / "model.onnx", format="onx")
    assert list(tmp_path.iterdir()) == []
