"""`danlu verify resume | golden`: proofs on the user's own settings and files."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from danlu import files
from danlu.checkpoint import Checkpoint, damaged_files
from danlu.errors import DanluError, nearest
from danlu.recipes.finetuning.finetune import finetune
from danlu.recipes.finetuning.plan import plan as plan_finetuning
from danlu.recipes.finetuning.stage import Finetune
from danlu.recipes.pretraining.plan import plan as plan_pretraining
from danlu.recipes.pretraining.pretrain import pretrain
from danlu.recipes.pretraining.stage import Pretrain
from danlu.recipes.runs.call import Answer, Call, Common
from danlu.recipes.runs.folder import CONFIG, Run, is_run, note_proof
from danlu.report.card import write_card
from danlu.settings import Data, build, merge
from danlu.train.log import read_lines, untimed
from danlu.train.resume import Checkpoint as Saved
from danlu.train.resume import Checkpoints
from danlu.voice import Voice

# What carries a run out, by its verb, its settings, and what is left out of a short one.
VERBS: Mapping[str, tuple[Callable[[Call], Answer], type[Common], Data]] = {
    "pretrain": (pretrain, Pretrain, {"samples": {"count": 0}}),
    "finetune": (finetune, Finetune, {"search": None, "seeds": 1}),
}
CHILD = "from danlu.recipes.looking.verify import die; import sys; die(int(sys.argv[1]), sys.argv[2])"


class Verify(Common):
    """steps: of each of the two short runs; at: the step at which the second is killed, the middle where not given."""

    steps: int = Field(8, ge=2, le=10_000)
    at: int | None = Field(None, ge=1)


def verify(call: Call) -> Answer:
    """The verb."""
    action, rest = call.choose(("resume", "golden"))
    return resume(rest) if action == "resume" else golden(rest)


def resume(call: Call) -> Answer:
    """Train straight through, then again with a SIGKILL in the middle, and compare bit by bit."""
    settings = call.only("steps", "at").build(Verify)
    kill = settings.at or settings.steps // 2
    if kill >= settings.steps:
        raise DanluError("E1102", name="at", found=kill, possible=f"< {settings.steps}")
    short = shortened(call, settings.steps)
    if call.dry_run:
        return call.rehearse(short)
    place = Path(call.words[0])
    with tempfile.TemporaryDirectory(prefix="danlu-verify-") as folder:
        straight, broken = Run(Path(folder) / "straight"), Run(Path(folder) / "broken")
        for run in (straight, broken):
            run.write_config(short.model_copy(update={"output": str(run)}))
        say = call.voice.say
        say(f"1/3  {settings.steps} steps straight through", f"1/3  不间断训练 {settings.steps} 步")
        finish(straight, call.voice)
        say(
            f"2/3  again, killed in step {kill + 1} (SIGKILL)",
            f"2/3  再训练一次，在第 {kill + 1} 步被强行终止（SIGKILL）",
        )
        kill_at(kill, broken)
        say("3/3  resumed to the end", "3/3  恢复并训练到底")
        finish(broken, call.voice)
        difference = next(differences(straight, broken), None)
        counted = compared(straight)
    passed = difference is None
    what = f"{settings.steps} steps, killed in step {kill + 1}; {counted}"
    said = f"PASS: bit-equal ({what})" if passed else f"FAIL: {difference} ({what})"
    call.voice.say(said, said)
    if is_run(place) and Run(place).state == "finished":
        stamp = f"torch {torch.__version__}, {torch.get_num_threads()} threads, {time.strftime('%Y-%m-%d')}"
        note_proof(place, "resume", f"{said}; {stamp}")
        write_card(place, call.voice.language)
    metrics = {"steps": settings.steps, "killed": kill + 1, "difference": difference}
    return Answer(place if is_run(place) else None, metrics, passed=passed)


def golden(call: Call) -> Answer:
    """Replay the samples stored with a model: the same tokens, the same numbers."""
    (word,) = call.take("FOLDER")
    assert word
    call.build(Verify)
    damaged = damaged_files(word)
    replay = Checkpoint.load(word).replay()
    passed = replay.holds and not damaged
    said = f"{'PASS' if passed else 'FAIL'}: {replay.difference:.2e} ≤ {replay.tolerance:.0e}" + "".join(
        f"; {name} ≠ sha256" for name in damaged
    )
    call.voice.say(said, said)
    return Answer(
        metrics={"difference": replay.difference, "tolerance": replay.tolerance, "damaged": damaged}, passed=passed
    )


def shortened(call: Call, steps: int) -> Common:
    """The settings of a run, or of a call (of pretraining, unless `verb=finetune`), for a run of a few steps that saves
    and evaluates on the way. E1001 for a verb that does not train."""
    rest = call.without("steps", "at")
    place = Path(call.words[0]) if call.words else Path()
    known = Run(place) if is_run(place) and len(call.words) == 1 else None
    verb = known.verb if known else str(rest.settings.get("verb", "pretrain"))
    if verb not in VERBS:
        raise DanluError("E1001", word=verb, possible=list(VERBS), nearest=nearest(verb, VERBS))
    _, kind, quiet = VERBS[verb]
    if known:
        settings = build(kind, known.config, rest.settings, where=place / CONFIG)
    else:
        settings = (plan_finetuning(rest) if verb == "finetune" else plan_pretraining(rest)).settings
    often = max(1, steps // 4)
    none = dict.fromkeys(("epochs", "minutes"))
    brief = {"steps": steps, "save_every": often, "evaluate_every": often, "best": False, **none}
    return build(kind, merge(settings.model_dump(mode="json"), {"train": brief, "lang": None}, quiet))


def finish(run: Run, voice: Voice) -> None:
    """Carry a run to its end in a process of its own. E1811 where it fails, with its last words."""
    command = [sys.executable, "-m", "danlu", run.verb, str(run.path), f"lang={voice.language}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DanluError("E1811", found=done.stderr.strip()[-300:])


def kill_at(step: int, run: Run) -> None:
    """Begin a run in a process that dies by SIGKILL in the step after `step`."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(step), str(run.path)], capture_output=True, text=True, check=False
    )
    if done.returncode != -signal.SIGKILL:
        raise DanluError("E1811", found=done.stderr.strip()[-300:])


