"""A text as a person sees it: without markup, invisible characters and odd ways to write a letter.

Programs that send mail and news leave marks that nobody sees: soft hyphens, zero-width characters,
no-break spaces, letters apart from their accents, style sheets. The model, the rules, duplicates
and names read the text without them, while the text is stored as it came; so a place found in the
one can be told in the other.

The normal form is NFKC (Unicode Standard Annex 15) without invisible characters, with plain spaces,
apostrophes, quotes and hyphens; an ellipsis stays one character. Where a text is HTML, what a
browser would not show is left out; entities are read in any text.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import unescape
from html.entities import html5
from itertools import accumulate

Span = tuple[int, int]

# Control and format characters, fillers and variation selectors; of the control characters those
# that break lines and the tab are spaces.
_INVISIBLE = (
    r"\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5"
    r"\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    r"\ufff9-\ufffb\U000e0000-\U000e0fff"
)
_MARKS = "\u2122\u2120\u00ae\u00a9"  # NFKC would make Acme™ AcmeTM
_ELLIPSIS = "\u2026"  # stays: posts end in it, and to the encoder it is one token, not three
_SPACES = r"\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
_LINES = r"\x0b\x0c\x85\u2028\u2029"
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201b\u02bc\u02bb\u2032\uff07\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201f\u2033\uff02", '"'),
        **dict.fromkeys("\u2010\u2011\u2043\ufe63\uff0d", "-"),
    }
)
_PLAIN_KEYS = "".join(map(chr, _PLAIN))
# Letters that are written as several characters belong together: an accent with what it stands on,
# and the parts of a Korean syllable.
_JAMO = r"\u1100-\u11ff\ua960-\ua97c\ud7b0-\ud7fb"

_ENTITY = r"(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});"
_ODD = rf"{_INVISIBLE}{_SPACES}{_LINES}{_MARKS}{_PLAIN_KEYS}{_ELLIPSIS}"
# One class of characters first: so a search is several times quicker than with an alternative.
_CHARACTER = rf"[&{_ODD}](?:(?<=&){_ENTITY})?"
_BLOCKS = (
    "address|article|aside|blockquote|body|br|center|dd|div|dl|dt|figure|footer|form|h[1-6]|header"
    "|hr|html|li|main|nav|ol|p|pre|section|table|tbody|thead|tr|ul"
)
_CELLS = "td|th"
_INLINE = "a|abbr|b|big|code|em|font|i|img|input|label|meta|s|small|span|strong|sub|sup|u"
_HIDDEN = "head|script|style|template"
_NAMES = rf"(?:{_BLOCKS}|{_CELLS}|{_INLINE}|{_HIDDEN})"
# An opening tag has nothing in it, or an attribute: "a <b and c> d" is no HTML.
_HTML = re.compile(
    rf"<(?:{_NAMES}(?:\s+[\w:-]+\s*=[^<>]*|\s*/?)"
    rf"|/{_NAMES}\s*|!doctype\b[^<>]*)>|<!--|<!\[CDATA\[",
    re.IGNORECASE,
)
# What is opened and never closed reaches to the end, as in a browser; so no search is repeated.
_UNSEEN = rf"<!--(?:.*?-->|.*\Z)|<(?P<hidden>{_HIDDEN})\b[^<>]*>(?:.*?</(?P=hidden)\s*>|.*\Z)"
_TAG = (
    rf"<!\[CDATA\[|\]\]>|<![a-z][^<>]*>"
    rf"|</?(?:(?P<block>{_BLOCKS})|(?P<cell>{_CELLS})|[a-z][a-z0-9:-]*)(?:\s[^<>]*|/)?>"
)
_BREAKS = r"[\r\n]\s*"

_IN_TEXT = re.compile(_CHARACTER)
_IN_HTML = re.compile(rf"{_UNSEEN}|{_TAG}|(?P<space>{_BREAKS})|{_CHARACTER}", re.I | re.S)
_TOUCHED = re.compile(rf"[&<{_ODD}]")
_DROPPED = re.compile(rf"[{_INVISIBLE}{_MARKS}]")
_JOINED = re.compile(rf"[{_JAMO}]")


@dataclass(frozen=True, slots=True)
class _Edit:
    """`text` is seen in place of what is stored from `start` to `end`."""

    start: int
    end: int
    text: str


class Reading:
    """A stored text and what is seen of it, with the way between places of both."""

    def __init__(self, stored: str) -> None:
        self._edits = _edits(stored)
        grown = accumulate((len(e.text) - (e.end - e.start) for e in self._edits), initial=0)
        self._shifts = tuple(grown)  # before each edit, and behind the last
        self._starts = tuple(edit.start for edit in self._edits)
        self._seen_starts = tuple(
            edit.start + shift for edit, shift in zip(self._edits, self._shifts, strict=False)
        )
        self.text = _edited(stored, self._edits)

    def seen(self, span: Span) -> Span:
        """Where a place of the stored text is seen; empty where nothing of it is."""
        start, end = span
        return self._seen_place(start, is_end=False), self._seen_place(end, is_end=True)

    def stored(self, span: Span) -> Span:
        """Where in the stored text stands what is seen at a place, as a whole."""
        start, end = span
        return self._stored_place(start, is_end=False), self._stored_place(end, is_end=True)

    def _seen_place(self, place: int, *, is_end: bool) -> int:
        number = bisect_right(self._starts, place - is_end) - 1
        if number < 0 or place >= self._edits[number].end:
            return place + self._shifts[number + 1]
        edit = self._edits[number]
        return edit.start + self._shifts[number] + (len(edit.text) if is_end else 0)

    def _stored_place(self, place: int, *, is_end: bool) -> int:
        number = bisect_right(self._seen_starts, place - is_end) - 1
        if number < 0:
            return place
        edit, seen_start = self._edits[number], self._seen_starts[number]
        if place - is_end < seen_start + len(edit.text):
            return edit.end if is_end else edit.start
        return place - self._shifts[number + 1]


def seen(text: str) -> str:
    """What a person sees of a text."""
    return _edited(text, _edits(text))


def folded(text: str) -> str:
    """What is seen, for comparing words: without case, one space between words."""
    return " ".join(seen(text).casefold().split())


def _is_plain(text: str) -> bool:
    """Most texts are, and cost next to nothing."""
    if text.isascii() and text.isprintable():
        return "&" not in text and "<" not in text
    return not _TOUCHED.search(text) and (text.isascii() or unicodedata.is_normalized("NFKC", text))


def _edited(text: str, edits: Iterable[_Edit]) -> str:
    pieces, done = [], 0
    for edit in edits:
        pieces += [text[done : edit.start], edit.text]
        done = edit.end
    return "".join([*pieces, text[done:]])


def _edits(text: str) -> tuple[_Edit, ...]:
    """In order, without overlap. Markup around nothing to see is taken for the text itself."""
    if _is_plain(text):
        return ()
    if _HTML.search(text):
        edits = tuple(_found(_IN_HTML, text))
        if _edited(text, edits).strip():
            return edits
    return tuple(_found(_IN_TEXT, text))


def _found(pattern: re.Pattern[str], text: str) -> Iterator[_Edit]:
    done = 0
    for found in pattern.finditer(text):
        yield from _normalised(text, done, found.start())
        shown = _shown(found)
        if shown != found[0]:
            yield _Edit(*found.span(), shown)
        done = found.end()
    yield from _normalised(text, done, len(text))


def _shown(found: re.Match[str]) -> str:
    piece = found[0]
    if piece.startswith("&"):
        return _character(unescape(piece)) if _is_entity(piece) else piece
    if found.re is _IN_TEXT:
        return _character(piece)
    if found["block"]:
        return "\n"
    if found["cell"] or found["space"]:
        return " "
    return "" if piece.startswith(("<", "]]>")) else _character(piece)


def _is_entity(piece: str) -> bool:
    return piece[1:2] == "#" or piece[1:] in html5


def _character(piece: str) -> str:
    """A character, or the few of an entity, in the normal form."""
    if piece == _ELLIPSIS:
        return piece
    if re.fullmatch(rf"[{_SPACES}]", piece):
        return " "
    if re.fullmatch(rf"[{_LINES}]", piece):
        return "\n"
    return unicodedata.normalize("NFKC", _DROPPED.sub("", piece).translate(_PLAIN))


def _normalised(text: str, start: int, end: int) -> Iterator[_Edit]:
    """The letters between two places that are not in the normal form."""
    if unicodedata.is_normalized("NFKC", text[start:end]):
        return
    for first, last in _letters(text, start, end):
        letter = text[first:last]
        normal = unicodedata.normalize("NFKC", letter)
        if normal != letter:
            yield _Edit(first, last, normal)


def _letters(text: str, start: int, end: int) -> Iterator[Span]:
    """Each character with the accents, or the syllable's parts, that follow it."""
    first = start
    for place in range(start + 1, end):
        character = text[place]
        if not (unicodedata.combining(character) or _JOINED.match(character)):
            yield first, place
            first = place
    if first < end:
        yield first, end
