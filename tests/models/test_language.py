"""Which texts are told to be in a language that the model does not know."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

import models.language
from models.language import LanguageWatch
from models.probes import PROBE_TEXTS
from models.tokenizer import Tokens
from tests.models.texts import varied_texts

CHECKS = Path(models.language.__file__).with_name("checks")
READ = Tokens(ids=[0] * 12, truncated=False)
UNREAD = Tokens(ids=[0] * 12, truncated=False, unknown=6)
CHINESE_WRITTEN = {"zh", "ja"}


def lines(name: str) -> Iterator[dict[str, str]]:
    for line in (CHECKS / name).read_bytes().splitlines():
        yield orjson.loads(line)


@pytest.fixture(scope="module")
def watch() -> LanguageWatch:
    return LanguageWatch(["en"])


def told(watch: LanguageWatch) -> dict[str, list[str | None]]:
    """What is told of the foreign sentences, by language; of their letters and words alone."""
    found = defaultdict(list)
    for line in lines("languages.jsonl"):
        found[line["language"]].append(watch.foreign(line["text"], READ))
    return found


def test_foreign_sentences_are_told(watch: LanguageWatch) -> None:
    found = told(watch)
    assert len(found) == 11
    for language, answers in found.items():
        assert len(answers) >= 20
        assert sum(answer is not None for answer in answers) >= 0.95 * len(answers), language
        assert answers.count(language) >= 0.9 * len(answers), language


def test_english_sentences_are_not(watch: LanguageWatch) -> None:
    texts = [text for group in PROBE_TEXTS.values() for text in group]
    texts += [line["text"] for line in lines("customer_messages.jsonl")]
    assert [text for text in texts if watch.foreign(text, READ)] == []


def test_names_in_english_are_hardly_ever_mistaken(watch: LanguageWatch) -> None:
    # One template leaves a company's Chinese name alone, and that is Chinese.
    texts = [text for text in varied_texts(1000) if text != "北方电力"]
    assert sum(watch.foreign(text, READ) is not None for text in texts) < 0.005 * len(texts)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "$TSLA 🚀🚀🚀 +12%",
        "https://example.com/nachrichten/aktien-im-plus",
        "@deutschebank @commerzbank",
        "Wirecard",
        "Société Générale",
        "β 1.2",
        "Deutsche Telekom to buy Magyar Telekom",
        "Alibaba (阿里巴巴) shares rise after earnings",
        "The café, the naïve résumé",
        "Crédit Agricole posts record profit",
        "OMV Aktiengesellschaft reports Q4 results",
        "Petroleo Brasileiro cuts fuel prices",
    ],
)
def test_names_links_and_numbers_are_no_language(watch: LanguageWatch, text: str) -> None:
    assert watch.foreign(text, READ) is None


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("RT @desk: $SAP.DE hebt die Prognose deutlich an https://t.co/x1 &amp; steigt", "de"),
        ("阿里巴巴Q3营收不及预期", "zh"),
        ("ตลาดหุ้นไทยปิดบวก", "th"),
        ("코스피 하락 마감", "ko"),
        ("הבורסה ננעלה בירידות", "he"),
        ("ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ", "und"),
    ],
)
def test_posts_and_other_scripts(watch: LanguageWatch, text: str, language: str) -> None:
    assert watch.foreign(text, READ) == language


def test_tokens_in_no_vocabulary_count_where_letters_are_not_latin(watch: LanguageWatch) -> None:
    mixed = "Fed Powell Nasdaq earnings 加息公告"
    assert watch.foreign(mixed, READ) is None
    assert watch.foreign(mixed, UNREAD) == "zh"
    assert watch.foreign("moon🚀 lambo🚀 hodl💎", UNREAD) is None
    # A bundle that says Chinese, with a vocabulary that has no Chinese.
    assert LanguageWatch(["zh"]).foreign("央行宣布下调利率", UNREAD) == "und"


@pytest.mark.parametrize(
    ("text", "stated", "language"),
    [
        ("Wirecard", "de", "de"),
        ("Wirecard", "pt-BR", "pt"),
        ("Wirecard", "zh_Hant", "zh"),
        ("Shares of the company fall", "DE", "de"),
        ("Aktien der Bank fallen wieder deutlich", "en-GB", None),
        ("Aktien der Bank fallen wieder deutlich", "english", "de"),
        ("Aktien der Bank fallen wieder deutlich", "und", "de"),
        ("Aktien der Bank fallen wieder deutlich", "us", "de"),
        ("央行宣布下调利率", "en", "zh"),
    ],
)
def test_what_the_record_says(
    watch: LanguageWatch, text: str, stated: str, language: str | None
) -> None:
    """A valid code is trusted more than the identifier, and letters more than the code."""
    assert watch.foreign(text, READ, stated) == language


def test_a_chinese_model_knows_chinese() -> None:
    found = told(LanguageWatch(["zh"]))
    assert found.pop("zh") == [None] * 24
    for language, answers in found.items():
        # A Japanese headline of Chinese characters alone may be either.
        least = 0.9 if language not in CHINESE_WRITTEN else 0.6
        assert sum(answer is not None for answer in answers) >= least * len(answers), language
    assert LanguageWatch(["zh"]).foreign("Apple Inc. AAPL", READ) is None


def test_a_model_may_know_several_languages() -> None:
    both = LanguageWatch(["en", "de", "ja"])
    found = told(both)
    assert found["de"] == [None] * 24
    assert found["ja"] == [None] * 24
    assert sum(answer == "fr" for answer in found["fr"]) >= 20


def test_a_language_that_the_identifier_does_not_know_is_told_by_letters_alone() -> None:
    filipino = LanguageWatch(["fil"])
    assert filipino.foreign("Tumaas ang presyo ng langis ngayong linggo", READ) is None
    assert filipino.foreign("Нефть дорожает пятую неделю", READ) == "ru"
