"""A prompt and its model, opened: a run of `danlu prompt`, or any model with a file of a prompt."""

from pathlib import Path

import torch

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.prompt.prompter import Prompter
from danlu.prompt.scorer import Scorer
from danlu.prompt.scorers import scorer_for
from danlu.prompt.spec import read_spec
from danlu.prompt.tuning import VECTORS, read_vectors
from danlu.recipes.runs.folder import PROMPT, Run, is_run
from danlu.recipes.starting.start import find_device
from danlu.train.hardware import compute_precision
from danlu.train.settings import Precision


def open_prompt(
    start: str, prompt: str | Path | None = None, device: str = "auto", precision: Precision = "auto"
) -> Prompter:  # fmt: skip
    """start: a run of `danlu prompt`, or a model and beside it the file of a prompt. Its soft vectors are looked for
    beside the file. E2301 to E2312 of the prompt; errors of `Checkpoint.load`."""
    file = Path(prompt) if prompt else Path(start) / PROMPT
    file = file / PROMPT if file.is_dir() else file
    spec = read_spec(file)
    model = start
    if is_run(Path(start)) and not (Path(start) / "model").is_dir():
        model = str(Run(Path(start)).config.get("start"))
    return Prompter(open_scorer(model, device, precision), spec, read_vectors(file.with_name(VECTORS)) or None)


def open_scorer(start: str, device: str = "auto", precision: Precision = "auto") -> Scorer:
    """E2307 for a model that cannot be asked, E2314 for one that has learnt nothing yet."""
    place = find_device(device)
    checkpoint = Checkpoint.load(start, device=place)
    return scorer_for(checkpoint, compute_precision(precision, place) == torch.bfloat16)


def holds_prompt(start: str) -> bool:
    """Whether a START is a run of `danlu prompt`."""
    return (Path(start) / PROMPT).is_file()


__all__ = ["DanluError", "holds_prompt", "open_prompt", "open_scorer"]
