import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.alerts import Severity
from schemas.errors import ConfigurationError
from schemas.predictions import Classification, Prediction
from schemas.records import MessageRecord, NewsRecord
from schemas.taxonomy import (
    EMOTION,
    INTENT,
    SENTIMENT,
    TOPIC,
    Task,
    Taxonomy,
    load_taxonomy,
    own_task,
)
from stream.alerts import Match
from stream.rule_file import read_rules
from stream.rules import HEADLINE_CHARACTERS, RuleBook

TAXONOMY = load_taxonomy()
TASKS = {"sentiment": SENTIMENT, "topic": TOPIC, "intent": INTENT, "emotion": EMOTION}
REST = """
  severity: warning
  reason: because
"""


def news(**fields: Any) -> NewsRecord:
    given = {"id": "n1", "published_at": "2026-11-22T06:00:00Z", "headline": "Acme opens a shop"}
    return NewsRecord.model_validate({**given, "source": "newswire", **fields})


def message(**fields: Any) -> MessageRecord:
    given = {"id": "m1", "sent_at": "2026-11-22T06:00:00Z", "customer_id": "c1"}
    return MessageRecord.model_validate(
        {**given, "channel": "chat", "text": "Hello there", **fields}
    )


def classified(confidence: float = 0.8, **likeliest: str) -> Classification:
    """Answers by the document's field; the other labels share what the confidence leaves."""
    predictions = {}
    for field, label in likeliest.items():
        labels = TAXONOMY.tasks[TASKS[field]].labels
        rest = (1 - confidence) / (len(labels) - 1)
        shares = tuple(confidence if each == label else rest for each in labels)
        predictions[TASKS[field]] = Prediction(label, confidence, labels, shares)
    return Classification(predictions, truncated=False, tokens=5, model_version="v")


BAD = classified(sentiment="negative", topic="earnings")
GOOD = classified(sentiment="positive", topic="earnings")
THEFT = classified(intent="compromised_card", emotion="fear")
QUESTION = classified(intent="age_limit", emotion="neutral")


@pytest.fixture
def book(tmp_path: Path) -> Any:
    """Makes a rule book of the text of a file."""

    def load(text: str) -> RuleBook:
        file = tmp_path / "rules.yaml"
        file.write_text(text, encoding="utf-8")
        return RuleBook.load(file, TAXONOMY)

    return load


def news_rule(*lines: str, key: str = "event_id") -> str:
    inner = "".join(f"\n    {line}" for line in lines)
    when = f"when:{inner}" if lines else "when: {}"
    return f"- name: rule\n  kind: news\n  {when}\n  key: {key}{REST}"


def message_rule(*lines: str, key: str = "event_id") -> str:
    return news_rule(*lines, key=key).replace("kind: news", "kind: message")


def keys(matches: tuple[Match, ...]) -> list[str]:
    return [match.key for match in matches]


