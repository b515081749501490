"""How the network learns, on `transformers.Trainer`: batches of one task each, a loss over the
stages, a learning rate a layer, and what is said on the way."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState

from models.batches import NO_LABEL, BatchSampler, Collator, Texts, TextSet
from models.measures import accuracy
from models.multitask_network import MultiTaskNetwork, StageLogits
from models.recipe import Finetuning

EVALUATION_TEXTS = 256
SCORE = "eval_accuracy"

Report = Callable[[str], None]


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


def is_helper() -> bool:
    """Whether this process only helps another to learn, as started by torchrun."""
    return torch.distributed.is_initialized() and torch.distributed.get_rank() > 0
