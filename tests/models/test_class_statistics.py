"""What a bundle remembers of the vectors that its heads were fitted on."""

from pathlib import Path

import numpy as np

from models.bundle import STATISTICS, Bundle
from models.class_statistics import RANK, class_statistics, drawn_vectors
from models.heads import HeadData
from models.incremental import relearn
from models.opinions import Lesson
from models.rehearsal import Rehearsal
from schemas.taxonomy import COMPANY_SENTIMENT, SENTIMENT
from tests.models.own_texts import own_texts


def test_means_shares_and_scatter_are_those_of_the_vectors() -> None:
    draw = np.random.default_rng(0)
    targets = np.repeat([0, 2], [300, 700])
    wide = draw.normal(size=(1000, 1)) * np.linspace(0, 3, 20)
    vectors = (targets[:, None] + wide + draw.normal(size=(1000, 20)) / 10).astype(np.float32)
    found = class_statistics(HeadData(vectors, targets), 3)
    assert found["shares"].tolist() == [np.float16(0.3), 0, np.float16(0.7)]
    assert np.allclose(found["means"][2], vectors[300:].mean(axis=0), atol=0.01)
    assert found["directions"].shape == (RANK, 20)
    scatter = vectors - found["means"].astype(np.float32)[targets]
    told = (found["directions"].astype(np.float32) ** 2).sum(axis=0) + found["spread"] ** 2
    assert np.allclose(told, scatter.var(axis=0), rtol=0.1, atol=0.01)


def test_a_trained_bundle_has_them_for_every_head_and_stage(small_bundle: Path) -> None:
    bundle = Bundle.open(small_bundle)
    assert STATISTICS in bundle.manifest.files
    for name in bundle.manifest.heads:
        first, last = drawn_vectors(bundle, name, seed=0, count=50)
        assert first.shape == last.shape == (50, 64 if name == COMPANY_SENTIMENT else 32)
        again, _ = drawn_vectors(bundle, name, seed=0, count=50)
        assert np.array_equal(first, again)


def test_they_hold_back_a_run_without_old_texts(small_bundle: Path, tmp_path: Path) -> None:
    given = [Lesson(text, SENTIMENT, "negative", group=text) for text in own_texts("zqx", 8)]
    bundle, out = Bundle.open(small_bundle), tmp_path / "candidate"
    relearn(bundle, given, Rehearsal(), out, method="heads", threads=1, report=lambda _: None)
    assert Bundle.open(out).manifest.files[STATISTICS] == bundle.manifest.files[STATISTICS]
