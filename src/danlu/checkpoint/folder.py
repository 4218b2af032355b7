"""A model folder, both ways: what transformers reads as it stands, and Danlu's own record beside it."""

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from danlu.adapt import Addition, Part, merge, own_tensors, trained
from danlu.checkpoint.adapters import (
    Adapted,
    Below,
    apply_adapter,
    published_heads,
    read_adapter,
    task_of,
    towers_in,
    towers_of,
    write_adapter,
)
from danlu.checkpoint.compressed import SHAPES, are_known, carry, record_of, restore
from danlu.checkpoint.golden import Replay, replay, write_golden
from danlu.checkpoint.limits import check_depth, check_memory, check_shapes, check_size
from danlu.checkpoint.places import CONFIG, Place, find_model, is_adapter
from danlu.checkpoint.plain import read_table
from danlu.checkpoint.weights import SHARD, open_weights, write_weights
from danlu.errors import DanluError
from danlu.files import file_hash, new_folder, replace_json
from danlu.models.build import Model, ModelConfig, build, parameters, read_config
from danlu.models.classifier import ClassifierConfig
from danlu.models.dual import DualConfig
from danlu.models.eyes import default_processor
from danlu.models.families import FAMILIES, Family, family_of
from danlu.models.families.heads import read_model, write_model
from danlu.models.families.heads import table as table_of
from danlu.models.multimodal import MultimodalConfig
from danlu.models.weights import Loaded, Stored, Table, export, load
from danlu.nn.parameters import floating, tied_names
from danlu.text.tokenizer import Tokenizer
from danlu.vision.processor import Processor, read_processor, write_processor

RECORD, GENERATION, PICTURES = "danlu.json", "generation_config.json", "preprocessor_config.json"
FORMAT = 1
OWN = "danlu"  # the model_type of a folder that no published class can read
PARTS = ("tower", "encoder", "decoder", "head", "pairs", "heads", "text", "image", "similarity", "text_projection",
         "image_projection", "detector", "generator", "projector", "common")  # fmt: skip
OWN_TABLE = Table({part: part for part in PARTS})
OTHER_HEADS = Table(
    {part: part for part in PARTS[:3]} | {"heads": "—"}, optional=("heads.",),
    spare=tuple(rf"{part}\..*" for part in PARTS[2:]),
)  # fmt: skip
IDS = {"bos_token_id": "start", "eos_token_id": "end", "pad_token_id": "pad"}


