"""Behavioural tests of a classifier, after CheckList (Ribeiro et al. 2020): which changes of a text
must leave its answer alone, which must move it, and whether names matter.

The sentences stand in robustness.yaml; they never were training texts. The score of a text is
P(positive) − P(negative), from −1 to 1; that of a message is of the sentiment its emotion makes.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from itertools import chain
from pathlib import Path
from random import Random
from string import capwords
from typing import Annotated, Any, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from schemas.predictions import Classification, Prediction, sentiment_of_emotion
from schemas.records import Kind
from schemas.taxonomy import EMOTION, SENTIMENT, Taxonomy
from schemas.yaml_files import load_yaml

SHIPPED_TEMPLATES = Path(__file__).with_name("checks") / "robustness.yaml"
# A smaller move of the score is no sign that the change was understood.
MIN_SCORE_MOVE = 0.1
MAX_EXAMPLES = 10
MIN_TYPO_LETTERS = 6
# Typos of a sentence, and names that its company is swapped for.
VARIANTS = 3
SHUFFLES = 1000
CHUNK_TEXTS = 2048

_SLOTS = ("company", "person", "link")
_SLOT = re.compile(r"\{(\w*)\}")
_CHOICE = re.compile(r"\{([^{}|]+)\|([^{}|]+)\}")
# Whole words only: a slip in a link, a cashtag or a hyphenated name is another matter.
_LONG_WORD = re.compile(rf"(?<!\S)[^\W\d_]{{{MIN_TYPO_LETTERS},}}(?=[,.;:!?]?(?:\s|$))")

FloatArray = npt.NDArray[np.float64]


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


@dataclass(frozen=True, slots=True)
class Answer:
    """`score` is None for a task that has no sentiment."""

    label: str
    confidence: float
    score: float | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A case that failed, with the answers to its text and to the changed text."""

    text: str
    changed: str | None
    expected: Expectation
    before: Answer
    after: Answer | None


@dataclass(frozen=True, slots=True)
class CapabilityResult:
    """One capability on one task. Direction is judged by the sentiment: of a message, by that of
    its emotion.

    `failure_rate` is the share of `cases` that failed, from 0 to 1; `examples` are failures of
    different sentences, at most ten.
    """

    capability: str
    task: str
    cases: int
    failure_rate: float
    examples: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class GroupSpread:
    """Mean scores by one attribute of a name, such as its origin.

    spread: the largest mean less the smallest.
    chance_spread: what the spread stays below 19 times of 20 where the same names are dealt to
        groups of the same sizes at random; a smaller spread says nothing about the groups.
    """

    attribute: str
    means: Mapping[str, float]
    spread: float
    chance_spread: float


@dataclass(frozen=True, slots=True)
class FairnessResult:
    """Sentences of one kind, each with every name in its slot.

    `deviations` are each sentence's standard deviation of the score over the names,
    `mean_deviation` their mean.
    """

    slot: str
    kind: Kind
    sentences: int
    names: int
    deviations: Mapping[str, float]
    mean_deviation: float
    groups: tuple[GroupSpread, ...]


