"""The whole network on torch: on a GPU in bfloat16, on a CPU in float32.

It runs a bundle's float weights with the heads of its last stage; nobody leaves early. Texts are
sorted by length into batches of bounded size and padded to a multiple of `PADDED_TO`, so that few
shapes occur. On a GPU a batch's answer depends on its shape within the rounding of bfloat16.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from models.bundle import HEADS, WEIGHTS, Bundle
from models.encoder import WORDS, Encoder, load_encoder
from models.engine import EngineOutput, FloatArray, Request
from models.tokenizer import Tokens, WindowTokenizer
from models.torch_encoder import bert, weighted_mean
from schemas.errors import BundleError
from schemas.taxonomy import COMPANY_SENTIMENT

PADDED_TO = 8
BATCH_TOKENS = {"cpu": 2_048, "cuda": 65_536}


class TorchEngine:
    """An engine on one device, "cpu" or "cuda".

    `encoder`: the folder of the encoder that the bundle was trained from, for its word vectors;
    None means the packaged default. Raises BundleError when it is another one, or when there is no
    such device.
    """

    def __init__(self, bundle: Bundle, device: str, encoder: Path | None = None) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise BundleError("There is no GPU that torch can use. Set BELLWETHER_DEVICE=cpu.")
        self._device = torch.device(device)
        self._type = torch.bfloat16 if device == "cuda" else torch.float32
        self._batch_tokens = BATCH_TOKENS[device]
        self._tokenizer = WindowTokenizer(bundle.tokenizer, bundle.manifest.window_tokens)
        self._window_tokens = bundle.manifest.window_tokens
        self._pooled = bundle.manifest.stages[-1].pooled
        self._heads = {
            name: (self._placed(weight), self._placed(bias))
            for name, (weight, bias) in _last_heads(bundle).items()
        }
        self._model = bert(_trained(bundle, encoder)).eval()
        self._model.to(device=self._device, dtype=self._type)

    @property
    def widths(self) -> Mapping[str, int]:
        return {name: len(bias) for name, (_, bias) in self._heads.items()}

    @property
    def window_tokens(self) -> int:
        return self._window_tokens

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(tokens.ids) for tokens in self._tokenizer.encode(texts)]

    @torch.inference_mode()
    def run(self, requests: Sequence[Request]) -> EngineOutput:
        tokens = self._tokenizer.encode(
            [request.text for request in requests], [request.companies for request in requests]
        )
        first_company = np.cumsum([0, *(len(request.companies) for request in requests)])
        values = {
            name: np.zeros(
                (first_company[-1] if name == COMPANY_SENTIMENT else len(requests), width),
                np.float32,
            )
            for name, width in self.widths.items()
        }
        # Answers are fetched at the end: until then the device works while batches are made.
        pending = [
            (batch, self._batch([tokens[i] for i in batch]))
            for batch in _batches([len(t.ids) for t in tokens], self._batch_tokens)
        ]
        for batch, answers in pending:
            companies = [c for i in batch for c in range(*first_company[i : i + 2])]
            for name, rows in answers.items():
                places = companies if name == COMPANY_SENTIMENT else batch
                values[name][places] = rows.float().cpu().numpy()
        return EngineOutput(values, tuple(tokens), (1,) * len(requests))

    def _batch(self, tokens: Sequence[Tokens]) -> dict[str, torch.Tensor]:
        """Logits by head, on the device."""
        longest = -(-max(len(t.ids) for t in tokens) // PADDED_TO) * PADDED_TO
        ids = np.zeros((len(tokens), longest), np.int64)
        mask = np.zeros((len(tokens), longest), np.float32)
        for row, each in enumerate(tokens):
            ids[row, : len(each.ids)] = each.ids
            mask[row, : len(each.ids)] = 1
        on_device = self._moved(mask)
        states = self._model(
            input_ids=self._moved(ids), attention_mask=on_device, output_hidden_states=True
        ).hidden_states[-self._pooled :]
        vector = weighted_mean(states, on_device / on_device.sum(1, keepdim=True))
        answers = {
            name: vector @ weight + bias
            for name, (weight, bias) in self._heads.items()
            if name != COMPANY_SENTIMENT
        }
        of_text = [row for row, each in enumerate(tokens) for _ in each.places]
        if of_text:
            spans = self._moved(_span_weights(tokens, longest))
            own = weighted_mean([state[of_text] for state in states], spans)
            weight, bias = self._heads[COMPANY_SENTIMENT]
            answers[COMPANY_SENTIMENT] = torch.cat([vector[of_text], own], 1) @ weight + bias
        return answers

    def _moved(self, array: FloatArray | np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if self._device.type == "cuda":
            tensor = tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor.to(self._type) if tensor.is_floating_point() else tensor

    def _placed(self, array: FloatArray) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device, self._type)


def _trained(bundle: Bundle, folder: Path | None) -> Encoder:
    """The encoder with the bundle's weights; only its word vectors are its own."""
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


def _last_heads(bundle: Bundle) -> dict[str, tuple[FloatArray, FloatArray]]:
    arrays = load_file(bundle.folder / HEADS)
    stage = len(bundle.manifest.stages)
    return {
        name: (arrays[f"{stage}/{name}.weight"], arrays[f"{stage}/{name}.bias"])
        for name in bundle.manifest.heads
    }


def _span_weights(tokens: Sequence[Tokens], longest: int) -> FloatArray:
    """[companies, longest]: what makes the mean over each company's tokens."""
    rows = []
    for each in tokens:
        for places in each.places:
            row = np.zeros(longest, np.float32)
            # A company beyond the window has the whole text's vector.
            found = list(places) or list(range(len(each.ids)))
            row[found] = 1 / len(found)
            rows.append(row)
    return np.stack(rows)


def _batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Positions by falling length; each batch within the budget when padded to its longest."""
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch
