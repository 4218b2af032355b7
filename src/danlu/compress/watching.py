"""Hooks on linear layers that add up what enters them and what comes back; see `calibration` for what the sums are."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from danlu.nn.attention import Attention

RECENT = 6  # layers that may read one tensor follow each other closely: query, key, value; the two ways up


class Watch:
    """Sums over the linear layers of a model while it runs."""

    def __init__(self, model: nn.Module, layers: Mapping[str, nn.Linear], kinds: Collection[str]):
        self.model, self.layers, self.kinds = model, layers, frozenset(kinds)
        self.heads = _heads(model)
        self.rows: dict[str, int] = defaultdict(int)
        self.held: dict[str, dict[str, Tensor]] = defaultdict(dict)
        self.same: dict[str, str] = {}  # a layer -> the one before it that reads the same
        self.recent: list[tuple[Tensor, str]] = []
        self.inputs: Mapping[str, Tensor] = {}

    def begin(self, inputs: Mapping[str, Tensor]) -> None:
        """The next batch."""
        self.inputs, self.recent = inputs, []

    def sums(self) -> dict[str, dict[str, Any]]:
        """What was added up of each layer that ran."""
        found: dict[str, dict[str, Any]] = {}
        for path in self.layers:
            source = self.same.get(path, path)
            if not self.rows[source]:
                continue
            shared = {name: each for name, each in self.held[source].items() if name not in OWN}
            own = shared | {name: each for name, each in self.held[path].items() if name in OWN}
            if "squares" in own:
                own["norms"] = own.pop("squares").sqrt()
            if "means" in own:
                own["means"] = own["means"] / self.rows[source]
            found[path] = {"rows": self.rows[source], **own}
        return found

    @contextmanager
    def forward(self) -> Iterator[None]:
        hooks = [layer.register_forward_pre_hook(self._entering(path)) for path, layer in self.layers.items()]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def backward(self) -> Iterator[None]:
        """Also what gradients say; tables of embeddings make the leaves that gradients flow to."""
        hooks = [
            module.register_forward_hook(lambda _, given, out: out.requires_grad_())
            for module in self.model.modules()
            if isinstance(module, (nn.Embedding, nn.Conv2d))
        ]
        hooks += [layer.register_forward_hook(self._leaving(path)) for path, layer in self.layers.items()]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    # One layer of one batch

    def _entering(self, path: str) -> Callable[..., None]:
        return lambda layer, given: self._enter(path, given[0])

    def _leaving(self, path: str) -> Callable[..., None]:
        return lambda layer, given, out: self._leave(path, given[0], out)

    @torch.no_grad()
    def _enter(self, path: str, x: Tensor) -> None:
        if path in self.same:
            return
        for earlier, source in self.recent:
            if earlier is x and not self.rows[path]:
                self.same[path] = source
                return
        self.recent = [*self.recent[-RECENT:], (x, path)]
        rows = self._valid(path, x.detach()).float()
        self.rows[path] += len(rows)
        held, size = self.held[path], rows.abs()
        sums: tuple[tuple[str, Callable[[], Tensor], Callable[[Tensor, Tensor], Tensor]], ...] = (
            ("gram", lambda: rows.mT @ rows, torch.add),
            ("squares", lambda: rows.square().sum(0), torch.add),
            ("means", lambda: size.sum(0), torch.add),
            ("maxima", lambda: size.amax(0), torch.maximum),
            ("least", lambda: rows.amin(0), torch.minimum),
            ("most", lambda: rows.amax(0), torch.maximum),
        )
        for name, part, join in sums:
            if ASKED[name] in self.kinds and len(rows):
                held[name] = join(held[name], part()) if name in held else part()

    def _leave(self, path: str, x: Tensor, out: Tensor) -> None:
        if "felt" in self.kinds and out.requires_grad:
            out.register_hook(lambda gradient: self._felt(path, gradient))  # type: ignore[no-untyped-call]
        if "fisher" in self.kinds and out.requires_grad:
            kept = x.detach()
            out.register_hook(lambda gradient: self._squared(path, kept, gradient))  # type: ignore[no-untyped-call]
        if "taylor" in self.kinds and x.requires_grad and path.endswith((".output", ".down")):
            x.register_hook(lambda gradient: self._moved(path, x.detach(), gradient))  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _squared(self, path: str, x: Tensor, gradient: Tensor) -> None:
        """Each sequence's gradient of the weight, squared."""
        rows, back = (each.float().reshape(len(each), -1, each.shape[-1]) for each in (x, gradient))
        _add(self.held[path], "fisher", torch.bmm(back.mT, rows).square_().sum(0))

    @torch.no_grad()
    def _felt(self, path: str, gradient: Tensor) -> None:
        rows = gradient.float().reshape(-1, gradient.shape[-1])
        _add(self.held[path], "felt", rows.mT @ rows)

    @torch.no_grad()
    def _moved(self, path: str, x: Tensor, gradient: Tensor) -> None:
        """How much the loss would change, to first order, were an input, or a head, zero."""
        change = (x.float() * gradient.float()).reshape(len(x), -1, x.shape[-1]).sum(1)
        if path in self.heads:
            change = change.view(len(change), -1, self.heads[path]).sum(-1)
        _add(self.held[path], "taylor", change.abs_().sum(0))

    def _valid(self, path: str, x: Tensor) -> Tensor:
        """The rows of x (..., I) that stand for something: (R, I)."""
        read = path.startswith("encoder.") or path.endswith(("cross_attention.key", "cross_attention.value"))
        names = ("source_valid", "valid") if read else ("target_valid", "valid")
        for name in names:
            valid = self.inputs.get(name)
            if valid is not None and x.shape[:-1] == valid.flatten(0, -2).shape:
                return x[valid.flatten(0, -2).bool()]
        return x.reshape(-1, x.shape[-1])


# Which kind asks for a sum.
ASKED: Mapping[str, str] = {
    "gram": "gram", "squares": "norms", "means": "means", "maxima": "maxima", "least": "range", "most": "range",
}  # fmt: skip
OWN = ("fisher", "taylor", "felt")  # of a layer itself, not of what it reads


def _add(held: dict[str, Tensor], name: str, part: Tensor) -> None:
    held[name] = held[name] + part if name in held else part


def _heads(model: nn.Module) -> dict[str, int]:
    """The head size behind the output layer of each attention."""
    return {
        f"{path}.output": module.head_size for path, module in model.named_modules() if isinstance(module, Attention)
    }
