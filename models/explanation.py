"""Which words speak for an answer, and which against it: integrated gradients of the word vectors.

The method is from Sundararajan et al., "Axiomatic Attribution for Deep Networks" (2017), as captum
computes it: the gradient is integrated on the straight way from a baseline to the text. What is
explained is the logit of a label's probability p, log(p / (1 - p)), by the float32 network up to
the stage at which the text left it when it was answered, and by the n-grams beside it, of which the
baseline has none. Label and confidence are those of the answer as it is served, by int8 graphs;
the float32 network differs from them by a hair.

The baseline is the text with [UNK] in place of each word: as long a text, of which no word is
known. The encoder met [UNK] in the texts it learnt from, whereas [PAD] was always masked. So an
attribution is what knowing the word adds, and a word that the encoder does not know has 0. Special
tokens and the "@" that is left of a mention are the same in the baseline, and have 0 too.
"""

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captum.attr import LayerIntegratedGradients  # type: ignore[import-untyped]
from torch import nn

from models.bundle import SHIPPED_BUNDLE, Bundle, taxonomy_of
from models.classification import kind_of
from models.classifier import Classifier
from models.data import company_span
from models.engine import span_weights
from models.reading import Span
from models.tokenizer import LINK, MENTION, Tokens, WindowTokenizer
from models.torch_network import TorchNetwork
from schemas.errors import BundleError, ConfigurationError
from schemas.records import Kind
from schemas.taxonomy import COMPANY_SENTIMENT, SENTIMENT, Taxonomy

# Token ids [rows, length] and what the n-grams of each token say [rows, length, labels].
Inputs = tuple[torch.Tensor, torch.Tensor]
Output = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

# Points on the way; the next number is tried where the sum is not near enough.
STEPS = (32, 128, 512)
LARGEST_ERROR = 0.01
BATCH_TOKENS = 2_048

# Encoders read Chinese character by character.
_HAN = r"[\u3400-\u9fff\uf900-\ufaff]"
_LETTERS = rf"(?:(?!{_HAN})[\w\u0300-\u036f])+"
_WORD = re.compile(
    rf"{LINK}|(?P<mention>{MENTION})|{_HAN}|{_LETTERS}(?:['\u2019&.-]{_LETTERS}|,\d+)*|\S"
)


