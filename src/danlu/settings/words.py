"""Command-line words -> plain words and settings; the names users of transformers know -> ours."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from danlu.errors import DanluError, raise_all
from danlu.settings.plain import MAX_DEPTH, Data, merge, parse_yaml

# What users of transformers already type, and what we call it.
ALIASES = {
    "learning_rate": "train.lr",
    "max_steps": "train.steps",
    "num_train_epochs": "train.epochs",
    "per_device_train_batch_size": "train.batch",
    "gradient_accumulation_steps": "train.accumulate",
    "weight_decay": "train.weight_decay",
    "max_grad_norm": "train.clip",
    "warmup_steps": "train.warmup",
    "warmup_ratio": "train.warmup",
    "lr_scheduler_type": "train.schedule",
    "optim": "train.optimizer",
    "eval_steps": "train.evaluate_every",
    "save_steps": "train.save_every",
    "logging_steps": "train.log_every",
    "save_total_limit": "train.keep",
    "gradient_checkpointing": "train.recompute",
    "torch_compile": "train.compile",
    "model_name_or_path": "start",
    "train_file": "data.paths",
    "validation_file": "data.validation",
    "text_column": "data.text",
    "block_size": "data.length",
    "max_seq_length": "data.length",
    "mlm_probability": "corruption.share",
    "output_dir": "output",
    "run_name": "output",
    "data_seed": "seed",
}

Pairs = list[tuple[str, str]]


def parse_words(words: Sequence[str], flags: Collection[str] = ()) -> tuple[list[str], Data]:
    """Command-line words -> (plain words, nested settings under our names).

    `a.b=c`, `--a.b c`, `--a.b=c` and `--flag` (true) are settings; dashes and underscores in names are equal. The names
    in `flags` never take the word after them as their value.
    """
    plain, pairs = _split(words, flags)
    data: Data = {}
    problems: list[DanluError] = []
    for name, text in pairs:
        if is_name(name):
            place(data, ALIASES.get(name, name), _value(text), problems)
        else:
            problems.append(DanluError("E1105", word=name))
    raise_all(problems)
    return plain, data


def renamed(words: Sequence[str]) -> dict[str, str]:
    """The aliases among command-line words: what was typed -> what we call it."""
    return {name: ALIASES[name] for name, _ in _split(words)[1] if name in ALIASES}


def canonical(data: Mapping[str, Any]) -> tuple[Data, list[DanluError]]:
    """The same data under our names, and an E1106 for each setting that came twice with different values."""
    out: Data = {name: value for name, value in data.items() if name not in ALIASES or isinstance(value, Mapping)}
    problems: list[DanluError] = []
    for name in data.keys() - out.keys():
        out = merge(out)  # a copy of every section, so that the caller's stay as they are
        place(out, ALIASES[name], data[name], problems)
    return out, problems


def place(data: Data, path: str, value: Any, problems: list[DanluError]) -> None:
    """data[a][b][c] = value; E1106 where another value stands already."""
    *parents, last = path.split(".")
    section = data
    for name in parents:
        inner = section.setdefault(name, {})
        if not isinstance(inner, dict):
            problems.append(DanluError("E1106", name=path, found=f"{inner} ≠ {value}"))
            return
        section = inner
    if last in section and section[last] != value:
        problems.append(DanluError("E1106", name=path, found=f"{section[last]} ≠ {value}"))
    section[last] = value


def is_name(text: str) -> bool:
    """`train.lr`, and `labels.0`: what stands below a group may begin with a figure."""
    first, *others = text.split(".", MAX_DEPTH)
    below = all(part and f"_{part}".isidentifier() for part in others)
    return len(others) + 1 < MAX_DEPTH and first.isidentifier() and below


def _split(words: Sequence[str], flags: Collection[str] = ()) -> tuple[list[str], Pairs]:
    plain: list[str] = []
    pairs: Pairs = []
    rest = list(reversed(words))
    while rest:
        word = rest.pop()
        name, equals, value = word.partition("=")
        if word.startswith("--") and len(word) > 2:
            name = _spelt(name[2:])
            if not equals:
                takes = name not in flags and rest and not rest[-1].startswith("--")
                value = rest.pop() if takes else "true"
            pairs.append((name, value))
        elif equals and is_name(_spelt(name)) and not Path(word).exists():
            pairs.append((_spelt(name), value))
        else:
            plain.append(word)
    return plain, pairs


def _spelt(name: str) -> str:
    return name.replace("-", "_")


def _value(text: str) -> Any:
    """A word's value as YAML would have it, where that keeps all of it; else the text as typed."""
    try:
        value = parse_yaml(text)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, OverflowError):
        return text
    changed = value is None and text not in ("null", "~")
    return text if changed or (isinstance(value, dict) and not text.startswith("{")) else value
