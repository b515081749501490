"""Attributions go to the right words, sum to what they explain, and are shown."""

import json
import math
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.style import Style

from models.bundle import Bundle
from models.calibration import softmax
from models.classifier import Classifier
from models.engine import Request
from models.explanation import Explainer, Explanation, Question, Word, explain, label_logits
from models.torch_engine import TorchEngine
from schemas.errors import BundleError, ConfigurationError
from schemas.records import Kind
from schemas.taxonomy import COMPANY_SENTIMENT, EMOTION, INTENT, SENTIMENT, TOPIC, load_taxonomy
from stream import cli
from stream.display import coloured
from tests.models.small_bundle import write_bundle
from tests.models.small_encoder import write_word_encoder

POST = "@JohnDoe don't buy $ANT, it's -1,200.5% (see https://t.co/x1) 涨跌 Ant&Co's √ 😡"


@pytest.fixture(scope="module")
def encoder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One to which only the words that come often in the data are words."""
    words = Counter(word for row in rows(data) for word in row["text"].lower().split())
    often = sorted(word for word, count in words.items() if count >= 10)
    return write_word_encoder(tmp_path_factory.mktemp("encoders") / "words", often)


@pytest.fixture(scope="module")
def folder(data: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles"), data, encoder)


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return Bundle.open(folder, load_taxonomy())


@pytest.fixture(scope="module")
def explainer(bundle: Bundle, encoder: Path) -> Explainer:
    return Explainer(bundle, load_taxonomy(), encoder)


def rows(data: Path, name: str = "*") -> list[dict[str, str]]:
    return [
        json.loads(line)
        for file in sorted(data.glob(f"{name}.jsonl"))
        for line in file.read_text().splitlines()
    ]


def assert_complete(explanation: Explanation) -> None:
    """What is explained is the logit of the confidence, and all of it is."""
    given = sum(word.attribution for word in explanation.words)
    difference = explanation.output - explanation.baseline
    assert given == pytest.approx(difference, abs=0.01 * max(1, abs(difference)))
    assert explanation.completeness_error == pytest.approx(abs(given - difference), abs=1e-9)
    assert explanation.is_complete
    probability = 1 / (1 + math.exp(-explanation.output))
    assert probability == pytest.approx(explanation.confidence, abs=1e-4)


@pytest.mark.parametrize(
    ("task", "name"),
    [
        (SENTIMENT, "twitter_fin_sentiment"),
        (INTENT, "banking77"),
        pytest.param(TOPIC, "twitter_fin_topic", marks=pytest.mark.long),
        pytest.param(EMOTION, "goemotions", marks=pytest.mark.long),
    ],
)
def test_the_words_that_decide_have_the_largest_attributions(
    explainer: Explainer, data: Path, task: str, name: str
) -> None:
    for row in rows(data, name)[::23]:
        explanation = explainer.answer(Question(row["text"], task))
        assert_complete(explanation)
        assert explanation.label == row["label"]
        deciding = {*row["label"].lower().split("_"), *(row["label"][:4] * 2).lower().split()}
        assert explanation.strongest(1)[0].word.lower() in deciding
        assert explanation.strongest(1)[0].attribution > 0


def test_words_are_found_where_they_stand(explainer: Explainer) -> None:
    explanation = explainer.answer(Question(POST, SENTIMENT))
    assert_complete(explanation)
    assert [word.word for word in explanation.words] == [
        "@JohnDoe", "don't", "buy", "$", "ANT", ",", "it's", "-", "1,200.5", "%", "(", "see",
        "https://t.co/x1)", "涨", "跌", "Ant&Co's", "√", "😡",
    ]  # fmt: skip
    for word in explanation.words:
        assert POST[word.start : word.end] == word.word


def test_links_mentions_and_unknown_words_have_nothing(explainer: Explainer) -> None:
    explanation = explainer.answer(Question(POST, SENTIMENT))
    silent = {word.word for word in explanation.words if word.attribution == 0}
    assert {"@JohnDoe", "https://t.co/x1)", "√", "😡"} <= silent
    assert "Ant&Co's" not in silent


def test_words_beyond_the_window_have_nothing(explainer: Explainer) -> None:
    explanation = explainer.answer(Question("fear anger " * 100, EMOTION))
    assert_complete(explanation)
    assert len(explanation.words) == 200
    seen = [number for number, word in enumerate(explanation.words) if word.attribution]
    assert seen == list(range(62))  # of 64 tokens two are special


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_explained(explainer: Explainer, text: str) -> None:
    explanation = explainer.answer(Question(text, TOPIC))
    assert_complete(explanation)
    end = 0
    for word in explanation.words:
        assert text[end : word.start].strip() == ""
        assert text[word.start : word.end] == word.word != ""
        end = word.end
    assert text[end:].strip() == ""


def test_a_company_has_an_explanation_of_its_own(
    explainer: Explainer, bundle: Bundle, folder: Path, encoder: Path
) -> None:
    text = "Ant positive posiposi but Bee negative neganega"
    start = text.index("Bee")
    span = (start, start + 3)
    output = TorchEngine(bundle, "cpu", encoder).run([Request(text, (), (span,))])
    probabilities = softmax(output.values[COMPANY_SENTIMENT])[0]
    (of_bee,) = explain(text, bundle=folder, encoder=encoder, task=SENTIMENT, entity="bee")
    assert_complete(of_bee)
    assert of_bee.confidence == pytest.approx(float(probabilities.max()), abs=1e-5)
    of_text = explainer.answer(Question(text, SENTIMENT))
    assert [w.attribution for w in of_bee.words] != [w.attribution for w in of_text.words]


def test_another_label_is_explained_too(explainer: Explainer) -> None:
    text = "today anger angeange week"
    anger = explainer.answer(Question(text, EMOTION))
    joy = explainer.answer(Question(text, EMOTION, "joy"))
    assert_complete(joy)
    assert (anger.label, joy.label) == ("anger", "joy")
    assert joy.confidence < 0.5 < anger.confidence
    assert joy.output < 0 < anger.output


def test_without_a_task_every_task_of_the_kind_is_explained(folder: Path, encoder: Path) -> None:
    for kind, tasks in (
        (None, [SENTIMENT, TOPIC]),
        (Kind.NEWS, [SENTIMENT, TOPIC]),
        (Kind.MESSAGE, [INTENT, EMOTION]),
    ):
        found = explain("the dog is late", bundle=folder, encoder=encoder, kind=kind)
        assert [explanation.task for explanation in found] == tasks
    (only,) = explain("the dog", bundle=folder, encoder=encoder, label="positive")
    assert (only.task, only.label) == (SENTIMENT, "positive")


def test_wrong_requests_are_told_before_the_work(tmp_path: Path) -> None:
    known = load_taxonomy()
    for words, request in (
        ("no task 'news.mood'", {"task": "news.mood"}),
        ("no label 'boredom'.*news.sentiment: negative, neutral", {"label": "boredom"}),
        ("does not name 'Cat'", {"entity": "Cat"}),
        ("for news.sentiment only", {"entity": "Ant", "task": TOPIC}),
        ("is for news, not for message", {"task": TOPIC, "kind": Kind.MESSAGE}),
    ):
        with pytest.raises(ConfigurationError, match=words):
            explain("Ant gains", bundle=tmp_path, taxonomy=known, **request)  # type: ignore[arg-type]


def test_another_encoder_is_refused(folder: Path, tmp_path: Path) -> None:
    other = write_word_encoder(tmp_path / "other", ["profit"])
    with pytest.raises(BundleError, match="not on other"):
        explain("Ant gains", bundle=folder, encoder=other)


def test_the_logit_of_a_probability() -> None:
    logits = torch.tensor([[1.0, 2.0, -1.0], [0.0, 0.0, 0.0]])
    probabilities = logits.softmax(1)[:, 1]
    expected = torch.log(probabilities / (1 - probabilities))
    torch.testing.assert_close(label_logits(logits, 1), expected)


def test_colours_say_for_and_against() -> None:
    text = "up\n down \x1b flat"
    words = [("up", 0, 2, 2.0), ("down", 4, 8, -1.0), ("\x1b", 9, 10, 0.01), ("flat", 11, 15, 0.0)]
    explanation = Explanation(text, TOPIC, "x", 0.5, tuple(Word(*word) for word in words), 1, 0)
    shown = coloured(explanation)
    assert shown.plain == "up\\n down \\x1b flat"
    green, red, *others = [span.style for span in shown.spans]
    assert isinstance(green, Style)
    assert isinstance(red, Style)
    assert green.bgcolor is not None
    assert red.bgcolor is not None
    assert green.bgcolor.triplet == (0, 170, 0)
    assert red.bgcolor.triplet == (110, 0, 0)
    assert not any(others)


def test_a_sum_that_is_wrong_is_told() -> None:
    words = (Word("up", 0, 2, 3.0), Word("now", 3, 6, -1.0))
    right = Explanation("up now", TOPIC, "x", 0.5, words, output=1.0, baseline=-1.01)
    assert right.completeness_error == pytest.approx(0.01)
    assert right.is_complete
    assert not replace(right, baseline=-1.1).is_complete


# The command line

Said = tuple[int, str, str]
Bellwether = Callable[..., Said]


@pytest.fixture
def bellwether(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    folder: Path,
    encoder: Path,
) -> Bellwether:
    """`bellwether explain` with the small bundle: its exit code and what it said."""
    monkeypatch.setenv("BELLWETHER_HOME", str(tmp_path))
    monkeypatch.setenv("BELLWETHER_MODEL", str(folder))

    def run(*arguments: str) -> Said:
        command = ["bellwether", "explain", *arguments, "--encoder", str(encoder)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def test_json_is_a_line_a_task(bellwether: Bellwether) -> None:
    code, out, err = bellwether("Ant positive 涨", "--json")
    assert (code, err) == (0, "")
    sentiment, topic = map(json.loads, out.splitlines())
    assert list(sentiment) == [
        "text", "task", "label", "confidence", "words", "completeness_error",
    ]  # fmt: skip
    assert (sentiment["text"], sentiment["task"]) == ("Ant positive 涨", SENTIMENT)
    assert sentiment["label"] == "positive"
    assert 0 < sentiment["confidence"] <= 1
    assert [list(word) for word in sentiment["words"]] == [
        ["word", "start", "end", "attribution"]
    ] * 3
    assert [(word["word"], word["start"]) for word in sentiment["words"]] == [
        ("Ant", 0), ("positive", 4), ("涨", 13),
    ]  # fmt: skip
    assert 0 <= sentiment["completeness_error"] < 1
    assert topic["task"] == TOPIC


def test_the_screen_shows_the_strongest_words(bellwether: Bellwether) -> None:
    code, out, err = bellwether("today fear fearfear [bold]", "--task", EMOTION)
    assert (code, err) == (0, "")
    answer, text, header, first, *_ = out.splitlines()
    assert answer.startswith("message.emotion: fear (")
    assert text == "today fear fearfear [bold]"
    assert header.split() == ["word", "attribution"]
    assert first.split()[0] in {"fear", "fearfear"}
    assert "; error " in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("Ant gains", "--label", "boredom"),
        ("Ant gains", "--task", "news.weather"),
        ("Ant gains", "--task", TOPIC, "--kind", "message"),
        ("Ant gains", "--entity", "Cat"),
        ("Ant gains", "--kind", "letters"),
        (" ",),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(bellwether: Bellwether, arguments: tuple[str, ...]) -> None:
    code, out, err = bellwether(*arguments)
    assert (code, out) == (2, "")
    assert err
    assert "Traceback" not in err


@pytest.mark.parametrize("package", ["torch", "captum.attr"])
def test_what_only_an_extra_installs_is_asked_for(
    bellwether: Bellwether, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.delitem(sys.modules, "models.explanation")
    monkeypatch.setitem(sys.modules, package, None)
    code, out, err = bellwether("Ant gains")
    assert (code, out) == (1, "")
    assert err.startswith(f"bellwether: this needs the package {package}")
    assert "`make install-all`" in err
    assert err.count("\n") == 1


SERVED = (
    (Kind.NEWS, "DOJ drops antitrust case against Visa"),
    (Kind.NEWS, "Acme files for bankruptcy"),
    (Kind.NEWS, "Profit rises 20 % as sales beat forecasts"),
    (Kind.MESSAGE, "My card has not arrived yet"),
    (Kind.MESSAGE, "Someone emptied my account overnight, I need help right now"),
)


@pytest.mark.parametrize("early_exit", [True, False])
def test_the_answer_that_is_served_is_explained(early_exit: bool) -> None:
    classifier = Classifier.load(early_exit=early_exit)
    left_early = False
    for kind, text in SERVED:
        (served,) = classifier.classify([text], [kind])
        stages = classifier.stages(text, kind)
        left_early |= min(stages.values()) < 3
        for explanation in explain(text, kind=kind, early_exit=early_exit):
            answer = served.predictions[explanation.task]
            assert (explanation.label, explanation.confidence) == (answer.label, answer.confidence)
            assert explanation.is_complete
            floating = 1 / (1 + math.exp(-explanation.output))
            assert floating == pytest.approx(answer.confidence, abs=0.15)
    assert left_early is early_exit


def test_a_doubted_answer_is_explained_as_served() -> None:
    text = "Die Aktien der Bank fallen nach der Gewinnwarnung deutlich"
    (served,) = Classifier.load().classify([text], [Kind.NEWS])
    (explanation,) = explain(text, task=SENTIMENT)
    assert explanation.confidence == served.predictions[SENTIMENT].confidence <= 0.5


def test_another_label_has_the_probability_that_is_served() -> None:
    text = SERVED[0][1]
    (served,) = Classifier.load().classify([text], [Kind.NEWS])
    (explanation,) = explain(text, task=SENTIMENT, label="positive")
    assert explanation.confidence == served.predictions[SENTIMENT].probability("positive")
