"""The written corpus: texts made for this field, with what they mean by the definitions.

`models/corpus/` has a file of news and one of messages, a JSON object a line; its README.md is the
datasheet. `python -m models.corpus` prints the figures that stand there.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import orjson

from models.duplicates import cluster_keys
from schemas.records import Kind

FOLDER = Path(__file__).with_name("corpus")
FILES: Mapping[Kind, str] = {Kind.NEWS: "news.jsonl", Kind.MESSAGE: "messages.jsonl"}
TASKS: Mapping[Kind, tuple[str, ...]] = {
    Kind.NEWS: ("event", "sentiment"),
    Kind.MESSAGE: ("intent", "emotion", "urgency"),
}
OPENING_WORDS = 3
_TEST_SHARE = 0.1
_WORD = re.compile(r"\w+|\$")


@dataclass(frozen=True, slots=True)
class CorpusText:
    """A text with its labels by task, without the kind before them.

    entity: the company that the sentiment is about, where there are two.
    writer: who wrote it; each has a style of its own.
    """

    text: str
    labels: Mapping[str, str]
    writer: str
    entity: str | None = None


def read_corpus(kind: Kind, folder: Path = FOLDER) -> list[CorpusText]:
    """All texts of a kind, in the order of the file. A text with two entities is there twice."""
    return [
        CorpusText(
            text=row["text"],
            labels={task: row[task] for task in TASKS[kind]},
            writer=row["writer"],
            entity=row.get("entity"),
        )
        for row in map(orjson.loads, (folder / FILES[kind]).read_bytes().splitlines())
    ]


def kept_for_test(texts: Sequence[CorpusText]) -> list[bool]:
    """For each text whether it is kept apart: a tenth of each writer's texts of each first label.

    Groups of near-duplicates stay together, under the writer and label of their first text; which
    are taken is decided by the hash of the group's key.
    """
    keys = cluster_keys([each.text for each in texts])
    groups: dict[tuple[str, str], set[str]] = {}
    owner: dict[str, tuple[str, str]] = {}
    for each, key in zip(texts, keys, strict=True):
        first_label = next(iter(each.labels.values()))
        group = owner.setdefault(key, (each.writer, first_label))
        groups.setdefault(group, set()).add(key)
    taken = {key for group in groups.values() for key in _tenth(group)}
    return [key in taken for key in keys]


def _tenth(keys: Iterable[str]) -> list[str]:
    """At least one of five or more; fewer are all learnt from."""
    ordered = sorted(keys, key=lambda key: sha256(key.encode()).digest())
    count = round(len(ordered) * _TEST_SHARE)
    return ordered[: max(count, 1)] if len(ordered) >= 5 else []


def near_duplicates(texts: Iterable[str]) -> float:
    """The share of distinct texts that nearly repeat an earlier one."""
    distinct = list(dict.fromkeys(texts))
    return 1 - len(set(cluster_keys(distinct))) / len(distinct)


def openings(texts: Iterable[str]) -> list[tuple[str, float]]:
    """The first words of distinct texts with their share, the most frequent first."""
    distinct = list(dict.fromkeys(texts))
    found = Counter(" ".join(_WORD.findall(text.lower())[:OPENING_WORDS]) for text in distinct)
    return [(opening, count / len(distinct)) for opening, count in found.most_common()]


def figures(kind: Kind, texts: Sequence[CorpusText]) -> Iterator[str]:
    """The figures of the datasheet, a line each."""
    said = [each.text for each in texts]
    lengths = sorted(len(text.split()) for text in dict.fromkeys(said))
    yield f"{kind}: {len(texts):,} rows, {len(lengths):,} texts"
    yield f"  words a text: median {lengths[len(lengths) // 2]}, longest {lengths[-1]}"
    yield f"  near-duplicates: {near_duplicates(said):.2%}"
    first = ", ".join(f"{opening} {share:.2%}" for opening, share in openings(said)[:5])
    yield f"  most frequent openings: {first}"
    yield f"  kept for test: {sum(kept_for_test(texts)):,} rows"
    for task in TASKS[kind]:
        counts = Counter(each.labels[task] for each in texts)
        rarest, fewest = counts.most_common()[-1]
        yield f"  {task}: {len(counts)} labels, the rarest {rarest} with {fewest} rows"


if __name__ == "__main__":
    for kind in Kind:
        print("\n".join(figures(kind, read_corpus(kind))))
