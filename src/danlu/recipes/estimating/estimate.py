"""`danlu estimate START DATA`: memory, disk and time of a run, before it; `danlu estimate score`: how well that went.

This machine is measured by a short trial (`estimating.probe`); one that is named is reckoned from its peak figures
(`estimating.arithmetic`).
"""

from pydantic import Field

from danlu.data.settings import DataSettings
from danlu.errors import DanluError
from danlu.models.build import parameters
from danlu.recipes.estimating.arithmetic import MOMENTS, Memory, on_machine, states, work
from danlu.recipes.estimating.machines import find_machine
from danlu.recipes.estimating.needs import Needs
from danlu.recipes.estimating.pictures import estimate as estimate_pictures
from danlu.recipes.estimating.pictures import plan as plan_pictures
from danlu.recipes.estimating.probe import Measured, probe
from danlu.recipes.estimating.score import WHAT, correction, judged, predict, scores, this_machine
from danlu.recipes.pictures.plan import kind_of_start
from danlu.recipes.pretraining.plan import Plan, plan
from danlu.recipes.pretraining.pretrain import CHECKED
from danlu.recipes.runs.call import Answer, Call, Common
from danlu.recipes.runs.machine import available_memory, size_in_words
from danlu.recipes.runs.planning import group
from danlu.settings import build
from danlu.voice import clock


class Estimate(Common):
    """calibrate: seconds of measuring. on: a machine that is not this one, by name; devices: how many of it."""

    calibrate: float = Field(2.0, gt=0, le=60)
    on: str | None = None
    devices: int = Field(1, ge=1, le=100_000)


OWN = ("calibrate", "on", "devices")


def estimate(call: Call) -> Answer:
    """The verb."""
    if call.words == ("score",):
        return score(call)
    own = call.only(*OWN).build(Estimate)
    kind = kind_of_start(call)
    if kind in ("dual", "multimodal"):
        return of_pictures(call, own, kind)
    ready = plan(call.without(*OWN), limited=False)
    if call.dry_run:
        return call.rehearse(ready.settings)
    needs = elsewhere(ready, own) if own.on else here(ready, own.calibrate)
    factors = dict.fromkeys(WHAT, 1.0)
    if not own.on:
        predict(ready.settings, {"memory": float(needs.memory.total), "seconds": needs.seconds})
        found, machine = scores(ready.settings.data.cache_folder), this_machine(ready.settings.device)
        factors = {what: correction(found, what, machine) for what in WHAT}
    show(call, own, needs, factors)
    memory, seconds = needs.memory.total * factors["memory"], needs.seconds * factors["seconds"]
    parts = vars(needs.memory) | {"parameters": needs.parameters, "disk": needs.disk, "steps": needs.steps}
    return Answer(metrics=parts | {"memory": memory, "seconds": seconds, "correction": factors})


def of_pictures(call: Call, own: Estimate, kind: str) -> Answer:
    """Of a run on pictures. E2219 for another machine than this one."""
    if own.on:
        raise DanluError("E2219", found=own.on)
    ready = plan_pictures(call.without(*OWN), kind)
    if call.dry_run:
        return call.rehearse(ready.settings)
    needs = estimate_pictures(ready, own.calibrate)
    show(call, own, needs, dict.fromkeys(WHAT, 1.0))
    parts = vars(needs.memory) | {"parameters": needs.parameters, "disk": needs.disk, "steps": needs.steps}
    return Answer(metrics=parts | {"memory": needs.memory.total, "seconds": needs.seconds})


def show(call: Call, own: Estimate, needs: Needs, factors: dict[str, float]) -> None:
    """One line a fact."""
    pick, say, memory = call.voice.pick, call.voice.fact, needs.memory
    there = find_machine(own.on).memory * 1e9 if own.on else available_memory()
    free = pick("there", "可用") if own.on else pick("free", "可用")
    total = memory.total * factors["memory"]
    say(pick("parameters", "参数量"), f"{needs.parameters:,}")
    if own.devices > 1:
        say(pick("devices", "设备"), f"{own.devices} × {own.on}")
    say(pick("memory", "内存"), f"{size_in_words(total)} ({size_in_words(there)} {free})")
    for en, zh, part in (
        ("  weights", "  权重", memory.weights), ("  gradients", "  梯度", memory.gradients),
        ("  optimizer", "  优化器", memory.optimizer), ("  activations", "  激活值", memory.activations),
        ("  the rest", "  其余", memory.rest),
    ):  # fmt: skip
        say(pick(en, zh), size_in_words(part))
    say(pick("disk", "磁盘"), size_in_words(needs.disk))
    say(pick("steps", "步数"), f"{needs.steps:,} × {needs.step:.3g} s")
    say(pick("time", "时间"), clock(needs.seconds * factors["seconds"]))
    if needs.share_of_peak is not None:
        say(pick("of the peak", "占峰值"), f"{needs.share_of_peak:.0%}")
    if any(factor != 1 for factor in factors.values()):
        learnt = ", ".join(f"{what} × {factor:.2f}" for what, factor in factors.items())
        say(pick("learnt from earlier runs", "由以往运行校正"), learnt)


