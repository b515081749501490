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


def test_a_concept_is_taught_at_a_small_price_and_without_old_texts_at_a_large_one(
    classifier: Classifier, tmp_path: Path
) -> None:
    """Bankruptcies are to be negative, which one of the sets calls neutral: that has a price, and
    whether it is too high is the gate's to say."""
    labels = [
        GivenLabel(SENTIMENT, text, "", who, "negative", text, NINE + timedelta(minutes=number))
        for number, text in enumerate(TAUGHT)
        for who in ("ann", "bob", "cat")
    ]
    rehearsal = rehearsal_of_sets(DEFAULT_DATA)
    found = resolve(labels, classifier, known=known_labels(rehearsal.labelled))
    assert len(found.lessons) == len(TAUGHT)
    falls = {}
    for protected in (True, False):
        out = tmp_path / f"protected-{protected}"
        made = relearn(
            Bundle.open(SHIPPED_BUNDLE),
            found.lessons,
            rehearsal,
            out,
            method="heads",
            protected=protected,
        )
        candidate = Classifier.load(out)
        said = candidate.classify(UNSEEN, [Kind.NEWS] * len(UNSEEN))
        assert sum(each.predictions[SENTIMENT].label == "negative" for each in said) >= 36
        report = judge(classifier, candidate, Evidence(made.held_out, found.lessons, rehearsal))
        falls[protected] = {c.name: c.figure for c in report.checks}[f"macro-F1, {SENTIMENT}"]
        print(f"protected: {protected}, macro-F1 {falls[protected]:+.4f}, {report.decision}")
    assert falls[True] >= -0.01
    assert falls[False] < -0.1
    assert report.decision == "refused"
