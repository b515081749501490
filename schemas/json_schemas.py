"""The JSON Schema files under schemas/json, for producers and readers in other languages.

`python -m schemas.json_schemas` writes them; with `--check` it only says which are not current,
and ends with 1 if any.
"""

import json
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from schemas.alerts import Alert
from schemas.labels import LabelRecord
from schemas.records import FeedbackRecord, MessageRecord, NewsRecord

FOLDER = Path(__file__).with_name("json")
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_WRITTEN: dict[str, tuple[type[BaseModel], Literal["validation", "serialization"]]] = {
    "financial-news": (NewsRecord, "validation"),
    "customer-messages": (MessageRecord, "validation"),
    "feedback": (FeedbackRecord, "validation"),
    "labels": (LabelRecord, "serialization"),
    "alert": (Alert, "serialization"),
}


class _Untitled(GenerateJsonSchema):
    """Leaves out a title that only repeats the field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schemas() -> dict[str, str]:
    """File name to content."""
    return {f"{name}.schema.json": _text(name) for name in _WRITTEN}


def _text(name: str) -> str:
    model, mode = _WRITTEN[name]
    generated = model.model_json_schema(mode=mode, schema_generator=_Untitled)
    schema = {"$schema": _DIALECT, **generated, "title": name}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def stale() -> list[str]:
    """Names of files that are missing or differ from the models."""
    return [name for name, text in json_schemas().items() if _content(FOLDER / name) != text]


def _content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def write() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in json_schemas().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def main(arguments: list[str]) -> int:
    if "--check" not in arguments:
        write()
        return 0
    for name in (old := stale()):
        print(f"{FOLDER / name} is not current: run python -m schemas.json_schemas")
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
