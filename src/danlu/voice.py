"""What a person sees while work goes on: sentences in their language, a progress bar, plain lines in a pipe.

A `Voice` is handed down to whatever has something to say. Prose goes to stderr; stdout stays free for results.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from danlu.errors import COLON, Language


def system_language() -> Language:
    """Chinese where the locale says so."""
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "zh" if locale.lower().startswith("zh") else "en"


class Bar(Protocol):
    def advance(self, count: float, note: str = "") -> None: ...


class Voice:
    """Speaks English or Chinese to one stream; `quiet` says nothing at all."""

    def __init__(self, language: Language | None = None, stream: TextIO | None = None, quiet: bool = False):
        self.language: Language = language or system_language()
        self.stream = stream or sys.stderr
        self.quiet = quiet

    def pick(self, en: str, zh: str) -> str:
        return zh if self.language == "zh" else en

    def say(self, en: str, zh: str) -> None:
        """One line, in the reader's language."""
        if not self.quiet:
            print(self.pick(en, zh), file=self.stream, flush=True)

    def fact(self, name: str, value: object) -> None:
        """A result, named, on stdout."""
        print(f"{name}{COLON[self.language]}{value}")

    def silenced(self) -> "Voice":
        """The same language, and nothing said."""
        return Voice(self.language, self.stream, quiet=True)

    @contextmanager
    def progress(self, en: str, zh: str, total: float | None) -> Iterator[Bar]:
        """A bar on a terminal, a line every few seconds elsewhere."""
        title = self.pick(en, zh)
        if self.quiet:
            yield _Silent()
        elif self.stream.isatty():
            with _RichBar(title, total, self.stream) as bar:
                yield bar
        else:
            lines = _Lines(title, total, self.stream)
            yield lines
            lines.close()


class _Silent:
    def advance(self, count: float, note: str = "") -> None: ...


class _Lines:
    """Plain lines for a pipe or a log file: one at most every `every` seconds."""

    every = 10.0

    def __init__(self, title: str, total: float | None, stream: TextIO):
        self.title, self.total, self.stream = title, total, stream
        self.done, self.note = 0.0, ""
        self.start = self.said = time.monotonic()
        self.spoken = -1.0

    def advance(self, count: float, note: str = "") -> None:
        self.done, self.note = self.done + count, note or self.note
        if time.monotonic() - self.said >= self.every:
            self._say()

    def close(self) -> None:
        if self.done != self.spoken:
            self._say()

    def _say(self) -> None:
        now = time.monotonic()
        share = f"{self.done / self.total:4.0%}  " if self.total else f"{self.done:,.0f}  "
        left = ""
        if self.total and 0 < self.done < self.total:
            left = f"  −{clock((now - self.start) / self.done * (self.total - self.done))}"
        print(f"{self.title}  {share}{self.note}{left}", file=self.stream, flush=True)
        self.said, self.spoken = now, self.done


class _RichBar:
    def __init__(self, title: str, total: float | None, stream: TextIO):
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )  # fmt: skip
        self.rich = Progress(*columns, console=Console(file=stream))
        self.task = self.rich.add_task(title, total=total, note="")

    def __enter__(self) -> "_RichBar":
        self.rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.rich.stop()

    def advance(self, count: float, note: str = "") -> None:
        if note:
            self.rich.update(self.task, advance=count, note=note)
        else:
            self.rich.update(self.task, advance=count)


def clock(seconds: float) -> str:
    """Seconds as 0:07, 3:20 or 1:05:00."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
