"""Golden samples: a few rows of ids and some of the logits they gave when the model was saved.

Whoever loads the model anywhere can replay them, and sees whether it still computes the same.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from danlu.checkpoint.headers import read_header, write_tensors
from danlu.checkpoint.plain import read_table
from danlu.checkpoint.weights import Weights
from danlu.errors import DanluError
from danlu.files import replace_json, write_file
from danlu.models.build import Model
from danlu.models.classifier import Classifier
from danlu.models.dual import DualEncoder
from danlu.models.multimodal import MultimodalModel
from danlu.nn.parameters import floating
from danlu.text.tokenizer import Tokenizer

TENSORS, FACTS = "golden.safetensors", "golden.json"
ROWS, LENGTH, ENTRIES = 4, 16, 64
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6, torch.float16: 2e-2, torch.bfloat16: 1e-1}


@dataclass(frozen=True)
class Replay:
    """difference: the largest, of logits whose own largest is at least 1."""

    difference: float
    tolerance: float

    @property
    def holds(self) -> bool:
        return self.difference <= self.tolerance


def write_golden(folder: Path, model: Model, vocabulary: int, tokenizer: Tokenizer | None = None) -> None:
    """vocabulary: ids below it are drawn. Of each position's logits, those of 64 ids spread over all are kept."""
    length = min(LENGTH, model.config.length or LENGTH)
    draw = torch.Generator().manual_seed(0)
    names = ("source", "target") if model.config.kind == "sequence_to_sequence" else ("tokens",)
    inputs = {name: torch.randint(vocabulary, (ROWS, length), generator=draw) for name in names}
    if isinstance(model, DualEncoder | MultimodalModel):
        edge = model.config.size
        inputs["images"] = torch.rand(ROWS, model.config.channels, edge, edge, generator=draw)
    if isinstance(model, MultimodalModel):
        inputs["tokens"] = _behind_pictures(model, inputs["tokens"])
    logits = _logits(model, inputs)
    count = logits.shape[-1] if isinstance(model, Classifier | DualEncoder) else min(vocabulary, logits.shape[-1])
    entries = torch.arange(0, count, -(-count // ENTRIES))
    logits = logits[..., entries]
    dtype = floating(model)
    write_file(folder / TENSORS, lambda file: write_tensors(file, {**inputs, "entries": entries, "logits": logits}))
    facts = {
        "what": "logits (row, position, entry) of the ids in `entries`, for the rows of ids in the other tensors",
        "dtype": str(dtype).removeprefix("torch."),
        "tolerance": TOLERANCE[dtype],
        "pieces": [tokenizer.pieces(row) for row in inputs[names[0]].tolist()] if tokenizer else None,
    }
    replace_json(folder / FACTS, facts)


def _behind_pictures(model: MultimodalModel, tokens: Tensor) -> Tensor:
    """Each row's text behind one picture, and no other placeholder in it."""
    stem = torch.tensor([model.stem()]).expand(len(tokens), -1)
    room = max(1, (model.config.length or LENGTH) - stem.shape[1])
    text = tokens[:, -min(room, tokens.shape[1]) :]
    other = (model.config.media + 1) % model.config.vocabulary
    return torch.cat([stem, torch.where(text == model.config.media, other, text)], 1)


def replay(folder: Path, model: Model) -> Replay:
    """Run the golden samples of a folder again. E1429 where there are none, or they are not for this model."""
    if not (folder / FACTS).is_file() or not (folder / TENSORS).is_file():
        raise DanluError("E1429", where=folder, found="nothing")
    facts = read_table(folder / FACTS)
    weights = Weights({folder / TENSORS: read_header(folder / TENSORS)})
    try:
        inputs = {name: weights[name] for name in weights if name in ("tokens", "source", "target", "images")}
        entries, logits = weights["entries"], weights["logits"]
        told = float(facts["tolerance"])
        own = TOLERANCE[floating(model)]
        largest = max([int(tensor.max()) for tensor in [*inputs.values(), entries]])
        if not inputs or largest >= model.config.vocabulary or min(int(t.min()) for t in inputs.values()) < 0:
            raise ValueError(f"id {largest}")
        difference = (_logits(model, inputs)[..., entries] - logits).abs().max().item()
        return Replay(difference / max(1.0, logits.abs().max().item()), max(told, own))
    except (KeyError, ValueError, TypeError, RuntimeError, IndexError) as error:
        raise DanluError("E1429", where=folder, found=str(error)) from error


@torch.no_grad()
def _logits(model: Model, inputs: dict[str, Tensor]) -> Tensor:
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    logits: Tensor = model(**{name: tensor.to(device) for name, tensor in inputs.items()})
    model.train(training)
    return logits.float().cpu()
