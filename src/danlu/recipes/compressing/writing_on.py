"""Batches whose texts a model has written itself: a beginning stays, and the model goes on from there."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from danlu.checkpoint import Checkpoint
from danlu.data.batch import IGNORED, Batch
from danlu.generate.decode import GenerateSettings, write
from danlu.models.build import TextModel
from danlu.models.sequence_to_sequence import SequenceToSequence


def written_by(checkpoint: Checkpoint, share: float) -> Callable[[nn.Module, Batch], Batch] | None:
    """How a model writes in the place of a batch: behind the first `share` of each row, or, of an encoder–decoder, all
    of its target. None for a model that cannot write."""
    if not checkpoint.config.causal:
        return None
    ends = (
        {checkpoint.tokenizer.special["end"]}
        if checkpoint.tokenizer and "end" in checkpoint.tokenizer.special
        else set()
    )

    def rewritten(model: nn.Module, batch: Batch) -> Batch:
        assert isinstance(model, TextModel)
        settings = GenerateSettings(temperature=1.0, seed=int(torch.randint(2**31, ())))
        if isinstance(model, SequenceToSequence):
            return _targets(model, batch, settings, ends)
        return _rests(model, batch, settings, ends, share)

    return rewritten


def _rests(model: TextModel, batch: Batch, settings: GenerateSettings, ends: set[int], share: float) -> Batch:
    tokens = batch.inputs["tokens"]
    length = tokens.shape[1]
    kept = max(1, int(length * share))
    more = settings.model_copy(update={"max_new_tokens": length - kept})
    rows = _written(model, tokens[:, :kept].tolist(), more, ends)
    whole = torch.full_like(tokens, int(tokens[0, 0]))
    valid = torch.zeros_like(tokens, dtype=torch.bool)
    for at, row in enumerate(rows):
        whole[at, :kept] = tokens[at, :kept]
        whole[at, kept : kept + len(row)] = torch.tensor(row, device=tokens.device)
        valid[at, : kept + len(row)] = True
    targets = whole.roll(-1, 1).masked_fill(~valid.roll(-1, 1), IGNORED)
    targets[:, -1] = IGNORED
    targets[:, : kept - 1] = IGNORED
    return Batch({"tokens": whole, "valid": valid}, {"tokens": targets})


def _targets(model: SequenceToSequence, batch: Batch, settings: GenerateSettings, ends: set[int]) -> Batch:
    sources = batch.inputs["source"]
    marks = batch.inputs.get("source_valid")
    read = (
        [row[mark.bool()].tolist() for row, mark in zip(sources, marks, strict=True)]
        if marks is not None
        else sources.tolist()
    )
    most = settings.model_copy(update={"max_new_tokens": batch.inputs["target"].shape[1]})
    rows = _written(model, read, most, ends)
    width = max(1, max(map(len, rows)))
    targets = torch.full((len(rows), width), IGNORED, device=sources.device)
    for at, row in enumerate(rows):
        targets[at, : len(row)] = torch.tensor(row, device=sources.device)
    starts: Tensor = torch.full_like(targets[:, :1], model.config.start)
    given = torch.cat([starts, targets[:, :-1].clamp(min=0)], 1)
    inputs = {name: each for name, each in batch.inputs.items() if name.startswith("source")}
    return Batch({**inputs, "target": given}, {"tokens": targets})


def _written(model: TextModel, prompts: list[list[int]], settings: GenerateSettings, ends: set[int]) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in prompts]
    for step in write(model, prompts, settings, ends):
        for at, token in step.items():
            rows[at].append(token)
    return rows
