"""What a fine-tuning run is given when nothing was said, how its head is made, and how it is watched."""

from collections.abc import Callable, Mapping, Sequence

from torch import nn

from danlu.evaluate.answers import scores
from danlu.models.build import ModelConfig
from danlu.models.classifier import Classifier, ClassifierConfig
from danlu.models.families import Family
from danlu.models.families.heads import answer_config, decodes
from danlu.recipes.adapting import faster
from danlu.recipes.start import Start
from danlu.recipes.tasks import Material
from danlu.settings import Data
from danlu.tasks.answering import Work
from danlu.tasks.metrics import METRICS
from danlu.tasks.task import Row
from danlu.train.settings import Precision
from danlu.voice import Voice

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
        "embeddings": start.where is None,
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
    return base.transformer.width if base.kind == "language" else base.encoder.width


def with_head(family: Family, made: Material) -> Callable[[ModelConfig], ModelConfig]:
    """From a tower's config to one with the task's head; a classifier that answers the same keeps its own."""
    task = made.task

    def become(config: ModelConfig) -> ModelConfig:
        if isinstance(config, ClassifierConfig):
            own = config.heads.get(task.name)
            if own and (own.labels, own.problem, len(config.heads)) == (made.labels, task.problem, 1):
                return config
        base = config.base if isinstance(config, ClassifierConfig) else config
        head = answer_config(family, task.form, task.problem, made.labels)
        return ClassifierConfig(base=base, heads={task.name: head}, decodes=decodes(family, task.form))

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
