"""Fine-tuning: the encoder and a head a task learn together.

Each batch is of one data set and of texts of about one length. With `torchrun` several processes
share each batch. A run that was killed goes on from its last checkpoint when it is started again
with the same settings, data and folder.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from transformers import EarlyStoppingCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from models.augmentation import Augmentation, cashtags
from models.batches import BatchSampler, Collator, TextSet, text_sets
from models.data import Example, Split
from models.encoder import Encoder
from models.multitask_network import (
    MultiTaskNetwork,
    adapted_bert,
    learning_bert,
    learnt_heads,
    learnt_weights,
)
from models.multitask_trainer import SCORE, MultiTaskTrainer, Progress, Report, TimedCheckpoints
from models.network import Head
from models.recipe import Finetuning, Recipe, stages
from models.tokenizer import WindowTokenizer
from schemas.errors import ConfigurationError
from schemas.taxonomy import Taxonomy

SETTINGS = "recipe.json"


@dataclass(frozen=True, slots=True)
class Learnt:
    """The encoder after it learnt, and the heads of each stage by name that it learnt with."""

    encoder: Encoder
    heads: list[dict[str, Head]]


def finetuned(
    encoder: Encoder,
    examples: Sequence[Example],
    taxonomy: Taxonomy,
    recipe: Recipe,
    settings: Finetuning,
    *,
    folder: Path,
    tracked: bool = False,
    report: Report,
) -> Learnt:
    """What was learnt; checkpoints and logs go into `folder`.

    Goes on from the last checkpoint there, if there is one and its settings are the same: else it
    is in the way, and a ConfigurationError says so. With `tracked` MLflow's current run is told of
    every step.
    """
    _claim(folder, recipe)
    window = min(settings.window_tokens, encoder.shape.positions)
    tokenizer = WindowTokenizer(encoder.tokenizer, window)
    run = _Run(
        encoder,
        taxonomy,
        recipe,
        settings,
        tokenizer,
        text_sets(tokenizer, examples, taxonomy, Split.TRAIN),
        text_sets(tokenizer, examples, taxonomy, Split.DEVELOPMENT),
        tracked,
        report,
    )
    return _soup(
        [run.learnt(folder / f"run-{n + 1}", recipe.seed + n) for n in range(settings.soup)]
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """What all runs of a recipe have in common."""

    encoder: Encoder
    taxonomy: Taxonomy
    recipe: Recipe
    settings: Finetuning
    tokenizer: WindowTokenizer
    learning: Sequence[TextSet]
    development: Sequence[TextSet]
    tracked: bool
    report: Report

    def learnt(self, folder: Path, seed: int) -> Learnt:
        """One run; the seed is that of the texts' order and of dropout."""
        network = self._beginning()
        trainer = self._trainer(network, folder, seed)
        checkpoint = last_checkpoint(folder)
        if checkpoint:
            self.report(f"Going on from {checkpoint}")
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        weights = learnt_weights(network.encoder, self.encoder)
        return Learnt(replace(self.encoder, weights=weights), learnt_heads(network, self.taxonomy))

    def _beginning(self) -> MultiTaskNetwork:
        """The network before it learns, in every run with the same heads: the mean of weights
        that began apart would be of no use."""
        torch.manual_seed(self.recipe.seed)
        shape = self.encoder.shape
        return MultiTaskNetwork(
            adapted_bert(learning_bert(self.encoder), self.settings),
            shape.hidden,
            stages(shape.layers, self.recipe),
            {name: len(task.labels) for name, task in self.taxonomy.tasks.items()},
        )

    def _trainer(self, network: MultiTaskNetwork, folder: Path, seed: int) -> MultiTaskTrainer:
        trainer = MultiTaskTrainer(
            network,
            _arguments(self.settings, self.learning, folder, seed, self.tracked),
            self.settings,
            self.learning,
            self.development,
            Collator(
                self.tokenizer,
                {task: number for number, task in enumerate(self.taxonomy.tasks)},
                _augmentation(self.settings, self.learning, seed),
            ),
            [
                TimedCheckpoints(self.settings.checkpoint_minutes),
                EarlyStoppingCallback(self.settings.patience),
                Progress(self.report),
            ],
        )
        trainer.remove_callback(PrinterCallback)  # prints dictionaries; Progress says it in words
        return trainer


def _arguments(
    settings: Finetuning, learning: Sequence[TextSet], folder: Path, seed: int, tracked: bool
) -> TrainingArguments:
    logging.getLogger("transformers").setLevel(logging.ERROR)
    steps = len(BatchSampler(learning, settings, seed)) * settings.epochs
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_texts,
        lr_scheduler_type="linear",
        warmup_steps=round(settings.warm_up * steps),
        max_grad_norm=settings.largest_gradient,
        bf16=torch.cuda.is_available(),
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=SCORE,
        greater_is_better=True,
        logging_steps=50,
        disable_tqdm=True,  # Progress says it, in a terminal and in a log alike
        report_to=["tensorboard", "mlflow"] if tracked else ["tensorboard"],
        remove_unused_columns=False,
        accelerator_config={"split_batches": True},
        ddp_find_unused_parameters=True,  # the heads of the other tasks
        label_names=["labels"],
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=seed,
    )


def _augmentation(settings: Finetuning, learning: Sequence[TextSet], seed: int) -> Augmentation:
    companies = {
        text[start:end]
        for texts in learning
        for text, (start, end) in zip(texts.texts, texts.spans, strict=False)
    }
    tags = cashtags([text for texts in learning for text in texts.texts])
    return Augmentation(settings.augmentation, sorted(companies), tags, seed)


def _soup(runs: Sequence[Learnt]) -> Learnt:
    """The mean of the weights of several runs (model soups, Wortsman et al. 2022)."""
    first = runs[0].encoder
    weights = {
        name: np.mean([run.encoder.weights[name] for run in runs], axis=0) for name in first.weights
    }
    heads = [
        {name: _mean([heads[name] for heads in of_stage]) for name in of_stage[0]}
        for of_stage in zip(*(run.heads for run in runs), strict=True)
    ]
    return Learnt(replace(first, weights=weights), heads)


def _mean(heads: Sequence[Head]) -> Head:
    weights, biases = [head.weight for head in heads], [head.bias for head in heads]
    return replace(heads[0], weight=np.mean(weights, axis=0), bias=np.mean(biases, axis=0))


def _claim(folder: Path, recipe: Recipe) -> None:
    """Writes the settings of the run into its folder, or compares them with what stands there."""
    file = folder / SETTINGS
    begun = any(last_checkpoint(run) for run in folder.glob("run-*"))
    if begun and file.is_file() and _other_settings(file, recipe):
        raise ConfigurationError(
            f"The checkpoints in {folder} are of a run with other settings (see {SETTINGS} there). "
            "Remove the folder to begin anew, or name another --out."
        )
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(recipe.model_dump_json(indent=2))


def _other_settings(file: Path, recipe: Recipe) -> bool:
    try:
        return Recipe.model_validate_json(file.read_bytes()) != recipe
    except ValidationError:
        return True


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; the state is what is written last."""
    whole = [file.parent for file in folder.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
