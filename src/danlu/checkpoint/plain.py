"""The JSON files of a model folder, read with care."""

import json
from pathlib import Path
from typing import Any

from danlu.errors import DanluError

MOST_BYTES, DEEPEST = 1_000_000, 32
INDEX_BYTES = 20_000_000


def read_table(path: Path, most: int = MOST_BYTES) -> dict[str, Any]:
    """The table a JSON file holds. E1421 where it is none, too large, or nested too deep."""
    try:
        if (size := path.stat().st_size) > most:
            raise ValueError(f"{size} bytes, {most} at most")
        data = json.loads(path.read_bytes(), parse_constant=_refuse)
    except OSError as error:
        raise DanluError("E1421", where=path, found=error.strerror) from error
    except (ValueError, RecursionError) as error:
        raise DanluError("E1421", where=path, found=str(error)) from error
    if not isinstance(data, dict) or _too_deep(data):
        raise DanluError("E1421", where=path, found=type(data).__name__)
    return data


def inside(path: Path, root: Path) -> Path:
    """The path, if links and `..` followed it lies in `root`. E1425 where it leads out."""
    if not path.resolve().is_relative_to(root.resolve()):
        raise DanluError("E1425", where=path, found=path.resolve())
    return path


def _too_deep(data: Any) -> bool:
    level = [data]
    for _ in range(DEEPEST):
        inner = [each for item in level for each in (item.values() if isinstance(item, dict) else item)]
        level = [each for each in inner if isinstance(each, (dict, list))]
    return bool(level)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a number")
