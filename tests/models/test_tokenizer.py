"""What the network reads of a text, and where in it."""

import time

import pytest
from tokenizers import Tokenizer

from models.encoder import load_encoder
from models.tokenizer import WindowTokenizer


@pytest.fixture(scope="module")
def tokenizer() -> WindowTokenizer:
    return WindowTokenizer(load_encoder().tokenizer, 256)


def test_only_texts_beyond_the_window_are_truncated(tokenizer: WindowTokenizer) -> None:
    fits, beyond, far_beyond = tokenizer.encode(["word " * 254, "word " * 255, "word " * 9000])
    assert (len(fits.ids), fits.truncated) == (256, False)
    assert (len(beyond.ids), beyond.truncated) == (256, True)
    assert (len(far_beyond.ids), far_beyond.truncated) == (256, True)


def test_white_space_around_a_text_does_not_use_up_the_window(tokenizer: WindowTokenizer) -> None:
    plain, spaced = tokenizer.encode(
        ["profits fell", " " * 50_000 + "profits fell" + "\n" * 50_000]
    )
    assert plain == spaced


def test_a_huge_text_is_cut_before_it_costs_anything(tokenizer: WindowTokenizer) -> None:
    started = time.process_time()
    tokenizer.encode(["a text without end " * 55_000] * 5)
    assert time.process_time() - started < 1


def test_any_string_is_tokenised(tokenizer: WindowTokenizer) -> None:
    for text in ("", " ", "\x00", "\ud800 alone", "\U0001f600" * 300, "x" * 5000):
        (tokens,) = tokenizer.encode([text])
        assert 2 <= len(tokens.ids) <= 256


def words(tokenizer: WindowTokenizer, text: str) -> list[str]:
    """The tokens between the two special ones."""
    (tokens,) = tokenizer.encode([text])
    plain = Tokenizer.from_buffer(load_encoder().tokenizer)
    return [str(plain.id_to_token(i)) for i in tokens.ids[1:-1]]


@pytest.mark.parametrize(
    "link",
    [
        "https://t.co/aBcD1",
        "HTTP://x.y/z?q=1",
        "http://…",
        "www.example.com/a",
        "pic.twitter.com/Xy",
    ],
)
def test_links_say_nothing(tokenizer: WindowTokenizer, link: str) -> None:
    expected = words(tokenizer, "profits fell again")
    assert words(tokenizer, f"profits fell {link} again") == expected
    assert words(tokenizer, f"{link} profits fell again {link}") == expected


def test_a_mention_is_one_token(tokenizer: WindowTokenizer) -> None:
    assert words(tokenizer, "via @Desk_42: up") == ["via", "@", ":", "up"]
    assert words(tokenizer, "bought @ 45, me@bank.com") == [
        "bought", "@", "45", ",", "me", "@", "bank", ".", "com",
    ]  # fmt: skip


def test_a_span_is_found_behind_links_and_white_space(tokenizer: WindowTokenizer) -> None:
    text = "  https://t.co/x Größe & Söhne beats Ant"
    spans = [(text.index(name), text.index(name) + len(name)) for name in ("Größe & Söhne", "Ant")]
    (tokens,) = tokenizer.encode([text], [spans])
    plain = Tokenizer.from_buffer(load_encoder().tokenizer)
    found = [
        "".join(str(plain.id_to_token(tokens.ids[place])) for place in places)
        for places in tokens.places
    ]
    assert [word.replace("##", "") for word in found] == ["große&sohne", "ant"]


def test_a_span_beyond_the_window_has_no_tokens(tokenizer: WindowTokenizer) -> None:
    text = "word " * 300 + "Ant"
    (tokens,) = tokenizer.encode([text], [[(len(text) - 3, len(text))]])
    assert tokens.places == ((),)


def test_unknown_words_are_counted(tokenizer: WindowTokenizer) -> None:
    known, unknown = tokenizer.encode(["profits fell", "profits 🦄🦄 fell"])
    assert (known.unknown, unknown.unknown) == (0, 1)
