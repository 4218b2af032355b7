"""One streaming pass over a few texts that feeds every method: sums of what enters each linear layer, and, where there
is a loss, of what its gradient says. Nothing else is kept.

Shapes: R rows that entered a layer (valid tokens), I its inputs, O its outputs, B sequences, T tokens.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from danlu.compress.watching import Watch
from danlu.errors import DanluError
from danlu.nn.transformer import Transformer

Kind = Literal["gram", "norms", "means", "maxima", "range", "fisher", "taylor", "felt"]
FORWARD: frozenset[str] = frozenset({"gram", "norms", "means", "maxima", "range"})
BACKWARD: frozenset[str] = frozenset({"fisher", "taylor", "felt"})


class Rows(Protocol):
    """What a batch has to have: keyword arguments of `model(**inputs)`, and what the loss wants."""

    @property
    def inputs(self) -> Mapping[str, Tensor]: ...

    @property
    def targets(self) -> Mapping[str, Tensor]: ...


Loss = Callable[[nn.Module, Any], Tensor]  # of a model and such a batch: the summed loss of its sequences


@dataclass(frozen=True)
class LayerStatistics:
    """What is known of a linear layer's inputs x; None: was not asked for.

    gram: sum of x xᵀ (I, I). norms: sqrt(sum of x²) (I,), as Wanda wants it. means, maxima: of |x| (I,). least, most:
    of x (I,). fisher: the sum over sequences of the squared gradient of the weight (O, I). taylor: the sum over
    sequences of |x · dL/dx|, summed over tokens before the absolute value (I,), or for the output layer of an attention
    over each head (H,) (Michel et al. 2019, eq. 2). felt: sum of g gᵀ of the gradients g of its outputs (O, O). Layers
    that read the same share what is said of it.
    """

    rows: int
    gram: Tensor | None = None
    norms: Tensor | None = None
    means: Tensor | None = None
    maxima: Tensor | None = None
    least: Tensor | None = None
    most: Tensor | None = None
    fisher: Tensor | None = None
    taylor: Tensor | None = None
    felt: Tensor | None = None


Statistics = Mapping[str, LayerStatistics]  # by path of the linear layer


class Calibration:
    """Batches, and a loss where gradients are wanted. dtype: bfloat16 runs the model's products in it."""

    def __init__(self, batches: Sequence[Rows], loss: Loss | None = None, dtype: torch.dtype | None = None):
        self.batches, self.loss, self.dtype = batches, loss, dtype

    def collect(self, model: nn.Module, kinds: Collection[Kind], names: Collection[str] | None = None) -> Statistics:
        """One pass over the whole model. names: of linear layers; None: all. E2401 where gradients are asked for and
        there is no loss."""
        layers = linear_layers(model, names)
        watch = Watch(model, layers, kinds)
        if BACKWARD & set(kinds):
            self._backward(model, watch)
        else:
            with still(model), torch.no_grad(), watch.forward():
                for batch in self._moved(model):
                    watch.begin(batch.inputs)
                    with self._running(model):
                        model(**batch.inputs)
        return {path: LayerStatistics(**sums) for path, sums in watch.sums().items()}

    def through(self, model: nn.Module, kinds: Collection[Kind]) -> Iterator[tuple[str, Statistics]]:
        """Block by block: its path and statistics of its linear layers. Whoever asks for the next block has changed
        this one: what follows reads what the changed one gives. The last is ("", all layers outside of blocks)."""
        inside: set[str] = set()
        for path, stack in list(model.named_modules()):
            if isinstance(stack, Transformer):
                for index, (block_path, statistics) in enumerate(self._stack(model, path, stack, kinds)):
                    assert block_path == f"{path}.blocks.{index}"
                    inside.update(statistics)
                    yield block_path, statistics
        rest = [path for path in linear_layers(model) if ".blocks." not in path]
        yield "", self.collect(model, kinds, rest) if rest else {}

    def value(self, model: nn.Module) -> float:
        """The mean loss of a sequence. E2401 where there is none."""
        if self.loss is None:
            raise DanluError("E2401", found="loss")
        total, count = 0.0, 0
        with still(model), torch.no_grad():
            for batch in self._moved(model):
                with self._running(model):
                    total += float(self.loss(model, batch))
                count += len(next(iter(batch.inputs.values())))
        return total / max(1, count)

    def _stack(
        self, model: nn.Module, path: str, stack: Transformer, kinds: Collection[Kind]
    ) -> Iterator[tuple[str, Statistics]]:
        """The blocks of one stack; of each batch the stream between two blocks is kept, and nothing else."""
        with still(model), torch.no_grad():
            calls = [_calls(model, stack, batch.inputs, self._running(model)) for batch in self._moved(model)]
        streams = [call[0][0][0] for call in calls]
        batches = [{name: each for name, each in batch.inputs.items() if "valid" in name} for batch in self.batches]
        for index in range(len(stack.blocks)):
            below = f"{path}.blocks.{index}"
            block = stack.blocks[index]
            watch = Watch(model, linear_layers(model, under=below), kinds)
            with still(model), torch.no_grad(), watch.forward():
                for call, stream, inputs in zip(calls, streams, batches, strict=True):
                    watch.begin(inputs)
                    (_, *others), named = call[index]
                    with self._running(model):
                        block(stream, *others, **named)
            yield below, {name: LayerStatistics(**sums) for name, sums in watch.sums().items()}
            with still(model), torch.no_grad():
                for at, call in enumerate(calls):
                    (_, *others), named = call[index]
                    with self._running(model):
                        streams[at] = stack.blocks[index](streams[at], *others, **named)

    def _backward(self, model: nn.Module, watch: Watch) -> None:
        """Sequence by sequence gradients, of activations only: the weights' own are never made."""
        if self.loss is None:
            raise DanluError("E2401", found="loss")
        wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
        try:
            for parameter in wanted:
                parameter.requires_grad_(False)
            with still(model), torch.enable_grad(), watch.forward(), watch.backward():
                for batch in self._moved(model):
                    watch.begin(batch.inputs)
                    with self._running(model):
                        loss = self.loss(model, batch)
                    loss.backward()  # type: ignore[no-untyped-call]
        finally:
            for parameter in wanted:
                parameter.requires_grad_(True)

    def _moved(self, model: nn.Module) -> Iterator[Any]:
        device = next(model.parameters()).device
        for batch in self.batches:
            yield batch.to(device) if hasattr(batch, "to") else batch

    def _running(self, model: nn.Module) -> Any:
        device = next(model.parameters()).device.type
        return nullcontext() if self.dtype is None else torch.autocast(device, self.dtype)


def linear_layers(
    model: nn.Module, names: Collection[str] | None = None, under: str | None = None
) -> dict[str, nn.Linear]:
    """Every plain linear layer by its path. names: only these. under: only below this path."""
    found = {path: module for path, module in model.named_modules() if isinstance(module, nn.Linear)}
    if under is not None:
        found = {path: each for path, each in found.items() if path.startswith(under + ".")}
    return found if names is None else {path: each for path, each in found.items() if path in set(names)}


@contextmanager
def still(model: nn.Module) -> Iterator[None]:
    """The model as it answers, not as it trains; afterwards as it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


class _EnoughError(Exception):
    """The last block of a stack has been reached."""


def _calls(
    model: nn.Module, stack: Transformer, inputs: Mapping[str, Tensor], running: Any
) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """What each block of a stack is called with, in order; of the streams between them only the first is kept."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    last = len(stack.blocks) - 1

    def note(block: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        calls.append((given if not calls else (None, *given[1:]), named))
        if len(calls) > last:
            raise _EnoughError

    hooks = [block.register_forward_pre_hook(note, with_kwargs=True) for block in stack.blocks]
    try:
        with running:
            model(**inputs)
    except _EnoughError:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return calls
