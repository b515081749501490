"""The encoder as torch runs it."""

from collections.abc import Sequence

import torch
from transformers import BertConfig, BertModel

from models.encoder import WORDS, Encoder


def bert(encoder: Encoder) -> BertModel:
    """The encoder with its weights, in float32, without a head."""
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
    return model


def weighted_mean(states: Sequence[torch.Tensor], weights: torch.Tensor) -> torch.Tensor:
    """The weighted mean over the tokens of each state, one beside the other."""
    columns = weights.unsqueeze(-1).to(states[0].dtype)
    return torch.cat([(state * columns).sum(1) for state in states], 1)
