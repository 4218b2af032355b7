"""The data of a fine-tuning run: read, understood, divided; every row in the ledger."""

import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from danlu.data.ledger import Ledger
from danlu.errors import DanluError, nearest
from danlu.settings import Data
from danlu.tasks import ALIASES, EVERY, Row, Task, Writing
from danlu.tasks.infer import Inferred, infer
from danlu.tasks.reading import File, Part, Table, check, files, read
from danlu.tasks.settings import TaskData
from danlu.tasks.splits import LISTED, Duplicate, across, contradictions, divide
from danlu.voice import Voice

SHARE, MOST, ENOUGH = 0.1, 2000, 500  # set aside for each of validation and test, at most; rows from which on to test
FEW = 2  # labels, without which there is nothing to learn


@dataclass(frozen=True)
class Given:
    """What files hold, before the rows are looked at one by one."""

    found: dict[Part, list[File]]
    tables: dict[Part, Table]
    inferred: Inferred
    ledger: Ledger

    @property
    def where(self) -> str:
        return ", ".join(file.name for file in self.found["train"][:3])


@dataclass(frozen=True)
class Material:
    """The rows of a task, by what they are for. unit: shift and scale between numbers and what a head learns."""

    task: Task | Writing
    columns: dict[str, str]
    labels: tuple[str, ...]
    training: list[Row]
    validation: list[Row]
    test: list[Row]
    ledger: Ledger
    unit: tuple[float, float] = (0.0, 1.0)
    duplicates: tuple[Duplicate, ...] = ()
    contradictions: tuple[Duplicate, ...] = ()
    unseen: tuple[str, ...] = ()

    def ledger_json(self, ledger: Ledger) -> Data:
        """The ledger, and what else is to be known of the rows."""
        more = {"duplicates": self.duplicates, "contradictions": self.contradictions}
        lists = {
            name: {"count": len(some), "places": [asdict(each) for each in some[:LISTED]]}
            for name, some in more.items()
            if some
        }
        return ledger.to_json() | lists | ({"unseen_labels": list(self.unseen)} if self.unseen else {})


def look(settings: TaskData, task: str | None) -> Given:
    """Read every file, and infer the task. E1201 ... of files, E1203, E1901, E1907 of columns, E1908 of the task."""
    if task is not None:
        task = ALIASES.get(task, task)
        if task not in EVERY:
            raise DanluError("E1908", found=task, possible=list(EVERY), nearest=nearest(task, [*EVERY, *ALIASES]))
    found, ledger = files(settings), Ledger(read=0)
    tables = {part: read(some, settings, ledger) for part, some in found.items()}
    where = ", ".join(file.name for file in found["train"][:3])
    if not tables["train"].records:
        raise DanluError("E1902", where=where)
    inferred = infer(tables["train"], task, settings.columns, where)
    if inferred.task not in EVERY:
        raise DanluError("E1908", where=where, found=inferred.task, possible=list(EVERY))
    return Given(found, tables, inferred, ledger)


def material(given: Given, settings: TaskData, seed: int = 0) -> Material:
    """Rows by roles, divided; what cannot be used is in the ledger. E1902, E1904, E1210."""
    task, ledger = EVERY[given.inferred.task], given.ledger
    before = ledger.dropped.total()
    rows = {part: list(usable(table, given.inferred, task, ledger)) for part, table in given.tables.items()}
    kept = sum(map(len, rows.values()))
    check(ledger, settings, ledger.dropped.total() - before, kept, "")
    if not rows["train"]:
        raise DanluError("E1902", where=given.where)
    training, validation, test = _divided(rows, given, settings)
    if not training:
        raise DanluError("E1902", where=given.where)
    others = {"validation": validation, "test": test}
    twins = across(training, others)
    if twins and settings.duplicates == "drop":
        places = {(twin.file, twin.line) for twin in twins}
        for file, line in sorted(places):
            ledger.drop("in the test", file, line)
        training = [row for row in training if (row.file, row.line) not in places]
        twins = []
    labels = task.labels(training)
    _refuse_one_answer(task, labels, training, given.where)
    answer = task.columns[-1] if task.columns else ""
    return Material(
        task, dict(given.inferred.columns), labels, training, validation, test,
        replace(ledger, trained=len(training), held_out=len(validation) + len(test)).check(), _unit(task, training),
        tuple(twins), tuple(contradictions(training, answer)) if task.form in ("row", "token") else (),
        _unseen(task, labels, [*validation, *test]),
    )  # fmt: skip


def usable(table: Table, inferred: Inferred, task: Task | Writing, ledger: Ledger) -> Iterator[Row]:
    """Rows that the task can use; the others go into the ledger."""
    for record, file in table.records:
        values = {role: record.values[name] for role, name in inferred.columns.items() if name in record.values}
        if inferred.series:
            choices = (record.values.get(name) for name in inferred.series)
            values["choices"] = [choice for choice in choices if choice not in (None, "")]
        missing = [role for role in task.columns if role not in values]
        found = "no column" if missing else task.fit(values)
        if isinstance(found, str):
            ledger.drop(found, file, record.line)
        else:
            yield Row(found, file, record.line)


