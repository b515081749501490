"""`bellwether explain`: why the model answers as it does."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from stream.cli_base import Json, explained, extra, run


@explained
def explain(
    text: Annotated[str | None, typer.Argument(help="The text.", show_default=False)] = None,
    event: Annotated[
        str | None,
        typer.Option(metavar="STREAM/ID", help="Instead of a text: an event that was judged."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Only this task, such as news.topic or message.intent.")
    ] = None,
    entity: Annotated[
        str | None,
        typer.Option(help="A company in the text, whose own news.sentiment is explained."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="Why this label, or why not.", show_default="the likeliest"),
    ] = None,
    kind: Annotated[
        Literal["news", "message"] | None,
        typer.Option(help="What the text is.", show_default="the task's, else news"),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(help="The bundle.", show_default="BELLWETHER_MODEL, else the shipped one"),
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the encoder that it was trained from.", show_default="all-MiniLM-L6-v2"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show which words speak for an answer (green), and which against it (red).

    The attributions are integrated gradients: what knowing each word adds to the logit of the
    label's probability. Label and confidence are those that a worker serves. --event explains a
    document's answers, by the version that judged it. With --json one line a task. Needs the extra
    `train`.

    \b
    Examples:
      $ bellwether explain "Acme cuts its outlook, shares fall" --task news.sentiment
      $ bellwether explain --event customer-messages/m-815
      $ bellwether explain "Ant gains as Bee slumps" --task news.sentiment --entity Bee
      $ bellwether explain "I lost my card" --task message.intent --label card_swallowed
      $ bellwether explain "Oil rises" --json | jq -c '.words[] | [.word, .attribution]'
    """
    from schemas.records import Kind
    from stream.display import print_explanation
    from stream.settings import load_settings

    if (text is None) == (event is None):
        raise typer.BadParameter("give a text, or --event")
    if text is not None and not text.strip():
        raise typer.BadParameter("the text is empty")
    settings = load_settings()
    with extra():
        from models.bundle import taxonomy_of
        from models.explanation import explain as why
        from stream.champion import model_folder
        from stream.judged_event import folder_of, judged_event

        asked, language = Kind(kind) if kind else None, None
        if event is not None:
            judged = run(judged_event(settings, event))
            text, asked, language = judged.text, judged.kind, judged.language
            bundle = bundle or folder_of(settings, judged.model_version)
        folder = bundle or model_folder(settings)
        explanations = why(
            text or "",
            bundle=folder,
            encoder=encoder,
            taxonomy=taxonomy_of(folder, settings.taxonomy),
            task=task,
            kind=asked,
            entity=entity,
            label=label,
            language=language,
            early_exit=settings.early_exit,
        )
    for explanation in explanations:
        if as_json:
            print(json.dumps(explanation.as_dict(), ensure_ascii=False))
        else:
            print_explanation(explanation)
