"""The samples against what `expected.json` says of them, without servers.

The end-to-end demonstration checks the same on real ones; here a wrong count or a rule that was
renamed is found in seconds.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models.classifier import Classifier
from schemas.decoding import Decoded, decode
from schemas.errors import RecordRejected
from schemas.predictions import Classification
from schemas.records import Kind, MessageRecord, Record
from schemas.sources import Source, load_sources
from schemas.taxonomy import TOPIC, load_taxonomy
from stream.alerts import Match
from stream.parcels import Packer, Parcel
from stream.risk import RiskModel
from stream.rules import RuleBook

SAMPLES = Path(__file__).parents[2] / "ops" / "samples"
EXPECTED = json.loads((SAMPLES / "expected.json").read_text(encoding="utf-8"))
ENDED = datetime(2025, 11, 3, 16, tzinfo=UTC)
OLD = timedelta(hours=1)
TAXONOMY = load_taxonomy()


@dataclass(frozen=True, slots=True)
class Samples:
    """Every valid line's record in the order of the file, and how many lines have which reason."""

    records: Sequence[Record]
    reasons: Counter[str]

    @property
    def distinct(self) -> dict[str, Record]:
        return {record.id: record for record in self.records}


def parcels(source: Source) -> Iterable[Parcel]:
    packer = Packer(source, fields={}, values={}, fill=False)
    for line in (SAMPLES / f"{source.topic}.jsonl").read_bytes().splitlines():
        yield packer.pack(line, ENDED)


def decoded(parcel: Parcel, source: Source) -> Decoded | str:
    try:
        return decode(parcel.value, source, ENDED)
    except RecordRejected as rejected:
        return rejected.reason


def read(source: Source) -> Samples:
    found = [decoded(parcel, source) for parcel in parcels(source)]
    return Samples(
        [each.record for each in found if isinstance(each, Decoded)],
        Counter(each for each in found if isinstance(each, str)),
    )


def named(each: dict[str, str]) -> str:
    return f"{each.get('rule', 'any rule')}: {each['event']}"


@pytest.fixture(scope="module")
def samples() -> dict[str, Samples]:
    return {source.topic: read(source) for source in load_sources()}


@pytest.fixture(scope="module")
def records(samples: dict[str, Samples]) -> dict[str, Record]:
    """Of both kinds, by id, which no two kinds share."""
    return {key: each for kind in samples.values() for key, each in kind.distinct.items()}


@pytest.fixture(scope="module")
def answers(records: dict[str, Record]) -> dict[str, Classification]:
    texts = [record.text for record in records.values()]
    kinds = [record.kind for record in records.values()]
    return dict(zip(records, Classifier.load().classify(texts, kinds), strict=True))


@pytest.fixture(scope="module")
def behind(
    records: dict[str, Record], answers: dict[str, Classification]
) -> dict[str, frozenset[str]]:
    """Which events are behind alerts, by rule: a window counts where it is full."""
    risk, rules = RiskModel.load(None, TAXONOMY), RuleBook.load(None, TAXONOMY)
    groups: dict[tuple[str, str], list[tuple[Record, Match]]] = defaultdict(list)
    for key, record in records.items():
        if record.event_time < ENDED - OLD:
            continue
        for match in rules.matches(record, answers[key], risk.score(record, answers[key])):
            groups[match.rule, match.key].append((record, match))
    found: dict[str, set[str]] = defaultdict(set)
    for (rule, _), matched in groups.items():
        found[rule] |= in_full_windows(matched)
    return {rule: frozenset(events) for rule, events in found.items()}


def in_full_windows(matched: Sequence[tuple[Record, Match]]) -> set[str]:
    events: set[str] = set()
    for last, match in matched:
        ended = last.event_time
        began = ended - timedelta(milliseconds=match.window_ms)
        within = [each.id for each, _ in matched if began < each.event_time <= ended] or [last.id]
        if len(within) >= match.count:
            events |= {*within}
    return events


def test_documents_and_dead_letters_are_counted_right(samples: dict[str, Samples]) -> None:
    counts = {topic: len(each.distinct) for topic, each in samples.items()}
    reasons = sum((each.reasons for each in samples.values()), Counter[str]())
    assert counts == EXPECTED["documents"]
    assert reasons == EXPECTED["dead_letters"]


def test_there_are_exact_duplicates_and_no_other_shared_ids(samples: dict[str, Samples]) -> None:
    for each in samples.values():
        times = Counter(record.id for record in each.records)
        assert max(times.values()) > 1
        assert all(record == each.distinct[record.id] for record in each.records)


def test_lines_stand_in_the_order_of_their_arrival(samples: dict[str, Samples]) -> None:
    for each in samples.values():
        times = [record.event_time for record in each.distinct.values()]
        assert times == sorted(times)
        assert times[-1] == ENDED


def test_every_topic_is_covered(records: dict[str, Record]) -> None:
    assert list(EXPECTED["topics"]) == list(TAXONOMY.tasks[TOPIC].labels)
    assert all(records[event].kind is Kind.NEWS for event in EXPECTED["topics"].values())


def test_the_model_finds_most_topics_and_many_intents(
    answers: dict[str, Classification],
) -> None:
    likeliest = Counter(
        (task, prediction.label)
        for answer in answers.values()
        for task, prediction in answer.predictions.items()
    )
    assert sum(task == "news.topic" for task, _ in likeliest) >= 18
    assert sum(task == "message.intent" for task, _ in likeliest) >= 50


def test_messages_come_from_many_customers_on_every_channel(records: dict[str, Record]) -> None:
    messages = [record for record in records.values() if isinstance(record, MessageRecord)]
    assert len({message.customer_id for message in messages}) >= 60
    assert {message.channel for message in messages} >= {"email", "chat", "phone", "social", "app"}
    assert sum(message.conversation_id is not None for message in messages) >= 20


def test_expected_names_known_events_and_rules(records: dict[str, Record]) -> None:
    text = (SAMPLES.parents[1] / "stream" / "rules.yaml").read_text(encoding="utf-8")
    for each in [*EXPECTED["alerts"]["must"], *EXPECTED["alerts"]["must_not"]]:
        assert each["event"] in records
        assert "rule" not in each or f"- name: {each['rule']}\n" in text


def test_old_events_are_as_grave_as_those_that_alert(records: dict[str, Record]) -> None:
    old = [record for key, record in records.items() if "-old-" in key]
    assert len(old) == 4
    assert all(record.event_time <= ENDED - timedelta(minutes=70) for record in old)


@pytest.mark.parametrize("each", EXPECTED["alerts"]["must"], ids=named)
def test_events_that_must_be_behind_an_alert(
    behind: dict[str, frozenset[str]], each: dict[str, str]
) -> None:
    assert each["event"] in behind[each["rule"]]


@pytest.mark.parametrize("each", EXPECTED["alerts"]["must_not"], ids=named)
def test_events_that_must_not_be_behind_an_alert(
    behind: dict[str, frozenset[str]], each: dict[str, str]
) -> None:
    rules = [rule for rule, events in behind.items() if each["event"] in events]
    assert each.get("rule") not in rules
    assert "rule" in each or not rules
