"""`danlu data leaks`, and `danlu data split` of labelled rows."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import Field

from danlu.data.ledger import Ledger
from danlu.data.tables import Record
from danlu.errors import DanluError
from danlu.recipes.preparing.material import usable
from danlu.recipes.runs.call import Answer, Call, Common
from danlu.recipes.runs.folder import folder_problems, slug
from danlu.settings import Data
from danlu.tasks import TASKS, Row, Task
from danlu.tasks.infer import infer
from danlu.tasks.leaks import Leak, groups, leaks
from danlu.tasks.reading import Table, files, read
from danlu.tasks.settings import TaskData
from danlu.tasks.splits import hash_of
from danlu.voice import Voice

SHOWN, LISTED = 10, 1000  # leaks that are said, and given to scripts
SIDES = ("train", "validation", "test")
TABLES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".conll", ".conllu", ".bmes", ".bio")


class LabelledData(Common):
    """share, tested: the parts set aside to choose by and to test on."""

    data: TaskData = TaskData()
    task: str | None = None
    share: float = Field(0.1, gt=0, lt=1)
    tested: float = Field(0.0, ge=0, lt=1)


def check_leaks(call: Call) -> Answer:
    """Rows of later files that stand in earlier ones. Not passed where there are any."""
    settings = call.without("words").build(LabelledData)
    if len(call.words) < 2:
        raise DanluError("E1005", word=["TRAIN", "TEST"][len(call.words)], possible=["TRAIN", "TEST", "..."])
    if call.dry_run:
        return call.rehearse(settings)
    parts: dict[str, list[Row]] = {}
    answer = "label"
    for path in call.words:
        task, pairs = labelled(settings.data, (path,), settings.task)
        parts[path], answer = [row for row, _ in pairs], task.columns[-1]
    found = leaks(parts, answer)
    _say(found, parts, call.voice)
    metrics: Data = {"rows": {name: len(rows) for name, rows in parts.items()}, "leaks": len(found),
                     "same": sum(not each.near for each in found), "near": sum(each.near for each in found),
                     "places": [vars(each) for each in found[:LISTED]]}  # fmt: skip
    return Answer(metrics=metrics, passed=not found)


def split_labelled(call: Call) -> Answer:
    """NAME.train.jsonl, NAME.validation.jsonl and, where `tested` says so, NAME.test.jsonl, with every column.

    Rows that say the same or nearly the same stay on one side, chosen by their content.
    """
    settings = call.build(LabelledData)
    paths = call.words or settings.data.paths
    folder = Path(settings.output or ".")
    for problem in folder_problems(folder):
        raise problem
    _, pairs = labelled(settings.data, tuple(paths), settings.task)
    if len(pairs) < len(SIDES):
        raise DanluError("E1224", share=f"{settings.share:.1%}", found=len(pairs))
    if call.dry_run:
        return call.rehearse(settings)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for row, _ in pairs]
    chances = [
        hash_of(f"{settings.seed}:{sorted(map(str, rows[first].values.items()))}") / 2.0**64 for first in groups(rows)
    ]
    sides = [2 if at < settings.tested else 1 if at < settings.tested + settings.share else 0 for at in chances]
    names = SIDES if settings.tested else SIDES[:2]
    places = [folder / f"{slug(paths[0])}.{name}.jsonl" for name in names]
    with ExitStack() as stack:
        out = [stack.enter_context(place.open("w", encoding="utf8")) for place in places]
        for side, (_, record) in zip(sides, pairs, strict=True):
            out[side].write(json.dumps(dict(record.values), ensure_ascii=False, default=str) + "\n")
    counts = {name: sides.count(number) for number, name in enumerate(names)}
    told = ", ".join(f"{place}: {count:,}" for place, count in zip(places, counts.values(), strict=True))
    call.voice.say(told, told.replace(", ", "，").replace(": ", "："))
    return Answer(metrics=counts, files=tuple(places))


def is_labelled(paths: Sequence[str]) -> bool:
    """Whether a file is a table whose columns say what is to be learnt."""
    if not paths or not all(path.removesuffix(".gz").endswith(TABLES) and Path(path).is_file() for path in paths):
        return False
    try:
        labelled(TaskData(broken=1.0), tuple(paths), None)
    except DanluError:
        return False
    return True


def labelled(settings: TaskData, paths: tuple[str, ...], task: str | None) -> tuple[Task, list[tuple[Row, Record]]]:
    """The rows of files, whatever their names say they are for, and the records they come from. E1901 and others where
    the columns say no task."""
    told = settings.model_copy(update={"paths": paths})
    ledger = Ledger(read=0)
    tables = [read(some, told, ledger) for some in files(told).values()]
    table = Table(tuple(pair for each in tables for pair in each.records))
    inferred = infer(table, task, settings.columns, ", ".join(paths))
    known = TASKS.get(inferred.task)
    if known is None:
        raise DanluError("E1908", where=paths[0], found=inferred.task, possible=list(TASKS))
    pairs = [
        (row, record)
        for record, file in table.records
        for row in usable(Table(((record, file),)), inferred, known, ledger)
    ]
    return known, pairs


def _say(found: list[Leak], parts: dict[str, list[Row]], voice: Voice) -> None:
    rows: Any = list(parts.values())
    later = sum(map(len, rows[1:]))
    same, other = [each for each in found if not each.near], sum(not each.agrees for each in found)
    voice.fact(voice.pick("the same", "相同"), f"{len(same):,} / {later:,}")
    voice.fact(voice.pick("nearly the same", "近似"), f"{len(found) - len(same):,} / {later:,}")
    voice.fact(voice.pick("  of these with another answer", "  其中答案不同"), f"{other:,}")
    for each in found[:SHOWN]:
        sign = "≈" if each.near else "="
        print(f"  {each.file}:{each.line} {sign} {each.other_file}:{each.other_line}" + ("" if each.agrees else "  ≠"))
    if len(found) > SHOWN:
        voice.say(
            f"… and {len(found) - SHOWN:,} more (--json lists them)",
            f"……另有 {len(found) - SHOWN:,} 处（--json 可列出）",
        )
