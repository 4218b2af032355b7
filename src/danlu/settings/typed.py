"""Settings classes: frozen, closed, and clear about what is wrong with a value."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from danlu.errors import Both, DanluError, nearest, raise_all
from danlu.settings.plain import Data, dump_yaml, merge
from danlu.settings.words import canonical

MAX_SHOWN = 20  # of very many problems, only the first are worth reading

# What pydantic says of a wrong value, in both languages; {names} come from its context.
DEMANDS = {
    "int_parsing": Both("a whole number", "整数"),
    "int_type": Both("a whole number", "整数"),
    "int_from_float": Both("a whole number", "整数"),
    "int_parsing_size": Both("a whole number of ordinary size", "大小正常的整数"),
    "float_parsing": Both("a number", "数字"),
    "float_type": Both("a number", "数字"),
    "finite_number": Both("a finite number", "有限的数字"),
    "bool_parsing": Both("true or false", "true 或 false"),
    "bool_type": Both("true or false", "true 或 false"),
    "string_type": Both("text", "文本"),
    "dict_type": Both("names and values", "名称与值"),
    "model_type": Both("a group of settings", "一组设置"),
    "list_type": Both("a list", "列表"),
    "tuple_type": Both("a list", "列表"),
    "literal_error": Both("{expected}", "{expected}"),
    "enum": Both("{expected}", "{expected}"),
    "greater_than": Both("more than {gt}", "大于 {gt}"),
    "greater_than_equal": Both("at least {ge}", "不小于 {ge}"),
    "less_than": Both("less than {lt}", "小于 {lt}"),
    "less_than_equal": Both("at most {le}", "不大于 {le}"),
    "too_short": Both("at least {min_length} of them", "至少 {min_length} 个"),
    "too_long": Both("at most {max_length} of them", "至多 {max_length} 个"),
    "string_too_short": Both("at least {min_length} characters", "至少 {min_length} 个字符"),
    "string_too_long": Both("at most {max_length} characters", "至多 {max_length} 个字符"),
    "string_pattern_mismatch": Both("text of the form {pattern}", "形如 {pattern} 的文本"),
    "union_tag_invalid": Both("{expected_tags}", "{expected_tags}"),
    "value_error": Both("{error}", "{error}"),
    "union_tag_not_found": Both("a group with its {discriminator}", "写明 {discriminator} 的一组设置"),
}


class Settings(BaseModel):
    """Frozen, typed, and closed: a name it does not know is an error. Text may be typed as a number, never a number as
    true or false; no number is infinite."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, coerce_numbers_to_str=True
    )

    @model_validator(mode="before")
    @classmethod
    def _truth_is_no_number(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not any(isinstance(value, bool) for value in data.values()):
            return data
        return {name: cls._without_truth(name, value) for name, value in data.items()}

    @classmethod
    def _without_truth(cls, name: str, value: Any) -> Any:
        if isinstance(value, bool) and name in cls.model_fields:
            kinds = _leaves(cls.model_fields[name].annotation)
            if bool not in kinds and kinds & {int, float}:
                return str(value).lower()  # which no number accepts
        return value


S = TypeVar("S", bound=Settings)


def build(kind: type[S], *layers: Mapping[str, Any], where: str | Path = "settings") -> S:
    """Settings of `kind` from layers of plain data, later ones winning. Every problem is reported, together: E1101 for
    a name nobody reads, E1102 for a wrong value, E1104 for a missing one, E1106 for one given twice."""
    problems: list[DanluError] = []
    plain: list[Data] = []
    for layer in layers:
        data, found = canonical(layer)
        plain.append(data)
        problems += found
    try:
        settings = kind.model_validate(merge(*plain))
    except ValidationError as error:
        problems += _problems(kind, error, where)
    except RecursionError as error:
        raise DanluError("E1103", where=where, found="nesting too deep") from error
    raise_all(problems)
    return settings


def schema(kind: type[Settings]) -> Data:
    """JSON Schema of a group of settings, for editors."""
    return kind.model_json_schema()


def to_yaml(data: Settings | Data) -> str:
    """YAML that reads back as the same data."""
    return dump_yaml(data.model_dump(mode="json") if isinstance(data, Settings) else data)


def names(kind: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted name a settings class knows."""
    found: list[str] = []
    for name, field in kind.model_fields.items():
        inner = [each for group in _groups_in(field.annotation) for each in names(group, f"{prefix}{name}.")]
        found += dict.fromkeys(inner) if inner else [prefix + name]
    return found


def _problems(kind: type[BaseModel], error: ValidationError, where: str | Path) -> Iterator[DanluError]:
    """One problem a setting: a value that fits none of several kinds is told all of them."""
    by_name: dict[str, list[Any]] = defaultdict(list)
    for detail in error.errors(include_url=False):
        by_name[".".join(_path(kind, detail["loc"]))].append(detail)
    for name, details in list(by_name.items())[:MAX_SHOWN]:
        detail = details[0]
        if detail["type"] == "extra_forbidden":
            yield _unknown(kind, name, where)
        elif detail["type"] == "missing":
            yield DanluError("E1104", where=where, name=name)
        else:
            yield DanluError("E1102", where=where, name=name, found=_brief(detail["input"]), possible=_demand(details))


def _unknown(kind: type[BaseModel], name: str, where: str | Path) -> DanluError:
    *parents, last = name.split(".")
    groups = [kind]
    for parent in parents:
        fields = [group.model_fields[parent] for group in groups if parent in group.model_fields]
        groups = [inner for field in fields for inner in _groups_in(field.annotation)] or groups
    known, every = list(dict.fromkeys(each for group in groups for each in group.model_fields)), names(kind)
    near = nearest(last, known)
    near = ".".join([*parents, near]) if near else nearest(name, every) or _by_last(last, every)
    return DanluError("E1101", where=where, name=name, possible=known, nearest=near)


def _path(kind: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """The names that lead to a value, without the marks pydantic adds for each member of a union."""
    path: list[str] = []
    groups = [kind]
    for part in location:
        if not groups:
            path += [str(part)] if isinstance(part, int) else []
            continue
        if len(groups) > 1:  # the kind that was meant
            groups = [group for group in groups if group.model_fields["kind"].default == part]
            continue
        path.append(str(part))
        field = groups[0].model_fields.get(str(part))
        groups = _groups_in(field.annotation) if field else []
    return path


def _demand(details: Sequence[Any]) -> Both:
    unique = list(dict.fromkeys(_one_demand(detail) for detail in details))
    return Both(" or ".join(each.en for each in unique), " 或 ".join(each.zh for each in unique))


def _one_demand(detail: Any) -> Both:
    """What pydantic missed. A validator's own ValueError may hold a `Both`."""
    context = detail.get("ctx", {})
    if detail["type"] == "value_error" and isinstance(both := context["error"].args[0], Both):
        return both
    if (said := DEMANDS.get(detail["type"])) is None:
        return Both(detail["msg"], detail["msg"])
    facts = {name: f"{fact:g}" if isinstance(fact, float) else str(fact) for name, fact in context.items()}
    return Both(said.en.format(**facts), said.zh.format(**facts).replace(" or ", " 或 "))


def _brief(value: Any) -> str:
    """A value as text, without walking through a very large one."""
    if isinstance(value, (dict, list)) and len(value) > 20:
        return f"{type(value).__name__} ({len(value)})"
    return repr(value[:200] if isinstance(value, str) else value)[:200]


def _by_last(name: str, known: Iterable[str]) -> str | None:
    """`lr` was typed where `train.lr` was meant."""
    by_last = {full.rpartition(".")[2]: full for full in known}
    near = nearest(name, by_last)
    return by_last[near] if near else None


def _groups_in(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes an annotation allows: none, one, or several that a `kind` tells apart."""
    groups = [leaf for leaf in _leaves(annotation) if isinstance(leaf, type) and issubclass(leaf, BaseModel)]
    told = len(groups) < 2 or all("kind" in group.model_fields for group in groups)
    return sorted(groups, key=lambda group: group.__name__) if told else []


def _leaves(annotation: Any) -> set[Any]:
    """What an annotation allows, its unions taken apart."""
    if get_origin(annotation) is Annotated:
        return _leaves(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*map(_leaves, get_args(annotation)))
    return {annotation}
