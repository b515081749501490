"""Alert rules: which rules an event matches, under which keys, and why, in words.

The rules are compiled to small tests once, cheapest first, since every event meets every rule.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from models.reading import folded, seen
from schemas.alerts import Severity
from schemas.predictions import Classification, Prediction, sentiment_of_emotion
from schemas.records import Kind, Record
from schemas.taxonomy import EMOTION, INTENT, SENTIMENT, TOPIC, Taxonomy
from stream.alerts import Match
from stream.rule_file import Labels, Rule, read_rules

HEADLINE_CHARACTERS = 140
MOST_SYMBOLS = 10

_UNITS = (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1_000))
_TASKS = {"sentiment": SENTIMENT, "topic": TOPIC, "intent": INTENT, "emotion": EMOTION}


@dataclass(slots=True)
class _Event:
    """What a rule looks at; `predictions` by the document's field."""

    record: Record
    risk: float
    predictions: Mapping[str, Prediction]
    _folded: str | None = None

    @property
    def folded(self) -> str:
        """The text as words are looked for in it; made once, for the first rule that asks."""
        if self._folded is None:
            self._folded = folded(self.record.text)
        return self._folded


_Test = Callable[[_Event], bool]
_Keys = Callable[[_Event], Iterable[str | None]]
_Words = Callable[[_Event, str], str]
_Piece = tuple[str, str | None]  # as it stands, and the field behind it


class RuleBook:
    """The rules of both kinds, ready to match."""

    def __init__(self, rules: Iterable[Rule], taxonomy: Taxonomy, most_symbols: int) -> None:
        self._taxonomy = taxonomy
        self._most_symbols = most_symbols
        self._rules: dict[Kind, list[_Compiled]] = {kind: [] for kind in Kind}
        self._needs_sentiment = False
        for rule in rules:
            self._rules[rule.kind].append(_Compiled(rule))
            self._needs_sentiment |= rule.kind is Kind.MESSAGE and _looks_at_sentiment(rule)

    @classmethod
    def load(
        cls, path: Path | None, taxonomy: Taxonomy, *, most_symbols: int = MOST_SYMBOLS
    ) -> "RuleBook":
        """The shipped rules, or those at `path`.

        An event with more than `most_symbols` symbols is news about none of them (see `matches`).
        Raises ConfigurationError with file, line and reason.
        """
        return cls(read_rules(path, taxonomy), taxonomy, most_symbols)

    def matches(
        self, record: Record, classification: Classification, risk: float
    ) -> tuple[Match, ...]:
        """Every rule that the event matches, once for each key that the event has.

        Rules by symbol do not match an event of very many symbols; where no rule by event does
        either, the severest of them that counts nothing stands for all, under the event's id. The
        model's answers to a text in a language that it does not know match nothing: only rules
        that ask for none of them are left.
        """
        blind = classification.foreign_language is not None
        event = _Event(record, risk, self._by_field(record.kind, classification))
        fitting = [
            rule
            for rule in self._rules[record.kind]
            if not (blind and rule.asks_the_model) and rule.fits(event)
        ]
        names = len(set(_symbols(event)))
        if names > self._most_symbols:
            return _of_a_crowd(fitting, event, f"{names} companies")
        return _by_key(fitting, event)

    def _by_field(self, kind: Kind, classification: Classification) -> dict[str, Prediction]:
        given = classification.predictions
        fields = {task: field for field, task in _TASKS.items()}
        found = {fields.get(task, task): prediction for task, prediction in given.items()}
        if kind is Kind.MESSAGE and self._needs_sentiment:
            found["sentiment"] = sentiment_of_emotion(found["emotion"], self._taxonomy)
        return found


def _by_key(rules: Iterable["_Compiled"], event: _Event) -> tuple[Match, ...]:
    return tuple(rule.match(event, key) for rule in rules for key in rule.keys(event) if key)


def _of_a_crowd(fitting: Sequence["_Compiled"], event: _Event, name: str) -> tuple[Match, ...]:
    """What an event matches that names many companies, so `name` is what they are called."""
    others = [rule for rule in fitting if rule.key != "symbol"]
    at_once = [rule for rule in fitting if rule.key == "symbol" and not rule.counts]
    found = _by_key(others, event)
    if not at_once or any(rule.key == "event_id" for rule in others):
        return found
    severest = max(at_once, key=lambda rule: rule.severity)
    return *found, severest.match(event, event.record.id, name)


