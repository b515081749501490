"""The graph computes what torch computes, and int8 stays near it."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.encoder import DEFAULT_SHA256, Encoder, load_encoder
from models.engine import Request
from models.export import measure_ranges, stage_graphs
from models.network import Head
from models.onnx_engine import COMPANY_POOLED, POOLED, OnnxEngine
from models.recipe import Stage
from schemas.errors import BundleError
from schemas.taxonomy import COMPANY_SENTIMENT
from tests.models.small_encoder import HIDDEN, LAYERS, POSITIONS, write_encoder
from tests.models.texts import varied_texts


@pytest.fixture(scope="module", params=["gelu", "relu"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"), request.param)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return load_encoder(folder)


WHOLE = [Stage(0, LAYERS, 1)]
CUT = [Stage(0, 1, 1), Stage(1, LAYERS, 1)]


def engine(encoder: Encoder, graphs: list[bytes], **settings: Any) -> OnnxEngine:
    return OnnxEngine(graphs, encoder.tokenizer, POSITIONS, threads=1, **settings)


def asked(texts: Sequence[str]) -> list[Request]:
    return [Request(text, ("some.task",)) for text in texts]


def pooled(encoder: Encoder, graphs: list[bytes], texts: list[str]) -> np.ndarray:
    return engine(encoder, graphs).vectors(asked(texts))[-1][POOLED]


def float_graphs(encoder: Encoder, stages: list[Stage] = WHOLE) -> list[bytes]:
    return stage_graphs(encoder, stages, None, POSITIONS)


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
    texts = [text for text in varied_texts(40) if "http" not in text and "@" not in text][:12]
    ours = pooled(encoder, float_graphs(encoder), texts)
    np.testing.assert_allclose(ours, torch_pooled(folder, texts), atol=1e-4)


def test_stages_make_the_whole(encoder: Encoder) -> None:
    texts = varied_texts(12)
    whole = pooled(encoder, float_graphs(encoder), texts)
    np.testing.assert_allclose(pooled(encoder, float_graphs(encoder, CUT), texts), whole, atol=1e-5)


def test_int8_stays_near_float(encoder: Encoder) -> None:
    texts = varied_texts(40)
    ranges = measure_ranges(encoder, texts, POSITIONS)
    exact = pooled(encoder, float_graphs(encoder), texts)
    rounded = pooled(encoder, stage_graphs(encoder, WHOLE, ranges, POSITIONS), texts)
    cosines = (exact * rounded).sum(1) / np.linalg.norm(exact, axis=1)
    cosines /= np.linalg.norm(rounded, axis=1)
    assert cosines.min() > 0.99


def some_head(width: int, sure: float) -> Head:
    """Says "b" the more surely the greater `sure` is."""
    return Head(("a", "b"), np.eye(width, 2, dtype=np.float32), np.array([0, sure], np.float32))


def test_a_head_gives_logits_of_its_task_alone(encoder: Encoder) -> None:
    head = some_head(HIDDEN, 5)
    served = engine(encoder, stage_graphs(encoder, WHOLE, None, POSITIONS, [{"some.task": head}]))
    assert served.widths == {"some.task": 2}
    texts = ["profit up", "loss"]
    vectors = served.vectors(asked(texts))[0][POOLED]
    logits = served.run(asked(texts)).values["some.task"]
    np.testing.assert_allclose(logits, vectors[:, :2] + head.bias, rtol=1e-5, atol=1e-5)


def test_a_text_leaves_at_the_first_stage_where_it_is_plain(encoder: Encoder) -> None:
    heads = [{"some.task": some_head(HIDDEN, 9)}, {"some.task": some_head(HIDDEN, -9)}]
    graphs = stage_graphs(encoder, CUT, None, POSITIONS, heads)
    texts = asked(varied_texts(30))
    early = engine(encoder, graphs, exits=[{"some.task": 0.9}]).run(texts)
    assert set(early.stages) == {1}
    assert (early.values["some.task"].argmax(1) == 1).all()
    late = engine(encoder, graphs, exits=[{"some.task": 1.01}]).run(texts)
    assert set(late.stages) == {2}
    assert (late.values["some.task"].argmax(1) == 0).all()
    assert set(engine(encoder, graphs).run(texts).stages) == {2}


def test_only_the_doubtful_go_on_and_keep_their_places(encoder: Encoder) -> None:
    texts = varied_texts(60)
    vectors = engine(encoder, float_graphs(encoder, CUT)).vectors(asked(texts))[0][POOLED]
    middle = float(np.median(vectors[:, 0]))
    weight = np.zeros((HIDDEN, 2), np.float32)
    weight[0, 0] = 50  # sure of "a" for about half of the texts, of "b" for the others
    first = Head(("a", "b"), weight, np.array([-50 * middle - 2, 0], np.float32))
    last = some_head(HIDDEN, 0)
    graphs = stage_graphs(
        encoder, CUT, None, POSITIONS, [{"some.task": first}, {"some.task": last}]
    )
    mixed = engine(encoder, graphs, exits=[{"some.task": 0.99}]).run(asked(texts))
    whole = engine(encoder, graphs).run(asked(texts))
    own = vectors @ first.weight + first.bias
    assert {1, 2} == set(mixed.stages)
    for row, stages in enumerate(mixed.stages):
        expected = own[row] if stages == 1 else whole.values["some.task"][row]
        np.testing.assert_allclose(mixed.values["some.task"][row], expected, atol=1e-3)


def test_a_company_is_read_where_it_stands(encoder: Encoder) -> None:
    served = engine(encoder, float_graphs(encoder))
    text = "ant up, bee down"
    (both,) = served.vectors(
        [Request("no company", ()), Request(text, (), ((0, 3), (8, 11), (0, len(text))))]
    )
    ant, bee, all_of_it = both[COMPANY_POOLED]
    for company in (ant, bee, all_of_it):
        np.testing.assert_allclose(company[:HIDDEN], both[POOLED][1], atol=1e-5)
    assert np.abs(ant[HIDDEN:] - bee[HIDDEN:]).max() > 0.1
    # The mean over all tokens but the two special ones is near the text's own.
    assert np.abs(all_of_it[HIDDEN:] - both[POOLED][1]).max() < 0.5


def test_a_company_beyond_the_window_has_the_text_s_vector(encoder: Encoder) -> None:
    text = "word " * 200 + "ant"
    (vectors,) = engine(encoder, float_graphs(encoder)).vectors(
        [Request(text, (), ((len(text) - 3, len(text)),))]
    )
    company, own = vectors[COMPANY_POOLED][0], vectors[POOLED][0]
    np.testing.assert_allclose(company, np.concatenate([own, own]), atol=1e-5)


def test_companies_have_a_head_of_their_own(encoder: Encoder) -> None:
    heads = {"some.task": some_head(HIDDEN, 1), COMPANY_SENTIMENT: some_head(2 * HIDDEN, 7)}
    served = engine(encoder, stage_graphs(encoder, WHOLE, None, POSITIONS, [heads]))
    requests = [Request("ant up", ("some.task",), ((0, 3),)), Request("fine", ("some.task",))]
    (vectors,) = served.vectors(requests)
    logits = served.run(requests).values[COMPANY_SENTIMENT]
    assert logits.shape == (1, 2)
    np.testing.assert_allclose(
        logits[0], vectors[COMPANY_POOLED][0, :2] + np.array([0, 7]), atol=1e-5
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
