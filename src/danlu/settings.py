"""Typed settings and plain data: YAML files, `a.b=c` words, defaults, JSON Schema.

Every group of settings is a frozen `Settings` class. Unknown names are refused with the nearest known one, and all
problems of a file and a command line are listed together, before anything loads.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from danlu.errors import DanluError, nearest, raise_all

Data = dict[str, Any]

# What users of transformers already type, and what we call it.
ALIASES = {
    "learning_rate": "train.lr",
    "max_steps": "train.steps",
    "num_train_epochs": "train.epochs",
    "per_device_train_batch_size": "train.batch",
    "gradient_accumulation_steps": "train.accumulate",
    "weight_decay": "train.weight_decay",
    "max_grad_norm": "train.clip",
    "warmup_steps": "train.warmup",
    "warmup_ratio": "train.warmup",
    "lr_scheduler_type": "train.schedule",
    "optim": "train.optimizer",
    "eval_steps": "train.evaluate_every",
    "save_steps": "train.save_every",
    "logging_steps": "train.log_every",
    "save_total_limit": "train.keep",
    "gradient_checkpointing": "train.recompute",
    "torch_compile": "train.compile",
    "model_name_or_path": "start",
    "train_file": "data.paths",
    "validation_file": "data.validation",
    "text_column": "data.text",
    "block_size": "data.length",
    "max_seq_length": "data.length",
    "mlm_probability": "corruption.share",
    "output_dir": "output",
    "run_name": "output",
    "data_seed": "seed",
}

MAX_BYTES, MAX_DEPTH = 1_000_000, 32


class Settings(BaseModel):
    """Frozen, typed, and closed: a name it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


S = TypeVar("S", bound=Settings)


class _PlainLoader(yaml.SafeLoader):
    """YAML without anchors and repeated names; `1e-4` is a number."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("anchors and aliases are not used in settings")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        if repeated := {str(name) for name in names if names.count(name) > 1}:
            raise yaml.YAMLError(f"repeated names: {', '.join(sorted(repeated))}")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Data:
    """The mapping a settings file holds. E1103 where it is not one."""
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_BYTES:
            raise ValueError(f"{len(raw)} bytes")
        data = parse_yaml(raw.decode("utf8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError, TypeError, OverflowError) as error:
        raise DanluError("E1103", where=path, found=_first_line(error)) from error
    if data is None:
        return {}
    if not isinstance(data, dict) or _depth(data) > MAX_DEPTH:
        raise DanluError("E1103", where=path, found=type(data).__name__)
    return data


def parse_yaml(text: str) -> Any:
    if text.count("{") + text.count("[") > 10_000:  # nesting is checked later; this bounds the parser's own recursion
        raise ValueError("too many brackets")
    return yaml.load(text, _PlainLoader)


def to_yaml(data: Settings | Data) -> str:
    plain = data.model_dump(mode="json") if isinstance(data, Settings) else data
    return yaml.safe_dump(plain, allow_unicode=True, sort_keys=False, width=120)


def parse_words(words: Sequence[str]) -> tuple[list[str], Data]:
    """Command-line words -> (plain words, nested settings).

    `a.b=c`, `--a.b c`, `--a.b=c` and `--flag` (true) are settings; dashes and underscores in names are equal.
    """
    plain: list[str] = []
    pairs: list[tuple[str, str]] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            if not equals:
                value = rest.pop(0) if rest and not rest[0].startswith("--") else "true"
            pairs.append((name, value))
        elif "=" in word and _is_name(word.partition("=")[0]) and not Path(word).exists():
            name, _, value = word.partition("=")
            pairs.append((name, value))
        else:
            plain.append(word)
    data: Data = {}
    problems: list[DanluError] = []
    for name, text in pairs:
        path = name.replace("-", "_")
        if not _is_name(path):
            problems.append(DanluError("E1105", word=name))
            continue
        try:
            value = parse_yaml(text) if text else ""
        except (yaml.YAMLError, ValueError, RecursionError, TypeError):
            value = text
        _place(data, ALIASES.get(path, path), value, problems)
    raise_all(problems)
    return plain, data


def merge(*layers: Mapping[str, Any]) -> Data:
    """Later layers win, section by section."""
    merged: Data = {}
    for layer in layers:
        for name, value in layer.items():
            old = merged.get(name)
            merged[name] = merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def canonical(data: Mapping[str, Any]) -> tuple[Data, list[DanluError]]:
    """The same data with aliases replaced by our names."""
    out: Data = {}
    problems: list[DanluError] = []
    for name, value in data.items():
        if name in ALIASES and not isinstance(value, Mapping):
            _place(out, ALIASES[name], value, problems)
        elif isinstance(value, Mapping) and isinstance(out.get(name), dict):
            out[name] = merge(out[name], value)
        else:
            out[name] = value
    return out, problems


def build(kind: type[S], *layers: Mapping[str, Any], where: str | Path = "settings") -> S:
    """Settings of `kind` from layers of plain data; every problem is reported, together."""
    problems: list[DanluError] = []
    plain: list[Data] = []
    for layer in layers:
        data, found = canonical(layer)
        plain.append(data)
        problems += found
    try:
        settings = kind.model_validate(merge(*plain))
    except ValidationError as error:
        problems += [_problem(kind, detail, where) for detail in error.errors(include_url=False)]
    except RecursionError as error:
        raise DanluError("E1103", where=where, found="nesting too deep") from error
    raise_all(problems)
    return settings


def schema(kind: type[Settings]) -> Data:
    """JSON Schema of a group of settings, for editors."""
    return kind.model_json_schema()


def names(kind: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted name a settings class knows."""
    found: list[str] = []
    for name, field in kind.model_fields.items():
        inner = _settings_in(field.annotation)
        found += names(inner, f"{prefix}{name}.") if inner else [prefix + name]
    return found


