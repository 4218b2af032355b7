"""A danlu model as EleutherAI's lm-evaluation-harness asks for one (Gao et al. 2021), and its tasks.

The harness is an extra, imported here alone. What it counts is what it counts for transformers: log-likelihoods of
continuations, of whole texts in windows, and greedy continuations up to a stop.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from danlu.adapt import room
from danlu.data.batch import IGNORED
from danlu.errors import DanluError, nearest
from danlu.generate.engine import Engine
from danlu.generate.likelihood import Answers, Question, ask
from danlu.models.language import LanguageModel

TOKENS = 256  # written where a task does not say how many
SURE = 1.96  # standard errors on either side: 95 %


def run_tasks(
    engine: Engine, tasks: Sequence[str], include: str | None = None, shots: int | None = None, limit: int | None = None
) -> dict[str, dict[str, dict[str, float]]]:
    """task -> metric -> value, low, high. include: a folder of tasks of one's own. shots: examples before a question.

    E1815 where the harness is not installed, E1816 for a task it does not know, E1817 where a task fails.
    """
    try:
        import lm_eval
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise DanluError("E1815", found=error) from error
    manager = TaskManager(include_path=include, include_defaults=not include)
    if include and not all(manager.match_tasks([task]) for task in tasks):  # finding all of theirs takes a while
        manager = TaskManager(include_path=include)
    for task in tasks:
        if not manager.match_tasks([task]):
            raise DanluError("E1816", found=task, nearest=nearest(task, manager.all_tasks))
    try:
        found = lm_eval.simple_evaluate(
            model=adapter(engine), tasks=list(tasks), num_fewshot=shots, limit=limit, task_manager=manager,
            bootstrap_iters=1000, verbosity="ERROR",
        )  # fmt: skip
    except DanluError:
        raise
    except Exception as error:  # whatever a task's own code, or a data set that is not there, may raise
        raise DanluError("E1817", found=f"{type(error).__name__}: {error}", name=", ".join(tasks)) from error
    return {task: dict(_metrics(row)) for task, row in found["results"].items()}


def adapter(engine: Engine) -> Any:
    """An `lm_eval.api.model.LM` that answers with this model."""
    from lm_eval.api.model import LM

    class Model(LM):  # type: ignore[misc]
        def loglikelihood(self, requests: Iterable[Any]) -> list[tuple[float, bool]]:
            asked = [continuation(engine, *request.args) for request in requests]
            return [(sum(part.total for part in parts), _greedy(parts)) for parts in answered(engine, asked)]

        def loglikelihood_rolling(self, requests: Iterable[Any]) -> list[float]:
            asked = [rolling(engine, request.args[0]) for request in requests]
            return [sum(part.total for part in parts) for parts in answered(engine, asked)]

        def generate_until(self, requests: Iterable[Any]) -> list[str]:
            return [written(engine, *request.args) for request in requests]

        @property
        def tokenizer_name(self) -> str:
            return "danlu"

    return Model()


def answered(engine: Engine, asked: Sequence[Sequence[Question]]) -> list[list[Answers]]:
    """The answers to several questions for each request, all of them asked together."""
    answers = iter(ask(engine.model, [each for some in asked for each in some]))
    return [[next(answers) for _ in some] for some in asked]


def continuation(engine: Engine, context: str, text: str) -> list[Question]:
    """How likely is this text after that context? Spaces between them belong to the text."""
    stripped = context.rstrip()
    context, text = stripped, context[len(stripped) :] + text
    if engine.kind == "sequence_to_sequence":
        return engine.questions(text, context)
    before, whole = engine.tokenizer.encode(context), engine.tokenizer.encode(context + text)
    if engine.kind == "masked":
        return engine.questions(context + text)[len(before) :]
    given = before or list(engine.first)
    targets = whole[len(before) :]
    row = [*given, *targets]
    return [_asked(row, len(targets), _length(engine))] if len(row) > 1 else []


def rolling(engine: Engine, text: str) -> list[Question]:
    """How likely is a whole text? In windows of the model's length, each token asked for once."""
    if engine.kind != "causal":
        return engine.questions(text)
    tokens, length = engine.tokenizer.encode(text), _length(engine)
    row = [*engine.first[-1:], *tokens]
    borders = [*range(1, len(row), length), len(row)]
    return [_asked(row[:end], end - begin, length) for begin, end in pairwise(borders)]


def written(engine: Engine, context: str, settings: Mapping[str, Any]) -> str:
    """What the model goes on with, up to the first stop; the likeliest token each time, unless it shall be drawn."""
    stops = settings.get("until") or []
    stops = [stops] if isinstance(stops, str) else list(stops)
    most = int(settings.get("max_gen_toks", TOKENS))
    if isinstance(engine.model, LanguageModel):
        most = min(most, _length(engine) // 2)
        room = _length(engine) - most - len(engine.tokenizer.prefix)
        ids = engine.tokenizer.encode(context)
        context = context if len(ids) <= room else engine.tokenizer.decode(ids[-room:])
    heat = float(settings.get("temperature", 1.0)) if settings.get("do_sample") else 0.0
    text = engine.generate(context, max_new_tokens=most, temperature=heat)
    for stop in stops:
        text = text.split(stop)[0] if stop else text
    return text


def _asked(row: Sequence[int], count: int, length: int) -> Question:
    """The last `count` tokens of a row asked for, with as many before them as the model reads."""
    count = min(count, length)
    row = list(row)[-(length + 1) :]
    unasked = len(row) - 1 - count
    return Question(row[:-1], [IGNORED] * unasked + row[unasked + 1 :])


def _length(engine: Engine) -> int:
    return room(engine.model) or 1024


def _greedy(parts: Sequence[Answers]) -> bool:
    return all(bool(part.right.all()) for part in parts)


def _metrics(row: Mapping[str, Any]) -> Iterable[tuple[str, dict[str, float]]]:
    """`acc,none` and `acc_stderr,none` as one value with its interval."""
    for key, value in row.items():
        name, _, rest = key.partition(",")
        if isinstance(value, (int, float)) and rest and not name.endswith("_stderr"):
            error = row.get(f"{name}_stderr,{rest}")
            reach = SURE * error if isinstance(error, (int, float)) else float("nan")
            title = name if rest == "none" else f"{name} ({rest})"
            yield title, {"value": float(value), "low": value - reach, "high": value + reach}
