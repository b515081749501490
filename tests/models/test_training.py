"""`train` on a small encoder and sets of our own."""

from collections import Counter
from importlib import import_module
from pathlib import Path

import orjson
import pytest

from models.bundle import Manifest
from models.classifier import Classifier
from models.data import DataError, Split, load_examples, of_task
from models.training import train
from schemas.errors import ConfigurationError
from schemas.records import Kind
from tests.models.small_data import write_data


@pytest.fixture(scope="module")
def bundle(data: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "trained"
    train(data, out, encoder=encoder, report=lambda _: None)
    return out


def test_a_trained_bundle_serves(bundle: Path) -> None:
    classifier = Classifier.load(bundle)
    news, message = classifier.classify(["earnings", "help"], [Kind.NEWS, Kind.MESSAGE])
    assert set(news.predictions) == {"news.sentiment", "news.topic"}
    assert set(message.predictions) == {"message.intent", "message.emotion"}


def test_the_manifest_says_how_it_was_made(bundle: Path) -> None:
    manifest = Manifest.model_validate_json((bundle / "manifest.json").read_bytes())
    assert (manifest.recipe, manifest.seed, manifest.parent) == ("heads", 0, None)
    assert manifest.encoder.name == "small"
    assert set(manifest.metrics["news.sentiment"]) == {"sentfin", "twitter_fin_sentiment"}
    assert manifest.metrics["news.sentiment"]["twitter_fin_sentiment"]["accuracy"] > 0.6
    assert manifest.agreement["news.topic"]["agreement"] > 0.8


def test_the_manifest_says_how_answers_are_spread(bundle: Path, data: Path) -> None:
    manifest = Manifest.model_validate_json((bundle / "manifest.json").read_bytes())
    assert manifest.reference.keys() == manifest.tasks.keys()
    held_out = of_task(load_examples(data), "news.topic", Split.CALIBRATION, Split.TEST)
    classifier = Classifier.load(bundle)
    answers = classifier.classify([e.text for e in held_out], [Kind.NEWS] * len(held_out))
    labels = Counter(answer.predictions["news.topic"].label for answer in answers)
    topics = manifest.reference["news.topic"]
    assert topics.texts == len(held_out) > 20
    assert topics.labels == pytest.approx(
        {label: count / len(held_out) for label, count in labels.items()}, abs=1e-6
    )
    for reference in manifest.reference.values():
        assert sum(reference.labels.values()) == pytest.approx(1, abs=1e-4)
        assert sum(reference.confidence) == pytest.approx(1, abs=1e-4)
    assert manifest.reference["message.intent"].abstained > 0


def test_the_same_seed_makes_the_same_bundle(
    bundle: Path, data: Path, encoder: Path, tmp_path: Path
) -> None:
    again = train(data, tmp_path / "again", encoder=encoder, threads=1, report=lambda _: None)
    assert again is not None
    assert again.version == Classifier.load(bundle).version


def test_training_replaces_a_bundle_whole(data: Path, encoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "left-over").write_text("from before")
    train(data, out, encoder=encoder, report=lambda _: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]
    assert not (out / "left-over").exists()


def test_wrong_requests_are_told_before_the_work(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no recipe 'magic'"):
        train(data, tmp_path / "out", recipe="magic")
    with pytest.raises(DataError, match="no folder"):
        train(tmp_path / "nowhere", tmp_path / "out")


def test_a_label_outside_the_taxonomy_is_told(encoder: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    with (data / "goemotions.jsonl").open("a") as file:
        file.write('{"text": "meh", "label": "boredom"}\n')
    with pytest.raises(DataError, match="label 'boredom'"):
        train(data, tmp_path / "out", encoder=encoder, report=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_heads_are_kept_for_training_to_go_on(bundle: Path) -> None:
    numpy_ = import_module("safetensors.numpy")
    heads = numpy_.load_file(bundle / "heads.safetensors")
    labels = orjson.loads((bundle / "manifest.json").read_bytes())["tasks"]
    for task, entry in labels.items():
        assert heads[f"1/{task}.weight"].shape[1] == len(entry["labels"])
        assert heads[f"1/{task}.bias"].shape == (len(entry["labels"]),)
