"""The torch engine answers as the graphs do, whatever else is in its batch."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from models.bundle import Bundle
from models.calibration import softmax
from models.engine import EngineOutput, Request
from models.export import stage_graphs
from models.network import Head
from models.onnx_engine import OnnxEngine
from models.probes import CLEAR_MARGIN
from models.recipe import Stage
from models.torch_engine import TorchEngine
from models.torch_network import stage_heads, trained_encoder
from schemas.errors import BundleError
from schemas.taxonomy import COMPANY_SENTIMENT, load_taxonomy
from tests.models.small_encoder import LAYERS, write_word_encoder
from tests.models.texts import varied_texts

COMPANY = "Ant"


def some_requests() -> list[Request]:
    """Short and long texts, every third with two companies, one of which may be out of sight."""
    requests = []
    for number, text in enumerate(varied_texts(120)):
        named = f"{COMPANY} {text} Bee"
        spans = ((0, len(COMPANY)), (len(named) - 3, len(named)))
        requests.append(Request(named, ()) if number % 3 else Request(named, (), spans))
    return requests


REQUESTS = some_requests()


@pytest.fixture(scope="module")
def bundle(small_bundle: Path) -> Bundle:
    return Bundle.open(small_bundle, load_taxonomy())


@pytest.fixture(scope="module")
def engine(bundle: Bundle, encoder: Path) -> TorchEngine:
    return TorchEngine(bundle, "cpu", encoder)


@pytest.fixture(scope="module")
def together(engine: TorchEngine) -> EngineOutput:
    return engine.run(REQUESTS)


def float_graph(bundle: Bundle, encoder: Path) -> OnnxEngine:
    """The same weights on ONNX Runtime, all layers in one stage and nothing rounded to int8."""
    manifest = bundle.manifest
    heads = {
        name: Head(manifest.heads[name].labels, weight, bias)
        for name, (weight, bias) in stage_heads(bundle, len(bundle.manifest.stages)).items()
    }
    graphs = stage_graphs(
        trained_encoder(bundle, encoder),
        [Stage(0, LAYERS, manifest.stages[-1].pooled)],
        None,
        manifest.window_tokens,
        [heads],
    )
    return OnnxEngine(graphs, bundle.tokenizer, manifest.window_tokens, threads=1)


def assert_near(one: EngineOutput, other: EngineOutput, atol: float) -> None:
    assert one.values.keys() == other.values.keys()
    assert one.tokens == other.tokens
    for name, logits in one.values.items():
        np.testing.assert_allclose(logits, other.values[name], atol=atol, err_msg=name)


def test_it_answers_as_the_graph_does(
    bundle: Bundle, encoder: Path, engine: TorchEngine, together: EngineOutput
) -> None:
    onnx = float_graph(bundle, encoder)
    assert engine.widths == onnx.widths
    assert engine.window_tokens == onnx.window_tokens
    expected = onnx.run(REQUESTS)
    assert_near(together, expected, 1e-3)
    for name, logits in together.values.items():
        assert (logits.argmax(1) == expected.values[name].argmax(1)).mean() >= 0.95


def test_what_int8_answers_clearly_it_answers_alike(bundle: Bundle, together: EngineOutput) -> None:
    """Else the probes of a bundle would keep it from a GPU."""
    manifest = bundle.manifest
    served = OnnxEngine(bundle.graphs, bundle.tokenizer, manifest.window_tokens, threads=1)
    for name, logits in served.run(REQUESTS).values.items():
        second, first = np.sort(softmax(logits), axis=1)[:, -2:].T
        clear = first - second >= CLEAR_MARGIN
        assert clear.any()
        same = logits.argmax(1) == together.values[name].argmax(1)
        assert same[clear].mean() >= 0.95, name


def test_batch_mates_and_padding_change_nothing(
    engine: TorchEngine, together: EngineOutput
) -> None:
    first_company = np.cumsum([0, *(len(request.companies) for request in REQUESTS)])
    order = random.Random(0).sample(range(len(REQUESTS)), len(REQUESTS))
    for size in (1, 7, 120):
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            companies = [c for row in rows for c in range(*first_company[row : row + 2])]
            expected = EngineOutput(
                {
                    name: logits[companies if name == COMPANY_SENTIMENT else rows]
                    for name, logits in together.values.items()
                },
                tuple(together.tokens[row] for row in rows),
                (1,) * len(rows),
            )
            assert_near(engine.run([REQUESTS[row] for row in rows]), expected, 1e-4)


def test_a_company_is_read_where_it_stands(engine: TorchEngine) -> None:
    text = "ant soars, bee slumps"
    ant, bee, beyond = (0, 3), (11, 14), (400, 403)
    requests = [
        Request("no company", ()),
        Request(text, (), (ant, bee, ant)),
        Request("word " * 80 + "cat", (), (beyond, (0, 4))),
    ]
    first, second, third, out_of_sight, seen = engine.run(requests).values[COMPANY_SENTIMENT]
    np.testing.assert_allclose(first, third, atol=1e-5)
    assert np.abs(first - second).max() > 0.01
    assert np.abs(out_of_sight - seen).max() > 0.01


def test_tokens_are_counted_and_cut_at_the_window(engine: TorchEngine) -> None:
    texts = ["up", "word " * 80]
    short, long = engine.run([Request(text, ()) for text in texts]).tokens
    assert engine.count_tokens(texts) == [len(short.ids), len(long.ids)]
    assert (short.truncated, long.truncated) == (False, True)
    assert len(long.ids) == engine.window_tokens


def test_nothing_in_nothing_out(engine: TorchEngine) -> None:
    output = engine.run([])
    assert {name: logits.shape for name, logits in output.values.items()} == {
        name: (0, width) for name, width in engine.widths.items()
    }
    assert (output.tokens, output.stages) == ((), ())
    assert engine.count_tokens([]) == []


def test_another_encoder_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    other = write_word_encoder(tmp_path / "other", ["profit"])
    with pytest.raises(BundleError, match=r"stands on the encoder small .* not on other"):
        TorchEngine(bundle, "cpu", other)


def test_cuda_without_a_gpu_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BundleError, match=r"no GPU that torch can use.*BELLWETHER_DEVICE=cpu"):
        TorchEngine(bundle, "cuda")
