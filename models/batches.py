"""The batches of fine-tuning: each of one data set, and of texts of about one length."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from models.augmentation import Augmentation
from models.data import Example, Split
from models.reading import Span
from models.recipe import Finetuning
from models.tokenizer import Tokens, WindowTokenizer
from schemas.taxonomy import COMPANY_SENTIMENT, SENTIMENT, Taxonomy

# Texts of so many batches are sorted by length together: enough for little padding, few enough
# that the order of a pass is still drawn.
BATCHES_SORTED_TOGETHER = 50
# A pass shows no text more often: small easy sets would take the place of better ones.
MOST_REPEATS = 1.5
# The target of a text that has no label of its own; it is cross-entropy's default.
NO_LABEL = -100

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class TextSet:
    """The texts of one data set and split.

    targets: positions of the labels, or NO_LABEL.
    lengths: token counts.
    spans, company_targets: where a company stands in each text and the position of the sentiment's
        label for it; both empty where a set has no companies.
    """

    source: str
    task: str
    texts: tuple[str, ...]
    targets: tuple[int, ...]
    lengths: tuple[int, ...]
    spans: tuple[Span, ...] = ()
    company_targets: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)


def text_sets(
    tokenizer: WindowTokenizer, examples: Sequence[Example], taxonomy: Taxonomy, split: Split
) -> list[TextSet]:
    """The examples of a split, set by set.

    A set whose texts are labelled by company is one set: each row has its company's label, and
    the text's where it has one.
    """
    by_set: defaultdict[tuple[str, str], list[Example]] = defaultdict(list)
    for example in examples:
        if example.split is split and example.task in {*taxonomy.tasks, COMPANY_SENTIMENT}:
            by_set[example.source, example.task].append(example)
    sets = []
    for (source, task), found in sorted(by_set.items()):
        if task == COMPANY_SENTIMENT:
            sets.append(_company_set(tokenizer, taxonomy, found, by_set[source, SENTIMENT]))
        elif (source, COMPANY_SENTIMENT) not in by_set:
            sets.append(_plain_set(tokenizer, taxonomy, found))
    return sets


def _plain_set(
    tokenizer: WindowTokenizer, taxonomy: Taxonomy, examples: Sequence[Example]
) -> TextSet:
    texts, labels = tuple(e.text for e in examples), taxonomy.tasks[examples[0].task].labels
    return TextSet(
        examples[0].source,
        examples[0].task,
        texts,
        tuple(labels.index(e.label) for e in examples),
        _lengths(tokenizer, texts),
    )


def _company_set(
    tokenizer: WindowTokenizer,
    taxonomy: Taxonomy,
    examples: Sequence[Example],
    plain: Sequence[Example],
) -> TextSet:
    labels = taxonomy.tasks[SENTIMENT].labels
    of_text = {e.text: labels.index(e.label) for e in plain}
    texts = tuple(e.text for e in examples)
    return TextSet(
        examples[0].source,
        SENTIMENT,
        texts,
        tuple(of_text.get(text, NO_LABEL) for text in texts),
        _lengths(tokenizer, texts),
        tuple(e.span or (0, 0) for e in examples),
        tuple(labels.index(e.label) for e in examples),
    )


def _lengths(tokenizer: WindowTokenizer, texts: Sequence[str]) -> tuple[int, ...]:
    return tuple(len(tokens.ids) for tokens in tokenizer.encode(texts))


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
        # The sum over the sets is about that of a pass over all texts; only the shares differ.
        powers = [len(texts) ** settings.sampling_power for texts in sets]
        scale = sum(map(len, sets)) / sum(powers)
        self._shares = [
            max(1, round(min(scale * power, MOST_REPEATS * len(texts)) / self.batch_size))
            for texts, power in zip(sets, powers, strict=True)
        ]

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
            chunk = sorted(drawn[start : start + together], key=texts.lengths.__getitem__)
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
    """Tokenises rows of one set and puts them together, padded to the longest.

    With companies, `spans` [batch, length] has the weights that make the mean over a company's
    tokens: zeros where none of them is within the window.
    """

    # Not named tokenizer: transformers.Trainer would take it for one of its own.
    window_tokenizer: WindowTokenizer
    task_numbers: Mapping[str, int]
    augmentation: Augmentation | None = None

    def __call__(self, rows: Sequence[tuple[TextSet, int]]) -> Batch:
        drawn = [self._drawn(texts, position) for texts, position in rows]
        encoded = self.window_tokenizer.encode(
            [text for text, _ in drawn], [[span] if span else [] for _, span in drawn]
        )
        longest = max(len(tokens.ids) for tokens in encoded)
        batch = {
            "ids": torch.tensor([t.ids + [0] * (longest - len(t.ids)) for t in encoded]),
            "mask": torch.tensor([_ones(t, longest) for t in encoded]),
            "labels": torch.tensor([texts.targets[position] for texts, position in rows]),
            "task": torch.tensor(self.task_numbers[rows[0][0].task]),
        }
        if rows[0][0].spans:
            batch["spans"] = torch.tensor([_weights(t, longest) for t in encoded])
            batch["company_labels"] = torch.tensor(
                [texts.company_targets[position] for texts, position in rows]
            )
        return batch

    def _drawn(self, texts: TextSet, position: int) -> tuple[str, Span | None]:
        text, span = texts.texts[position], texts.spans[position] if texts.spans else None
        return self.augmentation(text, span) if self.augmentation else (text, span)


def _ones(tokens: Tokens, longest: int) -> list[int]:
    return [1] * len(tokens.ids) + [0] * (longest - len(tokens.ids))


def _weights(tokens: Tokens, longest: int) -> list[float]:
    (places,) = tokens.places
    return [1 / len(places) if place in places else 0.0 for place in range(longest)]
