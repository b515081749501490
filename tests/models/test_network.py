"""The graph computes what torch computes, and int8 stays near it."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from models.encoder import DEFAULT_SHA256, Encoder, load_encoder
from models.engine import POOLED, OnnxEngine
from models.export import int8_graph, measure_ranges
from models.network import Head, NetworkBuilder
from schemas.errors import BundleError
from tests.models.small_encoder import HIDDEN, POSITIONS, write_encoder
from tests.models.texts import varied_texts


@pytest.fixture(scope="module", params=["gelu", "relu"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"), request.param)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return load_encoder(folder)


def engine(encoder: Encoder, graph: bytes) -> OnnxEngine:
    return OnnxEngine(graph, encoder.tokenizer, POSITIONS, threads=1)


def pooled(encoder: Encoder, graph: bytes, texts: list[str]) -> np.ndarray:
    return engine(encoder, graph).run(texts, [POOLED]).values[POOLED]


def float_graph(encoder: Encoder) -> bytes:
    return bytes(NetworkBuilder(encoder, {}, None, POSITIONS).build().SerializeToString())


def torch_pooled(folder: Path, texts: list[str]) -> np.ndarray:
    torch = import_module("torch")
    transformers = import_module("transformers")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]"
    )
    model = transformers.BertModel.from_pretrained(str(folder)).eval()
    rows = []
    with torch.no_grad():
        for text in texts:
            batch = tokenizer(text, return_tensors="pt", truncation=True, max_length=POSITIONS)
            hidden = model(input_ids=batch["input_ids"]).last_hidden_state
            rows.append(hidden.mean(dim=1)[0].numpy())
    return np.stack(rows)


def test_float_graph_is_torchs(folder: Path, encoder: Encoder) -> None:
    texts = varied_texts(12)
    ours = pooled(encoder, float_graph(encoder), texts)
    np.testing.assert_allclose(ours, torch_pooled(folder, texts), atol=1e-4)


def test_int8_stays_near_float(encoder: Encoder) -> None:
    texts = varied_texts(40)
    ranges = measure_ranges(encoder, texts, POSITIONS)
    exact = pooled(encoder, float_graph(encoder), texts)
    rounded = pooled(encoder, int8_graph(encoder, {}, ranges, POSITIONS), texts)
    cosines = (exact * rounded).sum(1) / np.linalg.norm(exact, axis=1)
    cosines /= np.linalg.norm(rounded, axis=1)
    assert cosines.min() > 0.99


def test_a_head_gives_logits_of_its_task_alone(encoder: Encoder) -> None:
    head = Head(("a", "b"), np.eye(HIDDEN, 2, dtype=np.float32), np.array([0, 5], np.float32))
    ranges = measure_ranges(encoder, varied_texts(10), POSITIONS)
    served = engine(encoder, int8_graph(encoder, {"some.task": head}, ranges, POSITIONS))
    assert served.tasks == ("some.task",)
    output = served.run(["profit up", "loss"], ["some.task", POOLED]).values
    np.testing.assert_allclose(
        output["some.task"], output[POOLED][:, :2] + head.bias, rtol=1e-5, atol=1e-5
    )


def test_the_default_encoder_is_known_by_its_hash() -> None:
    assert load_encoder().sha256 == DEFAULT_SHA256


def test_an_encoder_of_another_family_is_refused(folder: Path, tmp_path: Path) -> None:
    other = write_encoder(tmp_path)
    config = (other / "config.json").read_text()
    (other / "config.json").write_text(config.replace('"bert"', '"gpt2"'))
    with pytest.raises(BundleError, match="model type 'gpt2'"):
        load_encoder(other)


def test_an_encoder_folder_without_weights_is_refused(tmp_path: Path) -> None:
    other = write_encoder(tmp_path)
    (other / "model.safetensors").unlink()
    with pytest.raises(BundleError, match=r"has no model\.safetensors"):
        load_encoder(other)
