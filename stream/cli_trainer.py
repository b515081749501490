"""`bellwether trainer`: learns from people's labels and promotes what the gate lets pass."""

import sys
from typing import Annotated, Literal

import typer

from stream.cli_base import explained, extra, operator_settings


@explained
def trainer(
    once: Annotated[bool, typer.Option("--once", help="Make one run now, and end.")] = False,
    method: Annotated[
        Literal["auto", "heads", "lora", "full"],
        typer.Option(
            help="What learns: the heads alone (seconds), low-rank matrices or all weights of the "
            "encoder (minutes); auto begins with the heads."
        ),
    ] = "auto",
) -> None:
    """Learn from the labels in the topic labels, and put a better model in place.

    A candidate is made of the champion and is promoted only if it passes every check of the gate;
    workers then take it over within 10 seconds, without a pause. Every candidate is in the
    registry, also one that was refused: see `bellwether models show candidate`. Without --once it
    waits, and runs whenever BELLWETHER_TRAINER_LABELS labels are new, or one is and
    BELLWETHER_TRAINER_HOURS went by. Needs the extra `train`.

    With --once the last line is `promoted VERSION` or `refused: WHY`; both exit with 0.

    \b
    Examples:
      $ bellwether trainer
      $ bellwether trainer --once
      $ BELLWETHER_TRAINING_DATA=../shared/data bellwether trainer --once --method lora
      $ bellwether models rollback
    """
    settings = operator_settings()
    with extra():
        from stream.process import step_back

        step_back(settings.trainer_threads)
        from stream.display import harmless
        from stream.trainer import Trainer

        found = Trainer(settings, method, lambda line: _say(harmless(line)))
        if once:
            print(harmless(str(found.run())), flush=True)
        else:
            found.watch()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
