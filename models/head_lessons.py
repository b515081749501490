"""The lessons of one task in its heads: how strongly, and how well they are learnt.

Every figure about lessons comes from heads that did not learn them: of few groups by cross-fitting
(each fold answered by heads of the other folds), of many from a fold that nothing learns from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from models.bundle import HeadEntry
from models.calibration import NEVER, fit_temperature, log_loss, plain_answers, softmax
from models.data import Example, Split
from models.grouping import are_few, folds
from models.heads import FloatArray, IntArray, cooled
from models.measures import accuracy
from models.network import Head
from models.opinions import Lesson, as_examples
from models.refitting import Strength, Taught, Texts, refit
from models.rehearsal import RECENT
from models.statistics import ClassStatistics
from models.vectors import Vectors

# [texts, labels], of examples at a stage.
Beside = Callable[[Sequence[Example], int], FloatArray]

# How many repeated texts a lesson of weight 1 counts for, and the pull towards the champion.
LESSON_WEIGHTS = (1.0, 3.0, 10.0, 30.0)
PULL = 1e-3
UNPROTECTED = Strength(1.0, 1e-4)
# Lessons are cross-fitted beside so many repeated texts while strengths are compared. What a
# strength costs is seen beside all of them, since fewer hold a head back less.
COMPARED_TEXTS = 1_000
# What a strength may cost on old texts kept back, in accuracy and nats, to be chosen.
ACCURACY_COST, LOSS_COST = 0.006, 0.01
# Vectors drawn from class statistics, where no labelled text is repeated.
DRAWN_VECTORS = 4_000
# With fewer old texts the champion's temperature and exits stay.
LEAST_TEXTS = 300
# Such a share of lessons may be answered wrongly by leaving early.
LOST_EARLY = 0.05


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A lesson, and what heads that did not learn it say of it.

    label: None where only the finished candidate can be asked, since it did not learn the lesson.
    """

    lesson: Lesson
    label: str | None


@dataclass(frozen=True, slots=True)
class TaughtTask:
    """The new heads of a task, one a stage, with their entry; and how lessons that were kept out
    are answered."""

    heads: tuple[Head, ...]
    entry: HeadEntry
    strength: Strength
    held_out: tuple[HeldOut, ...]
    accuracy: float


