"""Sentences with tags: the mistakes that are shown, and the answers that are written."""

import csv
import io
import json
from dataclasses import dataclass
from html.parser import HTMLParser

import numpy as np
import pytest

from headstart.errors import ProblemError
from headstart.features import Features, Lens
from headstart.problem import Exam, Examples, Items
from headstart.report import _page
from headstart.stages import _tagged
from headstart.stages.mistakes import mistakes
from headstart.stages.predict import predict
from headstart.strategies.chance import Chance
from headstart.strategy import Predictor
from headstart.tasks.token_labels import TokenLabels

BIO = ("O", "B-ORG", "I-ORG", "B-PER", "I-PER")
SENTENCES = (
    ("The", "European", "Union", "met", "Smith"),
    ("Smith", "was", "=1+1"),
    ("Rain", "&", "<b>wind</b>"),
)
TRUTH = (("O", "B-ORG", "I-ORG", "O", "B-PER"), ("B-PER", "O", "O"), ("O", "O", "O"))
SAID = (("O", "B-ORG", "O", "O", "O"), ("B-ORG", "O", "O"), ("O", "O", "B-PER"))


@dataclass(frozen=True)
class Says:
    """A scorer that answers what it is told, item by item, and how surely."""

    rows: dict

    def scores(self, examples, lens):
        rows = [self.rows[name] for name in examples.names]
        return Features(np.concatenate(rows), np.concatenate([[0], np.cumsum([len(one) for one in rows])]))


def examples_of(sentences=SENTENCES, truth=TRUTH):
    targets = np.empty(len(truth), dtype=object)
    for row, tags in enumerate(truth):
        targets[row] = tags
    names = tuple(f"test:{i + 1}" for i in range(len(sentences)))
    return Examples.of(Items("text", list(sentences), names, names, targets))


def saying(answers, tags=BIO, *, sure=(3.0, 5.0, 4.0)):
    task = TokenLabels(tags)
    rows = {f"test:{i + 1}": sure[i % 3] * np.eye(len(tags))[task.encode([one])] for i, one in enumerate(answers)}
    return Predictor(task, Lens(), Chance(), Says(rows))


def test_mistakes_are_the_spans_that_differ_the_surest_first():
    found = mistakes(saying(SAID), Exam(examples_of()))
    assert [(one.name, one.answer, one.truth) for one in found] == [
        ("test:2", "ORG: Smith", "PER: Smith"),
        ("test:3", "PER: <b>wind</b>", "none"),
        ("test:1", "ORG: European", "ORG: European Union; PER: Smith"),
    ]
    assert [one.confidence for one in found] == sorted((one.confidence for one in found), reverse=True)
    assert found[0].confidence == pytest.approx(np.exp(5) / (np.exp(5) + 4))
    assert mistakes(saying(TRUTH), Exam(examples_of())) == ()
    assert len(mistakes(saying(SAID), Exam(examples_of()), most=2)) == 2


def test_a_shown_sentence_names_what_is_wrong_and_survives_the_report():
    by_name = {one.name: _page.picture(one.html) for one in mistakes(saying(SAID), Exam(examples_of()))}
    assert '<mark class="wrong">Smith <small>ORG, is PER</small></mark>' in by_name["test:2"]
    assert '<mark class="false">&lt;b&gt;wind&lt;/b&gt; <small>false: PER</small></mark>' in by_name["test:3"]
    first = by_name["test:1"]
    assert '<mark class="missed">Smith <small>missed: PER</small></mark>' in first
    assert "European Union <small>ORG, other borders</small>" in first
    assert '<p class="tagged" dir="auto">' in first


def test_plain_tags_show_only_the_words_that_are_wrong():
    tags = ("NOUN", "VERB")
    exam = Exam(examples_of([("time", "flies", "fast")], [("NOUN", "VERB", "NOUN")]))
    (found,) = mistakes(saying([("NOUN", "NOUN", "NOUN")], tags), exam)
    assert (found.answer, found.truth) == ("NOUN: flies", "VERB: flies")
    assert found.html.count("<mark") == 1
    assert "NOUN, is VERB" in found.html


def test_of_a_long_sentence_the_words_around_the_mistake_are_shown():
    words = tuple(f"w{i}" for i in range(2000))
    truth, answer = [("PER", 5, 6), ("PER", 1000, 1002)], [("PER", 5, 6)]
    shown = _tagged.shown(words, _tagged.places(truth, answer), "long", right=True)
    assert "w988 w989" in shown
    assert "w1013 …" in shown
    assert "w5 " not in shown
    assert len(shown) < 1000
    everywhere = _tagged.places([("PER", i, i + 1) for i in range(0, 2000, 2)], [])
    assert len(_tagged.shown(words, everywhere, "long", right=True)) < 20_000


def test_overlapping_spans_are_one_place():
    found = _tagged.places([("A", 0, 2), ("A", 3, 5)], [("A", 1, 4), ("B", 6, 7)])
    assert [(one.start, one.stop, one.verdict) for one in found] == [(0, 5, "wrong"), (6, 7, "false")]


class _Open(HTMLParser):
    def handle_starttag(self, tag, attrs):
        assert tag in ("figure", "p", "mark", "small", "figcaption")


def test_nothing_that_a_word_says_becomes_markup():
    words = ("<script>x</script>", "\ud800", '"&', "y" * 500)
    shown = _tagged.shown(words, _tagged.places([('<i>"', 0, 4)], []), "<name>", right=True)
    _Open().feed(shown)
    shown.encode()
    assert "y" * 100 not in shown


def test_a_table_of_answers_has_a_row_a_word():
    answers = predict(saying(SAID), examples_of())
    rows = list(csv.reader(io.StringIO(answers.csv())))
    assert rows[0] == ["name", "word_number", "word", "prediction", "confidence"]
    assert len(rows) == 1 + 5 + 3 + 3
    assert rows[2][:4] == ["test:1", "2", "European", "B-ORG"]
    assert rows[8][2] == "'=1+1"  # a spreadsheet must not run it
    assert list(csv.reader(io.StringIO(answers.csv(raw=True))))[8][2] == "=1+1"
    with_proba = list(csv.reader(io.StringIO(answers.csv(proba=True))))
    assert with_proba[0][5:] == [f"p({tag})" for tag in BIO]
    assert sum(map(float, with_proba[1][5:])) == pytest.approx(1, abs=1e-5)
    assert len(answers) == 3


def test_lines_of_answers_have_a_sentence_each():
    lines = [json.loads(line) for line in predict(saying(TRUTH), examples_of()).jsonl().splitlines()]
    assert [line["name"] for line in lines] == ["test:1", "test:2", "test:3"]
    assert lines[0]["words"] == list(SENTENCES[0])
    assert lines[0]["tags"] == list(TRUTH[0])
    assert lines[0]["spans"] == [
        {"type": "ORG", "start": 1, "end": 3, "text": "European Union"},
        {"type": "PER", "start": 4, "end": 5, "text": "Smith"},
    ]
    assert len(lines[0]["confidence"]) == 5
    assert lines[2]["spans"] == []
    (line,) = predict(
        saying([("NOUN", "VERB", "NOUN")], ("NOUN", "VERB")), examples_of([("a", "b", "c")], [("NOUN",) * 3])
    ).records(proba=True)
    assert line["spans"] == []
    assert len(line["probabilities"]) == 3


def test_texts_that_are_not_split_into_words_are_refused():
    with pytest.raises(ProblemError, match="'test:1' is one text; token_labels answers for words"):
        predict(saying(SAID), examples_of(["Smith was here"], [("O",)]))
    assert len(predict(saying(SAID), examples_of([], []))) == 0
