"""Asking somebody for better prompts: a function of your own, or a model behind an OpenAI-compatible address."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from pydantic import Field

from danlu.errors import DanluError
from danlu.files import at_home
from danlu.prompt.search.evolution import Mutator
from danlu.prompt.search.harness import Score
from danlu.prompt.search.vocabulary import Answer
from danlu.settings import Settings

# Templates with their values, the best first, and how many new ones are wanted -> templates, one line each.
Propose = Callable[[Sequence[tuple[str, float]], int], Sequence[str]]
LISTED = re.compile(r"^\s*(?:[-*•]|\d+[.)、])?\s*(.*\{.*\}.*?)\s*$")  # a line with a hole, whatever stands before it


class Endpoint(Settings):
    """url: as far as /v1. key: a file that holds the key, where one is wanted. Nothing is sent anywhere unless a url is
    given."""

    url: str = Field(pattern=r"^https?://")
    model: str = "default"
    key: Path | None = None
    temperature: float = Field(0.7, ge=0, le=2)
    seconds: float = Field(120.0, gt=0)  # to wait for an answer


def asked(propose: Propose, answer: Answer) -> Mutator[str]:
    """A mutator that asks, once for each question: what was answered stands in the ledger."""

    def children(held: Sequence[tuple[str, Score]], count: int) -> list[str]:
        shown = [(line, round(score.value, 6)) for line, score in held]
        question = {"propose": shown, "count": count, "turn": len(turns)}
        turns.append(count)
        return [str(line) for line in answer(question, lambda: (list(propose(shown, count)), 0))]

    turns: list[int] = []
    return children


def endpoint(settings: Endpoint, about: str) -> Propose:
    """What a hosted model proposes. about: the task in a few words. E2354 where it cannot be reached, or answers
    nonsense."""

    def propose(held: Sequence[tuple[str, float]], count: int) -> list[str]:
        found = _reply(settings, question(held, count, about))
        return [match[1] for line in found.splitlines() if (match := LISTED.match(line))][:count]

    return propose


def question(held: Sequence[tuple[str, float]], count: int, about: str) -> str:
    """The worse first, so that the best is read last (Yang et al. 2024, section 3)."""
    shown = "\n".join(f"{value:.3f}  {line}" for line, value in reversed(held))
    return (
        f"A small language model classifies texts by filling a template. The task: {about}.\n"
        f"Templates tried so far, each after its score (more is better):\n\n{shown}\n\n"
        f"Write {count} new templates that may score higher, one a line and nothing else. Each must contain exactly "
        "the same placeholders in braces as those above."
    )


def _reply(settings: Endpoint, text: str) -> str:
    body: dict[str, Any] = {
        "model": settings.model, "temperature": settings.temperature, "messages": [{"role": "user", "content": text}],
    }  # fmt: skip
    headers = {"Content-Type": "application/json"}
    try:
        if settings.key:
            headers["Authorization"] = f"Bearer {at_home(settings.key).read_text(encoding='utf8').strip()}"
        request = Request(f"{settings.url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers)
        with urlopen(request, timeout=settings.seconds) as response:
            data = json.load(response)
        return str(data["choices"][0]["message"]["content"])
    except (URLError, OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise DanluError("E2354", where=settings.url, found=error) from error
