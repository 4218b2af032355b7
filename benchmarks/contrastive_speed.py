"""How many images a second does danlu train a CLIP on, against open_clip's model in the same loop?

`python -m benchmarks.contrastive_speed [--rounds 3] [--steps 12] [--batch 128]`. A ViT and a text tower of 4 x 192,
pictures of 64 pixels, captions of a dozen tokens in a context of 77. Where open_clip is not installed (it needs
torchvision), transformers' CLIPModel stands in its place. The peer as shipped computes in float32, tuned in bf16.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.answer import Answer, interleaved, median
from danlu.data.scenes import scenes

WORKERS = Path(__file__).parent / "workers"
BAR, COUNT, LENGTH = 2.0, 4000, 77


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=128)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "scenes.npz"
        known = list(scenes(COUNT))
        words = sorted({word for scene, _ in known for word in scene.en.split()})
        tokens = np.ones((COUNT, LENGTH), np.int64)
        for row, (scene, _) in zip(tokens, known, strict=True):
            ids = [0, *(2 + words.index(word) for word in scene.en.split()), 1]
            row[: len(ids)] = ids
        np.savez(file, pixels=np.stack([np.asarray(picture) for _, picture in known]), tokens=tokens)
        numbers = [str(given.steps), str(given.batch)]
        peer = str(WORKERS / "contrast_peer.py")
        calls = {
            "ours": [str(WORKERS / "contrast_ours.py"), *numbers, "auto", str(file)],
            "ours in float32": [str(WORKERS / "contrast_ours.py"), *numbers, "float32", str(file)],
            "shipped": [peer, *numbers, "float32", str(file)],
            "tuned": [peer, *numbers, "bf16", str(file)],
        }
        rows = interleaved(calls, given.rounds, Path(place))
    speed = {name: median(found, "images_per_second") for name, found in rows.items()}
    conditions = {
        "rounds": given.rounds, "batch": given.batch, "threads": rows["ours"][0]["threads"],
        "peer": rows["shipped"][0]["peer"], "ours_in_float32": speed["ours in float32"],
        "peak_mb": {name: median(found, "peak_mb") for name, found in rows.items()},
    }  # fmt: skip
    for name in ("tuned", "shipped"):
        Answer(
            f"contrastive training, images/s against the peer as {name}", speed["ours"], speed[name],
            speed["ours"] / speed[name], BAR, conditions,
        ).show()  # fmt: skip


if __name__ == "__main__":
    main()
