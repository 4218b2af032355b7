"""What a run is given when nothing was said: how long, in which portions, how fast.

The amounts follow from the model and the text alone, never from the machine, so that the same command means the same
run everywhere. Named sizes keep a promise of time on two ordinary cores: tiny seconds, mini minutes. Larger models see
20 tokens a parameter (Hoffmann et al. 2022), but the same text at most four times (Muennighoff et al. 2023).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from danlu.data.sources import Source
from danlu.models.build import ModelConfig, build, parameters
from danlu.models.dual import DualConfig
from danlu.models.families import Family
from danlu.models.sequence_to_sequence import SequenceToSequenceConfig
from danlu.recipes.pretraining.presets import Preset
from danlu.recipes.runs.machine import size_in_words
from danlu.recipes.starting.adapting import faster
from danlu.settings import Data, merge
from danlu.train.optimizers import OptimizerName, suggested_rate
from danlu.voice import Voice

BYTES_A_TOKEN = 3.5  # of a vocabulary learnt on the text itself, English or Chinese
GZIP_RATIO = 3.0
WORK = {"tiny": 3e12, "mini": 4e13}  # floating-point operations
# Passes of small denoisers over little text: each hides other words. A causal model soon knows it by heart: docs/log.md
PASSES = {"masked": 40, "sequence_to_sequence": 40}
FEW_PASSES = 4
TOKENS_A_PARAMETER = 20
SHORTEST = 64  # rows that are worth beginning with shorter ones
STEPS = 600  # a run is about so many updates long, within the limits of a batch
BATCH_TOKENS = (1024, 1 << 19)
MICRO_TOKENS = 1 << 14  # in one forward pass
FRESH_OPTIMIZER: OptimizerName = "muon"  # learns more in the same few steps, GPT and BERT alike: docs/log.md
FURTHER = 0.3  # of a fresh model's learning rate, for one that has learnt already


@dataclass(frozen=True)
class Amount:
    """What there is to learn from, before it is read."""

    files: int
    bytes: int  # of text, estimated where it is compressed

    @property
    def tokens(self) -> int:
        return max(1, int(self.bytes / BYTES_A_TOKEN))


def amount(found: Sequence[Source]) -> Amount:
    def size(path: Path) -> float:
        return path.stat().st_size * (GZIP_RATIO if path.suffix == ".gz" else 1)

    files = [path for source in found for path in source.files]
    return Amount(len(files), int(sum(map(size, files))))


def inferred(
    family: Family, size: str, config: ModelConfig, text: Amount, given: Data, fresh: bool = True,
    preset: Preset | None = None,
) -> Data:  # fmt: skip
    """Settings for everything that was not given: `data.length` and `train.*`."""
    train = given.get("train") or {}
    fitting = fitting_length(config, text)
    length = (given.get("data") or {}).get("length") or min(fitting, (preset and preset.length) or fitting)
    optimizer = train.get("optimizer", FRESH_OPTIMIZER if fresh else "adamw")
    own = preset.rate_at(width(config)) if preset and preset.optimizer == optimizer else None
    rate = (own or suggested_rate(optimizer, width(config))) * (1 if fresh else FURTHER)
    rate *= faster(given.get("adapt"))
    found: Data = {"data": {"length": length}, "train": {"lr": float(f"{rate:.2g}"), "optimizer": optimizer}}
    tokens = tokens_to_see(family, size, config, text, fresh)
    if not train.get("batch"):
        low, high = BATCH_TOKENS
        portion = 1 << max(0, round(tokens / STEPS).bit_length() - 1)
        most = min(high, (preset and preset.batch) or high)
        found["train"]["batch"] = max(1, min(max(portion, low), most) // length)
    batch, accumulate = train.get("batch") or found["train"]["batch"], train.get("accumulate") or 1
    if not all(isinstance(number, int) and number > 0 for number in (batch, length, accumulate)):
        return found  # what is no number is refused with all else that is wrong
    if batch * length > MICRO_TOKENS:
        found["train"]["micro"] = max(1, MICRO_TOKENS // length)
    if not any(train.get(name) for name in ("steps", "epochs", "minutes")):
        places = batch * length * accumulate
        found["train"]["steps"] = max(20, int(round(tokens / places, -1 if tokens > 200 * places else 0)))
    if preset:
        found["train"] |= _course(preset, batch, length)
    return merge(found, {})


def _course(preset: Preset, batch: int, length: int) -> Data:
    """A recipe's growing batches and shorter rows, in this run's rows and tokens."""
    course: Data = {"first_batch": max(1, round(preset.first * batch))} if preset.first else {}
    shorter = {str(max(1, round(part * length))): share for part, share in preset.shorter.items()}
    return course | ({"lengths": shorter} if shorter and length >= SHORTEST else {})


def tokens_to_see(family: Family, size: str, config: ModelConfig, text: Amount, fresh: bool) -> int:
    """How many tokens a run of this model on this text should read."""
    if not fresh:
        return text.tokens * (3 if text.bytes < 10_000_000 else 1)
    small = size in WORK
    enough = WORK[size] / operations(config) if small else TOKENS_A_PARAMETER * parameters(config)
    return int(min(enough, text.tokens * (PASSES.get(family.kind, FEW_PASSES) if small else FEW_PASSES)))


def fitting_length(config: ModelConfig, text: Amount) -> int:
    """The model's own length, shorter where the text would not fill 64 rows, never below 16."""
    own, most = min(config.length or 1024, 1024), max(16, text.tokens // 64)
    return min(own, 1 << (most.bit_length() - 1))


def operations(config: ModelConfig) -> int:
    """Floating-point operations that training on one token takes: 6 for each weight it is multiplied with."""
    return 6 * sum(module.weight.numel() for module in build(config, "meta").modules() if isinstance(module, nn.Linear))


def width(config: ModelConfig) -> int:
    """Of the tower that reads text."""
    if isinstance(config, SequenceToSequenceConfig):
        return config.encoder.width
    return config.text.width if isinstance(config, DualConfig) else config.transformer.width


def say(voice: Voice, name: str, config: ModelConfig, text: Amount, settings: Data) -> None:
    """What was inferred, in plain words."""
    train, length = settings["train"], settings["data"]["length"]
    size, rows, portion = (
        size_in_words(text.bytes),
        train["batch"] * train.get("accumulate", 1),
        train["batch"] * length,
    )
    weights = f"{parameters(config) / 1e6:,.1f}M"
    files = "1 file" if text.files == 1 else f"{text.files:,} files"
    voice.say(
        f"{name}: about {weights} parameters; {size} of text in {files}, about {text.tokens:,} tokens",
        f"{name}：约 {weights} 参数；{text.files} 个文件共 {size} 文本，约 {text.tokens:,} 个词元",
    )
    steps, optimizer, rate = train.get("steps"), train["optimizer"], f"lr {train['lr']:g}"
    if steps:
        passes = f"{steps * portion * train.get('accumulate', 1) / text.tokens:,.1f}"
        voice.say(
            f"{steps:,} steps of {rows} rows of {length} tokens: {passes} times through the text; {optimizer}, {rate}",
            f"{steps:,} 步，每步 {rows} 行、每行 {length} 个词元：约通读 {passes} 遍；{optimizer}、{rate}",
        )
