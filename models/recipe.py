"""How a bundle is made: one file of settings reproduces a run, given the same data and encoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import ConfigurationError
from schemas.yaml_files import load_yaml

SHIPPED_RECIPES = Path(__file__).with_name("recipes")

Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
LanguageCode = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Finetuning(_Settings):
    """How the encoder learns: all heads together, each batch of one data set.

    epochs: passes; in one, a set of n texts gives n ** sampling_power batches in proportion, so
        that a large set does not drown a small one.
    batch_texts: texts of a batch, over all processes.
    layer_decay: factor of the learning rate from one layer to the next below it.
    warm_up: share of the steps in which the learning rate rises; it falls linearly afterwards.
    window_tokens: texts are cut to so many tokens while learning.
    patience: passes without a better mean accuracy on the development texts before it stops.
    rank: of the low-rank matrices, for `lora`.
    exit_weight: weight of the loss at each exit before the last layer, beside 1 there.
    augmentation: probability of each change to a text (see `augmentation`).
    soup: runs that begin alike and see the texts in other orders; the mean of their weights is
        taken. Each takes as long as one.
    """

    method: Literal["full", "lora"] = "full"
    epochs: Count = 3
    batch_texts: Count = 64
    learning_rate: Positive = 5e-5
    head_learning_rate: Positive = 2e-3
    layer_decay: Positive = 1.0
    weight_decay: Share = 0.01
    warm_up: Share = 0.06
    label_smoothing: Share = 0.05
    largest_gradient: Positive = 1.0
    sampling_power: Positive = 0.75
    window_tokens: Count = 96
    patience: Count = 2
    rank: Count = 16
    exit_weight: Positive = 0.5
    augmentation: Share = 0.1
    soup: Count = 1
    checkpoint_minutes: Positive = 10


class Recipe(_Settings):
    """The settings of a run. Without `finetuning` the encoder stays as it came.

    languages: those of the labelled texts, as ISO 639 codes; a bundle doubts texts in others.
    pooled_layers: the vector of a text is the mean over its tokens of each of so many last layers;
        one alone is 2 points worse on sentiment with a frozen encoder and costs as much.
    exits: layers after which a text whose answers are plain goes no further.
    exit_loss: share of right answers that may be lost by leaving early, over all exits together.
    range_texts: texts of each set by which the ranges of activations are measured.
    penalties: values of scikit-learn's C that are tried for each head.
    ngrams: whether word n-grams speak beside the encoder.
    """

    seed: int = 0
    languages: Annotated[tuple[LanguageCode, ...], Field(min_length=1)] = ("en",)
    window_tokens: Count = 256
    pooled_layers: Count = 3
    exits: tuple[Count, ...] = ()
    exit_loss: Share = 0.003
    range_texts: Count = 60
    penalties: tuple[Positive, ...] = (0.01, 0.03, 0.1)
    ngrams: bool = True
    finetuning: Finetuning | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """A run of layers, `first` up to but without `end`, with heads at its end.

    The vector of a text there is the mean over its tokens of each of the last `pooled` layers.
    """

    first: int
    end: int
    pooled: int


def stages(layers: int, recipe: Recipe) -> tuple[Stage, ...]:
    """The stages of an encoder of so many layers; the last ends with its last layer."""
    ends = [*sorted(end for end in set(recipe.exits) if end < layers), layers]
    return tuple(
        Stage(first, end, min(recipe.pooled_layers, end - first))
        for first, end in zip([0, *ends], ends, strict=False)
    )


def load_recipe(name: str) -> Recipe:
    """A shipped recipe by its name, or one's own by its file's path (.yaml).

    Raises ConfigurationError with the file and the setting that is wrong.
    """
    file = Path(name) if name.endswith((".yaml", ".yml")) else SHIPPED_RECIPES / f"{name}.yaml"
    if not file.is_file():
        raise ConfigurationError(
            f"There is no recipe {name!r}. Choose from {', '.join(shipped_recipes())}, "
            "or name a file that ends in .yaml."
        )
    document = load_yaml(file)
    if not isinstance(document.data, Mapping):
        raise document.error("expected settings by name, such as `seed: 0`")
    try:
        return Recipe.model_validate(document.data)
    except ValidationError as error:
        raise document.invalid(error) from None


def shipped_recipes() -> tuple[str, ...]:
    """The names of the recipes that come with the package."""
    return tuple(sorted(file.stem for file in SHIPPED_RECIPES.glob("*.yaml")))
