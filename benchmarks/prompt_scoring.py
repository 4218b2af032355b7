"""How much faster are prompts scored here than by a plain loop over transformers? Labels × prompts × examples.

Theirs: the same weights in the same folder, one forward in float32 for each prompt, each example and each label, the
whole text again every time, as scripts do it. Ours: what rows share is read once, labels share a row, rows are batched
by tokens, matrix products in bf16 where the processor has them. The same probabilities first, in float32.

    python benchmarks/prompt_scoring.py              # a causal model of 6 layers x 384, 8 demonstrations
    python benchmarks/prompt_scoring.py --kind bert
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from danlu.checkpoint import Checkpoint
from danlu.data.builtin import BUILTIN
from danlu.models.build import build
from danlu.models.families import fresh
from danlu.prompt.scorers import scorer_for
from danlu.prompt.spec import Demonstration, PromptSpec
from danlu.prompt.template import Renderer
from danlu.prompt.worded import WordScorer, words_of
from danlu.tasks.task import Row
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.train.hardware import compute_precision
from danlu.voice import Voice

BAR, ROUNDS, DEMOS = 5.0, 5, 8
SIZES = {"gpt": ("gpt2-mini", AutoModelForCausalLM), "bert": ("bert-mini", AutoModelForMaskedLM)}
LINES = (
    "{demos}Text: {text}\\nTopic: {mask}",
    "{demos}{text} This is about {mask}",
    "{demos}What is it about? {text} {mask}",
)
WORDS = {"files": ("files and folders",), "numbers": ("numbers",), "text": ("plain text",), "time": ("time and dates",),
         "network": ("the network",), "processes": ("processes",)}  # fmt: skip


def main() -> None:
    """Equal first, then timed in turns."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--kind", choices=tuple(SIZES), default="gpt")
    asked.add_argument("--examples", type=int, default=24)
    asked.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = asked.parse_args()
    texts = sentences()
    exact, fast, theirs = models(chosen.kind, texts)
    rows = [Row({"text": text}) for text in texts[: chosen.examples]]
    specs = prompts(texts[chosen.examples :])
    naive = [questions(exact, spec, rows) for spec in specs]
    difference = max(
        float((torch.tensor(answers(theirs, each, chosen.kind)) - exact.phrases(spec, rows)).abs().max())
        for spec, each in zip(specs, naive, strict=True)
    )
    print(f"greatest difference of log-probabilities in float32: {difference:.1e}", file=sys.stderr)
    assert difference < 1e-3
    ways: dict[str, Callable[[], object]] = {
        "theirs": lambda: [answers(theirs, each, chosen.kind) for each in naive],
        "ours": lambda: [fast.scores(spec, rows) for spec in specs],
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(chosen.rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    ours, theirs_ = (statistics.median(seconds[name]) for name in ("ours", "theirs"))
    print(json.dumps({
        "question": "scoring labels × prompts × examples against a plain transformers loop",
        "ours": ours, "theirs": theirs_, "ratio": theirs_ / ours, "bar": BAR, "holds": theirs_ / ours >= BAR,
        "conditions": {
            "model": SIZES[chosen.kind][0], "labels": len(WORDS), "prompts": len(specs), "examples": len(rows),
            "demonstrations": DEMOS, "bf16": fast.bf16, "threads": torch.get_num_threads(), "difference": difference,
        },
    }))  # fmt: skip


def models(kind: str, texts: Sequence[str]) -> tuple[WordScorer, WordScorer, torch.nn.Module]:
    """One fresh model three times: ours in float32, ours as it is used, and as transformers reads its folder."""
    name, auto = SIZES[kind]
    family, _ = fresh(name)
    settings = TokenizerSettings(kind=family.tokenizer, vocabulary=8000)
    tokenizer = train_tokenizer(iter(texts), settings, family.specials, Voice(quiet=True), frame=family.frame)
    family, config = fresh(name, tokenizer.vocabulary)
    checkpoint = Checkpoint(family, config, build(config).eval(), tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        theirs = auto.from_pretrained(checkpoint.save(Path(folder) / "model")).eval()
    bf16 = compute_precision("auto", torch.device("cpu")) == torch.bfloat16
    exact, fast = scorer_for(checkpoint), scorer_for(checkpoint, bf16)
    assert isinstance(exact, WordScorer)
    assert isinstance(fast, WordScorer)
    return exact, fast, theirs


def sentences() -> list[str]:
    """First sentences of the standard library's docstrings."""
    found = (" ".join(each["text"].split())[:200] for each in BUILTIN["english"]())
    return [text for text in found if len(text) > 40]


def prompts(texts: Sequence[str]) -> list[PromptSpec]:
    labels = list(WORDS)
    pool = tuple(
        Demonstration(values={"text": text}, label=labels[at % len(labels)]) for at, text in enumerate(texts[:DEMOS])
    )
    shown = {"pool": pool, "count": DEMOS}
    return [PromptSpec(templates=(line,), verbaliser={"words": WORDS}, demonstrations=shown) for line in LINES]


def questions(
    scorer: WordScorer, spec: PromptSpec, rows: Sequence[Row]
) -> list[list[list[tuple[list[int], int, int]]]]:
    """For each row, each label, each token of it: what is read, the place that is asked for, the token."""
    words = words_of(spec.verbaliser, spec.template, scorer.spelling)
    room = scorer.room(spec) - max(sum(map(len, parts)) for parts in words)
    made = Renderer(spec.template, spec.verbaliser, scorer.spelling, room)
    rendered = made.render(rows, [spec.demonstrations.pool] * len(rows))
    found = []
    for row in rendered:
        labels = []
        for (part,) in words:
            if scorer.kind == "causal":
                first = [*scorer.tokenizer.prefix] or [scorer.tokenizer.special["end"]]
                whole, (start,) = row.filled([part])
                whole, start = first + whole, start + len(first)
                labels.append([(whole, start + at - 1, token) for at, token in enumerate(part)])
                continue
            asked, filled = [], [scorer.tokenizer.special["mask"]] * len(part)
            for at, token in enumerate(part):
                whole, (start,) = row.filled([filled])
                asked.append((scorer.tokenizer.frame(whole), start + at + len(scorer.tokenizer.prefix), token))
                filled = [*part[: at + 1], *filled[at + 1 :]]
            labels.append(asked)
        found.append(labels)
    return found


@torch.no_grad()
def answers(
    model: torch.nn.Module, asked: list[list[list[tuple[list[int], int, int]]]], kind: str
) -> list[list[float]]:
    """The plain loop: a forward a label (a causal model's tokens are all in it), or a forward a masked token."""
    found = []
    for row in asked:
        said = []
        for label in row:
            total = 0.0
            for number, (tokens, place, token) in enumerate(label):
                if kind == "bert" or number == 0:
                    chances = model(input_ids=torch.tensor([tokens])).logits[0].float().log_softmax(-1)
                total += float(chances[place, token])
            said.append(total)
        found.append(said)
    return found


if __name__ == "__main__":
    main()
