"""The processes that train one model together, and what they tell each other.

Each holds a `World`. What differs between them (the clock, a signal, a full disk) is told to all before anything is
decided by it, so that all decide the same. Told are numbers and JSON, over gloo; gradients go their own way, see
`parallel`.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import distributed

from danlu.errors import DanluError, Problems

T = TypeVar("T")
Told = dict[str, Any]


class World:
    """One of `size` processes; the first leads: it alone speaks and writes. Alone, everything here is a plain call."""

    def __init__(self, rank: int = 0, size: int = 1):
        self.rank, self.size = rank, size

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @property
    def alone(self) -> bool:
        return self.size == 1

    def numbers(self, values: Sequence[float]) -> list[list[float]]:
        """The numbers of every process, by rank."""
        if self.alone:
            return [list(values)]
        mine = torch.tensor(values, dtype=torch.float64)
        table = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(table, mine)
        return [row.tolist() for row in table]

    def sums(self, values: Sequence[float]) -> list[float]:
        """Over all processes, added in the order of their ranks: the same bits in each."""
        return [sum(column) for column in zip(*self.numbers(values), strict=True)]

    def any(self, said: bool) -> bool:
        return bool(self.sums([said])[0])

    def exchange(self, value: Any) -> list[Any]:
        """The JSON value of every process, by rank."""
        if self.alone:
            return [value]
        raw = torch.frombuffer(bytearray(json.dumps(value, default=str).encode()), dtype=torch.uint8)
        lengths = [int(row[0]) for row in self.numbers([len(raw)])]
        mine = torch.zeros(max(lengths), dtype=torch.uint8)
        mine[: len(raw)] = raw
        table = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(table, mine)
        return [json.loads(row[:length].numpy().tobytes()) for row, length in zip(table, lengths, strict=True)]

    def each(self, work: Callable[[], T]) -> list[T]:
        """What the work gives in every process, as JSON carries it; the error of one is everybody's."""
        if self.alone:
            return [work()]
        outcomes = self.exchange(_attempted(work))
        for outcome in outcomes:
            if "value" not in outcome:
                raise _error(outcome)
        return [outcome["value"] for outcome in outcomes]

    def led(self, work: Callable[[], T]) -> T:
        """What the leader's work gives, as JSON carries it; the others wait, and its error is theirs."""
        return self.each(lambda: work() if self.leads else None)[0]  # type: ignore[return-value]

    def first(self, work: Callable[[], T]) -> T:
        """Everybody does it, the leader before the others, so that they find what it has written."""
        done: list[T] = []
        self.led(lambda: done.append(work()))
        return done[0] if done else work()

    def agree(self, where: object, facts: Mapping[str, Any]) -> None:
        """E2103 where processes hold different facts."""
        told = self.exchange(dict(facts))
        for rank, theirs in enumerate(told):
            names = sorted(name for name in {*told[0], *theirs} if told[0].get(name) != theirs.get(name))
            if names:
                raise DanluError(
                    "E2103", where=where, rank=rank, found=[f"{name}={theirs.get(name)}" for name in names],
                    possible=[f"{name}={told[0].get(name)}" for name in names],
                )  # fmt: skip


def _attempted(work: Callable[[], Any]) -> Told:
    """What a piece of work gave, or why it could not be done, so that other processes can be told."""
    try:
        return {"value": work()}
    except (DanluError, OSError) as error:
        return told(error)


def told(error: DanluError | OSError) -> Told:
    """An error as JSON."""
    if isinstance(error, Problems):
        return {"problems": [told(problem) for problem in error.problems]}
    if isinstance(error, DanluError):
        state = {"where": error.where, "found": error.found, "possible": error.possible, "nearest": error.nearest}
        return {"code": error.code, "state": state | error.facts}
    return {"errno": error.errno, "text": error.strerror or str(error), "file": error.filename}


def _error(told: Told) -> Exception:
    return OSError(told["errno"], told["text"], told["file"]) if "errno" in told else retold(told)


def retold(told: Told) -> DanluError:
    """The error that another process told of."""
    if "problems" in told:
        return Problems([retold(problem) for problem in told["problems"]])
    return DanluError(told["code"], **told["state"])
