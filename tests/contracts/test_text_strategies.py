"""The laws of strategies on texts and on tagged words, and the story on both, with a small random encoder."""

import numpy as np
import pytest

import headstart
from headstart import _io, registry
from headstart.backbone import Card, feature_taps
from headstart.backbones import _encoder
from headstart.backbones._encoder import Architecture
from headstart.backbones._pieces import Pieces
from headstart.backbones._texts import text_backbone
from headstart.features import FeatureStore, Lens
from headstart.problem import Exam, Examples, Items, Problem
from headstart.stages.adapt import adapt
from headstart.strategy import Plan, Recipe, strategy_named
from headstart.testing import check_strategy

WORDS = [f"w{number:02d}" for number in range(40)]
NAMES, PLACES = WORDS[:6], WORDS[6:12]  # what is tagged, and what a text is about
QUICK = Plan(seconds=30, folds=3, repeats=1, seeds=1, epochs=8, threads=1, tuned_epochs=3, tuned_folds=1)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A random encoder with a piece for every word. Its features know which words a text has, and no more."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pieces = {piece: number for number, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    made = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    file = tmp_path_factory.mktemp("pieces") / "tokenizer.json"
    made.save(str(file))
    architecture = Architecture(
        "bert", layers=3, width=32, heads=4, inner=64, vocabulary=64, positions=40, eps=1e-12, types=2
    )
    card = Card("tiny", "text", "nothing", "none", architecture.parameters(), 1, {"pieces": 16})
    initial = _encoder.initial(architecture, 3)
    weights = {name: 10 * array if array.ndim > 1 else array for name, array in initial.items()}
    return text_backbone(
        architecture, Pieces(lambda: file, 16), lambda seed: weights, card=card, identity="tiny", pretrained=True
    )


def world(task: str, n: int = 160, exam: int = 60) -> tuple[Problem, Exam]:
    """Texts that say what they are about by the words of ``NAMES`` and ``PLACES`` in them."""
    draw = np.random.default_rng(5)
    sentences = [tuple(draw.choice(WORDS, size=draw.integers(3, 9))) for _ in range(n + exam)]
    sentences[2] = tuple(draw.choice(WORDS, size=40))  # longer than the encoder reads at once
    targets = np.empty(len(sentences), dtype=object)
    if task == "token_labels":
        targets[:] = [tags(words) for words in sentences]
        classes = ("O", "B-NAME", "I-NAME", "B-PLACE", "I-PLACE")
        made = registry.get("tasks", task)(classes)
    else:
        sums = np.array([sum(w in NAMES for w in words) - sum(w in PLACES for w in words) for words in sentences])
        if task == "regression":
            targets, made = sums.astype(float), registry.get("tasks", task)(target="sum").fitted(sums.astype(float))
        elif task == "multi_label":
            targets[:] = [
                tuple(k for k, of in (("name", NAMES[:2]), ("place", PLACES[:2])) if set(of) & set(w)) for w in sentences
            ]
            made = registry.get("tasks", task)(("name", "place"))
        else:
            targets[:] = ["more" if total > 0 else "less" for total in sums]
            made = registry.get("tasks", task)(("less", "more"))
    inputs = sentences if task == "token_labels" else [" ".join(words) for words in sentences]
    kind = registry.get("inputs", "text")()
    names = tuple(f"text {number}" for number in range(len(inputs)))
    items = Items("text", inputs, names, tuple(f"{kind.fingerprint(raw)}{i}" for i, raw in enumerate(inputs)), targets)
    return Problem(made, Examples(items, np.arange(n))), Exam(Examples(items, np.arange(n, n + exam)))


def tags(words):
    out = []
    for place, word in enumerate(words):
        kind = "NAME" if word in NAMES else "PLACE" if word in PLACES else ""
        goes_on = place and out[-1][2:] == kind
        out.append(f"{'I' if goes_on else 'B'}-{kind}" if kind else "O")
    return tuple(out)


def lens_for(strategy, encoder, unit):
    tap = feature_taps(encoder, unit)[-1].name
    full = Lens(((encoder, tap),), "layer1", FeatureStore())
    if strategy.starts_from == "untrained":
        return full.untrained(slim=True)
    return Lens() if strategy.starts_from == "nothing" else full


@pytest.mark.parametrize("task", ["classification", "multi_label", "regression", "token_labels"])
@pytest.mark.parametrize("name", registry.names("strategies"))
def test_laws_of_strategies_on_texts(name, task, encoder):
    strategy = registry.get("strategies", name)()
    problem, exam = world(task)
    if "classes" in strategy.needs and task != "classification":
        pytest.skip("needs one class an item")
    check_strategy(strategy, problem, exam, lens_for(strategy, encoder, problem.task.unit))


def test_laws_of_norms_that_move(encoder):
    """The toy network of the other laws has no norms."""
    strategy = strategy_named("norm_only")
    check_strategy(strategy, *world("classification"), lens_for(strategy, encoder, "item"))


def test_tuning_moves_only_what_lies_above_the_cut(encoder):
    problem, exam = world("token_labels", n=60)
    lens = lens_for(registry.get("strategies", "fine_tune")(), encoder, "word")
    recipe = Recipe(registry.get("strategies", "fine_tune")(epochs=2, average="last"), lens)
    predictor = recipe.fit(problem, plan=QUICK, seed=0)
    moved = {name.split(".")[3] for name in predictor.state()[1] if name.startswith("network.encoder")}
    assert moved == {"1", "2"}
    answers = predictor.predict(exam.examples)
    assert [len(tags) for tags in answers] == [len(words) for words in exam.examples.inputs]


def test_a_failed_trial_says_why_where_a_base_has_no_words():
    from headstart.testing import toy_backbone

    problem, _ = world("token_labels", n=40)
    lens = Lens(((toy_backbone(kind="text"), "stage3"),))
    trial = adapt(problem, Recipe(registry.get("strategies", "fine_tune")(), lens), plan=QUICK)
    assert trial.status == "failed"
    assert "has no row for each word" in trial.message


@pytest.mark.parametrize("task", ["classification", "token_labels"])
def test_the_story_on_texts(task, encoder, tmp_path):
    problem, exam = world(task)
    heard = []
    run = headstart.transfer(problem, exam=exam, backbones=[encoder], budget=30, out=tmp_path / "run", on_event=heard.append)
    assert run.verdict.ships in {arm.name for arm in run.evidence.arms}
    assert any("longer than the 14 word pieces" in event.message for event in heard)
    assert "<script" not in (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "on tiny scores" in run.verdict.sentence
    assert "without pre-training" in run.verdict.sentence
    again = headstart.Run.open(tmp_path / "run").predictor
    found = headstart.predict(again, exam.examples)
    assert len(found) == len(exam)
    assert _io.fingerprint(run.predictor) == _io.fingerprint(again)
