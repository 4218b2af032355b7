"""Do prompts help a CLIP that was trained here to name what it sees?

`python -m benchmarks.picture_prompts [--minutes 13 | --steps N] [--shots 16] [--pictures 1000] [--keep FOLDER]`. A CLIP
is trained on drawn scenes with captions (`one red circle in the middle`), then names the shape, and then the colour, in
scenes whose combinations it has never seen: by the bare label; by the mean of templates that are like its captions;
and by CoOp, vectors before the label that are trained on 16 pictures a class. Accuracy with intervals; the last line is
what the ensemble and CoOp add to the bare label on average, in points, the smaller of the two.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import danlu
from benchmarks.answer import Answer
from benchmarks.scenes import COMMON, RECIPES
from danlu.checkpoint import Checkpoint
from danlu.data.scenes import COLOURS, PLACES, SHAPES, Scene, scenes
from danlu.evaluate.intervals import bootstrap
from danlu.prompt.scorer import Scorer
from danlu.prompt.scorers import scorer_for
from danlu.prompt.search.ground import few
from danlu.prompt.spec import PromptSpec
from danlu.prompt.tuning import tune
from danlu.settings import parse_words
from danlu.tasks.task import Row
from danlu.train.trainer import TrainSettings
from danlu.voice import Voice

BAR = 0.0  # points: better
TEMPLATES = {
    "shape": [f"one {colour} {{label}} in the {place}" for colour in COLOURS for place in PLACES],
    "colour": [f"one {{label}} {shape} in the {place}" for shape in SHAPES for place in PLACES],
}  # fmt: skip
NAMES = {"shape": list(SHAPES), "colour": list(COLOURS)}
COOP = TrainSettings(
    steps=200, batch=32, lr=2e-2, schedule="cosine", warmup=0.05, weight_decay=0.0, evaluate_every=200, save_every=200
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=13.0)
    parser.add_argument("--steps", type=int, help="of training CLIP, in the place of minutes")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--pictures", type=int, default=1000, help="to be named")
    parser.add_argument("--keep", type=Path, help="a folder for the run; a model in it is not trained again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        start = trained(folder, options)
        found = {task: measured(task, start, folder, options) for task in NAMES}
    for task, each in found.items():
        print(json.dumps({task: each}), file=sys.stderr)
    gains = {way: statistics.fmean(found[task][way]["gain"][0] for task in found) for way in ("ensemble", "coop")}
    bare = statistics.fmean(each["bare"]["accuracy"] for each in found.values())
    least = min(gains.values())
    conditions = {"minutes": options.minutes, "steps": options.steps, "shots": options.shots, "found": found}
    Answer(
        "points that prompts add to a bare label, CLIP on drawn scenes", bare + least, bare, least, BAR, conditions
    ).show()


def trained(folder: Path, options: argparse.Namespace) -> Path:
    """A CLIP that has seen scenes with captions."""
    place = folder / "clip"
    if not (place / "README.md").is_file():
        start, *recipe = RECIPES["clip"]
        length = f"train.steps={options.steps}" if options.steps else f"train.minutes={options.minutes}"
        _, settings = parse_words([*recipe, *COMMON, length], ())
        danlu.call("pretrain", start, "builtin:scenes", output=place, quiet=True, **settings)
    return place


def measured(task: str, start: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Accuracy of each way, and what it gains over the bare label, with intervals over pictures."""
    scorer = scorer_for(Checkpoint.load(start))
    scorer.model.requires_grad_(False)
    shown = few(pictures(task, 40 * options.shots, folder / f"{task}-few", held_out=False), options.shots)
    asked = pictures(task, options.pictures, folder / f"{task}-test", held_out=True)
    verbaliser = {"words": {name: [name] for name in NAMES[task]}}
    bare = PromptSpec(templates="{label}", verbaliser=verbaliser)
    specs = {
        "bare": bare,
        "ensemble": bare.but(templates=TEMPLATES[task]),
        "coop": bare.but(templates="{soft:8} {label}"),
    }
    _, learned = tune(scorer, specs["coop"], shown, COOP, folder / f"{task}-coop", voice=Voice(quiet=True))
    right = {way: named(scorer, spec, asked, learned if way == "coop" else None) for way, spec in specs.items()}
    found: dict[str, Any] = {}
    for way, hits in right.items():
        accuracy, gain = bootstrap(hits), bootstrap(hits - right["bare"])
        found[way] = {
            "accuracy": round(100 * accuracy.value, 2),
            "interval": [round(100 * each, 2) for each in (accuracy.low, accuracy.high)],
            "gain": [round(100 * each, 2) for each in (gain.value, gain.low, gain.high)],
        }
    return found


def named(scorer: Scorer, spec: PromptSpec, rows: Sequence[Row], learned: Any) -> np.ndarray:
    """Whether each picture is named rightly: (N,) of 0 and 1."""
    said = scorer.scores(spec, rows, learned).argmax(1).tolist()
    return np.array([spec.classes[place] == row.values["label"] for place, row in zip(said, rows, strict=True)], float)


def pictures(task: str, count: int, folder: Path, held_out: bool) -> list[Row]:
    """Scenes of one shape each, as files; combinations of the part that training has seen, or of the other."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (scene, picture) in enumerate(scenes(count, held_out, seed=7)):
        path = folder / f"{number}.png"
        if not path.is_file():
            picture.save(path)
        rows.append(Row({"picture": str(path), "label": fact(task, scene)}))
    return rows


def fact(task: str, scene: Scene) -> str:
    return scene.shape if task == "shape" else scene.colour


if __name__ == "__main__":
    main()
