"""What is masked in customers' texts, and what must stay."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.masking import masked

MASKED = {
    "cards": {
        "My card 4111 1111 1111 1111 was stolen": "My card [card] was stolen",
        "4111111111111111": "[card]",
        "4111-1111-1111-1111 cvv 123": "[card] cvv 123",
        "5555 5555 5555 4444 123 is the number": "[card] 123 is the number",
        "cards 4111111111111111 4111111111111111": "cards [card] [card]",
        "amex 3782-822463-10005 exp 12/27": "amex [card] exp 12/27",
        "it ends 4111\u00a01111\u00a01111\u00a01111.": "it ends [card].",
    },
    "ibans": {
        "to DE89 3704 0044 0532 0130 00 please": "to [iban] please",
        "gb82west12345698765432.": "[iban].",
        "FR14 2004 1010 0505 0001 3M02 606, now": "[iban], now",
    },
    "addresses": {
        "mail jane.doe+x@mail.example.co.uk, ok": "mail [email], ok",
        "JANE@EXAMPLE.COM": "[email]",
        "<j_d@example.org>": "<[email]>",
    },
    "telephones": {
        "call +44 20 7946 0958 or (020) 7946 0958": "call [phone] or [phone]",
        "+1-650-253-0000": "[phone]",
        "+49 30 901820 any time": "[phone] any time",
        "call 07911 123456": "call [phone]",
        "my number is 07911123456": "my number is [phone]",
        "I am at 650 253 0000": "I am at [phone]",
        "text me: 6502530000": "text me: [phone]",
    },
    "names": {
        "My name is Jane Doe and I lost my card": "My name is [name] and I lost my card",
        "my name is jane and i lost it": "my name is [name] and i lost it",
        "my name\u2019s Zo\u00eb M\u00fcller.": "my name\u2019s [name].",
        "This is Jane Doe speaking.": "This is [name] speaking.",
        "Hi, it's Jane here": "Hi, it's [name] here",
        "name: Max O'Neil, born 1/2/80": "name: [name], born 1/2/80",
        "Please help.\n\nRegards,\nJane Doe": "Please help.\n\nRegards,\n[name]",
        "Kind regards\nJ. van der Berg\nLondon": "Kind regards\n[name]\nLondon",
        "Yours sincerely,\r\n\r\nJane A. Doe\r\n": "Yours sincerely,\r\n\r\n[name]\r\n",
        "where is it? thanks,\njane": "where is it? thanks,\n[name]",
        "Thanks, Jane": "Thanks, [name]",
    },
}
KEPT = [
    "I paid $1,234.56 on 2024-01-15 at 10:30 for order 1234567890",
    "order number 6502530000 has not come",
    "Order #113-1234567-1234567, invoice 98765 43210",
    "AAPL at 189.25 and BRK.B at 412, 1 234 567 shares",
    "EUR 1.234.567,89 and £12,000,000.00",
    "20/11/2026 14:05:33, case 2024-11-22-000123",
    "reference 4929-1234, PIN 1234",
    "1234 5678 9012 3456 is no card, its check digit is wrong",
    "DE89 3704 0044 0532 0130 01 is no account, its check digits are wrong",
    "follow @bank, or 5@3",
    "my name is wrong on the card",
    "My name is misspelled. Name and address are fine.",
    "this is urgent, I am still here and I am writing again",
    "Thanks, please reply\nthanks\nplease call me back soon",
    "Best Buy charged me. Best regards",
    "",
]


@pytest.mark.parametrize(
    ("text", "expected"), [pair for kind in MASKED.values() for pair in kind.items()]
)
def test_personal_data_is_masked(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize("text", KEPT)
def test_everything_else_stays(text: str) -> None:
    assert masked(text) == text


PIECES = [text for kind in MASKED.values() for text in kind] + KEPT


@given(st.lists(st.sampled_from(PIECES) | st.text("0123456789+-. @aDE\n[]", max_size=30)))
@settings(max_examples=60, deadline=None)
def test_what_is_masked_stays_as_it_is(pieces: list[str]) -> None:
    once = masked(" ".join(pieces))
    assert masked(once) == once
