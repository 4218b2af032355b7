"""The other verbs, as a person uses them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import danlu
from danlu.cli import help_pages, main
from danlu.errors import DanluError
from danlu.recipes import demo
from danlu.recipes.demo import sparkline
from danlu.recipes.looking import verify
from danlu.recipes.looking.explain import SETTINGS, settings_of
from danlu.recipes.pretraining.stage import Pretrain
from danlu.recipes.runs.call import Call
from danlu.recipes.runs.folder import Run, next_free, slug
from danlu.settings import names

Make = Callable[..., Call]
SHAPE = {"model": {"width": 32, "depth": 1, "heads": 2, "length": 64}, "tokenizer": {"vocabulary": 300}}


def said(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_resume_is_proved_on_the_users_own_run(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "resume", str(trained), "steps=4", "--json", "lang=en"]) == 0
    found = said(capsys)
    assert (found["passed"], found["run"], found["metrics"]["difference"]) == (True, str(trained), None)
    assert "PASS: bit-equal" in (trained.path / "README.md").read_text()


def test_a_run_that_differs_is_told_apart(trained: Run, text: Path) -> None:
    brief = {"train": {"steps": 6, "batch": 4, "save_every": 2, "evaluate_every": 3, "weight_decay": 0.11}}
    other = danlu.pretrain("gpt-tiny", text, quiet=True, output="runs/o", data={"length": 32}, **brief, **SHAPE)
    assert next(verify.differences(trained, trained), None) is None
    assert next(verify.differences(trained, other)).startswith("model: ")
    lines = (other.path / "metrics.jsonl").read_text().splitlines()
    (other.path / "metrics.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    assert list(verify.differences(other, trained))[-1].startswith("metrics: ")


def test_bits_see_what_equality_does_not() -> None:
    zero, nan = torch.zeros(1), torch.tensor([float("nan")])
    assert not torch.equal(verify.bits(zero), verify.bits(-zero))
    assert torch.equal(verify.bits(nan), verify.bits(nan.clone()))


def test_golden_samples(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "golden", str(trained), "lang=en"]) == 0
    weights = trained.model / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1000] ^= 0x40
    weights.write_bytes(bytes(raw))
    assert main(["verify", "golden", str(trained), "lang=en"]) == 1
    assert "FAIL" in capsys.readouterr().err


def test_evaluate_a_text(trained: Run, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(trained), str(text), "--json", "lang=en"]) == 0
    measured = said(capsys)["metrics"]
    assert set(measured) == {"loss", "perplexity", "bits_per_byte"}
    assert measured["bits_per_byte"]["value"] > 0
    rows = json.loads((trained.path / "evaluation.json").read_text())["results"]
    assert {row["data"] for row in rows} == {"held out", "story.txt"}
    assert "story.txt" in (trained.path / "README.md").read_text()


def test_evaluate_pairs(trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [
        {"sentence_good": "The cat sleeps.", "sentence_bad": "sleeps cat The.", "UID": f"u{n % 2}"} for n in range(4)
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    answer = danlu.call("evaluate", trained, tmp_path / "pairs.jsonl", quiet=True)
    assert 0 <= answer.metrics["pairs"]["value"] <= 1
    assert "u1" in json.loads((trained.path / "evaluation.json").read_text())["pairs"]["paradigms"]


def test_evaluate_a_masked_model(text: Path) -> None:
    run = danlu.pretrain("bert-tiny", text, quiet=True, train={"steps": 2, "batch": 2}, data={"length": 32}, **SHAPE)
    answer = danlu.call("evaluate", run, text, quiet=True)
    assert set(answer.metrics) == {"loss", "perplexity", "masked_accuracy"}


def test_chat_once_and_from_a_pipe(
    trained: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ["chat", str(trained), "The cat", "tokens=4", "temperature=0", "lang=en"]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert main(words) == 0
    assert capsys.readouterr().out == first
    (tmp_path / "typed").write_text("The dog\n/quit\n")
    monkeypatch.setattr("sys.stdin", (tmp_path / "typed").open())
    assert main(["chat", str(trained), "tokens=4", "lang=en"]) == 0
    assert capsys.readouterr().out.strip()


def test_inspect(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "data",
        "inspect",
        "bert-tiny",
        str(text),
        "rows=2",
        "html=seen.html",
        "data.length=32",
        "lang=en",
        "--json",
    ]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "[MASK]" in out
    assert json.loads(out.splitlines()[-1])["metrics"]["rows"] == 2
    assert "[MASK]" in Path("seen.html").read_text()
    assert not Path("runs").exists()


def test_check_counts_what_is_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ['{"text": "one"}', '{"text": ""}', "no JSON", '{"text": "two"}']
    (tmp_path / "x.jsonl").write_text("\n".join(rows))
    assert main(["data", "check", "x.jsonl", "--json", "lang=en"]) == 0
    out = capsys.readouterr().out
    assert "x.jsonl:3" in out
    counted = json.loads(out.splitlines()[-1])["metrics"]
    assert (counted["rows"], counted["documents"], counted["dropped"]) == (4, 2, {"empty": 1, "not JSON": 1})


def test_split_leaks_nothing(tmp_path: Path) -> None:
    rows = [json.dumps({"text": f"story {number % 300} of many"}) for number in range(900)]
    (tmp_path / "x.jsonl").write_text("\n".join(rows))
    answer = danlu.call("data", "split", "x.jsonl", quiet=True, share=0.2)
    train, held = ([json.loads(line)["text"] for line in path.read_text().splitlines()] for path in answer.files)
    assert len(train) + len(held) == 900
    assert not set(train) & set(held)
    assert 0.1 < len(held) / 900 < 0.3


def test_split_takes_the_end_of_a_single_book(text: Path) -> None:
    text.write_text(text.read_text() * 3)
    answer = danlu.call("data", "split", text, quiet=True, share=0.2)
    parts = [json.loads(path.read_text())["text"] for path in answer.files]
    assert "".join(parts) == text.read_text().strip()
    assert 0.1 < len(parts[1]) / len("".join(parts)) < 0.4


def test_tokenizers(trained: Run, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = danlu.call("tokenizer", "train", text, quiet=True, output="tok", tokenizer={"vocabulary": 300})
    assert made.metrics["vocabulary"] <= 300
    assert main(["tokenizer", "compare", "tok", str(trained), str(text), "--json", "lang=en"]) == 0
    rows = said(capsys)["metrics"]["tokenizers"]
    assert [row["tokenizer"] for row in rows] == ["tok", str(trained)]
    assert all(row["whole"] for row in rows)
    Path("words.txt").write_text("丹炉\nhouse\n丹炉\n")
    more = danlu.call("tokenizer", "extend", "tok", "words.txt", quiet=True, output="tok2")
    assert more.metrics["added"] >= 1
    run = danlu.pretrain("gpt-tiny", text, quiet=True, tokenizer={"path": "tok2"}, train={"steps": 1, "batch": 2})
    assert danlu.load(run).tokenizer.vocabulary == more.metrics["vocabulary"]


def test_estimate(text: Path, make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "gpt-tiny", str(text), "calibrate=0.1", "--json", "lang=en"]) == 0
    small = said(capsys)["metrics"]
    assert main(["estimate", "gpt-small", str(text), "calibrate=0.1", "--json", "lang=en"]) == 0
    large = said(capsys)["metrics"]
    assert small["memory"] > 16 * small["parameters"] * 0.7
    assert all(large[name] > small[name] for name in ("parameters", "memory", "disk", "seconds", "activations"))
    deep = {"quiet": True, "on": "h200", "model": {"depth": 8}}  # by arithmetic: here other processes are measured, too
    kept, recomputed = (
        danlu.call("estimate", "gpt-tiny", text, train={"recompute": again, "batch": 128}, **deep).metrics
        for again in (False, True)
    )
    assert recomputed["activations"] < kept["activations"]


def test_listings(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "models", "--json", "lang=en"]) == 0
    rows = {row["name"]: row for row in said(capsys)["metrics"]["models"]}
    assert rows["bert-base"]["parameters"] == pytest.approx(110e6, rel=0.02)
    assert rows["gpt3-175b"]["parameters"] == pytest.approx(175e9, rel=0.02)
    assert main(["ls", "runs", "--json", "lang=en"]) == 0
    (row,) = said(capsys)["metrics"]["runs"]
    assert (row["run"], row["state"], row["step"]) == (str(trained), "finished", 6)
    (trained.path / "README.md").unlink()
    assert trained.state == "interrupted"


def test_convert_refuses_what_is_no_pickle(trained: Run) -> None:
    with pytest.raises(DanluError):
        danlu.call("convert", trained.model, quiet=True)
    torch.save({"x": torch.ones(2)}, trained.model / "pytorch_model.bin")
    assert danlu.call("convert", trained.model, quiet=True).files


@pytest.mark.parametrize("verb", SETTINGS)
def test_schema(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", verb, "lang=en"]) == 0
    assert json.loads(capsys.readouterr().out)["additionalProperties"] is False


@pytest.mark.parametrize("verb", [name for name, page in help_pages().items() if "settings" in page])
def test_help_names_settings_that_exist(verb: str) -> None:
    kinds = [demo.Demo] if verb == "demo" else [settings_of(key) for key in SETTINGS if key.split()[0] == verb]
    kinds += [Pretrain] if verb in ("data", "estimate", "verify") else []
    known = {name for kind in kinds for name in names(kind)} | {"model"}
    for entry in help_pages()[verb]["settings"]:
        name = entry.removeprefix("--").partition("=")[0]
        assert any(f"{name}.".startswith(f"{each}.") or each.startswith(f"{name}.") for each in known), name


def test_the_python_entry_is_light() -> None:
    import subprocess
    import sys

    probe = "import danlu, sys; print([m for m in ('torch', 'pydantic', 'yaml') if m in sys.modules], danlu.__all__)"
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    assert out.startswith("[] ['call', 'finetune', 'load', 'pretrain', 'resume']")


def test_python_words(trained: Run, make: Make) -> None:
    assert danlu.resume(trained, quiet=True) == trained
    with pytest.raises(DanluError, match="E1001"):
        danlu.call("pretran", quiet=True)
    call = make("x", train={"lr": 1}, **{"train.steps": 3, "data.paths": [Path("a"), "b"]})
    assert call.settings == {"train": {"lr": 1, "steps": 3}, "data": {"paths": ["a", "b"]}}
    with pytest.raises(DanluError, match="E1106"):
        make("x", train={"lr": 1}, **{"train.lr": 3})


def test_names_of_runs(tmp_path: Path) -> None:
    assert slug("texts/My Book.txt.gz") == "my-book"
    assert slug("runs/x/model") == "x"
    assert slug("红楼梦.txt") == "红楼梦"
    assert slug("///") == "run"
    (tmp_path / "x").mkdir()
    assert next_free(tmp_path / "x").path.name == "x"
    (tmp_path / "x/y").write_text("")
    assert next_free(tmp_path / "x").path.name == "x-2"


def test_sparkline() -> None:
    assert sparkline([4.0, 3.0, 2.0, 1.0]) == "█▆▃▁"
    assert len(sparkline([float(n) for n in range(1000)])) == 40
    assert sparkline([2.0]) == "▁"
