"""Fine-tuning: the encoder and a head a task learn together, on `transformers.Trainer`.

Each batch is of one data set and of texts of about one length. The word vectors stay as they came,
since they come with the encoder's package; every other weight learns, by itself (`full`) or through
low-rank matrices (`lora`, Hu et al. 2021). The heads learnt here only teach the encoder: those that
serve are fitted afterwards on the vectors of the int8 engine.

With `torchrun` several processes share each batch. A run that was killed goes on from its last
checkpoint when it is started again with the same settings, data and folder.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.utils.data import DataLoader
from transformers import BertConfig, BertModel, EarlyStoppingCallback, Trainer, TrainingArguments
from transformers.trainer_callback import (
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)

from models.batches import BatchSampler, Collator, Texts, TextSet, text_sets
from models.data import Example, Split
from models.encoder import Encoder, EncoderShape
from models.measures import accuracy
from models.recipe import Finetuning
from schemas.taxonomy import Taxonomy

WORDS = "embeddings.word_embeddings.weight"
EVALUATION_TEXTS = 256
SCORE = "eval_accuracy"

Report = Callable[[str], None]


class MultiTaskNetwork(nn.Module):
    """The encoder with mean pooling of its last layers and one linear head a task.

    `forward` takes ids and mask [batch, length] and the number of the batch's task, and gives
    logits [batch, labels of that task].
    """

    def __init__(
        self,
        encoder: nn.Module,
        shape: EncoderShape,
        widths: Mapping[str, int],
        pooled_layers: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.layers = shape.layers
        self.pooled_layers = min(pooled_layers, shape.layers)
        vector = shape.hidden * self.pooled_layers
        self.heads = nn.ModuleList(nn.Linear(vector, width) for width in widths.values())

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, task: int) -> torch.Tensor:
        states = self.encoder(
            input_ids=ids, attention_mask=mask, output_hidden_states=True
        ).hidden_states
        weights = (mask / mask.sum(1, keepdim=True)).unsqueeze(-1).to(states[-1].dtype)
        pooled = [(state * weights).sum(1) for state in states[-self.pooled_layers :]]
        logits: torch.Tensor = self.heads[task](torch.cat(pooled, 1))
        return logits


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
        logits = model(inputs["ids"], inputs["mask"], int(inputs["task"]))
        loss = F.cross_entropy(
            logits, inputs["labels"], label_smoothing=self._settings.label_smoothing
        )
        return (loss, {"logits": logits}) if return_outputs else loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The accuracy on each development set, and their mean."""
        by_set = {texts.source: self._accuracy(texts) for texts in self._development}
        metrics = {f"eval_{source}": value for source, value in by_set.items()}
        metrics[SCORE] = sum(by_set.values()) / len(by_set)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    @torch.no_grad()
    def _accuracy(self, texts: TextSet) -> float:
        self._network.eval()
        order = sorted(range(len(texts)), key=lambda position: len(texts.ids[position]))
        predicted = np.empty(len(texts), np.int64)
        for start in range(0, len(order), EVALUATION_TEXTS):
            positions = order[start : start + EVALUATION_TEXTS]
            batch = self._prepare_inputs(self._collator([(texts, p) for p in positions]))
            logits = self._network(batch["ids"], batch["mask"], int(batch["task"]))
            predicted[positions] = logits.argmax(1).cpu().numpy()
        return accuracy(np.array(texts.targets, np.int64), predicted)


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
    settings: Finetuning,
    *,
    pooled_layers: int,
    seed: int,
    folder: Path,
    report: Report,
) -> Encoder:
    """The encoder after it learnt; checkpoints and logs go into `folder`.

    Goes on from the last checkpoint there, if there is one.
    """
    torch.manual_seed(seed)
    learning = text_sets(encoder, examples, taxonomy, settings.window_tokens, Split.TRAIN)
    development = text_sets(encoder, examples, taxonomy, settings.window_tokens, Split.DEVELOPMENT)
    widths = {name: len(task.labels) for name, task in taxonomy.tasks.items()}
    model = _adapted(_bert(encoder), settings)
    network = MultiTaskNetwork(model, encoder.shape, widths, pooled_layers)
    trainer = MultiTaskTrainer(
        network,
        _arguments(settings, learning, folder, seed),
        settings,
        learning,
        development,
        Collator({task: number for number, task in enumerate(widths)}),
        [
            TimedCheckpoints(settings.checkpoint_minutes),
            EarlyStoppingCallback(settings.patience),
            Progress(report),
        ],
    )
    checkpoint = last_checkpoint(folder)
    if checkpoint:
        report(f"Going on from {checkpoint}")
    trainer.remove_callback(PrinterCallback)  # it prints dictionaries; Progress says it in words
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return replace(encoder, weights=_weights(network.encoder, encoder))


def is_helper() -> bool:
    """Whether this process only helps another to learn, as started by torchrun."""
    return torch.distributed.is_initialized() and torch.distributed.get_rank() > 0


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; the state is what is written last."""
    whole = [file.parent for file in folder.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _bert(encoder: Encoder) -> BertModel:
    shape = encoder.shape
    config = BertConfig(
        vocab_size=len(encoder.weights[WORDS]),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.attention_heads,
        intermediate_size=len(encoder.weights["encoder.layer.0.intermediate.dense.bias"]),
        hidden_act=shape.activation,
        max_position_embeddings=shape.positions,
        type_vocab_size=len(encoder.weights["embeddings.token_type_embeddings.weight"]),
        layer_norm_eps=shape.epsilon,
    )
    model = BertModel(config, add_pooling_layer=False)  # type: ignore[no-untyped-call]
    known = model.state_dict().keys()
    weights = {name: torch.from_numpy(w) for name, w in encoder.weights.items() if name in known}
    model.load_state_dict(weights)
    model.embeddings.word_embeddings.weight.requires_grad_(False)
    return model


def _adapted(model: BertModel, settings: Finetuning) -> nn.Module:
    if settings.method == "full":
        return model
    dense = LoraConfig(r=settings.rank, lora_alpha=2 * settings.rank, target_modules="all-linear")
    adapted: nn.Module = get_peft_model(model, dense)
    return adapted


def _weights(model: nn.Module, encoder: Encoder) -> dict[str, Any]:
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
            groups[_rate(name, network.layers, settings), decay].append(parameter)
    return [
        {"params": found, "lr": rate, "weight_decay": decay}
        for (rate, decay), found in groups.items()
    ]


def _rate(name: str, layers: int, settings: Finetuning) -> float:
    if name.startswith("heads."):
        return settings.head_learning_rate
    _, is_layer, rest = name.partition("encoder.layer.")
    below_top = layers - 1 - int(rest.split(".")[0]) if is_layer else layers
    return settings.learning_rate * settings.layer_decay**below_top


def _arguments(
    settings: Finetuning, learning: Sequence[TextSet], folder: Path, seed: int
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
        report_to=["tensorboard"],
        remove_unused_columns=False,
        accelerator_config={"split_batches": True},
        ddp_find_unused_parameters=True,  # the heads of the other tasks
        label_names=["labels"],
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=seed,
    )