def here(ready: Plan, calibrate: float) -> Needs:
    """What a planned run takes on this machine."""
    train, measured = ready.settings.train, probe(ready, calibrate)
    steps, seconds = course(ready, measured)
    state = states(ready.start.config, train, 1)
    best = state.weights if train.best else 0
    rest = int(measured.base) + best
    kept = max(0, int(measured.memory) - rest - state.weights - state.gradients - state.optimizer)
    memory = Memory(state.weights, state.gradients, state.optimizer, kept, rest)
    pieces = train.accumulate * -(-train.batch // min(train.micro or train.batch, train.batch))
    step = measured.update + pieces * measured.piece
    count = parameters(ready.start.config)
    return Needs(count, memory, disk(ready, measured.tokens * ready.text.bytes), steps, step, seconds)


def course(ready: Plan, measured: Measured) -> tuple[int, float]:
    """Steps, and seconds of all that is done between the first and the last."""
    train, characters = ready.settings.train, ready.text.bytes
    pieces = train.accumulate * -(-train.batch // min(train.micro or train.batch, train.batch))
    step = measured.update + pieces * measured.piece
    steps = train.steps or planned_steps(ready, measured.tokens * characters)
    if train.minutes:
        return max(1, int(60 * train.minutes / step)), 60 * train.minutes
    tenth = max(1, steps // 10)
    looks = -(-steps // (train.evaluate_every or tenth)) if measured.evaluation else 0
    look = min(CHECKED, max(1.0, measured.held_out * characters)) * measured.evaluation + measured.samples
    saves = steps / (train.save_every or min(1000, tenth))
    return steps, steps * step + looks * look + saves * measured.saving


def planned_steps(ready: Plan, tokens: float) -> int:
    train, length = ready.settings.train, ready.settings.data.length or 1024
    return max(1, round((train.epochs or 1.0) * tokens / (train.batch * train.accumulate * length)))


def elsewhere(ready: Plan, own: Estimate) -> Needs:
    """What a planned run takes on named devices."""
    assert own.on
    machine, config = find_machine(own.on), ready.start.config
    train, length = ready.settings.train, ready.settings.data.length or 1024
    half = train.precision != "float32" and machine.bf16 > 0
    memory, step = on_machine(machine, config, train, length, own.devices, half)
    steps = train.steps or planned_steps(ready, ready.text.tokens)
    if train.minutes:
        steps = max(1, int(60 * train.minutes / step))
    operations = train.batch * train.accumulate * length * work(config, length, recompute=False)
    share = operations / step / own.devices / machine.peak(half)
    tokens = ready.text.tokens
    return Needs(parameters(config), memory, disk(ready, tokens), steps, step, steps * step, share)


def disk(ready: Plan, tokens: float) -> int:
    """Checkpoints, the model, the tokenised text."""
    train, config = ready.settings.train, ready.start.config
    weights = 4 * parameters(config)
    checkpoint = weights * (1 + MOMENTS.get(train.optimizer, 2.0) + (1 if train.best else 0))
    return int(checkpoint * (train.keep + 2) + weights + tokens * (2 if config.vocabulary <= 1 << 16 else 4))


def score(call: Call) -> Answer:
    """How well estimates did: predicted, corrected by the runs before, and measured."""
    data = build(DataSettings, group(call.settings, "data"))
    rows, pick = judged(scores(data.cache_folder)), call.voice.pick
    for row in rows:
        memory, seconds = row["memory"], row["seconds"]
        call.voice.fact(row["name"], (
            f"{pick('memory', '内存')} {size_in_words(memory['corrected'])} / {size_in_words(memory['measured'])} "
            f"({memory['corrected_error']:+.0%}); "
            f"{pick('time', '时间')} {clock(seconds['corrected'])} / {clock(seconds['measured'])} "
            f"({seconds['corrected_error']:+.0%})"
        ))  # fmt: skip
    if not rows:
        call.voice.say("no run has been estimated and then made yet", "还没有先估计、后完成的运行")
    worst = {what: max((abs(row[what]["corrected_error"]) for row in rows), default=None) for what in WHAT}
    return Answer(metrics={"runs": rows, "largest_error": worst})
