"""The training data: labelled sets as examples of our tasks, divided so that no test text was seen.

Texts that are nearly the same (see `duplicates`) always fall on the same side, across all sets; so
do all rows of one headline. The division is by hash: it needs no seed and no list of rows.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

import orjson

from models.duplicates import cluster_keys
from models.reading import Reading, seen
from schemas.errors import BellwetherError
from schemas.taxonomy import COMPANY_SENTIMENT, EMOTION, INTENT, OTHER, SENTIMENT, TOPIC

SPLITS = Path(__file__).with_name("splits.json")
DEFAULT_DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"

# CLINC150's banking intents that none of Banking77's 77 answers: they are `other`.
CLINC_OTHER = frozenset({
    "apr", "application_status", "bill_balance", "bill_due", "credit_limit",
    "credit_limit_change", "credit_score", "improve_credit_score", "interest_rate",
    "min_payment", "order_checks", "pay_bill", "redeem_rewards", "rewards_balance", "routing",
    "spending_history",
})  # fmt: skip
# Those that mean the same as one of the 77. The remaining ones mean nearly the same as some, and
# are left out.
CLINC_MAPPED = {
    "card_declined": "declined_card_payment",
    "damaged_card": "card_not_working",
    "expiration_date": "card_about_to_expire",
    "pin_change": "change_pin",
    "replacement_card_duration": "card_delivery_estimate",
    "report_fraud": "card_payment_not_recognised",
    "report_lost_card": "lost_or_stolen_card",
}
CLINC_OUT_OF_SCOPE = "oos"


class DataError(BellwetherError):
    """The training data is missing or damaged; the sentence says which file."""


class Split(StrEnum):
    """What an example is for: to learn from, to choose settings by, to calibrate, to report on."""

    TRAIN = "train"
    DEVELOPMENT = "development"
    CALIBRATION = "calibration"
    TEST = "test"


# The least characters of a company's name that is found within a longer word.
_SHORTEST_PART = 2
# Upper ends on a scale of 100.
_SHARES = ((80, Split.TRAIN), (85, Split.DEVELOPMENT), (90, Split.CALIBRATION), (100, Split.TEST))


@dataclass(frozen=True, slots=True)
class Example:
    """A text with its label for one task. `source` is the data set's name.

    span: where the company stands in the text, for COMPANY_SENTIMENT.
    """

    text: str
    label: str
    task: str
    source: str
    split: Split
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    text: str
    label: str
    task: str
    source: str
    span: tuple[int, int] | None = None


def load_examples(folder: Path) -> list[Example]:
    """Every example of every set in the folder, with its split.

    Raises DataError when the folder or a file is missing, or a line is not what it should be.
    """
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {folder} with training data. Name one with --data; "
            "models/README.md says which files belong there."
        )
    rows = [row for read in _READERS for row in read(folder)]
    return _divided(rows)


def fingerprint(folder: Path) -> str:
    """SHA-256 over the names and contents of the files that training reads."""
    digest = sha256()
    for name in sorted(_FILES):
        content = sha256((folder / name).read_bytes()).hexdigest()
        digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()


def divided(labelled: Iterable[tuple[str, str]], task: str, source: str) -> list[Example]:
    """Texts with their labels for one task, with their splits."""
    return _divided([_Row(text, label, task, source) for text, label in labelled])


def split_digests(examples: Iterable[Example]) -> dict[str, dict[str, str]]:
    """For each set and split how many texts it has and the SHA-256 over them, in sorted order.

    `splits.json` holds those of the shipped bundle's data: whoever measures on the same test
    texts can prove it.
    """
    texts: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for example in examples:
        texts[example.source, example.split].add(example.text)
    digests: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for (source, split), found in sorted(texts.items()):
        content = "\n".join(sorted(found)).encode()
        digests[source][str(split)] = f"{len(found)} {sha256(content).hexdigest()}"
    return dict(digests)


def _divided(rows: Sequence[_Row]) -> list[Example]:
    keys = cluster_keys([row.text for row in rows])
    return [
        Example(row.text, row.label, row.task, row.source, _split(key, row), row.span)
        for row, key in zip(rows, keys, strict=True)
    ]


def _split(key: str, row: _Row) -> Split:
    if row.source == CLINC_OUT_OF_SCOPE:
        # Few and precious: half to learn from, half to report on.
        return Split.TRAIN if _share(key) < 50 else Split.TEST
    share = _share(key)
    return next(split for end, split in _SHARES if share < end)


def _share(key: str) -> int:
    """0 to 99, evenly, from the key's hash."""
    return int.from_bytes(sha256(key.encode()).digest()[:8], "big") * 100 >> 64


