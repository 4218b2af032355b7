"""The data of a fine-tuning run: read, understood, divided; every row in the ledger."""

from dataclasses import dataclass, replace
from typing import Any

from danlu.data.ledger import Ledger
from danlu.errors import DanluError
from danlu.tasks import TASKS, Row, Task
from danlu.tasks.infer import Inferred, infer
from danlu.tasks.reading import File, Part, Table, files, read
from danlu.tasks.settings import TaskData
from danlu.tasks.splits import divide
from danlu.voice import Voice

SHARE, MOST, ENOUGH = 0.1, 2000, 500  # set aside of the rows: for each of validation and test, at most; rows for a test


@dataclass(frozen=True)
class Material:
    """The rows of a task, by what they are for."""

    task: Task
    columns: dict[str, str]
    labels: tuple[str, ...]
    training: list[Row]
    validation: list[Row]
    test: list[Row]
    ledger: Ledger


@dataclass(frozen=True)
class Given:
    """What files hold, before the rows are looked at one by one."""

    found: dict[Part, list[File]]
    tables: dict[Part, Table]
    inferred: Inferred
    ledger: Ledger


def look(settings: TaskData, task: str | None) -> Given:
    """Read every file, and infer the task. E1201 ... of files, E1203, E1901 of columns."""
    found, ledger = files(settings), Ledger(read=0)
    tables = {part: read(some, settings, ledger) for part, some in found.items()}
    where = ", ".join(file.name for file in found["train"][:3])
    return Given(found, tables, infer(tables["train"], task, settings.columns, where), ledger)


def material(given: Given, settings: TaskData) -> Material:
    """Rows by roles, divided; what cannot be used is in the ledger."""
    task, ledger = TASKS[given.inferred.task], given.ledger
    rows = {part: list(_rows(table, given.inferred, task, ledger)) for part, table in given.tables.items()}
    training, validation, test = rows["train"], rows["validation"], rows["test"]
    if not training:
        raise DanluError("E1902", where=", ".join(file.name for file in given.found["train"]))
    total = len(training)
    if not test and not given.found["test"]:
        share = settings.tested if settings.tested != "auto" else (_share(total) if total >= ENOUGH else 0.0)
        training, test = divide(training, share) if share else (training, [])
    if not validation and not given.found["validation"]:
        share = _share(total) if settings.held_out == "auto" else settings.held_out
        training, validation = divide(training, share / (1 - len(test) / total)) if share else (training, [])
    ledger = replace(ledger, trained=len(training), held_out=len(validation) + len(test))
    labels = task.labels(training)
    return Material(task, dict(given.inferred.columns), labels, training, validation, test, ledger.check())


def _share(total: int) -> float:
    return min(SHARE, MOST / total)


def _rows(table: Table, inferred: Inferred, task: Task, ledger: Ledger) -> Any:
    for record, file in table.records:
        values = {role: record.values.get(column) for role, column in inferred.columns.items()}
        missing = [role for role in task.columns if values.get(role) in (None, "")]
        if missing:
            ledger.drop("empty" if missing[0] != "label" else "no label", file, record.line)
        else:
            yield Row(values, file, record.line)


def say(voice: Voice, given: Given, made: Material) -> None:
    """What was inferred, in plain words."""
    task = made.task
    roles = ", ".join(f"{role}={column}" for role, column in made.columns.items())
    voice.say(f"task: {task.name} ({task.en}); columns: {roles}", f"任务：{task.name}（{task.zh}）；列：{roles}")
    if made.labels:
        shown = ", ".join(made.labels[:12]) + (" …" if len(made.labels) > 12 else "")
        voice.say(f"{len(made.labels)} labels: {shown}", f"{len(made.labels)} 个标签：{shown}")
    counts = len(made.training), len(made.validation), len(made.test)
    voice.say(
        f"{counts[0]:,} rows to train on, {counts[1]:,} to choose by, {counts[2]:,} to test on",
        f"训练 {counts[0]:,} 行，验证 {counts[1]:,} 行，测试 {counts[2]:,} 行",
    )
