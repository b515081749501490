"""The gate: whether a candidate may take the champion's place.

It may only if every check is passed: it is no worse on a golden set, on old test texts of every
task (or, where there are none, changes few answers outside what was taught) and on audits; better
on lessons that it did not learn; as well calibrated, and about as fast. What is too small to be
measured is not checked, but that it is better on lessons always is.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import orjson

from models.answers import Classifies, answers, classifications
from models.data import Example, Split, company_span
from models.gate_report import Check, GateReport
from models.head_lessons import HeldOut
from models.old_text_checks import AnsweredPair, old_text_checks
from models.opinions import Lesson, as_examples
from models.paired import sign_test
from models.plausibility import SURE
from models.probes import CLEAR_MARGIN, PROBE_TEXTS, margin
from models.rehearsal import RecentText, Rehearsal
from schemas.predictions import Classification
from schemas.taxonomy import COMPANY_SENTIMENT, SENTIMENT

GOLDEN = Path(__file__).with_name("checks") / "golden.jsonl"
GOLDEN_POINTS, GOLDEN_TEXTS = 0.02, 2
LEAST_OLD_TEXTS = 200
MOST_CHURN, CHURN_TEXTS, LEAST_CHURN_TEXTS = 0.02, 5_000, 100
CHANCE = 0.05
LEAST_SPEED, SPEED_TEXTS, SPEED_ROUNDS = 0.8, 256, 5
# Probes that are named.
MOST_TOLD = 5
# With so many sure answers contradicted, half must be learnt.
LEAST_SURE = 8

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a candidate is judged by.

    held_out: lessons with the answers of heads that did not learn them (`Relearnt.held_out`).
    lessons: all that were taught.
    concepts: of each task the recent texts of what is taught (`Relearnt.concepts`).
    audits: randomly drawn texts with people's labels; nothing learnt from them.
    rehearsal: its test texts and recent events.
    golden: a file of JSON lines with task, text, label and maybe entity; left out if there is none.
    """

    held_out: Sequence[HeldOut]
    lessons: Sequence[Lesson]
    rehearsal: Rehearsal
    audits: Sequence[Lesson] = ()
    concepts: Mapping[str, frozenset[str]] = field(default_factory=dict)
    golden: Path | None = GOLDEN


def judge(
    champion: Classifies,
    candidate: Classifies,
    evidence: Evidence,
    report: Report = lambda _: None,
) -> GateReport:
    """The report on a candidate. Both must be of the same tasks and loaded as they serve."""
    return _Gate(champion, candidate, evidence, report).judge()


