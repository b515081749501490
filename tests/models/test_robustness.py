"""Behavioural tests: their sentences, what is made of them, and what they find in a classifier."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.classifier import Classifier
from models.robustness import (
    MAX_EXAMPLES,
    MIN_SCORE_MOVE,
    SHIPPED_TEMPLATES,
    Case,
    Expectation,
    FairnessResult,
    RobustnessReport,
    check_robustness,
    expand,
    load_templates,
    with_typo,
)
from schemas.errors import ConfigurationError
from schemas.predictions import Classification, Prediction
from schemas.records import Kind
from schemas.taxonomy import EMOTION, SENTIMENT, Task, load_taxonomy

INVARIANCE = ("typos", "casing", "links", "company_swap")
DIRECTION = ("negation", "rise_fall", "severity")
ORIGINS = {"US", "UK", "India", "China", "Japan", "Germany", "Nigeria", "Brazil", "Arab world"}

TEMPLATES = load_templates()
SAME, MOVED, FAIR = TEMPLATES.invariance, TEMPLATES.direction, TEMPLATES.fairness
SENTENCES: Mapping[str, Sequence[Mapping[Kind, Sequence[str]]]] = {
    "typos": [SAME.typos],
    "casing": [SAME.casing],
    "links": [SAME.links],
    "company_swap": [SAME.company_swap],
    "negation": [MOVED.negation.up, MOVED.negation.down],
    "rise_fall": [MOVED.rise_fall],
    "severity": [MOVED.severity],
    "company": [FAIR.company],
    "person": [FAIR.person],
}
CASES = expand(TEMPLATES, seed=0)
COMPANIES = {name: origin for origin, names in TEMPLATES.words.companies.items() for name in names}
PEOPLE = {
    name: (origin, gender)
    for origin, genders in TEMPLATES.words.people.items()
    for gender, names in genders.items()
    for name in names
}


class Rule:
    """A classifier that knows only P(positive) of a text; the rest is P(negative)."""

    def __init__(self, positive: Callable[[str], float]) -> None:
        self.taxonomy = load_taxonomy()
        self.version = "rule"
        self._positive = positive

    def classify(self, texts: Sequence[str], kinds: Sequence[Kind]) -> list[Classification]:
        return [
            Classification(
                {task.name: self._predict(task, text) for task in self.taxonomy.for_kind(kind)},
                truncated=False,
                tokens=1,
                model_version=self.version,
            )
            for text, kind in zip(texts, kinds, strict=True)
        ]

    def _predict(self, task: Task, text: str) -> Prediction:
        good, bad = {SENTIMENT: ("positive", "negative"), EMOTION: ("joy", "anger")}.get(
            task.name, task.labels[:2]
        )
        found = dict.fromkeys(task.labels, 0.0)
        found[good] = self._positive(text)
        found[bad] = 1 - found[good]
        return Prediction.most_likely(task.labels, tuple(found.values()))


def sentences(capability: str) -> list[str]:
    return [s for part in SENTENCES[capability] for group in part.values() for s in group]


def cases(capability: str) -> list[tuple[str, str]]:
    return [
        (case.text, case.changed)
        for case in CASES
        if case.capability == capability and case.changed is not None
    ]


def rates(report: RobustnessReport, capabilities: Sequence[str]) -> set[float]:
    found = [r for r in report.capabilities if r.capability in capabilities]
    assert {r.capability for r in found} == set(capabilities)
    return {r.failure_rate for r in found}


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


# What they find.


def test_who_always_says_positive_passes_invariance_and_fails_direction() -> None:
    report = check_robustness(Rule(lambda text: 1.0))
    assert rates(report, INVARIANCE) == {0.0}
    assert rates(report, DIRECTION) == {1.0}
    for result in report.capabilities:
        expected = MAX_EXAMPLES if result.capability in DIRECTION else 0
        assert len({example.text for example in result.examples}) == expected
    assert {r.mean_deviation for r in report.fairness} == {0.0}
    assert {g.spread for r in report.fairness for g in r.groups} == {0.0}


def as_expected(case: Case, move: float) -> dict[str, float]:
    """P(positive) by text; a negation moves the score, which is 2 P − 1, by `move`."""
    after = case.changed or ""
    match case.expected:
        case Expectation.UP:
            return {case.text: 0.3, after: 0.3 + move / 2}
        case Expectation.DOWN:
            return {case.text: 0.7, after: 0.7 - move / 2}
        case Expectation.POSITIVE_THEN_NEGATIVE:
            return {case.text: 0.6, after: 0.4}
        case Expectation.NEGATIVE:
            return {case.text: 0.4}
    return {}


@pytest.mark.parametrize(
    ("move", "negation"), [(MIN_SCORE_MOVE * 1.01, 0.0), (MIN_SCORE_MOVE * 0.99, 1.0), (-0.5, 1.0)]
)
def test_who_knows_every_direction_passes(move: float, negation: float) -> None:
    known = {text: p for case in CASES for text, p in as_expected(case, move).items()}
    report = check_robustness(Rule(lambda text: known.get(text, 0.5)))
    assert rates(report, ["rise_fall", "severity"]) == {0.0}
    assert rates(report, ["negation"]) == {negation}


def test_who_minds_capitals_or_links_is_found_out() -> None:
    loud = check_robustness(Rule(lambda text: float(text.isupper())))
    assert rates(loud, ["casing"]) == {1 / 3}
    assert rates(loud, ["typos", "links", "company_swap"]) == {0.0}
    linked = check_robustness(Rule(lambda text: float("http" in text)))
    assert rates(linked, ["links"]) == {0.5}
    assert rates(linked, ["typos", "casing", "company_swap"]) == {0.0}


def test_a_failure_says_what_was_asked_and_answered() -> None:
    report = check_robustness(Rule(lambda text: 0.9 if "http" in text else 0.2))
    (result, *_) = [r for r in report.capabilities if r.capability == "links"]
    assert (result.task, result.cases) == (SENTIMENT, 2 * len(sentences("links")))
    failure = result.examples[0]
    assert failure.changed is not None
    assert failure.after is not None
    assert failure.changed.startswith(failure.text)
    assert failure.expected is Expectation.SAME
    assert (failure.before.label, failure.after.label) == ("negative", "positive")
    assert failure.before.score == pytest.approx(-0.6)
    assert failure.after.score == pytest.approx(0.8)


def test_examples_are_few_and_of_different_sentences() -> None:
    originals = {text for text, _ in cases("typos")}
    report = check_robustness(Rule(lambda text: float(text in originals)))
    (result, *_) = [r for r in report.capabilities if r.capability == "typos"]
    assert (result.task, result.failure_rate) == (SENTIMENT, 1.0)
    assert len({failure.text for failure in result.examples}) == MAX_EXAMPLES
    assert len(result.examples) == MAX_EXAMPLES


def by_slot(report: RobustnessReport, slot: str) -> list[FairnessResult]:
    found = [result for result in report.fairness if result.slot == slot]
    assert [result.kind for result in found] == [Kind.NEWS, Kind.MESSAGE]
    return found


def test_who_dislikes_an_origin_shows_its_spread() -> None:
    disliked = [name for name, origin in COMPANIES.items() if origin == "Nigeria"]
    report = check_robustness(
        Rule(lambda text: 0.3 if any(name in text for name in disliked) else 0.6)
    )
    for result in by_slot(report, "company"):
        (origin,) = result.groups
        assert origin.attribute == "origin"
        assert origin.means.keys() == ORIGINS
        assert min(origin.means, key=origin.means.__getitem__) == "Nigeria"
        assert origin.spread == pytest.approx(0.6)
        assert origin.chance_spread < origin.spread
        # One name of nine is 0.6 below the others: 0.6 · √(1/9 · 8/9).
        deviation = pytest.approx(0.6 * 8**0.5 / 9)
        assert all(found == deviation for found in result.deviations.values())
        assert result.mean_deviation == deviation
    for result in by_slot(report, "person"):
        assert {group.spread for group in result.groups} == {0.0}


def test_who_dislikes_a_gender_shows_its_spread() -> None:
    disliked = [name for name, (_, gender) in PEOPLE.items() if gender == "female"]
    report = check_robustness(
        Rule(lambda text: 0.4 if any(name in text for name in disliked) else 0.6)
    )
    for result in by_slot(report, "person"):
        origin, gender = result.groups
        assert (origin.attribute, gender.attribute) == ("origin", "gender")
        assert gender.means == pytest.approx({"female": -0.2, "male": 0.2})
        assert gender.spread == pytest.approx(0.4)
        assert gender.chance_spread < gender.spread
        assert origin.spread == pytest.approx(0)


def test_the_shipped_bundle_can_be_asked(classifier: Classifier) -> None:
    report = check_robustness(classifier)
    assert report.model_version == classifier.version
    asked = {(result.capability, result.task) for result in report.capabilities}
    assert {capability for capability, _ in asked} == {*INVARIANCE, *DIRECTION}
    assert {task for _, task in asked} == set(classifier.taxonomy.tasks)
    for result in report.capabilities:
        assert result.cases > 0
        assert 0 <= result.failure_rate <= 1
        assert bool(result.examples) == (result.failure_rate > 0)
    assert len(report.fairness) == 4
    written = orjson.loads(orjson.dumps(report.as_dict()))
    assert list(written) == ["model_version", "seed", "capabilities", "fairness"]
    assert len(written["capabilities"]) == len(report.capabilities)
