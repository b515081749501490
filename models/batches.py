"""The batches of fine-tuning: each of one data set, and of texts of about one length."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from models.data import Example, Split
from models.encoder import Encoder
from models.engine import WindowTokenizer
from models.recipe import Finetuning
from schemas.taxonomy import Taxonomy

# Texts of so many batches are sorted by length together: enough for little padding, few enough
# that the order of a pass is still drawn.
BATCHES_SORTED_TOGETHER = 50

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class TextSet:
    """The texts of one data set and split: token ids, and positions of the labels."""

    source: str
    task: str
    ids: tuple[list[int], ...]
    targets: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ids)


def text_sets(
    encoder: Encoder,
    examples: Sequence[Example],
    taxonomy: Taxonomy,
    window_tokens: int,
    split: Split,
) -> list[TextSet]:
    """The examples of a split, tokenised, set by set."""
    by_set: defaultdict[tuple[str, str], list[Example]] = defaultdict(list)
    for example in examples:
        if example.split is split and example.task in taxonomy.tasks:
            by_set[example.source, example.task].append(example)
    tokenizer = WindowTokenizer(encoder.tokenizer, min(window_tokens, encoder.shape.positions))
    return [
        TextSet(
            source,
            task,
            tuple(tokens.ids for tokens in tokenizer.encode([e.text for e in found])),
            tuple(taxonomy.tasks[task].labels.index(e.label) for e in found),
        )
        for (source, task), found in sorted(by_set.items())
    ]


class BatchSampler(Sampler[list[tuple[int, int]]]):
    """One pass: batches of (set, position), in an order drawn from the seed and the pass."""

    def __init__(self, sets: Sequence[TextSet], settings: Finetuning, seed: int) -> None:
        self._sets = sets
        # Read by accelerate, which gives each process its part of every batch, and which, of
        # several processes, tells the number of the pass only to a sampler of this name.
        self.sampler = self
        self.batch_size, self.drop_last = settings.batch_texts, False
        self._seed = seed
        self._pass = 0
        # The sum over the sets is that of a pass over all texts; only the shares differ.
        powers = [len(texts) ** settings.sampling_power for texts in sets]
        scale = sum(map(len, sets)) / sum(powers)
        self._shares = [max(1, round(scale * power / self.batch_size)) for power in powers]

    def set_epoch(self, number: int) -> None:
        """Called by the data loader before each pass."""
        self._pass = number

    def __len__(self) -> int:
        return sum(self._shares)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        draw = np.random.default_rng((self._seed, self._pass))
        batches = [
            [(number, position) for position in positions]
            for number, share in enumerate(self._shares)
            for positions in self._of_set(self._sets[number], share, draw)
        ]
        for position in draw.permutation(len(batches)):
            yield batches[position]

    def _of_set(
        self, texts: TextSet, batches: int, draw: np.random.Generator
    ) -> Iterator[list[int]]:
        """Every text once before one comes twice."""
        wanted = batches * self.batch_size
        rounds = [draw.permutation(len(texts)) for _ in range(math.ceil(wanted / len(texts)))]
        drawn = np.concatenate(rounds)[:wanted].tolist()
        together = self.batch_size * BATCHES_SORTED_TOGETHER
        for start in range(0, wanted, together):
            chunk = sorted(drawn[start : start + together], key=lambda p: len(texts.ids[p]))
            for first in range(0, len(chunk), self.batch_size):
                yield chunk[first : first + self.batch_size]


@dataclass(frozen=True, slots=True)
class Texts(Dataset[tuple[TextSet, int]]):
    """All sets as one, by (set, position)."""

    sets: Sequence[TextSet]

    def __getitem__(self, key: tuple[int, int]) -> tuple[TextSet, int]:
        return self.sets[key[0]], key[1]

    def __len__(self) -> int:
        return sum(map(len, self.sets))


@dataclass(frozen=True, slots=True)
class Collator:
    """Puts rows of one task together, padded to the longest."""

    task_numbers: Mapping[str, int]

    def __call__(self, rows: Sequence[tuple[TextSet, int]]) -> Batch:
        ids = [texts.ids[position] for texts, position in rows]
        longest = max(map(len, ids))
        return {
            "ids": torch.tensor([row + [0] * (longest - len(row)) for row in ids]),
            "mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids]),
            "labels": torch.tensor([texts.targets[position] for texts, position in rows]),
            "task": torch.tensor(self.task_numbers[rows[0][0].task]),
        }
