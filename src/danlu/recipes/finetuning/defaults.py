"""What a fine-tuning run is given when nothing was said: how long, in which portions, how fast."""

from danlu.models.build import ModelConfig
from danlu.models.classifier import ClassifierConfig
from danlu.nn.transformer import TransformerConfig
from danlu.recipes.preparing.material import Material
from danlu.recipes.starting.adapting import faster
from danlu.recipes.starting.start import Start
from danlu.settings import Data

TRAIN: Data = {
    "schedule": "linear", "warmup": 0.1, "weight_decay": 0.01, "betas": [0.9, 0.999], "batch": 32, "optimizer": "adamw",
}  # fmt: skip
RATE, WIDTH = 1e-4, 384  # of models that have learnt, at this width; it falls as one over the width
FRESH_RATE = 5e-4
ROWS = 20_000  # to be seen in a run, within these numbers of epochs
EPOCHS = (3, 20)
LOOKS = 10

# Of tasks whose answer is a text; a model that begins with nothing is given other settings.
FRESH_WRITER: Data = {"optimizer": "muon", "schedule": "linear", "warmup": 0.05, "batch": 256}
TOKENS = 6144  # of a batch, padding included
SMOOTHING = 0.1  # of a fresh model's targets, Vaswani et al. 2017, 5.4
ROWS_WRITTEN, EPOCHS_WRITTEN = {True: 600_000, False: 40_000}, {True: (10, 40), False: (2, 10)}  # fresh or not
PREFERRING = 5e-6  # learning rate at a width of 768, Rafailov et al. 2023, appendix B


def answering(start: Start, made: Material, given: Data) -> Data:
    """Settings for everything that was not given, of tasks with heads."""
    train, rows = given.get("train") or {}, len(made.training)
    rate = _rate(start) if start.where else FRESH_RATE
    found: Data = {
        "train": TRAIN | {"lr": _rounded(rate * faster(given.get("adapt")))},
        "embeddings": start.where is None or bool((given.get("tokenizer") or {}).get("path")),
    }
    if epochs := _epochs(train, rows, ROWS, EPOCHS):
        steps = -(-rows // (train.get("batch") or TRAIN["batch"]))
        looks = min(LOOKS, 2 * int(epochs))
        found["train"] |= {"epochs": epochs, "evaluate_every": max(1, steps * int(epochs) // looks)}
    return found


def writing(start: Start, made: Material, given: Data) -> Data:
    """Settings for everything that was not given, of tasks whose answer is a text."""
    task, fresh = made.task, start.where is None
    found: Data = {
        "train": dict(FRESH_WRITER if fresh else TRAIN), "embeddings": True, "data": {"tokens": TOKENS},
        "writing": {"beams": getattr(task, "beams", 1)}, "loss": {"smoothing": SMOOTHING if fresh else 0.0},
    }  # fmt: skip
    if not fresh:
        rate = PREFERRING * 768 / width_of(start.config) if task.name == "prefer" else _rate(start)
        found["train"]["lr"] = _rounded(rate * faster(given.get("adapt")))
    if epochs := _epochs(given.get("train") or {}, len(made.training), ROWS_WRITTEN[fresh], EPOCHS_WRITTEN[fresh]):
        found["train"]["epochs"] = epochs
    return found


def width_of(config: ModelConfig) -> int:
    """Of the first stack of a model."""
    base = config.base if isinstance(config, ClassifierConfig) else config
    stacks = [stack for _, stack in base if isinstance(stack, TransformerConfig)]
    return stacks[0].width if stacks else WIDTH


def _rate(start: Start) -> float:
    return RATE * min(2.0, WIDTH / width_of(start.config))


def _rounded(rate: float) -> float:
    return float(f"{rate:.2g}")


def _epochs(train: Data, rows: int, wanted: int, within: tuple[int, int]) -> float | None:
    """Passes through the rows, unless the length of the run was given."""
    if any(train.get(name) for name in ("steps", "epochs", "minutes")):
        return None
    return float(min(within[1], max(within[0], round(wanted / max(1, rows)))))
