"""What a search has done, line by line: an append-only file from which it goes on after any kill.

A search is a function of its settings and of what it was told. The ledger holds everything it was told (the value of
each candidate on each row, and what models answered on the way), so that going on is doing it all again with the
answers already there.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from danlu.errors import DanluError
from danlu.files import reached, sync_folder

LINES = {"candidate", "asked", "note"}  # each line but the first has one of them


def key_of(plain: Any) -> str:
    """64 bits that name a piece of plain data."""
    text = json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode("utf8", "surrogatepass"), digest_size=8).hexdigest()


class Ledger:
    """values: of each candidate, row by row, as far as it was looked at. answers: of models, by the question's key.
    prices: of each candidate, (first row, tokens) of each look at it; of each question, the tokens of its answer.

    A line that was cut off by a kill is removed. E2350 where a line is damaged, E2351 where the file is of another
    search.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]):
        self.path = path
        self.values: dict[str, list[float]] = {}
        self.answers: dict[str, Any] = {}
        self.prices: dict[str, list[tuple[int, int]]] = {}
        self.notes: list[dict[str, Any]] = []
        told = {"search": json.loads(json.dumps(dict(about)))}
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = self._whole_lines()
        if not lines:
            self._add(told)
            self.sync()
            sync_folder(path.parent)
            return
        first = self._read(lines[0], 1)
        if first != told:
            differing = [name for name in told["search"] if first.get("search", {}).get(name) != told["search"][name]]
            raise DanluError("E2351", where=path, found=differing or "search")
        for number, line in enumerate(lines[1:], 2):
            self._take(self._read(line, number), number)

    def measured(self, key: str, first: int, values: Sequence[float], tokens: int, plain: Any) -> list[float]:
        """Write down the values of a candidate on the rows from `first` on; its plain data the first time."""
        line: dict[str, Any] = {"candidate": key, "from": first, "values": list(values), "tokens": tokens}
        self._add(line | ({} if first else {"is": plain}))
        self._take(line, 0)
        return self.values[key]

    def answer(self, question: Any, ask: Callable[[], tuple[Any, int]]) -> Any:
        """What a model answers to a question, as plain data: asked once, remembered for ever. ask: the answer, and the
        tokens it took."""
        key = key_of(question)
        if key not in self.answers:
            answer, tokens = ask()
            line = json.loads(json.dumps({"asked": key, "answer": answer, "tokens": tokens}))
            self._add(line)
            self._take(line, 0)
        return self.answers[key]

    def note(self, **facts: Any) -> None:
        """Something that happened, once: written where the same was not written before."""
        line = json.loads(json.dumps({"note": facts}))
        if line["note"] not in self.notes:
            self._add(line)
            self.sync()
            self.notes.append(line["note"])

    @property
    def tokens(self) -> int:
        """Read by models so far."""
        return sum(price for some in self.prices.values() for _, price in some)

    @property
    def looks(self) -> int:
        """How often values were taken."""
        return sum(len(self.prices[key]) for key in self.values)

    def _take(self, line: Mapping[str, Any], number: int) -> None:
        if "candidate" in line:
            known = self.values.setdefault(line["candidate"], [])
            if len(known) != line["from"]:
                raise DanluError("E2350", where=f"{self.path}:{number}", found=line["from"], possible=len(known))
            known += line["values"]
            self.prices.setdefault(line["candidate"], []).append((line["from"], line["tokens"]))
        elif "asked" in line:
            self.answers[line["asked"]] = line["answer"]
            self.prices[line["asked"]] = [(0, line["tokens"])]
        else:
            self.notes.append(line["note"])

    def _read(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            data = json.loads(line)
            known = isinstance(data, dict) and ("search" in data if number == 1 else LINES & data.keys())
        except ValueError:
            known = False
        if not known:
            raise DanluError("E2350", where=f"{self.path}:{number}", found=line[:80].decode("utf8", "replace"))
        found: dict[str, Any] = data
        return found

    def _whole_lines(self) -> list[bytes]:
        """The lines that were written to their end; what follows them is cut off."""
        if not self.path.is_file():
            return []
        raw = self.path.read_bytes()
        whole = raw.rfind(b"\n") + 1
        if whole < len(raw):
            os.truncate(self.path, whole)
        return raw[:whole].splitlines()

    def sync(self) -> None:
        """What was written survives a power cut from here on; a kill it survives anyway."""
        with self.path.open("ab") as file:
            os.fsync(file.fileno())

    def _add(self, line: Mapping[str, Any]) -> None:
        raw = json.dumps(line, ensure_ascii=False).encode("utf8") + b"\n"
        reached("before ledger line")
        with self.path.open("ab", buffering=0) as file:
            file.write(raw)
        reached("after ledger line")
