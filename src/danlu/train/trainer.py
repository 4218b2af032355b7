"""The training loop: the only one."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from danlu import files
from danlu.data.batch import Batch
from danlu.errors import DanluError
from danlu.train.balance import Balance
from danlu.train.distributed import World
from danlu.train.evaluation import Stream, sliced
from danlu.train.gradients import Gradients, Measured
from danlu.train.guard import Guard, Verdict
from danlu.train.hardware import (
    autocast,
    compiled,
    compute_precision,
    naming_memory,
    recomputed,
    using_threads,
)
from danlu.train.layers import Thawing, optimizer_for
from danlu.train.log import Board, Journal, Metrics
from danlu.train.memory import hold_memory
from danlu.train.objectives import Objective
from danlu.train.pace import Pace
from danlu.train.parallel import arranged
from danlu.train.progress import Progress
from danlu.train.resume import Checkpoints
from danlu.train.room import Room
from danlu.train.saving import Saver
from danlu.train.schedules import factor
from danlu.train.settings import TrainSettings
from danlu.train.signals import Leave, Leaving, locked
from danlu.train.state import TrainingState, differences, hash_of, machine
from danlu.voice import Bar, Voice

__all__ = ["Progress", "TrainSettings", "Trainer"]

Evaluate = Callable[[nn.Module], Mapping[str, float]]

FIRST_LOOK = 32  # batches looked through for a target before a run is refused


class Trainer:
    """Trains a model in a folder, or goes on with what the folder holds.

    The loss of a step is the sum over the objective's losses of weight x total / count, where totals and counts run
    over every row of the step, so that rows can be taken in pieces of any size. All chance in a piece comes from
    torch's generator, seeded by (seed, position, piece): nothing about randomness has to be saved.

    evaluate: a function of the model (in eval mode) that returns numbers by name, `loss` among them; see `HeldOut`. The
    best weights are those of the lowest `cost`, or loss where there is none.

    What wants no gradient is neither trained nor saved. rates: by parameter, what its learning rate is multiplied by.
    balance: how much each of several losses counts; as much as the objective says where not given.
    """

    def __init__(
        self, model: nn.Module, objective: Objective, loader: Stream, settings: TrainSettings, folder: Path, *,
        voice: Voice, seed: int = 0, evaluate: Evaluate | None = None, device: torch.device | str = "cpu",
        world: World | None = None, rates: Mapping[str, float] | None = None, balance: Balance | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        hold_memory()
        self.device = torch.device(device)
        self.world = world = world or World()
        self.model, self.objective, self.settings, self.folder = model, objective, settings, Path(folder)
        self.loader = sliced(loader, world)
        self.voice, self.seed = voice if world.leads else voice.silenced(), seed
        self.evaluate, self.clock = evaluate, clock
        self.precision = compute_precision(settings.precision, self.device)
        with naming_memory(self.device):
            self.layout = arranged(model, objective, self.device, world, settings.sharded)
        self.gradients = Gradients(self.layout, self.precision, seed, balance)
        self.balance = self.gradients.balance
        if self.balance.apart and settings.sharded and not world.alone:
            raise DanluError("E2114", where=folder)
        if not self.gradients.parameters:
            raise DanluError("E1505", where=folder)
        trained = self.layout.trained
        self.optimizer = optimizer_for(trained, settings, self.precision, rates or {})
        self.thawing = Thawing(trained, bool(settings.unfreeze), world.alone)
        self.guard = Guard(settings.guard)
        self.state = TrainingState(trained, self.optimizer, self.guard, self.balance)
        self.pace = Pace(settings, loader, clock)
        tenth = max(1, (self.pace.total or 1000) // 10)
        self.evaluate_every = settings.evaluate_every or tenth
        self.checkpoints = Checkpoints(
            self.folder / "checkpoints",
            keep=settings.keep,
            every=settings.save_every or min(1000, tenth),
            back=settings.guard.back,
            world=world,
        )
        self.metrics = Metrics(self.folder / "metrics.jsonl", written=world.leads)
        self.journal = Journal(self.folder / "journal.jsonl", written=world.leads)
        self.saver = Saver(self.checkpoints, settings.save_minutes, voice, self.journal, clock)
        self.leaving, self.asked = Leaving(), False
        self.room = Room(self.gradients, settings.micro, self.voice, self._event)
        self.board: Board | None = None
        self.stream: Iterator[Batch] | None = None

    @property
    def progress(self) -> Progress:
        return self.state.progress

    @property
    def position(self) -> int:
        """The step's place in the data."""
        return self.progress.step + self.progress.offset

    # The loop

    def run(self) -> Progress:
        """Train to the end, to an early stop, or until asked to leave; `progress.ended` says which."""
        self.world.agree(self.folder, self._common())
        self._refuse_without_targets()
        trained, leads = self.layout.trained, self.world.leads
        with (
            locked(self.folder) if leads else nullcontext(), self.leaving, naming_memory(self.device),
            using_threads(self.settings.threads),
        ):  # fmt: skip
            self._resume()
            if self.settings.tensorboard and leads:
                self.board = Board(self.folder / "tensorboard", self.progress.step)
            with recomputed(trained, self.settings.recompute), compiled(trained, self.settings.compile):
                self._train()
            self._finish()
        return self.progress

    def _train(self) -> None:
        """What is due at a step is done before the next one begins: there a resumed run finds its place."""
        self.layout.trained.train()
        self.room.rehearse(self.loader, self.position * self.settings.accumulate, self.progress)
        self.pace.start(self.progress)
        with self.voice.progress("training", "训练", self.pace.remaining(self.progress)) as bar:
            while True:
                self._meet()
                self._evaluate_if_due()
                self._end_if_over()
                self._save_if_due()
                if self.progress.ended:
                    break
                self._step(bar)
        self.stream = None

    def _step(self, bar: Bar) -> None:
        """One update of the weights, if nothing speaks against it."""
        started = self.clock()
        batches = self._batches()
        counts, tokens = self.gradients.counts(batches)
        self._set_rate()
        files.reached("in step")
        measured, verdict = None, Verdict("skip", "no targets")
        if any(counts.values()):
            with self.thawing.held(
                self.pace.done(self.progress), self.pace.share(self.settings.unfreeze, self.progress)
            ):
                measured = self.room.measure(batches, counts, self.position, self.progress)
            verdict = self.guard.judge(measured.loss, measured.norm)
            if verdict.action == "rollback":
                self._go_back(verdict, measured)
                return
            if verdict.action == "go":
                self.gradients.clip(measured.norm, self.settings.clip)
                self.optimizer.step()
                self.balance.learn(measured.losses, measured.norms)
                if self.settings.average is not None and self.pace.reached(self.settings.average_from, self.progress):
                    self.state.follow(self.settings.average)
            self.gradients.forget()
        else:
            self.progress.without_targets += 1
        passed = self.pace.advance(self.progress, started, tokens)
        self._log(measured, verdict)
        self.pace.show(bar, self.progress, passed)

    # One step

    def _batches(self) -> list[Batch]:
        """The batches of this step; the next ones are made meanwhile."""
        if self.stream is None:
            self.stream = self.loader.stream(self.position * self.settings.accumulate)
        return [next(self.stream) for _ in range(self.settings.accumulate)]

    def _set_rate(self) -> None:
        settings, progress = self.settings, self.progress
        share = factor(
            settings.schedule, self.pace.done(progress), self.pace.share(settings.warmup, progress), settings.floor,
            hold=None if settings.hold is None else self.pace.share(settings.hold, progress), until=settings.until,
            power=settings.power,
        )  # fmt: skip
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * share

    def _go_back(self, verdict: Verdict, measured: Measured) -> None:
        """Return to an earlier checkpoint and leave out the data around the accident. E1502, E1503 where that fails."""
        here, counted, step = self.progress, self.guard.state, self.progress.step + 1
        found = f"loss {measured.loss:.4g}, gradient norm {measured.norm:.4g}"
        if counted.rollbacks >= self.settings.guard.rollbacks:
            raise DanluError(
                "E1503", where=self.folder, found=found, step=step, reason=verdict.reason, rollbacks=counted.rollbacks
            )
        earlier = self.checkpoints.earlier(step)
        if earlier is None:
            raise DanluError("E1502", where=self.folder, found=found, step=step, reason=verdict.reason)
        self.gradients.forget()
        self.state.read(earlier, keep_best=self.settings.best)
        self.guard.went_back(counted)
        self.progress.elapsed, self.progress.micro = here.elapsed, here.micro
        next_batch = here.step + here.offset + 1 + self.settings.guard.jump
        self.progress.offset, self.stream = next_batch - self.progress.step, None
        self.saver.go_back(earlier.step)
        self._event("rollback", f"{verdict.reason}: back to step {earlier.step}, on with batch {next_batch}", step)
        self.voice.say(
            f"step {step}: {verdict.reason}; back to step {earlier.step}, and on with other data",
            f"第 {step} 步异常（{verdict.reason}）：退回第 {earlier.step} 步，跳过附近的数据",
        )

    # What is due between two steps

    def _evaluate_if_due(self) -> None:
        progress = self.progress
        due = progress.step % self.evaluate_every == 0 or self.pace.is_over(progress)
        if self.evaluate is None or not due or progress.step in (0, progress.evaluated):
            return
        try:
            # One process that broke off would leave the others waiting.
            may_break = self.leaving.breakable() if self.world.alone else nullcontext()
            with (
                self.state.at_average(), self.layout.standing(), may_break, torch.no_grad(),
                autocast(self.device, self.precision),
            ):  # fmt: skip
                self.model.eval()
                values = dict(self.evaluate(self.model))
        except Leave:
            self._meet()
            return  # a resumed run finds it still due
        finally:
            self.model.train()
        values = self.world.led(lambda: values)
        self._meet()
        self._compare(values.pop("cost", values["loss"]))
        progress.evaluated = progress.step
        self._write({"step": progress.step, "evaluation": values, "seconds": round(progress.elapsed, 3)})
        told = {name: value for name, value in values.items() if name == "loss" or value != values["loss"]}
        shown = "  ".join(f"{name} {value:.4f}" for name, value in told.items())
        self.voice.say(f"step {progress.step}: held out  {shown}", f"第 {progress.step} 步：验证  {shown}")

    def _compare(self, loss: float) -> None:
        """Remember the best weights, and for how many evaluations there have been none better."""
        progress = self.progress
        if math.isfinite(loss) and (progress.best_loss is None or loss < progress.best_loss):
            progress.best_loss, progress.best_step, progress.waiting = loss, progress.step, 0
            if self.settings.best:
                self.state.keep_best()
        else:
            progress.waiting += 1

    def _meet(self) -> None:
        """The leader's clock counts for all, and whoever was asked to leave takes the others along."""
        table = self.world.numbers([bool(self.leaving.asked), self.progress.elapsed])
        self.asked = any(row[0] for row in table)
        self.progress.elapsed = table[0][1]

    def _end_if_over(self) -> None:
        progress, patience = self.progress, self.settings.patience
        evaluated = self.evaluate is None or progress.evaluated == progress.step
        if self.pace.is_over(progress) and evaluated:
            progress.ended = "done"
        elif patience is not None and progress.waiting >= patience:
            progress.ended = "early"
        elif self.asked:
            progress.ended = "interrupted"

    def _save_if_due(self) -> None:
        step, ended = self.progress.step, bool(self.progress.ended)
        if self.saver.due(step, ended):
            self.saver.save(step, self.state.tensors(), self._flushed, ended, self.state.rows())

    # Beginning and end

    def _refuse_without_targets(self) -> None:
        looked = min(FIRST_LOOK, self.loader.steps_per_epoch)
        found = any(any(self.objective.counts(self.loader.batch(step)).values()) for step in range(looked))
        if not self.world.any(found):
            raise DanluError("E1501", where=self.folder, found=looked)

    def _resume(self) -> None:
        """Take up the newest valid checkpoint, if there is one, and say what was passed over."""
        if self.world.leads:
            files.sweep(self.folder)
            files.sweep(self.checkpoints.folder)
        saved, damaged = self.checkpoints.newest()
        for error in damaged:
            self.voice.say(error.render("en"), error.render("zh"))
            self.journal.note("damaged checkpoint", code=error.code, where=error.where)
        if saved is None:
            self.metrics.take_up(0, 0)
            self.journal.note("started")
            return
        self.state.read(saved, keep_best=self.settings.best)
        self.metrics.take_up(saved.step, saved.state["metrics"])
        self.saver.at(saved.step)
        self.saver.prune()
        self.journal.note("resumed", step=saved.step)
        self.voice.say(f"going on from step {saved.step}", f"从第 {saved.step} 步继续")
        self._tell_changes(saved.state)

    def _tell_changes(self, saved: Mapping[str, Any]) -> None:
        """A run goes on with other settings or on another machine, but no longer to the same bits."""
        now = self._plain()
        changed = [difference for part in ("settings", "machine") for difference in differences(saved[part], now[part])]
        if changed:
            self.voice.say(
                f"changed since the checkpoint: {', '.join(changed)}", f"与检查点相比有变化：{'、'.join(changed)}"
            )
            self.journal.note("changed", what=", ".join(changed))

    def _finish(self) -> None:
        """Say how it ended; leave the best weights in the model."""
        progress = self.progress
        if self.board:
            self.board.close()
        self.journal.note(progress.ended, step=progress.step, signal=self.leaving.asked)
        if progress.ended == "interrupted":
            self.voice.say(
                f"saved at step {progress.step}; the same command goes on from there",
                f"已在第 {progress.step} 步保存；用同一命令即可继续",
            )
        elif self.state.has_better and self.state.best is not None:
            self.state.go_to_best()
            self.voice.say(
                f"weights of step {progress.best_step}, the best", f"采用第 {progress.best_step} 步的最佳权重"
            )
        else:
            self.state.go_to_average()

        self.layout.leave()

    # Writing down

    def _common(self) -> dict[str, Any]:
        """What every process has to be told alike."""
        shapes = {name: list(each.shape) for name, each in self.layout.trained.named_parameters()}
        data = {"steps_per_epoch": self.loader.steps_per_epoch, "seed": self.seed, "torch": torch.__version__}
        return self.settings.model_dump(mode="json") | data | {"weights": hash_of(shapes)}

    def _plain(self) -> dict[str, Any]:
        """All of a checkpoint that is not tensors."""
        settings = self.settings.model_dump(mode="json", exclude={"threads"}) | {"seed": self.seed}
        return {
            **self.state.plain(),
            "metrics": self.metrics.size,
            "settings": settings,
            "machine": machine(self.device, self.world.size),
        }

    def _flushed(self) -> dict[str, Any]:
        """The same, and the metrics it vouches for are on the disk. OSError where they are not."""
        self.metrics.sync()
        return self._plain()

    def _log(self, measured: Measured | None, verdict: Verdict) -> None:
        progress = self.progress
        progress.loss = measured.loss if measured else progress.loss
        if measured and progress.step % self.settings.log_every == 0:
            self._write({
                "step": progress.step,
                "loss": measured.loss,
                **{f"{name}_loss": loss for name, loss in measured.losses.items()},
                **{f"{name}_weight": weight for name, weight in measured.weights.items()},
                "lr": self.optimizer.param_groups[0]["lr"],
                "grad_norm": measured.norm,
                "tokens": progress.tokens,
                "seconds": round(progress.elapsed, 3),
                "tokens_per_second": round(self.pace.rate(), 1),
            })  # fmt: skip
            self.pace.begin_line()
        if verdict.action == "skip":
            self._event("skipped", verdict.reason)

    def _event(self, event: str, detail: str, step: int | None = None) -> None:
        self._write({"step": self.progress.step if step is None else step, "event": event, "detail": detail})

    def _write(self, line: Mapping[str, Any]) -> None:
        self.metrics.add(line)
        if self.board:
            self.board.add(line)
