"""A model folder, both ways: what transformers reads as it stands, and Danlu's own record beside it."""

import importlib.metadata
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from danlu.checkpoint.golden import Replay, replay, write_golden
from danlu.checkpoint.places import CONFIG, find_model
from danlu.checkpoint.plain import read_table
from danlu.checkpoint.weights import SHARD, Weights, open_weights, write_weights
from danlu.errors import DanluError
from danlu.files import file_hash, new_folder, replace_json
from danlu.models.build import Model, ModelConfig, build, parameters, read_config
from danlu.models.classifier import ClassifierConfig
from danlu.models.families import FAMILIES, Family, family_of
from danlu.models.families.heads import read_model, write_model
from danlu.models.families.heads import table as table_of
from danlu.models.weights import Loaded, Table, export, load
from danlu.nn.parameters import tied_names
from danlu.text.tokenizer import Tokenizer

RECORD, GENERATION = "danlu.json", "generation_config.json"
FORMAT = 1
OWN = "danlu"  # the model_type of a folder that no published class can read
PARTS = ("tower", "encoder", "decoder", "head", "pairs", "heads")
OWN_TABLE = Table({part: part for part in PARTS})
MOST = {
    "depth": 1_024, "width": 65_536, "vocabulary": 2_000_000, "length": 2**30, "original": 2**30, "windows": 2**30,
    "max_distance": 2**30,
}  # fmt: skip
MOST_ELSE = 2**22
IDS = {"bos_token_id": "start", "eos_token_id": "end", "pad_token_id": "pad"}


@dataclass(frozen=True)
class Checkpoint:
    """A model with what belongs to it.

    lineage: what the model comes from, as plain data. loaded: which tensors a file lacked or had too many. where: the
    folder it was read from.
    """

    family: Family
    config: ModelConfig
    model: Model
    tokenizer: Tokenizer | None = None
    lineage: dict[str, Any] = field(default_factory=dict)
    loaded: Loaded = field(default_factory=Loaded)
    where: Path | None = None

    @staticmethod
    def peek(where: str | Path) -> tuple[Family, ModelConfig]:
        """Family and config without the weights. Errors of the place and of config.json as in `load`."""
        return _read_config(find_model(where).folder)

    @staticmethod
    def load(
        where: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None, seed: int = 0,
        become: Callable[[ModelConfig], ModelConfig] | None = None,
    ) -> "Checkpoint":  # fmt: skip
        """From a model folder, a run, an installed model, the local cache, or the hub. dtype: as in the file if None.

        seed: for parts that published files leave out. become: from the folder's config to that of a model with the
        same tower and other heads; heads the folder does not have are drawn afresh. Errors: E1420 to E1429, and those of config.json, of weights
        and of tokenizers (E1402 to E1410, E1302 to E1304).
        """
        place = find_model(where)
        family, stored = _read_config(place.folder)
        config = become(stored) if become else stored
        weights = open_weights(place.folder, place.root)
        table = _table(family, config, place.folder, stored)
        _check_depth(config, weights, place.folder)
        with torch.device("meta"):
            model = build(config, "meta")
        _check_shapes(model, weights, table, place.folder)
        _check_memory(config, weights, dtype, where)
        loaded = load(model, weights, table, device=device, dtype=dtype, seed=seed, where=place.folder)
        record = _read_record(place.folder)
        lineage = record.get("lineage") or {"from": place.name}
        return Checkpoint(family, config, model.eval(), _read_tokenizer(place.folder), lineage, loaded, place.folder)

    def save(self, folder: str | Path, shard: int = SHARD) -> Path:
        """Write the whole folder, or nothing; one of that name before is replaced. shard: bytes a weights file."""
        with new_folder(Path(folder)) as made:
            hf, table, reason = self._published()
            replace_json(made / CONFIG, hf | {"dtype": str(self.dtype).removeprefix("torch.")})
            names = write_weights(made, export(self.model, table), shard)
            if self.tokenizer:
                self.tokenizer.write(made)
            replace_json(made / GENERATION, self._generation(hf))
            own = min(self.tokenizer.vocabulary, self.config.vocabulary) if self.tokenizer else self.config.vocabulary
            write_golden(made, self.model, own, self.tokenizer)
            replace_json(made / RECORD, self._record(made, names, reason))
        return Path(folder)

    def replay(self) -> Replay:
        """Whether the model still gives the logits it gave when it was saved. E1429 where nothing was kept."""
        if self.where is None:
            raise DanluError("E1429", where="memory", found="nothing")
        return replay(self.where, self.model)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    def _published(self) -> tuple[dict[str, Any], Table, str | None]:
        """config.json, the table of names, and why transformers has no class for the model, where it has none."""
        try:
            hf = write_model(self.family, self.config)
            table = table_of(self.family, self.config)
            list(table.locate(tied_names(self.model)))
        except DanluError as error:
            if error.code not in ("E1405", "E1409"):
                raise
            return {"model_type": OWN, "architectures": [type(self.model).__name__]}, OWN_TABLE, error.render("en")
        reason = f"no published class computes {hf['model_type']}" if hf["model_type"].startswith(OWN) else None
        ids = {name: self._ids.get(role) for name, role in IDS.items()}
        return hf | {name: value for name, value in ids.items() if hf.get(name) is None}, table, reason

    @property
    def _ids(self) -> Mapping[str, int]:
        return self.tokenizer.special if self.tokenizer else {}

    def _generation(self, hf: Mapping[str, Any]) -> dict[str, Any]:
        names = (*IDS, "decoder_start_token_id")
        return {"_from_model_config": True} | {name: hf[name] for name in names if hf.get(name) is not None}

    def _record(self, folder: Path, names: list[str], reason: str | None) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "danlu": importlib.metadata.version("danlu"),
            "family": self.family.name,
            "config": self.config.model_dump(mode="json"),
            "own_format_because": reason,
            "changes": [],
            "lineage": self.lineage,
            "parameters": parameters(self.config),
            "tokenizer": self.tokenizer.fingerprint if self.tokenizer else None,
            "hashes": {name: file_hash(folder / name) for name in sorted([*names, CONFIG])},
        }


