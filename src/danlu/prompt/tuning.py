"""Training by a prompt: the classes' probabilities are those that the prompt gives, and the loss goes through them.

What trains is a change of the model (all of it: LM-BFF, Gao et al. 2021; LoRA; a prefix: P-tuning v2), the soft vectors
of the prompt (prompt tuning, Lester et al. 2021; in a text tower, CoOp, Zhou et al. 2022), or both. The loop is the one
of `train`, and what was trained is used by the same scorer.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from danlu.data.batch import Batch
from danlu.errors import DanluError
from danlu.files import replace_file
from danlu.prompt.scorer import Scorer
from danlu.prompt.spec import PromptSpec
from danlu.tasks.loader import TaskLoader
from danlu.tasks.task import Example, Row, collate
from danlu.train.progress import Progress
from danlu.train.trainer import Trainer, TrainSettings
from danlu.voice import Voice

NAME = "classes"
VECTORS = "prompt.safetensors"


class Prompted(nn.Module):
    """A model and the soft vectors of a prompt, as one thing that trains."""

    def __init__(self, model: nn.Module, vectors: Mapping[str, Tensor]):
        super().__init__()
        self.model = model
        self.vectors = nn.ParameterDict({name: nn.Parameter(each.float().clone()) for name, each in vectors.items()})

    @property
    def learned(self) -> dict[str, Tensor]:
        return dict(self.vectors)


class PromptObjective:
    """Cross-entropy of the prompt's probabilities: batch.inputs["rows"] (B,) numbers of rows, batch.targets["classes"]
    (B, C) how much of each row belongs to each class."""

    weights: Mapping[str, float] = {NAME: 1.0}

    def __init__(self, scorer: Scorer, spec: PromptSpec, rows: Sequence[Row]):
        self.scorer, self.spec, self.rows = scorer, spec, rows

    def counts(self, batch: Batch) -> dict[str, int]:
        return {NAME: batch.rows}

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        rows = [self.rows[number] for number in batch.inputs["rows"].tolist()]
        logs = self.scorer.forward(self.spec, rows, cast(Prompted, model).learned)
        return {NAME: -(batch.targets[NAME] * logs).sum()}


def shares_of(spec: PromptSpec, rows: Sequence[Row]) -> Tensor:
    """All of each row for its own class: (N, C). E2356 for a label that the prompt has no words for."""
    names = {name: number for number, name in enumerate(spec.classes)}
    strange = sorted({str(row.values["label"]) for row in rows} - names.keys())
    if strange:
        raise DanluError("E2356", found=strange, possible=list(names))
    found = torch.zeros(len(rows), len(names))
    found[torch.arange(len(rows)), torch.tensor([names[row.values["label"]] for row in rows], dtype=torch.long)] = 1.0
    return found


def loader_of(
    scorer: Scorer, spec: PromptSpec, rows: Sequence[Row], shares: Tensor, batch: int, seed: int
) -> TaskLoader:  # fmt: skip
    """Batches of rows of about one length. Their tokens are those of the texts, by which the speed is told."""
    texts = [" ".join(str(row.values.get(name, "")) for name in spec.fields or ("text",)) for row in rows]
    examples = [Example(ids or [0], row=number) for number, ids in enumerate(scorer.spelling.spell(texts))]
    return TaskLoader(examples, partial(_collate, shares), batch, seed)


def _collate(shares: Tensor, examples: Sequence[Example]) -> Batch:
    numbers = torch.tensor([example.row for example in examples])
    told = collate(examples, 0, {NAME: shares[numbers]})
    return Batch({**told.inputs, "rows": numbers}, told.targets)


def measured(scorer: Scorer, spec: PromptSpec, rows: Sequence[Row], learned: Mapping[str, Tensor]) -> dict[str, float]:
    """Loss and accuracy; the best is whoever is right most often and, among equals, surest."""
    shares = shares_of(spec, rows)
    logs = scorer.scores(spec, rows, learned)
    loss = float(-(shares * logs).sum() / len(rows))
    accuracy = float((logs.argmax(1) == shares.argmax(1)).float().mean())
    return {"loss": loss, "accuracy": accuracy, "cost": 1e-3 * loss - accuracy}


def tune(
    scorer: Scorer, spec: PromptSpec, rows: Sequence[Row], settings: TrainSettings, folder: Path, *, voice: Voice,
    shares: Tensor | None = None, validation: Sequence[Row] = (), rates: Mapping[str, float] | None = None,
    begun: Mapping[str, Tensor] | None = None, seed: int = 0,
    watch: Callable[[Mapping[str, float]], None] | None = None,
) -> tuple[Progress, dict[str, Tensor]]:  # fmt: skip
    """Train what wants a gradient of the scorer's model, and the prompt's soft vectors; in a folder, from where it was
    interrupted. Gives how it ended, and the vectors.

    shares: how much of each row belongs to each class, all to its label's where not given. begun: vectors to begin
    with. rates: by parameter of the model. watch: is shown each evaluation. E1505 where nothing trains.
    """
    prompted = Prompted(scorer.model, scorer.beginning(spec, seed) | dict(begun or {})).to(scorer.device)
    wanted = shares_of(spec, rows) if shares is None else shares
    loader = loader_of(scorer, spec, rows, wanted, settings.batch, seed)

    def evaluate(_: nn.Module) -> Mapping[str, float]:
        found = measured(scorer, spec, validation, prompted.learned)
        if watch:
            watch(found)
        return found

    trainer = Trainer(
        prompted, PromptObjective(scorer, spec, rows), loader, settings, folder, voice=voice, seed=seed,
        evaluate=evaluate if validation else None, device=scorer.device,
        rates={f"model.{name}": rate for name, rate in (rates or {}).items()},
    )  # fmt: skip
    progress = trainer.run()
    return progress, {name: each.detach().cpu() for name, each in prompted.learned.items()}


def write_vectors(path: Path, learned: Mapping[str, Tensor]) -> None:
    replace_file(path, save({name: each.contiguous() for name, each in learned.items()}))


def read_vectors(path: Path) -> dict[str, Tensor]:
    """Soft vectors of a file, none where it is not there. E2309 where it is no such file."""
    if not path.is_file():
        return {}
    try:
        found: dict[str, Any] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DanluError("E2309", where=path, name="—", found=error, possible="(n, width)") from error
    return found
