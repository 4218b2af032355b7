"""What a fine-tuning run is given when nothing was said, how its head is made, and how it is watched."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from danlu.checkpoint import Checkpoint
from danlu.data.ledger import Ledger
from danlu.errors import DanluError
from danlu.evaluate.answers import scores
from danlu.generate.answer import framing_of
from danlu.models.build import ModelConfig, build
from danlu.models.classifier import Classifier, ClassifierConfig
from danlu.models.families import Family
from danlu.models.families.heads import answer_config, decodes
from danlu.nn.transformer import TransformerConfig
from danlu.recipes.finetuning.material import Material
from danlu.recipes.finetuning.stage import Finetune
from danlu.recipes.starting.adapting import faster
from danlu.recipes.starting.start import Start, fresh_tokenizer
from danlu.settings import Data
from danlu.tasks.answering import Work
from danlu.tasks.metrics import METRICS
from danlu.tasks.splits import TEXTS
from danlu.tasks.task import Example, Row, Task
from danlu.tasks.writing import Writing
from danlu.text.tokenizer import Tokenizer
from danlu.train.settings import Precision
from danlu.voice import Voice

Become = Callable[[ModelConfig], ModelConfig]

TRAIN: Data = {
    "schedule": "linear", "warmup": 0.1, "weight_decay": 0.01, "betas": [0.9, 0.999], "batch": 32, "optimizer": "adamw",
}  # fmt: skip
RATE, WIDTH = 1e-4, 384  # of models that have learnt, at this width; it falls as one over the width
FRESH_RATE = 5e-4
ROWS = 20_000  # to be seen in a run, within these numbers of epochs
EPOCHS = (3, 20)
MEASURED = 64  # rows in a forward pass of an evaluation
LOOKS = 10


def defaults(start: Start, made: Material, given: Data) -> Data:
    """Settings for everything that was not given."""
    train = given.get("train") or {}
    width = made_width(start.config)
    rate = RATE * min(2.0, WIDTH / width) if start.where else FRESH_RATE
    found: Data = {
        "train": TRAIN | {"lr": float(f"{rate * faster(given.get('adapt')):.2g}")},
        "embeddings": start.where is None or bool((given.get("tokenizer") or {}).get("path")),
    }
    if not any(train.get(name) for name in ("steps", "epochs", "minutes")):
        low, high = EPOCHS
        epochs = min(high, max(low, round(ROWS / max(1, len(made.training)))))
        steps = -(-len(made.training) // (train.get("batch") or TRAIN["batch"]))
        found["train"] |= {"epochs": float(epochs), "evaluate_every": max(1, steps * epochs // min(LOOKS, 2 * epochs))}
    return found


def keep_embeddings(model: Classifier) -> None:
    """Leave the vectors of tokens as they are. A small set of rows moves only those of the words it has, away from
    their neighbours; and their gradients and moments are most of a small model's."""
    for tower in (model.tower, model.encoder, model.decoder):
        if tower is not None:
            tower.embedding.tokens.weight.requires_grad_(False)


def made_width(config: ModelConfig) -> int:
    base = config.base if isinstance(config, ClassifierConfig) else config
    stacks = [stack for _, stack in base if isinstance(stack, TransformerConfig)]
    return stacks[0].width if stacks else WIDTH


def with_head(family: Family, made: Material) -> Become:
    """From a tower's config to one with the task's head."""
    return with_heads(family, {made.task.name: made})


def with_heads(family: Family, parts: Mapping[str, Material], kept: bool = False) -> Become:
    """From a tower's config to one with a head for each task; a head that answers the same stays as it is. kept: so do
    all others that the model has. E1922 for a task that has none."""

    def become(config: ModelConfig) -> ModelConfig:
        own = config.heads if isinstance(config, ClassifierConfig) else {}
        heads = dict(own) if kept else {}
        for name, made in parts.items():
            task = made.task
            if isinstance(task, Writing):
                raise DanluError("E1922", found=name, task=task.name)
            head = answer_config(family, task.form, task.problem, made.labels)
            same = name in own and (own[name].labels, own[name].problem) == (head.labels, head.problem)
            heads[name] = own[name] if same else head
        if isinstance(config, ClassifierConfig):
            return config if heads == config.heads else config.model_copy(update={"heads": heads})
        read = any(decodes(family, head.form) for head in heads.values())
        return ClassifierConfig(base=config, heads=heads, decodes=read)

    return become


def watched(
    work: Work, rows: Sequence[Row], precision: Precision, watch: Callable[[Mapping[str, float]], None] | None = None
) -> Callable[[nn.Module], Mapping[str, float]] | None:
    """The evaluation while training: the loss and the metrics on the rows set aside. The best weights are those of the
    best first metric and, among equals, of the lowest loss. watch: is shown what was found."""
    if not rows:
        return None
    first, quiet = METRICS[work.task.metrics[0]], Voice(quiet=True)

    def evaluate(model: nn.Module) -> Mapping[str, float]:
        assert isinstance(model, Classifier)
        found = scores(model, work, rows, quiet, batch=MEASURED, precision=precision)
        if watch:
            watch(found)
        best = found[first.name] * (1 if first.larger_is_better else -1)
        return found | {"cost": 1e-3 * found["loss"] - best}

    return evaluate


