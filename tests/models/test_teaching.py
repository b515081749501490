"""From labels to a decision, on the shipped model with the labelled sets as old texts."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models.bundle import SHIPPED_BUNDLE, Bundle
from models.classifier import Classifier
from models.data import DEFAULT_DATA
from models.gate import Evidence, judge
from models.incremental import relearn
from models.lessons import known_labels, resolve
from models.opinions import GivenLabel
from models.rehearsal import rehearsal_of_sets
from schemas.records import Kind
from schemas.taxonomy import SENTIMENT
from tests.models.concepts import TAUGHT, UNSEEN

NINE = datetime(2026, 3, 2, 9, tzinfo=UTC)

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not DEFAULT_DATA.is_dir(), reason="needs the labelled sets of ../shared/data"
    ),
]


def test_a_concept_is_taught_and_promoted_and_little_is_forgotten(
    classifier: Classifier, tmp_path: Path
) -> None:
    labels = [
        GivenLabel(SENTIMENT, text, "", who, "negative", text, NINE + timedelta(minutes=number))
        for number, text in enumerate(TAUGHT)
        for who in ("ann", "bob", "cat")
    ]
    rehearsal = rehearsal_of_sets(DEFAULT_DATA)
    found = resolve(labels, classifier, known=known_labels(rehearsal.labelled))
    assert len(found.lessons) == len(TAUGHT)
    made = relearn(
        Bundle.open(SHIPPED_BUNDLE), found.lessons, rehearsal, tmp_path / "new", method="heads"
    )
    candidate = Classifier.load(tmp_path / "new")
    said = candidate.classify(UNSEEN, [Kind.NEWS] * len(UNSEEN))
    assert sum(each.predictions[SENTIMENT].label == "negative" for each in said) >= 36
    report = judge(classifier, candidate, Evidence(made.held_out, found.lessons, rehearsal))
    assert report.decision == "promoted", report.why
    fall = next(c.figure for c in report.checks if c.name == f"macro-F1, {SENTIMENT}")
    assert fall >= -0.005
