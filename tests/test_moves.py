"""What moves in fine-tuning: exactly what the part says, no more; low-rank pairs begin as the base and merge into it."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from headstart import _events, _io, _training
from headstart._linear import LinearScorer
from headstart._network import Model, NetworkScorer
from headstart.backbones import _encoder, _encoder_torch, own
from headstart.backbones._images import random_backbone
from headstart.backbones._photos import Preprocess
from headstart.errors import NotAdmissible, RunError
from headstart.features import FeatureStore, Lens
from headstart.stages.export import export
from headstart.strategies.linear_probe import LinearProbe
from headstart.strategies.side_tuning import SideTuning
from headstart.strategy import Plan, Predictor, Recipe, strategy_named
from headstart.testing import STAGES, toy_backbone, toy_problem
from headstart.tuning import part_named

PLAN = Plan(epochs=3, tuned_epochs=3, views=1, threads=1)
PHOTOS = Preprocess(48, (123.0, 117.0, 104.0), (0.017, 0.017, 0.017))
SIZES = {"layers": 3, "width": 32, "heads": 4, "inner": 64, "vocabulary": 50, "positions": 40, "eps": 1e-12}
TINY = _encoder.Architecture("bert", types=2, **SIZES)


def fitted(name, *, cut="stage1"):
    problem, exam = toy_problem(noise=0.1, seed=4)
    lens = Lens(((toy_backbone(), "stage3"),), cut, FeatureStore())
    return Recipe(strategy_named(name), lens).fit(problem, plan=PLAN, seed=1), exam.examples


def attached(name, network, cut):
    """The part, and the parameters that move when it is built into ``network``."""
    part = part_named(name)
    part.attach(network, cut)
    return part, [one for speed in part.speeds(network, cut, ()) for one in speed.names]


def photo_network():
    return random_backbone("efficientnet_lite_slim", PHOTOS, title="slim")


def text_network(weights=None):
    return _encoder_torch.network(TINY, weights or _encoder.initial(TINY, 3))


def pieces(seed=0, count=6):
    """Some texts of 3 to 9 pieces: (pieces, 2), number and marker."""
    draw = np.random.default_rng(seed)
    return [np.stack([draw.integers(5, 50, n), np.ones(n)], axis=1).astype(np.int32) for n in draw.integers(3, 10, count)]


def stir(network, seed=0):
    """Give every pair in ``network`` a B that is not zero."""
    import torch

    from headstart._pairs import pairs_in

    draw = torch.Generator().manual_seed(seed)
    for pair in pairs_in(network.module).values():
        pair.B.data.normal_(0.0, 0.3, generator=draw)


@pytest.mark.parametrize(
    ("name", "moved"),
    [("bitfit", {"stage2.bias", "stage3.bias"}), ("gradual", {f"{s}.{p}" for s in STAGES[1:] for p in ("weight", "bias")})],
)
def test_only_what_should_move_moves(name, moved):
    predictor, _ = fitted(f"{name}+last")
    module, base = predictor.scorer.model.network.module, toy_backbone().weights
    other = {key for key, value in module.state_dict().items() if not np.array_equal(value.numpy(), base[key])}
    assert other == moved
    assert {key.removeprefix("network.") for key in predictor.state()[1] if key.startswith("network.")} == moved


def test_a_convolutional_network_has_the_shifts_of_its_norms_for_biases():
    backbone = photo_network()
    cut = backbone.architecture.taps[2][0]
    _, biases = attached("bitfit", backbone.network(), cut)
    _, norms = attached("norm_only", backbone.network(), cut)
    every = {conv.norm for conv in backbone.architecture.convs}
    assert {name.rpartition(".")[0] for name in biases} < every
    assert sorted(norms) == sorted([*biases, *(name.replace(".bias", ".weight") for name in biases)])
    below = {f"{conv.norm}.bias" for block in backbone.architecture.blocks[:2] for conv in block.layers}
    assert below
    assert not below & set(biases)


def test_norms_of_an_encoder():
    _, norms = attached("norm_only", text_network(), "layer2")
    assert sorted(norms) == [
        f"encoder.layer.2.{where}.LayerNorm.{part}"
        for where in ("attention.output", "output")
        for part in ("bias", "weight")
    ]


@pytest.mark.parametrize(("name", "lacks"), [("norm_only", "no norm above stage1"), ("gradual:until=1", "until=1")])
def test_what_cannot_move_is_an_error(name, lacks):
    with pytest.raises(NotAdmissible, match=lacks):
        attached(name, toy_backbone().network(), "stage1")


@pytest.mark.parametrize("name", ["bitfit", "norm_only", "gradual", "lora"])
def test_frozen_everything_is_an_error(name):
    with pytest.raises(NotAdmissible, match="stage3"):
        attached(name, toy_backbone().network(), "stage3")


def test_gradual_unfreezes_from_the_top():
    network = toy_backbone().network()
    part, names = attached("gradual:until=0.5", network, None)
    speeds = part.speeds(network, None, ())
    assert [speed.wait for speed in speeds] == [0.0, 0.25, 0.5]
    np.testing.assert_allclose([speed.share for speed in speeds], [1, 1 / 2.6, 1 / 2.6**2])
    started = {}

    def watch(event):
        if "held_out" in event.data:
            for stage in STAGES:
                now = model.copy()[f"network.{stage}.weight"]
                if stage not in started and not bool((now == first[f"network.{stage}.weight"]).all()):
                    started[stage] = event.data["done"]

    problem, _ = toy_problem()
    examples, task = problem.train, problem.task
    labels = _training.Labels.of(task, examples)
    rows = network.collate(list(toy_backbone().prepare(examples.inputs)))
    model = Model.of(network, task.width, statistics=False, moving=names)
    first = model.copy()
    parameters = dict(network.module.named_parameters())
    head = {"params": list(model.head.parameters()), "lr": 1e-3, "weight_decay": 0.0}
    groups = [
        {"params": [parameters[name] for name in one.names], "lr": 1e-3 * one.share, "wait": one.wait} for one in speeds
    ]
    work = _training.Work(
        model,
        lambda index, generator: (rows[index], *labels.take(index)),
        task=task,
        rows=np.arange(len(examples)),
        held=np.zeros(0, dtype=int),
        groups=[head, *groups],
        schedule=_training.Schedule(epochs=8),
        seed=0,
        what="toy",
    )
    with _events.listen(watch):
        _training.train(work)
    assert started == {"stage3": 1, "stage2": 3, "stage1": 5}  # of 8 epochs: none, a quarter, a half has passed


@pytest.mark.parametrize("kind", ["toy", "photos", "texts"])
def test_pairs_begin_as_the_base_to_the_bit_and_merge(kind):
    import torch

    from headstart._pairs import merged

    if kind == "texts":
        make, cut = text_network, "layer1"
        network = make()
        states = network.below(network.collate(pieces()), cut)
    else:
        backbone = toy_backbone() if kind == "toy" else photo_network()
        make, cut = backbone.network, "stage1" if kind == "toy" else backbone.architecture.taps[1][0]
        draw = torch.Generator().manual_seed(0)
        given = torch.randn(5, 12, generator=draw) if kind == "toy" else torch.rand(3, 48, 48, 3, generator=draw) * 255
        states = make().below(given, cut)
    network, base = make(), make()
    with torch.inference_mode():
        before = base.above(states, cut)
        attached("lora:rank=4", network, cut)
        assert torch.equal(network.above(states, cut), before)
        stir(network)
        tuned = network.above(states, cut)
        assert float((tuned - before).abs().max()) > 1e-3
        plain = make()
        for _ in range(2):  # and merging leaves the original as it is
            plain.module.load_state_dict(merged(network.module).state_dict())
        assert torch.equal(network.above(states, cut), tuned)
        np.testing.assert_allclose(plain.above(states, cut), tuned, atol=1e-5 * float(tuned.abs().max()))
    assert all(torch.equal(base.module.state_dict()[name], value) for name, value in make().module.state_dict().items())


def test_pairs_lie_above_the_cut_on_linear_maps_alone():
    _, names = attached("lora:rank=2", text_network(), "layer2")
    paths = {name.partition(".parametrizations")[0] for name in names}
    linear = {path.removesuffix(".weight") for path, shape in TINY.shapes().items() if len(shape) == 2}
    assert paths == {path for path in linear if path.startswith("encoder.layer.2.")}
    assert len(names) == 2 * len(paths) == 12
    backbone = photo_network()
    _, names = attached("lora:rank=4", backbone.network(), None)
    paths = {name.partition(".parametrizations")[0] for name in names}
    assert paths == {conv.name for conv in backbone.architecture.convs if conv.kernel == 1 and conv.groups == 1}


def test_only_the_pairs_are_kept_and_they_come_back():
    predictor, asked = fitted("lora:rank=4+last")
    state, arrays = predictor.state()
    own = {f"network.{s}.parametrizations.weight.0.{part}" for s in ("stage2", "stage3") for part in "AB"}
    assert set(arrays) == own | {"head.weight", "head.bias"}
    assert any(np.abs(arrays[name]).max() > 0 for name in own if name.endswith("B"))
    original = predictor.scorer.model.network.module["stage2"].parametrizations.weight.original
    np.testing.assert_array_equal(original.detach().numpy(), toy_backbone().weights["stage2.weight"])
    again = Predictor.restore(json.loads(json.dumps(_io.plain(state))), arrays, predictor.lens)
    np.testing.assert_array_equal(again.scores(asked), predictor.scores(asked))


def test_a_rank_that_a_matrix_has_not_is_an_error():
    with pytest.raises(NotAdmissible, match=r"rank is 13; 'stage1' is a matrix of 16 x 12, so 1 to 12"):
        attached("lora:rank=13", toy_backbone().network(), None)
    with pytest.raises(NotAdmissible, match="rank is 0"):
        attached("lora:rank=0", toy_backbone().network(), None)


def test_the_scale_of_a_pair():
    from headstart._pairs import pairs_in

    for name, scale in (("lora:rank=4", 4.0), ("lora:rank=4,stabilised=true", 8.0), ("lora:rank=16,alpha=8", 0.5)):
        network = toy_backbone().network()
        attached(name, network, "stage1")
        assert {pair.scale for pair in pairs_in(network.module).values()} == {scale}


def test_the_exported_file_holds_merged_weights(tmp_path):
    import onnxruntime

    predictor, asked = fitted("lora:rank=4+last", cut=None)
    done = export(predictor, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(done.path), providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], {"input": np.stack(asked.inputs).astype(np.float32)})
    expected = predictor.predict_proba(asked)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    stir(predictor.scorer.model.network)
    assert np.abs(predictor.predict_proba(asked) - expected).max() > 0.05  # the pairs do matter


def test_a_backbone_of_ones_own_holds_merged_weights(tmp_path):
    from headstart._pairs import merged

    backbone = photo_network()
    network = backbone.network()
    attached("lora:rank=4", network, None)
    stir(network)
    saved = own.save_backbone(network.module, backbone, tmp_path / "own", name="mine", trained_on="noise")
    expected = merged(network.module).state_dict()
    found = saved.network().module.state_dict()
    assert all(np.array_equal(found[name], expected[name]) for name in found if found[name].ndim)
    name = next(conv.name for conv in backbone.architecture.convs if conv.kernel == 1)
    before = backbone.network().module.state_dict()[f"{name}.weight"]
    assert float((found[f"{name}.weight"] - before).abs().max()) > 1e-3


# The ladder beside the network


def on_the_last_stage(strategy):
    """Labels follow signs, which the first stage holds and the last has lost."""
    problem, exam = toy_problem(n=150, informative="columns", seed=2)
    lens = Lens(((toy_backbone(), "stage3"),), None, FeatureStore())
    return Recipe(strategy, lens).fit(problem, plan=replace(PLAN, epochs=20), seed=0), exam.examples


@pytest.fixture(scope="module")
def probed():
    return on_the_last_stage(LinearProbe())


def test_a_ladder_begins_as_the_probe(probed):
    from headstart.strategies.side_tuning import SideScorer, _ladder, _through

    probe, asked = probed
    model = Model.of(_ladder([16, 16, 16, 16], 8, 0), 3)
    model.set_head(np.concatenate([probe.scorer.weights, np.zeros((8, 3))]), probe.scorer.bias)
    found = SideScorer(model).scores(asked, _through(probe.lens, "item"))
    np.testing.assert_allclose(found.rows, probe.scorer.scores(asked, probe.lens).rows, atol=1e-5)


def test_a_ladder_that_learns_nothing_ships_the_probe(probed):
    probe, asked = probed
    still, _ = on_the_last_stage(SideTuning(rate=0.0, epochs=1))
    assert still.notes["share"] == 0.0
    np.testing.assert_allclose(still.scores(asked), probe.scores(asked), atol=1e-6)


def test_a_ladder_finds_what_the_read_layer_has_lost(probed):
    probe, asked = probed
    ladder, _ = on_the_last_stage(SideTuning(rate=1e-2))
    assert ladder.notes["share"] == 1.0
    right = {name: np.mean(one.predict(asked) == asked.targets) for name, one in (("probe", probe), ("ladder", ladder))}
    assert right["ladder"] > right["probe"] + 0.15, right


# Adapters of the peft library


@pytest.fixture
def bert():
    """A random BERT of the transformers library, and the same network here."""
    transformers = pytest.importorskip("transformers")
    import torch

    config = transformers.BertConfig(
        num_hidden_layers=3,
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=64,
        vocab_size=50,
        max_position_embeddings=40,
    )
    torch.manual_seed(1)
    theirs = transformers.BertModel(config, add_pooling_layer=False).eval()
    assert _encoder.described(config.to_dict()) == TINY
    arrays = {name: value.numpy() for name, value in theirs.state_dict().items()}
    return theirs, text_network(_encoder.fitting(TINY, arrays))


def states(network, text):
    import torch

    with torch.inference_mode():
        return network.below(network.collate([text]), "layer3").rows.numpy()


def hidden(model, text):
    import torch

    with torch.inference_mode():
        return model(input_ids=torch.from_numpy(text[:, :1].T.astype(np.int64))).last_hidden_state[0].numpy()


def test_an_adapter_has_the_names_of_the_format(tmp_path):
    from headstart._pairs import read_adapter, write_adapter

    network = text_network()
    attached("lora:rank=4,stabilised=true", network, "layer2")
    stir(network)
    write_adapter(network, tmp_path, base="some/encoder")
    config, arrays = _io.read_json(tmp_path / "adapter_config.json"), _io.read_arrays(tmp_path / "adapter_model.safetensors")
    assert arrays["base_model.model.encoder.layer.2.attention.self.query.lora_A.weight"].shape == (4, 32)
    assert arrays["base_model.model.encoder.layer.2.intermediate.dense.lora_B.weight"].shape == (64, 4)
    assert len(arrays) == 12
    assert (config["peft_type"], config["r"], config["lora_alpha"] / config["r"]) == ("LORA", 4, 8.0)
    assert config["base_model_name_or_path"] == "some/encoder"
    again = text_network()
    read_adapter(again, tmp_path)
    text = pieces()[0]
    np.testing.assert_array_equal(states(again, text), states(network, text))
    assert np.abs(states(again, text) - states(text_network(), text)).max() > 1e-2


def test_what_lora_learned_is_exported_with_its_head(tmp_path):
    from headstart._pairs import read_adapter

    network = text_network()
    attached("lora:rank=4", network, "layer2")
    stir(network)
    model = Model.of(network, 3, cut="layer2", moving=())
    predictor = SimpleNamespace(
        lens=SimpleNamespace(
            reads=((), ()), backbone=SimpleNamespace(card=SimpleNamespace(name="transformers:some/encoder"))
        ),
        scorer=NetworkScorer(model),
        task=SimpleNamespace(classes=("a", "b", "c")),
        temperature=1.5,
        strategy=SimpleNamespace(name="fine_tune"),
    )
    done = export(predictor, tmp_path / "adapter", format="peft")
    assert _io.read_json(done.about) == {"classes": ["a", "b", "c"], "temperature": 1.5}
    assert _io.read_json(done.path / "adapter_config.json")["base_model_name_or_path"] == "some/encoder"
    assert _io.read_arrays(done.path / "head.safetensors")["weight"].shape == (3, 32)
    again = text_network()
    read_adapter(again, done.path)
    np.testing.assert_array_equal(states(again, pieces()[0]), states(network, pieces()[0]))
    linear = SimpleNamespace(**{**vars(predictor), "scorer": LinearScorer(np.eye(3), np.zeros(3))})
    with pytest.raises(NotAdmissible, match="ships a linear head and no adapter"):
        export(linear, tmp_path / "other", format="peft")


def test_an_adapter_written_here_is_read_by_peft(tmp_path, bert):
    peft = pytest.importorskip("peft")
    from headstart._pairs import write_adapter

    theirs, network = bert
    attached("lora", network, None)
    stir(network)
    write_adapter(network, tmp_path)
    text = pieces()[1]
    before = hidden(theirs, text)
    adapted = peft.PeftModel.from_pretrained(theirs, str(tmp_path)).eval()
    assert np.abs(hidden(adapted, text) - before).max() > 1e-2
    np.testing.assert_allclose(states(network, text), hidden(adapted, text), atol=1e-5)


@pytest.mark.parametrize("stabilised", [False, True])
def test_an_adapter_written_by_peft_is_read_here(tmp_path, bert, stabilised):
    peft = pytest.importorskip("peft")
    from headstart._pairs import read_adapter

    theirs, network = bert
    config = peft.LoraConfig(
        r=4, lora_alpha=12, target_modules=["query", "value"], init_lora_weights=False, use_rslora=stabilised
    )
    adapted = peft.get_peft_model(theirs, config).eval()
    adapted.save_pretrained(str(tmp_path))
    read_adapter(network, tmp_path)
    text = pieces()[2]
    np.testing.assert_allclose(states(network, text), hidden(adapted, text), atol=1e-5)


def test_what_is_no_adapter_for_this_network_is_an_error(tmp_path):
    from headstart._pairs import read_adapter, write_adapter

    network = text_network()
    with pytest.raises(NotAdmissible, match="no low-rank pairs"):
        write_adapter(network, tmp_path)
    attached("lora:rank=2", network, "layer2")
    write_adapter(network, tmp_path)
    small = _encoder_torch.network(replace(TINY, width=16), _encoder.initial(replace(TINY, width=16), 0))
    with pytest.raises(NotAdmissible, match=r"changes 'encoder\.layer\.2\.\S+', and this network has no such"):
        read_adapter(small, tmp_path)
    config = _io.read_json(tmp_path / "adapter_config.json")
    _io.write_json(tmp_path / "adapter_config.json", {**config, "use_dora": True})
    with pytest.raises(RunError, match="use_dora = True; only False can be read"):
        read_adapter(text_network(), tmp_path)
    photos = photo_network().network()
    attached("lora:rank=4", photos, None)
    with pytest.raises(NotAdmissible, match="pairs on convolutions"):
        write_adapter(photos, tmp_path)
