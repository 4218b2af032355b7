"""What several runs are made of, and how one of them becomes the run they were made for."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from danlu.files import new_folder, replace_file
from danlu.recipes.finetuning.stage import Finetune
from danlu.recipes.preparing.material import Material
from danlu.recipes.runs.folder import Run
from danlu.voice import Voice

FILES = ("metrics.jsonl", "journal.jsonl", "ledger.json", "evaluation.json", "predictions.jsonl")
Watch = Callable[[Mapping[str, float]], None]  # is shown what each evaluation on the way found


@dataclass(frozen=True)
class Job:
    """carry_out does a whole run, or finishes one: settings, folder, rows, voice, and who watches."""

    settings: Finetune
    run: Run
    made: Material
    carry_out: Callable[[Finetune, Run, Material, Voice, Watch | None], object]


def promote(winner: Path, run: Run) -> None:
    """The winner's model, its course and its results."""
    with new_folder(run.model) as folder:
        shutil.copytree(winner / "model", folder, dirs_exist_ok=True)
    for name in FILES:
        if (winner / name).is_file():
            replace_file(run.path / name, (winner / name).read_bytes())
