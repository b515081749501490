"""A bundle's network on torch: its float weights with the heads of a stage, mostly the last."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import nn

from models.bundle import HEADS, WEIGHTS, Bundle
from models.encoder import WORDS, Encoder, load_encoder
from models.engine import FloatArray
from models.torch_encoder import bert, weighted_mean
from schemas.errors import BundleError
from schemas.taxonomy import COMPANY_SENTIMENT

WeightAndBias = tuple[FloatArray, FloatArray]


class TorchNetwork(nn.Module):
    """From token ids to logits; float32 on the CPU until it is moved. It does not learn.

    heads: weight [vector, labels] and bias [labels] of each head.
    pooled: a text's vector is the mean over its tokens of each of so many last states.
    layers: how many of the encoder's are asked; None: all.
    """

    def __init__(
        self,
        encoder: Encoder,
        heads: Mapping[str, WeightAndBias],
        pooled: int,
        layers: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder = bert(encoder)
        self.widths = {name: len(bias) for name, (_, bias) in heads.items()}
        self.heads = nn.ModuleList(_linear(weight, bias) for weight, bias in heads.values())
        end = 1 + (encoder.shape.layers if layers is None else layers)  # the first state is words
        self._states = slice(end - pooled, end)
        self.requires_grad_(False)
        self.train(False)

    @classmethod
    def load(
        cls, bundle: Bundle, encoder: Path | None = None, stage: int | None = None
    ) -> "TorchNetwork":
        """The network of a bundle, up to the end of a stage, from 1 (None: the last).

        `encoder`: the folder of the encoder that the bundle was trained from, for its word vectors;
        None means the packaged default. Raises BundleError when it is another one.
        """
        number = stage or len(bundle.manifest.stages)
        entry = bundle.manifest.stages[number - 1]
        return cls(
            trained_encoder(bundle, encoder), stage_heads(bundle, number), entry.pooled, entry.end
        )

    def forward(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        company_texts: torch.Tensor,
        company_weights: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Logits by head: [texts, labels], of COMPANY_SENTIMENT [companies, labels].

        ids [texts, length]; mask: 1 at tokens, 0 at padding; company_texts [companies]: the text
        of each company; company_weights [companies, length]: see `span_weights`.
        """
        answer = self.encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        states = answer.hidden_states[self._states]
        of_texts = weighted_mean(states, mask / mask.sum(1, keepdim=True))
        own = weighted_mean([state[company_texts] for state in states], company_weights)
        of_companies = torch.cat([of_texts[company_texts], own], 1)
        return {
            name: head(of_companies if name == COMPANY_SENTIMENT else of_texts)
            for name, head in zip(self.widths, self.heads, strict=True)
        }


def trained_encoder(bundle: Bundle, folder: Path | None = None) -> Encoder:
    """The encoder with the bundle's weights; only its word vectors are its own.

    Raises BundleError when the folder holds another encoder than the bundle was trained from.
    """
    encoder = load_encoder(folder)
    expected = bundle.manifest.encoder
    if encoder.sha256 != expected.sha256:
        raise BundleError(
            f"The bundle {bundle.folder} stands on the encoder {expected.name} (SHA-256 "
            f"{expected.sha256}), not on {encoder.name} ({encoder.sha256})."
        )
    learnt = {
        name: array.astype(np.float32) for name, array in load_file(bundle.folder / WEIGHTS).items()
    }
    return replace(encoder, weights={WORDS: encoder.weights[WORDS], **learnt})


def stage_heads(bundle: Bundle, stage: int) -> dict[str, WeightAndBias]:
    """The heads of a stage, from 1, whose logits are divided by their temperatures already."""
    arrays = load_file(bundle.folder / HEADS)
    return {
        name: (arrays[f"{stage}/{name}.weight"], arrays[f"{stage}/{name}.bias"])
        for name in bundle.manifest.heads
    }


def _linear(weight: FloatArray, bias: FloatArray) -> nn.Linear:
    head = nn.Linear(*weight.shape)
    head.load_state_dict(
        {"weight": torch.from_numpy(weight.T.copy()), "bias": torch.from_numpy(bias)}
    )
    return head
