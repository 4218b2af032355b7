"""Conversations as text, by the template that a model was trained with.

Templates are published as Jinja programs (tokenizer_config.json, chat_template.jinja). They run in a sandbox: they see
the conversation and the names of special tokens, can change nothing, and import nothing.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, NoReturn

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from danlu.errors import DanluError
from danlu.text.tokenizer import Tokenizer

LONGEST = 1 << 16  # characters of a template
# For models without a template of their own: who speaks, and below it what is said; an answer ends with the end token.
# Lines end where answers begin, because there tokenizers cut anyway: a space would become part of the first word.
PLAIN = """\
{%- for message in messages -%}
{{ message.role + ':\\n' + message.content }}
{%- if message.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ 'assistant:\\n' }}{% endif -%}
"""
# For two texts, the second of which answers the first.
DIRECT = """\
{%- for message in messages -%}
{{ message.content }}
{%- if message.role == 'assistant' %}{{ eos_token }}{% endif %}
{%- if message.role != 'assistant' and (add_generation_prompt or not loop.last) %}{{ '\\n' }}{% endif %}
{%- endfor -%}
"""


class Message(NamedTuple):
    """role: system, user or assistant."""

    role: str
    content: str

    def __str__(self) -> str:
        return f"{self.role}: {self.content}"


class Stretch(NamedTuple):
    """Some text of a conversation; `answered` where the model is the one who speaks."""

    text: str
    answered: bool


@dataclass(frozen=True)
class ChatTemplate:
    """names: special tokens by the ecosystem's names (`eos_token` ...), as templates call them."""

    source: str
    names: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(tokenizer: Tokenizer, without: str = PLAIN) -> "ChatTemplate":
        """The tokenizer's own, or `without`. An end token has a name even where the files give it none."""
        end = tokenizer.roles.get("end", "")
        start = tokenizer.roles.get("start", "")
        return ChatTemplate(tokenizer.chat_template or without, {"bos_token": start, "eos_token": end})

    def render(self, messages: Sequence[Message], ask: bool = False) -> str:
        """The conversation as the model reads it; ask: up to where it speaks next. E1310 where the template fails."""
        plain = [message._asdict() for message in messages]
        try:
            text: str = self._template.render(messages=plain, add_generation_prompt=ask, tools=None, **self.names)
        except (TemplateError, TypeError, ValueError, AttributeError, ArithmeticError, LookupError) as error:
            raise DanluError("E1310", found=error) from error
        return text

    def stretches(self, messages: Sequence[Message]) -> list[Stretch]:
        """The whole text in parts, and which of them are answers. E1310 where a template takes back what it wrote."""
        found: list[Stretch] = []
        done = ""
        for place, message in enumerate(messages):
            if message.role != "assistant":
                continue
            before, after = self.render(messages[:place], ask=True), self.render(messages[: place + 1])
            if not (before.startswith(done) and after.startswith(before)):
                raise DanluError("E1310", found=before[-40:])
            found += [Stretch(before[len(done) :], False), Stretch(after[len(before) :], True)]
            done = after
        whole = self.render(messages)
        if not whole.startswith(done):
            raise DanluError("E1310", found=done[-40:])
        return [*found, Stretch(whole[len(done) :], False)] if len(whole) > len(done) else found

    @cached_property
    def _template(self) -> Template:
        if len(self.source) > LONGEST:
            raise DanluError("E1310", found=f"{len(self.source):,}")
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals |= {"raise_exception": _refuse, "strftime_now": _now}
        environment.filters["tojson"] = _json
        try:
            return environment.from_string(self.source)
        except TemplateError as error:
            raise DanluError("E1310", found=error) from error


def _refuse(reason: str) -> NoReturn:
    raise TemplateError(reason)


def _now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)