def _divided(rows: dict[Part, list[Row]], given: Given, settings: TaskData) -> tuple[list[Row], list[Row], list[Row]]:
    training, validation, test = rows["train"], rows["validation"], rows["test"]
    total = len(training)
    usual = min(SHARE, MOST / total)
    if not given.found["test"]:
        share = settings.tested if settings.tested != "auto" else (usual if total >= ENOUGH else 0.0)
        if not given.found["validation"] or settings.tested != "auto":
            training, test = divide(training, share, seed=1)
    if not given.found["validation"]:
        share = usual if settings.held_out == "auto" else settings.held_out
        training, validation = divide(training, share * total / max(1, len(training)))
    return training, validation, test


def _refuse_one_answer(task: Task | Writing, labels: tuple[str, ...], training: list[Row], where: str) -> None:
    """E1904 where all rows have one answer, or there is nothing to tell apart."""
    alone: object = None
    if task.problem == "number":
        values = {row.values["label"] for row in training}
        alone = next(iter(values)) if len(values) < FEW else None
    elif task.form in ("row", "token") and len(labels) < (FEW if task.problem == "single" else 1):
        alone = labels[0] if labels else "—"
    elif task.form == "vector" and len(training) < FEW:
        alone = training[0].values["text"]
    if alone is not None:
        raise DanluError("E1904", where=where, found=alone, rows=len(training))


def _unit(task: Task | Writing, training: list[Row]) -> tuple[float, float]:
    if task.problem != "number":
        return 0.0, 1.0
    values = [row.values["label"] for row in training]
    return statistics.fmean(values), statistics.pstdev(values)


def _unseen(task: Task | Writing, labels: tuple[str, ...], rows: list[Row]) -> tuple[str, ...]:
    """Labels to be measured by that cannot be learnt."""
    if task.problem == "number" or task.form not in ("row", "token"):
        return ()
    told = (row.values[task.columns[-1]] for row in rows)
    names = {name for each in told for name in (each if isinstance(each, list) else [each])}
    return tuple(sorted(names - set(labels)))


def say(voice: Voice, given: Given, made: Material) -> None:
    """What was inferred and found, in plain words."""
    task, inferred = made.task, given.inferred
    roles = ", ".join(f"{role}={column}" for role, column in made.columns.items())
    why = "; ".join(reason.en for reason in inferred.reasons), "；".join(reason.zh for reason in inferred.reasons)
    voice.say(f"task: {task.name}, {task.en}  ({why[0]})", f"任务：{task.name}，{task.zh}（{why[1]}）")
    voice.say(f"columns: {roles}", f"列：{roles}")
    if made.labels and task.problem != "number":
        shown = ", ".join(made.labels[:12]) + (" …" if len(made.labels) > 12 else "")
        voice.say(f"{len(made.labels)} labels: {shown}", f"{len(made.labels)} 个标签：{shown}")
    counts = f"{len(made.training):,}", f"{len(made.validation):,}", f"{len(made.test):,}"
    voice.say(
        f"{counts[0]} rows to train on, {counts[1]} to choose by, {counts[2]} to test on",
        f"训练 {counts[0]} 行，验证 {counts[1]} 行，测试 {counts[2]} 行",
    )
    _say_findings(voice, made)


def _say_findings(voice: Voice, made: Material) -> None:
    if dropped := made.ledger.dropped:
        listed = ", ".join(f"{reason} {count}" for reason, count in dropped.most_common())
        voice.say(f"rows that cannot be used: {listed} (see ledger.json)", f"无法使用的行：{listed}（见 ledger.json）")
    if made.duplicates:
        one, count = made.duplicates[0], len(made.duplicates)
        place = f"{one.file}:{one.line} = {one.other_file}:{one.other_line}"
        voice.say(
            f"{count} rows to train on stand among those to measure by as well ({place}); data.duplicates=drop leaves "
            "them out",
            f"{count} 行训练数据也出现在评测数据中（{place}）；data.duplicates=drop 可将其去掉",
        )
    if made.contradictions:
        one, count = made.contradictions[0], len(made.contradictions)
        place = f"{one.file}:{one.line}, {one.other_file}:{one.other_line}"
        voice.say(f"{count} texts come with different answers ({place})", f"{count} 处相同文本的答案不同（{place}）")
    if made.unseen:
        named = ", ".join(made.unseen[:12])
        voice.say(
            f"labels that no row to train on has, and which will never be predicted: {named}",
            f"训练数据中没有、因此永远不会被预测的标签：{named}",
        )
