"""Learning lessons by their labels, and old texts by the champion's answers.

The answers are probabilities, learnt as such: distillation (Hinton et al. 2015).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from models.batches import Batch, Collator, TextSet
from models.calibration import softmax
from models.data import Example, Split
from models.heads import FloatArray
from models.multitask_trainer import MultiTaskTrainer
from models.network import Head
from models.opinions import LESSONS
from models.vectors import Vectors
from schemas.taxonomy import COMPANY_SENTIMENT

# What a batch of old texts has beside its labels.
TAUGHT, TAUGHT_COMPANIES = "taught", "taught_companies"


@dataclass(frozen=True, slots=True)
class Teacher:
    """The champion's heads, by stage and name, on the vectors that its own graphs made of texts."""

    vectors: Vectors
    heads: Sequence[Mapping[str, Head]]

    def said(self, examples: Sequence[Example], name: str) -> list[FloatArray]:
        """For each stage the probabilities [examples, labels]; KeyError for a text not read."""
        return [
            softmax(self.vectors.of(examples, stage) @ heads[name].weight + heads[name].bias)
            for stage, heads in enumerate(self.heads)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillingCollator(Collator):
    """Adds to batches of old texts what the teacher says of them, [stages, batch, labels]."""

    teacher: Teacher

    def __call__(self, rows: Sequence[tuple[TextSet, int]]) -> Batch:
        batch = Collator.__call__(self, rows)
        first = rows[0][0]
        if is_of_lessons(first):
            return batch
        texts = [Example(own.texts[n], "", own.task, own.source, Split.TRAIN) for own, n in rows]
        batch[TAUGHT] = self._said(texts, first.task)
        if first.spans:
            spans = [own.spans[n] for own, n in rows]
            companies = [replace(e, span=span) for e, span in zip(texts, spans, strict=True)]
            batch[TAUGHT_COMPANIES] = self._said(companies, COMPANY_SENTIMENT)
        return batch

    def _said(self, examples: Sequence[Example], name: str) -> torch.Tensor:
        return torch.from_numpy(np.stack(self.teacher.said(examples, name)))


class DistillingTrainer(MultiTaskTrainer):
    """Learns lessons by their labels, and old texts by the teacher's answers at every stage."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if TAUGHT not in inputs:
            return super().compute_loss(model, inputs, return_outputs)
        answers = self._answers(model, inputs)
        losses = [
            F.cross_entropy(answer.text, taught)
            for answer, taught in zip(answers, inputs[TAUGHT], strict=True)
        ]
        if TAUGHT_COMPANIES in inputs:
            losses += [
                F.cross_entropy(answer.company, taught)
                for answer, taught in zip(answers, inputs[TAUGHT_COMPANIES], strict=True)
                if answer.company is not None
            ]
        loss = torch.stack(losses).sum()
        return (loss, {"logits": answers[-1].text}) if return_outputs else loss


def is_of_lessons(texts: TextSet) -> bool:
    """Whether a set is what `as_examples` made of lessons."""
    return texts.source.startswith(LESSONS)
