from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.errors import ConfigurationError
from schemas.yaml_files import YamlDocument, load_yaml


class Rule(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    name: str
    window: int = 0
    tags: list[str] = []


RULES = """\
# comment
rules:
  - name: first
    window: 5
  - name: second
    tags:
      - a

      - b
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def loaded(folder: Path, text: str) -> YamlDocument:
    path = folder / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    return load_yaml(path)


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        loaded(folder, text)
    return str(caught.value).removeprefix(f"{folder / 'rules.yaml'}")


def test_every_value_has_a_line(folder: Path) -> None:
    document = loaded(folder, RULES)
    assert document.line(["rules"]) == 2
    assert document.line(["rules", 0]) == 3
    assert document.line(["rules", 0, "window"]) == 4
    assert document.line(["rules", 1, "tags"]) == 6
    assert document.line(["rules", 1, "tags", 1]) == 9


def test_what_is_absent_has_the_line_of_the_nearest_above(folder: Path) -> None:
    document = loaded(folder, RULES)
    assert document.line(["rules", 1, "window"]) == 5
    assert document.line(["rules", 7]) == 2
    assert document.line(["nothing", 1]) == 1
    assert loaded(folder, "").line(["rules"]) == 1


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{name: x, colour: red}", ":2: rules[0].colour: not a known name"),
        ("{window: 5}", ":2: rules[0].name: missing"),
        ("{name: yes}", ":2: rules[0].name: true or false, expected text: put it in quotes"),
        ("{name: x, tags: a}", ":2: rules[0].tags: a text, expected a list"),
        ("{name: x, tags: [a, 1]}", ":2: rules[0].tags[1]: a number, expected text"),
        ("{name: x, window: long}", ":2: rules[0].window: a text, it should be a valid integer"),
        ("just text", ":2: rules[0]: a text, expected names with values"),
        ("{name: 2026-11-22}", ":2: rules[0].name: a date, expected text: put it in quotes"),
    ],
)
def test_what_pydantic_refuses_is_told_with_file_and_line(
    folder: Path, rule: str, said: str
) -> None:
    document = loaded(folder, f"rules:\n- {rule}\n")
    with pytest.raises(ValidationError) as caught:
        Rule.model_validate(document.data["rules"][0])
    error = document.invalid(caught.value, ["rules", 0])
    assert str(error).startswith(f"{document.path}{said}")


def test_sections_and_entries_are_checked(folder: Path) -> None:
    document = loaded(folder, "rules: [1]\n3: x\nmore: {a: 1}\n")
    assert document.entries(["rules"]) == [1]
    assert document.section(["more"]) == {"a": 1}
    with pytest.raises(ConfigurationError, match=r":3: more: an object, expected a list"):
        document.entries(["more"])
    with pytest.raises(ConfigurationError, match=r":1: rules: a list, expected names"):
        document.section(["rules"])
    with pytest.raises(ConfigurationError, match=r"the name 3 is a number: put it in quotes"):
        document.section()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", ":3: 'a' is given twice"),
        ("a: [1\nb: 2\n", ":2: "),
        ("a: 1\n\tb: 2\n", ":2: "),
        ("a: *nowhere\n", ":1: "),
        ("a: !!python/object:os.system {}\n", ":1: could not determine a constructor"),
        ("a: 1\n---\nb: 2\n", ":2: "),
        ("a: 2026-13-45\n", ":1: not usable as YAML: month must be in 1..12"),
        ("a: \x07\n", ":1: "),
        ("[" * 5_000, ":1: "),
    ],
)
def test_what_is_not_yaml_is_told_with_the_line(folder: Path, text: str, said: str) -> None:
    assert refused(folder, text).startswith(said)


def test_merged_entries_are_not_twice_given(folder: Path) -> None:
    document = loaded(folder, "a: &a {x: 1}\nb: &b {y: 2}\nc: {<<: *a, x: 3}\n")
    assert document.data["c"] == {"x": 3}


def test_a_byte_order_mark_and_windows_lines_are_harmless(folder: Path) -> None:
    document = loaded(folder, "\ufeffa: 1\r\nb: 2\r\n")
    assert document.data == {"a": 1, "b": 2}
    assert document.line(["b"]) == 2


def test_files_that_cannot_be_read(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml: cannot be read: No such file"):
        load_yaml(folder / "none.yaml")
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        load_yaml(folder)
    (folder / "latin.yaml").write_bytes(b"a: \xe4")
    with pytest.raises(ConfigurationError, match=r"latin\.yaml: not text in UTF-8"):
        load_yaml(folder / "latin.yaml")
