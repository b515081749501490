"""The cases of behavioural tests: their sentences, and what is made of them."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.checklist_cases import SHIPPED_TEMPLATES, expand, load_templates, with_typo
from schemas.errors import ConfigurationError
from schemas.records import Kind
from tests.models.checklist import (
    CASES,
    COMPANIES,
    ORIGINS,
    PEOPLE,
    SENTENCES,
    TEMPLATES,
    cases,
    sentences,
)

SAME = TEMPLATES.invariance


def without(text: str, names: Mapping[str, object]) -> str:
    return re.sub("|".join(map(re.escape, names)), "NAME", text)


# The sentences.


@pytest.mark.parametrize("capability", SENTENCES)
def test_there_are_enough_sentences_of_each_capability(capability: str) -> None:
    least = {"company": 20, "person": 15}.get(capability, 30)
    assert len(sentences(capability)) >= least


def test_no_sentence_is_written_twice() -> None:
    written = [sentence for capability in SENTENCES for sentence in sentences(capability)]
    assert len(written) == len(set(written))


def test_names_are_of_every_origin_and_gender_in_equal_numbers() -> None:
    companies, people = TEMPLATES.words.companies, TEMPLATES.words.people
    assert companies.keys() == people.keys() == ORIGINS
    assert {len(names) for names in companies.values()} == {6}
    assert {(g, len(names)) for by in people.values() for g, names in by.items()} == {
        ("female", 3),
        ("male", 3),
    }
    assert (len(COMPANIES), len(PEOPLE)) == (54, 54)  # so no name is of two groups
    trades = [{name.split()[-1] for name in names} for names in companies.values()]
    assert all(trade == trades[0] for trade in trades)


@pytest.mark.parametrize("slot", ["company", "person"])
def test_fairness_is_asked_of_news_and_messages(slot: str) -> None:
    (by_kind,) = SENTENCES[slot]
    assert by_kind.keys() == {Kind.NEWS, Kind.MESSAGE}
    assert all(f"{{{slot}}}" in sentence for sentence in sentences(slot))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("{company} prices", "{firm} prices", r"typos\.news\[\d+\]: .*firm.* is not known"),
        ("{company} prices", "{company prices", r"typos\.news\[\d+\]: a brace without"),
        ("buyback {link}", "buyback", r"links\.news\[0\]: the sentence lacks \{link\}"),
        ("{climb|slump}", "climb", r"rise_fall\.news\[0\]: the sentence lacks a choice"),
        ("  severity:", "  gravity:", r"gravity: not a known name|severity: missing"),
    ],
)
def test_what_is_wrong_in_the_file_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    shipped = SHIPPED_TEMPLATES.read_text(encoding="utf-8")
    assert shipped.count(old) == 1
    file = tmp_path / "wrong.yaml"
    file.write_text(shipped.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=rf"wrong\.yaml:\d+: .*({told})"):
        load_templates(file)


# What is made of them.


@given(
    words=st.lists(st.text("abcdefgh", min_size=1, max_size=12), min_size=1, max_size=8),
    seed=st.integers(0, 1000),
)
def test_a_typo_is_one_slip_inside_one_long_word(words: list[str], seed: int) -> None:
    text = " ".join(words)
    slip = with_typo(text, seed)
    assert slip == with_typo(text, seed)
    changed = [(a, b) for a, b in zip(words, slip.split(" "), strict=True) if a != b]
    assert len(changed) == any(len(word) >= 6 for word in words)
    for word, wrong in changed:
        assert len(word) >= 6
        assert (wrong[0], wrong[-1]) == (word[0], word[-1])
        if len(wrong) == len(word):
            first = next(i for i in range(len(word)) if word[i] != wrong[i])
            assert word[first : first + 2] == wrong[first : first + 2][::-1]
            assert word[first + 2 :] == wrong[first + 2 :]
        else:
            assert wrong in {word[:i] + word[i + 1 :] for i in range(len(word))}


def test_typos_differ_with_the_seed_and_are_of_both_sorts() -> None:
    slips = {with_typo("profits", seed) for seed in range(100)}
    assert slips == {
        *("pofits", "prfits", "proits", "profts", "profis"),
        *("porfits", "prfoits", "proifts", "proftis"),
    }


@pytest.mark.parametrize(
    "text", ["", "it is up 5%", "$QZVTXXA up", "https://example.com/abcdefgh", "x-axis 1234567"]
)
def test_a_text_without_a_long_word_gets_no_typo(text: str) -> None:
    assert {with_typo(text, seed) for seed in range(20)} == {text}


def test_every_sentence_for_typos_gets_some() -> None:
    assert len({text for text, _ in cases("typos")}) == len(sentences("typos"))
    for text, slip in cases("typos"):
        differing = [a for a, b in zip(text.split(), slip.split(), strict=True) if a != b]
        assert len(differing) == 1


def test_casing_changes_nothing_but_case() -> None:
    pairs = cases("casing")
    assert all(text != changed and text.lower() == changed.lower() for text, changed in pairs)
    forms = [
        sum(getattr(changed, form)() for _, changed in pairs) for form in ("isupper", "islower")
    ]
    assert forms == [len(sentences("casing"))] * 2
    titles = [c for _, c in pairs if not c.isupper() and not c.islower()]
    assert len(titles) >= len(sentences("casing")) - 2  # a headline may be in title case already
    assert all(word == word.capitalize() for title in titles for word in title.split())


def test_a_text_that_a_change_leaves_as_it_is_makes_no_case() -> None:
    small = SAME.model_copy(update={"casing": {Kind.NEWS: ("oil steady",)}})
    found = expand(TEMPLATES.model_copy(update={"invariance": small}))
    changed = {case.changed for case in found if case.capability == "casing"}
    assert changed == {"OIL STEADY", "Oil Steady"}


def test_a_link_is_added_and_a_cashtag_taken_away() -> None:
    words = TEMPLATES.words
    pairs = cases("links")
    added = [(text, changed) for text, changed in pairs if len(changed) > len(text)]
    removed = [(text, changed) for text, changed in pairs if len(changed) < len(text)]
    assert len(added) == len(removed) == len(sentences("links"))
    assert all(any(link in longer for link in words.links) for _, longer in added)
    assert all(any(tag in longer for tag in words.cashtags) for longer, _ in removed)
    assert not any("http" in text or text.startswith((":", "-")) for text, _ in added)
    for shorter, longer in [*added, *((b, a) for a, b in removed)]:
        assert shorter in longer


def test_a_swap_puts_another_company_into_the_same_sentence() -> None:
    pairs = cases("company_swap")
    assert len(pairs) == 3 * len(sentences("company_swap"))
    for text, changed in pairs:
        assert text != changed
        assert without(text, COMPANIES) == without(changed, COMPANIES)
        assert "NAME" in without(text, COMPANIES)


def test_no_case_has_a_slot_left() -> None:
    texts = [text for case in CASES for text in (case.text, case.changed or "")]
    assert [text for text in texts if re.search(r"[{}|]|  ", text)] == []


@pytest.mark.parametrize("capability", ["negation", "rise_fall"])
def test_a_choice_makes_two_texts_of_the_same_company(capability: str) -> None:
    pairs = cases(capability)
    assert len(pairs) == len(sentences(capability))
    for text, changed in pairs:
        assert text != changed
        assert [name for name in COMPANIES if name in text] == [
            name for name in COMPANIES if name in changed
        ]


def test_the_seed_makes_the_cases() -> None:
    assert expand(TEMPLATES, seed=0) == CASES
    assert expand(load_templates(), seed=0) == CASES
    assert expand(TEMPLATES, seed=1) != CASES


def test_a_sentence_more_or_less_does_not_change_the_cases_of_others() -> None:
    fewer = {kind: group[1:] for kind, group in SAME.typos.items()}
    changed = TEMPLATES.model_copy(update={"invariance": SAME.model_copy(update={"typos": fewer})})
    assert set(expand(changed, seed=0)) < set(CASES)
