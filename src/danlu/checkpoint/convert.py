"""`danlu convert FOLDER`: pickled weights of a folder made into safetensors, in a process of its own.

Unpickling runs whatever the file says, within the limits of torch's restricted reader; that is why it is asked for by
name, happens in another process without this one's memory, and never at run time.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from danlu.checkpoint.headers import read_header
from danlu.checkpoint.plain import INDEX_BYTES, inside, read_table
from danlu.checkpoint.weights import INDEX, SINGLE
from danlu.errors import DanluError
from danlu.files import TEMPORARY, replace_json, sync_folder
from danlu.voice import Voice

PICKLE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
MINUTES = 60


def convert(folder: str | Path, voice: Voice) -> list[Path]:
    """Write safetensors files beside the pickles of a model folder; the pickles stay. Returns what was written.

    E1424 where there is nothing to convert, E1431 where a pickle holds more than tensors, or reading it fails.
    """
    folder = Path(folder)
    sources = _pickles(folder)
    voice.say(
        f"unpickling {len(sources)} file(s) of {folder} in a process of its own; only do this with files you trust",
        f"在独立进程中读取 {folder} 的 {len(sources)} 个 pickle 文件；请只对可信的文件这样做",
    )
    written = []
    with voice.progress("converting", "转换", len(sources)) as bar:
        for number, source in enumerate(sources, 1):
            name = SINGLE if len(sources) == 1 else f"model-{number:05d}-of-{len(sources):05d}.safetensors"
            written.append(_convert_one(source, folder / name))
            bar.advance(1, name)
    if len(written) > 1:
        where = {name: path.name for path in written for name in read_header(path)}
        size = sum(entry.end - entry.start for path in written for entry in read_header(path).values())
        replace_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": where})
    return written


def _convert_one(source: Path, target: Path) -> Path:
    made = target.with_name(f"{target.name}{TEMPORARY}{os.getpid()}")
    command = [sys.executable, "-I", str(Path(__file__).with_name("unpickle.py")), str(source), str(made)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * MINUTES, check=False)
        if done.returncode:
            last = (done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["?"])[-1]
            raise DanluError("E1431", where=source, found=_reason(last))
        read_header(made)
        with made.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(made, target)
        sync_folder(target.parent)
    except subprocess.TimeoutExpired as error:
        raise DanluError("E1431", where=source, found=f"{MINUTES} min") from error
    finally:
        made.unlink(missing_ok=True)
    return target


def _reason(line: str) -> str:
    try:
        return str(json.loads(line)["error"])
    except (ValueError, KeyError, TypeError):
        return line


def _pickles(folder: Path) -> list[Path]:
    if (folder / PICKLE_INDEX).is_file():
        parts = read_table(folder / PICKLE_INDEX, INDEX_BYTES).get("weight_map")
        if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
            raise DanluError("E1421", where=folder / PICKLE_INDEX, found="no weight_map")
        return [inside(folder / name, folder) for name in sorted(set(parts.values()))]
    found = [folder / PICKLE] if (folder / PICKLE).is_file() else sorted(folder.glob("*.bin"))
    if len(found) != 1:
        raise DanluError("E1432", where=folder, found=[path.name for path in found], possible=PICKLE)
    return [inside(found[0], folder)]
