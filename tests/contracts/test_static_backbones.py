"""Word vectors, the multilingual encoder, and text encoders from a transformers folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from headstart import _io, backbones
from headstart.backbone import feature_taps
from headstart.errors import MissingExtra, NotAdmissible

INSTALLED = {found.name for found in backbones.known("text") if found.installed}
TEXTS = [
    "How did U.S. inflation, don't ask, cost £5?",
    "zzqqx",
    "",
    "日本語 \ud800",
    "A b.",
    ("EU", "rejects", "German's", "~~"),
]


def installed(name):
    if name not in INSTALLED:
        pytest.skip(f"the weights of {name} are not installed")
    return backbones.find(name)


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def keeps_the_laws(backbone, texts):
    """Widths are real, a text's rows are its own, words are counted, nothing is asked of an empty list."""
    names = [tap.name for tap in backbone.taps]
    found = backbone.features(texts, names)
    turned = backbone.features(texts[::-1], names)
    singles, none = [backbone.features([text], names) for text in texts], backbone.features([], names)
    for tap in backbone.taps:
        whole, other = found[tap.name].parts(), turned[tap.name].parts()[::-1]
        assert all(part.shape[1] == tap.width and np.isfinite(part).all() for part in whole)
        assert found[tap.name].rows.dtype == np.float32
        for i, text in enumerate(texts):
            assert np.array_equal(singles[i][tap.name].rows, whole[i]), (tap.name, i)
            assert np.array_equal(other[i], whole[i]), (tap.name, i)
            if tap.unit == "item":
                assert len(whole[i]) == 1
            elif not isinstance(text, str):
                assert len(whole[i]) == len(text)
        assert none[tap.name].rows.shape == (0, tap.width)
    card = backbone.card
    assert all([card.name, card.kind == "text", card.licence, card.trained_on, card.preprocessing, card.parameters])
    with pytest.raises(NotAdmissible):
        backbone.prepare(texts, view="flip")


@pytest.mark.parametrize("name", ["glove_6b_50d", "glove_6b_50d:untrained", "multilingual_use", "multilingual_use:slim"])
def test_a_frozen_base_keeps_the_laws(name):
    installed(name.partition(":")[0])
    backbone = backbones.find(name)
    keeps_the_laws(backbone, TEXTS)
    assert not backbone.trainable
    assert backbone.pretrained == (":" not in name)
    assert not any(tap.resumable for tap in backbone.taps)
    for refused in (backbone.network, backbone.onnx, lambda: backbone.states(["a"], backbone.taps[0].name)):
        with pytest.raises(NotAdmissible):
            refused()
    assert backbones.find(f"{name.partition(':')[0]}:untrained").fingerprint == backbone.untrained(slim=True).fingerprint


def test_glove_knows_what_words_mean():
    glove = installed("glove_6b_50d")
    king, queen, banana = (glove.features([word], ["vectors"])["vectors"].rows[0] for word in ("king", "Queen", "banana"))
    assert cosine(king, queen) == pytest.approx(0.784, abs=0.001)
    assert cosine(king, banana) == pytest.approx(0.221, abs=0.001)
    assert [tap.name for tap in feature_taps(glove, "word")] == ["vectors:words"]
    assert feature_taps(glove)[-1].name == "vectors"


def test_glove_rows_are_means_and_maxima_of_known_words():
    glove = installed("glove_6b_50d")
    words = glove.features([("cats", "zzqqx", "sleep")], ["vectors:words"])["vectors:words"].rows
    found = glove.features(["cats zzqqx sleep"], ["vectors", "vectors:max"])
    known = words[[0, 2]]
    assert np.allclose(found["vectors"].rows[0], known.mean(axis=0), atol=1e-6)
    assert np.array_equal(found["vectors:max"].rows[0], known.max(axis=0))
    assert np.allclose(words[1], glove.known.vectors().mean(axis=0, dtype=np.float64), atol=1e-6)
    assert np.allclose(glove.features(["zzqqx"], ["vectors"])["vectors"].rows[0], words[1])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's U.S. inflation.", ["it", "'s", "u.s.", "inflation", "."]),
        ("Don’t (ever) stop...", ["do", "n't", "(", "ever", ")", "stop", "..."]),
        ("a well-known x9qz-value", ["a", "well-known", "x", "9", "qz", "-", "value"]),
        ("10,000 at 10:30 cost $5!", ["10,000", "at", "10:30", "cost", "$", "5", "!"]),
        (" \n ", []),
    ],
)
def test_glove_cuts_texts_as_its_vocabulary_was_cut(text, words):
    glove = installed("glove_6b_50d")
    index = glove.known.index()
    names = {row: word for word, row in index.items()}
    found = [names.get(number, "?") for number in glove.prepare([text]).rows[:, 0]]
    assert [word if word in index else "?" for word in words] == found