@pytest.mark.parametrize(
    ("condition", "fields", "answer", "risk", "fits"),
    [
        ("sentiment: negative", {}, BAD, 0.0, True),
        ("sentiment: negative", {}, GOOD, 0.0, False),
        ("sentiment: [negative, positive]", {}, GOOD, 0.0, True),
        ("sentiment: {labels: [negative], min_confidence: 0.8}", {}, BAD, 0.0, True),
        ("sentiment: {labels: [negative], min_confidence: 0.81}", {}, BAD, 0.0, False),
        ("sentiment: {labels: [negative], min_probability: 0.09}", {}, GOOD, 0.0, True),
        ("sentiment: {labels: [negative, neutral], min_probability: 0.3}", {}, GOOD, 0.0, False),
        ("topic: [dividend, earnings]", {}, BAD, 0.0, True),
        ("topic: dividend", {}, BAD, 0.0, False),
        ("min_risk: 0.5", {}, BAD, 0.5, True),
        ("min_risk: 0.5", {}, BAD, 0.49, False),
        ("symbols: [ACME, AJAX]", {"symbols": ["X", "AJAX"]}, BAD, 0.0, True),
        ("symbols: ACME", {"symbols": ["X"]}, BAD, 0.0, False),
        ("symbols: ACME", {}, BAD, 0.0, False),
        ("sources: newswire", {}, BAD, 0.0, True),
        ("sources: blog", {}, BAD, 0.0, False),
        ("words: [SHOP]", {}, BAD, 0.0, True),
        ("words: [opens a, none]", {}, BAD, 0.0, True),
        ("words: [pens]", {}, BAD, 0.0, False),
        ("words: [ends.]", {"headline": "It ends."}, BAD, 0.0, True),
        ("words: [STRASSE]", {"headline": "Die Straße"}, BAD, 0.0, True),
        ("words: [破产]", {"headline": "公司申请破产保护"}, BAD, 0.0, True),
        ("words: [hidden]", {"body": "Here it is hidden."}, BAD, 0.0, True),
        ("words: [legal action]", {"headline": "Le\u00adgal\u00a0action"}, BAD, 0.0, True),
        ("words: [legal action]", {"body": "<p>legal\n  <b>act</b>ion</p>"}, BAD, 0.0, True),
        ("words: [action]", {"body": "<style>.action {}</style>Hello"}, BAD, 0.0, False),
        ('words: ["le\\u00adgal\\u2019s"]', {"headline": "legal's"}, BAD, 0.0, True),
    ],
)
def test_conditions_on_news(
    book: Any, condition: str, fields: Any, answer: Classification, risk: float, fits: bool
) -> None:
    matches = book(news_rule(condition)).matches(news(**fields), answer, risk)
    assert keys(matches) == (["n1"] if fits else [])


@pytest.mark.parametrize(
    ("condition", "answer", "fits"),
    [
        ("intent: compromised_card", THEFT, True),
        ("intent: compromised_card", QUESTION, False),
        ("emotion: [fear, anger]", THEFT, True),
        ("sentiment: negative", THEFT, True),
        ("sentiment: negative", QUESTION, False),
        ("sentiment: {labels: [negative], min_confidence: 0.8}", THEFT, True),
        ("channels: [chat, email]", THEFT, True),
        ("channels: email", THEFT, False),
    ],
)
def test_conditions_on_messages(
    book: Any, condition: str, answer: Classification, fits: bool
) -> None:
    matches = book(message_rule(condition)).matches(message(), answer, 0.0)
    assert keys(matches) == (["m1"] if fits else [])


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        ("sentiment: negative", False),
        ("topic: {labels: [earnings], min_probability: 0.01}", False),
        ("min_risk: 0.5", False),
        ("words: [acme]", True),
        ("sources: newswire", True),
        ("symbols: ACME", True),
    ],
)
def test_answers_to_a_foreign_text_match_nothing(book: Any, condition: str, fits: bool) -> None:
    rules, record = book(news_rule(condition)), news(symbols=["ACME"])
    assert keys(rules.matches(record, BAD, 0.9)) == ["n1"]
    assert keys(rules.matches(record, BAD.doubted("de"), 0.9)) == (["n1"] if fits else [])


def test_all_conditions_must_be_true(book: Any) -> None:
    rules = book(news_rule("sentiment: negative", "min_risk: 0.5"))
    assert rules.matches(news(), BAD, 0.6)
    assert not rules.matches(news(), BAD, 0.4)
    assert not rules.matches(news(), GOOD, 0.6)


def test_a_rule_without_conditions_matches_every_event_of_its_kind(book: Any) -> None:
    rules = book(f"- name: all\n  kind: news\n  key: source{REST}")
    assert keys(rules.matches(news(), GOOD, 0.0)) == ["newswire"]
    assert rules.matches(message(), QUESTION, 0.0) == ()


def test_an_event_matches_under_each_of_its_symbols_once(book: Any) -> None:
    rules = book(news_rule(key="symbol"))
    assert keys(rules.matches(news(symbols=["B", "A", "B"]), BAD, 0.0)) == ["B", "A"]
    assert keys(rules.matches(news(), BAD, 0.0)) == []


