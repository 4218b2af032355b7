"""lm-evaluation-harness on a task of our own, without a network: our model against itself as transformers loads it."""

import json
import math
import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.evaluate.harness import adapter, continuation, rolling, run_tasks, written
from danlu.generate.engine import Engine
from danlu.models.build import build
from danlu.models.families import fresh
from danlu.text.training import TokenizerSettings, train_tokenizer
from danlu.voice import Voice

lm_eval = pytest.importorskip("lm_eval")
TEXTS = [
    "the cat sat on the mat",
    "a dog ran over the hill",
    "猫坐在垫子上",
    "birds sing in the morning and at night",
] * 8


def made(name: str) -> Engine:
    family, _ = fresh(f"{name}-tiny")
    tokenizer = train_tokenizer(
        iter(TEXTS), TokenizerSettings(kind=family.tokenizer, vocabulary=320), family.specials, Voice(quiet=True),
        extra=family.extra_tokens,
    )  # fmt: skip
    family, config = fresh(f"{name}-tiny", tokenizer.vocabulary, width=32, depth=2, heads=2, length=24)
    model = build(config, seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return Engine(Checkpoint(family, config, model.eval(), tokenizer))


@pytest.fixture(scope="module")
def gpt() -> Engine:
    torch.manual_seed(0)
    return made("gpt")


@pytest.fixture(scope="module")
def theirs(gpt: Engine, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The harness's own adapter for transformers, on the same folder."""
    from lm_eval.models.huggingface import HFLM

    folder = gpt.checkpoint.save(tmp_path_factory.mktemp("model") / "gpt")
    return HFLM(pretrained=str(folder), device="cpu", batch_size=4, dtype="float32")


def asked(*arguments: Any) -> list[Any]:
    return [SimpleNamespace(args=each) for each in arguments]


LONG = "birds sing in the morning and at night " * 4
PAIRS = [("the cat", " sat"), ("the cat ", "sat on"), ("", "a dog"), (LONG, "the end"), ("the mat 猫", "坐 a dog")]


def test_continuations_are_as_likely_as_to_transformers(gpt: Engine, theirs: Any) -> None:
    ours = adapter(gpt).loglikelihood(asked(*PAIRS))
    expected = theirs._loglikelihood_tokens(_encoded(theirs, PAIRS), disable_tqdm=True)
    for (value, greedy), (their_value, their_greedy) in zip(ours, expected, strict=True):
        assert value == pytest.approx(their_value, abs=1e-3)
        assert greedy == their_greedy


def _encoded(theirs: Any, pairs: list[tuple[str, str]]) -> list[Any]:
    rows = []
    for context, text in pairs:
        if context:
            rows.append(((context, text), *theirs._encode_pair(context, text)))
        else:
            rows.append(((context, text), [theirs.prefix_token_id], theirs.tok_encode(text)))
    return rows


def test_whole_texts_are_as_likely_as_to_transformers(gpt: Engine, theirs: Any) -> None:
    texts = [("the cat sat on the mat",), ("birds sing in the morning and at night " * 5,)]
    ours = adapter(gpt).loglikelihood_rolling(asked(*texts))
    theirs_found = theirs.loglikelihood_rolling(asked(*texts), disable_tqdm=True)
    assert ours == pytest.approx(theirs_found, abs=1e-2)


def test_greedy_text_is_that_of_the_model_up_to_the_stop(gpt: Engine) -> None:
    settings = {"until": ["\n\n"], "max_gen_toks": 6, "do_sample": False}
    (text,) = adapter(gpt).generate_until(asked(("the cat", settings)))
    assert text == gpt.generate("the cat", max_new_tokens=6, temperature=0.0)
    stop = text[len(text) // 2]
    assert written(gpt, "the cat", {"until": stop, "max_gen_toks": 6}) == text.split(stop)[0]
    assert written(gpt, "a long prompt " * 40, {"until": [], "max_gen_toks": 500})


@pytest.mark.parametrize("name", ["bert", "t5"])
def test_other_kinds_answer_too(name: str) -> None:
    engine = made(name)
    whole = continuation(engine, "the cat", " sat on the mat")
    ((value, greedy),) = adapter(engine).loglikelihood(asked(("the cat", " sat on the mat")))
    assert value < 0
    assert not greedy
    if name == "bert":
        tokens = engine.tokenizer.encode("the cat sat on the mat")
        assert len(whole) == len(tokens) - len(engine.tokenizer.encode("the cat"))
        assert len(rolling(engine, "the cat sat on the mat")) == len(tokens)


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny task on a local file: which of two ends fits?"""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [{"start": "the cat", "ends": [" sat", " hill"], "right": number % 2} for number in range(12)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf8")
    description = {
        "task": "ends", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(path)}},
        "test_split": "test", "output_type": "multiple_choice", "doc_to_text": "{{start}}", "doc_to_target": "right",
        "doc_to_choice": "ends", "metric_list": [{"metric": "acc"}],
    }  # fmt: skip
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "ends.yaml").write_text(json.dumps(description), encoding="utf8")
    return folder


def test_a_task_of_ones_own_runs(gpt: Engine, task: Path) -> None:
    found = run_tasks(gpt, ["ends"], str(task))
    accuracy = found["ends"]["acc"]
    assert accuracy["value"] == 0.5, "the same answer each time, and every second one is right"
    assert accuracy["low"] < 0.5 < accuracy["high"]
    few = run_tasks(gpt, ["ends"], str(task), limit=1)["ends"]["acc"]
    assert few["value"] in (0.0, 1.0)
    assert not math.isnan(accuracy["low"])


def test_unknown_tasks_and_broken_ones_are_refused(gpt: Engine, task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = partial(lm_eval.tasks.TaskManager, include_defaults=False)  # theirs are thousands
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", lambda include_path, **more: own(include_path=include_path))
    with pytest.raises(DanluError, match="E1816"):
        run_tasks(gpt, ["endz"], str(task))
    os.remove(task.parent / "rows.jsonl")
    with pytest.raises(DanluError, match="E1817"):
        run_tasks(gpt, ["ends"], str(task))
