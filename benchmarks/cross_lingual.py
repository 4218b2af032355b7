"""Do translations side by side bring languages together?

`python -m benchmarks.cross_lingual [--steps 600] [--family xlm-mini]`. One model learns to fill masks on the
captions of multi30k in English, German and French, each caption by itself (theirs); another one reads, in every second
step, captions beside their translations as well (MLM + TLM; Lample, Conneau 2019, table 5). Same text, same steps, same
batches, same vocabulary. Both are then asked for the translation of each of 1,000 sentences of Tatoeba from German and
from French and back, of which neither has seen any: the share found, and whether the difference is more than chance.
"""

import argparse
import gzip
import tempfile
from pathlib import Path
from typing import Any

import danlu
from benchmarks.answer import SHARED, Answer

DATA = SHARED / "data"
LANGUAGES = ("en", "de", "fr")
TATOEBA = {"de": "deu", "fr": "fra"}
RECIPE: dict[str, Any] = {
    "tokenizer": {"vocabulary": 8000},
    "train": {"optimizer": "muon", "schedule": "linear", "warmup": 0.05},
    "samples": {"count": 0},
}


def texts(folder: Path) -> dict[str, Path]:
    """The training captions as plain files, without those of the validation part."""
    found = {}
    for language in LANGUAGES:
        found[language] = folder / f"train.{language}"
        found[language].write_bytes(gzip.decompress((DATA / f"multi30k/train.{language}.gz").read_bytes()))
    return found


def sources(files: dict[str, Path]) -> dict[str, Any]:
    """Each language for itself, and English beside each of the others."""
    alone = {language: {"paths": str(path), "documents": "lines"} for language, path in files.items()}
    beside = {
        f"en-{language}": {"parallel": {"en": str(files["en"]), language: str(files[language])}}
        for language in LANGUAGES[1:]
    }
    return alone | beside


def found(run: Any, against: Any, language: str, centred: bool) -> dict[str, Any]:
    """Accuracy of retrieval on Tatoeba, and how much better than the other run."""
    code = TATOEBA[language]
    metrics: dict[str, Any] = danlu.call(
        "evaluate", run.path, DATA / f"tatoeba_retrieval/{code}-eng.tsv",
        data={"parallel": {language: code, "en": "eng"}}, retrieval={"centred": centred},
        **({"against": str(against.path)} if against else {}),
    ).metrics  # fmt: skip
    return metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--family", default="xlm-mini")
    parser.add_argument("--length", type=int, default=96)
    parser.add_argument("--batch", type=int, default=48, help="rows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="keep the runs here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = options.output or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        data = {"sources": sources(texts(folder)), "length": options.length, "sampling": 1.0}
        long = {
            "batch": options.batch,
            "steps": options.steps,
            "evaluate_every": options.steps,
            "save_every": options.steps,
        }
        recipe = RECIPE | {"train": RECIPE["train"] | long, "data": data, "seed": options.seed}
        mlm = {"mlm": 1.0}
        alone = {name: each for name, each in data["sources"].items() if "paths" in each}
        theirs = danlu.pretrain(
            options.family, output=folder / "mlm", objective=mlm, **recipe | {"data": data | {"sources": alone}}
        )
        same = {"tokenizer": {"path": str(theirs.path / "model")}}
        ours = danlu.pretrain(options.family, output=folder / "tlm", objective=mlm | {"tlm": 1.0}, **recipe | same)
        rows = {}
        for language in TATOEBA:
            for centred in (False, True):
                name = f"{language}, centred" if centred else language
                base, better = found(theirs, None, language, centred), found(ours, theirs, language, centred)
                rows[name] = {"mlm": base["retrieval"], "mlm+tlm": better["retrieval"], "difference": better["against"]}
    plain = [rows[language] for language in TATOEBA]
    mean = [sum(row[arm]["value"] for row in plain) / len(plain) for arm in ("mlm+tlm", "mlm")]
    better = all(row["difference"]["retrieval"]["verdict"] == "better" for row in plain)
    conditions = {
        "steps": options.steps, "family": options.family, "length": options.length, "batch": options.batch,
        "seed": options.seed,
        "recipe": RECIPE, "tatoeba": rows, "better in every language": better,
        "seconds": {"mlm": theirs.metrics["seconds"], "mlm+tlm": ours.metrics["seconds"]},
    }  # fmt: skip
    question = "sentences of Tatoeba (de, fr) whose translation is nearest: MLM + TLM against MLM alone, same steps"
    Answer(question, mean[0], mean[1], mean[0] / max(mean[1], 1e-9), 1.0, conditions).show()


if __name__ == "__main__":
    main()
