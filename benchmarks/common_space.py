"""Do texts, pictures and films share one space in a model that sees, and does its language stay what it was?

`python -m benchmarks.common_space [--steps 1500]`. palm-vision-tiny learns text first (Python's documentation), then
20,000 drawn scenes and 4,000 stirred ones with captions, beside text. On 520 scenes of combinations that nobody drew in
training: R@1 of text and picture, text and film, picture and film, both ways; a probe for the colour and the shape
fitted on vectors of captions alone, and how much of its accuracy is left on pictures (bar 80 %); perplexity of held-out
text before and after (bar: within 2 %).
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import danlu
from benchmarks.answer import Answer
from danlu.checkpoint import Checkpoint
from danlu.data.pictures.prepare import gather
from danlu.data.pictures.settings import PictureSettings
from danlu.data.scenes import combinations
from danlu.evaluate.pictures import Embedded, Floats, retrieval
from danlu.generate.seeing import Seer
from danlu.recipes.pictures.speaking.judge import embedded
from danlu.recipes.pictures.speaking.rows import loader, material
from danlu.recipes.pictures.speaking.stage import TeachSeeing
from danlu.voice import Voice

KEPT, MOVED = 80.0, 2.0  # per cent
RECIPE = {
    "data.frames": 2, "train.batch": 64, "data.held_out": 0.02, "train.evaluate_every": 500, "text.share": 0.15,
    "train.lr": 5e-3, "train.optimizer": "muon", "pairs.weight": 1.0,
}  # fmt: skip


def vectors(checkpoint: Checkpoint, name: str) -> Embedded:
    """Of the first 512 scenes of a built-in set, in the order of their numbers."""
    data = PictureSettings(paths=(f"builtin:{name}",), text="en", frames=RECIPE["data.frames"], held_out=0.0)
    told = TeachSeeing(start="", data=data)
    quiet = Voice(quiet=True)
    (side,) = material(gather(data, quiet, asks=True), told, checkpoint, quiet).training
    batches = loader(checkpoint, side, told, 64, 0, shuffle=False, paired=True)
    assert checkpoint.model is not None
    return embedded(checkpoint.model, batches, 512)  # type: ignore[arg-type]


def pairs(first: Floats, second: Floats, alike: Any) -> dict[str, float]:
    """R@1 both ways, in per cent; scenes of one combination are right for each other."""
    found = retrieval(Embedded(first, second, alike), (1,))
    return {"forth": 100 * found["text_r1"].value, "back": 100 * found["image_r1"].value}


def probed(known: Floats, labels: list[str], tests: dict[str, Floats], answers: list[str]) -> dict[str, float]:
    """Accuracy of a logistic regression fitted on vectors of captions, in per cent."""
    from sklearn.linear_model import LogisticRegression

    probe = LogisticRegression(C=100.0, max_iter=2000).fit(known, labels)
    return {name: 100 * float(np.mean(probe.predict(each) == np.array(answers))) for name, each in tests.items()}


def perplexity(run: Path, text: Path) -> float:
    return float(danlu.call("evaluate", run, text, quiet=True).metrics["perplexity"]["value"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--language", type=int, default=400, help="steps of text first")
    parser.add_argument("--text", type=Path, default=Path(__file__).parents[1] / "docs" / "en")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        began, folder = time.monotonic(), Path(place)
        captions = "\n".join(f"{scene.en}\n" for scene in combinations(held_out=False))
        pages = sorted(given.text.glob("*.md"))
        (folder / "text.txt").write_text(captions + "\n".join(page.read_text() for page in pages[:-4]))
        (folder / "held.txt").write_text("\n".join(page.read_text() for page in pages[-4:]))
        text = danlu.pretrain(
            "palm-tiny", folder / "text.txt", output=folder / "text",
            **{"train.steps": given.language, "model.depth": 3, "model.length": 512, "data.length": 256},
        )  # fmt: skip
        trained = danlu.pretrain(
            text.path, ["builtin:scenes", "builtin:stirring"], output=folder / "seeing",
            tower="patches", model={"size": 64, "patch": 8, "common": 64},
            **{"text.paths": [str(folder / "text.txt")], "data.text": "en", "train.steps": given.steps, **RECIPE},
        )  # fmt: skip
        before, after = (perplexity(run.path, folder / "held.txt") for run in (text, trained))
        checkpoint = Checkpoint.load(trained.path)
        pictures, films = vectors(checkpoint, "unseen"), vectors(checkpoint, "unseen_stirring")
        found = {
            "image-text": pairs(pictures.images, pictures.texts, pictures.alike),
            "film-text": pairs(films.images, films.texts, films.alike),
            "image-film": pairs(pictures.images, films.images, pictures.alike),
        }
        known = combinations(held_out=False)
        said = Seer(checkpoint).matcher.embed_texts([scene.en for scene in known])
        unseen = combinations(held_out=True)
        asked = [unseen[at % len(unseen)] for at in range(len(pictures.images))]
        left = {}
        for fact in ("shape", "colour", "number"):
            tests = {"texts": pictures.texts, "pictures": pictures.images, "films": films.images}
            right = [getattr(scene, fact) for scene in asked]
            left[fact] = probed(said, [getattr(scene, fact) for scene in known], tests, right)
        seconds = time.monotonic() - began
    conditions = {"steps": given.steps, "seconds": round(seconds), **RECIPE, "r1": found, "probes": left}
    for name, both in found.items():
        Answer(f"{name}, R@1 among 512 unseen scenes", min(both.values()), 0.2, 1.0, 1.0, conditions).show()
    share = min(100 * each["pictures"] / max(1e-9, each["texts"]) for each in left.values())
    Answer("a probe of texts, left on pictures (%)", share, KEPT, share / KEPT, 1.0, conditions).show()
    change = 100 * (after / before - 1)
    told = {"before": before, "after": after}
    question = "perplexity of text after alignment, change (%)"
    Answer(question, change, MOVED, MOVED / max(change, 1e-9), 1.0, told).show()


if __name__ == "__main__":
    main()
