"""What a bundle remembers of its training texts."""

from pathlib import Path

import numpy as np
import pytest

from models.statistics import ClassStatistics, FloatArray, read_statistics, write_statistics

SPREAD = np.array([3.0, 0.5, 0.5, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], np.float32)


@pytest.fixture(scope="module")
def statistics() -> ClassStatistics:
    draw = np.random.default_rng(0)
    targets = np.repeat([0, 1, 3], [6_000, 3_000, 1_000])
    vectors = draw.normal(0, SPREAD, (10_000, 12)) + 5 * targets[:, None]
    return ClassStatistics.of(vectors.astype(np.float32), targets, 4)


def test_means_shares_and_spread_are_those_of_the_texts(statistics: ClassStatistics) -> None:
    assert statistics.means[3] == pytest.approx(np.full(12, 15), abs=0.4)
    assert statistics.shares == pytest.approx([0.6, 0.3, 0, 0.1])
    assert spread(statistics) == pytest.approx(SPREAD, rel=0.1)


def spread(statistics: ClassStatistics) -> FloatArray:
    squares: FloatArray = statistics.deviations**2 + (statistics.directions**2).sum(axis=0)
    return np.sqrt(squares)


def test_drawn_vectors_are_like_the_texts(statistics: ClassStatistics) -> None:
    vectors, targets = statistics.draw(20_000, seed=1)
    assert set(targets) == {0, 1, 3}
    again = ClassStatistics.of(vectors, targets, 4)
    assert again.means[1] == pytest.approx(statistics.means[1], abs=0.2)
    assert spread(again) == pytest.approx(SPREAD, rel=0.1)


def test_the_same_seed_draws_the_same(statistics: ClassStatistics) -> None:
    first, second, other = (statistics.draw(10, seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_a_file_keeps_the_stages_of_each_head(statistics: ClassStatistics, tmp_path: Path) -> None:
    vectors = np.tile(np.eye(6, dtype=np.float32), (2, 1))
    later = ClassStatistics.of(vectors, np.array([0, 1] * 6), 2)
    write_statistics(tmp_path / "file", {"news.topic": [statistics, later]})
    first, second = read_statistics(tmp_path / "file")["news.topic"]
    assert first.means == pytest.approx(statistics.means, rel=1e-3, abs=1e-3)
    assert second.directions.shape == later.directions.shape == (6, 6)


@pytest.mark.parametrize("texts", [1, 2, 4])
def test_nothing_is_kept_of_a_label_with_few_texts(texts: int) -> None:
    vectors = np.random.default_rng(0).normal(0, 1, (20 + texts, 12)).astype(np.float32)
    vectors[20:] += 100
    targets = np.array([0] * 20 + [1] * texts)
    found = ClassStatistics.of(vectors, targets, 2)
    assert not found.means[1].any()
    assert found.shares.tolist() == [1, 0]
    assert spread(found).max() < 3
    assert set(found.draw(1_000, seed=0)[1]) == {0}


def test_where_all_labels_have_few_texts_nothing_is_drawn() -> None:
    found = ClassStatistics.of(np.eye(4, dtype=np.float32), np.array([0, 1, 2, 3]), 4)
    for part in (found.means, found.directions, found.deviations):
        assert not part.any()
    vectors, targets = found.draw(10, seed=0)
    assert (vectors.shape, targets.shape) == ((0, 4), (0,))
