"""The whole network on torch: on a GPU in bfloat16, on a CPU in float32.

It runs a bundle's float weights with the heads and n-grams of its last stage; nobody leaves early.
Texts are sorted by length into batches of bounded size and padded to a multiple of `PADDED_TO`, so
that few shapes occur. On a GPU a batch's answer depends on its shape within the rounding of
bfloat16.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from models.bundle import Bundle
from models.engine import EngineOutput, FloatArray, Request, ngram_logits, span_weights
from models.tokenizer import Tokens, WindowTokenizer
from models.torch_network import TorchNetwork
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
        self._ngrams = bundle.ngrams
        self._network = TorchNetwork.load(bundle, encoder).to(self._device, self._type)

    @property
    def widths(self) -> Mapping[str, int]:
        return self._network.widths

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
        for name, logits in ngram_logits(self._ngrams, requests, tokens).items():
            values[name] += np.float32(self._ngrams.shares[name][-1]) * logits
        return EngineOutput(values, tuple(tokens), (1,) * len(requests))

    def _batch(self, tokens: Sequence[Tokens]) -> dict[str, torch.Tensor]:
        """Logits by head, on the device."""
        longest = max(len(each.ids) for each in tokens)
        # Beyond the window the encoder may have no positions.
        length = min(-(-longest // PADDED_TO) * PADDED_TO, self._window_tokens)
        ids = np.zeros((len(tokens), length), np.int64)
        mask = np.zeros((len(tokens), length), np.float32)
        for row, each in enumerate(tokens):
            ids[row, : len(each.ids)] = each.ids
            mask[row, : len(each.ids)] = 1
        company_texts = [row for row, each in enumerate(tokens) for _ in each.places]
        answers: dict[str, torch.Tensor] = self._network(
            self._moved(ids),
            self._moved(mask),
            self._moved(np.array(company_texts, np.int64)),
            self._moved(span_weights(tokens, length)),
        )
        return answers

    def _moved(self, array: FloatArray | np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if self._device.type == "cuda":
            tensor = tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor.to(self._type) if tensor.is_floating_point() else tensor


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
