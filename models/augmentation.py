"""Changes to a training text that leave its label as it is: other names, cashtags, slips.

They teach that the label does not hang on who it is about, nor on a letter.
"""

import random
import re
from collections.abc import Sequence

from models.reading import Span

_CASHTAG = re.compile(r"\$[A-Za-z]{1,5}\b")
_LONG_WORD = re.compile(r"\b[a-z]{5,}\b")


class Augmentation:
    """Draws changes, each with the same probability.

    companies, cashtags: the names that may take another's place; of the training texts alone.
    """

    def __init__(
        self, probability: float, companies: Sequence[str], cashtags: Sequence[str], seed: int
    ) -> None:
        self._probability = probability
        self._companies = companies
        self._cashtags = cashtags
        self._random = random.Random(seed)

    def __call__(self, text: str, span: Span | None) -> tuple[str, Span | None]:
        """The text, perhaps changed, and where the company stands in it then."""
        if span and self._companies and self._drawn():
            text, span = _replaced(text, span, self._random.choice(self._companies), span)
        if self._cashtags and self._drawn():
            for found in reversed(list(_CASHTAG.finditer(text))):
                text, span = _replaced(
                    text, found.span(), self._random.choice(self._cashtags), span
                )
        if self._drawn():
            text, span = self._slip(text, span)
        return text, span

    def _drawn(self) -> bool:
        return self._random.random() < self._probability

    def _slip(self, text: str, span: Span | None) -> tuple[str, Span | None]:
        """Two neighbouring letters of a long word change places, or one of them is gone."""
        words = [w for w in _LONG_WORD.finditer(text) if not _overlap(w.span(), span)]
        if not words:
            return text, span
        word = self._random.choice(words)
        at = self._random.randrange(word.start() + 1, word.end() - 2)
        pair = text[at + 1] + text[at] if self._random.random() < 0.5 else text[at]
        return _replaced(text, (at, at + 2), pair, span)


def cashtags(texts: Sequence[str]) -> list[str]:
    """Every cashtag that occurs, each once, sorted."""
    return sorted({tag for text in texts for tag in _CASHTAG.findall(text)})


def _replaced(text: str, place: Span, by: str, span: Span | None) -> tuple[str, Span | None]:
    """The text with `by` at the place, and the span moved along."""
    changed = text[: place[0]] + by + text[place[1] :]
    if span is None:
        return changed, None
    if span == place:
        return changed, (span[0], span[0] + len(by))
    if _overlap(span, place):
        return text, span
    shift = len(by) - (place[1] - place[0]) if place[0] < span[0] else 0
    return changed, (span[0] + shift, span[1] + shift)


def _overlap(one: Span, other: Span | None) -> bool:
    return other is not None and one[0] < other[1] and other[0] < one[1]
