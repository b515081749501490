from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from schemas.json_schemas import FOLDER, json_schemas, main, stale
from tests.schemas.samples import alert, feedback, label, message, news

VALID: dict[str, list[dict[str, Any]]] = {
    "financial-news": [news(), news(body="b", symbols=["HBK"], url=None, extra=1)],
    "customer-messages": [message(), message(conversation_id="t")],
    "feedback": [feedback(), feedback(label=None, selection="audit")],
    "labels": [
        orjson.loads(record.to_json())
        for record in (label(), label(model=None), label(conversation_id="t"))
    ],
    "alert": [alert().as_dict()],
}
INVALID: dict[str, list[dict[str, Any]]] = {
    "financial-news": [news(headline=...), news(headline=" "), news(symbols="HBK"), news(id=1)],
    "customer-messages": [message(channel="fax"), message(text=""), message(customer_id=...)],
    "feedback": [feedback(label=...), feedback(stream="tweets")],
    "labels": [{**orjson.loads(label().to_json()), "text": None}, {"task": "news.topic"}],
    "alert": [{**alert().as_dict(), "status": "asleep"}],
}


def validator(name: str) -> Any:
    schema = orjson.loads((FOLDER / f"{name}.schema.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_files_are_current() -> None:
    assert stale() == [], "run python -m schemas.json_schemas"
    assert main(["--check"]) == 0
    assert {path.name for path in FOLDER.iterdir()} == json_schemas().keys()


@pytest.mark.parametrize("name", VALID)
def test_the_files_say_what_the_decoder_does(name: str) -> None:
    check = validator(name)
    assert all(check.is_valid(record) for record in VALID[name])
    assert not any(check.is_valid(record) for record in INVALID[name])


def test_a_stale_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("schemas.json_schemas.FOLDER", tmp_path / "json")
    assert main(["--check"]) == 1
    assert "alert.schema.json is not current" in capsys.readouterr().out
    assert main([]) == 0
    assert main(["--check"]) == 0