def test_a_condition_on_symbols_limits_the_keys(book: Any) -> None:
    rules = book(news_rule("symbols: [A, C]", key="symbol"))
    assert keys(rules.matches(news(symbols=["A", "B", "C"]), BAD, 0.0)) == ["A", "C"]


@pytest.mark.parametrize(
    ("key", "expected"), [("event_id", "n1"), ("topic", "earnings"), ("source", "newswire")]
)
def test_keys_of_news(book: Any, key: str, expected: str) -> None:
    assert keys(book(news_rule(key=key)).matches(news(), BAD, 0.0)) == [expected]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("event_id", ["m1"]),
        ("customer_id", ["c1"]),
        ("intent", ["compromised_card"]),
        ("emotion", ["fear"]),
        ("channel", ["chat"]),
        ("conversation_id", []),
    ],
)
def test_keys_of_messages(book: Any, key: str, expected: list[str]) -> None:
    found = keys(book(message_rule(key=key)).matches(message(), THEFT, 0.0))
    assert found == expected
    assert all(type(each) is str for each in found)


def test_a_match_says_what_the_store_needs(book: Any) -> None:
    rules = book("""
- name: story
  kind: news
  key: symbol
  count: 3
  window: 15m
  cool_down: 2h
  severity: critical
  reason: "{count} on {symbol} within {window}: {sentiment}, {topic} ({topic_confidence}), {risk}"
""")
    (match,) = rules.matches(news(symbols=["ACME"]), BAD, 0.123)
    reason = ("", " on ACME within 15 minutes: negative, earnings (80%), 0.12")
    assert match == Match("story", "ACME", Severity.CRITICAL, reason, 3, 15 * 60_000, 2 * 3_600_000)


def test_cool_down_is_by_default_the_window_or_none(book: Any) -> None:
    windowed = news_rule(key="topic").replace("severity", "count: 2\n  window: 30s\n  severity")
    assert book(windowed).matches(news(), BAD, 0.0)[0].cool_down_ms == 30_000
    assert book(news_rule()).matches(news(), BAD, 0.0)[0].cool_down_ms == 0


def test_reasons_are_words(book: Any) -> None:
    text = message_rule(key="channel").replace("because", '"{channel}: {intent}, {key}"')
    (match,) = book(text).matches(message(), THEFT, 0.0)
    assert match.reason == ("chat: compromised card, chat",)


def test_a_headline_in_a_reason_is_one_line_of_bounded_length(book: Any) -> None:
    text = news_rule().replace("because", '"{headline}"')
    (match,) = book(text).matches(news(headline="a {risk}\n" + "b" * 500), BAD, 0.0)
    (reason,) = match.reason
    assert reason.startswith("a {risk} bbb")
    assert len(reason) == HEADLINE_CHARACTERS


@pytest.mark.parametrize(
    ("window", "words"), [("90s", "90 seconds"), ("60s", "1 minute"), ("24h", "1 day")]
)
def test_a_window_in_words(book: Any, window: str, words: str) -> None:
    text = news_rule(key="topic").replace("because", '"{window}"')
    text = text.replace("severity", f"count: 2\n  window: {window}\n  severity")
    assert book(text).matches(news(), BAD, 0.0)[0].reason == (words,)


@pytest.mark.parametrize(
    "headline", ["Acme {count} files", "{key} {{count}} {}", "\x01 {0}", "{", "{window} }{count"]
)
def test_a_headline_is_no_template(book: Any, headline: str) -> None:
    text = news_rule(key="topic").replace("because", '"{count} in {window}: {headline} {{count}}"')
    text = text.replace("severity", "count: 2\n  window: 1m\n  severity")
    (match,) = book(text).matches(news(headline=headline), BAD, 0.0)
    sight = headline.replace("\x01", "").strip()
    assert match.reason == ("", f" in 1 minute: {sight} {{count}}")


CROWD = [f"S{number}" for number in range(104)]


