"""Does pretraining an encoder-decoder pay before it translates?

`python -m benchmarks.writing_pays [t5-mini bart-mini] [--steps 1500] [--epochs 4] [--keep FOLDER]`. Each model learns
to repair its own noise (spans, or BART's infilling) in the English and German captions of multi30k, which it sees as
two texts and never side by side; then it is fine-tuned to translate. Its twin, with the same tokenizer, is fine-tuned
untrained, the same way. BLEU on test_2016_flickr, both on the same rows; ours and theirs are means over the models.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import danlu
from benchmarks.answer import Answer
from benchmarks.translation import captions, on_test

NOISE: dict[str, Any] = {"t5-mini": {"objective": "span"}, "bart-mini": {"objective": "infill"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("starts", nargs="*", default=list(NOISE))
    parser.add_argument("--steps", type=int, default=1500, help="of pretraining, 64 rows of 64 tokens each")
    parser.add_argument("--epochs", type=float, default=4, help="of fine-tuning")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    after: dict[str, Any] = {"task": "translate", "train": {"epochs": options.epochs}, "embeddings": True}
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        text = captions(folder / "captions", "en", "de")
        for start in options.starts:
            base = danlu.pretrain(
                start, [text / "train.en", text / "train.de"], output=folder / f"{start}-base",
                data={"documents": "lines", "length": 64}, train={"batch": 64, "steps": options.steps},
                samples={"count": 0}, **NOISE[start],
            )  # fmt: skip
            same = {"tokenizer": {"path": str(base.model)}}
            fresh = danlu.finetune(start, text, output=folder / f"{start}-untrained", **same, **after)
            trained = danlu.finetune(str(base.path), text, output=folder / f"{start}-pretrained", **after)
            compared = danlu.call(
                "evaluate", trained.path, against=str(fresh.path), seed=0, quiet=True
            ).metrics["against"]  # fmt: skip
            found = {name: on_test(run, "bleu") for name, run in (("pretrained", trained), ("untrained", fresh))}
            rows[start] = {"bleu": found, "difference": compared, "pretraining": base.metrics}
    means = [sum(row["bleu"][arm]["value"] for row in rows.values()) / len(rows) for arm in ("pretrained", "untrained")]
    conditions = {"steps": options.steps, "epochs": options.epochs, "models": rows, "test": "test_2016_flickr"}
    question = "BLEU of multi30k, English to German, after pretraining on captions, against none"
    Answer(question, means[0], means[1], means[0] / max(means[1], 1e-9), 1.0, conditions).show()


if __name__ == "__main__":
    main()
