"""Plain data: YAML read with care, written back, and merged in layers."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from danlu.errors import DanluError

Data = dict[str, Any]

MAX_BYTES, MAX_DEPTH = 100_000, 32

# YAML 1.2's plain values; YAML 1.1 would make a truth of `no`, a number of `12:30`, and text of `1e-4`.
RESOLVERS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", list("-+0123456789")),
    ("float", r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),
)


class _Loader(yaml.SafeLoader):
    """Names and plain values only: no anchors, no repeated names."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("anchors and aliases are not used in settings")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = self.construct_object(key, deep=True)
            if not isinstance(name, str):
                raise yaml.YAMLError(f"{name!r} is not a name")
            if name in seen:
                raise yaml.YAMLError(f"repeated name: {name}")
            seen.add(name)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


for _tag, _pattern, _starts in RESOLVERS:
    for _side in (_Loader, _Dumper):
        _side.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _starts)


def read_yaml(path: Path) -> Data:
    """The mapping a settings file holds. E1103 where it is not one."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ValueError(f"> {MAX_BYTES} bytes")
        data = parse_yaml(raw.decode("utf8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError, TypeError, OverflowError) as error:
        raise DanluError("E1103", where=path, found=_what(error)) from error
    if data is None:
        return {}
    if not isinstance(data, dict) or depth(data) > MAX_DEPTH:
        raise DanluError("E1103", where=path, found=type(data).__name__)
    return data


def parse_yaml(text: str) -> Any:
    """The value a YAML text holds. Raises what yaml raises."""
    return yaml.load(text, _Loader)


def dump_yaml(data: Data) -> str:
    return yaml.dump(data, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=120)


def merge(*layers: Mapping[str, Any]) -> Data:
    """Later layers win, section by section."""
    merged: Data = {}
    for layer in layers:
        for name, value in layer.items():
            old = merged.get(name)
            merged[name] = merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def depth(data: Any) -> int:
    """How deep mappings and lists stand in one another, counted no further than is allowed."""
    deep, level = 0, [data]
    while level and deep <= MAX_DEPTH:
        deep += 1
        level = [inner for item in level for inner in _inside(item)]
    return deep


def _inside(item: Any) -> list[Any]:
    inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    return [each for each in inner if isinstance(each, (dict, list))]


def _what(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"{error.problem} ({error.problem_mark.line + 1}:{error.problem_mark.column + 1})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error) or type(error).__name__).splitlines()[0]
