"""Texts that raise an alert each, by the model and the rules that the worker has."""

import os
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from benchmarks.common.corpus import Event
from schemas.decoding import decode
from schemas.errors import BellwetherError
from schemas.records import Kind, Record
from schemas.sources import load_sources
from stream.classifiers import load_classifier
from stream.risk import RiskModel
from stream.rules import RuleBook
from stream.settings import Settings

FEWEST_TEXTS = 6
CANDIDATES: tuple[tuple[Kind, str], ...] = (
    (Kind.NEWS, "Harrow Bank files for bankruptcy after regulators uncover accounting fraud"),
    (Kind.NEWS, "Prosecutors charge Meridian Oil's chief executive with fraud; shares collapse"),
    (Kind.NEWS, "Calder Airlines defaults on its bonds and halts all flights; shares plunge 70%"),
    (Kind.NEWS, "Northgate Insurance slashes its dividend after a record loss; shares tumble"),
    (Kind.NEWS, "Vantor Retail misses payroll, warns of insolvency and fires 12,000 people"),
    (Kind.NEWS, "Ostrava Steel cut to junk as its losses deepen; default feared within weeks"),
    (Kind.NEWS, "Regulator freezes Pallas Crypto's accounts after $900 million goes missing"),
    (Kind.MESSAGE, "My wallet was stolen on the train this morning, please block my card now"),
    (Kind.MESSAGE, "I lost my card yesterday and somebody may be using it, what should I do?"),
    (Kind.MESSAGE, "I think my card was stolen, I cannot find it anywhere"),
    (Kind.MESSAGE, "There is a card payment on my account that I did not make"),
    (Kind.MESSAGE, "Somebody else is using my card details, I do not recognise these payments"),
    (Kind.MESSAGE, "There is a cash withdrawal on my statement that I never made"),
    (Kind.MESSAGE, "My phone was stolen and the app is still logged in on it"),
    (Kind.MESSAGE, "I see a direct debit that I never set up, what is this payment?"),
)


class AlertingTexts:
    """Those of the candidates that raise an alert keyed by the event itself, without cool-down.

    Raises BellwetherError where they are too few, as with rules of one's own.
    """

    def __init__(self, settings: Settings) -> None:
        self._texts = list(_proved(settings))
        if len(self._texts) < FEWEST_TEXTS:
            raise BellwetherError(
                f"only {len(self._texts)} of {len(CANDIDATES)} texts raise an alert of their own "
                "by this model and these rules: measure with the default rules"
            )

    def has(self, text: str) -> bool:
        """Whether this is one of the texts."""
        return any(text == known for _, known in self._texts)

    def event(self, event_id: str, chance: random.Random) -> Event:
        """One of the texts as an event; the same text again is another event."""
        kind, text = chance.choice(self._texts)
        return Event(event_id, kind, text)


def _proved(settings: Settings) -> Iterator[tuple[Kind, str]]:
    classifier = load_classifier(settings, threads=os.cpu_count() or 1)
    taxonomy = classifier.taxonomy
    risk, rules = RiskModel.load(settings.risk, taxonomy), RuleBook.load(settings.rules, taxonomy)
    records = _records(settings)
    answers = classifier.classify(
        [record.text for record in records], [record.kind for record in records]
    )
    for record, answer in zip(records, answers, strict=True):
        for match in rules.matches(record, answer, risk.score(record, answer)):
            if (match.key, match.count, match.cool_down_ms) == (record.id, 1, 0):
                yield record.kind, record.text
                break


def _records(settings: Settings) -> Sequence[Record]:
    """The candidates as the worker reads them."""
    now = datetime.now(UTC)
    sources = {source.kind: source for source in load_sources(settings.sources)}
    return [
        decode(Event(f"candidate-{i}", kind, text).record(now)[1], sources[kind], now).record
        for i, (kind, text) in enumerate(CANDIDATES)
    ]
