"""Fine-tuning: the encoder and a head a task learn together, on `transformers.Trainer`.

Each batch is of one data set and of texts of about one length. The word vectors stay as they came,
since they come with the encoder's package; every other weight learns, by itself (`full`) or through
low-rank matrices (`lora`, Hu et al. 2021).

With `torchrun` several processes share each batch. A run that was killed goes on from its last
checkpoint when it is started again with the same settings, data and folder.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from pydantic import ValidationError
from torch import nn
from torch.utils.data import DataLoader
from transformers import BertModel, EarlyStoppingCallback, Trainer, TrainingArguments
from transformers.trainer_callback import (
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)

from models.augmentation import Augmentation, cashtags
from models.batches import NO_LABEL, BatchSampler, Collator, Texts, TextSet, text_sets
from models.data import Example, Split
from models.encoder import Encoder, FloatArray
from models.measures import accuracy
from models.network import Head
from models.recipe import Finetuning, Recipe, Stage, stages
from models.tokenizer import WindowTokenizer
from models.torch_encoder import bert, weighted_mean
from schemas.errors import ConfigurationError
from schemas.taxonomy import COMPANY_SENTIMENT, SENTIMENT, Taxonomy

EVALUATION_TEXTS = 256
SCORE = "eval_accuracy"
SETTINGS = "recipe.json"

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Learnt:
    """The encoder after it learnt, and the heads of each stage by name that it learnt with."""

    encoder: Encoder
    heads: list[dict[str, Head]]


class StageLogits(NamedTuple):
    """What a stage answers: the text's logits [batch, labels], and the companies' [batch, labels]
    where they were asked for."""

    text: torch.Tensor
    company: torch.Tensor | None


class MultiTaskNetwork(nn.Module):
    """The encoder, and at the end of each stage one linear head a task and one for companies.

    `forward` takes ids and mask [batch, length], the number of the batch's task, and the weights
    [batch, length] of each company's tokens, if there are companies.
    """

    def __init__(
        self,
        encoder: nn.Module,
        hidden: int,
        stages: Sequence[Stage],
        widths: Mapping[str, int],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.stages = stages
        vectors = [hidden * stage.pooled for stage in stages]
        self.heads = nn.ModuleList(
            nn.ModuleList(nn.Linear(vector, width) for width in widths.values())
            for vector in vectors
        )
        # A company's vector is that of its tokens beside that of the whole text.
        self.company_heads = nn.ModuleList(
            nn.Linear(2 * vector, widths[SENTIMENT]) for vector in vectors
        )

    def forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        task: int,
        spans: torch.Tensor | None = None,
    ) -> list[StageLogits]:
        states = self.encoder(
            input_ids=ids, attention_mask=mask, output_hidden_states=True
        ).hidden_states
        weights = mask / mask.sum(1, keepdim=True)
        answers = []
        for stage, heads, company_head in zip(
            self.stages, self.heads, self.company_heads, strict=True
        ):
            read = states[stage.end - stage.pooled + 1 : stage.end + 1]
            vector = weighted_mean(read, weights)
            company = None
            if spans is not None:
                company = company_head(torch.cat([vector, weighted_mean(read, spans)], 1))
            answers.append(StageLogits(heads[task](vector), company))  # type: ignore[index]
        return answers


class MultiTaskTrainer(Trainer):
    """Batches of one task each; the mean accuracy over the development sets is the score."""

    def __init__(
        self,
        network: MultiTaskNetwork,
        arguments: TrainingArguments,
        settings: Finetuning,
        learning: Sequence[TextSet],
        development: Sequence[TextSet],
        collator: Collator,
        callbacks: Sequence[TrainerCallback],
    ) -> None:
        super().__init__(
            network,
            arguments,
            train_dataset=Texts(learning),
            eval_dataset=Texts(development),
            data_collator=collator,
            callbacks=list(callbacks),
        )
        self._network = network
        self._settings = settings
        self._learning = learning
        self._development = development
        self._collator = collator
        self._plain = replace(collator, augmentation=None)

    def get_train_dataloader(self) -> DataLoader[Any]:
        sampler = BatchSampler(self._learning, self._settings, self.args.seed)
        loader = DataLoader(Texts(self._learning), batch_sampler=sampler, collate_fn=self._collator)
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW with a learning rate of its own for the heads and for each layer."""
        if self.optimizer is None:
            groups = _parameter_groups(self._network, self._settings)
            self.optimizer = torch.optim.AdamW(groups, fused=True)
        return self.optimizer

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        answers = self._answers(model, inputs)
        loss = self._loss(answers[-1], inputs)
        for answer in answers[:-1]:
            loss = loss + self._settings.exit_weight * self._loss(answer, inputs)
        return (loss, {"logits": answers[-1].text}) if return_outputs else loss

    def _loss(self, answer: StageLogits, inputs: Any) -> torch.Tensor:
        smoothing = self._settings.label_smoothing
        losses = []
        if (inputs["labels"] != NO_LABEL).any():
            losses.append(F.cross_entropy(answer.text, inputs["labels"], label_smoothing=smoothing))
        if answer.company is not None:
            losses.append(
                F.cross_entropy(answer.company, inputs["company_labels"], label_smoothing=smoothing)
            )
        return torch.stack(losses).sum()

    def _answers(self, model: Any, inputs: Any) -> list[StageLogits]:
        answers: list[StageLogits] = model(
            inputs["ids"], inputs["mask"], int(inputs["task"]), inputs.get("spans")
        )
        return answers

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The accuracy on each development set, and their mean; the exits' means beside it."""
        by_stage: list[dict[str, float]] = [{} for _ in self._network.stages]
        for texts in self._development:
            for found, measured in zip(by_stage, self._accuracies(texts), strict=True):
                found |= measured
        means = [sum(found.values()) / len(found) for found in by_stage]
        metrics = {f"eval_{name}": value for name, value in by_stage[-1].items()}
        for stage, mean in zip(self._network.stages[:-1], means, strict=False):
            metrics[f"eval_exit_{stage.end}"] = mean
        metrics[SCORE] = means[-1]
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    @torch.no_grad()
    def _accuracies(self, texts: TextSet) -> list[dict[str, float]]:
        """For each stage the accuracy on the texts and, where there are companies, on those."""
        self._network.eval()
        order = sorted(range(len(texts)), key=texts.lengths.__getitem__)
        predicted = np.zeros((len(self._network.stages), 2, len(texts)), np.int64)
        for start in range(0, len(order), EVALUATION_TEXTS):
            positions = order[start : start + EVALUATION_TEXTS]
            batch = self._prepare_inputs(self._plain([(texts, p) for p in positions]))
            for stage, answer in enumerate(self._answers(self._network, batch)):
                predicted[stage, 0, positions] = answer.text.argmax(1).cpu().numpy()
                if answer.company is not None:
                    predicted[stage, 1, positions] = answer.company.argmax(1).cpu().numpy()
        labels, companies = np.array(texts.targets), np.array(texts.company_targets)
        known = labels != NO_LABEL
        return [
            {texts.source: accuracy(labels[known], text[known])}
            | ({f"{texts.source}_companies": accuracy(companies, company)} if texts.spans else {})
            for text, company in predicted
        ]


