"""The report's two forms: what fits a terminal, and a page that needs nothing else."""

import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from models.data import Example, Split
from models.evaluation import Evaluator
from models.page import render_page
from models.report import figure, print_report
from models.results import Evaluation
from schemas.predictions import Classification
from schemas.taxonomy import COMPANY_SENTIMENT, EMOTION, INTENT, SENTIMENT, TOPIC, load_taxonomy
from tests.models.small_answers import Told

TASKS = load_taxonomy().tasks
BOTH = "Ant <positive> but Bee <negative>"
VOID = {"meta", "link", "img", "br", "hr", "input", "source"}


def examples() -> list[Example]:
    """Every fourth answer is the first label, and mostly wrong."""
    found = []
    for name, sources in {
        SENTIMENT: ["sentfin", "twitter_fin_sentiment"],
        TOPIC: ["twitter_fin_topic"],
        INTENT: ["banking77"],
        EMOTION: ["goemotions"],
    }.items():
        for number in range(60):
            label = TASKS[name].labels[number % len(TASKS[name].labels)]
            text = f"{number} {'word ' * number}" + (f"<{label}>" if number % 4 else "")
            source = sources[number % len(sources)]
            found.append(Example(text, label, name, source, Split.TEST))
    for source, label in (("oos", "other"), ("clinc", "other"), ("clinc_mapped", "change_pin")):
        found += [Example(f"{n} <other>", label, INTENT, source, Split.TEST) for n in range(9)]
    for label, span in (("positive", (0, 14)), ("negative", (19, len(BOTH)))):
        found.append(Example(BOTH, label, COMPANY_SENTIMENT, "sentfin", Split.TEST, span))
    return found


class Sure(Told):
    """The longer the text, the surer."""

    def classify(self, texts: Sequence[str], *args: object) -> list[Classification]:
        self._confidences = {text: 0.5 + min(99, len(text)) / 200 for text in texts}
        return super().classify(texts, *args)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    found = Evaluator(Sure()).of_sets(Path("sets"), list(TASKS.values()), examples(), True)
    return replace(found, trained_on_data=True)


@pytest.fixture(scope="module")
def page(evaluation: Evaluation) -> str:
    return render_page(evaluation)


def printed(evaluation: Evaluation, width: int = 100) -> str:
    out = io.StringIO()
    print_report(Console(file=out, width=width), evaluation)
    return out.getvalue()


# On a terminal


def test_the_main_table_is_readable_at_100_columns(evaluation: Evaluation) -> None:
    lines = printed(evaluation).splitlines()
    end = next(number for number, line in enumerate(lines) if line.startswith("Ranges are"))
    table = "\n".join(lines[:end])
    assert "Model told on 269 texts that it never saw, of sets" in table
    for row in (
        r"news\.sentiment of a company\s*\n  sentfin +2  1\.000 1\.00–1\.00",
        r"  sentfin +30  0\.\d{3} \.\d{3}–\.\d{3} ",
        r"  clinc +9  1\.000 1\.00–1\.00 +–  0\.\d{3} \(0\.\d{3}\) +–",
        r"customers' messages\s*\n  message\.intent +300 ",
    ):
        assert re.search(row, table), table
    assert "…" not in table
    assert max(map(len, lines)) <= 100


def test_details_follow(evaluation: Evaluation) -> None:
    said = printed(evaluation)
    for words in (
        "── news.topic ─",
        "true \\ predicted  negative  neutral  positive",
        "frequent confusions",
        "hardest of 78 labels",
        "slices, all sets",
        "length: up to 12 tokens",
        "accuracy on the surest share of texts",
        "AUROC of P(other), 9 questions about anything against 60 of an intent:",
        "100.0% of 9 questions of CLINC that mean one of the intents got `other`",
        "of texts whose companies differ      2           1.000",
        "cases that failed",
        "how far names move the score",
    ):
        assert words in said


