"""A tag for every word of a sentence: names of people and places, parts of speech."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart import _cutting, registry
from headstart.errors import ProblemError

if TYPE_CHECKING:
    from headstart.features import Features
    from headstart.problem import Examples
    from headstart.strategy import Predictor
    from headstart.tasks import Task

METRICS = ("span_f1", "macro_span_f1", "accuracy")
WEIGHTS = (0.0, 0.25, 0.5, 1.0)  # of the transitions, tried by ``tuned``
CONFUSED = 12  # up to so many types the outcomes also count what was answered for what: T × (T + 1) more columns
SMOOTHING = 1.0  # how many words of the marginal are added to what follows a tag
CELLS = 2**21  # numbers in flight while decoding

_PLACED = re.compile(r"O|[BIES](-.+)?", re.DOTALL)  # a tag that says where in a span its word stands
_INSIDE, _LAST = "IE", "ES"


@dataclass(frozen=True)
class TokenLabels:
    """Sequence labelling. ``classes`` are tags; a target is a tuple of tags, one a word.

    ``metric`` is ``span_f1`` (F1 over whole entities, all types together: seqeval's ``f1_score``), ``macro_span_f1`` (mean
    over types; *prefer it when* rare types matter as much) or ``accuracy`` (of words; every word is then a span of its
    own). Left empty it follows from the tags: ``span_f1`` for B-, I-, E-, S- and O, else ``accuracy``.

    ``decode`` finds the best *valid* sequence (Viterbi): no I-X or E-X but after B-X or I-X, where the tags know B-X.
    ``transitions`` (previous tag or, last, the start; next tag) hold log P(tag | previous) − log P(tag), learned by
    ``fitted``. They count ``weight`` times; ``tuned`` chooses it, 0 where out-of-fold scores do not gain.

    Outcomes are the true positives, false positives and false negatives of every type, (n, 3 × types); up to 12 types then
    (types, types) counts of missed spans by the type that was answered over them (on the diagonal: with other borders),
    and of answered spans that touch nothing, by type. No score reads what follows the first part.
    """

    classes: tuple[str, ...]
    metric: str = ""
    transitions: tuple[tuple[float, ...], ...] = ()
    weight: float = 0.0

    name: ClassVar[str] = "token_labels"
    link: ClassVar[str] = "softmax"
    unit: ClassVar[str] = "word"

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes):
            raise ProblemError("Two tags have the same name. Give every tag a name of its own.")
        if not self.metric:
            object.__setattr__(self, "metric", "span_f1" if self.placed else "accuracy")
        if self.metric not in METRICS:
            raise ProblemError(f"'{self.metric}' is no metric of token_labels. Use one of {', '.join(METRICS)}.")
        if self.metric != "accuracy" and not self.placed:
            odd = next((tag for tag in self.classes if not _PLACED.fullmatch(tag)), "O")
            raise ProblemError(
                f"Tag '{odd:.60}' says nothing about spans, which '{self.metric}' counts; tags like B-PER, I-PER and O would. "
                "Use accuracy."
            )
        if self.transitions and {len(row) for row in self.transitions} | {len(self.transitions) - 1} != {self.width}:
            raise ProblemError(f"The transitions do not fit {self.width} tags. `fitted` learns them from training targets.")

    @cached_property
    def placed(self) -> bool:
        """Whether the tags say where spans begin and go on."""
        return all(_PLACED.fullmatch(tag) for tag in self.classes) and any(tag[0] in "BI" for tag in self.classes)

    @cached_property
    def types(self) -> tuple[str, ...]:
        """What a span can be of: the types behind B- and I-; for ``accuracy`` the tags themselves."""
        if self.metric == "accuracy":
            return self.classes
        return tuple(dict.fromkeys(_type(tag) for tag in self.classes if tag != "O"))

    @property
    def width(self) -> int:
        return len(self.classes)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.classes

    @property
    def unitwise(self) -> Task:
        # Scored by plain accuracy: macro F1 would follow the few words of the rarest tag, and jump with each of them.
        made: Task = registry.get("tasks", "classification")(self.classes)
        return made

    def fitted(self, targets: np.ndarray) -> TokenLabels:
        tags, lengths = self.encode(targets), _lengths(targets)
        counts = np.zeros((self.width + 1, self.width))
        np.add.at(counts, (_previous(tags, lengths, self.width), tags), 1)
        share = (counts.sum(axis=0) + 0.5) / (counts.sum() + 0.5 * self.width)
        follows = (counts + SMOOTHING * share) / (counts.sum(axis=1, keepdims=True) + SMOOTHING)
        return replace(self, transitions=tuple(map(tuple, np.log(follows / share).round(6).tolist())))

    def tuned(self, scores: Features, targets: np.ndarray) -> TokenLabels:
        if not self.transitions or not len(scores):
            return self

        def reached(weight: float) -> float:
            answers = replace(self, weight=weight).decode(scores.rows, scores.offsets)
            return self.score(self.outcomes(targets, answers))

        return replace(self, weight=max(WEIGHTS, key=reached))  # the first of equals: the weakest

    def encode(self, targets: np.ndarray) -> np.ndarray:
        index = {name: number for number, name in enumerate(self.classes)}
        try:
            return np.array([index[tag] for tags in targets for tag in tags], dtype=np.int64)
        except KeyError as error:
            raise ProblemError(
                f"Tag {error.args[0]!r} is not one of the {self.width} tags that the training data has. "
                "Add training sentences with it, or remove it from the other parts."
            ) from None

    def columns(self, targets: np.ndarray) -> np.ndarray:
        return np.eye(self.width)[self.encode(targets)]

    def raw(self, columns: np.ndarray) -> np.ndarray:
        return columns

    def item_weights(self, targets: np.ndarray) -> np.ndarray | None:
        return None

    def loss(self, scores: Any, encoded: Any) -> Any:
        from torch.nn.functional import cross_entropy

        return cross_entropy(scores, encoded, reduction="none")

    def losses(self, scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
        encoded = self.encode(targets)
        return -_log_softmax(scores)[np.arange(len(scores)), encoded]

    def decode(self, scores: np.ndarray, offsets: np.ndarray | None = None) -> np.ndarray:
        offsets = np.arange(len(scores) + 1) if offsets is None else np.asarray(offsets)
        steps = self._steps()
        best = viterbi(_log_softmax(scores), offsets, steps) if steps.any() else scores.argmax(axis=1)
        words = np.array(self.classes, dtype=object)[best].tolist()
        answers = np.empty(len(offsets) - 1, dtype=object)
        answers[:] = [tuple(words[start:stop]) for start, stop in pairwise(offsets)]
        return answers

    def proba(self, scores: np.ndarray) -> np.ndarray:
        return np.exp(_log_softmax(scores))

    def spans(self, tags: Iterable[str]) -> list[tuple[str, int, int]]:
        """(type, first word, word after the last) of every span of one sentence; of tags that know none, of every word."""
        if self.placed and self.metric == "accuracy":
            return replace(self, metric="span_f1").spans(tags)
        column = np.empty(1, dtype=object)
        column[0] = tuple(tags)
        return [(self.types[of], int(start), int(stop)) for start, stop, of in self._spans(column).T]

    def outcomes(self, targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        lengths = _lengths(targets)
        if (uneven := np.flatnonzero(lengths != _lengths(predictions))).size:
            at = int(uneven[0])
            raise ProblemError(
                f"Sentence {at + 1} has {lengths[at]} words and {len(predictions[at])} answered tags; one a word is needed."
            )
        truth, answer, T = self._spans(targets), self._spans(predictions), len(self.types)
        met, meets = _touching(truth, answer), _touching(answer, truth)
        same = (met >= 0) & (truth == answer[:, met]).all(axis=0) if answer.size else np.zeros(truth.shape[1], dtype=bool)
        right = np.zeros(answer.shape[1], dtype=bool)
        right[met[same]] = True
        columns = [(truth, same, truth[2]), (answer, ~right, T + answer[2]), (truth, ~same, 2 * T + truth[2])]
        if T <= CONFUSED:
            over = ~same & (met >= 0)
            pair = 3 * T + truth[2] * T + (answer[2][met] if answer.size else 0)
            columns += [(truth, over, pair), (answer, meets < 0, 3 * T + T * T + answer[2])]
        width = 3 * T + (T * (T + 1) if T <= CONFUSED else 0)
        sentence = np.repeat(np.arange(len(targets)), lengths)
        flat = np.concatenate([sentence[spans[0, keep]] * width + column[keep] for spans, keep, column in columns])
        return np.bincount(flat, minlength=len(targets) * width).reshape(len(targets), width).astype(np.float64)

    def score(self, outcomes: np.ndarray, weights: np.ndarray | None = None) -> float:
        weight = np.ones(len(outcomes)) if weights is None else np.asarray(weights, dtype=float)
        hit, false, missed = self._counts(outcomes, weight)
        if self.metric != "macro_span_f1":
            hit, false, missed = (part.sum(keepdims=True) for part in (hit, false, missed))
        whole = 2 * hit + false + missed
        present = whole > 0
        if not present.any():
            return 0.0 if weight.sum() else float("nan")  # no entity asked for or answered: 0, as seqeval has it
        return float((2 * hit[present] / whole[present]).mean())

    def by_type(
        self, outcomes: np.ndarray, weights: np.ndarray | None = None
    ) -> list[tuple[str, float, float, float, float]]:
        """(type, spans in the truth, precision, recall, F1) of every type; NaN where there is nothing to divide by."""
        weight = np.ones(len(outcomes)) if weights is None else np.asarray(weights, dtype=float)
        hit, false, missed = self._counts(outcomes, weight)
        with np.errstate(invalid="ignore"):
            shares = [hit / (hit + false), hit / (hit + missed), 2 * hit / (2 * hit + false + missed)]
        return [(name, *map(float, row)) for name, *row in zip(self.types, hit + missed, *shares, strict=True)]

    def confusion(self, outcomes: np.ndarray) -> np.ndarray | None:
        """Spans (types + 1, types + 2): rows the true type, last none; columns the answered type, then *other borders*, then
        *missed*. None for more than 12 types."""
        T = len(self.types)
        if T > CONFUSED:
            return None
        hit, _, missed = self._counts(outcomes, np.ones(len(outcomes)))
        rest = outcomes.sum(axis=0)[3 * T :]
        over = rest[: T * T].reshape(T, T)
        table = np.zeros((T + 1, T + 2))
        table[:T, :T] = over - np.diag(np.diag(over)) + np.diag(hit)
        table[:T, T], table[:T, T + 1] = np.diag(over), missed - over.sum(axis=1)
        table[T, :T] = rest[T * T :]
        return table

    def strata(self, outcomes: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]] | None:
        return None  # a ratio of sums, the accuracy of words too: sentences differ in length

    def rows(self, features: Features, examples: Examples) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Every word. Words outside of entities are not thinned: that would change how common they are, which a head has to
        learn, and leaving out whole sentences is exact and costs the same."""
        counts = np.diff(features.offsets)
        if (uneven := np.flatnonzero(counts != _lengths(examples.targets))).size:
            at = int(uneven[0])
            raise ProblemError(
                f"'{examples.names[at]:.60}' has {len(examples.targets[at])} tags and {counts[at]} words that were read; "
                "one tag a word is needed. Correct the tags."
            )
        flat = np.array([tag for tags in examples.targets for tag in tags], dtype=object)
        return features.rows.astype(np.float64, copy=False), flat, np.repeat(examples.blocks, counts)

    def split(self, examples: Examples, *, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        return _cutting.split(self._rarest(examples, least=2), examples.blocks, fraction=fraction, seed=seed)

    def folds(self, examples: Examples, *, k: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return _cutting.pairs(_cutting.folds(self._rarest(examples, least=k), examples.blocks, k=k, seed=seed))

    def shrink(self, examples: Examples, amount: int, *, seed: int) -> np.ndarray:
        """Indices of ``amount`` labelled sentences, drawn at random as the field does; with their whole documents."""
        return _cutting.shrink(np.zeros(len(examples)), examples.blocks, amount=amount, seed=seed)

    def amount(self, examples: Examples) -> int:
        """Labelled sentences."""
        return len(examples)

    def shots(self, examples: Examples) -> int | None:
        return None

    def resample(self, blocks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return _cutting.resample(blocks, rng)

    def sit(self, predictor: Predictor, examples: Examples) -> np.ndarray:
        return self.outcomes(examples.targets, predictor.predict(examples))

    def check(self, examples: Examples) -> None:
        # A tag may be on few words or none (I-X of a type whose names are all short): the others still teach its type.
        encoded = self.encode(examples.targets)
        for name, words, tags in zip(examples.names, examples.inputs, examples.targets, strict=True):
            if isinstance(words, tuple) and len(words) != len(tags):
                raise ProblemError(f"'{name:.60}' has {len(words)} words and {len(tags)} tags. Give every word one tag.")
        if len(examples) < 4:
            raise ProblemError(f"{len(examples)} training sentences; at least 4 are needed. Add sentences.")
        present = np.unique(encoded)
        if len(present) < 2:
            only = f"only the tag '{self.classes[present[0]]:.60}'" if len(present) else "no tag"
            raise ProblemError(f"The training data has {only}; at least 2 are needed. Add sentences with other tags.")
        tagged = len(np.unique(np.repeat(np.arange(len(examples)), _lengths(examples.targets))[self._kinds()[encoded] >= 0]))
        if tagged < 2:
            raise ProblemError(
                f"{tagged} training sentence has an entity; at least 2 are needed, so that one can be learned from while the "
                "other checks. Add sentences with entities."
            )

    def spec(self) -> dict[str, Any]:
        fields = {"classes": list(self.classes), "metric": self.metric, "weight": self.weight}
        return {"task": self.name, **fields, "transitions": [list(row) for row in self.transitions]}

    def _steps(self) -> np.ndarray:
        """What a step costs, (tags + 1, tags): from each tag, last from the start of a sentence. −inf: not valid."""
        steps = np.zeros((self.width + 1, self.width))
        if self.weight and self.transitions:
            steps = self.weight * np.array(self.transitions)
        for column, tag in enumerate(self.classes if self.placed else ()):
            if tag[0] in _INSIDE and (tag[0] == "E" or f"B{tag[1:]}" in self.classes):
                before = [f"B{tag[1:]}", f"I{tag[1:]}"]
                allowed = [name in before for name in self.classes]
                if any(allowed):
                    steps[~np.array([*allowed, False]), column] = -np.inf
        return steps

    def _kinds(self) -> np.ndarray:
        """The number of each tag's type; −1 for words outside of spans."""
        if self.metric == "accuracy":
            return np.array([-1 if tag == "O" and self.placed else at for at, tag in enumerate(self.classes)])
        return np.array([-1 if tag == "O" else self.types.index(_type(tag)) for tag in self.classes])

    def _spans(self, targets: np.ndarray) -> np.ndarray:
        """Spans of all sentences as (first word, word after the last, type) × spans, words counted through: what seqeval and
        the CoNLL script read out of any tags, valid or not."""
        tags, lengths = self.encode(targets), _lengths(targets)
        if self.metric == "accuracy":
            return np.stack([np.arange(len(tags)), np.arange(1, len(tags) + 1), tags])
        if not len(tags):
            return np.zeros((3, 0), dtype=np.int64)
        kind, place = self._kinds()[tags], np.array([tag[0] for tag in self.classes])[tags]
        first = np.zeros(len(tags), dtype=bool)
        first[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
        broken = np.concatenate([[True], (kind[1:] != kind[:-1]) | np.isin(place[:-1], list(_LAST))]) | first
        begins = np.flatnonzero((kind >= 0) & (broken | np.isin(place, ["B", "S"])))
        # A span goes on to the next word that begins another one or stands outside.
        stops = np.flatnonzero(np.concatenate([(kind < 0) | broken | np.isin(place, ["B", "S"]), [True]]))
        return np.stack([begins, stops[np.searchsorted(stops, begins, side="right")], kind[begins]])

    def _counts(self, outcomes: np.ndarray, weight: np.ndarray) -> np.ndarray:
        T = len(self.types)
        counts: np.ndarray = (weight @ outcomes[:, : 3 * T]).reshape(3, T)
        return counts

    def _rarest(self, examples: Examples, *, least: int) -> np.ndarray:
        """Each sentence's rarest type, −1 for none: strata that spread rare types first. Those of fewer than ``least``
        blocks are one stratum, or they would lower the number of folds."""
        kinds, lengths = self._kinds()[self.encode(examples.targets)], _lengths(examples.targets)
        table = np.zeros((len(examples), len(self.types) + 1), dtype=bool)
        table[np.repeat(np.arange(len(examples)), lengths), kinds] = True  # the last column: outside
        table = table[:, :-1]
        strata = np.where(table.any(axis=1), np.where(table, table.sum(axis=0), np.inf).argmin(axis=1), -1)
        blocks = examples.blocks.astype(str)
        sizes = {value: len(np.unique(blocks[strata == value])) for value in np.unique(strata)}
        strata = np.where(np.isin(strata, [value for value, size in sizes.items() if size < least]), -1, strata)
        if len(np.unique(blocks[strata == -1])) < least:
            strata[strata == -1] = max(sizes, key=lambda value: sizes[value])
        return strata


def viterbi(scores: np.ndarray, offsets: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The best sequence of tags for every sentence, (words,): the highest sum of ``scores`` (words, K) and of ``steps``
    (K + 1, K) between neighbours, the last row from the start.

    Sentences go side by side, the longest first, so that those still running are the first rows.
    """
    lengths, best = np.diff(offsets), np.zeros(len(scores), dtype=np.int64)
    order, K = np.argsort(-lengths, kind="stable"), scores.shape[1]
    order = order[lengths[order] > 0]
    at_once = max(1, min(512, CELLS // (K * K)))
    between = np.ascontiguousarray(steps[:-1].T)  # (next, previous): the maximum runs along the last axis
    for part in (order[i : i + at_once] for i in range(0, len(order), at_once)):
        starts, sizes = offsets[part], lengths[part]
        back = np.zeros((sizes[0], len(part), K), dtype=np.int16)
        total = scores[starts] + steps[-1]
        for step in range(1, sizes[0]):
            running = int(np.searchsorted(-sizes, -step))  # sentences longer than ``step``
            paths = total[:running, None, :] + between
            came = paths.argmax(axis=2)
            back[step, :running] = came
            reached = np.take_along_axis(paths, came[:, :, None], axis=2)[:, :, 0]
            total[:running] = reached + scores[starts[:running] + step]
        tag = total.argmax(axis=1)
        for step in range(sizes[0] - 1, -1, -1):
            running = int(np.searchsorted(-sizes, -step))
            best[starts[:running] + step] = tag[:running]
            tag[:running] = back[step, np.arange(running), tag[:running]]
    return best


def _type(tag: str) -> str:
    return tag[2:] or "_"


def _lengths(targets: np.ndarray) -> np.ndarray:
    return np.fromiter((len(tags) for tags in targets), dtype=np.int64, count=len(targets))


def _previous(tags: np.ndarray, lengths: np.ndarray, start: int) -> np.ndarray:
    """The tag before each word, ``start`` before the first of a sentence."""
    before = np.concatenate([[start], tags[:-1]])[: len(tags)]
    before[(np.cumsum(lengths) - lengths)[lengths > 0]] = start
    return before


def _touching(spans: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each span the first of ``others`` that shares a word with it; −1 for none. Both are in order."""
    if not others.size:
        return np.full(spans.shape[1], -1)
    at = np.searchsorted(others[1], spans[0], side="right")
    there = np.minimum(at, others.shape[1] - 1)
    return np.where((at < others.shape[1]) & (others[0, there] < spans[1]), there, -1)


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores - scores.max(axis=1, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
