"""Renaming weights between our models and published checkpoints, from one table, both ways.

A table maps our module names to theirs; `*` stands for a layer number. A name covers every tensor below it (`.weight`,
`.bias`). `Stored` says how theirs differ: transposed, or fused.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from danlu.errors import DanluError, nearest
from danlu.models.build import Model, initialize
from danlu.nn.parameters import assign, materialize, tied_names

LEGACY = {".gamma": ".weight", ".beta": ".bias"}  # how the first BERT files named a norm's parameters


@dataclass(frozen=True)
class Stored:
    """Where and how a published checkpoint keeps a module."""

    name: str
    transposed: bool = False  # GPT-2 keeps (in, out)
    part: int = 0  # which of `parts` equal pieces, where several modules share one tensor
    parts: int = 1
    boxed: bool = False  # theirs has one dimension of 1 more, in front

    def read(self, tensor: Tensor) -> Tensor:
        tensor = tensor[0] if self.boxed else tensor
        tensor = tensor.T if self.transposed and tensor.ndim == 2 else tensor
        return tensor if self.parts == 1 else tensor.chunk(self.parts)[self.part]

    def write(self, pieces: list[Tensor]) -> Tensor:
        tensor = pieces[0] if self.parts == 1 else torch.cat(pieces)
        tensor = tensor[None] if self.boxed else tensor
        return tensor.T if self.transposed and tensor.ndim == 2 else tensor


@dataclass(frozen=True)
class Table:
    """How one published architecture names the tensors of one of our models."""

    names: Mapping[str, str | Stored]
    prefix: str = ""  # files of the bare tower leave it out
    aliases: Mapping[str, str] = field(default_factory=dict)  # another name of theirs for the same tensor -> its name
    copies: tuple[str, ...] = ()  # aliases that are written too
    optional: tuple[str, ...] = ()  # beginnings of our names that a file may lack: they are drawn afresh, and reported
    spare: tuple[str, ...] = ()  # patterns of their tensors that we have no place for: reported
    buffers: tuple[str, ...] = ()  # patterns of their tensors that hold nothing learned: passed over
    zeros: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # must be zero in a file, and are written so
    fallbacks: Mapping[str, str] = field(default_factory=dict)  # read from another of theirs where a file lacks it
    blanks: Mapping[str, Tensor] = field(default_factory=dict)  # theirs that do nothing: passed over, and written so

    @cached_property
    def rules(self) -> list[tuple[re.Pattern[str], Stored]]:
        return [
            (re.compile(re.escape(ours).replace(r"\*", r"(\d+)") + r"(\..+)?"), _stored(theirs))
            for ours, theirs in self.names.items()
        ]

    def locate(self, names: Collection[str]) -> Iterator[tuple[str, str, Stored]]:
        """Pair each of our tensor names with theirs and how it is stored. E1405 where the table knows none."""
        for name in names:
            for pattern, stored in self.rules:
                if match := pattern.fullmatch(name):
                    *layer, rest = match.groups(default="")
                    yield name, stored.name.replace("*", "".join(layer)) + rest, stored
                    break
            else:
                raise DanluError("E1405", found=name)


@dataclass(frozen=True)
class Loaded:
    """What became of the tensors: ours that the file lacked and were drawn afresh, theirs that found no place."""

    fresh: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


def load(
    model: Model, theirs: Mapping[str, Tensor], table: Table, *, device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None, seed: int = 0, where: object = None,
) -> Loaded:  # fmt: skip
    """Fill a model, best one built on the "meta" device, with published tensors. Nothing is passed over in silence.

    `theirs` may be lazy: tensors are asked for one at a time. E1402: tensors are missing; E1403: tensors have no place
    in the model; E1404: shapes differ; E1406: two names of one tensor differ.
    """
    ties = tied_names(model)
    file = _File(theirs, table, ties)
    read: dict[str, Tensor] = {}
    missing: dict[str, str] = {}
    for ours, their, stored in table.locate(dict.fromkeys(ties.values())):
        name = file.find(their) or file.find(table.fallbacks.get(their, their))
        if name is None:
            missing[ours] = their
            continue
        tensor, wanted = stored.read(file.take(name)), model.get_parameter(ours)
        if tensor.shape != wanted.shape:
            found, possible = tuple(tensor.shape), tuple(wanted.shape)
            raise DanluError("E1404", where=where, name=name, found=found, possible=possible)
        codes = not tensor.is_floating_point() or ours.endswith(".scales")  # these stay as they are
        wanted_dtype = tensor.dtype if codes else dtype or tensor.dtype
        read[ours] = tensor.to(device, wanted_dtype).contiguous()
    lost = [their for ours, their in missing.items() if not ours.startswith(table.optional or ("\0",))]
    if lost:
        raise DanluError("E1402", where=where, found=lost, count=len(lost), nearest=nearest(lost[0], file.names))
    unread = file.left_over(where)
    assign(model, read)
    if missing:
        materialize(model, device, dtype)
        initialize(model, model.config, seed, list(missing))
    return Loaded(tuple(missing), tuple(unread))


def export(model: Model, table: Table) -> dict[str, Tensor]:
    """The model's tensors under their published names; a tied tensor appears once."""
    tensors = {name: parameter.detach() for name, parameter in model.named_parameters()}
    pieces: dict[str, dict[int, Tensor]] = {}
    stored_as: dict[str, Stored] = {}
    for name, their, stored in table.locate(tensors):
        pieces.setdefault(their, {})[stored.part] = tensors[name]
        stored_as[their] = stored
    written = {
        their: stored_as[their].write([found[part] for part in sorted(found)]).contiguous()
        for their, found in pieces.items()
    }
    like = next(iter(tensors.values()))
    copies = {alias: written[table.aliases[alias]].clone() for alias in table.copies}
    zeros = {name: like.new_zeros(shape) for name, shape in table.zeros.items()}
    return written | copies | zeros | dict(table.blanks)