def die(step: int, folder: str) -> None:
    """Train, and be killed once `step` steps are done: the body of `kill_at`'s process."""
    begun = 0

    def reached(point: str) -> None:
        nonlocal begun
        begun += point == "in step"
        if begun > step:
            os.kill(os.getpid(), signal.SIGKILL)

    files.reached = reached
    VERBS[Run(Path(folder)).verb][0](Call((folder,), {}, Voice(quiet=True)))


def differences(left: Run, right: Run) -> Iterator[str]:
    """Where two runs of the same settings differ: weights, optimizer, counters, metrics; the first is enough."""
    one, other = last(left), last(right)
    for group in ("model", "optimizer", "average"):
        mine, theirs = one.tensors(group), other.tensors(group)
        for name in sorted(mine.keys() | theirs.keys()):
            if name not in mine or name not in theirs:
                yield f"{group}: {name} is missing"
            elif not torch.equal(bits(mine[name]), bits(theirs[name])):
                yield f"{group}: {name} differs by {(mine[name].float() - theirs[name].float()).abs().max():.3g}"
    yield from unequal("state", timeless(one.state["progress"]), timeless(other.state["progress"]))
    lines = [list(map(untimed, read_lines(run.path / "metrics.jsonl"))) for run in (left, right)]
    for number, (mine_line, theirs_line) in enumerate(zip(*lines, strict=False)):
        yield from unequal(f"metrics line {number + 1}", mine_line, theirs_line)
    if len(lines[0]) != len(lines[1]):
        yield f"metrics: {len(lines[0])} and {len(lines[1])} lines"


def compared(run: Run) -> str:
    found = last(run)
    counts = {group: len(found.tensors(group)) for group in ("model", "optimizer")}
    lines = len(read_lines(run.path / "metrics.jsonl"))
    return f"{counts['model']} weight tensors, {counts['optimizer']} optimizer tensors, {lines} metric lines compared"


def last(run: Run) -> Saved:
    found, _ = Checkpoints(run.path / "checkpoints", keep=2, every=1, back=1).newest()
    if found is None:
        raise DanluError("E1622", where=run.path)
    return found


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor as bytes, so that NaN equals NaN and 0 is not -0."""
    return tensor.contiguous().view(-1).view(torch.uint8)


def timeless(progress: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in progress.items() if name != "elapsed"}


def unequal(what: str, left: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(left.keys() | right.keys()):
        if left.get(name) != right.get(name):
            yield f"{what}: {name} is {left.get(name)} and {right.get(name)}"
