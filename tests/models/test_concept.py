"""What counts as near what people corrected."""

import numpy as np

from models.concept import LEAST_GROUPS, of_concept
from models.heads import FloatArray


def cloud(direction: int, count: int, spread: float, seed: int) -> FloatArray:
    """Vectors about one axis of twenty."""
    found = np.random.default_rng(seed).normal(0, spread, (count, 20))
    found[:, direction] += 1
    return found.astype(np.float32)


def test_other_wordings_are_near_and_other_matters_are_not() -> None:
    corrections, groups = cloud(0, 30, 0.1, seed=1), [str(n) for n in range(30)]
    same, other = cloud(0, 200, 0.1, seed=2), cloud(1, 200, 0.1, seed=3)
    assert of_concept(corrections, groups, same).mean() > 0.7
    assert not of_concept(corrections, groups, other).any()


def test_lengths_do_not_count() -> None:
    corrections, groups = cloud(0, 30, 0.1, seed=1), [str(n) for n in range(30)]
    same = cloud(0, 50, 0.1, seed=2)
    assert np.array_equal(
        of_concept(corrections, groups, same), of_concept(corrections, groups, 7 * same)
    )


def test_copies_of_a_correction_do_not_make_the_concept_narrow() -> None:
    corrections, groups = cloud(0, 30, 0.1, seed=1), [str(n) for n in range(30)]
    same = cloud(0, 200, 0.1, seed=2)
    found = of_concept(corrections, groups, same)
    again = of_concept(np.concatenate([corrections] * 3), groups * 3, same)
    assert np.array_equal(found, again)


def test_few_corrections_tell_no_width() -> None:
    count = LEAST_GROUPS - 1
    corrections, groups = cloud(0, count, 0.1, seed=1), [str(n) for n in range(count)]
    assert not of_concept(corrections, groups, corrections).any()
    assert of_concept(corrections, groups, cloud(0, 0, 0.1, seed=2)).shape == (0,)
