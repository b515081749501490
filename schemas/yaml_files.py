"""YAML files that people write, with the line of every value, so that an error can name it."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas.errors import ConfigurationError
from schemas.fields import kind_of_value, path_of, wrong

Key = str | int


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a name given twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"'{key.value}' is given twice", problem_mark=key.start_mark
                )
            if name is not None and key.tag != "tag:yaml.org,2002:merge":
                seen.add(name)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """The data of one file, and where in the file each value stands."""

    path: Path
    data: Any
    root: yaml.Node | None

    def line(self, keys: Sequence[Key] = ()) -> int:
        """The line, from 1, of the value at `keys`; where that is absent, of the nearest above."""
        node, line = self.root, 1
        for key in keys:
            found = _child(node, key)
            if found is None:
                break
            node, line = found
        return line

    def error(self, reason: str, keys: Sequence[Key] = ()) -> ConfigurationError:
        """FILE:LINE: field: reason"""
        field = path_of(tuple(keys))
        said = f"{field}: {reason}" if field else reason
        return ConfigurationError(f"{self.path}:{self.line(keys)}: {said}")

    def invalid(self, error: ValidationError, below: Sequence[Key] = ()) -> ConfigurationError:
        """The first thing that pydantic found wrong in the value at `below`."""
        detail = error.errors(include_url=False)[0]
        return self.error(_reason(detail), (*below, *detail["loc"]))

    def entries(self, keys: Sequence[Key] = ()) -> list[Any]:
        """The list at `keys`. Raises ConfigurationError where there is another thing."""
        value = self._at(keys)
        if not isinstance(value, list):
            raise self.error(f"{kind_of_value(value)}, expected a list", keys)
        return value

    def section(self, keys: Sequence[Key] = ()) -> dict[str, Any]:
        """The names and values at `keys`. Raises ConfigurationError where there is another thing
        or a name is not text."""
        value = self._at(keys)
        if not isinstance(value, dict):
            raise self.error(f"{kind_of_value(value)}, expected names with values", keys)
        for name in value:
            if not isinstance(name, str):
                raise self.error(
                    f"the name {name} is {kind_of_value(name)}: put it in quotes", keys
                )
        return value

    def _at(self, keys: Sequence[Key]) -> Any:
        value = self.data
        for key in keys:
            value = value[key]
        return value


_SAID_IN_FULL = frozenset({"missing", "value_error", "extra_forbidden", "assertion_error"})
_EXPECTED = {
    "model_type": "expected names with values",
    "dict_type": "expected names with values",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "string_type": "expected text: put it in quotes if it is one",
}


def _reason(detail: ErrorDetails) -> str:
    found = wrong(detail)
    if detail["type"] in _SAID_IN_FULL:
        return found
    otherwise = detail["msg"].replace("Input should", "it should")
    return f"{found}, {_EXPECTED.get(detail['type'], otherwise)}"


def load_yaml(path: Path) -> YamlDocument:
    """Reads one file. Raises ConfigurationError: not there, not UTF-8, or not YAML."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: not text in UTF-8") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return _parse(path, text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigurationError(f"{path}:{line}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else "nested too deep"
        raise ConfigurationError(f"{path}:1: not usable as YAML: {reason}") from None


def _parse(path: Path, text: str) -> YamlDocument:
    loader = _UniqueKeys(text)
    try:
        root = loader.get_single_node()
        data = None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()
    return YamlDocument(path, data, root)


def _child(node: yaml.Node | None, key: Key) -> tuple[yaml.Node, int] | None:
    """The value under `key` and the line on which its entry begins."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if isinstance(name, yaml.ScalarNode) and name.value == str(key):
                return value, name.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        value = node.value[key]
        return value, value.start_mark.line + 1
    return None
