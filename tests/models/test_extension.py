"""A user's own task and further labels on a small bundle: what is learnt, and what stays."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from models.added_heads import SILENT
from models.bundle import Bundle, Manifest, taxonomy_of
from models.calibration import NEVER, softmax
from models.classifier import Classifier
from models.columns import ColumnData, fit_columns
from models.data import DataError
from models.engine import EngineOutput, Request
from models.evaluation import evaluate
from models.extension import add_labels, add_task
from models.network import Head
from models.onnx_engine import OnnxEngine
from models.statistics import read_statistics
from models.training import train
from schemas.errors import BellwetherError, BundleError, ConfigurationError
from schemas.records import Kind
from schemas.taxonomy import BUILT_IN_TASKS, COMPANY_SENTIMENT, EMOTION, INTENT, SENTIMENT, TOPIC
from tests.models.own_texts import URGENCY, own_texts, write_texts
from tests.models.texts import varied_texts

OWN = "message.urgency"
KEPT_BACK = "is lost"  # by its hash, it is no text to learn from
LETTERS = {**URGENCY, "medium": "mnop", "none": "jkl"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("extension")


@pytest.fixture(scope="module")
def parent(small_bundle: Path) -> Path:
    return small_bundle


@pytest.fixture(scope="module")
def own(parent: Path, folder: Path) -> Path:
    """The bundle with a task more."""
    data = write_texts(folder / "urgency.jsonl", LETTERS, {"high": 200, "low": 200})
    return extended(parent, data, folder / "own")


@pytest.fixture(scope="module")
def grown(own: Path, folder: Path) -> Path:
    """The own task with two labels more."""
    counts = {"high": 200, "low": 200, "medium": 80, "none": 80}
    data = write_texts(folder / "more.jsonl", LETTERS, counts)
    add_labels(own, data, folder / "grown", task=OWN, threads=1, report=quiet)
    return folder / "grown"


def quiet(_: str) -> None:
    pass


def extended(parent: Path, data: Path, out: Path) -> Path:
    add_task(parent, data, out, name="urgency", kind=Kind.MESSAGE, threads=1, report=quiet)
    return out


def manifest(bundle: Path) -> Manifest:
    return Bundle.open(bundle).manifest


def accuracy(bundle: Path, task: str, label: str, texts: Sequence[str]) -> float:
    classifier = Classifier.load(bundle, threads=1)
    kind = classifier.taxonomy.tasks[task].kind
    answers = classifier.classify(texts, [kind] * len(texts))
    return sum(a.predictions[task].label == label for a in answers) / len(texts)


def engine(bundle: Path, **settings: Any) -> OnnxEngine:
    opened = Bundle.open(bundle)
    settings |= {"ngrams": opened.ngrams}
    return OnnxEngine(opened.graphs, opened.tokenizer, 64, threads=1, **settings)


def requests() -> list[Request]:
    """200 texts, of which every third is asked about two companies."""
    return [
        Request(text, (SENTIMENT, TOPIC), ((0, 4), (1, len(text))) if number % 3 == 0 else ())
        for number, text in enumerate(varied_texts(200))
    ]


def logits(bundle: Path) -> list[EngineOutput]:
    """What the heads of each stage say of the texts, whoever could have left before."""
    opened = Bundle.open(bundle)
    stages = range(1, len(opened.graphs) + 1)
    return [
        OnnxEngine(opened.graphs[:end], opened.tokenizer, 64, threads=1).run(requests())
        for end in stages
    ]


# A task of one's own


def test_a_new_task_is_learnt(own: Path) -> None:
    measured = manifest(own).metrics[OWN]["urgency.jsonl"]
    assert measured["texts"] >= 20
    assert measured["accuracy"] > 0.9
    for label in ("high", "low"):
        assert accuracy(own, OWN, label, own_texts(LETTERS[label], 100, seed=1)) > 0.9


def test_all_other_heads_say_the_same_bit_for_bit(parent: Path, own: Path) -> None:
    for before, after in zip(logits(parent), logits(own), strict=True):
        assert after.values.keys() == before.values.keys() | {OWN}
        for name, values in before.values.items():
            assert len(values) == (134 if name == COMPANY_SENTIMENT else 200)
            assert np.array_equal(values, after.values[name]), name


def test_the_bundle_says_where_it_comes_from(parent: Path, own: Path, folder: Path) -> None:
    before, after = manifest(parent), manifest(own)
    assert after.parent == before.version != after.version
    assert after.settings["exits"] == before.settings["exits"]
    assert after.settings["additions"] == [
        {
            "task": OWN,
            "labels": ["high", "low"],
            "file": "urgency.jsonl",
            "sha256": sha256((folder / "urgency.jsonl").read_bytes()).hexdigest(),
            "texts": 400,
            "seed": 0,
        }
    ]
    assert after.tasks[OWN].labels == ("high", "low")
    assert len(after.tasks[OWN].temperatures) == 2
    assert 0 < after.tasks[OWN].plain_from[0] < 1
    assert {**after.tasks, OWN: None} == {**before.tasks, OWN: None}
    assert after.data_fingerprint == before.data_fingerprint
    assert {**after.metrics, OWN: None} == {**before.metrics, OWN: None}
    assert {**after.reference, OWN: None} == {**before.reference, OWN: None}
    assert after.reference[OWN].labels.keys() == {"high", "low"}
    assert json.loads((own / "probes.jsonl").read_bytes().splitlines()[-1])["answers"].keys() == {
        INTENT,
        EMOTION,
        OWN,
    }


def test_the_same_texts_make_the_same_bundle(parent: Path, own: Path, folder: Path) -> None:
    again = extended(parent, folder / "urgency.jsonl", folder / "again")
    assert manifest(again).version == manifest(own).version


def test_the_bundle_brings_its_taxonomy(parent: Path, own: Path) -> None:
    classifier = Classifier.load(own, threads=1)
    assert classifier.taxonomy.tasks[OWN].labels == ("high", "low")
    (answer,) = classifier.classify(["zzqx"], [Kind.MESSAGE])
    assert [*answer.predictions] == [INTENT, EMOTION, OWN]
    with pytest.raises(BundleError, match="unset BELLWETHER_TAXONOMY"):
        Bundle.open(own, Bundle.open(parent).taxonomy)


def test_a_taxonomy_that_is_named_goes_before_the_bundle_s(own: Path, tmp_path: Path) -> None:
    taxonomy = taxonomy_of(own, None)
    assert taxonomy == Bundle.open(own).taxonomy
    path = tmp_path / "mine.yaml"
    path.write_text(taxonomy.as_yaml().replace("surprise: neutral", "surprise: positive"))
    mine = taxonomy_of(own, path)
    assert mine.emotion_sentiment["surprise"] == "positive"
    assert Classifier.load(own, taxonomy=mine, threads=1).taxonomy is mine


def test_a_changed_taxonomy_is_refused(own: Path, tmp_path: Path) -> None:
    folder = Path(copytree(own, tmp_path / "bundle"))
    with (folder / "taxonomy.yaml").open("a") as file:
        file.write("# mine\n")
    for read in (Bundle.open, partial(taxonomy_of, named=None)):
        with pytest.raises(BundleError, match=r"taxonomy\.yaml of the model bundle .* was changed"):
            read(folder)
    (folder / "taxonomy.yaml").unlink()
    with pytest.raises(BundleError, match=r"lacks the file taxonomy\.yaml"):
        taxonomy_of(folder, None)


def test_evaluation_measures_what_there_are_texts_of(own: Path, data: Path, folder: Path) -> None:
    measured = evaluate(own, data, baseline=False, threads=1)
    assert {result.task for result in measured.tasks} == {*BUILT_IN_TASKS, COMPANY_SENTIMENT}
    with pytest.raises(DataError, match="no test texts"):
        evaluate(own, data, task=OWN, baseline=False, threads=1)
    (result,) = evaluate(own, folder / "urgency.jsonl", task=OWN, threads=1).tasks
    assert result.whole.texts == 400


def test_training_needs_texts_of_every_task(
    own: Path, data: Path, encoder: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"no texts of the task message\.urgency"):
        train(
            data,
            tmp_path / "out",
            encoder=encoder,
            taxonomy=Bundle.open(own).taxonomy,
            report=quiet,
        )


def test_in_doubt_about_the_own_task_the_others_answer_as_before(
    parent: Path, folder: Path
) -> None:
    data = write_texts(folder / "few.jsonl", LETTERS, {"high": 12, "low": 12})
    few = extended(parent, data, folder / "few")
    # Of so few texts nobody knows when an early answer will do.
    assert manifest(few).tasks[OWN].plain_from == (NEVER,)
    tasks = {parent: (INTENT, EMOTION), few: (INTENT, EMOTION, OWN)}
    # Exits that half of the texts take, but for the own task.
    asked = [Request(text, tasks[parent]) for text in varied_texts(200)]
    first = softmax(
        engine(parent, exits=[dict.fromkeys(tasks[parent], 0)]).run(asked).values[EMOTION]
    )
    exits = [{INTENT: 0.0, EMOTION: float(np.median(first.max(axis=1))), OWN: NEVER}]
    before, after = (
        engine(bundle, exits=exits).run(
            [Request(text, tasks[bundle]) for text in varied_texts(200)]
        )
        for bundle in (parent, few)
    )
    assert set(before.stages) == {1, 2}
    assert set(after.stages) == {2}
    for task in (INTENT, EMOTION):
        assert np.allclose(before.values[task], after.values[task], rtol=0, atol=1e-5)
    # Not the answers of the last stage, which every text has reached.
    whole = engine(parent).run([Request(text, tasks[parent]) for text in varied_texts(200)])
    assert not np.allclose(before.values[INTENT], whole.values[INTENT], rtol=0, atol=0.1)


def test_companies_keep_their_answers_too(parent: Path, folder: Path) -> None:
    data = write_texts(folder / "few-news.jsonl", LETTERS, {"high": 12, "low": 12})
    out = folder / "few-news"
    add_task(parent, data, out, name="news.urgency", threads=1, report=quiet)
    texts = ["Ant zqxz wvu", "the big new week", "Bee north earnings"] * 20
    companies = [[(0, 3)]] * 60
    before, after = (
        Classifier.load(bundle, threads=1).classify(texts, [Kind.NEWS] * 60, companies)
        for bundle in (parent, out)
    )
    for old, new in zip(before, after, strict=True):
        assert new.companies == old.companies
        assert {**new.predictions, "news.urgency": None} == {
            **old.predictions,
            "news.urgency": None,
        }


def test_heads_for_training_to_go_on_are_those_of_the_graphs(grown: Path) -> None:
    arrays = import_module("safetensors.numpy").load_file(grown / "heads.safetensors")
    opened = Bundle.open(grown)
    vectors = OnnxEngine(opened.graphs, opened.tokenizer, 64, threads=1).vectors(requests())
    for stage, output in enumerate(logits(grown)):
        weight, bias = (arrays[f"{stage + 1}/{OWN}.{part}"] for part in ("weight", "bias"))
        own = vectors[stage]["pooled"] @ weight + bias
        assert np.allclose(own, output.values[OWN], atol=1e-4)


def test_statistics_are_there_of_the_new_task_and_stay_of_the_others(
    parent: Path, own: Path, grown: Path
) -> None:
    load = import_module("safetensors.numpy").load_file
    before, after, later = (
        load(bundle / "statistics.safetensors") for bundle in (parent, own, grown)
    )
    for name, values in before.items():
        assert np.array_equal(values, after[name]), name
    assert {name.rpartition(".")[0] for name in after.keys() - before.keys()} == {
        f"1/{OWN}",
        f"2/{OWN}",
    }
    for stage in read_statistics(own / "statistics.safetensors")[OWN]:
        assert stage.shares == pytest.approx([0.5, 0.5], abs=0.1)
        assert not np.allclose(stage.means[0], stage.means[1], atol=0.01)
    assert later.keys() == after.keys()


# Further labels


def test_new_labels_are_learnt(grown: Path) -> None:
    assert manifest(grown).tasks[OWN].labels == ("high", "low", "medium", "none")
    for label in ("medium", "none"):
        assert accuracy(grown, OWN, label, own_texts(LETTERS[label], 200, seed=1)) > 0.9


@pytest.mark.parametrize("label", ["high", "low"])
def test_known_labels_keep_their_texts(own: Path, grown: Path, label: str) -> None:
    texts = own_texts(LETTERS[label], 300, seed=1)
    assert accuracy(grown, OWN, label, texts) >= accuracy(own, OWN, label, texts) - 0.01


def test_known_logits_stay_bit_for_bit(own: Path, grown: Path) -> None:
    for before, after in zip(logits(own), logits(grown), strict=True):
        assert after.values[OWN].shape == (200, 4)
        for name, values in before.values.items():
            assert np.array_equal(values, after.values[name][:, : values.shape[1]]), name


def test_additions_add_up(own: Path, grown: Path) -> None:
    before, after = manifest(own), manifest(grown)
    assert after.parent == before.version
    assert [each["labels"] for each in after.settings["additions"]] == [
        ["high", "low"],
        ["medium", "none"],
    ]
    assert after.tasks[OWN].temperatures == before.tasks[OWN].temperatures
    assert after.reference[OWN].labels.keys() == {"high", "low", "medium", "none"}
    assert after.reference[OWN].texts > before.reference[OWN].texts
    assert after.tasks[OWN].plain_from >= before.tasks[OWN].plain_from


@pytest.mark.parametrize(
    ("task", "known", "sentiment"),
    [
        (TOPIC, "twitter_fin_topic.jsonl", None),
        (SENTIMENT, "sentfin.jsonl", None),
        (EMOTION, "goemotions.jsonl", "neutral"),
    ],
)
def test_built_in_tasks_take_labels(
    parent: Path, data: Path, folder: Path, task: str, known: str, sentiment: str | None
) -> None:
    texts = write_texts(folder / f"{task}.jsonl", LETTERS, {"none": 60})
    texts.write_text(texts.read_text() + (data / known).read_text())
    out = folder / task
    add_labels(parent, texts, out, task=task, sentiment=sentiment, threads=1, report=quiet)
    assert accuracy(out, task, "none", own_texts(LETTERS["none"], 100, seed=1)) > 0.8
    for before, after in zip(logits(parent), logits(out), strict=True):
        for name, values in before.values.items():
            assert np.array_equal(values, after.values[name][:, : values.shape[1]]), name
    assert len(logits(out)[0].values[task][0]) == len(logits(parent)[0].values[task][0]) + 1


def test_companies_do_not_get_a_new_sentiment(parent: Path, folder: Path) -> None:
    out = folder / SENTIMENT
    assert manifest(out).company_sentiment.labels == ("negative", "neutral", "positive", "none")
    for output in logits(out):
        assert (output.values[COMPANY_SENTIMENT][:, 3] == SILENT).all()


def test_new_emotions_make_the_sentiment_that_is_said(folder: Path) -> None:
    taxonomy = Bundle.open(folder / EMOTION).taxonomy
    assert taxonomy.emotion_sentiment["none"] == "neutral"


def test_columns_are_those_of_the_greatest_likelihood() -> None:
    """With the known logits at 0 it is an ordinary logistic regression."""
    linear = import_module("sklearn.linear_model")
    random = np.random.default_rng(0)
    vectors = random.normal(size=(400, 5)).astype(np.float32)
    vectors = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    targets = (vectors[:, 0] + random.normal(size=400) > 0.5).astype(np.int64)
    silent = Head(("known",), np.zeros((5, 1), np.float32), np.zeros(1, np.float32))
    data = ColumnData.of(silent, vectors, targets, 2.0)
    found = fit_columns(["new"], data, data, [0.1])
    model = linear.LogisticRegression(C=0.1, tol=1e-8).fit(
        vectors, targets, np.where(targets, 1.0, 2.0)
    )
    assert np.allclose(found.weight[:, 0], model.coef_[0], atol=1e-3)
    assert np.allclose(found.bias, model.intercept_, atol=1e-3)


# What is wrong


Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str) -> Path:
        path = tmp_path / "mine.jsonl"
        path.write_text(content)
        return path

    return write


def rows(**counts: int) -> str:
    return "".join(
        json.dumps({"text": text, "label": label}) + "\n"
        for label, count in counts.items()
        for text in own_texts(LETTERS[label], count)
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "has no rows"),
        ("\n \n", "has no rows"),
        (rows(high=20), "have the label 'high'. A task needs two"),
        (rows(high=20, low=9), "9 different texts with the label 'low'. It takes at least 10"),
        (rows(high=20, low=1) * 12, "1 different texts with the label 'low'"),
        (rows(high=20) + '{"text": "zq"}\n', "line 21: the field .label. is absent"),
        (rows(high=20) + "\n{\n", "line 22: not JSON"),
        (
            rows(high=2) + '{"text": " ", "label": "low"}\n',
            "line 3: the field .text. is not a text",
        ),
        (rows(high=2) + '{"text": "a", "label": ""}\n', "line 3: the field .label. is empty"),
        (json.dumps({"text": "a", "label": "b" * 129}), "line 1: the label is longer than 128"),
    ],
)
def test_texts_of_which_no_task_can_be_learnt(
    parent: Path, tmp_path: Path, write: Write, content: str, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        extended(parent, write(content), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_texts_of_one_sort_may_all_be_kept_back(parent: Path, tmp_path: Path, write: Write) -> None:
    alike = [json.dumps({"text": f"Ticket {n}: {KEPT_BACK}", "label": "low"}) for n in range(30)]
    with pytest.raises(DataError, match="'low' are nearly all the same"):
        extended(parent, write(rows(high=30) + "\n".join(alike)), tmp_path / "out")


def test_a_file_that_is_not_there(parent: Path, tmp_path: Path) -> None:
    with pytest.raises(BellwetherError, match=r"Cannot read .*nowhere"):
        extended(parent, tmp_path / "nowhere.jsonl", tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("news.topic", None, "has the task news.topic already"),
        ("topic", Kind.NEWS, "has the task news.topic already"),
        ("urgency", None, "of which kind of record"),
        ("news.urgency", Kind.MESSAGE, "is for news, not for message"),
        ("Urgency", Kind.MESSAGE, "no name for a task"),
        ("mail.urgency", None, "no name for a task"),
        ("news.a.b", None, "no name for a task"),
    ],
)
def test_names_that_no_new_task_has(
    parent: Path, tmp_path: Path, write: Write, name: str, kind: Kind | None, said: str
) -> None:
    data = write(rows(high=20, low=20))
    with pytest.raises(ConfigurationError, match=said):
        add_task(parent, data, tmp_path / "out", name=name, kind=kind, report=quiet)


def test_a_task_is_added_once(own: Path, tmp_path: Path, write: Write) -> None:
    with pytest.raises(ConfigurationError, match=r"--add-label message\.urgency"):
        extended(own, write(rows(high=20, low=20)), tmp_path / "out")


@pytest.mark.parametrize(
    ("task", "content", "said"),
    [
        (OWN, rows(high=30, low=30), "Every label in .* is one of message.urgency already"),
        (OWN, rows(none=30), "no text of a label that message.urgency knows"),
        (OWN, rows(high=30, none=9), "9 different texts with the label 'none'"),
        (OWN, rows(high=30) + "nonsense\n", "line 31: not JSON"),
        (OWN, "", "has no rows"),
        ("message.mood", rows(high=30, none=30), "no task 'message.mood'. Its tasks are news.sent"),
        ("urgency", rows(high=30, none=30), "no task 'urgency'"),
        (EMOTION, rows(high=30, none=30), "which one the new emotions make: negative, neutral"),
    ],
)
def test_labels_that_cannot_be_added(
    own: Path, tmp_path: Path, write: Write, task: str, content: str, said: str
) -> None:
    with pytest.raises((DataError, ConfigurationError), match=said):
        add_labels(own, write(content), tmp_path / "out", task=task, report=quiet)
    assert not (tmp_path / "out").exists()


def test_a_sentiment_is_for_emotions_only(own: Path, tmp_path: Path, write: Write) -> None:
    with pytest.raises(ConfigurationError, match=r"labels of message\.emotion only"):
        add_labels(
            own, write(rows(high=30, none=30)), tmp_path / "o", task=OWN, sentiment="neutral"
        )


def test_few_texts_of_known_labels_are_warned_of(own: Path, tmp_path: Path, write: Write) -> None:
    said: list[str] = []
    data = write(rows(high=15, none=30))
    add_labels(own, data, tmp_path / "out", task=OWN, threads=1, report=said.append)
    assert any("only 15 texts of labels that message.urgency knows" in line for line in said)
    assert any("known labels" in line and "before" in line for line in said)


def test_the_bundle_itself_stays(own: Path, write: Write) -> None:
    with pytest.raises(ConfigurationError, match="stays as it is"):
        extended(own, write(rows(high=20, low=20)), own.parent / "." / "own")


def test_a_bundle_that_is_none(tmp_path: Path, write: Write) -> None:
    with pytest.raises(BundleError, match="no model bundle"):
        extended(tmp_path / "nowhere", write(rows(high=20, low=20)), tmp_path / "out")
