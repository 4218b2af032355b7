"""`danlu compress START [DATA] [RECIPE.yaml]`: a method, a chain of them, or a budget."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError, raise_all
from danlu.files import file_hash, replace_file, replace_json
from danlu.recipes.compressing import budget
from danlu.recipes.compressing.chain import Held, Way, carry, plain, told
from danlu.recipes.compressing.finding import data_of, find_subject
from danlu.recipes.compressing.measuring import Original, kernels, measured, memory_of, tested, timed
from danlu.recipes.compressing.stage import Compress
from danlu.recipes.compressing.subject import Subject
from danlu.recipes.evaluating.judging import say_results
from danlu.recipes.runs.call import Answer, Call
from danlu.recipes.runs.folder import Run, add_results, folder_problems, is_run, new_run, slug
from danlu.recipes.runs.performing import perform
from danlu.recipes.runs.planning import Attempts, interrupted_twin
from danlu.recipes.starting.start import find_device
from danlu.report.card import write_card
from danlu.report.run import write_report
from danlu.settings import Data, build, merge, read_yaml, to_yaml
from danlu.train.distributed import World
from danlu.voice import Voice

RECORD, RECIPE = "compression.json", "recipe.yaml"


@dataclass(frozen=True)
class Plan:
    """A run that is ready to begin, or to go on."""

    settings: Compress
    run: Run


def compress(call: Call) -> Answer:
    """The verb."""
    further = "next:  danlu evaluate {run}", "下一步：  danlu evaluate {run}"
    return perform(call, "compress", plan, introduce, carry_out, further)


def plan(call: Call) -> Plan:
    """Resolve a call. Everything wrong with it is raised together."""
    first, *others = call.words or (call.settings.get("start"),)
    if first is None:
        raise DanluError("E1005", word="START", possible=["START", "DATA", "RECIPE.yaml"])
    place = Path(str(first))
    if is_run(place) and Run(place).config.get("verb") == "compress" and not others and not _asks(call.settings):
        return Plan(build(Compress, Run(place).config, where=place), Run(place))
    given = dict(call.settings)
    if place.suffix in (".yaml", ".yml"):
        given = merge(_without_output(read_yaml(place)), given)
    else:
        given = {"start": str(first)} | given
    paths = [word for word in others if Path(word).suffix not in (".yaml", ".yml")]
    for word in (word for word in others if word not in paths):
        given = merge(_recipe(Path(word)), given)
    if paths:
        given = merge(given, {"data": {"paths": paths}})
    source = call.voice.pick("command line", "命令行")
    attempt = Attempts()
    settings = attempt(lambda: build(Compress, given, where=source))
    if settings is None:
        raise_all(attempt.problems)
        raise AssertionError("a failed build has problems")
    if not settings.chain and not settings.budget:
        attempt.problems.append(DanluError("E2412"))
    if settings.chain and settings.budget:
        attempt.problems.append(DanluError("E2413", found=[told(step) for step in settings.chain]))
    attempt(lambda: find_device(settings.device))
    attempt(lambda: Checkpoint.peek(settings.start))
    attempt(lambda: data_of(settings))
    run = attempt(lambda: new_run(settings.output, f"{slug(settings.start)}-small", ""))
    if run:
        attempt.problems.extend(folder_problems(run.path))
    raise_all(attempt.problems)
    assert run is not None
    return Plan(settings, interrupted_twin(run, settings, named=bool(settings.output)))


def introduce(ready: Plan, voice: Voice) -> None:
    """What is going to be done."""
    steps = " → ".join(told(step) for step in ready.settings.chain)
    if steps:
        voice.say(f"steps: {steps}", f"步骤：{steps}")


def carry_out(ready: Plan, voice: Voice, world: World | None = None) -> Run:
    """Do, or finish, a planned run. Stopped (a KeyboardInterrupt) where it was asked to leave in between."""
    settings, run = ready.settings, ready.run
    way = Way(settings.calibration, voice, find_device(settings.device), settings.seed, f"danlu compress {run}")
    start = _loaded(settings)
    subject = find_subject(start, settings, voice)
    quality = subject.quality(start.model, "validation", voice)
    voice.say("the original, on rows to choose by:", "原模型，在验证集上：")
    say_results([quality.result], voice)
    first = Original(start.model, subject, quality)
    held = Held(_loaded(settings), start, subject)
    steps = settings.chain or budget.search(settings, held, first, run.path, way)
    before = subject.quality(start.model, "test", voice)
    unharmed = _loaded(settings)
    begun = measured(start.model, subject, first, start.where, voice)
    held, records = carry(steps, held, first, run.path / "steps", way)
    final = held.checkpoint
    story = {"steps": [told(step) for step in steps], "start": settings.start, "seed": settings.seed}
    replace(final, lineage=final.lineage | {"compressed": story}).save(run.model)
    replace_file(run.path / RECIPE, to_yaml({"steps": [plain(step) for step in steps]}))
    found = tested(final.model, held.subject, held.original(first), before, voice)
    record: Data = {
        "original": begun, "steps": records, "test": found, "hash": weights_hash(run.model),
        "latency": timed({"original": unharmed.model, "compressed": final.model}, held.subject, settings.measure),
        "memory": _memory(settings, {"original": start.where, "compressed": run.model}, held.subject),
        "kernels": kernels(final.model),
    }  # fmt: skip
    if (run.path / budget.FILE).is_file():
        record["budget"] = json.loads((run.path / budget.FILE).read_text(encoding="utf8"))
    replace_json(run.path / RECORD, record)
    add_results(run.path, [found["quality"]], {"original": [found["original"]]})
    _say(record, voice)
    write_report(run.path, voice.language)
    write_card(run.path, voice.language)
    return run


def _memory(settings: Compress, folders: Mapping[str, Path | None], subject: Subject) -> Data:
    if not settings.measure.memory:
        return {}
    return {name: memory_of(folder, subject, settings.measure) for name, folder in folders.items() if folder}


def weights_hash(folder: Path) -> str:
    """One hash of all weights files of a model: what a recipe that is repeated has to give again."""
    return " ".join(file_hash(path) for path in sorted(folder.glob("model*.safetensors")))


def _loaded(settings: Compress) -> Checkpoint:
    found = Checkpoint.load(settings.start)
    return found.merged() if found.adapted else found


def _asks(settings: Data) -> bool:
    return bool(settings.keys() - {"lang", "output", "device"})


def _without_output(data: Data) -> Data:
    return {name: value for name, value in data.items() if name not in ("output", "lang")}


def _recipe(path: Path) -> Data:
    """A file of steps: `steps: [...]`, or the list alone."""
    data = read_yaml(path)
    return _without_output({name: value for name, value in data.items() if name != "start"})


def _say(record: Data, voice: Voice) -> None:
    test, times = record["test"], record["latency"]
    voice.say("compressed, on rows to test on:", "压缩后，在测试集上：")
    say_results([test["quality"]], voice)
    pairs = zip(times["original"], times["compressed"], strict=True)
    for before, after in pairs:
        ratio = before["low"] / max(after["low"], 1e-9)
        words = f"{1e3 * before['low']:.2f} → {1e3 * after['low']:.2f} ms ({ratio:.2f}×)"
        voice.say(f"{after['threads']} thread(s): {words}", f"{after['threads']} 线程：{words}")
