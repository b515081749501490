"""Groups of texts that are nearly the same: reposts, one template with another company, rewordings.

Texts are compared as they are seen, without links, cashtags, numbers, case, punctuation and repost
marks. Two texts belong together when their sets of word pairs overlap by a Jaccard index of at
least 0.6; candidates are found by MinHash (Broder 1997) in 12 bands of 3 hashes.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from zlib import crc32

import numpy as np
import numpy.typing as npt

from models.reading import seen

SIMILAR = 0.6
_BANDS, _HASHES_A_BAND = 12, 3
_MERSENNE = np.uint64((1 << 31) - 1)

_NOISE = re.compile(r"https?://\S+|[$#@]\w+|&\w+;|^rt\b|\d+|_", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+")


def normalized(text: str) -> tuple[str, ...]:
    """The words that are compared. A text of nothing else keeps its own words."""
    words = _WORD.findall(_NOISE.sub(" ", seen(text).lower()))
    return tuple(words) or (text.strip().lower(),)


def cluster_keys(texts: Sequence[str]) -> list[str]:
    """For each text the key of its group: the same for texts that are nearly the same.

    A key is the smallest normalised text of the group, so it does not depend on the order of texts.
    """
    words = [normalized(text) for text in texts]
    distinct = sorted(set(words))
    shingles = [_shingles(w) for w in distinct]
    groups = _Groups(len(distinct))
    for first, second in _candidates(shingles):
        if groups.find(first) != groups.find(second) and _alike(shingles[first], shingles[second]):
            groups.join(first, second)
    # The root of a group is its smallest position, and `distinct` is sorted.
    keys = {w: " ".join(distinct[groups.find(i)]) for i, w in enumerate(distinct)}
    return [keys[w] for w in words]


def _shingles(words: tuple[str, ...]) -> frozenset[int]:
    pairs = zip(("", *words), (*words, ""), strict=True)
    return frozenset(crc32(f"{a} {b}".encode()) for a, b in pairs)


def _alike(first: frozenset[int], second: frozenset[int]) -> bool:
    shared = len(first & second)
    return shared >= SIMILAR * (len(first) + len(second) - shared)


def _candidates(shingles: Sequence[frozenset[int]]) -> list[tuple[int, int]]:
    """Pairs worth comparing: each text with the first of every band's bucket that it falls into."""
    pairs = []
    for band in np.split(_signatures(shingles), _BANDS, axis=1):
        buckets: defaultdict[bytes, list[int]] = defaultdict(list)
        for position, row in enumerate(np.ascontiguousarray(band)):
            buckets[row.tobytes()].append(position)
        pairs += [(b[0], other) for b in buckets.values() for other in b[1:]]
    return pairs


def _signatures(shingles: Sequence[frozenset[int]]) -> npt.NDArray[np.uint64]:
    """MinHash signatures, [texts, hashes]."""
    values = np.fromiter((v for s in shingles for v in sorted(s)), np.uint64)
    starts = np.cumsum([0, *(len(s) for s in shingles[:-1])])
    random = np.random.default_rng(0)
    columns = []
    for _ in range(_BANDS * _HASHES_A_BAND):
        factor, offset = (np.uint64(n) for n in random.integers(1, 1 << 31, 2))
        hashed = (values * factor + offset) % _MERSENNE
        columns.append(np.minimum.reduceat(hashed, starts))
    return np.stack(columns, axis=1)


class _Groups:
    """Disjoint sets; the representative is the smallest member."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def find(self, member: int) -> int:
        while self._parent[member] != member:
            self._parent[member] = self._parent[self._parent[member]]
            member = self._parent[member]
        return member

    def join(self, first: int, second: int) -> None:
        low, high = sorted((self.find(first), self.find(second)))
        self._parent[high] = low