class TimedCheckpoints(TrainerCallback):
    """Asks for a checkpoint whenever so much time went by since the last."""

    def __init__(self, minutes: float) -> None:
        self._seconds = 60 * minutes
        self._last = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        if time.monotonic() - self._last >= self._seconds:
            control.should_save = True
            self._last = time.monotonic()
        return control


class Progress(TrainerCallback):
    """Says now and then how far it is, and after each pass how good on the development texts."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        logs: Mapping[str, Any] = kwargs["logs"]
        if "loss" in logs and not is_helper():
            self._report(
                f"step {state.global_step:,} of {state.max_steps:,}: loss {float(logs['loss']):.3f}"
            )

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        if is_helper():
            return
        metrics: Mapping[str, float] = kwargs["metrics"]
        shown = ", ".join(
            f"{name.removeprefix('eval_')} {value:.3f}"
            for name, value in metrics.items()
            if name.startswith("eval_")
        )
        self._report(f"pass {state.epoch:.1f}: development {shown}")


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


def learnt_heads(network: MultiTaskNetwork, taxonomy: Taxonomy) -> list[dict[str, Head]]:
    """The heads of each stage by their names."""
    labels = [task.labels for task in taxonomy.tasks.values()]
    names = [*taxonomy.tasks, COMPANY_SENTIMENT]
    return [
        {
            name: Head(own, *_arrays(head))
            for name, own, head in zip(
                names,
                [*labels, taxonomy.tasks[SENTIMENT].labels],
                [*of_texts, of_companies],  # type: ignore[misc]
                strict=True,
            )
        }
        for of_texts, of_companies in zip(network.heads, network.company_heads, strict=True)
    ]


def _arrays(head: nn.Linear) -> tuple[FloatArray, FloatArray]:
    """Weight [width, labels] and bias [labels]."""
    weight, bias = head.weight.detach().cpu().numpy(), head.bias.detach().cpu().numpy()
    return np.ascontiguousarray(weight.T), bias.copy()


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


def _augmentation(settings: Finetuning, learning: Sequence[TextSet], seed: int) -> Augmentation:
    companies = {
        text[start:end]
        for texts in learning
        for text, (start, end) in zip(texts.texts, texts.spans, strict=False)
    }
    tags = cashtags([text for texts in learning for text in texts.texts])
    return Augmentation(settings.augmentation, sorted(companies), tags, seed)


def is_helper() -> bool:
    """Whether this process only helps another to learn, as started by torchrun."""
    return torch.distributed.is_initialized() and torch.distributed.get_rank() > 0


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; the state is what is written last."""
    whole = [file.parent for file in folder.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def learning_bert(encoder: Encoder) -> BertModel:
    model = bert(encoder)
    model.embeddings.word_embeddings.weight.requires_grad_(False)
    return model


def adapted_bert(model: BertModel, settings: Finetuning) -> nn.Module:
    if settings.method == "full":
        return model
    dense = LoraConfig(r=settings.rank, lora_alpha=2 * settings.rank, target_modules="all-linear")
    adapted: nn.Module = get_peft_model(model, dense)
    return adapted


def learnt_weights(model: nn.Module, encoder: Encoder) -> dict[str, Any]:
    """The encoder's weights after learning, adapters merged in."""
    merged = model.merge_and_unload() if isinstance(model, PeftModel) else model
    learnt = {name: w.detach().cpu().float().numpy() for name, w in merged.state_dict().items()}
    return {name: learnt.get(name, weight) for name, weight in encoder.weights.items()}


def _parameter_groups(network: MultiTaskNetwork, settings: Finetuning) -> list[dict[str, Any]]:
    """One group for each learning rate, with and without decay: norms and biases have none."""
    groups: defaultdict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            groups[_rate(name, network.stages[-1].end, settings), decay].append(parameter)
    return [
        {"params": found, "lr": rate, "weight_decay": decay}
        for (rate, decay), found in groups.items()
    ]


def _rate(name: str, layers: int, settings: Finetuning) -> float:
    if name.startswith(("heads.", "company_heads.")):
        return settings.head_learning_rate
    _, is_layer, rest = name.partition("encoder.layer.")
    below_top = layers - 1 - int(rest.split(".")[0]) if is_layer else layers
    return settings.learning_rate * settings.layer_decay**below_top


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
