"""Labels that are more likely wrong than the model.

A model is sure of few of its mistakes and of most of its right answers: the shipped one of an
eighth of the former and two thirds of the latter, on held-out headlines. So people who correct
mistakes contradict sure answers seldom, and somebody who turns labels round does it all the time.
A concept that the model does not know looks like that as well, but goes one way: to one label or
from one. What several annotators teach of one kind passes therefore; turning labels round every
way does not, however many do it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from models.duplicates import normalized
from models.opinions import Lesson, Opinion
from schemas.taxonomy import COMPANY_SENTIMENT

# From this confidence on the champion is sure.
SURE = 0.9
# At most such a share of honest corrections is of answers that the champion is sure of ...
SURE_MISTAKES = 0.25
# ... which is given up when chance explains what is seen less often than this.
CHANCE = 0.01
LEAST_CORRECTIONS = 8
# Corrections of which such a share goes to one label, or comes from one, are of one kind.
ONE_KIND = 0.8
# Others stand for a kind when they have such a part of what one annotator has.
OTHERS = 0.25
# So many sole corrections, nearly all about one name or word, are about that.
LEAST_ABOUT = 5
_SHORTEST_SUBJECT = 3


def distrusted(opinions: Sequence[Opinion], trusted: Collection[str]) -> dict[tuple[str, str], str]:
    """Annotators, by task, whose labels are turned round every way, with the reason.

    First each by himself, then those who look like it together, since each may have given few.
    """
    found: dict[tuple[str, str], str] = {}
    convicted: defaultdict[str, list[Opinion]] = defaultdict(list)
    suspects: defaultdict[str, list[Opinion]] = defaultdict(list)
    accomplices: defaultdict[str, list[Opinion]] = defaultdict(list)
    by_person = _grouped(
        (each for each in opinions if each.contradicts and each.given.annotator not in trusted),
        lambda each: (each.task, each.given.annotator),
    )
    for (task, annotator), own in by_person.items():
        if _is_turned_round(own):
            found[task, annotator] = f"{annotator} {_words(task, own)}"
            convicted[task] += own
        elif _sure(own) > SURE_MISTAKES * len(own):
            suspects[task] += own
            # Whoever teaches one thing does not belong to those who turn everything round.
            accomplices[task] += [] if _goes_one_way(own) else own
    for task, own in suspects.items():
        joined = [*convicted[task], *accomplices[task]] if convicted[task] else own
        people = sorted({each.given.annotator for each in joined})
        if len(people) > 1 and _is_turned_round(joined):
            reason = f"{', '.join(people)} together {_words(task, joined)}"
            found = {(task, annotator): reason for annotator in people} | found
    return found


def uncorroborated(lessons: Sequence[Lesson], trusted: Collection[str]) -> dict[int, str]:
    """Places of corrections for which one annotator stands alone, with the reason.

    A correction of an answer that the champion is sure of needs others who say the same of the
    question, or enough of the same kind; many about one company or word need others about it.
    """
    sole = {
        place: lesson.annotators[0]
        for place, lesson in enumerate(lessons)
        if lesson.contradicts
        and len(lesson.annotators) == 1
        and lesson.annotators[0] not in trusted
    }
    return {**_without_a_second(lessons, sole), **_about_one_subject(lessons, sole)}


def _without_a_second(lessons: Sequence[Lesson], sole: Mapping[int, str]) -> dict[int, str]:
    """Sole corrections of sure answers, where others have hardly any of the kind."""
    kinds = _grouped((each for each in lessons if each.contradicts), _kind)
    found = {}
    for place, annotator in sole.items():
        lesson = lessons[place]
        if lesson.sure < SURE:
            continue
        alike = kinds[_kind(lesson)]
        own = sum(each.annotators == (annotator,) for each in alike)
        if len(alike) - own < OTHERS * own:
            found[place] = (
                f"the champion is sure of another label of {lesson.task}, and of such corrections "
                f"{annotator} alone gave nearly all"
            )
    return found


def _about_one_subject(lessons: Sequence[Lesson], sole: Mapping[int, str]) -> dict[int, str]:
    """An annotator's sole corrections when nearly all are about one thing, on which nobody else
    corrects anything."""
    found: dict[int, str] = {}
    people = _grouped(sole, lambda place: (lessons[place].task, sole[place]))
    for (task, annotator), places in people.items():
        sure = [place for place in places if lessons[place].sure >= SURE]
        if len(sure) < LEAST_ABOUT:
            continue
        others = {
            word
            for lesson in lessons
            if lesson.task == task and lesson.contradicts and lesson.annotators != (annotator,)
            for word in _subjects(lesson)
        }
        counts = Counter(word for place in sure for word in _subjects(lessons[place]))
        about = {
            word
            for word, count in counts.items()
            if count >= max(LEAST_ABOUT, ONE_KIND * len(sure)) and word not in others
        }
        reason = f"{annotator} alone corrects {task} of texts that share a company or subject"
        found |= {place: reason for place in places if about & _subjects(lessons[place])}
    return found


def _kind(lesson: Lesson) -> tuple[str, str, str]:
    return lesson.task, lesson.believed, lesson.label


def _subjects(lesson: Lesson) -> set[str]:
    """The words of the company, or of the text where none was named."""
    text = lesson.text[slice(*lesson.span)] if lesson.span else lesson.text
    return {word for word in normalized(text) if len(word) >= _SHORTEST_SUBJECT}


def _is_turned_round(corrections: Sequence[Opinion]) -> bool:
    """Whether too many are of sure answers, and they go every way."""
    if len(corrections) < LEAST_CORRECTIONS or _goes_one_way(corrections):
        return False
    from scipy.stats import binom

    by_chance = binom.sf(_sure(corrections) - 1, len(corrections), SURE_MISTAKES)
    return bool(by_chance < CHANCE)


def _goes_one_way(corrections: Sequence[Opinion]) -> bool:
    labels = Counter(each.given.label for each in corrections)
    believed = Counter(each.believed for each in corrections)
    most = max(*labels.values(), *believed.values())
    return most >= ONE_KIND * len(corrections)


def _sure(corrections: Sequence[Opinion]) -> int:
    return sum(each.sure >= SURE for each in corrections)


def _words(task: str, corrections: Sequence[Opinion]) -> str:
    whose = "for companies" if task == COMPANY_SENTIMENT else f"of {task}"
    return (
        f"contradicted the champion {whose} {len(corrections)} times, {_sure(corrections)} times "
        f"where it is at least {SURE:.0%} sure, every way round: such labels are more likely "
        "flipped than right"
    )


_Key = TypeVar("_Key", bound=Hashable)
_Any = TypeVar("_Any")


def _grouped(items: Iterable[_Any], key: Callable[[_Any], _Key]) -> defaultdict[_Key, list[_Any]]:
    groups: defaultdict[_Key, list[_Any]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