class HeadLessons:
    """One task's lessons beside its old texts.

    heads: the champion's, one a stage, which anchor the new ones.
    teachers: whose answers to the repeated texts are kept; the champion's probabilities by stage,
        or None: those of `heads` on the same vectors.
    beside: what the n-grams add to a stage's logits of examples.
    statistics: one a stage; vectors drawn from them are repeated where there are no labelled texts.
    companions: old texts of the tasks whose answers leave the network together with this one's.
    """

    def __init__(
        self,
        heads: Sequence[Head],
        entry: HeadEntry,
        lessons: Sequence[Lesson],
        repeated: Sequence[Example],
        kept_back: Sequence[Example],
        vectors: Vectors,
        *,
        exit_loss: float,
        protected: bool,
        cross_fitted: bool,
        beside: Beside,
        teachers: Sequence[FloatArray] | None = None,
        statistics: Sequence[ClassStatistics] = (),
        companions: Sequence[Example] = (),
    ) -> None:
        self.heads = heads
        self.beside = beside
        self.statistics = statistics if all(e.source == RECENT for e in repeated) else ()
        self.entry = entry
        self.lessons = lessons
        self.kept_back = kept_back
        self.exit_loss = exit_loss
        self.protected = protected
        self.vectors = vectors
        self.companions = companions
        self.fold = np.array(folds([lesson.group for lesson in lessons]), np.int64)
        few = are_few([lesson.group for lesson in lessons]) and cross_fitted
        self.learning = np.flatnonzero((self.fold != 0) | few)
        self.few = few
        stages = range(len(heads))
        self.taught = [self._taught(stage) for stage in stages]
        self.repeated = [self._repeated(repeated, stage, teachers) for stage in stages]

    def learn(self) -> TaughtTask:
        strength = self._strength() if self.protected else UNPROTECTED
        crossed = [self._crossed(stage, strength) for stage in range(len(self.heads))]
        fitted = [self._fit(stage, self.learning, strength) for stage in range(len(self.heads))]
        factors = [self._temperature(stage, head) for stage, head in enumerate(fitted)]
        heads = tuple(
            cooled(head, t) if t != 1 else head for head, t in zip(fitted, factors, strict=True)
        )
        by_stage = [softmax(logits, t) for logits, t in zip(crossed, factors, strict=True)]
        known = np.flatnonzero(~np.isnan(crossed[-1][:, 0]))
        exits = self._exits(fitted, factors, [found[known] for found in by_stage], known)
        said = _as_served([found[known] for found in by_stage], exits)
        right = said == self._labels[known]
        return TaughtTask(
            heads=heads,
            entry=self.entry.model_copy(
                update={
                    "temperatures": tuple(
                        round(old * new, 4)
                        for old, new in zip(self.entry.temperatures, factors, strict=True)
                    ),
                    "plain_from": exits,
                    # Heads are cooled in their weights, n-grams by their shares.
                    "ngram_shares": tuple(
                        share / factor
                        for share, factor in zip(self.entry.ngram_shares, factors, strict=False)
                    ),
                }
            ),
            strength=strength,
            held_out=self._held_out(known, said),
            accuracy=float(right.mean()) if len(right) else 0.0,
        )

    @property
    def _labels(self) -> IntArray:
        return np.array([self.entry.labels.index(le.label) for le in self.lessons], np.int64)

    def _taught(self, stage: int) -> Taught:
        examples = as_examples(self.lessons)
        weights = np.array([lesson.weight for lesson in self.lessons], np.float32)
        texts = self._texts(examples, stage)
        return Taught.of(texts, self._labels, weights, len(self.entry.labels))

    def _repeated(
        self, examples: Sequence[Example], stage: int, teachers: Sequence[FloatArray] | None
    ) -> Taught | None:
        if not self.protected:
            return None
        found = []
        if examples:
            texts = self._texts(examples, stage)
            said = teachers[stage] if teachers else softmax(texts.logits(self.heads[stage]))
            found.append(Taught(texts, said, np.ones(len(texts), np.float32)))
        if self.statistics:
            drawn, _ = self.statistics[stage].draw(DRAWN_VECTORS, seed=stage)
            if len(drawn):
                found.append(Taught.by(self.heads[stage], Texts(drawn)))
        return Taught.joined(found) if found else None

    def _texts(self, examples: Sequence[Example], stage: int) -> Texts:
        return Texts(self.vectors.of(examples, stage), self.beside(examples, stage))

    def _fit(self, stage: int, rows: IntArray, strength: Strength, most: int | None = None) -> Head:
        old = self.repeated[stage]
        if old and most and len(old.texts) > most:
            # Every so many-th text, and lessons count for as many fewer.
            step = -(-len(old.texts) // most)
            old = old.at(np.arange(0, len(old.texts), step))
            strength = Strength(strength.lesson / step, strength.pull)
        return refit(self.heads[stage], self.taught[stage].at(rows), old, strength)

    def _crossed(self, stage: int, strength: Strength, most: int | None = None) -> FloatArray:
        """Logits of the lessons by heads of the other folds; NaN where there are none of those."""
        found = np.full((len(self.lessons), len(self.entry.labels)), np.nan, np.float32)
        folds_ = self.fold[self.learning]
        for fold in np.unique(folds_):
            rest, own = self.learning[folds_ != fold], self.learning[folds_ == fold]
            if len(rest):
                head = self._fit(stage, rest, strength, most)
                found[own] = self.taught[stage].texts.at(own).logits(head)
        return found

    def _strength(self) -> Strength:
        """The one that teaches best, of those that cost little on old texts."""
        tried = [Strength(weight, PULL) for weight in LESSON_WEIGHTS]
        if not self.lessons:
            return tried[0]
        losses = [self._losses(strength) for strength in tried]
        allowed = [place for place, strength in enumerate(tried) if self._is_cheap(strength)]
        if not allowed or not len(losses[0]):
            return tried[0]
        return tried[min(allowed, key=lambda place: float(losses[place].mean()))]

    def _losses(self, strength: Strength) -> FloatArray:
        logits = self._crossed(len(self.heads) - 1, strength, COMPARED_TEXTS)
        known = np.flatnonzero(~np.isnan(logits[:, 0]))
        true = softmax(logits[known])[np.arange(len(known)), self._labels[known]]
        losses: FloatArray = -np.log(np.maximum(true, 1e-6))
        return losses

    def _is_cheap(self, strength: Strength) -> bool:
        """Whether old texts kept back are answered nearly as well as before."""
        if len(self.kept_back) < LEAST_TEXTS:
            return strength.lesson <= LESSON_WEIGHTS[1] or self.repeated[-1] is None
        head = self._fit(len(self.heads) - 1, self.learning, strength)
        texts, labels = self._old(self.kept_back, len(self.heads) - 1)
        before, now = (softmax(texts.logits(each)) for each in (self.heads[-1], head))
        lost = accuracy(labels, before.argmax(axis=1)) - accuracy(labels, now.argmax(axis=1))
        dearer = log_loss(now, labels) - log_loss(before, labels)
        return lost <= ACCURACY_COST and dearer <= LOSS_COST

    def _old(self, examples: Sequence[Example], stage: int) -> tuple[Texts, IntArray]:
        labels = np.array([self.entry.labels.index(e.label) for e in examples], np.int64)
        return self._texts(examples, stage), labels

    def _temperature(self, stage: int, head: Head) -> float:
        """What the new head's logits are divided by; the champion's temperature is in them."""
        own = [e for e in self.kept_back if e.split is Split.CALIBRATION]
        if len(own) < LEAST_TEXTS or not self.protected:
            return 1.0
        texts, labels = self._old(own, stage)
        return fit_temperature(texts.logits(head), labels, spread=0.1)

    def _exits(
        self,
        heads: Sequence[Head],
        factors: Sequence[float],
        of_lessons: Sequence[FloatArray],
        rows: IntArray,
    ) -> tuple[float, ...]:
        """The old texts' exits; but late enough that no more of the companions leave than before,
        and that few lessons lose their right answer."""
        exits = list(self.entry.plain_from)
        if len(self.kept_back) >= LEAST_TEXTS:
            by_stage = [
                softmax(self._old(self.kept_back, stage)[0].logits(head), factor)
                for stage, (head, factor) in enumerate(zip(heads, factors, strict=True))
            ]
            exits = list(plain_answers(by_stage, self.exit_loss))
        exits = [
            max(least, self._no_more_leave(stage, heads[stage], factors[stage]))
            for stage, least in enumerate(exits)
        ]
        true, last = self._labels[rows], of_lessons[-1].argmax(axis=1)
        for stage, early in enumerate(of_lessons[:-1]):
            lost = (early.argmax(axis=1) != true) & (last == true)
            surest = np.sort(early.max(axis=1)[lost])[::-1]
            spared = int(LOST_EARLY * len(rows))
            if len(surest) > spared:
                exits[stage] = min(NEVER, max(exits[stage], round(float(surest[spared]) + 1e-3, 4)))
        return tuple(exits)

    def _no_more_leave(self, stage: int, head: Head, factor: float) -> float:
        """The least confidence with which no more of the companions leave than did."""
        if not self.companions:
            return 0.0
        texts = self._texts(self.companions, stage)
        before = softmax(texts.logits(self.heads[stage])).max(axis=1)
        left = int((before >= self.entry.plain_from[stage]).sum())
        surest = np.sort(softmax(texts.logits(head), factor).max(axis=1))[::-1]
        return min(NEVER, round(float(surest[left]) + 1e-4, 4)) if left < len(surest) else 0.0

    def _held_out(self, known: IntArray, said: IntArray) -> tuple[HeldOut, ...]:
        if self.few:
            return tuple(
                HeldOut(self.lessons[row], self.entry.labels[label])
                for row, label in zip(known.tolist(), said.tolist(), strict=True)
            )
        return tuple(
            HeldOut(self.lessons[row], None) for row in np.flatnonzero(self.fold == 0).tolist()
        )


def _as_served(by_stage: Sequence[FloatArray], exits: Sequence[float]) -> IntArray:
    """The labels [texts] of the first stage whose answer is plain."""
    said: IntArray = by_stage[-1].argmax(axis=1)
    for early, least in reversed(list(zip(by_stage[:-1], exits, strict=True))):
        said = np.where(early.max(axis=1) >= least, early.argmax(axis=1), said)
    return said