def crowd_rules(*keys: str) -> str:
    """A rule by each of the keys; one whose key begins with # counts."""
    rules = []
    for number, key in enumerate(keys):
        rule = news_rule(key=key.removeprefix("#")).replace("name: rule", f"name: r{number}")
        rule = rule.replace("because", '"on {key}"')
        if key.startswith("#"):
            rule = rule.replace("severity", "count: 2\n  window: 1m\n  severity")
        rules.append(rule)
    return "\n".join(rules)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (["symbol"], [("r0", "n1", "on 104 companies")]),
        (["symbol", "symbol"], [("r0", "n1", "on 104 companies")]),
        (["symbol", "event_id"], [("r1", "n1", "on n1")]),
        (["#symbol"], []),
        (["#symbol", "symbol"], [("r1", "n1", "on 104 companies")]),
        (
            ["symbol", "topic"],
            [("r1", "earnings", "on earnings"), ("r0", "n1", "on 104 companies")],
        ),
    ],
)
def test_an_event_of_many_symbols_is_news_about_none(
    book: Any, rules: list[str], expected: list[tuple[str, str, str]]
) -> None:
    found = book(crowd_rules(*rules)).matches(news(symbols=CROWD), BAD, 0.0)
    assert [(match.rule, match.key, "".join(match.reason)) for match in found] == expected


def test_the_severest_rule_stands_for_an_event_of_many_symbols(book: Any) -> None:
    first, second = crowd_rules("symbol", "symbol").split("\n- ")
    severe = f"{first.replace('warning', 'info')}\n- {second.replace('warning', 'critical')}"
    (match,) = book(severe).matches(news(symbols=CROWD), BAD, 0.0)
    assert match.severity is Severity.CRITICAL


