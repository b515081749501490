"""A concept that the shipped model has wrong: posts about dividends are positive.

A desk that trades dividends says so; the model calls most of them neutral, as the sets do that it
learnt from. The posts are StockNet's that say "dividend", one of each group of nearly equal ones.
"""

import random
from pathlib import Path

from benchmarks.common.corpus import posts
from models.duplicates import cluster_keys
from models.opinions import Lesson
from schemas.errors import ConfigurationError
from schemas.taxonomy import SENTIMENT

WORD, LABEL = "dividend", "positive"
ALL_POSTS = 75_000


def lessons(data: Path, least: int) -> list[Lesson]:
    """All of them, always in the same random order.

    Raises ConfigurationError where the set is not there, or holds fewer than `least`.
    """
    found = [post.text for post in posts(data, ALL_POSTS) if WORD in post.text.lower()]
    by_group = dict(zip(cluster_keys(found), found, strict=True))
    made = [Lesson(text, SENTIMENT, LABEL, group=group) for group, text in sorted(by_group.items())]
    if len(made) < least:
        raise ConfigurationError(f"{len(made)} posts about {WORD}s are too few: {least} are needed")
    random.Random(0).shuffle(made)
    return made
