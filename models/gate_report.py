"""What the gate found, as JSON for the registry and in words for people."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Check(BaseModel):
    """One figure against its bound; without a bound it is only told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    figure: float
    bound: float | None
    passed: bool
    words: str


class GateReport(BaseModel):
    """The decision about one candidate. `why` is one line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    champion: str
    candidate: str
    decision: Literal["promoted", "refused"]
    why: str
    checks: tuple[Check, ...]

    @classmethod
    def of(cls, champion: str, candidate: str, checks: tuple[Check, ...]) -> "GateReport":
        """Promoted only if every check is passed."""
        failed = [check.words for check in checks if not check.passed]
        return cls(
            champion=champion,
            candidate=candidate,
            decision="refused" if failed else "promoted",
            why="; ".join(failed) or _best(checks),
            checks=checks,
        )


def _best(checks: tuple[Check, ...]) -> str:
    learnt = [check.words for check in checks if check.name == "lessons"]
    return "; ".join([*learnt, f"all {len(checks)} checks passed"])
