"""Danlu (丹炉): pretrain, fine-tune or prompt, compress and deploy small models.

The functions here do what the command does, with the same settings and the same run folders:

    run = danlu.pretrain("gpt-mini", "my.txt", train={"steps": 500})
    model = danlu.load(run)
    model.generate("Once upon a time", max_new_tokens=40)
"""

import os
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from danlu.recipes.runs.call import Answer
    from danlu.recipes.runs.folder import Run

__version__ = "0.1.0"
__all__ = ["call", "finetune", "load", "pretrain", "resume"]

# Threads that wait spin for microseconds, then sleep; read when torch is imported. On two cores beside another busy
# process, torch's own choice (milliseconds) cost nine tenths of the training speed; sleeping at once costs half of it
# on a quiet machine.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

Where = str | PathLike[str]


def pretrain(start: Where, data: Where | Sequence[Where] = (), /, *, quiet: bool = False, **settings: Any) -> "Run":
    """Train a model from nothing (`gpt-mini`), or a folder, run or hub name further; the finished run.

    data: paths; several sources are named in `data={"sources": {"en": "en.txt", ...}}` instead. settings: groups as
    mappings, `train={"steps": 500}, data={"length": 128}`, or dotted names, `**{"train.steps": 500}`; `output=` is the
    run's folder. Errors are DanluError, all together before anything loads.
    """
    words = [data] if isinstance(data, (str, PathLike)) else list(data)
    return _run(call("pretrain", start, *words, quiet=quiet, **settings))


def finetune(start: Where, data: Where | Sequence[Where], /, *, quiet: bool = False, **settings: Any) -> "Run":
    """Teach a model a task from rows with answers; the finished run. Without `task=`, the columns say which."""
    words = [data] if isinstance(data, (str, PathLike)) else list(data)
    return _run(call("finetune", start, *words, quiet=quiet, **settings))


def resume(run: Where, *, quiet: bool = False) -> "Run":
    """Finish a run that was interrupted, to the same bits as if it had not been."""
    from pathlib import Path

    from danlu.recipes.runs.folder import Run

    return _run(call(Run(Path(run)).verb, run, quiet=quiet))


def load(
    where: Where, device: str = "auto", dtype: str | None = None, base: Where | None = None,
    adapters: Mapping[str, Where] | None = None, prompt: Where | None = None,
) -> Any:  # fmt: skip
    """A run, a model folder, an installed model or a hub name, put to use: an `Engine`, which generates, fills, scores
    and embeds, of a fine-tuned model an `Answerer`, which classifies, tags, finds, chooses and embeds, of a CLIP a
    `Matcher`, which compares and names pictures, or of a prompt a `Prompter`, which classifies.

    dtype: float32, bfloat16 or float16; as stored where not given. base: the model below an adapter, where it is not
    where it was. adapters: runs or folders by name, put on this model; the first is at work until `use("another")`.
    prompt: the file of one, or a run of `danlu prompt`, by which this model shall classify.
    """
    from danlu.recipes.using.load import put_to_use

    folders = {name: fspath(folder) for name, folder in (adapters or {}).items()}
    below, asked = (fspath(each) if each else None for each in (base, prompt))
    return put_to_use(fspath(where), device, dtype, below, folders, asked)


def call(verb: str, /, *words: Where, quiet: bool = False, **settings: Any) -> "Answer":
    """Any verb, as the command would do it: `call("evaluate", run, "test.txt").metrics`, `call("data", "check", file)`.

    (Verbs and rooms of the package share names, so `danlu.evaluate` is the room.) E1001 for a verb that is none.
    """
    from importlib import import_module

    from danlu.cli import find_verb
    from danlu.recipes.runs.call import Call, nested
    from danlu.voice import Voice

    entry = find_verb(verb)
    plain = nested(settings)
    dry_run = plain.pop("dry_run", False) is True
    voice = Voice(plain.get("lang"), quiet=quiet)
    function = getattr(import_module(entry.module), entry.function)
    answer: Answer = function(Call(tuple(fspath(word) for word in words), plain, voice, dry_run))
    return answer


def _run(answer: "Answer") -> "Run":
    from danlu.recipes.runs.folder import Run

    assert answer.run is not None
    return Run(answer.run)