def damaged_files(where: str | Path) -> list[str]:
    """Names of files whose SHA-256 is not the one danlu.json holds, or which are gone; none: all is as it was saved."""
    folder = find_model(where).folder
    hashes = _read_record(folder).get("hashes") or {}
    return [name for name, told in hashes.items() if not (folder / name).is_file() or file_hash(folder / name) != told]


def _read_config(folder: Path) -> tuple[Family, ModelConfig]:
    hf, record = read_table(folder / CONFIG), _read_record(folder)
    named = FAMILIES.get(record.get("family", ""))
    if hf.get("model_type") in (OWN,):
        if named is None:
            raise DanluError("E1421", where=folder / RECORD, found=record.get("family"), possible=list(FAMILIES))
        try:
            config = read_config(record.get("config") or {})
        except ValidationError as error:
            raise DanluError("E1421", where=folder / RECORD, found=error.errors(include_url=False)[0]["msg"]) from error
        family = named
    else:
        family = family_of(hf, folder / CONFIG)
        if named and named.reader is family.reader:  # GPT-3 is written as GPT-2, and still is GPT-3
            family = named
        config = read_model(family, hf, folder / CONFIG, record)
    _check_size(config, folder)
    return family, config


def _read_record(folder: Path) -> dict[str, Any]:
    """danlu.json, where there is one. E1421 where its parts are of the wrong kind, or it is newer than this version."""
    path = folder / RECORD
    if not path.is_file():
        return {}
    record = read_table(path)
    kinds = {"format": int, "family": str, "lineage": dict, "hashes": dict, "changes": list}
    for name, kind in kinds.items():
        if name in record and not isinstance(record[name], kind):
            raise DanluError(
                "E1421", where=path, found=f"{name}: {type(record[name]).__name__}", possible=kind.__name__
            )
    if record.get("format", FORMAT) > FORMAT or record.get("changes"):
        raise DanluError("E1421", where=path, found=f"format {record.get('format')}, changes {record.get('changes')}")
    return record


def _check_size(config: ModelConfig, folder: Path) -> None:
    """Whole numbers within what can be computed with. E1408."""
    for name, found in _numbers("", config.model_dump()):
        most = MOST.get(name, MOST_ELSE)
        if abs(found) > most:
            raise DanluError("E1408", where=folder / CONFIG, name=name, found=found, possible=f"≤ {most}")


def _numbers(name: str, value: Any) -> Iterator[tuple[str, int]]:
    if isinstance(value, dict):
        for inner, each in value.items():
            yield from _numbers(inner, each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _numbers(name, each)
    elif isinstance(value, int):
        yield name, value


def _check_depth(config: ModelConfig, weights: Weights, folder: Path) -> None:
    """A layer without a tensor is none: what the file cannot fill is not built. E1408."""
    base = config.base if isinstance(config, ClassifierConfig) else config
    for name in ("transformer", "encoder", "decoder"):
        stack = getattr(base, name, None)
        if stack and stack.depth > len(weights):
            possible = f"{len(weights)} tensors"
            raise DanluError("E1408", where=folder / CONFIG, name="depth", found=stack.depth, possible=possible)


def _table(family: Family, config: ModelConfig, folder: Path, stored: ModelConfig) -> Table:
    """The names in a folder; where it shall become another model than the `stored` one, those of what both have."""
    own = read_table(folder / CONFIG).get("model_type") in (OWN,)
    if config == stored:
        return OWN_TABLE if own else table_of(family, config)
    if not own:
        return table_of(family, config, start=True, outputs=False)
    kept = {part: part for part in PARTS[:3]} | {"heads": "—"}
    return Table(kept, optional=("heads.",), spare=tuple(rf"{part}\..*" for part in PARTS[2:]))


def _check_shapes(model: Model, weights: Weights, table: Table, folder: Path) -> None:
    """Sizes by the headers alone, before a byte is set aside. E1404."""
    short = {name.removeprefix(table.prefix): entry for name, entry in weights.entries.items()}
    for ours, theirs, stored in table.locate(dict.fromkeys(tied_names(model).values())):
        entry = weights.entries.get(theirs) or short.get(theirs.removeprefix(table.prefix))
        wanted = model.get_parameter(ours)
        if entry and entry.count != wanted.numel() * stored.parts:
            raise DanluError("E1404", where=folder, name=theirs, found=entry.shape, possible=tuple(wanted.shape))


def _check_memory(config: ModelConfig, weights: Weights, dtype: torch.dtype | None, where: object) -> None:
    largest = max((entry.dtype.itemsize for entry in weights.entries.values()), default=4)
    needed = parameters(config) * (dtype.itemsize if dtype else largest)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise DanluError("E1430", where=where, needed=f"{needed / 1e9:.1f} GB", found=f"{there / 1e9:.1f} GB")


def _read_tokenizer(folder: Path) -> Tokenizer | None:
    try:
        return Tokenizer.read(folder)
    except DanluError as error:
        if error.code == "E1301":
            return None
        raise


def tensors_of(where: str | Path) -> Mapping[str, Tensor]:
    """The published tensors of a model, lazily, for looking at them."""
    place = find_model(where)
    return open_weights(place.folder, place.root)