@dataclass(frozen=True)
class Checkpoint:
    """A model with what belongs to it.

    lineage: what the model comes from, as plain data. loaded: which tensors a file lacked or had too many. where: the
    folder it was read from. adapted: what was added to the model, where something was.
    """

    family: Family
    config: ModelConfig
    model: Model
    tokenizer: Tokenizer | None = None
    lineage: dict[str, Any] = field(default_factory=dict)
    loaded: Loaded = field(default_factory=Loaded)
    where: Path | None = None
    adapted: Adapted | None = None
    processor: Processor | None = None  # of pictures, where the model sees some
    changes: tuple[dict[str, Any], ...] = ()  # how it was compressed, as plain data

    @staticmethod
    def lineage_of(where: str | Path) -> dict[str, Any]:
        """What a model comes from, without reading it; nothing for one that danlu did not make."""
        return dict(_read_record(find_model(where).folder).get("lineage") or {})

    @staticmethod
    def peek(where: str | Path) -> tuple[Family, ModelConfig]:
        """Family and config without the weights. Errors of the place and of config.json as in `load`."""
        folder = find_model(where).folder
        if not is_adapter(folder):
            return _read_config(folder)
        record = _read_record(folder)
        family, config = Checkpoint.peek(read_adapter(folder, record)[1].find(folder))
        return family, _recorded(record, folder) or config

    @staticmethod
    def load(
        where: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype | None = None, seed: int = 0,
        become: Callable[[ModelConfig], ModelConfig] | None = None, base: str | Path | None = None,
    ) -> "Checkpoint":  # fmt: skip
        """From a model folder, a run, an installed model, the local cache, or the hub. dtype: as in the file if None.

        seed: for parts that published files leave out. become: from the folder's config to that of a model with the
        same tower and other heads; heads the folder does not have are drawn afresh. base: the model below an adapter,
        where it is not where it was. Errors: E1420 to E1429, and those of config.json, of weights, of tokenizers and of
        adapters (E1402 to E1410, E1302 to E1304, E2005 to E2014).
        """
        place = find_model(where)
        if is_adapter(place.folder):
            adapted = _load_adapted(place, seed, become, base)
            return replace(adapted, model=adapted.model.to(device, dtype))
        family, stored = _read_config(place.folder)
        if become and isinstance(stored, ClassifierConfig):
            return Checkpoint.load(where, device, dtype, seed).becoming(become, seed)
        config = become(stored) if become else stored
        weights = open_weights(place.folder, place.root)
        table = _table(family, config, place.folder, stored)
        check_depth(config, weights, place.folder)
        record = _read_record(place.folder)
        with torch.device("meta"):
            model = build(config, "meta")
            restore(model, record, place.folder)
        check_shapes(model, weights, table, place.folder)
        check_memory(config, weights, dtype, where)
        loaded = load(model, weights, table, device=device, dtype=dtype, seed=seed, where=place.folder)
        lineage = record.get("lineage") or {"from": place.name}
        return Checkpoint(
            family, config, model.eval(), _read_tokenizer(place.folder), lineage, loaded, place.folder,
            processor=_read_processor(place.folder, config), changes=tuple(record.get("changes") or ()),
        )  # fmt: skip

    def changed(self, change: Part | Addition, seed: int = 0, name: str = "") -> "Checkpoint":
        """The model changed in place, and with it what is written of it. name: how the model below was called. E2003,
        and the errors of the change."""
        if not isinstance(change, Addition):
            change.apply(self.model, seed)
            return self
        below = Below(name, str(self.where.resolve()) if self.where else "", fingerprint=towers_of(self.model))
        change.apply(self.model, seed)
        return replace(self, adapted=Adapted(change, below))

    def attached(self, name: str, folder: str | Path) -> "Checkpoint":
        """The adapter of a folder put on this model, under a name, and at work. E2005 where it is another model's,
        E2014 where there is none, E2011 where the name is taken."""
        place = find_model(folder)
        if not is_adapter(place.folder):
            raise DanluError("E2014", where=place.folder)
        known, below = read_adapter(place.folder, _read_record(place.folder))
        below.check(self.model, place.folder)
        change = apply_adapter(place.folder, self.model, known, _table_of(self), name)
        here = Below("", str(self.where.resolve()) if self.where else "", "", below.fingerprint)
        return replace(self, adapted=Adapted(change, here, name))

    def merged(self) -> "Checkpoint":
        """A plain model that computes the same. E2007 where there is none."""
        merge(self.model)
        return replace(self, adapted=None)

    def becoming(self, become: Callable[[ModelConfig], ModelConfig], seed: int = 0) -> "Checkpoint":
        """The towers of a plain model under other heads; those it has already stay, the rest are drawn afresh."""
        config = become(self.config)
        if config == self.config:
            return self
        with torch.device("meta"):
            model = build(config, "meta")
            carry(self.model, model)
        tensors = export(self.model, OWN_TABLE)
        loaded = load(model, tensors, _other_heads(self.config, config), seed=seed, where=self.where)
        return replace(self, config=config, model=model.eval(), loaded=loaded)

    def save(self, folder: str | Path, shard: int = SHARD) -> Path:
        """Write the whole folder, or nothing; one of that name before is replaced. shard: bytes a weights file.

        Of an adapted model what was learnt is written, or the merged model, where what stands below could not be found
        again."""
        if self.adapted:
            return (
                self._save_adapter(Path(folder), self.adapted)
                if self.adapted.below.folder
                else self.merged().save(folder)
            )
        with new_folder(Path(folder)) as made:
            hf, table, reason = self._published()
            replace_json(made / CONFIG, hf | {"dtype": str(self.dtype).removeprefix("torch.")})
            names = write_weights(made, export(self.model, table), shard)
            if self.tokenizer:
                self.tokenizer.write(made)
            if self.processor:
                replace_json(made / PICTURES, write_processor(self.processor))
            replace_json(made / GENERATION, self._generation(hf))
            write_golden(made, self.model, self._known, self.tokenizer)
            replace_json(made / RECORD, self._record(made, names, reason))
        return Path(folder)

    def _save_adapter(self, folder: Path, adapted: Adapted) -> Path:
        with new_folder(folder) as made:
            _, table, reason = self._published()
            task = task_of(self.config)
            names, why = write_adapter(made, self.model, adapted, None if reason else table, task)
            if self.tokenizer:
                self.tokenizer.write(made)
            write_golden(made, self.model, self._known, self.tokenizer)
            replace_json(made / RECORD, self._record(made, names, reason or why) | adapted.plain(folder.absolute()))
        return folder

    def replay(self) -> Replay:
        """Whether the model still gives the logits it gave when it was saved. E1429 where nothing was kept."""
        if self.where is None:
            raise DanluError("E1429", where="memory", found="nothing")
        return replay(self.where, self.model)

    @property
    def dtype(self) -> torch.dtype:
        return floating(self.model)

    def _published(self) -> tuple[dict[str, Any], Table, str | None]:
        """config.json, the table of names, and why transformers has no class for the model, where it has none."""
        if uneven := list(record_of(self.model).get(SHAPES, ())):
            why = f"no published class has layers such as {', '.join(uneven[:3])} … ({len(uneven)})"
            return {"model_type": OWN, "architectures": [type(self.model).__name__]}, OWN_TABLE, why
        try:
            hf = write_model(self.family, self.config)
            table = table_of(self.family, self.config)
            list(table.locate([name for name in tied_names(self.model) if ".adapters." not in name]))
        except DanluError as error:
            if error.code not in ("E1405", "E1409"):
                raise
            return {"model_type": OWN, "architectures": [type(self.model).__name__]}, OWN_TABLE, error.render("en")
        reason = f"no published class computes {hf['model_type']}" if hf["model_type"].startswith(OWN) else None
        ids = {name: self._ids.get(role) for name, role in IDS.items()}
        return hf | {name: value for name, value in ids.items() if hf.get(name) is None}, table, reason

    @property
    def _known(self) -> int:
        """How many ids have a token."""
        return min(self.tokenizer.vocabulary, self.config.vocabulary) if self.tokenizer else self.config.vocabulary

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
            "changes": list(self.changes),
            "lineage": self.lineage,
            "parameters": parameters(self.config),
            "trained": trained(self.model).plain(),
            "tokenizer": self.tokenizer.fingerprint if self.tokenizer else None,
            "hashes": {
                name: file_hash(folder / name) for name in sorted({*names, CONFIG}) if (folder / name).is_file()
            },
        } | record_of(self.model)


