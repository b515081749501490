"""An encoder with a Chinese vocabulary trains and serves, and knows its language."""

import random
from hashlib import sha256
from pathlib import Path
from shutil import copytree

import orjson
import pytest

from models.bundle import Bundle, write_manifest
from models.classification import classify_chunks
from models.classifier import Classifier
from models.training import train
from schemas.predictions import MAX_FOREIGN_CONFIDENCE, Classification
from schemas.records import Kind
from schemas.taxonomy import SENTIMENT, load_taxonomy
from tests.models import chinese_data
from tests.models.chinese_data import chinese_text, write_chinese_data
from tests.models.small_encoder import write_encoder

ENGLISH = "The central bank leaves its key rate unchanged, as economists expected"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained by a recipe that says Chinese."""
    folder = tmp_path_factory.mktemp("chinese")
    recipe = folder / "chinese.yaml"
    recipe.write_text("languages: [zh]\npenalties: [1, 10, 100]\n")
    encoder = write_encoder(folder / "encoder", han=chinese_data.characters())
    data = write_chinese_data(folder / "data")
    train(data, folder / "bundle", recipe=str(recipe), encoder=encoder, report=lambda _: None)
    return folder / "bundle"


@pytest.fixture(scope="module")
def chinese(bundle: Path) -> Classifier:
    return Classifier.load(bundle)


@pytest.fixture(scope="module")
def mistaken(bundle: Path) -> Classifier:
    """The same model, whose bundle says that it knows English."""
    opened = Bundle.open(bundle, load_taxonomy())
    folder = Path(copytree(bundle, bundle.with_name("mistaken")))
    write_manifest(folder, opened.manifest.model_copy(update={"languages": ("en",)}))
    return Classifier.load(folder)


def asked(
    classifier: Classifier, words: dict[str, str], kind: Kind, seed: int = 7
) -> list[tuple[str, Classification]]:
    """Ten new texts of each label with their answers; news is about a company."""
    random_ = random.Random(seed)
    labels = [label for label in words for _ in range(10)]
    company = ["阿里"] if kind is Kind.NEWS else []
    texts = ["".join([*company, chinese_text(words[label], random_)]) for label in labels]
    answers = classifier.classify(texts, [kind] * len(texts), [company] * len(texts))
    return [*zip(labels, answers, strict=True)]


@pytest.mark.parametrize(
    ("task", "words", "kind"),
    [
        (SENTIMENT, chinese_data.SENTIMENTS, Kind.NEWS),
        ("news.topic", chinese_data.TOPICS, Kind.NEWS),
        ("message.intent", chinese_data.INTENTS, Kind.MESSAGE),
        ("message.emotion", chinese_data.EMOTIONS, Kind.MESSAGE),
    ],
)
def test_chinese_words_are_learnt_and_not_flagged(
    chinese: Classifier, task: str, words: dict[str, str], kind: Kind
) -> None:
    answers = asked(chinese, words, kind)
    right = sum(answer.predictions[task].label == label for label, answer in answers)
    assert right >= 0.6 * len(answers)
    assert {answer.foreign_language for _, answer in answers} == {None}


def test_a_company_in_a_chinese_text_has_its_own_sentiment(chinese: Classifier) -> None:
    answers = asked(chinese, chinese_data.SENTIMENTS, Kind.NEWS)
    right = sum(answer.companies[0].label == label for label, answer in answers)
    assert right >= 0.6 * len(answers)


def test_the_bundle_says_which_languages(bundle: Path, chinese: Classifier) -> None:
    manifest = Bundle.open(bundle, load_taxonomy()).manifest
    assert manifest.languages == ("zh",)
    assert manifest.settings["languages"] == ["zh"]
    (english,) = chinese.classify([ENGLISH], [Kind.NEWS])
    assert english.foreign_language == "en"


def test_answers_to_a_foreign_text_are_doubted(chinese: Classifier, mistaken: Classifier) -> None:
    words = chinese_data.SENTIMENTS
    sure = [answer for _, answer in asked(chinese, words, Kind.NEWS)]
    doubted = [answer for _, answer in asked(mistaken, words, Kind.NEWS)]
    assert {answer.foreign_language for answer in doubted} == {"zh"}
    for before, after in zip(sure, doubted, strict=True):
        pairs = [(before.predictions[task], after.predictions[task]) for task in after.predictions]
        for known, unknown in [*pairs, *zip(before.companies, after.companies, strict=True)]:
            assert unknown.label == known.label
            assert unknown.confidence == max(unknown.probabilities) <= MAX_FOREIGN_CONFIDENCE
            assert sum(unknown.probabilities) == pytest.approx(1, abs=1e-4)
    assert max(answer.predictions[SENTIMENT].confidence for answer in sure) > 0.7


def test_a_manifest_from_before_there_were_languages_is_of_english(
    bundle: Path, tmp_path: Path
) -> None:
    folder = Path(copytree(bundle, tmp_path / "older"))
    raw = orjson.loads((folder / "manifest.json").read_bytes())
    del raw["languages"], raw["version"]
    content = orjson.dumps(raw, option=orjson.OPT_SORT_KEYS)
    raw["version"] = sha256(content).hexdigest()[:12]
    (folder / "manifest.json").write_bytes(orjson.dumps(raw))
    assert Bundle.open(folder, load_taxonomy()).manifest.languages == ("en",)


def test_what_a_line_of_the_command_line_says_counts(chinese: Classifier) -> None:
    known = {"text": chinese_data.SENTIMENTS["positive"] * 2}
    chunk = [orjson.dumps(known), orjson.dumps({**known, "language": "de"})]
    answers = [
        orjson.loads(line)["predictions"][SENTIMENT] for line in classify_chunks([chunk], chinese)
    ]
    assert answers[0]["confidence"] > MAX_FOREIGN_CONFIDENCE >= answers[1]["confidence"]
    assert answers[0]["label"] == answers[1]["label"]


def test_what_the_record_says_counts(chinese: Classifier) -> None:
    texts = ["阿里大幅增长", ENGLISH, "Acme"]
    answers = chinese.classify(texts, [Kind.NEWS] * 3, languages=["zh-Hans", "zh", "de"])
    assert [answer.foreign_language for answer in answers] == [None, None, "de"]
