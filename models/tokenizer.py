"""From text, as a person sees it, to token ids, cut at the window.

A bundle's tokenizer is the encoder's with one addition: links become a space and mentions a lone
"@". Their random letters cost a third of a post's tokens and say nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Encoding, Tokenizer

from models.reading import Reading, Span, seen

# No token needs this many characters on average; beyond, tokenising would be work thrown away.
CHARACTERS_PER_TOKEN = 16
UNKNOWN = ("[UNK]", "<unk>")

# In the language of Oniguruma and of Python. Posts are often cut in the middle of a link.
LINK = r"(?i:https?:|www\.|pic\.twitter\.com)\S*"
MENTION = r"(?<!\w)@[A-Za-z_]\w*"


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text as the network reads it.

    ids: token ids, special tokens included.
    truncated: whether some were cut off at the window.
    places: for each span that was asked for, the positions of its tokens; none where the span
        lies beyond the window.
    unknown: how many of the tokens are in no vocabulary.
    """

    ids: list[int]
    truncated: bool
    places: tuple[tuple[int, ...], ...] = ()
    unknown: int = 0


class WindowTokenizer:
    """Tokenises to at most `window_tokens`; long texts are cut before they cost anything.

    Thread-safe; releases the interpreter lock while it works. `unknown` is the id of tokens that
    are in no vocabulary, if there is one.
    """

    def __init__(self, tokenizer: Path | bytes, window_tokens: int) -> None:
        content = tokenizer if isinstance(tokenizer, bytes) else tokenizer.read_bytes()
        self._tokenizer = Tokenizer.from_buffer(content)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(window_tokens)
        self._max_characters = window_tokens * CHARACTERS_PER_TOKEN
        ids = (self._tokenizer.token_to_id(name) for name in UNKNOWN)
        self.unknown: int | None = next((number for number in ids if number is not None), None)

    def encode(
        self, texts: Sequence[str], spans: Sequence[Sequence[Span]] | None = None
    ) -> list[Tokens]:
        """`spans`: for each text, pairs of character positions whose tokens are to be found."""
        read, wanted = _read(texts, spans)
        shifts = [len(text) - len(text.lstrip()) for text in read]
        stripped = [text.strip() for text in read]
        cut = [_without_surrogates(text[: self._max_characters]) for text in stripped]
        # Only with spans are the tokens' places in the text worth their price.
        encode = self._tokenizer.encode_batch if any(wanted) else self._tokenizer.encode_batch_fast
        encodings: list[Encoding] = encode(cut)
        return [
            Tokens(
                ids=(ids := encoding.ids),
                truncated=bool(encoding.overflowing) or len(short) < len(text),
                places=tuple(_places(encoding, start - shift, end - shift) for start, end in pairs),
                unknown=0 if self.unknown is None else ids.count(self.unknown),
            )
            for encoding, short, text, shift, pairs in zip(
                encodings, cut, stripped, shifts, wanted, strict=True
            )
        ]


def _read(
    texts: Sequence[str], spans: Sequence[Sequence[Span]] | None
) -> tuple[Sequence[str], Sequence[Sequence[Span]]]:
    """The texts as they are seen, with where the spans are in them."""
    if spans is None or not any(spans):
        return [seen(text) for text in texts], [()] * len(texts)
    readings = [Reading(text) for text in texts]
    moved = [
        [reading.seen(span) for span in own] for reading, own in zip(readings, spans, strict=True)
    ]
    return [reading.text for reading in readings], moved


def serving_tokenizer(encoders: bytes) -> bytes:
    """The encoder's tokenizer.json with the addition that takes out links and mentions."""
    content: dict[str, Any] = json.loads(encoders)
    ours = [_replacement(LINK, " "), _replacement(MENTION, "@")]
    theirs = content.get("normalizer")
    content["normalizer"] = {
        "type": "Sequence",
        "normalizers": [*ours, theirs] if theirs else ours,
    }
    return json.dumps(content, ensure_ascii=False).encode()


def _replacement(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def _places(encoding: Encoding, start: int, end: int) -> tuple[int, ...]:
    return tuple(
        place
        for place, (first, last) in enumerate(encoding.offsets)
        if first < end and last > start and first < last
    )


def _without_surrogates(text: str) -> str:
    """Lone surrogates cannot be written as UTF-8, which the tokenizer needs."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")
