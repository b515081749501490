"""The network that learns: the encoder, and at the end of each stage a linear head a task.

The word vectors stay as they came, since they come with the encoder's package; every other weight
learns, by itself (`full`) or through low-rank matrices (`lora`, Hu et al. 2021).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import BertModel

from models.encoder import Encoder, FloatArray
from models.network import Head
from models.recipe import Finetuning, Stage
from models.torch_encoder import bert, weighted_mean
from schemas.taxonomy import COMPANY_SENTIMENT, SENTIMENT, Taxonomy


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


def learning_bert(encoder: Encoder) -> BertModel:
    """The encoder with its weights, of which all learn but the word vectors."""
    model = bert(encoder)
    model.embeddings.word_embeddings.weight.requires_grad_(False)
    return model


def adapted_bert(model: BertModel, settings: Finetuning) -> nn.Module:
    """The encoder as it learns: by itself, or through low-rank matrices in every dense layer."""
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
