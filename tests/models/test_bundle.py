"""A bundle that is not what it was, or not for these tasks, is refused in plain words."""

import dataclasses
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import orjson
import pytest

from models.bundle import FORMAT, SHIPPED_BUNDLE, Bundle, Manifest, files, write_manifest
from models.classifier import Classifier
from schemas.errors import BundleError
from schemas.taxonomy import Taxonomy, load_taxonomy

MEGABYTE = 10**6
STAGES = len(list(SHIPPED_BUNDLE.glob("stage-*.onnx")))
FILES = files(STAGES)


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    return load_taxonomy()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped bundle."""
    return Path(shutil.copytree(SHIPPED_BUNDLE, tmp_path / "bundle"))


def resealed(folder: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Changes the manifest and seals the bundle again."""
    raw = orjson.loads((folder / "manifest.json").read_bytes())
    change(raw)
    write_manifest(folder, Manifest.model_validate(raw))


def test_the_shipped_bundle_opens(taxonomy: Taxonomy) -> None:
    bundle = Bundle.open(SHIPPED_BUNDLE, taxonomy)
    assert len(bundle.version) == 12
    assert bundle.manifest.taxonomy_version == taxonomy.version
    assert sum(file.stat().st_size for file in SHIPPED_BUNDLE.iterdir()) < 50 * MEGABYTE


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_refused(folder: Path, taxonomy: Taxonomy, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} of the model bundle .* was changed"):
        Bundle.open(folder, taxonomy)


def test_a_changed_manifest_is_refused(folder: Path, taxonomy: Taxonomy) -> None:
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"seed": 0', b'"seed": 1'))
    with pytest.raises(BundleError, match="changed after the bundle was made"):
        Bundle.open(folder, taxonomy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(folder: Path, taxonomy: Taxonomy, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"lacks the file {name}"):
        Bundle.open(folder, taxonomy)


def test_a_missing_manifest_is_refused(folder: Path, taxonomy: Taxonomy) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(BundleError, match=r"no manifest\.json"):
        Bundle.open(folder, taxonomy)


def test_a_missing_folder_is_refused(tmp_path: Path, taxonomy: Taxonomy) -> None:
    with pytest.raises(BundleError, match="no model bundle at"):
        Bundle.open(tmp_path / "nowhere", taxonomy)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"format": 1}', b'{"format": "1"}'])
def test_a_manifest_that_is_none_is_refused(
    folder: Path, taxonomy: Taxonomy, content: bytes
) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError):
        Bundle.open(folder, taxonomy)


def test_a_newer_format_is_refused(folder: Path, taxonomy: Taxonomy) -> None:
    path = folder / "manifest.json"
    raw = orjson.loads(path.read_bytes()) | {"format": FORMAT + 1, "something": "new"}
    path.write_bytes(orjson.dumps(raw))
    with pytest.raises(BundleError, match="Update Bellwether"):
        Bundle.open(folder, taxonomy)


def test_an_older_format_is_refused(folder: Path, taxonomy: Taxonomy) -> None:
    path = folder / "manifest.json"
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | {"format": 1}))
    with pytest.raises(BundleError, match="old format 1"):
        Bundle.open(folder, taxonomy)


def test_heads_must_fit_the_stages(folder: Path, taxonomy: Taxonomy) -> None:
    resealed(folder, lambda raw: raw["tasks"]["news.topic"].update(plain_from=[]))  # type: ignore[index]
    with pytest.raises(BundleError, match=r"not so many heads for news\.topic"):
        Bundle.open(folder, taxonomy)


def test_a_missing_head_is_refused(folder: Path, taxonomy: Taxonomy) -> None:
    resealed(folder, lambda raw: raw["tasks"].pop("news.topic"))  # type: ignore[attr-defined]
    with pytest.raises(BundleError, match=r"no head for the task news\.topic"):
        Bundle.open(folder, taxonomy)


def test_other_labels_are_refused(taxonomy: Taxonomy) -> None:
    topic = taxonomy.tasks["news.topic"]
    other = dataclasses.replace(topic, labels=(*topic.labels, "football"))
    changed = Taxonomy({**taxonomy.tasks, "news.topic": other}, taxonomy.emotion_sentiment)
    with pytest.raises(BundleError, match=r"other labels of news\.topic"):
        Classifier.load(taxonomy=changed)


def test_a_graph_without_the_head_is_refused(folder: Path, taxonomy: Taxonomy) -> None:
    onnx = import_module("onnx")
    model = onnx.load(folder / "stage-1.onnx")
    for output in model.graph.output:
        output.name = output.name.replace("news.topic", "news.other")
    for node in model.graph.node:
        node.output[:] = [name.replace("news.topic", "news.other") for name in node.output]
    onnx.save(model, folder / "stage-1.onnx")
    resealed(folder, lambda raw: None)
    with pytest.raises(BundleError, match=r"graph of .* has no head for news\.topic"):
        Classifier.load(folder, taxonomy=taxonomy)


def test_a_graph_that_is_none_is_refused(folder: Path, taxonomy: Taxonomy) -> None:
    (folder / "stage-1.onnx").write_bytes(b"no graph")
    resealed(folder, lambda raw: None)
    with pytest.raises(BundleError, match=r"graphs of .* cannot be run"):
        Classifier.load(folder, taxonomy=taxonomy)


def test_the_version_is_the_contents(folder: Path, taxonomy: Taxonomy) -> None:
    resealed(folder, lambda raw: None)  # it may be from before a field came
    before = Bundle.open(folder, taxonomy).version
    resealed(folder, lambda raw: None)
    assert Bundle.open(folder, taxonomy).version == before
    (folder / "probes.jsonl").write_bytes(b"")
    resealed(folder, lambda raw: None)
    assert Bundle.open(folder, taxonomy).version != before


def test_a_probe_with_another_clear_answer_is_refused(folder: Path, taxonomy: Taxonomy) -> None:
    path = folder / "probes.jsonl"
    probe = orjson.loads(path.read_bytes().splitlines()[0])
    probe["answers"]["news.sentiment"] = {"label": "negative", "margin": 0.5}
    assert probe["text"].startswith("Harborline Foods lifts")
    path.write_bytes(orjson.dumps(probe))
    resealed(folder, lambda raw: None)
    with pytest.raises(BundleError, match=r"Harborline Foods lifts .* with positive"):
        Classifier.load(folder, taxonomy=taxonomy)
    probe["answers"]["news.sentiment"]["margin"] = 0.29
    path.write_bytes(orjson.dumps(probe))
    resealed(folder, lambda raw: None)
    Classifier.load(folder, taxonomy=taxonomy)


def test_there_are_enough_clear_probes() -> None:
    probes = [orjson.loads(x) for x in (SHIPPED_BUNDLE / "probes.jsonl").read_bytes().splitlines()]
    for kind, tasks in (("news", ["sentiment", "topic"]), ("message", ["intent", "emotion"])):
        mine = [probe for probe in probes if probe["kind"] == kind]
        assert len(mine) >= 20
        for task in tasks:
            clear = [p for p in mine if p["answers"][f"{kind}.{task}"]["margin"] >= 0.3]
            assert len(clear) >= 8
