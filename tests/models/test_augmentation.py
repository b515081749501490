"""A changed text still has its company where it is said to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.augmentation import Augmentation, cashtags

COMPANIES = ["Ant", "Bee Foods Holding", "Größe & Söhne"]
TEXT = "Shares of Cat Media in $CATM and $DOG tumble after warning, analysts surprised"
SPAN = (10, 19)


def test_nothing_changes_without_chance() -> None:
    assert Augmentation(0, COMPANIES, ["$ANT"], seed=0)(TEXT, SPAN) == (TEXT, SPAN)


def test_the_company_and_every_cashtag_change() -> None:
    text, span = Augmentation(0.999, ["Ant"], ["$ANT"], seed=0)(TEXT, SPAN)
    assert span is not None
    assert text[slice(*span)] == "Ant"
    assert text.count("$ANT") == 2
    assert "Cat" not in text


@given(st.integers(0, 10_000), st.sampled_from([TEXT, "$CATM Cat Media", "x Cat Media $DOG $A"]))
def test_the_span_moves_along(seed: int, text: str) -> None:
    start = text.index("Cat Media")
    changed, span = Augmentation(0.7, COMPANIES, ["$A", "$LONGER"], seed)(
        text, (start, start + len("Cat Media"))
    )
    assert span is not None
    assert changed[slice(*span)] in {"Cat Media", *COMPANIES}


def test_a_slip_changes_one_long_word_by_a_letter_or_two() -> None:
    for seed in range(50):
        text, _ = Augmentation(0.999, [], [], seed)("Oil prices jump", None)
        words = text.split()
        assert (words[0], words[2]) == ("Oil", "jump")
        assert words[1][0] == "p"
        assert sorted(words[1]) == sorted("prices") or len(words[1]) == len("prices") - 1


def test_the_same_seed_draws_the_same() -> None:
    first, second = (Augmentation(0.5, COMPANIES, ["$A"], seed=3) for _ in range(2))
    assert [first(TEXT, SPAN) for _ in range(20)] == [second(TEXT, SPAN) for _ in range(20)]


def test_cashtags_are_collected_once() -> None:
    assert cashtags(["$B up, $A down", "$A again, $5 and 3$"]) == ["$A", "$B"]


@pytest.mark.parametrize("text", ["", "up", "$A", "ÄÖÜ ß"])
def test_short_texts_are_no_trouble(text: str) -> None:
    for seed in range(20):
        Augmentation(0.9, COMPANIES, ["$B"], seed)(text, None)
