"""A BERT of random weights, small enough to train and serve in a second."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

LAYERS, HEADS, HIDDEN, WIDE, POSITIONS = 2, 4, 32, 64, 64
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
HAN = "涨跌"


def write_encoder(folder: Path, activation: str = "gelu", han: str = HAN) -> Path:
    """A folder as `load_encoder` reads it; its words are single characters, `han` the Chinese."""
    return _write(folder, activation, _vocabulary(han))


def write_word_encoder(folder: Path, words: Iterable[str]) -> Path:
    """The same with words of more characters, in which layers and positions change little.

    So heads on it see nearly a bag of these words; single characters are all one to it.
    """
    characters = _vocabulary(HAN)
    vocabulary = list(dict.fromkeys([*characters, *words]))
    _write(folder, "gelu", {word: number for number, word in enumerate(vocabulary)})
    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        if name.endswith(("dense.weight", "dense.bias")) or ".self." in name or "position" in name:
            weight *= 0.03
    vectors = weights["embeddings.word_embeddings.weight"]
    vectors[len(SPECIAL) : len(characters)] = vectors[SPECIAL.index("[UNK]")]
    save_file(weights, folder / "model.safetensors")
    return folder


def _write(folder: Path, activation: str, vocabulary: dict[str, int]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    _tokenizer(vocabulary).save(str(folder / "tokenizer.json"))
    config = {
        "model_type": "bert",
        "hidden_act": activation,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "hidden_size": HIDDEN,
        "intermediate_size": WIDE,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "vocab_size": len(vocabulary),
        "layer_norm_eps": 1e-12,
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file(_weights(len(vocabulary)), folder / "model.safetensors")
    return folder


def _vocabulary(han: str) -> dict[str, int]:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *han]
    return {word: number for number, word in enumerate(words)}


def _tokenizer(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def _weights(words: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)

    def matrix(*shape: int) -> np.ndarray:
        return random.normal(0, 0.3, shape).astype(np.float32)

    weights = {
        "embeddings.word_embeddings.weight": matrix(words, HIDDEN),
        "embeddings.position_embeddings.weight": matrix(POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": matrix(2, HIDDEN),
    }
    norms = ["embeddings.LayerNorm"]
    dense: dict[str, tuple[int, int]] = {}
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        dense |= {f"{at}.attention.self.{n}": (HIDDEN, HIDDEN) for n in ("query", "key", "value")}
        dense[f"{at}.attention.output.dense"] = (HIDDEN, HIDDEN)
        dense[f"{at}.intermediate.dense"] = (WIDE, HIDDEN)
        dense[f"{at}.output.dense"] = (HIDDEN, WIDE)
        norms += [f"{at}.attention.output.LayerNorm", f"{at}.output.LayerNorm"]
    for name, shape in dense.items():
        weights |= {f"{name}.weight": matrix(*shape), f"{name}.bias": matrix(shape[0])}
    for name in norms:
        weights |= {f"{name}.weight": 1 + matrix(HIDDEN), f"{name}.bias": matrix(HIDDEN)}
    return weights
