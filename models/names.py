"""Where the sender of a message says his or her own name.

Only what introduces itself is taken: "my name is …", "this is … speaking", a form's "Name: …", and
the signature under a letter. Names of others, and a name somewhere in a sentence, are not looked
for: without a list of all names that would mask companies and products.
"""

import re
from collections.abc import Iterator

from models.reading import Span

MAX_WORDS = 4

_WORD = r"[^\W\d_](?:[^\W\d_]|['\u2019\-](?=[^\W\d_]))*\.?"
# Bounded, as all white space here is: a hundred thousand spaces must not take minutes.
_SPACES = r"[ \t]{1,8}"
_WORDS = rf"{_WORD}(?:{_SPACES}{_WORD}){{0,{MAX_WORDS - 1}}}"
_INTRODUCED = re.compile(
    r"\b(?:my (?:full |first |last )?name is|my name['\u2019]s|i am called|i['\u2019]m called"
    rf"|(?:full |first |last )?name[ \t]?[:=])[ \t]{{0,8}}(?P<name>{_WORDS})",
    re.IGNORECASE,
)
_SPEAKING = re.compile(
    rf"\b(?:this is|it is|it['\u2019]s|i am|i['\u2019]m){_SPACES}(?P<name>{_WORDS}?)"
    rf",?{_SPACES}(?:speaking|calling|writing|here)\b",
    re.IGNORECASE,
)
_CLOSING = (
    r"(?:(?:with )?(?:kind|best|warm) )?(?:regards|wishes)|(?:many )?thanks|thank you"
    r"|(?:yours )?(?:sincerely|faithfully|truly)|sincerely yours|cheers|best"
)
_SIGNED = re.compile(
    rf"(?m:^|(?<=[.!?])[ \t])[ \t]{{0,8}}(?i:{_CLOSING})"
    r"(?P<mark>[ \t]?[,.!\u2013-]{0,3}[ \t]{0,8})(?P<lines>(?:\r?\n[ \t]{0,8}){0,4})"
    rf"(?:[\u2013-][ \t]?)?(?P<name>{_WORDS})[ \t]{{0,8}}(?=\r?\n|$)"
)
# Lower-case words that a name may have inside.
_PARTICLES = frozenset(
    {"al", "bin", "da", "das", "de", "del", "der", "di", "dos", "du", "el", "la", "le", "van",
     "von", "y", "zu"}
)  # fmt: skip
# Words that follow "my name is" or stand under a letter, and are no names.
_NO_NAMES = frozenset({
    "a", "about", "account", "advance", "again", "all", "am", "an", "and", "any", "are", "as",
    "asap", "at", "back", "bad", "bank", "be", "because", "been", "being", "between", "but",
    "by", "bye", "can", "card", "correct", "could", "customer", "day", "different", "do",
    "does", "due", "email", "ever", "everyone", "for", "from", "gone", "good", "guys", "have",
    "hello", "help", "here", "hey", "hi", "how", "i", "if", "in", "incorrect", "is", "it",
    "just", "kind", "later", "listed", "lot", "mate", "me", "missing", "misspelled",
    "mistake", "much", "my", "name", "no", "not", "now", "of", "on", "one", "or", "our",
    "out", "please", "printed", "registered", "reply", "rightly", "same", "see", "showing",
    "shown", "so", "soon", "spelled", "spelt", "still", "support", "team", "thank", "thanks",
    "that", "the", "their", "there", "they", "this", "to", "too", "truncated", "up", "urgent",
    "very", "wait", "waiting", "was", "we", "what", "when", "where", "which", "who", "why",
    "will", "with", "without", "wrong", "wrongly", "yes", "you", "your",
})  # fmt: skip


def name_spans(text: str) -> Iterator[Span]:
    """Start and end of each name by which a sender introduces or signs."""
    for found in _INTRODUCED.finditer(text):
        yield from _name(found, in_capitals=False)
    for found in _SPEAKING.finditer(text):
        yield from _name(found, in_capitals=True)  # "I am still here" says no name
    for found in _SIGNED.finditer(text):
        # On the closing's own line a comma or a dash must stand between, or "best Apple" signs.
        if found["lines"] or found["mark"].strip():
            yield from _signature(text, found)


def _name(found: re.Match[str], in_capitals: bool) -> Iterator[Span]:
    """The words of an introduction that are a name: those in capitals, or else, as people type in
    a chat, up to two others that are no common words."""
    words = list(re.finditer(_WORD, found["name"]))
    count = _leading_capitalised([word[0] for word in words])
    if not count and not in_capitals:
        count = _leading_uncommon([word[0] for word in words[:2]])
    if count:
        offset = found.start("name")
        yield offset + words[0].start(), offset + _end(words[count - 1])


def _signature(text: str, found: re.Match[str]) -> Iterator[Span]:
    """A line of nothing but a name; in lower case only where it ends the text."""
    words = [word for word in found["name"].split() if word]
    capitalised = _leading_capitalised(words) == len(words)
    is_last = not text[found.end() :].strip()
    if capitalised or (
        is_last and found["lines"] and len(words) <= 2 and _leading_uncommon(words) == len(words)
    ):
        yield found.span("name")


def _leading_capitalised(words: list[str]) -> int:
    """How many words a name in capitals has at the beginning; its particles may be small."""
    count = 0
    for position, word in enumerate(words):
        is_initial = len(word) == 2 and word.endswith(".")
        if word[0].isupper() and (is_initial or word.lower().rstrip(".") not in _NO_NAMES):
            count = position + 1
        elif not (position and word in _PARTICLES):
            break
    return count


def _leading_uncommon(words: list[str]) -> int:
    count = 0
    for word in words:
        if word.lower().rstrip(".") in _NO_NAMES:
            break
        count += 1
    return count


def _end(word: re.Match[str]) -> int:
    """Without the full stop that ends a sentence; an initial keeps its own."""
    is_initial = word.end() - word.start() <= 2
    return word.end() if is_initial else word.start() + len(word[0].rstrip("."))
