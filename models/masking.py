"""Takes personal data out of a customer's text, before the text is kept as a label.

Cards, IBANs, e-mail addresses, telephone numbers and the sender's own name become words: [card],
[iban], [email], [phone], [name]. Numbers are masked by what they are (checksums, numbering plans),
so that amounts, dates, order numbers and tickers stay. What is masked already stays as it is.
Numbers and names are looked for in the text as it is seen: a character that nobody sees hides none.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from phonenumbers import Leniency, PhoneNumberMatcher
from stdnum import iban, luhn
from stdnum.iso7064 import mod_97_10

from models.names import name_spans
from models.reading import Reading, Span

CARD, IBAN, EMAIL, PHONE, NAME = "[card]", "[iban]", "[email]", "[phone]", "[name]"

# What people type between groups of digits: spaces and dashes of any sort, also a dot.
_GAP = r"[ .\-\u00a0\u2009\u202f\u2010-\u2015]"
_DIGIT_RUN = re.compile(rf"(?<![0-9])[0-9](?:{_GAP}?[0-9]){{12,255}}(?![0-9])")
_CARD_DIGITS = range(19, 12, -1)  # ISO/IEC 7812
# How the numbers of the large networks begin, and how long they are: Visa, American Express,
# Mastercard, Diners, JCB, Discover, UnionPay, Maestro.
_CARD = re.compile(
    "4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})|3[47][0-9]{13}|5[1-5][0-9]{14}|2[2-7][0-9]{14}"
    "|3[0689][0-9]{12}|35[0-9]{14}|6[0-9]{15,18}|5[06-9][0-9]{14}"
)

_IBAN_RUN = re.compile(rf"(?<![A-Za-z0-9])[A-Za-z]{{2}}[0-9]{{2}}(?:{_GAP}?[A-Za-z0-9]){{11,40}}")
_IBAN_LENGTHS = range(34, 14, -1)  # ISO 13616

_EMAIL = re.compile(r"(?<![\w.+%'-])[\w.+%'-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])")

# Where customers who write English mostly are. Numbers of all other countries need their +.
_REGIONS = ("US", "GB", "IE", "AU", "IN")
_LONGEST_NUMBER = 40
_SEPARATED = re.compile(r"[0-9][^0-9]+[0-9]")
# A bare run of digits is a telephone number only where it is called one just before.
_CALLED_A_PHONE = re.compile(
    r"\b(?:call|phone|tel|telephone|mobile|cell|text|sms|whatsapp|dial|ring|fax|reach|contact"
    r"|my number)\b[^0-9.!?\n]{0,25}$",
    re.IGNORECASE,
)
_CALLED_OTHERWISE = re.compile(
    r"\b(?:order|invoice|ref|reference|case|ticket|tracking|account|acct|transaction|policy"
    r"|booking|payment|transfer|id|sort code)\b[^0-9.!?\n]{0,15}$",
    re.IGNORECASE,
)
_MONEY = re.compile(r"(?:[$€£¥₹]|\b(?:USD|EUR|GBP|INR|AUD))\s?$", re.IGNORECASE)


def masked(text: str) -> str:
    """The text with its personal data masked; of an answer, the same."""
    while (again := _masked_once(text)) != text:
        text = again
    return text


def _masked_once(text: str) -> str:
    for spans, word in _KINDS:
        reading = Reading(text)
        text = _replaced(text, map(reading.stored, spans(reading.text)), word)
    return text


def _replaced(text: str, spans: Iterable[Span], word: str) -> str:
    pieces = []
    done = 0
    for start, end in sorted(spans):
        if start >= done:
            pieces += [text[done:start], word]
            done = end
    return "".join([*pieces, text[done:]])


def _emails(text: str) -> Iterator[Span]:
    return (found.span() for found in _EMAIL.finditer(text))


def _cards(text: str) -> Iterator[Span]:
    """Groups of digits that are built as cards and pass Luhn's check, also with others beside."""
    return _checked(text, _DIGIT_RUN, _CARD_DIGITS, _is_card)


def _is_card(number: str) -> bool:
    return bool(_CARD.fullmatch(number)) and luhn.is_valid(number)


def _ibans(text: str) -> Iterator[Span]:
    return _checked(text, _IBAN_RUN, _IBAN_LENGTHS, _is_iban)


def _is_iban(number: str) -> bool:
    """The checksum is quick and fails nearly always; the rest knows the country's own form."""
    return mod_97_10.checksum(number[4:] + number[:4]) == 1 and iban.is_valid(number)


def _checked(
    text: str, run: re.Pattern[str], lengths: range, is_one: Callable[[str], bool]
) -> Iterator[Span]:
    """The parts of runs, from and up to the edge of a group, that are one; the longest first."""
    for found in run.finditer(text):
        places = [at for at in range(*found.span()) if text[at].isalnum()]
        done = 0
        for first, start in enumerate(places):
            if first < done or (first and places[first - 1] == start - 1):
                continue
            for length in lengths:
                last = first + length - 1
                if last >= len(places) or text[places[last] + 1 : places[last] + 2].isalnum():
                    continue
                if is_one("".join(text[at] for at in places[first : last + 1])):
                    yield start, places[last] + 1
                    done = last + 1
                    break


def _phones(text: str) -> Iterator[Span]:
    for match in PhoneNumberMatcher(text, None, leniency=Leniency.VALID):
        yield match.start, match.end
    for region in _REGIONS:
        for match in PhoneNumberMatcher(text, region, leniency=Leniency.STRICT_GROUPING):
            if _is_written_as_phone(text, match.start, match.raw_string):
                yield match.start, match.end


def _is_written_as_phone(text: str, start: int, number: str) -> bool:
    before = text[max(0, start - _LONGEST_NUMBER) : start]
    if _CALLED_OTHERWISE.search(before) or _MONEY.search(before):
        return False
    return bool(_SEPARATED.search(number) or _CALLED_A_PHONE.search(before))


_KINDS: tuple[tuple[Callable[[str], Iterator[Span]], str], ...] = (
    (_emails, EMAIL),
    (_ibans, IBAN),
    (_cards, CARD),
    (_phones, PHONE),
    (name_spans, NAME),
)