def test_an_interval_stands_beside_its_figure() -> None:
    assert figure(0.7861, (0.757, 0.8149)) == "0.786 .757–.815"
    assert figure(1, (0.9996, 1)) == "1.000 1.00–1.00"
    assert figure(0, (0, 0)) == "0.000 .000–.000"


def test_doubts_are_told(evaluation: Evaluation) -> None:
    assert "it may have seen some" not in printed(evaluation)
    unsure = replace(evaluation, trained_on_data=False, tasks=evaluation.tasks[:1])
    assert "it may have seen some" in printed(unsure)
    assert "that it never saw" not in printed(unsure)
    assert "it may have seen some" in render_page(unsure)


def test_agreement_of_labels_that_never_differ_is_no_agreement(evaluation: Evaluation) -> None:
    one = replace(evaluation.messages[0], agreement=0.9, kappa=0.85)
    differing = replace(evaluation, tasks=evaluation.tasks[:1], messages=(one,))
    assert "90.0%  0.850" in printed(differing)
    assert "the agreement says nothing" not in " ".join(printed(differing).split())
    same = replace(differing, messages=(replace(one, agreement=1.0, kappa=1.0),))
    assert "the agreement says nothing" in " ".join(printed(same).split())
    assert "the agreement says nothing" in render_page(same)


def test_a_file_s_report_is_of_one_set(evaluation: Evaluation) -> None:
    task = replace(evaluation.tasks[2], sets=evaluation.tasks[2].sets[:1])
    alone = replace(evaluation, tasks=(task,), messages=(), robustness=None, trained_on_data=None)
    said = printed(alone)
    assert "all sets" not in said
    assert "robustness" not in said
    assert "customers" not in said
    assert "<h2>Robustness" not in render_page(alone)


# As a page


class Page(HTMLParser):
    """What a page is made of, and whether every element ends where it should."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_is_whole(page: str) -> None:
    found = Page(page)
    assert found.open == []
    assert page.startswith("<!doctype html>")
    # Four plots a task, and one of robustness.
    assert found.tags["svg"] == 4 * 5 + 1
    assert found.tags["figure"] == found.tags["svg"]
    words = " ".join(" ".join(found.words).split())
    for expected in ("news.sentiment of a company", "AUROC of P(other)", "kappa", "typos"):
        assert expected in words


def test_the_page_needs_nothing_from_outside(page: str) -> None:
    found = Page(page)
    assert not found.tags.keys() & {"script", "link", "img", "iframe", "object", "embed", "base"}
    for _, name, value in found.attributes:
        assert not name.startswith("on")
        assert "//" not in value
        if name.endswith("href") or name == "src":
            assert value.startswith("#")
    styles = page[page.index("<style>") : page.index("</style>")]
    assert "@import" not in page
    assert "url(" not in styles
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def test_every_id_is_there_once_and_every_reference_has_one(page: str) -> None:
    found = Page(page)
    ids = Counter(value for _, name, value in found.attributes if name == "id")
    assert [name for name, count in ids.items() if count > 1] == []
    targets = {value[1:] for _, name, value in found.attributes if name == "href"}
    targets |= {target[1:] for target in re.findall(r"url\(([^)]*)\)", page)}
    assert targets <= ids.keys()


def test_words_of_data_are_escaped(evaluation: Evaluation) -> None:
    harm = '<script>alert("1")</script> & $x$ --'
    result = evaluation.tasks[0]
    odd = replace(
        result,
        labels=(harm, *result.labels[1:]),
        whole=replace(result.whole, source=harm, classes={harm: result.whole.classes["neutral"]}),
        sets=tuple(replace(each, source=harm) for each in result.sets),
        slices=tuple(replace(each, name=harm) for each in result.slices),
    )
    page = render_page(replace(evaluation, tasks=(odd,), data=harm, model_version=harm))
    assert "<script" not in page
    assert Page(page).open == []
    assert page.count("&lt;script&gt;alert(") > 8


def test_the_same_report_is_the_same_page(evaluation: Evaluation, page: str) -> None:
    assert render_page(evaluation) == page
