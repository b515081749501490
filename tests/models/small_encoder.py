"""A BERT of random weights, small enough to train and serve in a second."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

LAYERS, HEADS, HIDDEN, WIDE, POSITIONS = 2, 4, 32, 64, 64
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def write_encoder(folder: Path, activation: str = "gelu", han: str = "涨跌") -> Path:
    """A folder as `load_encoder` reads it; its words are single characters, `han` the Chinese."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _vocabulary(han)
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
