"""What `doctor` finds, one line each: how good it is, what it is, and what to do about it."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum


class Level(StrEnum):
    FINE = "fine"
    WARNING = "warning"
    WRONG = "wrong"

    @property
    def mark(self) -> str:
        return {"fine": "✓", "warning": "!", "wrong": "✗"}[self.value]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `part` is the server or file, `advice` what to do; empty where all is well."""

    part: str
    level: Level
    what: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


@dataclass(slots=True)
class Report:
    """Collects the findings about one part, so that those made before a failure are kept."""

    part: str
    findings: list[Finding] = field(default_factory=list)

    def fine(self, what: str) -> None:
        self.findings.append(Finding(self.part, Level.FINE, what))

    def warn(self, what: str, advice: str) -> None:
        """Something an operator should know of; the service works."""
        self.findings.append(Finding(self.part, Level.WARNING, what, advice))

    def wrong(self, what: str, advice: str) -> None:
        """Something that stops the service or breaks one of its promises."""
        self.findings.append(Finding(self.part, Level.WRONG, what, advice))