def started(
    settings: Finetune, start: Start, become: Become, folder: Path, training: Sequence[Row], voice: Voice
) -> Checkpoint:
    """The model before its first step. A tokenizer that knows more than the model's makes the model grow."""
    if start.where is None:
        tokenizer = _tokenizer(settings, start, folder, training, voice)
        config = become(start.with_vocabulary(tokenizer.vocabulary, settings.model))
        return Checkpoint(start.family, config, build(config, "cpu", settings.seed), tokenizer)
    checkpoint = Checkpoint.load(start.where, seed=settings.seed, become=become)
    if settings.tokenizer.path is None:
        return checkpoint
    return with_more_tokens(checkpoint, Tokenizer.read(settings.tokenizer.path), settings.seed)


def _tokenizer(settings: Finetune, start: Start, folder: Path, training: Sequence[Row], voice: Voice) -> Tokenizer:
    """The one that was given, the one an interrupted run has kept, or a fresh one of the texts to train on."""
    choice, kept = settings.tokenizer, folder / "checkpoints" / "tokenizer"
    if choice.path:
        return Tokenizer.read(choice.path)
    if (kept / "special_tokens_map.json").is_file():  # written last
        return Tokenizer.read(kept)
    values = (row.values.get(role) for row in training for role in TEXTS)
    texts = (" ".join(map(str, value)) if isinstance(value, list) else str(value) for value in values if value)
    tokenizer = fresh_tokenizer(texts, choice, start.family, voice)
    tokenizer.write(kept)
    return tokenizer


def with_more_tokens(checkpoint: Checkpoint, tokenizer: Tokenizer, seed: int) -> Checkpoint:
    """The model with a tokenizer that has the old one's tokens and perhaps more, whose vectors begin at the mean of
    all. E1911 where it is another tokenizer."""
    old, config = checkpoint.tokenizer, checkpoint.config
    assert isinstance(config, ClassifierConfig)
    known = range(old.vocabulary if old else 0)
    if old and old.pieces(known) != tokenizer.pieces(known):
        raise DanluError("E1911", where=checkpoint.where)
    more = tokenizer.vocabulary - config.vocabulary
    if more <= 0:
        return replace(checkpoint, tokenizer=tokenizer)
    embedding = config.base.embedding.model_copy(update={"vocabulary": tokenizer.vocabulary})
    grown = config.model_copy(update={"base": config.base.model_copy(update={"embedding": embedding})})
    model = build(grown, "cpu", seed)
    tensors = dict(checkpoint.model.state_dict())
    for name, wanted in model.state_dict().items():
        if wanted.shape != tensors[name].shape:
            tensors[name] = torch.cat([tensors[name], tensors[name].mean(0, keepdim=True).expand(more, -1)])
    model.load_state_dict(tensors)
    return replace(checkpoint, config=grown, model=model, tokenizer=tokenizer)


def work_of(checkpoint: Checkpoint, made: Material, name: str, length: int | None = None) -> Work:
    """The task as the head of this name does it. E1903 where the model has no tokenizer."""
    config = checkpoint.config
    assert isinstance(config, ClassifierConfig)
    if checkpoint.tokenizer is None:
        raise DanluError("E1903", where=checkpoint.where)
    head = config.heads[name]
    shift, scale = made.unit
    assert isinstance(made.task, Task)
    return Work(
        made.task, name, head.labels, framing_of(checkpoint, length), shift if head.bias else 0.0, scale
    )  # fmt: skip


def to_units(checkpoint: Checkpoint, work: Work) -> None:
    """Before training: a head that gives numbers in the rows' unit goes on learning them in units of their spread."""
    known = checkpoint.where is not None and f"heads.{work.head}.output.weight" not in checkpoint.loaded.fresh
    if known and work.task.problem == "number":
        _rescale(_output(checkpoint.model, work.head), 1 / work.scale, -work.shift / work.scale)


def from_units(model: Classifier, work: Work) -> Work:
    """After it: the head gives them in the rows' own unit. The task as the model does it now."""
    if work.task.problem == "number":
        _rescale(_output(model, work.head), work.scale, work.shift)
    return replace(work, shift=0.0, scale=1.0)


def _output(model: nn.Module, head: str) -> nn.Linear:
    output = model.get_submodule(f"heads.{head}.output")
    assert isinstance(output, nn.Linear)
    return output


@torch.no_grad()
def _rescale(output: nn.Linear, scale: float, shift: float) -> None:
    output.weight.mul_(scale)
    if output.bias is not None:
        output.bias.mul_(scale).add_(shift)


def with_truncation(ledger: Ledger, examples: list[Example]) -> Ledger:
    """The ledger once it is known which of the rows to train on were cut."""
    cut: dict[int, int] = {}
    for example in examples:
        if example.cut:
            cut[example.row] = cut.get(example.row, 0) + example.cut
    return replace(
        ledger, trained=ledger.trained - len(cut), truncated=len(cut), truncated_by=sum(cut.values())
    ).check()