def _problem(kind: type[BaseModel], detail: Any, where: str | Path) -> DanluError:
    path = [str(part) for part in detail["loc"]]
    name = ".".join(path)
    if detail["type"] == "extra_forbidden":
        group = _group(kind, path[:-1]) or kind
        known = list(group.model_fields)
        every = names(kind)
        near = nearest(path[-1], known)
        near = ".".join([*path[:-1], near]) if near else nearest(name, every) or _by_last(path[-1], every)
        return DanluError("E1101", where=where, name=name, possible=known, nearest=near)
    if detail["type"] == "missing":
        return DanluError("E1104", where=where, name=name)
    return DanluError("E1102", where=where, name=name, found=repr(detail["input"])[:200], possible=detail["msg"])


def _by_last(name: str, known: Iterable[str]) -> str | None:
    """`lr` was typed where `train.lr` was meant."""
    by_last = {full.rpartition(".")[2]: full for full in known}
    near = nearest(name, by_last)
    return by_last[near] if near else None


def _group(kind: type[BaseModel], path: Sequence[str]) -> type[BaseModel] | None:
    group: type[BaseModel] | None = kind
    for name in path:
        field = group.model_fields.get(name) if group else None
        group = _settings_in(field.annotation) if field else group
    return group


def _settings_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType):
        inner = [kind for kind in map(_settings_in, get_args(annotation)) if kind]
        return inner[0] if len(inner) == 1 else None
    return None


def _place(data: Data, path: str, value: Any, problems: list[DanluError]) -> None:
    *parents, last = path.split(".")
    section = data
    for name in parents:
        inner = section.setdefault(name, {})
        if not isinstance(inner, dict):
            problems.append(DanluError("E1106", name=path, found=f"{inner} ≠ {value}"))
            return
        section = inner
    if last in section and section[last] != value:
        problems.append(DanluError("E1106", name=path, found=f"{section[last]} ≠ {value}"))
    section[last] = value


def _is_name(text: str) -> bool:
    return bool(text) and all(part.replace("-", "_").isidentifier() for part in text.split("."))


def _depth(data: Any) -> int:
    depth, level = 0, [data]
    while level and depth <= MAX_DEPTH:
        depth += 1
        level = [inner for item in level for inner in _inside(item)]
    return depth


def _inside(item: Any) -> list[Any]:
    inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    return [each for each in inner if isinstance(each, (dict, list))]


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
