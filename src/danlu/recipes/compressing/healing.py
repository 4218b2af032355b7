"""A student learns from its teacher, in the one training loop; what was pruned to zero stays zero."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from danlu.checkpoint import Checkpoint
from danlu.compress.calibration import linear_layers
from danlu.compress.movement import score, settled
from danlu.compress.prune import Prune
from danlu.compress.quantize import Quantize
from danlu.compress.rounding import rounded, unrounded
from danlu.compress.surgery import widths
from danlu.errors import DanluError
from danlu.models.build import Model
from danlu.recipes.compressing.subject import Subject
from danlu.recipes.finetuning.defaults import RATE, WIDTH
from danlu.recipes.runs.call import Stopped
from danlu.settings import build
from danlu.train.distill import BRIDGES, Distil, bridges
from danlu.train.trainer import Trainer
from danlu.voice import Voice

Within = Prune | Quantize | None
SPARSE = 0.1  # share of zeros in a matrix, from which on they were put there on purpose
LOOKS = 4  # evaluations of a healing


def heal(
    student: Checkpoint, teacher: Checkpoint, subject: Subject, settings: Distil, folder: Path, voice: Voice,
    *, seed: int, device: torch.device, within: Within = None, advice: str = "",
) -> Checkpoint:  # fmt: skip
    """The student after learning, in the same place. within: what happens to its weights meanwhile: they are pruned by
    their movement, or rounded as codes will be.

    E2414 where teacher and student do not read the same tokens. Stopped where it was asked to leave in between.
    """
    check(student, teacher, settings)
    model = into(student, settings, voice)
    train = settings.train
    if train.lr is None:
        train = train.model_copy(update={"lr": float(f"{RATE * min(2.0, WIDTH / widths(model)[0][1]):.2g}")})
    rates = score(model, within.share) if isinstance(within, Prune) else {}
    if isinstance(within, Quantize):
        rounded(model, within)
    made = bridges(model, teacher.model) if settings.hidden else None
    if made is not None:
        setattr(model, BRIDGES, made)
    teacher.model.to(device)
    loader = subject.stream("training", train.batch, seed, shuffle=True)
    steps = loader.steps_per_epoch * (train.epochs or 1.0) if train.steps is None else train.steps
    if train.evaluate_every is None and train.minutes is None:
        train = train.model_copy(update={"evaluate_every": max(1, -(-int(steps) // LOOKS))})

    def evaluate(learning: nn.Module) -> Mapping[str, float]:
        quality = subject.quality(learning, "validation", voice)
        return {"loss": -quality.value if quality.larger_is_better else quality.value, quality.name: quality.value}

    with frozen_zeros(model):
        trainer = Trainer(
            model, subject.objective(teacher.model, settings), loader, train, folder,
            voice=voice, seed=seed, device=device, evaluate=evaluate, rates=rates,
        )  # fmt: skip
        progress = trainer.run()
    if progress.ended == "interrupted":
        raise Stopped(advice)
    if made is not None:
        delattr(model, BRIDGES)
    settled(model)
    unrounded(model)
    return replace(student, model=model.eval(), config=model.config)


def check(student: Checkpoint, teacher: Checkpoint, settings: Distil) -> None:
    """E2414."""
    ours, theirs = student.config, teacher.config
    if ours.kind != theirs.kind or ours.vocabulary != theirs.vocabulary:
        found = f"{ours.kind}, {ours.vocabulary:,}"
        raise DanluError("E2414", found=found, possible=f"{theirs.kind}, {theirs.vocabulary:,}")


def into(student: Checkpoint, settings: Distil, voice: Voice) -> Model:
    """The model that learns: the student as it is, or cut to the sizes asked for, by the magnitude of its weights."""
    parts = {"depth": ("layers", "even"), "inner": ("units", "magnitude"), "heads": ("heads", "magnitude"),
             "width": ("width", "magnitude")}  # fmt: skip
    model = student.model
    for name, size in settings.into.items():
        if name not in parts:
            raise DanluError("E2409", found=name, possible=list(parts))
        part, method = parts[name]
        change = build(Prune, {"part": part, "method": method, "keep": size, "multiple": 1, "refit": False})
        model = change.apply(model, None, voice)
    return model


@contextmanager
def frozen_zeros(model: nn.Module) -> Iterator[None]:
    """Weights that were pruned get no gradient, so that no optimiser that steps along gradients moves them."""
    hooks = []
    for layer in linear_layers(model).values():
        kept = layer.weight.detach() != 0
        if kept.numel() and 1 - kept.float().mean().item() > SPARSE and layer.weight.requires_grad:
            hooks.append(layer.weight.register_hook(_masking(kept)))  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _masking(kept: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda gradient: gradient * kept.to(gradient.device)