class _Compiled:
    """One rule as tests, keys and the parts of its reason."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self.key = rule.key
        self.counts = rule.count is not None
        self.severity = list(Severity).index(rule.severity)
        self._tests = tuple(_tests(rule))
        self.asks_the_model = bool(rule.when.min_risk or [*rule.label_conditions])
        self.keys = _keys(rule)
        self._reason = tuple(_sentence(part, rule) for part in _between_counts(rule.reason))

    def fits(self, event: _Event) -> bool:
        return all(test(event) for test in self._tests)

    def match(self, event: _Event, key: str, name: str | None = None) -> Match:
        """`name` is what the reason calls the key (None: the same)."""
        rule = self._rule
        return Match(
            rule=rule.name,
            key=key,
            severity=rule.severity,
            reason=tuple(words(event, name or key) for words in self._reason),
            count=rule.count or 1,
            window_ms=rule.window or 0,
            cool_down_ms=rule.cool_down_ms,
        )


def _looks_at_sentiment(rule: Rule) -> bool:
    return rule.when.sentiment is not None or "{sentiment" in rule.reason


def _tests(rule: Rule) -> Iterable[_Test]:
    """The rule's conditions; reading the text comes last."""
    when = rule.when
    if when.min_risk:
        yield _risk_test(when.min_risk)
    for field, condition in rule.label_conditions:
        yield _label_test(field, condition)
    if when.symbols:
        yield _symbols_test(frozenset(when.symbols))
    if when.sources:
        yield _attribute_test("source", frozenset(when.sources))
    if when.channels:
        yield _attribute_test("channel", frozenset(when.channels))
    if when.words:
        yield _words_test(when.words)


def _risk_test(least: float) -> _Test:
    return lambda event: event.risk >= least


def _label_test(field: str, condition: Labels) -> _Test:
    labels = frozenset(condition.labels)
    confidence, probability = condition.min_confidence, condition.min_probability

    def likeliest(event: _Event) -> bool:
        prediction = event.predictions[field]
        return prediction.label in labels and prediction.confidence >= confidence

    def together(event: _Event) -> bool:
        prediction = event.predictions[field]
        return sum(map(prediction.probability, labels)) >= (probability or 0.0)

    return likeliest if probability is None else together


def _symbols_test(symbols: frozenset[str]) -> _Test:
    return lambda event: not symbols.isdisjoint(_symbols(event))


def _attribute_test(name: str, values: Collection[str]) -> _Test:
    return lambda event: getattr(event.record, name) in values


def _words_test(words: Iterable[str]) -> _Test:
    """Whole words or phrases, as they are seen, in any case and however broken into lines; scripts
    without spaces have no whole words."""
    patterns = [(word, re.compile(_whole_word(word))) for word in map(folded, words)]

    def contained(event: _Event) -> bool:
        text = event.folded
        # Plain search first: a pattern alone is many times slower on a long text.
        return any(word in text and pattern.search(text) for word, pattern in patterns)

    return contained


def _whole_word(words: str) -> str:
    start = r"(?<!\w)" if _is_spaced(words[0]) else ""
    end = r"(?!\w)" if _is_spaced(words[-1]) else ""
    return start + re.escape(words) + end


def _is_spaced(character: str) -> bool:
    """A letter of a script that puts spaces between words: those before Thai in Unicode."""
    return character.isalnum() and character < "\u0e00"


def _symbols(event: _Event) -> Iterable[str]:
    symbols: Iterable[str] | None = getattr(event.record, "symbols", None)
    return symbols or ()


def _keys(rule: Rule) -> _Keys:
    if rule.key == "symbol":
        wanted = frozenset(rule.when.symbols or ())
        return lambda event: [
            symbol for symbol in dict.fromkeys(_symbols(event)) if not wanted or symbol in wanted
        ]
    if rule.key in _TASKS:
        return lambda event: [event.predictions[rule.key].label]
    attribute = "id" if rule.key == "event_id" else rule.key
    return lambda event: [_plain(getattr(event.record, attribute))]


def _plain(value: str | None) -> str | None:
    """An enumeration's member as text."""
    return None if value is None else str(value)


def _between_counts(reason: str) -> list[list[_Piece]]:
    """The pieces of a reason, parted where the count goes, which only the store knows.

    Fields are filled once, here: what stands in braces in a headline is no field.
    """
    parts: list[list[_Piece]] = [[]]
    for literal, field, _, _ in Formatter().parse(reason):
        parts[-1].append((literal, None if field == "count" else field))
        if field == "count":
            parts.append([])
    return parts


def _sentence(pieces: Sequence[_Piece], rule: Rule) -> _Words:
    """Fills the fields of a part of a reason."""
    filled = [(literal, _words(field, rule) if field else None) for literal, field in pieces]
    return lambda event, key: "".join(
        literal + (words(event, key) if words else "") for literal, words in filled
    )


def _words(field: str, rule: Rule) -> _Words:
    """How a field of the reason is filled."""
    if field in ("key", "symbol"):
        return lambda _, key: key
    if field == "window":
        window = _duration(rule.window or 0)
        return lambda *_: window
    if field == "risk":
        return lambda event, _: f"{event.risk:.2f}"
    if field == "headline":
        return lambda event, _: _shortened(seen(getattr(event.record, "headline", "")))
    task, _, confidence = field.partition("_")
    if confidence:
        return lambda event, _: f"{event.predictions[task].confidence:.0%}"
    if task in _TASKS:
        return lambda event, _: event.predictions[task].label.replace("_", " ")
    return lambda event, _: str(getattr(event.record, field) or f"no {field}")


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    if len(line) <= HEADLINE_CHARACTERS:
        return line
    return line[: HEADLINE_CHARACTERS - 1] + "…"


def _duration(milliseconds: int) -> str:
    """15 minutes, 1 hour: in the largest unit that fits."""
    unit, size = next(each for each in _UNITS if milliseconds % each[1] == 0)
    number = milliseconds // size
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