def test_how_many_symbols_are_many_is_a_setting(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(news_rule(key="symbol"), encoding="utf-8")
    two, three = (RuleBook.load(file, TAXONOMY, most_symbols=number) for number in (2, 3))
    record = news(symbols=["A", "B", "C", "A"])
    assert keys(two.matches(record, BAD, 0.0)) == ["n1"]
    assert keys(three.matches(record, BAD, 0.0)) == ["A", "B", "C"]


def test_a_source_that_nobody_knows_is_called_so(book: Any) -> None:
    text = news_rule().replace("because", '"by {source}"')
    (match,) = book(text).matches(news(source=""), BAD, 0.0)
    assert match.reason == ("by no source",)
    assert book(news_rule(key="source")).matches(news(source=""), BAD, 0.0) == ()


def test_no_rules_are_allowed(book: Any) -> None:
    assert book("[]").matches(news(), BAD, 1.0) == ()


VALID = """\
- name: first
  kind: news
  when:
    topic: earnings
  key: symbol
  count: 3
  window: 10m
  severity: info
  reason: "{count} times"
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("topic: earnings", "topic: [earnings, weather]", 4, "'weather' is not a label of news"),
        ("topic: earnings", "intent: age_limit", 4, "'intent' is no condition on news"),
        ("topic: earnings", "topik: earnings", 4, "not a known name"),
        ("topic: earnings", "topic: {labels: []}", 4, "at least 1 item"),
        ("topic: earnings", "topic: 7", 4, "expected names with values"),
        ("topic: earnings", "min_risk: 1.5", 4, "less than or equal to 1"),
        ("topic: earnings", "words: ['']", 4, "at least 1 character"),
        ("topic: earnings", 'words: ["\\u200b"]', 4, "a word of which nothing is seen"),
        (
            "topic: earnings",
            "topic: {labels: [earnings], min_confidence: 0.5, min_probability: 0.5}",
            4,
            "give one of the two",
        ),
        ("key: symbol", "key: customer_id", 5, "'customer_id' is no key of news"),
        ("key: symbol", "key: event_id", 5, "a window needs another key"),
        ("count: 3", "count: 1", 6, "greater than or equal to 2"),
        ("  count: 3\n", "", 6, "a window needs a count"),
        ("  window: 10m\n", "", 6, "a count needs a window"),
        ("window: 10m", "window: 10", 7, "expected a duration such as"),
        ("window: 10m", "window: 10 minutes", 7, "expected a duration such as"),
        ("window: 10m", "window: 0s", 7, "longer than nothing"),
        ("window: 10m", "window: 8d", 7, "longer than 7d"),
        ("severity: info", "severity: high", 8, "'info', 'warning' or 'critical'"),
        ("{count} times", "{text}", 9, "'text' is no field of this reason"),
        ("{count} times", "{topic.upper}", 9, "no field of this reason"),
        ("{count} times", "{risk:.3f}", 9, "expected only {risk}"),
        ("{count} times", "{risk!r}", 9, "expected only {risk}"),
        ("{count} times", "{", 9, "a brace stands alone"),
        ("{count} times", "", 9, "empty text"),
        ("name: first", "name: First Rule", 1, "String should match pattern"),
        ("kind: news", "kind: tweet", 2, "'news' or 'message'"),
        ("  severity: info\n", "", 1, "severity: missing"),
    ],
)
def test_a_wrong_file_is_refused_with_line_and_reason(
    book: Any, old: str, new: str, line: int, said: str
) -> None:
    assert old in VALID
    with pytest.raises(ConfigurationError) as raised:
        book(VALID.replace(old, new))
    assert f"rules.yaml:{line}: " in str(raised.value)
    assert said in str(raised.value)


def test_the_second_rule_of_a_name_is_refused(book: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"rules\.yaml:10: .*given twice"):
        book(VALID + VALID)


def test_a_file_that_is_no_list_is_refused(book: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected a list"):
        book("rules: []")


def test_the_shipped_rules_fit_any_taxonomy() -> None:
    intents = Task(INTENT, TAXONOMY.tasks[INTENT].kind, ("praise", "other"))
    other = Taxonomy({**TAXONOMY.tasks, INTENT: intents}, TAXONOMY.emotion_sentiment)
    rules = RuleBook.load(None, other)
    answer = replace(
        QUESTION,
        predictions={
            INTENT: Prediction("other", 0.9, intents.labels, (0.1, 0.9)),
            EMOTION: classified(emotion="anger").predictions[EMOTION],
        },
    )
    matched = {match.rule for match in rules.matches(message(), answer, 0.9)}
    assert matched == {"upset-customer", "angry-channel"}


def test_own_tasks_do_not_stand_in_for_those_of_the_rules(tmp_path: Path) -> None:
    own = own_task("message.topic", ["a", "b"]), own_task("news.intent", ["a", "b"])
    taxonomy = TAXONOMY.with_task(own[0]).with_task(own[1])
    assert read_rules(None, taxonomy) == read_rules(None, TAXONOMY)
    path = tmp_path / "rules.yaml"
    path.write_text(
        f"- name: x\n  kind: news\n  key: event_id\n  when: {{topic: a}}{REST}", encoding="utf-8"
    )
    with pytest.raises(ConfigurationError, match=r"'a' is not a label of news\.topic"):
        read_rules(path, taxonomy)


def shipped(record: NewsRecord | MessageRecord, answer: Classification, risk: float) -> set[str]:
    matches = RuleBook.load(None, TAXONOMY).matches(record, answer, risk)
    return {match.rule for match in matches}


def test_the_shipped_rules_find_grave_news() -> None:
    found = shipped(news(symbols=["ACME"]), BAD, 0.9)
    assert {"severe-news", "company-bad-news", "developing-story"} <= found
    assert shipped(news(symbols=["ACME"]), GOOD, 0.0) == set()


def test_the_shipped_rules_find_a_customer_in_trouble() -> None:
    assert "fraud-or-loss" in shipped(message(), THEFT, 0.9)
    assert "complaint-escalates" in shipped(message(text="My LAWYER will call"), QUESTION, 0.1)
    assert shipped(message(), QUESTION, 0.1) == set()


def test_every_fraud_alert_is_for_one_message_at_once() -> None:
    matches = RuleBook.load(None, TAXONOMY).matches(message(), THEFT, 0.9)
    (fraud,) = [match for match in matches if match.rule == "fraud-or-loss"]
    assert (fraud.key, fraud.count, fraud.cool_down_ms) == ("m1", 1, 0)
    assert fraud.severity is Severity.CRITICAL


LEGAL_ACTION = (
    "legal action",
    "Legal\u00a0Action",
    "legal\u2009action",
    "le\u00adgal action",
    "leg\u200bal action",
    "legal\u2060 action",
    "legal \ufeffaction",
    "\uff4c\uff45\uff47\uff41\uff4c action",
    "LEGAL\r\nACTION",
    "legal\n\n  action",
    "legal&nbsp;action",
    "<b>legal</b> <i>act</i>ion",
    "small\u00a0claims",
    "my lawyer\u2019s letter",
    "l\u200baw\u00adyer",
)


@pytest.mark.parametrize("words", LEGAL_ACTION)
def test_the_law_is_heard_however_it_is_mailed(words: str) -> None:
    record = message(text=f"If nothing happens I will take {words}, believe me.")
    matches = RuleBook.load(None, TAXONOMY).matches(record, QUESTION, 0.0)
    assert "complaint-escalates" in {match.rule for match in matches}


@pytest.mark.parametrize(
    "text", ["<style>.lawyer {color: red}</style>Hello", "<!-- legal action -->Hi", "prolawyers"]
)
def test_what_nobody_sees_escalates_nothing(text: str) -> None:
    matches = RuleBook.load(None, TAXONOMY).matches(message(text=text), QUESTION, 0.0)
    assert "complaint-escalates" not in {match.rule for match in matches}


CHURN = own_task("message.churn", ["yes", "no"])
OWN = TAXONOMY.with_task(CHURN).with_task(own_task("news.esg", ["yes", "no"]))


def own_rules(tmp_path: Path, condition: str) -> RuleBook:
    file = tmp_path / "rules.yaml"
    file.write_text(message_rule(f"tasks: {condition}"), encoding="utf-8")
    return RuleBook.load(file, OWN)


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        ('{message.churn: "yes"}', True),
        ('{message.churn: "no"}', False),
        ('{message.churn: ["yes", "no"]}', True),
        ('{message.churn: {labels: ["yes"], min_confidence: 0.9}}', False),
        ('{message.churn: {labels: ["no"], min_probability: 0.2}}', True),
    ],
)
def test_a_rule_may_name_own_tasks(tmp_path: Path, condition: str, fits: bool) -> None:
    answer = Prediction("yes", 0.8, CHURN.labels, (0.8, 0.2))
    predictions = {**THEFT.predictions, CHURN.name: answer}
    classification = replace(THEFT, predictions=predictions)
    matches = own_rules(tmp_path, condition).matches(message(), classification, 0.0)
    assert keys(matches) == (["m1"] if fits else [])


def test_own_tasks_of_a_text_in_another_language_match_nothing(tmp_path: Path) -> None:
    answer = Prediction("yes", 0.8, CHURN.labels, (0.8, 0.2))
    predictions = {**THEFT.predictions, CHURN.name: answer}
    foreign = replace(THEFT, predictions=predictions).doubted("de")
    assert own_rules(tmp_path, '{message.churn: "yes"}').matches(message(), foreign, 0.0) == ()


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ('{message.churn: "perhaps"}', "4: [0].when.tasks.message.churn.labels: 'perhaps'"),
        (
            '{message.chrun: "yes"}',
            "is no task of your own on message; the model has message.churn",
        ),
        ('{news.esg: "yes"}', "is no task of your own on message"),
        ("{message.intent: age_limit}", "is no task of your own on message"),
        ("[yes]", "expected names with values"),
    ],
)
def test_an_own_task_that_is_not_there_is_refused(
    tmp_path: Path, condition: str, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        own_rules(tmp_path, condition)
