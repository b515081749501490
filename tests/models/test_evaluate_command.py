"""`bellwether evaluate` on a small bundle, from the command line."""

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from models.training import train
from stream import cli, display

Bellwether = Callable[..., "Ended"]
RECIPE = "exits: [1]\npooled_layers: 1\n"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def bundle(data: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    recipe = folder / "small.yaml"
    recipe.write_text(RECIPE)
    train(data, folder / "small", recipe=str(recipe), encoder=encoder, report=lambda _: None)
    return folder / "small"


@pytest.fixture
def evaluate(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    bundle: Path,
) -> Bellwether:
    monkeypatch.setenv("BELLWETHER_HOME", str(tmp_path))

    def run(*arguments: object) -> Ended:
        words = ["bellwether", "evaluate", "--bundle", bundle, "--threads", 1, *arguments]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        else:
            code = 0
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    return run


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    file = tmp_path / "ours.jsonl"
    rows = [
        {"text": "Ant gains, Bee slumps", "entity": "Ant", "label": "positive", "source": "wire"},
        {"text": "Ant gains, Bee slumps", "entity": "Bee", "label": "negative"},
        {"text": "$CAT flat", "label": "neutral"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_the_whole_report(evaluate: Bellwether, data: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    ended = evaluate("--data", data, "--html", page)
    assert (ended.code, ended.err) == (0, "")
    for words in (
        "texts that it never saw", "news.sentiment of a company", "twitter_fin_sentiment",
        "clinc_mapped", "AUROC of P(other)", "robustness and fairness",
    ):  # fmt: skip
        assert words in ended.out
    assert page.read_text().startswith("<!doctype html>")


def test_as_json_it_has_everything(evaluate: Bellwether, data: Path) -> None:
    ended = evaluate("--data", data, "--json", "--no-baseline", "--task", "message.intent")
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)
    (intent,) = found["tasks"]
    assert {each["source"] for each in intent["sets"]} == {
        "banking77", "clinc", "clinc_mapped", "oos",
    }  # fmt: skip
    assert intent["sets"][0]["baseline_accuracy"] is None
    assert len(intent["whole"]["confusion"]) == len(intent["labels"]) == 78
    assert [each["task"] for each in found["messages"]] == ["message.intent"]
    assert found["trained_on_data"] is True


def test_word_ngrams_stand_beside_it(evaluate: Bellwether, data: Path) -> None:
    ended = evaluate("--data", data, "--json", "--task", "news.topic")
    (topic,) = json.loads(ended.out)["tasks"]
    assert topic["sets"][0]["baseline_accuracy"] > 0.8


def test_other_data_may_have_been_seen(evaluate: Bellwether, data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in data.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    with (other / "goemotions.jsonl").open("a") as extra:
        extra.write('{"text": "meh", "label": "neutral"}\n')
    ended = evaluate("--data", other, "--no-baseline", "--task", "news.topic")
    assert ended.code == 0
    assert "it may have seen some of these texts" in ended.out


def test_a_file_of_ones_own(evaluate: Bellwether, ours: Path) -> None:
    ended = evaluate("--data", ours, "--task", "news.sentiment", "--json")
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)
    (result,) = found["tasks"]
    assert (result["task"], result["whole"]["texts"]) == ("news.sentiment", 3)
    assert [each["source"] for each in result["sets"]] == ["ours.jsonl"]
    assert result["company"]["differing"]["texts"] == 2
    assert {each["name"] for each in result["slices"]} >= {"wire", "ours.jsonl", "post", "prose"}
    assert (found["messages"], found["robustness"], found["trained_on_data"]) == ([], None, None)


def test_wrong_usage_ends_with_2(evaluate: Bellwether, data: Path, ours: Path) -> None:
    ended = evaluate("--data", data, "--task", "news.mood")
    assert ended.code == 2
    assert "There is no task 'news.mood'. The tasks are news.sentiment," in ended.err
    ended = evaluate("--data", ours)
    assert ended.code == 2
    assert "Say with --task which task the labels of" in ended.err
    for page, why in ((data / "no" / "x.html", "no folder"), ("/", "/ is a folder")):
        ended = evaluate("--data", ours, "--task", "news.sentiment", "--html", page)
        assert ended.code == 2
        assert why in ended.err


def test_what_is_wrong_with_data_ends_with_1(
    evaluate: Bellwether, ours: Path, tmp_path: Path
) -> None:
    ended = evaluate("--data", tmp_path / "nowhere")
    assert (ended.code, ended.out) == (1, "")
    assert "There is no folder or file" in ended.err
    ours.write_text(ours.read_text() + '{"text": "up", "label": "good"}\n')
    ended = evaluate("--data", ours, "--task", "news.sentiment")
    assert (ended.code, ended.out) == (1, "")
    assert "ours.jsonl, line 4: 'good' is none of news.sentiment's labels" in ended.err


def test_a_page_that_cannot_be_written_is_told(evaluate: Bellwether, ours: Path) -> None:
    ended = evaluate("--data", ours, "--task", "news.sentiment", "--html", "/proc/x.html")
    assert ended.code == 1
    assert "Cannot write /proc/x.html" in ended.err


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_for_terminals(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=terminal, width=80)
    monkeypatch.setattr(display, "screen", lambda **_: console)
    with display.step_progress() as tell:
        tell("news.topic", 5, 10)
    assert ("news.topic" in shown.getvalue()) is terminal
    assert ("50%" in shown.getvalue()) is terminal