def _load_adapted(
    place: Place, seed: int, become: Callable[[ModelConfig], ModelConfig] | None, base: str | Path | None
) -> Checkpoint:
    """A model with the adapter of a folder. E2006 where the model below is gone, E2005 where it is another one."""
    record = _read_record(place.folder)
    known, below = read_adapter(place.folder, record)
    stored, found = _recorded(record, place.folder), below.find(place.folder, base)
    if stored and towers_in(Checkpoint.peek(found)[1]) != towers_in(stored):
        raise DanluError("E2005", where=place.folder, found=found)
    heads = published_heads(place.folder, Checkpoint.peek(found)[0], record)
    before = Checkpoint.load(found, seed=seed, become=(lambda config: stored) if stored else heads)
    before = before.merged() if before.adapted else before
    below.check(before.model, place.folder)
    here = Below(
        str(base or below.name), str(before.where.resolve()) if before.where else "", "", towers_of(before.model)
    )
    change = apply_adapter(place.folder, before.model, known, _table_of(before))
    learnt = own_tensors(before.model, change)
    loaded = Loaded(tuple(name for name in before.loaded.fresh if name not in learnt), before.loaded.unread)
    lineage = record.get("lineage") or {"from": place.name}
    tokenizer = _read_tokenizer(place.folder) or before.tokenizer
    after = replace(
        before, tokenizer=tokenizer, lineage=lineage, loaded=loaded, where=place.folder, adapted=Adapted(change, here)
    )
    return after if become is None or become(after.config) == after.config else after.merged().becoming(become, seed)


