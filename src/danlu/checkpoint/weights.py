"""The weights of a model folder: one safetensors file, or several under an index."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from danlu.checkpoint.headers import Entry, read_header, read_tensor, write_tensors
from danlu.checkpoint.plain import INDEX_BYTES, inside, read_table
from danlu.errors import DanluError
from danlu.files import replace_json, write_file

SINGLE, INDEX, PART = "model.safetensors", "model.safetensors.index.json", "model-{:05d}-of-{:05d}.safetensors"
MOST_PARTS = 10_000
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
SHARD = 5_000_000_000  # bytes


class Weights(Mapping[str, Tensor]):
    """Tensors by name, each read when asked for; every header has been checked."""

    def __init__(self, files: Mapping[Path, Mapping[str, Entry]]):
        self.entries = {name: entry for entries in files.values() for name, entry in entries.items()}
        self._file = {name: path for path, entries in files.items() for name in entries}

    def __getitem__(self, name: str) -> Tensor:
        return read_tensor(self._file[name], self.entries[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._file)

    def __len__(self) -> int:
        return len(self._file)

    @property
    def bytes(self) -> int:
        return sum(entry.end - entry.start for entry in self.entries.values())


def open_weights(folder: Path, root: Path | None = None) -> Weights:
    """The weights of a folder. `root`: where links may lead; by default the folder itself.

    E1424 where there are only pickles, E1427 where there is nothing, E1425 for a file outside, E1422 and E1423 for
    bad ones.
    """
    files = {path: read_header(inside(path, root or folder)) for path in weight_files(folder)}
    if folder / SINGLE not in files and (folder / INDEX).is_file():
        _check_index(folder, files)
    return Weights(files)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up a folder's model. E1424, E1427 where there are none, E1421 for a bad index."""
    index = folder / INDEX
    if index.is_file() and not (folder / SINGLE).is_file():
        parts = read_table(index, INDEX_BYTES).get("weight_map")
        if not isinstance(parts, dict) or not parts or not all(isinstance(part, str) for part in parts.values()):
            raise DanluError("E1421", where=index, found="no weight_map")
        names = sorted(set(parts.values()))
        if len(names) > MOST_PARTS:
            raise DanluError("E1423", where=index, found=f"{len(names)} files", possible=MOST_PARTS)
        return [inside(folder / name, folder) if _is_plain(name) else _outside(index, name) for name in names]
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    alone = sorted(folder.glob("*.safetensors"))
    if len(alone) == 1:
        return alone
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        raise DanluError("E1424", where=folder, found=pickles)
    raise DanluError("E1427", where=folder, found=[path.name for path in alone])


def write_weights(folder: Path, tensors: Mapping[str, Tensor], shard: int = SHARD) -> list[str]:
    """Write tensors into a folder, in parts of at most `shard` bytes (or one tensor); the names of the files."""
    parts: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        if parts[-1] and filled + tensor.nbytes > shard:
            parts.append({})
            filled = 0
        parts[-1][name] = tensor
        filled += tensor.nbytes
    names = [SINGLE] if len(parts) == 1 else [PART.format(number, len(parts)) for number in range(1, len(parts) + 1)]
    for name, part in zip(names, parts, strict=True):
        write_file(folder / name, lambda file, part=part: write_tensors(file, part))  # type: ignore[misc]
    if len(parts) > 1:
        total = sum(tensor.nbytes for tensor in tensors.values())
        where = {tensor: name for name, part in zip(names, parts, strict=True) for tensor in part}
        replace_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": where})
    return names


def _check_index(folder: Path, files: Mapping[Path, Mapping[str, Entry]]) -> None:
    """Every tensor is in the part the index says, and in no other."""
    told = read_table(folder / INDEX, INDEX_BYTES)["weight_map"]
    found: dict[str, str] = {}
    for path, entries in files.items():
        for name in entries:
            if name in found or told.get(name) != path.name:
                raise DanluError("E1422", where=path, found=name)
            found[name] = path.name
    if missing := [name for name in told if name not in found]:
        raise DanluError("E1422", where=folder / INDEX, found=missing)


def _is_plain(name: str) -> bool:
    return name not in (".", "..") and Path(name).name == name and "\\" not in name and name.endswith(".safetensors")


def _outside(index: Path, name: str) -> Path:
    raise DanluError("E1425", where=index, found=name)
