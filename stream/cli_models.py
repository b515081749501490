"""`bellwether classify`, `train` and `evaluate`: the model without the servers."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from schemas.errors import BellwetherError
from stream.cli_base import Force, Json, explained, extra
from stream.wording import counted

Data = Annotated[
    Path | None, typer.Option(help="Folder of the labelled sets.", show_default="../shared/data")
]
Threads = Annotated[int, typer.Option(min=0, help="0 means one a core.")]


@explained
def classify(
    file: Annotated[str, typer.Argument(help="JSON lines, also .gz; - is the input.")] = "-",
    task: Annotated[
        str | None, typer.Option(help="Only this task, such as news.topic or message.intent.")
    ] = None,
    text_field: Annotated[
        str | None, typer.Option(help="Where the text is.", show_default="text, else headline")
    ] = None,
    kind: Annotated[
        Literal["news", "message"] | None,
        typer.Option(
            help="What the records are.", show_default="the task's, else each record's own"
        ),
    ] = None,
    rules: Annotated[
        bool, typer.Option("--rules", help="Print risk and the alert rules that would match.")
    ] = False,
    force: Force = False,
) -> None:
    """Classify records and print one JSON line for each, in order.

    Without --task and --kind a record is what its fields say: a message where it has a customer_id,
    channel or sent_at, for instance; where they say nothing, it is news. `flags` are those of
    documents: truncated, and language:de of a text that the model doubts, since it is German.

    A line that cannot be read gives its id and the error; the exit code is then 1. A record with
    an `entity` gets its news.sentiment for that company. With --rules each has its risk, and the
    rules that it would match with their reasons; a rule that counts says how many it wants.

    \b
    Examples:
      $ bellwether classify headlines.jsonl | jq -r '.predictions."news.topic".label'
      $ bellwether classify chats.jsonl.gz --task message.intent
      $ echo '{"text": "Acme cuts its outlook"}' | bellwether classify
      $ bellwether classify headlines.jsonl --rules | jq -c 'select(.rules != []) | [.text, .rules]'
    """
    from models.classification import classify_chunks, read_chunks
    from schemas.records import Kind
    from stream.classifiers import load_classifier, make_analysis
    from stream.rule_trial import trial
    from stream.settings import load_settings

    if file != "-" and not Path(file).exists():
        raise typer.BadParameter(f"there is no file {file}")
    settings = load_settings()
    classifier = load_classifier(settings, threads=settings.threads)
    errors: list[str] = []
    answers = classify_chunks(
        read_chunks(file, forced=force),
        classifier,
        task=task,
        text_field=text_field,
        kind=Kind(kind) if kind else None,
        on_error=errors.append,
        beside=trial(make_analysis(classifier, settings)) if rules else None,
    )
    for answer in answers:
        sys.stdout.buffer.write(answer)
        sys.stdout.buffer.flush()  # whoever feeds line by line reads line by line
    if errors:
        failed = counted(len(errors), "line")
        raise BellwetherError(f"{failed} could not be classified; first: {errors[0]}")


@explained
def train(
    recipe: Annotated[
        str, typer.Option(help="heads, lora, default, or a recipe's .yaml file.")
    ] = "heads",
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the labelled sets; with --add-task or --add-label a file of JSON "
            "lines with text and label.",
            show_default="../shared/data",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where the bundle goes.", show_default="BELLWETHER_HOME/bundles/RECIPE or TASK"
        ),
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(help="Folder of a BERT-family encoder.", show_default="all-MiniLM-L6-v2"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Another draw.", show_default="the recipe's")
    ] = None,
    threads: Threads = 0,
    add_task: Annotated[
        str | None, typer.Option(metavar="NAME", help="Teach a bundle a task of your own.")
    ] = None,
    kind: Annotated[
        Literal["news", "message"] | None, typer.Option(help="Of which records it is asked.")
    ] = None,
    add_label: Annotated[
        str | None, typer.Option(metavar="TASK", help="Teach a task of a bundle further labels.")
    ] = None,
    sentiment: Annotated[
        str | None, typer.Option(help="What new labels of message.emotion mean.")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="The bundle that is to learn it.",
            show_default="that of BELLWETHER_MODEL",
        ),
    ] = None,
) -> None:
    """Train a model bundle from labelled texts. Needs the extra `train`.

    The recipe `heads` takes a few minutes, `default` and `lora` one to two hours on two cores; a
    run that was ended goes on from its last checkpoint when it is started again.

    With --add-task or --add-label a bundle learns a task of your own, or new labels of a task,
    within a minute for some thousand texts. The new bundle stands in another folder and answers
    everything else as before. A task takes two labels or more, with 10 texts each, better 50. For
    new labels the file also needs texts of the known ones, better 10 for each, so that the new
    ones do not take them.

    \b
    Examples:
      $ bellwether train --recipe heads
      $ bellwether train --recipe default
      $ BELLWETHER_MODEL=.bellwether/bundles/heads bellwether worker

    \b
    A task of your own; documents then have its answer in `tasks`:
      $ head -n 1 urgency.jsonl
      {"text": "My card was stolen, block it now!", "label": "high"}
      $ bellwether train --add-task urgency --kind message --data urgency.jsonl
      $ export BELLWETHER_MODEL=.bellwether/bundles/message.urgency
      $ bellwether classify chats.jsonl --task message.urgency
      $ bellwether worker

    \b
    Further labels of a task, built-in or your own:
      $ bellwether train --add-label message.intent --data mortgages.jsonl --out mortgages
      $ BELLWETHER_MODEL=mortgages bellwether worker
    """
    from stream.settings import helps_another, load_settings

    extends = bool(add_task or add_label)
    for wrong, said in (
        (add_task and add_label, "--add-task and --add-label go one at a time"),
        (extends and not data, "name the file of labelled texts by --data"),
        (extends and (encoder or recipe != "heads"), "the bundle keeps its encoder: no --recipe"),
        (bundle and not extends, "--bundle goes with --add-task or --add-label"),
        (kind and not add_task, "--kind goes with --add-task"),
        (sentiment and not add_label, "--sentiment goes with --add-label"),
    ):
        if wrong:
            raise typer.BadParameter(said)
    settings = load_settings()
    with extra():
        from schemas.records import Kind
        from schemas.taxonomy import load_taxonomy, own_task_name

        taxonomy = load_taxonomy(settings.taxonomy) if settings.taxonomy else None
        task = own_task_name(add_task, Kind(kind) if kind else None) if add_task else add_label
        place = out or settings.home / "bundles" / (task or Path(recipe).stem)
        if task and data:
            from models.extension import add_labels
            from models.extension import add_task as teach_task
            from stream.champion import model_folder

            teach = (
                partial(teach_task, name=task)
                if add_task
                else partial(add_labels, task=task, sentiment=sentiment)
            )
            source = bundle or model_folder(settings)
            teach(source, data, place, taxonomy=taxonomy, seed=seed or 0, threads=threads)
        else:
            from models.data import DEFAULT_DATA
            from models.training import train as fit

            fit(
                data or DEFAULT_DATA,
                place,
                recipe=recipe,
                encoder=encoder,
                taxonomy=taxonomy,
                seed=seed,
                threads=threads,
                tracking=None if helps_another() else settings.tracking,
            )
    # The bundle has its own taxonomy; one that is named lacks what it has just learnt.
    unset = "env -u BELLWETHER_TAXONOMY " if task and taxonomy else ""
    print(f"to use it: {unset}BELLWETHER_MODEL={place} bellwether worker")


@explained
def evaluate(
    bundle: Annotated[
        Path | None,
        typer.Option(help="The bundle.", show_default="that of BELLWETHER_MODEL"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the labelled sets, or a file of your own.",
            show_default="../shared/data",
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Only this task; for a file, that of its labels.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with plots and all details.")
    ] = None,
    baseline: Annotated[
        bool, typer.Option(help="Train word n-grams beside it, to compare (not for a file).")
    ] = True,
    threads: Threads = 0,
    as_json: Json = False,
) -> None:
    """Measure a model: how often it is right, whether it knows when, and where it fails.

    On the labelled sets it is asked the texts that it never saw, then the package's customers'
    messages and the behavioural tests: typos, casing, negation, other names. Beside the
    figures stands how far chance alone may move them. --html, and the comparison with word n-grams,
    need the extra `train`.

    A file of your own has JSON lines with `text` and `label`, for the task that --task names, and
    if you like `source` and `style`, by which the result is divided. With `entity`, a company's
    name, the label is the news.sentiment for that company.

    \b
    Examples:
      $ bellwether evaluate
      $ bellwether evaluate --html report.html
      $ bellwether evaluate --task news.topic --no-baseline
      $ bellwether evaluate --json | jq '.tasks[].whole.accuracy'
      $ bellwether evaluate --data ours.jsonl --task message.intent
    """
    from stream.display import screen, step_progress
    from stream.settings import load_settings

    if html and not html.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {html.parent}", param_hint="--html")
    if html and html.is_dir():
        raise typer.BadParameter(f"{html} is a folder", param_hint="--html")
    settings = load_settings()
    if html:
        with extra():
            from models.page import render_page
    with extra("; --no-baseline does without"), step_progress() as progress:
        from models.bundle import taxonomy_of
        from models.evaluation import evaluate as measure
        from models.report import as_json_line, print_report
        from stream.champion import model_folder

        folder = bundle or model_folder(settings)
        evaluation = measure(
            folder,
            data,
            task=task,
            taxonomy=taxonomy_of(folder, settings.taxonomy),
            baseline=baseline,
            threads=threads,
            early_exit=settings.early_exit,
            progress=progress,
        )
        if html:
            progress("drawing", 0, 0)
            _write(html, render_page(evaluation))
    if as_json:
        print(as_json_line(evaluation))
    else:
        print_report(screen(), evaluation)


def _write(file: Path, content: str) -> None:
    try:
        file.write_text(content, encoding="utf-8")
    except OSError as error:
        raise BellwetherError(f"Cannot write {file}: {error.strerror}.") from None