@dataclass(frozen=True, slots=True)
class Word:
    """A word, link, mention or mark in a text: text[start:end].

    attribution: what it adds to the logit; above 0 it speaks for the label, below 0 against it. A
        link, a mention, and what lies beyond the model's window have 0.
    """

    word: str
    start: int
    end: int
    attribution: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a text has a label.

    confidence: the probability of the label.
    words: every word of the text, in order.
    output, baseline: the logit of the label's probability for the text, and for the text without
        its words. The attributions should sum to the difference.
    """

    text: str
    task: str
    label: str
    confidence: float
    words: tuple[Word, ...]
    output: float
    baseline: float

    @property
    def completeness_error(self) -> float:
        """How far the sum of the attributions is from what it should be."""
        attributed = sum(word.attribution for word in self.words)
        return abs(attributed - (self.output - self.baseline))

    @property
    def is_complete(self) -> bool:
        """Whether the attributions can be relied on."""
        return self.completeness_error <= tolerance(self.output - self.baseline)

    def strongest(self, count: int) -> list[Word]:
        """The words with the greatest attributions of either sign, the greatest first."""
        telling = [word for word in self.words if word.attribution]
        return sorted(telling, key=lambda word: -abs(word.attribution))[:count]

    def as_dict(self) -> dict[str, Any]:
        """As `explain --json` prints it."""
        return {
            "text": self.text,
            "task": self.task,
            "label": self.label,
            "confidence": round(self.confidence, 6),
            "words": [
                {
                    "word": word.word,
                    "start": word.start,
                    "end": word.end,
                    "attribution": round(word.attribution, 6),
                }
                for word in self.words
            ],
            "completeness_error": round(self.completeness_error, 6),
        }


@dataclass(frozen=True, slots=True)
class Question:
    """Why does the text have this label, maybe for the company at a span?

    label: None asks for the likeliest. confidence: of the label as it was served; None: as the
    network has it. stage: at whose end it was answered, from 1; None: the last.
    """

    text: str
    task: str
    label: str | None = None
    company: Span | None = None
    confidence: float | None = None
    stage: int | None = None

    @property
    def head(self) -> str:
        return COMPANY_SENTIMENT if self.company else self.task


def explain(
    text: str,
    *,
    bundle: Path | None = None,
    encoder: Path | None = None,
    taxonomy: Taxonomy | None = None,
    task: str | None = None,
    kind: Kind | None = None,
    entity: str | None = None,
    label: str | None = None,
    language: str | None = None,
    early_exit: bool = True,
) -> list[Explanation]:
    """Explains the answer to a task, or to each task of a kind of text (None: the task's, or news).

    bundle, encoder: their folders; None means the shipped bundle and the packaged encoder.
    language, early_exit: as for the answer that is explained (see `Classifier`).
    entity: a company in the text, whose own sentiment is explained.
    label: explained instead of the likeliest; tasks that do not have it are left out.

    Raises ConfigurationError for a task, company or label that is not there, and BundleError.
    """
    known = taxonomy or taxonomy_of(bundle, None)
    questions = _questions(text, known, task, kind, entity, label)
    classifier = Classifier.load(bundle, taxonomy=known, early_exit=early_exit)
    answered = _as_served(classifier, questions, kind_of(known, task, kind), language)
    explainer = Explainer(Bundle.open(bundle or SHIPPED_BUNDLE, known), known, encoder)
    return [explainer.answer(question) for question in answered]


def _as_served(
    classifier: Classifier, questions: Sequence[Question], kind: Kind, language: str | None
) -> list[Question]:
    """The questions with the label (unless one is asked for), its confidence and the stage of the
    answer that a worker gives."""
    text = questions[0].text
    companies = [question.company for question in questions if question.company]
    (answer,) = classifier.classify([text], [kind], [companies], [language])
    stages = classifier.stages(text, kind, companies)
    served = []
    for question in questions:
        given = answer.companies[0] if question.company else answer.predictions[question.task]
        label = question.label or given.label
        confidence = given.probability(label)
        stage = stages[question.task]
        served.append(replace(question, label=label, confidence=confidence, stage=stage))
    return served


class Explainer:
    """A bundle's network, to be asked why.

    Raises BundleError when `encoder` is not the one that the bundle was trained from.
    """

    def __init__(self, bundle: Bundle, taxonomy: Taxonomy, encoder: Path | None = None) -> None:
        self._taxonomy = taxonomy
        self._tokenizer = WindowTokenizer(bundle.tokenizer, bundle.manifest.window_tokens)
        if self._tokenizer.unknown is None:
            raise BundleError(f"The tokenizer of {bundle.folder} has no token for unknown words.")
        self._unknown = self._tokenizer.unknown
        self._stages = len(bundle.manifest.stages)
        self._load = cache(partial(TorchNetwork.load, bundle, encoder))
        self._ngrams = bundle.ngrams
        # What the n-grams of each token say goes through here, so that captum can take hold of it.
        self._said = nn.Identity()

    def answer(self, question: Question) -> Explanation:
        """Why the text has the label."""
        stage = question.stage or self._stages
        words = list(_WORD.finditer(question.text))
        companies = [question.company] if question.company else []
        tokens, by_word = self._tokenizer.encode(
            [question.text] * 2, [companies, [word.span() for word in words]]
        )
        owners = _owners(words, by_word)
        ids = torch.tensor([tokens.ids])
        baseline = ids.clone()
        baseline[0, list(owners)] = self._unknown
        said = self._said_by_tokens(question.head, tokens, stage)
        unsaid = said.clone()
        unsaid[0, list(owners)] = 0

        with torch.no_grad():
            logits = self._logits(question.head, tokens, ids, said, stage)[0]
        labels = self._taxonomy.tasks[question.task].labels
        label = question.label or labels[int(logits.argmax())]
        position = labels.index(label)

        def output(ids: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
            return label_logits(self._logits(question.head, tokens, ids, said, stage), position)

        with torch.no_grad():
            ends = output(torch.cat([ids, baseline]), torch.cat([said, unsaid]))
        end, start = ends.tolist()
        found = self._attributions(output, (ids, said), (baseline, unsaid), end - start, stage)
        attributions = [0.0] * len(words)
        for place, value in enumerate(found):
            if place in owners:
                attributions[owners[place]] += value
        return Explanation(
            text=question.text,
            task=question.task,
            label=label,
            confidence=(
                float(logits.softmax(0)[position])
                if question.confidence is None
                else question.confidence
            ),
            words=tuple(
                Word(word[0], *word.span(), attribution)
                for word, attribution in zip(words, attributions, strict=True)
            ),
            output=end,
            baseline=start,
        )

    def _said_by_tokens(self, head: str, tokens: Tokens, stage: int) -> torch.Tensor:
        """[1, length, labels]: what the n-grams of each token add to the logits."""
        if head not in self._ngrams.tables:
            return torch.zeros(1, len(tokens.ids), 1)
        said = self._ngrams.tables[head].by_token(tokens.ids) * self._ngrams.shares[head][stage - 1]
        return torch.from_numpy(said.astype(np.float32))[None]

    def _logits(
        self, head: str, tokens: Tokens, ids: torch.Tensor, said: torch.Tensor, stage: int
    ) -> torch.Tensor:
        """[rows, labels]: rows of `ids` are the text, or stand where it stands; `said` is what the
        n-grams of each token add there."""
        rows = len(ids)
        weights = torch.from_numpy(span_weights([tokens], ids.shape[1]))
        logits: torch.Tensor = self._load(stage)(
            ids, torch.ones(ids.shape), torch.arange(rows * len(weights)), weights.repeat(rows, 1)
        )[head]
        logits = logits + self._said(said).sum(1)
        if head in self._ngrams.tables:
            share, bias = self._ngrams.shares[head][stage - 1], self._ngrams.tables[head].bias
            logits = logits + share * torch.from_numpy(bias)
        return logits

    def _attributions(
        self, output: Output, inputs: Inputs, baselines: Inputs, difference: float, stage: int
    ) -> list[float]:
        """One a token; they sum to the difference of the outputs as nearly as `STEPS` allow."""
        words = self._load(stage).encoder.embeddings.word_embeddings
        with warnings.catch_warnings():
            # It warns of layers that feed each other, which these do not.
            warnings.simplefilter("ignore", UserWarning)
            method = LayerIntegratedGradients(output, [words, self._said])
        attributions: list[float] = []
        for steps in STEPS:
            of_vectors, of_ngrams = method.attribute(
                inputs,
                baselines=baselines,
                n_steps=steps,
                internal_batch_size=max(1, BATCH_TOKENS // inputs[0].shape[1]),
            )
            attributions = (of_vectors[0].sum(1) + of_ngrams[0].sum(1)).tolist()
            if abs(sum(attributions) - difference) <= tolerance(difference):
                break
        return attributions


def label_logits(logits: torch.Tensor, position: int) -> torch.Tensor:
    """[rows]: the logit of one label's probability, from logits [rows, labels]."""
    others = torch.cat([logits[:, :position], logits[:, position + 1 :]], 1)
    return logits[:, position] - others.logsumexp(1)


def tolerance(difference: float) -> float:
    """How far attributions may be from the difference that they should sum to."""
    return LARGEST_ERROR * max(1.0, abs(difference))


def _owners(words: Sequence[re.Match[str]], tokens: Tokens) -> dict[int, int]:
    """The word of each token by its place; special tokens and mentions are left out."""
    owners: dict[int, int] = {}
    for number, places in enumerate(tokens.places):
        for place in places:
            owners.setdefault(place, number)
    return {place: number for place, number in owners.items() if not words[number]["mention"]}


def _questions(
    text: str,
    taxonomy: Taxonomy,
    task: str | None,
    kind: Kind | None,
    entity: str | None,
    label: str | None,
) -> list[Question]:
    of_kind = taxonomy.for_kind(kind_of(taxonomy, task, kind))
    asked = [each for each in of_kind if task in {None, each.name}]
    company = company_span(text, entity) if entity else None
    if entity and SENTIMENT not in {each.name for each in asked}:
        raise ConfigurationError(f"A company's own answer is there for {SENTIMENT} only.")
    if entity and company is None:
        raise ConfigurationError(f"The text does not name {entity!r}.")
    having = [each for each in asked if label is None or label in each.labels]
    if not having:
        choices = "; ".join(f"{each.name}: {', '.join(each.labels)}" for each in asked)
        raise ConfigurationError(f"There is no label {label!r}. The labels are {choices}.")
    return [
        Question(text, each.name, label, company if each.name == SENTIMENT else None)
        for each in having
    ]