@dataclass(frozen=True, slots=True)
class RobustnessReport:
    """All results, in the order of robustness.yaml."""

    model_version: str
    seed: int
    capabilities: tuple[CapabilityResult, ...]
    fairness: tuple[FairnessResult, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Classifies(Protocol):
    """What is needed of a `Classifier`."""

    taxonomy: Taxonomy
    version: str

    def classify(self, texts: Sequence[str], kinds: Sequence[Kind]) -> list[Classification]: ...


def check_robustness(
    classifier: Classifies, seed: int = 0, templates: Templates | None = None
) -> RobustnessReport:
    """Asks the classifier all cases of `templates` (None: the shipped ones).

    The shipped ones make about 3,600 short texts: some seconds of one core. The same classifier,
    seed and templates give the same report.
    """
    known = templates or load_templates()
    cases = expand(known, seed)
    panels = _panels(known)
    answers = _Answers(classifier, chain(_texts(cases), *(panel.texts() for panel in panels)))
    return RobustnessReport(
        model_version=classifier.version,
        seed=seed,
        capabilities=_capability_results(cases, answers),
        fairness=tuple(_fairness_result(panel, answers, seed) for panel in panels),
    )


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


@dataclass(frozen=True, slots=True)
class _Named:
    text: str
    groups: Mapping[str, str]


def _companies(words: Words) -> list[_Named]:
    return [
        _Named(name, {"origin": origin})
        for origin, names in words.companies.items()
        for name in names
    ]


def _company_names(words: Words) -> list[str]:
    return [name.text for name in _companies(words)]


def _people(words: Words) -> list[_Named]:
    return [
        _Named(name, {"origin": origin, "gender": gender})
        for origin, genders in words.people.items()
        for gender, names in genders.items()
        for name in names
    ]


def _texts(cases: Iterable[Case]) -> Iterator[tuple[Kind, str]]:
    for case in cases:
        yield case.kind, case.text
        if case.changed is not None:
            yield case.kind, case.changed


class _Answers:
    """The answers to all texts, each asked once."""

    def __init__(self, classifier: Classifies, asked: Iterable[tuple[Kind, str]]) -> None:
        self.taxonomy = classifier.taxonomy
        self._answers: dict[tuple[Kind, str], Classification] = {}
        questions = list(dict.fromkeys(asked))
        for start in range(0, len(questions), CHUNK_TEXTS):
            chunk = questions[start : start + CHUNK_TEXTS]
            found = classifier.classify([text for _, text in chunk], [kind for kind, _ in chunk])
            self._answers.update(zip(chunk, found, strict=True))

    def of_task(self, kind: Kind, text: str, task: str) -> Answer:
        prediction = self._answers[kind, text].predictions[task]
        score = self.sentiment(kind, text).score if task in {SENTIMENT, EMOTION} else None
        return Answer(prediction.label, prediction.confidence, score)

    def sentiment(self, kind: Kind, text: str) -> Answer:
        predictions = self._answers[kind, text].predictions
        if kind is Kind.NEWS:
            found = predictions[SENTIMENT]
        else:
            found = sentiment_of_emotion(predictions[EMOTION], self.taxonomy)
        return Answer(found.label, found.confidence, _score(found))


def _score(sentiment: Prediction) -> float:
    return sentiment.probability("positive") - sentiment.probability("negative")


Outcome = tuple[str, Failure | None]


def _capability_results(cases: Sequence[Case], answers: _Answers) -> tuple[CapabilityResult, ...]:
    outcomes: defaultdict[tuple[str, str], list[Failure | None]] = defaultdict(list)
    for case in cases:
        for task, failure in _outcomes(case, answers):
            outcomes[case.capability, task].append(failure)
    return tuple(_capability_result(*key, found) for key, found in outcomes.items())


def _outcomes(case: Case, answers: _Answers) -> Iterator[Outcome]:
    """The tasks by which a case is judged, with the failure, or None where it passed."""
    if case.expected is Expectation.SAME:
        for task in answers.taxonomy.for_kind(case.kind):
            yield task.name, _failure(case, partial(answers.of_task, task=task.name))
    else:
        task_name = SENTIMENT if case.kind is Kind.NEWS else EMOTION
        yield task_name, _failure(case, answers.sentiment)


def _failure(case: Case, answer: Callable[[Kind, str], Answer]) -> Failure | None:
    before = answer(case.kind, case.text)
    after = None if case.changed is None else answer(case.kind, case.changed)
    if _holds(case.expected, before, after):
        return None
    return Failure(case.text, case.changed, case.expected, before, after)


def _holds(expected: Expectation, before: Answer, after: Answer | None) -> bool:
    last = after or before
    match expected:
        case Expectation.SAME:
            return before.label == last.label
        case Expectation.UP:
            return _move(before, last) >= MIN_SCORE_MOVE
        case Expectation.DOWN:
            return _move(before, last) <= -MIN_SCORE_MOVE
        case Expectation.POSITIVE_THEN_NEGATIVE:
            return (before.label, last.label) == ("positive", "negative")
        case Expectation.NEGATIVE:
            return last.label == "negative"


def _move(before: Answer, after: Answer) -> float:
    return (after.score or 0.0) - (before.score or 0.0)


def _capability_result(
    capability: str, task: str, outcomes: Sequence[Failure | None]
) -> CapabilityResult:
    failures = [failure for failure in outcomes if failure is not None]
    # One of each sentence: ten typos of one headline would say little.
    examples: dict[str, Failure] = {}
    for failure in failures:
        examples.setdefault(failure.text, failure)
    return CapabilityResult(
        capability=capability,
        task=task,
        cases=len(outcomes),
        failure_rate=len(failures) / len(outcomes),
        examples=tuple(examples.values())[:MAX_EXAMPLES],
    )


@dataclass(frozen=True, slots=True)
class _Panel:
    """Every sentence of a kind with every name."""

    slot: str
    kind: Kind
    sentences: tuple[str, ...]
    names: Sequence[_Named]

    def texts(self) -> Iterator[tuple[Kind, str]]:
        for sentence in self.sentences:
            for name in self.names:
                yield self.kind, _filled(sentence, **{self.slot: name.text})


def _panels(templates: Templates) -> list[_Panel]:
    fairness, words = templates.fairness, templates.words
    companies = [
        _Panel("company", kind, sentences, _companies(words))
        for kind, sentences in fairness.company.items()
    ]
    people = [
        _Panel("person", kind, sentences, _people(words))
        for kind, sentences in fairness.person.items()
    ]
    return companies + people


def _fairness_result(panel: _Panel, answers: _Answers, seed: int) -> FairnessResult:
    flat = [answers.sentiment(kind, text).score for kind, text in panel.texts()]
    scores = np.array(flat, np.float64).reshape(len(panel.sentences), len(panel.names))
    deviations = scores.std(axis=1)
    return FairnessResult(
        slot=panel.slot,
        kind=panel.kind,
        sentences=len(panel.sentences),
        names=len(panel.names),
        deviations=dict(zip(panel.sentences, deviations.tolist(), strict=True)),
        mean_deviation=float(deviations.mean()),
        groups=tuple(
            _group_spread(attribute, panel.names, scores.mean(axis=0), seed)
            for attribute in panel.names[0].groups
        ),
    )


def _group_spread(
    attribute: str, names: Sequence[_Named], scores: FloatArray, seed: int
) -> GroupSpread:
    """`scores`: the mean of each name over the sentences, [names]."""
    groups = np.array([name.groups[attribute] for name in names])
    means = _means(groups, scores)
    random = np.random.default_rng(seed)
    by_chance = [_spread(_means(groups, random.permutation(scores))) for _ in range(SHUFFLES)]
    return GroupSpread(attribute, means, _spread(means), float(np.quantile(by_chance, 0.95)))


def _means(groups: npt.NDArray[np.str_], scores: FloatArray) -> dict[str, float]:
    return {
        group: float(scores[groups == group].mean()) for group in dict.fromkeys(groups.tolist())
    }


def _spread(means: Mapping[str, float]) -> float:
    return max(means.values()) - min(means.values())