def test_a_given_word_of_several_parts_is_one_row():
    glove = installed("glove_6b_50d")
    parts = glove.features(["acid-zzqqx jazz"], ["vectors:words"])["vectors:words"].rows
    whole = glove.features([("acid-zzqqx", "jazz")], ["vectors:words"])["vectors:words"].rows
    assert len(whole) == 2
    assert np.allclose(whole[0], parts[:2].mean(axis=0), atol=1e-6)  # 'acid' and '-'; the unknown part is left out
    assert np.array_equal(whole[1], parts[-1])


def test_glove_says_how_many_texts_it_cannot_read():
    glove = installed("glove_6b_50d")
    assert glove.remarks(["a cat", "a dog"]) == ()
    assert glove.remarks(["a cat", "日本語", "zzqqx"]) == (
        "2 of 3 texts hold no word that glove_6b_50d knows; the mean of all its vectors stands for them.",
    )


def test_glove_takes_very_long_strings_in_its_stride():
    glove = installed("glove_6b_50d")
    for text in ("n't" * 50_000, "-" * 100_000, "a" * 100_000):
        assert np.isfinite(glove.features([text], ["vectors"])["vectors"].rows).all()


def test_the_multilingual_encoder_knows_a_translation():
    use = installed("multilingual_use")
    texts = [
        "The cat sleeps on the sofa.",
        "Le chat dort sur le canapé.",
        "Die Katze schläft auf dem Sofa.",
        "Kaufen Sie Aktien.",
    ]
    rows = use.features(texts, ["sentence"])["sentence"].rows
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert cosine(rows[0], rows[1]) > 0.75
    assert cosine(rows[0], rows[2]) > cosine(rows[2], rows[3]) + 0.3


def test_the_multilingual_encoder_reads_long_texts_whole_in_parts():
    use = installed("multilingual_use")
    first, second = "The weather is fine today. " * 140, "Der Zug fährt um neun Uhr ab. " * 140
    found = use.features([first + second, first, second], ["sentence"])["sentence"].rows
    assert cosine(found[0], found[1] + found[2]) > 0.95
    assert cosine(found[0], found[1]) < 0.9
    assert "1 of 3 texts is longer than the 4,000 characters" in use.remarks([first + second, first[:99], "a"])[0]
    assert use.remarks(["short"]) == ()


def test_another_version_of_the_multilingual_package_is_refused(monkeypatch):
    from headstart.backbones import _multilingual

    installed("multilingual_use")
    monkeypatch.setattr(_multilingual, "version", lambda name: "9.9")
    _multilingual._encoder.cache_clear()
    with pytest.raises(MissingExtra, match=r"0\.2\.1 is needed; here it is 9\.9"):
        backbones.find("multilingual_use").features(["a"], ["sentence"])


# Folders of the transformers library -------------------------------------------------------------------------------------

