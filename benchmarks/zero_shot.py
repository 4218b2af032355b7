"""How far do prompts bring a frozen sentence encoder? Bare names of classes → prompts made by rules → prompts searched
with 16 examples a class, and a careful prompt by hand beside them.

all-MiniLM-L6-v2 on SST-2, TREC's six kinds of question, and opinions against facts (sentences of reviews against
sentences of articles, as in Subj). `--part dev` is what rules and words were written with; `--part test` was looked at
afterwards. 95 % intervals; the searched step is the mean over seeds.

    python benchmarks/zero_shot.py ../shared/data
    python benchmarks/zero_shot.py ../shared/data --part dev --seeds 1
"""

import argparse
import gzip
import json
import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from danlu.checkpoint import Checkpoint
from danlu.evaluate.intervals import mean_of_groups
from danlu.prompt.folds import crossed
from danlu.prompt.honest import SEEDS
from danlu.prompt.rules.brief import brief_of
from danlu.prompt.rules.making import bare, prompts
from danlu.prompt.rules.ranking import ranked
from danlu.prompt.scorer import Scorer
from danlu.prompt.scorers import scorer_for
from danlu.prompt.search.ground import few
from danlu.prompt.spec import PromptSpec
from danlu.tasks.task import Row

SHOTS, UNLABELLED, PROMPTS = 16, 200, 6  # examples a class; rows to rank by; prompts that are searched among
STEPS = ("bare", "rules", "searched", "hand")
# What a careful person would write, without having looked at how any of it scores on the test part.
HAND: dict[str, tuple[tuple[str, ...], dict[str, tuple[str, ...]]]] = {
    "sst2": (
        ("This movie review is {label}.", "The movie was {label}."),
        {"negative": ("terrible", "bad", "boring", "a waste of time", "disappointing"),
         "positive": ("great", "good", "wonderful", "worth watching", "entertaining")},
    ),
    "trec": (
        ("{label}", "A question that asks {label}"),
        {"abbreviation": ("what an abbreviation stands for", "for the full form of an acronym"),
         "description": ("for a definition or explanation", "why or how something happens", "what something means"),
         "entity": ("which thing, animal, food, sport or product", "for the name of a thing"),
         "human": ("who somebody is", "for the name of a person or group"),
         "location": ("where something is", "for a city, country or place"),
         "number": ("how many or how much", "when, in what year, on what date", "how long, how far or how old")},
    ),
    "subj": (
        ("{label}", "This sentence is {label}."),
        {"subjective": ("a subjective opinion", "a reviewer's judgement of a film", "somebody's personal view"),
         "objective": ("an objective fact", "a statement of what happened", "a neutral description of events")},
    ),
}  # fmt: skip