class _File:
    """The tensors of a published file, found by their published names."""

    def __init__(self, tensors: Mapping[str, Tensor], table: Table, ties: Mapping[str, str]):
        self.tensors, self.table = tensors, table
        self.names = {_modern(name): name for name in tensors}
        self.taken: set[str] = set()
        self.aliases = dict(table.aliases)
        published = {ours: their for ours, their, _ in table.locate(ties)}
        for ours, first in ties.items():
            if published[ours] != published[first]:
                self.aliases.setdefault(published[ours], published[first])

    def find(self, published: str) -> str | None:
        """The file's name for it: whole, without the prefix, or an alias."""
        others = (alias for alias, original in self.aliases.items() if original == published)
        for name in (published, *others):
            for candidate in (name, name.removeprefix(self.table.prefix)):
                if candidate in self.names:
                    return candidate
        return None

    def take(self, name: str) -> Tensor:
        self.taken.add(name)
        return self.tensors[self.names[name]]

    def left_over(self, where: object) -> list[str]:
        """Names that were not taken, after making sure that each may be left."""
        unread, strange = [], []
        for name in self.names:
            short = name.removeprefix(self.table.prefix)
            if name in self.taken or name in self.table.blanks or _matches(short, self.table.buffers):
                continue
            original = self.aliases.get(name) or self.aliases.get(self.table.prefix + name)
            if original is not None and (twin := self.find(original)) and twin != name:
                if not torch.equal(self.tensors[self.names[name]], self.tensors[self.names[twin]]):
                    raise DanluError("E1406", where=where, found=[name, twin])
            elif _matches(short, self.table.spare):
                unread.append(name)
            elif name not in self.table.zeros or self.tensors[self.names[name]].any():
                strange.append(name)
        if strange:
            raise DanluError("E1403", where=where, found=strange, count=len(strange))
        return unread


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _modern(name: str) -> str:
    for old, new in LEGACY.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _stored(theirs: str | Stored) -> Stored:
    return theirs if isinstance(theirs, Stored) else Stored(theirs)
