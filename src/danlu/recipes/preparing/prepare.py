"""`danlu data prepare START DATA`: tokenise before training, all at once or in parts on several machines.

A part is an independent task: it needs the text, the settings, and a folder that all tasks see. What it has finished
is not done again, so that it can be started again at will, by Slurm's job arrays, by Ray, or by hand. All parts
together leave the same bytes as one machine alone.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from danlu.data.division import divide
from danlu.data.shards import prepare_part
from danlu.data.sifting import sift
from danlu.errors import DanluError
from danlu.files import held
from danlu.recipes.pretraining.plan import Plan, plan
from danlu.recipes.pretraining.pretrain import make_tokenizer
from danlu.recipes.runs.call import Answer, Call
from danlu.recipes.starting.start import find_tokenizer
from danlu.settings import merge
from danlu.text.tokenizer import Tokenizer
from danlu.voice import Voice

PLACE = "prepared"  # where nothing was said
OWN = ("part", "parts", "engine", "output")


def prepared(call: Call, part: str | None, parts: int, engine: str) -> Answer:
    """The verb's work: one part, all parts on a Ray cluster, or everything here."""
    folder = Path(call.settings.get("output") or PLACE)
    ready = plan(_within(call, folder), limited=False)
    if call.dry_run:
        return call.rehearse(ready.settings)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = kept_tokenizer(ready, folder, call.voice)
    voice = call.voice
    if engine == "ray":
        words, settings = call.words, {name: value for name, value in call.settings.items() if name not in OWN[:3]}
        each = [f"{number}/{parts}" for number in range(1, parts + 1)]
        results = on_ray(task, [(words, settings | {"output": str(folder)}, one) for one in each])
        there, of = results[-1]
    elif part is not None:
        there, of = make(ready, tokenizer, voice, *numbers(part))
    else:
        there = of = 0
    if engine == "ray" or part is None:  # all is there, or will be: put together what belongs together
        division = divide(ready.settings.data, tokenizer, voice)
        tokens = division.training.size + (division.validation.size if division.validation else 0)
        voice.say(f"{folder}: {tokens:,} tokens", f"{folder}：{tokens:,} 个词元")
        return Answer(metrics={"tokens": tokens, "folder": str(folder)}, files=(folder,))
    voice.say(
        f"{folder}: part {part}; {there} of {of} shards are there",
        f"{folder}：第 {part} 部分；{of} 个分片中已有 {there} 个",
    )
    return Answer(metrics={"shards": there, "of": of, "folder": str(folder)}, files=(folder,))


def _within(call: Call, folder: Path) -> Call:
    """The call, with its tokens kept in the folder."""
    rest = call.without(*OWN)
    words, settings = rest.words, merge(rest.settings, {"data": {"cache": str(folder)}})
    return Call(words, settings, rest.voice, rest.dry_run)


def kept_tokenizer(ready: Plan, folder: Path, voice: Voice) -> Tokenizer:
    """The tokenizer of all parts: that of the start, or one that the first part to come has trained."""
    if ready.start.where:
        return find_tokenizer(ready.start.where)

    def waiting() -> None:
        voice.say("another part is making the tokenizer; waiting for it", "另一部分正在训练分词器，等待其完成")

    with held(folder / "tokenizer.lock", waiting=waiting):
        return make_tokenizer(ready.settings, ready.start.family, voice, folder / "tokenizer")


def numbers(part: str) -> tuple[int, int]:
    """3/16 -> (2, 16): counted from 0. E2110."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", part)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise DanluError("E2110", found=part, possible="1/N … N/N")
    return int(found[1]) - 1, int(found[2])


def make(ready: Plan, tokenizer: Tokenizer, voice: Voice, part: int, parts: int) -> tuple[int, int]:
    """One part of every source, and of the text to validate by: (shards that are there, all of them)."""
    data = ready.settings.data
    sieve, found = sift(data, voice), [(0, 0)]
    for name, source in data.parts.items():
        found.append(prepare_part(source, tokenizer, voice, part, parts, sieve=sieve, name=name))
    if data.validation:
        found.append(prepare_part(data, tokenizer, voice, part, parts, data.validation))
    return sum(there for there, _ in found), sum(of for _, of in found)


def task(words: tuple[str, ...], settings: dict[str, Any], part: str) -> tuple[int, int]:
    """One part, wherever it runs."""
    folder, voice = Path(settings["output"]), Voice(quiet=True)
    ready = plan(_within(Call(words, settings, voice), folder), limited=False)
    return make(ready, kept_tokenizer(ready, folder, voice), voice, *numbers(part))


def on_ray(work: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Each call as a task of a Ray cluster: of the one this machine belongs to, else of this machine. E2111."""
    try:
        import ray
    except ImportError as error:
        raise DanluError("E2111") from error
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False)
    try:
        remote = ray.remote(work)
        return list(ray.get([remote.remote(*each) for each in calls]))
    finally:
        if started:
            ray.shutdown()