def _other_heads(old: ModelConfig, new: ModelConfig) -> Table:
    """The names of what two models of one tower share. An only head that becomes another keeps its dense layer."""
    before = old.heads if isinstance(old, ClassifierConfig) else {}
    after = new.heads if isinstance(new, ClassifierConfig) else {}
    names: dict[str, str | Stored] = {part: part for part in PARTS[:3]}
    for name, head in after.items():
        source = next(iter(before)) if name not in before and len(before) == len(after) == 1 else name
        if before.get(source) == head:
            names[f"heads.{name}"] = f"heads.{source}"
        elif source in before and before[source].dense and head.dense:
            names[f"heads.{name}.dense"] = f"heads.{source}.dense"
        names.setdefault(f"heads.{name}", "—")
    return replace(OTHER_HEADS, names=names)


def _table_of(checkpoint: Checkpoint) -> Table:
    try:
        return table_of(checkpoint.family, checkpoint.config)
    except DanluError:
        return OWN_TABLE


def _recorded(record: Mapping[str, Any], folder: Path) -> ModelConfig | None:
    """The config in danlu.json, where there is one. E1421 where it is none."""
    if not record.get("config"):
        return None
    try:
        return read_config(record["config"])
    except ValidationError as error:
        raise DanluError("E1421", where=folder / RECORD, found=error.errors(include_url=False)[0]["msg"]) from error


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
        config = _recorded(record | {"config": record.get("config") or {"kind": None}}, folder)
        assert config is not None
        family = named
    else:
        family = family_of(hf, folder / CONFIG)
        if named and named.reader is family.reader:  # GPT-3 is written as GPT-2, and still is GPT-3
            family = named
        config = read_model(family, hf, folder / CONFIG, record)
    check_size(config, folder)
    return family, config


def _read_record(folder: Path) -> dict[str, Any]:
    """danlu.json, where there is one. E1421 where its parts are of the wrong kind, or it is newer than this version."""
    path = folder / RECORD
    if not path.is_file():
        return {}
    record = read_table(path)
    kinds = {"format": int, "family": str, "lineage": dict, "hashes": dict, "changes": list, SHAPES: dict}
    for name, kind in kinds.items():
        if name in record and not isinstance(record[name], kind):
            raise DanluError(
                "E1421", where=path, found=f"{name}: {type(record[name]).__name__}", possible=kind.__name__
            )
    strange = not is_adapter(folder) and not are_known(record.get("changes") or [])
    if record.get("format", FORMAT) > FORMAT or strange:
        raise DanluError("E1421", where=path, found=f"format {record.get('format')}, changes {record.get('changes')}")
    return record


def _table(family: Family, config: ModelConfig, folder: Path, stored: ModelConfig) -> Table:
    """The names in a folder; where it shall become another model than the `stored` one, those of what both have."""
    own = read_table(folder / CONFIG).get("model_type") in (OWN,)
    if config == stored:
        return OWN_TABLE if own else table_of(family, config)
    if not own:
        return table_of(family, config, start=True, outputs=False)
    return OTHER_HEADS


def _read_tokenizer(folder: Path) -> Tokenizer | None:
    try:
        return Tokenizer.read(folder)
    except DanluError as error:
        if error.code == "E1301":
            return None
        raise


def _read_processor(folder: Path, config: ModelConfig) -> Processor | None:
    """How pictures are prepared; as their class does by default where the folder does not say. E2210."""
    if not isinstance(config, (DualConfig, MultimodalConfig)):
        return None
    path = folder / PICTURES
    return read_processor(read_table(path), path) if path.is_file() else default_processor(config)


def tensors_of(where: str | Path) -> Mapping[str, Tensor]:
    """The published tensors of a model, lazily, for looking at them."""
    place = find_model(where)
    return open_weights(place.folder, place.root)
