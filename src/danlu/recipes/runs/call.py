"""What a verb is called with, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, TypeVar

from danlu.errors import DanluError, nearest, raise_all
from danlu.settings import Data, Settings, build, merge, to_yaml
from danlu.settings.words import place
from danlu.voice import Voice


class Common(Settings):
    """What every verb takes."""

    output: str | None = None
    seed: int = 0
    device: str = "auto"
    lang: Literal["en", "zh"] | None = None


C = TypeVar("C", bound=Common)


@dataclass(frozen=True)
class Call:
    """A verb's words in order (start, data, ...), its settings as plain data, and a voice."""

    words: tuple[str, ...]
    settings: Data
    voice: Voice
    dry_run: bool = False

    def take(self, *roles: str, optional: int = 0) -> tuple[str | None, ...]:
        """The plain words by their roles; the last `optional` of them may be missing (None). E1002, E1005."""
        if len(self.words) > len(roles):
            raise DanluError("E1002", found=self.words[len(roles) :], possible=roles)
        if len(self.words) < len(roles) - optional:
            raise DanluError("E1005", word=roles[len(self.words)], possible=roles)
        return self.words + (None,) * (len(roles) - len(self.words))

    def choose(self, actions: tuple[str, ...]) -> "tuple[str, Call]":
        """The action named by the first word, and the call that remains. E1005, E1006."""
        if not self.words:
            raise DanluError("E1005", word="|".join(actions), possible=actions)
        action, *rest = self.words
        if action not in actions:
            raise DanluError("E1006", found=action, possible=actions, nearest=nearest(action, actions))
        return action, replace(self, words=tuple(rest))

    def only(self, *names: str) -> "Call":
        """The same call with these settings alone."""
        return replace(self, settings={name: value for name, value in self.settings.items() if name in names})

    def without(self, *names: str) -> "Call":
        """The same call without these settings."""
        return replace(self, settings={name: value for name, value in self.settings.items() if name not in names})

    def build(self, kind: type[C], *below: Mapping[str, Any]) -> C:
        """The settings typed on the command line, over the given layers."""
        return build(kind, *below, self.settings, where=self.voice.pick("command line", "命令行"))

    def rehearse(self, settings: Settings) -> "Answer":
        """What `--dry-run` shows: every setting, resolved; nothing has been done."""
        print(to_yaml(settings), end="")
        self.voice.say("dry run: nothing was done", "试运行：没有执行任何操作")
        return Answer()


@dataclass(frozen=True)
class Answer:
    """A verb's result for scripts (`--json`): the run folder, measures, files written, and whatever else it found."""

    run: Path | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    passed: bool = True


class Stopped(KeyboardInterrupt):
    """Work that was interrupted and can go on: `advice` is the command that continues it."""

    def __init__(self, advice: str):
        super().__init__(advice)
        self.advice = advice


def nested(settings: Mapping[str, Any]) -> Data:
    """Settings as Python gives them: groups as mappings, dotted names opened up, paths as text. E1106 for a clash."""
    data: Data = {}
    problems: list[DanluError] = []
    for name, value in settings.items():
        plain = _plain(value)
        if isinstance(plain, dict) and isinstance(data.get(name), dict):
            data[name] = merge(data[name], plain)
        else:
            place(data, name, plain, problems)
    raise_all(problems)
    return data


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, Settings):
        return value.model_dump(mode="json", exclude_unset=True)
    return fspath(value) if isinstance(value, PathLike) else value
