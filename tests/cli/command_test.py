import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from danlu import cli
from danlu.cli import VERBS, heard, help_pages, main, page
from danlu.errors import DanluError
from danlu.recipes.runs.call import Answer, Call, Stopped

PROBE = """
import sys, time
start = time.perf_counter()
from danlu.cli import main
status = main({words!r})
seconds = time.perf_counter() - start
heavy = [name for name in ("torch", "pydantic", "numpy", "tokenizers", "transformers") if name in sys.modules]
print("PROBE", status, round(seconds, 3), heavy)
"""


def danlu(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **variables}
    command = [sys.executable, "-m", "danlu", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("words", [["--help"], [], ["pretrain", "--help"], ["--version"], ["ls", "-h", "lang=zh"]])
def test_help_is_quick_and_light(words: list[str]) -> None:
    """The bound is 0.3 s on a quiet machine; the best of three, doubled, here."""
    seconds = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", PROBE.format(words=words)], capture_output=True, text=True, check=True
        )
        _, status, taken, heavy = done.stdout.splitlines()[-1].split(maxsplit=3)
        assert (status, heavy) == ("0", "[]")
        seconds.append(float(taken))
    assert min(seconds) < 0.6


def test_help_in_two_languages() -> None:
    english, chinese = danlu("--help").stdout, danlu("--help", LC_ALL="zh_CN.UTF-8").stdout
    assert chinese == danlu("--help", "lang=zh").stdout == danlu("--lang", "zh").stdout == danlu("lang=zh").stdout
    assert "train a model from nothing" in english
    assert "从零预训练" in chinese
    for verb in VERBS:
        assert f"  {verb.name} " in english
        assert f"  {verb.name} " in chinese


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_stands(verb: cli.Verb) -> None:
    assert callable(getattr(import_module(verb.module), verb.function))
    for language in ("en", "zh"):
        text = page(verb, language)
        assert f"danlu {verb.name}" in text
        assert verb.line(language) in text
    assert set(help_pages()) == {"danlu", "settings", *(verb.name for verb in VERBS)}


def test_the_language_of_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert heard(["pretrain"]) == ("zh", ["pretrain"])
    assert heard(["pretrain", "lang=en", "x"]) == ("en", ["pretrain", "x"])
    assert heard(["pretrain", "--lang", "en", "x"]) == ("en", ["pretrain", "x"])
    assert heard(["pretrain", "--lang"]) == ("zh", ["pretrain", "--lang"])
    monkeypatch.setenv("LC_ALL", "C")
    assert heard(["lang=zh"]) == ("zh", [])
    assert heard(["lang=fr"]) == ("en", ["lang=fr"])


def test_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretran", "x", "lang=en"]) == 2
    error = capsys.readouterr().err
    assert "E1001 pretran is not a verb of danlu" in error
    assert "did you mean: pretrain" in error


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["explain", "E1101", "more"], "E1002"), (["explain", "E0000"], "E1004"), (["schema"], "E1005"),
        (["schema", "chatt"], "E1006"), (["explain", "sead=3"], "E1101"), (["explain", "seed=x"], "E1102"),
        (["explain", "--=3"], "E1105"), (["explain", "seed=1", "data_seed=2"], "E1106"),
        (["explain", "lang=fr"], "E1102"),
    ],
)  # fmt: skip
def test_mistakes_are_numbered(words: list[str], code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--json"]) == 2
    output = capsys.readouterr()
    assert output.err.startswith(code)
    assert "Traceback" not in output.err
    assert json.loads(output.out.splitlines()[-1])["error"] == code


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "1101", "lang=zh"]) == 0
    assert "未知设置 ‹name›" in capsys.readouterr().out
    assert main(["explain", "lang=en"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed[0].startswith("E1000")
    assert all(re.match(r"E\d{4}  \S", line) for line in listed)


def test_json_is_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "E1101", "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said.keys() >= {"verb", "run", "metrics", "seconds", "files"}
    assert said["metrics"] == {"code": "E1101"}


def test_aliases_are_echoed_as_ours(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Call] = []
    monkeypatch.setattr("danlu.recipes.looking.explain.explain", lambda call: seen.append(call) or Answer())
    assert main(["explain", "x", "--learning_rate", "1e-4", "--dry-run", "lang=en"]) == 0
    assert "learning_rate is called train.lr here" in capsys.readouterr().err
    assert seen[0].settings == {"train": {"lr": 1e-4}, "lang": "en"}
    assert seen[0].words == ("x",)
    assert seen[0].dry_run


def raising(error: BaseException) -> object:
    def verb(call: Call) -> Answer:
        raise error

    return verb


def test_stopping_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("danlu.recipes.looking.explain.explain", raising(Stopped("danlu pretrain runs/x")))
    assert main(["explain", "lang=en"]) == 130
    assert capsys.readouterr().err.strip() == "stopped; go on with:  danlu pretrain runs/x"
    monkeypatch.setattr("danlu.recipes.looking.explain.explain", raising(KeyboardInterrupt()))
    assert main(["explain", "lang=zh"]) == 130
    assert capsys.readouterr().err.strip() == "已停止"


def test_what_was_not_foreseen_is_short_and_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("danlu.recipes.looking.explain.explain", raising(ZeroDivisionError("by nothing")))
    assert main(["explain", "lang=en"]) == 1
    error = capsys.readouterr().err
    assert "E1003" in error
    assert "Traceback" not in error
    note = Path(re.search(r"details are in (\S+);", error).group(1))  # type: ignore[union-attr]
    assert "ZeroDivisionError: by nothing" in note.read_text()
    note.unlink()


def test_a_reader_that_leaves_early_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m danlu explain | head -1", shell=True, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("E1000")
    assert done.stderr == ""


def test_an_error_in_both_locales() -> None:
    assert "danlu 没有动词 x" in danlu("x", LC_ALL="zh_CN.UTF-8").stderr
    done = danlu("x")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "x is not a verb" in done.stderr


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "lang=en"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    said = json.loads(last)["metrics"]
    assert said["threads"] >= 1
    assert said["packages"]["torch"]
    assert any(line.startswith("processor") for line in lines)


def test_call_takes_words_by_role() -> None:
    call = Call(("a",), {}, None)  # type: ignore[arg-type]
    assert call.take("START", "DATA", optional=1) == ("a", None)
    with pytest.raises(DanluError, match="E1005"):
        call.take("START", "DATA")
    with pytest.raises(DanluError, match="E1002"):
        call.take()