LINES = [
    "the cat sat on the mat",
    "dogs and cats like each other at times",
    "what is the capital of France ?",
    "un é naïf",
] * 3
SIZES = {"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
KINDS = ("bert", "mpnet", "roberta", "distilbert", "electra")


def tokenizer(kind, folder, *, length=64):
    """A small tokenizer of the kind's own sort, trained on a few lines; its vocabulary's size."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    if kind == "roberta":
        made = Tokenizer(models.BPE(unk_token="<unk>"))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        special = ["<s>", "<pad>", "</s>", "<unk>"]
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        made.train_from_iterator(
            LINES, trainers.BpeTrainer(vocab_size=350, special_tokens=special, initial_alphabet=alphabet)
        )
        made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    else:
        special = ["<s>", "<pad>", "</s>", "[UNK]"] if kind == "mpnet" else ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer(lowercase=True)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.train_from_iterator(LINES, trainers.WordPieceTrainer(vocab_size=90, special_tokens=special))
        begin, end = (special[0], special[2]) if kind == "mpnet" else (special[2], special[3])
        made.post_processor = processors.BertProcessing((end, made.token_to_id(end)), (begin, made.token_to_id(begin)))
    made.enable_truncation(8)  # must not be obeyed
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": length}))
    return made.get_vocab_size()


def model(kind, folder, words, **more):
    """A random model of ``kind``, saved into ``folder``."""
    library = pytest.importorskip("transformers")
    import torch

    sizes = dict(SIZES)
    if kind == "distilbert":
        sizes = {"n_layers": 2, "dim": 16, "n_heads": 2, "hidden_dim": 32}
    if kind in ("mpnet", "roberta"):
        more = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, **more}
    if kind == "electra":
        more = {"embedding_size": 16, **more}
    config = library.AutoConfig.for_model(kind, vocab_size=words, max_position_embeddings=66, **sizes, **more)
    torch.manual_seed(1)
    made = library.AutoModel.from_config(config).eval()
    for parameter in made.parameters():  # random biases too, and weights that make layers differ
        parameter.data = 0.3 * torch.randn(parameter.shape) + float("LayerNorm" in str(parameter))
    made.save_pretrained(folder)
    return made


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """(folder, model) of every kind, made once."""
    made = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        made[kind] = folder, model(kind, folder, tokenizer(kind, folder))
    return made


def expected(made, backbone, text):
    """Hidden states of a short text, straight from the library: (places, pieces, width)."""
    import torch

    pieces = backbone.prepare([text]).rows[:, 0]
    with torch.inference_mode():
        found = made(input_ids=torch.from_numpy(pieces.astype(np.int64))[None], output_hidden_states=True)
    return np.stack([state[0].numpy() for state in found.hidden_states])


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_folder_keeps_the_laws(folders, kind):
    folder, made = folders[kind]
    backbone = backbones.find(f"transformers:{folder}")
    keeps_the_laws(backbone, [*TEXTS, *LINES[:4], " ".join(LINES)])
    assert backbone.trainable
    assert (type(backbone).__name__ == "TextBackbone") == (kind in ("bert", "mpnet", "roberta"))
    text = LINES[1]
    truth = expected(made, backbone, text)
    assert {tap.place for tap in backbone.taps} == {"embedding", "layer1", "layer2"}
    for number, place in enumerate(("embedding", "layer1", "layer2")):
        found = backbone.features([text], [place, f"{place}:first", f"{place}:max"])
        assert np.allclose(found[place].rows[0], truth[number].mean(axis=0), atol=1e-4)
        assert np.allclose(found[f"{place}:first"].rows[0], truth[number][0], atol=1e-4)
        assert np.allclose(found[f"{place}:max"].rows[0], truth[number].max(axis=0), atol=1e-4)
    words = backbone.features([tuple(text.split())], ["layer2:words"])["layer2:words"].rows
    marks = backbone.prepare([tuple(text.split())]).rows
    state = expected(made, backbone, tuple(text.split()))[2]
    word_of = np.where((marks[:, 1] == 1) | (marks[:, 1] == 2), np.cumsum(marks[:, 1] == 1) - 1, -1)
    assert np.allclose(words, [state[word_of == i].mean(axis=0) for i in range(len(words))], atol=1e-4)


@pytest.mark.parametrize("kind", ["distilbert", "electra"])
@pytest.mark.parametrize("unit", ["item", "word"])
def test_the_network_of_an_unknown_kind_says_what_its_features_say(folders, kind, unit):
    import torch

    backbone = backbones.find(f"transformers:{folders[kind][0]}")
    texts = [tuple(line.split()) for line in (*LINES[:4], " ".join(LINES))]
    network = backbone.network(unit=unit)
    prepared = backbone.prepare(texts).parts()
    batch = network.collate(prepared)
    name = feature_taps(backbone, unit)[-1].name
    truth = backbone.features(texts, [name])[name].rows
    with torch.inference_mode():
        found = network.above(network.below(batch, None), None).numpy()
    assert np.allclose(found, truth, atol=1e-4)
    assert sum(network.count(part) for part in prepared) == len(truth)
    assert network.width == truth.shape[1]
    network.module.train()
    again = network.above(batch, None)
    assert torch.equal(again, network.above(batch, None))  # no dropout: torch's generator belongs to everyone
    again.sum().backward()
    assert sum(parameter.grad is not None for parameter in network.module.parameters()) > 20
    with pytest.raises(NotAdmissible, match="runs whole"):
        network.below(batch, "layer1")


def test_a_long_text_is_read_in_parts(folders):
    folder, made = folders["distilbert"]
    backbone = backbones.find(f"transformers:{folder}")
    text = " ".join(LINES * 4)
    rows = backbone.prepare([text]).rows
    starts = np.flatnonzero(rows[:, 1] == 3)
    assert len(starts) > 3
    assert np.diff([*starts, len(rows)]).max() <= 64
    import torch

    parts = [torch.from_numpy(part[:, 0].astype(np.int64))[None] for part in np.split(rows, starts[1:])]
    with torch.inference_mode():
        states = np.concatenate([made(input_ids=part).last_hidden_state[0].numpy() for part in parts])
    found = backbone.features([text], ["layer2", "layer2:max", "layer2:first"])
    assert np.allclose(found["layer2"].rows[0], states.mean(axis=0), atol=1e-4)
    assert np.allclose(found["layer2:max"].rows[0], states.max(axis=0), atol=1e-4)
    assert np.allclose(found["layer2:first"].rows[0], states[0], atol=1e-4)
    assert backbone.remarks([text, "short"])[0].startswith("1 of 2 texts is longer than the 62 word pieces")


@pytest.mark.parametrize("kind", ["distilbert", "bert"])
def test_relatives_with_random_weights(folders, kind):
    name = f"transformers:{folders[kind][0]}"
    whole, slim = backbones.find(f"{name}:untrained"), backbones.find(f"{name}:slim")
    assert not whole.pretrained
    assert not slim.pretrained
    assert whole.fingerprint != backbones.find(name).fingerprint
    assert slim.card.parameters < 500_000
    network = slim.network(seed=3, unit="word")
    assert network.above(network.collate(slim.prepare([("a", "cat")]).parts()), None).shape == (2, 128)
    keeps_the_laws(whole, LINES[:2])


def test_half_precision_weights_are_read(folders, tmp_path):
    import torch
    from transformers import AutoModel

    folder, _ = folders["bert"]
    AutoModel.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    whole = backbones.find(f"transformers:{folder}").features(LINES[:2], ["layer2"])["layer2"].rows
    half = backbones.find(f"transformers:{tmp_path}").features(LINES[:2], ["layer2"])["layer2"].rows
    assert not np.array_equal(half, whole)
    assert cosine(half[0], whole[0]) > 0.999


def test_a_moved_tokenizer_or_weight_is_another_backbone(folders, tmp_path):
    marks = set()
    for kind in ("bert", "distilbert"):
        folder, _ = folders[kind]
        copy = tmp_path / kind
        copy.mkdir()
        for file in folder.iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
        first = backbones.find(f"transformers:{folder}").fingerprint
        from headstart.backbones.transformers import SOURCE

        assert SOURCE.load(str(copy)).fingerprint == first
        found = json.loads((copy / "tokenizer.json").read_text())
        found["normalizer"]["lowercase"] = False
        (copy / "tokenizer.json").write_text(json.dumps(found))
        second = SOURCE.load(str(copy)).fingerprint
        arrays = _io.read_arrays(copy / "model.safetensors")
        name = next(iter(arrays))
        _io.write_arrays(copy / "model.safetensors", {**arrays, name: arrays[name] + 1})
        marks |= {first, second, SOURCE.load(str(copy)).fingerprint}
    assert len(marks) == 6


def test_what_a_text_folder_must_hold(folders, tmp_path):
    from headstart.backbones.transformers import SOURCE

    folder, _ = folders["bert"]

    def holding(*names: str) -> Path:
        copy = tmp_path / "-".join(names)
        copy.mkdir()
        for name in names:
            (copy / name).write_bytes((folder / name).read_bytes())
        return copy

    with pytest.raises(NotAdmissible, match=r"holds no tokenizer\.json.*save_pretrained"):
        SOURCE.load(str(holding("config.json", "model.safetensors")))
    pickled = holding("config.json", "tokenizer.json")
    (pickled / "pytorch_model.bin").write_bytes(b"never read")
    with pytest.raises(NotAdmissible, match=r"pytorch_model\.bin, a pickle"):
        SOURCE.load(str(pickled))
    with pytest.raises(NotAdmissible, match="HEADSTART_ALLOW_HUB=1"):
        SOURCE.load("someone/some-encoder")
    damaged = holding("config.json", "tokenizer.json", "model.safetensors")
    (damaged / "model.safetensors").write_bytes(b"\x08")
    with pytest.raises(NotAdmissible, match="damaged"):
        SOURCE.load(str(damaged))


def test_a_tokenizer_of_a_model_that_writes_is_refused(folders, tmp_path):
    from headstart.backbones.transformers import SOURCE

    folder, _ = folders["bert"]
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    found = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps({**found, "post_processor": None}))
    with pytest.raises(NotAdmissible, match="puts no special piece before a text"):
        SOURCE.load(str(tmp_path))


def test_a_known_family_needs_no_library(folders, monkeypatch):
    from headstart.backbones import transformers

    monkeypatch.setattr(transformers, "find_spec", lambda name: None)
    assert transformers.SOURCE.load(str(folders["bert"][0])).trainable
    with pytest.raises(MissingExtra, match=r"headstart\[transformers\]"):
        transformers.SOURCE.load(str(folders["electra"][0]))
