"""How several processes take the gradients of one step: alone, as replicas (DDP), or each holding a shard (FSDP2).

Every process has its rows of the batch. Losses are divided by the counts of all rows of all processes and gradients are
added, not averaged, so that they are those of one process whatever the number, and also where some have a row more.
"""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, distributed, nn

from danlu.data.batch import Batch
from danlu.errors import DanluError
from danlu.nn.parameters import assign
from danlu.train.distributed import World
from danlu.train.divided import own, own_rows, whole
from danlu.train.hardware import blocks
from danlu.train.objectives import Objective

Piece = tuple[Batch, bool]  # and whether it counts


class Losses(nn.Module):
    """An objective and its model as one module: the whole of a forward pass, for what wraps modules."""

    def __init__(self, model: nn.Module, objective: Objective):
        super().__init__()
        self.model = model
        self.ask = objective.__call__  # bound, so that an objective with weights of its own is not wrapped, too

    def forward(self, piece: Batch) -> dict[str, Tensor]:
        return self.ask(self.model, piece)


class Single:
    """One process. `trained` is the model whose parameters are optimised."""

    def __init__(self, model: nn.Module, objective: Objective, device: torch.device, world: World):
        self.model, self.objective, self.device, self.world = model, objective, device, world
        self.trained = self._ready()
        self.losses: nn.Module = Losses(self.trained, objective)

    def _ready(self) -> nn.Module:
        return self.model.to(self.device)

    def pieces(self, batches: Sequence[Batch], rows: int | None) -> list[Piece]:
        """The rows of this process, some at a time."""
        return [(piece, True) for batch in batches for piece in batch.split(rows or batch.rows)]

    def taking(self, last: bool) -> AbstractContextManager[Any]:
        """Around the forward and backward pass of a piece."""
        return nullcontext()

    def total(self, norm: float, sums: Sequence[float]) -> tuple[float, list[float]]:
        """The length of the whole gradient and the losses of all rows, from those of this process."""
        return norm, list(sums)

    def rehearsed(self, unused: bool) -> None:
        """One piece has been tried; unused: parameters without a gradient were found. From now on processes wait."""

    @contextmanager
    def standing(self) -> Iterator[None]:
        """While entered, `model` holds the present weights, in every process."""
        yield

    def leave(self) -> None:
        """Training is over: `model` holds the weights in the process that leads."""


class Replicas(Single):
    """Each process has the whole model; gradients are added while the last piece's backward pass runs (DDP)."""

    wrapped: nn.Module | None = None

    def rehearsed(self, unused: bool) -> None:
        """Wrap the model: only now is it known whether DDP has to look for parameters without a gradient."""
        several = unused or len(self.objective.weights) > 1
        device_ids = [self.device] if self.device.type == "cuda" else None
        with warnings.catch_warnings():  # the name of one option changes with torch's version
            warnings.simplefilter("ignore", FutureWarning)
            self.wrapped = nn.parallel.DistributedDataParallel(
                self.losses, device_ids=device_ids, broadcast_buffers=False, find_unused_parameters=several,
                gradient_as_bucket_view=True,
            )  # fmt: skip
        self.wrapped.register_comm_hook(None, _added)
        self.losses = self.wrapped

    def taking(self, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last or self.wrapped is None else self.wrapped.no_sync()  # type: ignore[operator]

    def total(self, norm: float, sums: Sequence[float]) -> tuple[float, list[float]]:
        (length, *_), *_ = table = self.world.numbers([norm, *sums])
        return length, [sum(column) for column in zip(*(row[1:] for row in table), strict=True)]


class Shards(Single):
    """Each process has its rows of every tensor: of weights, gradients and the optimiser's memory (FSDP2).

    `model` stays an ordinary module. While `trained`, a divided copy, is at work, its tensors take no memory;
    `standing` and `leave` fill it.
    """

    def _ready(self) -> nn.Module:
        hollow = {id(each): nn.Parameter(torch.empty_like(each, device="meta"), each.requires_grad) for each in
                  self.model.parameters()}  # fmt: skip
        if scalars := [name for name, each in self.model.named_parameters() if each.ndim == 0]:
            raise DanluError("E2108", found=scalars)
        return copy.deepcopy(self.model, dict(hollow))

    def __init__(self, model: nn.Module, objective: Objective, device: torch.device, world: World):
        super().__init__(model, objective, device, world)
        # Imported where it is wanted: it takes a second that most runs need not wait.
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        mesh = init_device_mesh(device.type, (world.size,))
        for block in blocks(self.trained):
            fully_shard(block, mesh=mesh)
        fully_shard(self.losses, mesh=mesh)
        for module in self.losses.modules():
            if isinstance(module, FSDPModule):  # gradients are added, and gloo has no other way to do it
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        self.trained.to_empty(device=device)
        self._fill()

    @torch.no_grad()
    def _fill(self) -> None:
        """Take the rows and buffers of `model`, and leave it hollow."""
        parameters = dict(self.model.named_parameters())
        for name, parameter in self.trained.named_parameters():
            own(parameter).copy_(own_rows(parameter, parameters[name]))
        buffers = dict(self.model.named_buffers())
        for name, buffer in self.trained.named_buffers():
            buffer.copy_(buffers[name])
        self._hollow()

    def _hollow(self) -> None:
        assign(self.model, {name: each.detach().to("meta") for name, each in self.model.named_parameters()})

    def pieces(self, batches: Sequence[Batch], rows: int | None) -> list[Piece]:
        """As many in every process, because each takes part in gathering the weights; one too many does not count."""
        mine = super().pieces(batches, rows)
        most = int(max(row[0] for row in self.world.numbers([len(mine)])))
        return mine + [(mine[-1][0], False)] * (most - len(mine))

    def total(self, norm: float, sums: Sequence[float]) -> tuple[float, list[float]]:
        square, *every = self.world.sums([norm**2, *sums])
        return square**0.5, every

    @contextmanager
    def standing(self) -> Iterator[None]:
        self._stand(True)
        try:
            yield
        finally:
            self._hollow()

    def leave(self) -> None:
        self._stand(self.world.leads)

    def _stand(self, kept: bool) -> None:
        """Put every tensor together, in all processes at once; those that do not keep it let go at once."""
        found: dict[str, Tensor] = {}
        for name, parameter in self.trained.named_parameters():
            every = whole(parameter)
            if kept:
                found[name] = every.clone()
        assign(self.model, found)


def arranged(model: nn.Module, objective: Objective, device: torch.device, world: World, sharded: bool) -> Single:
    """The way that a world and a wish ask for."""
    kind = Single if world.alone else Shards if sharded else Replicas
    return kind(model, objective, device, world)


def _added(_: object, bucket: distributed.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
    """Sums instead of DDP's means: a communication hook."""
    work = distributed.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    return work.get_future().then(lambda done: done.value()[0])  # type: ignore[no-any-return]
