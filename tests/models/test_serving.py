"""What a worker's machine needs, and how soon it answers."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models import classifier as classifiers
from models import torch_engine
from models.bundle import Bundle
from models.classifier import Classifier
from models.torch_engine import TorchEngine
from schemas.errors import BundleError
from schemas.predictions import Prediction
from schemas.records import Kind
from schemas.taxonomy import load_taxonomy

TRAINING_ONLY = ("torch", "transformers", "sklearn", "scipy", "onnx")
MAX_LOAD_SECONDS = 3.0

LOAD = f"""
import sys, time
from models.classifier import Classifier
from schemas.records import Kind
Classifier.load().classify(["Gold climbs", "lost my card"], [Kind.NEWS, Kind.MESSAGE])
print(time.process_time())
print(*[name for name in {TRAINING_ONLY!r} if name in sys.modules])
"""


def test_a_process_serves_within_three_seconds_and_without_training_packages() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD], capture_output=True, text=True, check=True, timeout=120
    )
    seconds, imported = done.stdout.splitlines()
    # Processor time: the clock would also count what other tests do.
    assert float(seconds) < MAX_LOAD_SECONDS
    assert imported == ""


def test_each_kind_gets_its_tasks_in_order(classifier: Classifier) -> None:
    texts = ["Oil slips as stockpiles grow", "I lost my card", "Central bank holds rates"]
    kinds = [Kind.NEWS, Kind.MESSAGE, Kind.NEWS]
    answers = classifier.classify(texts, kinds, [[], [], ["bank", (0, 7), "Ant"]])
    for kind, answer in zip(kinds, answers, strict=True):
        tasks = [task.name for task in classifier.taxonomy.for_kind(kind)]
        assert list(answer.predictions) == tasks
        assert answer.model_version == classifier.version
        for task in tasks:
            check(answer.predictions[task], classifier.taxonomy.tasks[task].labels)
    assert answers[2].predictions["news.topic"].label == "fed_central_banks"
    assert [len(answer.companies) for answer in answers] == [0, 0, 3]
    for company in answers[2].companies:
        check(company, classifier.taxonomy.tasks["news.sentiment"].labels)
    # It is not in the text, so its sentiment is the text's.
    assert answers[2].companies[2] == answers[2].predictions["news.sentiment"]


def test_two_companies_of_a_headline_have_each_their_own(classifier: Classifier) -> None:
    text = "Harborline Foods jumps 5%, Merrow tumbles 4% after results"
    (answer,) = classifier.classify([text], [Kind.NEWS], [["Harborline Foods", "Merrow"]])
    assert [company.label for company in answer.companies] == ["positive", "negative"]


def check(prediction: Prediction, labels: tuple[str, ...]) -> None:
    assert prediction.labels == labels
    assert sum(prediction.probabilities) == pytest.approx(1, abs=1e-4)
    assert prediction.confidence == max(prediction.probabilities)
    assert prediction.probability(prediction.label) == prediction.confidence


def test_a_long_text_is_truncated_and_answered(classifier: Classifier) -> None:
    (answer,) = classifier.classify(["The central bank raises its rate. " * 400], [Kind.NEWS])
    assert answer.truncated
    assert answer.tokens == classifier.window_tokens == 256
    assert answer.predictions["news.topic"].label == "fed_central_banks"


def test_a_device_that_is_none_is_refused(small_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"no device 'tpu'\. Choose auto, cpu or cuda"):
        Classifier.load(small_bundle, device="tpu")


def test_cuda_without_a_gpu_is_refused_plainly(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BundleError, match=r"no GPU that torch can use.*BELLWETHER_DEVICE=cpu"):
        Classifier.load(small_bundle, device="cuda")


def test_cuda_without_torch_is_refused_plainly(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "models.torch_engine", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(BundleError, match=r"package torch, .*BELLWETHER_DEVICE=cpu"):
        Classifier.load(small_bundle, device="cuda")


@pytest.fixture
def gpu(
    small_bundle: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> list[str]:
    """A machine that has a GPU, for all that the classifier sees; the devices it took."""
    taken: list[str] = []
    ours = Bundle.open(small_bundle, load_taxonomy()).manifest.encoder.sha256

    def start(bundle: Bundle, device: str) -> TorchEngine:
        taken.append(device)
        return TorchEngine(bundle, "cpu", encoder)

    monkeypatch.setattr(torch_engine, "TorchEngine", start)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(classifiers, "GPU", tmp_path)
    monkeypatch.setattr(classifiers, "DEFAULT_SHA256", ours)
    return taken


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_a_gpu_serves(small_bundle: Path, gpu: list[str], device: str) -> None:
    classifier = Classifier.load(small_bundle, device=device)
    assert gpu == ["cuda"]
    (answer,) = classifier.classify(["Ant up"], [Kind.NEWS], [["Ant", "Bee"]])
    assert list(answer.predictions) == ["news.sentiment", "news.topic"]
    assert answer.companies[1] == answer.predictions["news.sentiment"]
    assert classifier.classify([], []) == []


def test_nobody_who_does_not_ask_for_a_gpu_gets_one(small_bundle: Path, gpu: list[str]) -> None:
    Classifier.load(small_bundle, device="cpu")
    Classifier.load(small_bundle)
    assert gpu == []


@pytest.mark.parametrize("lack", ["GPU", "GPU_PACKAGES", "DEFAULT_SHA256", "is_available"])
def test_auto_takes_the_cpu_where_anything_is_lacking(
    small_bundle: Path, gpu: list[str], monkeypatch: pytest.MonkeyPatch, lack: str
) -> None:
    if lack == "is_available":
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    else:
        # Nobody imports torch, which takes seconds, to learn that.
        monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("asked torch"))
        without = {"GPU": Path("/absent"), "GPU_PACKAGES": ("absent",), "DEFAULT_SHA256": ""}
        monkeypatch.setattr(classifiers, lack, without[lack])
    Classifier.load(small_bundle, device="auto")
    assert gpu == []