class _Gate:
    def __init__(
        self, champion: Classifies, candidate: Classifies, evidence: Evidence, report: Report
    ) -> None:
        self.champion = champion
        self.candidate = candidate
        self.evidence = evidence
        self.report = report
        self.tasks = [*champion.taxonomy.tasks, COMPANY_SENTIMENT]

    def judge(self) -> GateReport:
        checks = []
        for check in self._checks():
            self.report(("passed: " if check.passed else "FAILED: ") + check.words)
            checks.append(check)
        return GateReport.of(self.champion.version, self.candidate.version, tuple(checks))

    def _checks(self) -> Iterator[Check]:
        yield from self._lessons()
        yield from self._golden()
        for task in self.tasks:
            old = self.evidence.rehearsal.test(task)
            if len(old) >= LEAST_OLD_TEXTS:
                yield from old_text_checks(task, self._pair(old))
            elif task != COMPANY_SENTIMENT:
                yield from self._churn(task)
        yield from self._unseen()
        yield from self._audits()
        yield self._probes()
        yield self._speed()

    def _pair(self, examples: Sequence[Example]) -> AnsweredPair:
        before, now = (answers(model, examples) for model in (self.champion, self.candidate))
        labels = before[0].labels
        true = np.array([labels.index(example.label) for example in examples], np.int64)
        return AnsweredPair(labels, true, before, now)

    def _lessons(self) -> Iterator[Check]:
        """Better on groups of lessons that were kept out; a group counts once."""
        kept_out = [each.lesson for each in self.evidence.held_out]
        said = self._said(self.evidence.held_out)
        before = [lesson.contradicts for lesson in kept_out]
        groups: defaultdict[str, list[int]] = defaultdict(list)
        for place, lesson in enumerate(kept_out):
            right = said[place] == lesson.label
            groups[lesson.group].append(int(right) - int(not before[place]))
        wins = sum(sum(own) > 0 for own in groups.values())
        losses = sum(sum(own) < 0 for own in groups.values())
        right_now = sum(label == le.label for label, le in zip(said, kept_out, strict=True))
        was = sum(not wrong for wrong in before)
        chance = sign_test(wins, losses)
        yield Check(
            name="lessons",
            figure=float(wins - losses),
            bound=1.0,
            passed=wins > losses and right_now >= was and chance < CHANCE,
            words=f"of {len(kept_out)} lessons kept out {right_now} are answered rightly, {was} "
            f"before; {wins} of {len(groups)} groups better, {losses} worse, by chance "
            f"{chance:.1%}",
        )
        sure = [
            label == lesson.label
            for label, lesson in zip(said, kept_out, strict=True)
            if lesson.contradicts and lesson.sure >= SURE
        ]
        if len(sure) >= LEAST_SURE:
            yield Check(
                name="sure answers contradicted",
                figure=sum(sure) / len(sure),
                bound=0.5,
                passed=2 * sum(sure) >= len(sure),
                words=f"of {len(sure)} lessons kept out that contradict sure answers {sum(sure)} "
                "are learnt",
            )

    def _said(self, held_out: Sequence[HeldOut]) -> list[str]:
        open_ = as_examples([each.lesson for each in held_out if each.label is None])
        asked = iter(answers(self.candidate, open_) if open_ else [])
        return [each.label or next(asked).label for each in held_out]

    def _unseen(self) -> Iterator[Check]:
        """A taught task of which nothing tells what it lost, as it may be with a user's own one."""
        golden = {row.task for row in self._golden_rows()}
        for task in sorted({lesson.task for lesson in self.evidence.lessons} - golden):
            old = len(self.evidence.rehearsal.test(task))
            recent = len(self._recent(task))
            if old < LEAST_OLD_TEXTS and recent < LEAST_CHURN_TEXTS:
                yield Check(
                    name=f"what is known, {task}",
                    figure=float(recent),
                    bound=float(LEAST_CHURN_TEXTS),
                    passed=False,
                    words=f"{task}: {recent} recent events are too few to see what is forgotten; "
                    f"{LEAST_CHURN_TEXTS} are needed",
                )

    def _recent(self, task: str) -> list[RecentText]:
        tasks = self.champion.taxonomy.tasks
        kind = tasks[task].kind if task in tasks else None
        return [each for each in self.evidence.rehearsal.recent if each.kind is kind][:CHURN_TEXTS]

    def _golden_rows(self) -> list[Example]:
        file = self.evidence.golden
        return _golden(file) if file and file.is_file() else []

    def _golden(self) -> Iterator[Check]:
        rows = self._golden_rows()
        for task in self.tasks:
            own = [row for row in rows if row.task == task]
            if own:
                pair = self._pair(own)
                found = pair.difference()
                bound = -max(GOLDEN_TEXTS / len(own), GOLDEN_POINTS)
                yield Check(
                    name=f"golden set, {task}",
                    figure=found.difference,
                    bound=bound,
                    passed=found.difference >= bound - 1e-9,
                    words=f"{task}: {found.gained} golden texts gained, {found.lost} lost of "
                    f"{len(own)}",
                )

    def _churn(self, task: str) -> Iterator[Check]:
        """Without old test texts: how many answers to recent events change outside the concept."""
        recent = self._recent(task)
        if len(recent) < LEAST_CHURN_TEXTS:
            return
        before, now = (
            [found.predictions[task].label for found in _classified(model, recent)]
            for model in (self.champion, self.candidate)
        )
        concept = self.evidence.concepts.get(task, frozenset())
        outside = [each.text not in concept for each in recent]
        changed = sum(
            was != is_ and out for was, is_, out in zip(before, now, outside, strict=True)
        )
        share = changed / max(1, sum(outside))
        yield Check(
            name=f"churn, {task}",
            figure=share,
            bound=MOST_CHURN,
            passed=share <= MOST_CHURN,
            words=f"{task}: {share:.1%} of {sum(outside):,} recent events outside the concept are "
            "answered otherwise",
        )

    def _audits(self) -> Iterator[Check]:
        if not self.evidence.audits:
            return
        audits = self.evidence.audits
        said = [answer.label for answer in answers(self.candidate, as_examples(audits))]
        wins = sum(le.contradicts and le.label == now for le, now in zip(audits, said, strict=True))
        losses = sum(
            not le.contradicts and le.label != now for le, now in zip(audits, said, strict=True)
        )
        chance = sign_test(losses, wins)
        yield Check(
            name="audits",
            figure=float(wins - losses),
            bound=0.0,
            passed=losses <= wins or chance >= CHANCE,
            words=f"{wins} of {len(audits)} audits better, {losses} worse",
        )

    def _probes(self) -> Check:
        """Told, not judged: a lesson may be about one. Workers hold a candidate to its own ones."""
        texts = [RecentText(text, kind) for kind, own in PROBE_TEXTS.items() for text in own]
        pairs = zip(*(_classified(m, texts) for m in (self.champion, self.candidate)), strict=True)
        changed = [
            f"'{each.text}'"
            for each, (before, now) in zip(texts, pairs, strict=True)
            for task, answer in before.predictions.items()
            if margin(answer) >= CLEAR_MARGIN and now.predictions[task].label != answer.label
        ]
        return Check(
            name="probes",
            figure=float(len(changed)),
            bound=None,
            passed=True,
            words=f"{len(changed)} clear answers to probes changed"
            + (f": {', '.join(changed[:MOST_TOLD])}" if changed else ""),
        )

    def _speed(self) -> Check:
        """Processor time, so that what else the machine does counts little; the two in turns."""
        texts = self._speed_texts()
        ratios = []
        for _ in range(SPEED_ROUNDS):
            before, now = (_processor_seconds(m, texts) for m in (self.champion, self.candidate))
            ratios.append(before / max(now, 1e-9))
        ratio = float(np.median(ratios))
        return Check(
            name="speed",
            figure=ratio,
            bound=LEAST_SPEED,
            passed=ratio >= LEAST_SPEED,
            words=f"{ratio:.2f} of the champion's texts a second of processor time",
        )

    def _speed_texts(self) -> list[RecentText]:
        """Texts of every task as they come: old or recent ones, else the lessons."""
        tasks = self.champion.taxonomy.tasks
        found = list(self.evidence.rehearsal.recent[: SPEED_TEXTS // 2])
        for task in tasks:
            old = self.evidence.rehearsal.test(task)[: SPEED_TEXTS // len(tasks)]
            found += [RecentText(example.text, tasks[task].kind) for example in old]
        return found or [
            RecentText(le.text, tasks[SENTIMENT if le.span else le.task].kind)
            for le in self.evidence.lessons
        ]


def _golden(file: Path) -> list[Example]:
    """Its rows; of one with an entity that stands in the text the company's sentiment is meant."""
    found = []
    for row in map(orjson.loads, file.read_bytes().splitlines()):
        span = company_span(row["text"], row.get("entity") or "")
        task = COMPANY_SENTIMENT if span and row["task"] == SENTIMENT else row["task"]
        found.append(Example(row["text"], row["label"], task, "golden", Split.TEST, span))
    return found


def _classified(model: Classifies, texts: Sequence[RecentText]) -> list[Classification]:
    return classifications(
        model, [t.text for t in texts], [t.kind for t in texts], [None] * len(texts)
    )


def _processor_seconds(model: Classifies, texts: Sequence[RecentText]) -> float:
    start = time.process_time()
    _classified(model, texts)
    return time.process_time() - start