def _sentfin(folder: Path) -> Iterator[_Row]:
    """Headlines whose companies agree, each once: the label is then the headline's own."""
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for row in _read(folder, "sentfin.jsonl"):
        labels[row["text"]].add(row["label"])
    for text, found in labels.items():
        if len(found) == 1:
            yield _Row(text, found.pop(), SENTIMENT, "sentfin")


def _sentfin_companies(folder: Path) -> Iterator[_Row]:
    """Every row, but for a dozen whose company is misspelt and so is not found in the headline."""
    for row in _read(folder, "sentfin.jsonl"):
        span = company_span(row["text"], row.get("entity") or "")
        if span:
            yield _Row(row["text"], row["label"], COMPANY_SENTIMENT, "sentfin", span)


def _twitter_sentiment(folder: Path) -> Iterator[_Row]:
    yield from _plain(folder, "twitter_fin_sentiment.jsonl", SENTIMENT)


def _twitter_topic(folder: Path) -> Iterator[_Row]:
    yield from _plain(folder, "twitter_fin_topic.jsonl", TOPIC)


def _banking77(folder: Path) -> Iterator[_Row]:
    yield from _plain(folder, "banking77.jsonl", INTENT)


def _clinc(folder: Path) -> Iterator[_Row]:
    for row in _read(folder, "clinc_banking.jsonl"):
        text, label = row["text"], row["label"]
        if label in CLINC_OTHER:
            yield _Row(text, OTHER, INTENT, "clinc")
        elif label in CLINC_MAPPED:
            yield _Row(text, CLINC_MAPPED[label], INTENT, "clinc_mapped")
        elif label == CLINC_OUT_OF_SCOPE:
            yield _Row(text, OTHER, INTENT, CLINC_OUT_OF_SCOPE)


def _goemotions(folder: Path) -> Iterator[_Row]:
    yield from _plain(folder, "goemotions.jsonl", EMOTION)


_READERS = (
    _sentfin,
    _sentfin_companies,
    _twitter_sentiment,
    _twitter_topic,
    _banking77,
    _clinc,
    _goemotions,
)
_FILES = (
    "sentfin.jsonl",
    "twitter_fin_sentiment.jsonl",
    "twitter_fin_topic.jsonl",
    "banking77.jsonl",
    "clinc_banking.jsonl",
    "goemotions.jsonl",
)


def _plain(folder: Path, name: str, task: str) -> Iterator[_Row]:
    for row in _read(folder, name):
        yield _Row(row["text"], row["label"], task, name.removesuffix(".jsonl"))


def _read(folder: Path, name: str) -> Iterator[dict[str, str]]:
    path = folder / name
    if not path.is_file():
        raise DataError(f"The training data in {folder} lacks the file {name}.")
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            row = None
        if not isinstance(row, dict) or not all(
            isinstance(row.get(field), str) for field in ("text", "label")
        ):
            raise DataError(f"{path}, line {number}: expected a JSON object with text and label.")
        yield row


def company_span(text: str, company: str) -> tuple[int, int] | None:
    """Where a name first stands in a text, as both are seen, in any case; as a word of its own if
    it can.

    Within a longer word only a name of at least `_SHORTEST_PART` characters is found: a single
    letter stands in every text.
    """
    name = seen(company)
    if not re.search(r"\w", name):
        return None
    reading = Reading(text)
    pattern = r"\s+".join(map(re.escape, name.split()))
    found = re.search(rf"(?<!\w){pattern}(?!\w)", reading.text, re.IGNORECASE)
    if not found and len(name) >= _SHORTEST_PART:
        found = re.search(pattern, reading.text, re.IGNORECASE)
    return reading.stored(found.span()) if found else None


def of_task(examples: Iterable[Example], task: str, *splits: Split) -> list[Example]:
    """The examples of one task, of the given splits."""
    return [e for e in examples if e.task == task and e.split in splits]
