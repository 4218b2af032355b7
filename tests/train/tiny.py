"""A tiny model and tiny data, with the interfaces of the real ones."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from danlu.data.batch import IGNORED, Batch
from danlu.data.order import key
from danlu.nn.dropout import Dropout
from danlu.train.log import read_lines, untimed
from danlu.train.objectives import TokenObjective
from danlu.train.resume import Checkpoints
from danlu.train.trainer import Trainer, TrainSettings
from danlu.voice import Voice

VOCABULARY, WIDTH, LENGTH = 32, 16, 8


class Block(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.down(self.up(self.norm(x)).relu()))


class Head(nn.Module):
    def __init__(self, output: nn.Linear) -> None:
        super().__init__()
        self.output = output

    def features(self, hidden: Tensor) -> Tensor:
        return hidden


class TinyModel(nn.Module):
    """Guesses the next token from the present one; input and output tables are tied."""

    def __init__(self, dropout: float = 0.1, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList([Block(dropout) for _ in range(2)])
        self.head = Head(nn.Linear(WIDTH, VOCABULARY, bias=False))
        self.head.output.weight = self.embedding.weight

    def hidden(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return x


class TinyLoader:
    """Rows that count on by three, each with some targets missing; `without` batches ask for nothing."""

    def __init__(self, rows: int = 6, epoch: int = 10, without: frozenset[int] = frozenset()) -> None:
        self.rows, self.steps_per_epoch, self.without = rows, epoch, without
        self.asked: list[int] = []

    def batch(self, step: int) -> Batch:
        self.asked.append(step)
        chance = key(7, step, torch.arange(self.rows * LENGTH).numpy())
        start = torch.from_numpy((chance[: self.rows] % VOCABULARY).astype("int64"))
        tokens = (start[:, None] + 3 * torch.arange(LENGTH)) % VOCABULARY
        hidden = torch.from_numpy((chance >> 40).astype("int64") % 4 == 0).view(self.rows, LENGTH)
        targets = ((tokens + 3) % VOCABULARY).masked_fill(hidden | (step in self.without), IGNORED)
        return Batch({"tokens": tokens}, {"tokens": targets})

    def stream(self, first: int) -> Iterator[Batch]:
        while True:
            yield self.batch(first)
            first += 1


SETTINGS = {"steps": 30, "lr": 1e-2, "save_every": 5, "precision": "float32", "warmup": 3}


def trainer(
    folder: Path, *, model: nn.Module | None = None, loader: TinyLoader | None = None, **changes: object
) -> Trainer:
    """A trainer of tiny things; names that TrainSettings does not know go to Trainer."""
    own = {name: value for name, value in changes.items() if name in TrainSettings.model_fields}
    rest = {name: value for name, value in changes.items() if name not in own}
    settings = TrainSettings(**(SETTINGS | own))
    return Trainer(
        model or TinyModel(), rest.pop("objective", TokenObjective()), loader or TinyLoader(), settings, folder,
        voice=rest.pop("voice", Voice(quiet=True)), **({"seed": 3} | rest),
    )  # fmt: skip


def outcome(folder: Path) -> dict[str, object]:
    """Every bit a finished run leaves that a clock has no part in."""
    saved, damaged = Checkpoints(folder / "checkpoints", keep=2, every=1, back=1).newest()
    assert saved is not None
    assert not damaged
    progress = {name: value for name, value in saved.state["progress"].items() if name != "elapsed"}
    files = {path.name: path.read_bytes() for path in saved.folder.glob("*.safetensors")}
    lines = [untimed(line) for line in read_lines(folder / "metrics.jsonl")]
    return files | {"progress": progress, "guard": saved.state["guard"], "lines": lines}


def lines_of(folder: Path, name: str = "loss") -> list[float]:
    """One field of every line of metrics that has it."""
    return [line[name] for line in read_lines(folder / "metrics.jsonl") if name in line]
