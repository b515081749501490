"""Two models' answers to the same texts: by how much one may be worse, and whether it is better.

`before` and `now` [texts] say which answers are right.
"""

from dataclasses import dataclass

import numpy as np

from models.measures import BoolArray

# Of a one-sided interval of 95 %.
_NORMAL_95 = 1.6449


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Accuracy of the new minus that of the old model, in shares of the texts.

    lower: with 95 % confidence it is not below this. gained, lost: texts that only one had right.
    """

    texts: int
    difference: float
    lower: float
    gained: int
    lost: int


def paired_difference(before: BoolArray, now: BoolArray) -> PairedDifference:
    """With the adjusted Wald bound of Agresti and Min, "Simple improved confidence intervals for
    comparing matched proportions" (2005): half a text is added to each of the four cells.

        d = (g - l) / n,  lower = d - z sqrt(g + l - (g - l)² / n) / n   of g + ½, l + ½, n + 2
    """
    texts = len(before)
    gained, lost = int((now & ~before).sum()), int((before & ~now).sum())
    g, l_, n = gained + 0.5, lost + 0.5, texts + 2
    error = float(np.sqrt(g + l_ - (g - l_) ** 2 / n)) / n
    difference = (gained - lost) / max(1, texts)
    return PairedDifference(texts, difference, (g - l_) / n - _NORMAL_95 * error, gained, lost)


def sign_test(wins: int, losses: int) -> float:
    """How often a fair coin gives so many wins or more (Dixon and Mood 1946)."""
    from scipy.stats import binom

    return float(binom.sf(wins - 1, wins + losses, 0.5)) if wins + losses else 1.0
