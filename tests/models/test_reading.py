"""What a person sees of a text, and where it stands in what is stored."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.data import company_span
from models.duplicates import cluster_keys
from models.encoder import load_encoder
from models.masking import masked
from models.reading import Reading, folded, seen
from models.tokenizer import WindowTokenizer

STYLED = "<style>p {color: #f00; margin: 0 auto} .topup {display: block}</style>"
FULL_WIDTH = {0x20: 0x3000, **{letter: letter + 0xFEE0 for letter in range(0x21, 0x7F)}}
SPELLINGS = [
    "legal action",
    "legal\u00a0action",
    "legal\u2009action",
    "le\u00adgal act\u00adion",
    "legal\u200b action",
    "l\u200degal \ufeffaction",
    "legal\u2060 \u202eaction\u202c",
    "legal action".translate(FULL_WIDTH),
    "LEGAL\r\n   ACTION",
    "legal\u2028action",
    "legal&nbsp;action",
    "le&shy;gal action",
    "legal<br/>action",
    "<b>leg</b>al <i>action</i>",
    "le\ufe0fgal action",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_words_are_the_same_however_they_are_mailed(spelling: str) -> None:
    assert folded(f"I will take {spelling}.") == "i will take legal action."


@pytest.mark.parametrize(
    ("text", "sight"),
    [
        ("my lawyer\u2019s letter", "my lawyer's letter"),
        ("Cafe\u0301", "Café"),
        ("More to come\u2026", "More to come\u2026"),
        ("A\u030aland", "Åland"),
        ("\u1112\u1161\u11ab\u1100\u1173\u11af", "한글"),
        ("Acme\u2122 and Zeta\u00ae", "Acme and Zeta"),
        ("AT&amp;T &#36;T &#x20AC;5", "AT&T $T €5"),
        ("fish & chips; a < b > c", "fish & chips; a < b > c"),
        ("&notanentity; &;", "&notanentity; &;"),
        ("a <b and c> d", "a <b and c> d"),
        ("mail <jane@example.com> today", "mail <jane@example.com> today"),
        ("<td>1</td><td>2</td>", " 1  2 "),
        ("<p>Hi<!-- <p>hidden</p> --> there", "\nHi there"),
        ("<![CDATA[Card <b>stolen</b>]]>", "Card stolen"),
        ("<style>never closed", "<style>never closed"),
        ("公司申请破产\uff0c股价下跌", "公司申请破产,股价下跌"),
    ],
)
def test_a_text_is_what_a_person_sees(text: str, sight: str) -> None:
    assert seen(text) == sight == Reading(text).text


def test_a_plain_text_is_left_as_it_is() -> None:
    text = "Shares of Zürich rose 5%,\n\tsaid “nobody”"
    assert seen("plain\n\ttext") == "plain\n\ttext"
    assert seen(text) == text.replace("“", '"').replace("”", '"')


@pytest.mark.parametrize("text", SPELLINGS)
def test_what_is_seen_can_be_pointed_at_in_what_is_stored(text: str) -> None:
    reading = Reading(text)
    start = reading.text.casefold().index("action")
    first, last = reading.stored((start, start + len("action")))
    assert folded(text[first:last]) == "action"
    assert reading.seen((first, last)) == (start, start + len("action"))


@given(st.text(alphabet=st.sampled_from("ab &;<>/pstyle!-[]\u00ad\u0301é\u2019\u00a0ﬁ한\u1112\n")))
def test_places_go_there_and_back_in_any_text(text: str) -> None:
    reading = Reading(text)
    assert reading.text == seen(text)
    for place in range(len(reading.text)):
        start, end = reading.stored((place, place + 1))
        assert 0 <= start < end <= len(text)
        first, last = reading.seen((start, end))
        assert first <= place < last


@given(st.text())
def test_nothing_that_nobody_sees_is_left_of_any_text(text: str) -> None:
    assert not set(seen(text)) & set("\u00ad\u200b\u2060\ufeff\u00a0\u2019")


@pytest.mark.parametrize(
    "piece",
    ["<a ", "<!--", "<style>", "&", "&amp", "e\u0301", "<p>", "[<", " \n<p>", "<p>  ", "\r"],
)
def test_no_text_takes_long(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    started = time.process_time()
    Reading(text)
    assert time.process_time() - started < 2


def test_the_model_reads_what_is_seen() -> None:
    tokenizer = WindowTokenizer(load_encoder().tokenizer, 256)
    mail = f"<html>{STYLED * 60}<body><p>My card was sto<b>len</b>,&nbsp;help</p></body></html>"
    plain, styled = tokenizer.encode(["My card was stolen, help", mail])
    assert styled.ids == plain.ids
    assert not styled.truncated


def test_spans_of_the_model_point_into_what_is_stored() -> None:
    tokenizer = WindowTokenizer(load_encoder().tokenizer, 256)
    text = f"{STYLED}<p>Zeta falls, A\u00adcme&nbsp;Corp rises</p>"
    span = company_span(text, "Acme Corp")
    assert span is not None
    assert text[slice(*span)] == "A\u00adcme&nbsp;Corp"
    plain, styled = tokenizer.encode(["Zeta falls, Acme Corp rises", text], [[(12, 21)], [span]])
    assert styled.places == plain.places != ((),)


def test_duplicates_are_seen_through_markup() -> None:
    first, second, third = cluster_keys(
        [
            "Acme shares fall sharply on Tuesday after its profit warning",
            "<p>Acme&nbsp;shares fall sharp\u00adly on Tuesday\u200b after its <b>profit</b> "
            "warning</p>",
            "Zeta opens a plant in Poland",
        ]
    )
    assert first == second != third


@pytest.mark.parametrize(
    "number",
    [
        "4111\u200b1111\u200b1111\u200b1111",
        "4111&nbsp;1111&nbsp;1111&nbsp;1111",
        "4111111111111111".translate(FULL_WIDTH),
    ],
)
def test_invisible_characters_hide_no_card(number: str) -> None:
    assert masked(f"My card {number} is lost") == "My card [card] is lost"
