"""Learning lessons by their labels, and old texts by the champion's answers.

The answers are probabilities, learnt as such: distillation (Hinton et al. 2015).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from transformers import TrainingArguments
from transformers.trainer_callback import PrinterCallback

from models.batches import Batch, Collator, TextSet, text_sets
from models.bundle import Bundle
from models.calibration import softmax
from models.data import Example, Split
from models.encoder import Encoder
from models.heads import FloatArray, head_arrays, heads_of
from models.multitask_network import (
    MultiTaskNetwork,
    adapted_bert,
    learning_bert,
    learnt_heads,
    learnt_weights,
)
from models.multitask_trainer import MultiTaskTrainer, Progress
from models.network import Head
from models.opinions import LESSONS
from models.recipe import Finetuning, Stage
from models.teaching import Teaching
from models.tokenizer import WindowTokenizer
from models.vectors import Vectors
from schemas.taxonomy import COMPANY_SENTIMENT

Method = Literal["lora", "full"]

# Steps of BATCH_TEXTS texts, a quarter of them lessons: a minute or two on two cores. Few lessons
# are shown so many times at most.
LEAST_STEPS, MOST_STEPS, BATCH_TEXTS = 60, 240, 32
LESSON_SHARE, MOST_TIMES = 0.25, 24
RATES, HEAD_RATE = {"lora": 3e-4, "full": 3e-5}, 1e-3
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


def is_of_lessons(texts: TextSet | Example) -> bool:
    """Whether it is what `as_examples` made of lessons."""
    return texts.source.startswith(LESSONS)


def learnt_lessons(
    teaching: Teaching,
    method: Method,
    encoder: Encoder,
    examples: Sequence[Example],
    before: Vectors,
) -> tuple[Encoder, list[dict[str, Head]]]:
    """The encoder, and the heads of each stage, after they learnt lessons beside old texts.

    before: the champion's vectors of the old texts, and of those of companies also as a whole.
    """
    champion = teaching.champion
    torch.manual_seed(teaching.seed)
    if teaching.threads:
        torch.set_num_threads(teaching.threads)
    settings = Finetuning(method=method, epochs=1, batch_texts=BATCH_TEXTS, augmentation=0.0)
    settings = settings.model_copy(
        update={"learning_rate": RATES[method], "head_learning_rate": HEAD_RATE}
    )
    window = min(settings.window_tokens, champion.manifest.window_tokens)
    tokenizer = WindowTokenizer(champion.tokenizer, window)
    taxonomy = champion.taxonomy
    sets = text_sets(tokenizer, examples, taxonomy, Split.TRAIN)
    network = _network(champion, encoder, settings)
    collator = DistillingCollator(
        tokenizer,
        {task: n for n, task in enumerate(taxonomy.tasks)},
        teacher=Teacher(before, _heads_by_stage(champion)),
    )
    with TemporaryDirectory() as folder:
        trainer = DistillingTrainer(
            network,
            _arguments(Path(folder), _steps(sets), teaching.seed),
            settings,
            _balanced(sets),
            [],
            collator,
            [Progress(teaching.report)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return replace(encoder, weights=learnt_weights(network.encoder, encoder)), learnt_heads(
        network, taxonomy
    )


def _steps(sets: Sequence[TextSet]) -> int:
    lessons = sum(len(each) for each in sets if is_of_lessons(each))
    steps = math.ceil(MOST_TIMES * lessons / (LESSON_SHARE * BATCH_TEXTS))
    return min(MOST_STEPS, max(LEAST_STEPS, steps))


def _balanced(sets: Sequence[TextSet]) -> list[TextSet]:
    """Lessons repeated until they are LESSON_SHARE of all texts."""
    old = sum(len(each) for each in sets if not is_of_lessons(each))
    lessons = sum(len(each) for each in sets if is_of_lessons(each))
    times = max(1, round(old * LESSON_SHARE / (1 - LESSON_SHARE) / max(1, lessons)))
    return [_times(each, times) if is_of_lessons(each) else each for each in sets]


def _times(texts: TextSet, times: int) -> TextSet:
    return replace(
        texts,
        texts=texts.texts * times,
        targets=texts.targets * times,
        lengths=texts.lengths * times,
        spans=texts.spans * times,
        company_targets=texts.company_targets * times,
    )


def _network(champion: Bundle, encoder: Encoder, settings: Finetuning) -> MultiTaskNetwork:
    """The champion's network in torch, with its heads."""
    taxonomy = champion.taxonomy
    network = MultiTaskNetwork(
        adapted_bert(learning_bert(encoder), settings),
        encoder.shape.hidden,
        stages_of(champion),
        {name: len(task.labels) for name, task in taxonomy.tasks.items()},
    )
    for stage, heads in enumerate(_heads_by_stage(champion)):
        modules = [*network.heads[stage], network.company_heads[stage]]  # type: ignore[misc]
        for module, name in zip(modules, [*taxonomy.tasks, COMPANY_SENTIMENT], strict=True):
            head = heads[name]
            weights = {"weight": head.weight.T.copy(), "bias": head.bias.copy()}
            module.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    return network


def _heads_by_stage(champion: Bundle) -> list[dict[str, Head]]:
    arrays = head_arrays(champion)
    by_name = {name: heads_of(champion, name, arrays) for name in champion.manifest.heads}
    return [
        {name: heads[stage] for name, heads in by_name.items()}
        for stage in range(len(champion.manifest.stages))
    ]


def _arguments(folder: Path, steps: int, seed: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=BATCH_TEXTS,
        lr_scheduler_type="linear",
        warmup_steps=steps // 10,
        eval_strategy="no",
        save_strategy="no",
        logging_steps=40,
        disable_tqdm=True,
        report_to=[],
        remove_unused_columns=False,
        label_names=["labels"],
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        seed=seed,
    )


def stages_of(champion: Bundle) -> list[Stage]:
    """As a recipe names them."""
    firsts = [0, *(stage.end for stage in champion.manifest.stages)]
    return [
        Stage(first, s.end, s.pooled)
        for first, s in zip(firsts, champion.manifest.stages, strict=False)
    ]