def main() -> None:
    """Each step on each set, then their means."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("data", type=Path)
    asked.add_argument("--part", choices=("dev", "test"), default="test")
    asked.add_argument("--seeds", type=int, default=len(SEEDS))
    asked.add_argument("--model", default="minilm")
    chosen = asked.parse_args()
    scorer = scorer_for(Checkpoint.load(chosen.model))
    right: dict[str, dict[str, np.ndarray]] = {}
    for name, (training, rows) in sets(chosen.data, chosen.part).items():
        right[name] = steps(scorer, name, training, rows, SEEDS[: chosen.seeds])
        shown = "  ".join(f"{step} {each.mean():.1%}" for step, each in right[name].items())
        print(f"{name:6} {len(rows):5} rows  {shown}", file=sys.stderr, flush=True)
    report(right, chosen.part)


def steps(
    scorer: Scorer, name: str, training: list[Row], rows: list[Row], seeds: Sequence[int]
) -> dict[str, np.ndarray]:
    """Whether each row is answered rightly, (N,) a step; searched: the share of seeds."""
    labels = list(HAND[name][1])
    unlabelled = [Row({"text": row.values["text"]}) for row in random.Random(0).sample(training, UNLABELLED)]
    brief = brief_of(unlabelled, labels)
    plain = bare(brief, scorer.kind)
    made = prompts(brief, scorer.kind)
    best, _ = ranked(scorer, made, unlabelled)
    by_rules = best[0].spec
    print(f"  {name}: {brief.kind}; {by_rules.made_by}; {by_rules.lines}", file=sys.stderr)
    lines, words = HAND[name]
    hand = PromptSpec(templates=lines, verbaliser={"words": words}, query="{text}", made_by=("by hand",))
    first = [each.spec for each in best[:PROMPTS]]
    searched = [crossed(scorer, first, few(training, SHOTS, seed), seed)[0].spec for seed in seeds]
    found = {"bare": [plain], "rules": [by_rules], "searched": searched, "hand": [hand]}
    return {step: np.mean([answered(scorer, spec, rows) for spec in specs], 0) for step, specs in found.items()}


def sets(data: Path, part: str) -> dict[str, tuple[list[Row], list[Row]]]:
    """name -> rows to learn from, rows to measure on."""
    names = {"0": "negative", "1": "positive"}
    kinds = {"ABBR": "abbreviation", "DESC": "description", "ENTY": "entity", "HUM": "human", "LOC": "location",
             "NUM": "number"}  # fmt: skip
    reviews = {each: table(data / f"sst2/{each}.tsv", "label", names) for each in ("train", "dev", "test")}
    questions = table(data / "trec_qc/train.tsv", "coarse", kinds)
    random.Random(0).shuffle(questions)
    facts = {each: sentences(data / f"wikitext2/{each}.txt.gz") for each in ("valid", "test")}
    opinions = {each: [Row({"text": row.values["text"], "label": "subjective"}) for row in rows
                       if len(row.values["text"].split()) >= 8] for each, rows in reviews.items()}  # fmt: skip
    for rows in opinions.values():
        random.Random(1).shuffle(rows)
    learn = [row for pair in zip(opinions["train"][300:800], facts["valid"][300:800], strict=False) for row in pair]
    last = part == "test"
    return {
        "sst2": (reviews["train"], reviews[part]),
        "trec": (questions[1000:], table(data / "trec_qc/test.tsv", "coarse", kinds) if last else questions[:1000]),
        "subj": (learn, (opinions["test"][:500] + facts["test"][:500]) if last
                 else opinions["train"][:300] + facts["valid"][:300]),
    }  # fmt: skip


def table(path: Path, column: str, names: dict[str, str]) -> list[Row]:
    """Rows of a .tsv with a line of names on top."""
    head, *lines = path.read_text(encoding="utf8").splitlines()
    cells = [dict(zip(head.split("\t"), line.split("\t"), strict=False)) for line in lines]
    return [Row({"text": each["text"], "label": names[each[column]]}) for each in cells]


def sentences(path: Path) -> list[Row]:
    """Sentences of articles that tell of people and stories, in small letters as the reviews are."""
    with gzip.open(path, "rt", encoding="utf8") as file:
        lines = [line.strip() for line in file if line.strip() and not line.strip().startswith("=")]
    found = [each.lower() for line in lines for each in re.split(r"(?<=[.!?]) (?=[A-Z])", line)]
    told = re.compile(r"\b(he|she|him|her|they|film|character|story|episode)\b")
    fit = [each for each in found if 8 <= len(each.split()) <= 30 and told.search(each)]
    random.Random(0).shuffle(fit)
    return [Row({"text": each, "label": "objective"}) for each in fit]


def answered(scorer: Scorer, spec: PromptSpec, rows: Sequence[Row]) -> np.ndarray:
    """1 where the likeliest class is the right one: (N,)."""
    said = scorer.scores(spec, rows).argmax(1).tolist()
    return np.array([float(spec.classes[place] == row.values["label"]) for place, row in zip(said, rows, strict=True)])


def report(right: dict[str, dict[str, np.ndarray]], part: str) -> None:
    """Means over sets with intervals, and each step against the one before it."""
    means = {step: mean_of_groups([each[step] for each in right.values()]) for step in STEPS}
    for step, each in means.items():
        print(f"{step:9} {each.value:.1%}  [{each.low:.1%}, {each.high:.1%}]", file=sys.stderr)
    gains = {}
    for before, after in (("bare", "rules"), ("rules", "searched"), ("hand", "rules")):
        gap = mean_of_groups([each[after] - each[before] for each in right.values()])
        gains[f"{before} to {after}"] = {"value": gap.value, "low": gap.low, "high": gap.high}
        print(f"{before} → {after}: {gap.value:+.1%}  [{gap.low:+.1%}, {gap.high:+.1%}]", file=sys.stderr)
    holds = gains["bare to rules"]["low"] > 0 and gains["rules to searched"]["value"] > 0
    holds = holds and gains["hand to rules"]["value"] >= -0.03
    print(json.dumps({
        "question": "bare names → rule prompts → searched prompts, all-MiniLM-L6-v2",
        "ours": means["rules"].value, "theirs": means["hand"].value,
        "ratio": means["rules"].value / means["hand"].value,
        "bar": "each step better on average over sets; rules within 3 points of the hand prompt", "holds": bool(holds),
        "conditions": {"part": part, "shots": SHOTS, "gains": gains,
                       "sets": {name: {step: float(each.mean()) for step, each in found.items()}
                                for name, found in right.items()}},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
