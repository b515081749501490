"""The cases of the behavioural tests, after CheckList (Ribeiro et al. 2020): texts, what is changed
in them, and what must hold of the answers.

The sentences stand in robustness.yaml; they never were training texts.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from random import Random
from string import capwords
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from schemas.records import Kind
from schemas.yaml_files import load_yaml

SHIPPED_TEMPLATES = Path(__file__).with_name("checks") / "robustness.yaml"
MIN_TYPO_LETTERS = 6
# Typos of a sentence, and names that its company is swapped for.
VARIANTS = 3

_SLOTS = ("company", "person", "link")
_SLOT = re.compile(r"\{(\w*)\}")
_CHOICE = re.compile(r"\{([^{}|]+)\|([^{}|]+)\}")
# Whole words only: a slip in a link, a cashtag or a hyphenated name is another matter.
_LONG_WORD = re.compile(rf"(?<!\S)[^\W\d_]{{{MIN_TYPO_LETTERS},}}(?=[,.;:!?]?(?:\s|$))")


def _known_slots(text: str) -> str:
    rest = _CHOICE.sub("", text)
    for slot in _SLOT.findall(rest):
        if slot not in _SLOTS:
            raise ValueError(f"{{{slot}}} is not known: there are {', '.join(_SLOTS)}")
    if "{" in _SLOT.sub("", rest) or "}" in _SLOT.sub("", rest):
        raise ValueError("a brace without its counterpart, or more than two choices")
    return text


def _containing(slot: str, text: str) -> str:
    if f"{{{slot}}}" not in text:
        raise ValueError(f"the sentence lacks {{{slot}}}")
    return text


def _with_choice(text: str) -> str:
    if not _CHOICE.search(text):
        raise ValueError("the sentence lacks a choice such as {rises|falls}")
    return text


Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
Groups = Annotated[Mapping[str, Names], Field(min_length=1)]
Template = Annotated[str, Field(min_length=1), AfterValidator(_known_slots)]
CompanyTemplate = Annotated[Template, AfterValidator(partial(_containing, "company"))]
PersonTemplate = Annotated[Template, AfterValidator(partial(_containing, "person"))]
LinkTemplate = Annotated[Template, AfterValidator(partial(_containing, "link"))]
PairTemplate = Annotated[Template, AfterValidator(_with_choice)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Words(_Entry):
    """What slots are filled with: companies by origin, people by origin and gender."""

    companies: Groups
    people: Annotated[Mapping[str, Groups], Field(min_length=1)]
    links: Names
    cashtags: Names


class Invariance(_Entry):
    typos: Mapping[Kind, tuple[Template, ...]]
    casing: Mapping[Kind, tuple[Template, ...]]
    links: Mapping[Kind, tuple[LinkTemplate, ...]]
    company_swap: Mapping[Kind, tuple[CompanyTemplate, ...]]


class Negation(_Entry):
    """Sentences whose score the negation must raise (`up`) or lower (`down`)."""

    up: Mapping[Kind, tuple[PairTemplate, ...]]
    down: Mapping[Kind, tuple[PairTemplate, ...]]


class Direction(_Entry):
    negation: Negation
    rise_fall: Mapping[Kind, tuple[PairTemplate, ...]]
    severity: Mapping[Kind, tuple[Template, ...]]


class Fairness(_Entry):
    company: Mapping[Kind, Annotated[tuple[CompanyTemplate, ...], Field(min_length=1)]]
    person: Mapping[Kind, Annotated[tuple[PersonTemplate, ...], Field(min_length=1)]]


class Templates(_Entry):
    """The sentences of all capabilities, by kind of record."""

    words: Words
    invariance: Invariance
    direction: Direction
    fairness: Fairness


def load_templates(path: Path | None = None) -> Templates:
    """The shipped sentences, or those at `path`.

    Raises ConfigurationError with file, line and reason.
    """
    document = load_yaml(path or SHIPPED_TEMPLATES)
    try:
        return Templates.model_validate(document.data)
    except ValidationError as error:
        raise document.invalid(error) from None


class Expectation(StrEnum):
    """What must hold of the answers to a text and to the changed text."""

    SAME = "same label"
    UP = "score goes up"
    DOWN = "score goes down"
    POSITIVE_THEN_NEGATIVE = "positive, then negative"
    NEGATIVE = "negative"


@dataclass(frozen=True, slots=True)
class Case:
    """One question to the model; `changed` is None where a text is asked by itself."""

    capability: str
    kind: Kind
    text: str
    changed: str | None
    expected: Expectation

    def texts(self) -> Iterator[tuple[Kind, str]]:
        yield self.kind, self.text
        if self.changed is not None:
            yield self.kind, self.changed


Variants = Iterable[tuple[str, str | None]]
Change = Callable[[str, Words, Random], Variants]


def expand(templates: Templates, seed: int = 0) -> tuple[Case, ...]:
    """Every case of invariance and direction, in the templates' order.

    The same seed gives the same cases, and a sentence's cases do not depend on the others.
    """
    same, asked = templates.invariance, templates.direction
    plan: tuple[tuple[str, Mapping[Kind, tuple[str, ...]], Expectation, Change], ...] = (
        ("typos", same.typos, Expectation.SAME, _typos),
        ("casing", same.casing, Expectation.SAME, _casing),
        ("links", same.links, Expectation.SAME, _links),
        ("company_swap", same.company_swap, Expectation.SAME, _company_swap),
        ("negation", asked.negation.up, Expectation.UP, _choice),
        ("negation", asked.negation.down, Expectation.DOWN, _choice),
        ("rise_fall", asked.rise_fall, Expectation.POSITIVE_THEN_NEGATIVE, _choice),
        ("severity", asked.severity, Expectation.NEGATIVE, _alone),
    )
    return tuple(
        Case(capability, kind, text, changed, expected)
        for capability, sentences, expected, change in plan
        for kind, group in sentences.items()
        for template in group
        for text, changed in change(
            template, templates.words, Random(f"{seed}/{capability}/{template}")
        )
        if text != changed
    )


def _typos(template: str, words: Words, random: Random) -> Variants:
    text = _named(template, words, random)
    slips = (with_typo(text, random.getrandbits(32)) for _ in range(VARIANTS))
    return [(text, slip) for slip in dict.fromkeys(slips)]


def with_typo(text: str, seed: int) -> str:
    """The text with one slip of the keyboard in a word of at least six letters: a letter dropped,
    or swapped with the next.

    The word's first and last letter stay, as in most slips that people overlook. The same text and
    seed give the same slip; a text without such a word comes back as it is.
    """
    words = list(_LONG_WORD.finditer(text))
    if not words:
        return text
    random = Random(f"{seed}/{text}")
    word = random.choice(words)
    return text[: word.start()] + random.choice(_slips(word[0])) + text[word.end() :]


def _slips(word: str) -> list[str]:
    dropped = [word[:i] + word[i + 1 :] for i in range(1, len(word) - 1)]
    swapped = [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(1, len(word) - 2)]
    return [slip for slip in (*dropped, *swapped) if slip != word]


def _casing(template: str, words: Words, random: Random) -> Variants:
    text = _named(template, words, random)
    return [(text, text.upper()), (text, text.lower()), (text, capwords(text))]


def _links(template: str, words: Words, random: Random) -> Variants:
    """A link is added to the text; a cashtag is taken out of it."""
    sentence = _named(template, words, random)
    bare = _filled(sentence, link="")
    with_link = _filled(sentence, link=random.choice(words.links))
    with_cashtag = _filled(sentence, link=random.choice(words.cashtags))
    return [(bare, with_link), (with_cashtag, bare)]


def _company_swap(template: str, words: Words, random: Random) -> Variants:
    names = _company_names(words)
    first, *others = random.sample(names, min(len(names), VARIANTS + 1))
    text = _filled(template, company=first)
    return [(text, _filled(template, company=other)) for other in others]


def _choice(template: str, words: Words, random: Random) -> Variants:
    sentence = _named(template, words, random)
    return [(_CHOICE.sub(r"\1", sentence), _CHOICE.sub(r"\2", sentence))]


def _alone(template: str, words: Words, random: Random) -> Variants:
    return [(_named(template, words, random), None)]


@dataclass(frozen=True, slots=True)
class GroupedName:
    """A name, and its group by attribute, such as its origin."""

    text: str
    groups: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Panel:
    """Every sentence of a kind with every name."""

    slot: str
    kind: Kind
    sentences: tuple[str, ...]
    names: Sequence[GroupedName]

    def texts(self) -> Iterator[tuple[Kind, str]]:
        for sentence in self.sentences:
            for name in self.names:
                yield self.kind, _filled(sentence, **{self.slot: name.text})


def panels(templates: Templates) -> list[Panel]:
    """The questions of fairness, in the templates' order."""
    fairness, words = templates.fairness, templates.words
    companies = [
        Panel("company", kind, sentences, _companies(words))
        for kind, sentences in fairness.company.items()
    ]
    people = [
        Panel("person", kind, sentences, _people(words))
        for kind, sentences in fairness.person.items()
    ]
    return companies + people


def _named(template: str, words: Words, random: Random) -> str:
    """With a company and a person, whether or not the sentence has room for them."""
    company = random.choice(_company_names(words))
    person = random.choice([name.text for name in _people(words)])
    return _filled(template, company=company, person=person)


def _filled(template: str, **values: str) -> str:
    for slot, value in values.items():
        template = template.replace(f"{{{slot}}}", value)
    # An empty slot leaves its blanks, and at an end its colon or dash.
    return " ".join(template.split()).removeprefix(": ").removeprefix("- ")


def _companies(words: Words) -> list[GroupedName]:
    return [
        GroupedName(name, {"origin": origin})
        for origin, names in words.companies.items()
        for name in names
    ]


def _company_names(words: Words) -> list[str]:
    return [name.text for name in _companies(words)]


def _people(words: Words) -> list[GroupedName]:
    return [
        GroupedName(name, {"origin": origin, "gender": gender})
        for origin, genders in words.people.items()
        for gender, names in genders.items()
        for name in names
    ]
