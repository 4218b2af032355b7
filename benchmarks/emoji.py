"""Are emoji that no training saw found by their names, in English and in Chinese?

`python -m benchmarks.emoji [--steps 1200] [--start clip-tiny]`. emoji_noto: 1,416 pictures, 15 % of them kept apart;
one model a language, with names and keywords as captions. R@1 of the name among all names that were kept apart. Bar: 20
times chance. Ours is R@1 in per cent, theirs 20 times chance.
"""

import argparse
import csv
import json
import tempfile
import time
import zipfile
from pathlib import Path

import danlu
from benchmarks.answer import SHARED, Answer
from danlu.data.order import uniforms
from danlu.recipes.runs.folder import read_results

DATA = SHARED / "data" / "emoji_noto"
APART, TIMES = 0.15, 20
RECIPE = {
    "model.size": 64, "model.patch": 8, "model.depth": 4, "train.batch": 128, "data.crop": 0.7, "data.flip": True,
    "train.evaluate_every": 400,
}  # fmt: skip


def written(language: str, folder: Path) -> tuple[Path, Path]:
    """Two tables beside the pictures: to learn from, with keywords; and kept apart, names alone."""
    with (DATA / "names.tsv").open(encoding="utf8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    apart = uniforms(0, 0, range(len(rows)), 1)[:, 0] < APART
    sides: dict[bool, list[str]] = {False: [], True: []}
    for row, held in zip(rows, apart, strict=True):
        name, keywords = row[f"name_{language}"], row[f"keywords_{language}"]
        said = [name] if held else [name, *(word.strip() for word in keywords.split("|") if word.strip())]
        sides[bool(held)].append(json.dumps({"image": row["file"], "caption": said}, ensure_ascii=False))
    places = folder / f"{language}.jsonl", folder / f"{language}-apart.jsonl"
    for place, lines in zip(places, sides.values(), strict=True):
        place.write_text("\n".join(lines), encoding="utf8")
    return places


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--start", default="clip-tiny")
    parser.add_argument("languages", nargs="*", default=["en", "zh"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with zipfile.ZipFile(DATA / "images.zip") as archive:
            archive.extractall(folder)
        for language in given.languages:
            began = time.monotonic()
            training, apart = written(language, folder)
            run = danlu.pretrain(
                given.start, training, output=folder / f"run-{language}",
                **{"data.validation": str(apart), "train.steps": given.steps, **RECIPE},
            )  # fmt: skip
            found = {row["name"]: row for row in read_results(run.path)}
            count = len(apart.read_text(encoding="utf8").splitlines())
            value, bar = 100 * float(found["text_r1"]["value"]), 100 * TIMES / count
            conditions = {
                "steps": given.steps, "seconds": round(time.monotonic() - began), "gallery": count, **RECIPE,
                **{name: [row["value"], row.get("low"), row.get("high")] for name, row in found.items()},
            }  # fmt: skip
            question = f"emoji kept apart, their names in {language}, R@1"
            Answer(question, value, bar, value / bar, 1.0, conditions).show()


if __name__ == "__main__":
    main()
