"""Labelled sets of our own in the shape of the real ones: every label has words of its own."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

from schemas.taxonomy import load_taxonomy

TEXTS_A_LABEL = 40
COMPANIES = ["Ant", "Bee Foods", "Cat", "Dog Air", "Elk", "Fox Media"]
_FILLERS = [
    "today",
    "again",
    "maybe",
    "the",
    "our",
    "this",
    "week",
    "late",
    "early",
    "big",
    "small",
    "new",
    "old",
    "north",
    "south",
]


def write_data(folder: Path) -> Path:
    """Writes all six files; returns the folder."""
    folder.mkdir(parents=True)
    tasks = load_taxonomy().tasks
    sentiment, topic = tasks["news.sentiment"].labels, tasks["news.topic"].labels
    intent, emotion = tasks["message.intent"].labels[:8], tasks["message.emotion"].labels
    _write_companies(folder / "sentfin.jsonl", sentiment)
    _write(folder / "twitter_fin_sentiment.jsonl", sentiment)
    _write(folder / "twitter_fin_topic.jsonl", topic)
    _write(folder / "banking77.jsonl", intent)
    _write(folder / "clinc_banking.jsonl", ["oos", "apr", "routing", "report_lost_card"])
    _write(folder / "goemotions.jsonl", emotion)
    return folder


def _write(path: Path, labels: Sequence[str]) -> None:
    random_ = random.Random(path.name)
    rows = [
        {"text": _text(label, random_), "label": label}
        for label in labels
        for _ in range(TEXTS_A_LABEL)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write_companies(path: Path, labels: Sequence[str]) -> None:
    """Each text has a company, named beside the label's words; a quarter have two that differ."""
    random_ = random.Random(path.name)
    rows = []
    for number in range(len(labels) * TEXTS_A_LABEL):
        names = random_.sample(COMPANIES, 2 if number % 4 == 0 else 1)
        own = random_.sample(list(labels), len(names))
        parts = [f"{name} {_text(label, random_)}" for name, label in zip(names, own, strict=True)]
        rows += [
            {"text": " but ".join(parts), "label": label, "entity": name}
            for name, label in zip(names, own, strict=True)
        ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _text(label: str, random_: random.Random) -> str:
    """The label's own word among random ones, so that no two texts are nearly the same."""
    noise = ["".join(random_.choices("abcdefghijklmnopqrstuvwxyz", k=5)) for _ in range(3)]
    words = [label.replace("_", " "), label[:4] * 2, *random_.sample(_FILLERS, 2), *noise]
    random_.shuffle(words)
    return " ".join(words)
