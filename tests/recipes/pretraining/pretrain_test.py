"""The pretraining stage from the outside: what is inferred, what is refused, what lies on the disk in the end."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

import danlu
from danlu.cli import main
from danlu.data.sources import DataSettings, sources
from danlu.errors import DanluError, Problems
from danlu.models.families import FAMILIES, fresh
from danlu.recipes.pretraining.defaults import Amount, amount, inferred, operations
from danlu.recipes.pretraining.plan import plan
from danlu.recipes.pretraining.pretrain import pretrain
from danlu.recipes.runs.call import Call, Stopped
from danlu.recipes.runs.folder import Run
from danlu.settings import parse_words
from danlu.voice import Voice

TINY = ["train.steps=6", "train.batch=4", "data.length=32", "model.width=32", "model.depth=1", "model.heads=2",
        "model.length=64", "tokenizer.vocabulary=300", "samples.tokens=4", "lang=en"]  # fmt: skip
Make = Callable[..., Call]


def test_one_command_makes_a_whole_run(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "gpt-tiny", str(text), *TINY, "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    run = Path(said["run"])
    assert run == Path("runs/gpt-tiny-story")
    assert said["metrics"]["step"] == 6
    assert {"validation_loss", "bits_per_byte", "perplexity"} <= said["metrics"].keys()
    for name in ("config.yaml", "model/model.safetensors", "metrics.jsonl", "ledger.json", "report.html", "README.md"):
        assert (run / name).is_file()
    assert [row["step"] for row in json.loads((run / "samples.json").read_text())][-1] == 6
    lineage = json.loads((run / "model/danlu.json").read_text())["lineage"]
    assert lineage["steps"] == 6
    assert len(lineage["data"][str(text)]) == 64
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["verb"] == "pretrain"
    assert config["train"]["lr"]
    assert config["tokenizer"]["kind"] == "bpe"


def test_a_finished_run_keeps_its_newest_checkpoint_and_can_be_made_longer(trained: Run, make: Make) -> None:
    def steps() -> list[str]:
        return sorted(path.name for path in trained.path.glob("checkpoints/step-*"))

    assert steps() == ["step-00000006"]
    pretrain(make(trained, **{"train.steps": 9}))
    assert steps() == ["step-00000009"]
    assert [line["step"] for line in trained.history.steps] == list(range(1, 10))
    assert (trained.state, trained.config["train"]["steps"]) == ("finished", 9)
    assert json.loads((trained.model / "danlu.json").read_text())["lineage"]["steps"] == 9
    for settings, code in (({"train.steps": 8}, "E1621"), ({"train.steps": 12, "train.lr": 1.0}, "E1621")):
        with pytest.raises(DanluError, match=code):
            pretrain(make(trained, **settings))
    shutil.rmtree(trained.path / "checkpoints")
    with pytest.raises(DanluError, match="E1622"):
        pretrain(make(trained, **{"train.steps": 12}))
    assert pretrain(make(trained)).metrics["step"] == 9


def test_what_is_removed_in_the_end_is_said(text: Path) -> None:
    heard = io.StringIO()
    words = ("gpt-tiny", str(text))
    for kept in (0, 2):
        settings = parse_words(TINY)[1]
        settings["train"] |= {"save_every": 1, "keep_finished": kept}
        answer = pretrain(Call(words, settings, Voice("en", heard)))
        assert answer.run
        assert len(list(answer.run.glob("checkpoints/step-*"))) == kept
    assert heard.getvalue().count("of disk are free again") == 2


def test_transformers_reads_the_model_as_it_is(trained: Run) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(trained.model).eval()
    words = transformers.AutoTokenizer.from_pretrained(trained.model)("The cat", return_tensors="pt")["input_ids"]
    ours = danlu.load(trained)
    assert torch.allclose(ours.logits(words), theirs(words).logits, atol=1e-4)
    assert ours.generate("The cat", max_new_tokens=3, temperature=0.0) == ours.generate(
        "The cat", max_new_tokens=3, temperature=0.0
    )


def test_python_and_command_write_the_same(text: Path, trained: Run) -> None:
    words = ["train.steps=6", "train.batch=4", "train.save_every=2", "train.evaluate_every=3", "data.length=32"]
    shape = ["model.width=32", "model.depth=1", "model.heads=2", "model.length=64", "tokenizer.vocabulary=300"]
    more = ["samples.count=1", "samples.tokens=4", "output=runs/other", "lang=en"]
    assert main(["pretrain", "gpt-tiny", str(text), *words, *shape, *more]) == 0
    other = Run(Path("runs/other"))
    assert (other.model / "model.safetensors").read_bytes() == (trained.model / "model.safetensors").read_bytes()
    assert other.metrics["loss"] == trained.metrics["loss"]
    assert {**other.config, "output": ""} == {**trained.config, "output": ""}


def test_a_config_repeats_the_run(trained: Run) -> None:
    assert main(["pretrain", str(trained.path / "config.yaml"), "lang=en"]) == 0
    again = Run(Path("runs/gpt-2"))
    assert (again.model / "model.safetensors").read_bytes() == (trained.model / "model.safetensors").read_bytes()


def test_a_finished_run_is_never_written_over(trained: Run, text: Path, make: Make) -> None:
    before = (trained.path / "metrics.jsonl").read_bytes()
    with pytest.raises(DanluError, match="E1620"):
        plan(make("gpt-tiny", text, output=str(trained)))
    assert pretrain(make(trained)).run == trained.path  # nothing to do
    assert (trained.path / "metrics.jsonl").read_bytes() == before


def test_the_next_free_name(text: Path, make: Make) -> None:
    Path("runs/gpt-tiny-story").mkdir(parents=True)
    assert plan(make("gpt-tiny", text)).run.path == Path("runs/gpt-tiny-story")
    Path("runs/gpt-tiny-story/x").write_text("")
    assert plan(make("gpt-tiny", text)).run.path == Path("runs/gpt-tiny-story-2")


def test_further_from_a_checkpoint(trained: Run, text: Path, make: Make) -> None:
    further = plan(make(trained, text, train={"steps": 4, "batch": 4}, output="runs/more"))
    assert further.settings.train.lr
    assert further.settings.train.lr < trained.config["train"]["lr"]
    run = danlu.pretrain(
        trained, text, quiet=True, output="runs/more", train={"steps": 4, "batch": 4}, samples={"count": 0}
    )
    record = json.loads((run.model / "danlu.json").read_text())
    assert record["lineage"]["before"]["steps"] == 6
    assert danlu.load(run).tokenizer.fingerprint == danlu.load(trained).tokenizer.fingerprint
    assert run.metrics["loss"] < trained.metrics["loss"]


def test_masked_models_too(text: Path) -> None:
    shape = {"model": {"width": 32, "depth": 1, "heads": 2, "length": 64}, "tokenizer": {"vocabulary": 300}}
    brief = {"train": {"steps": 4, "batch": 4}, "data": {"length": 32}}
    run = danlu.pretrain("bert-tiny", text, quiet=True, **shape, **brief)
    assert "masked_accuracy" in run.metrics
    assert run.config["corruption"]["kind"] == "mask"
    assert json.loads((run.path / "samples.json").read_text())[0]["fills"]
    assert danlu.load(run).fill("The [MASK] sleeps.")[0]


def test_dry_run_resolves_and_does_nothing(text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "bert", str(text), "size=tiny", "--dry-run", "lang=en"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["start"] == "bert-tiny"
    assert shown["train"]["steps"]
    assert shown["train"]["lr"]
    assert shown["data"]["length"]
    assert not Path("runs").exists()


def problems(call: Call) -> list[str]:
    with pytest.raises(DanluError) as raised:
        plan(call)
    error = raised.value
    return sorted(each.code for each in error.problems) if isinstance(error, Problems) else [error.code]


def test_all_problems_are_listed_together(text: Path, make: Make, tmp_path: Path) -> None:
    assert problems(make("gpt-tinny", "none.txt", train={"step": 3, "lr": "x"})) == ["E1101", "E1102", "E1201", "E1401"]
    assert problems(make("gpt-tinny", "none.txt", device="cuda:9")) == ["E1012", "E1201", "E1401"]
    assert problems(make("gpt-tiny")) == ["E1005"]
    assert problems(make("gpt-tiny", text, size="mini")) == ["E1010"]
    assert problems(make("t5-tiny", text, objective={"mlm": 1.0})) == ["E1507"]
    assert problems(make("gpt3-175b", text)) == ["E1701", "E1704"]
    assert problems(make("gpt-tiny", text, model={"wide": 3})) == ["E1101"]
    (tmp_path / "file").write_text("")
    assert problems(make("gpt-tiny", text, output=str(tmp_path / "file/x"))) == ["E1623"]
    assert problems(make("gpt-tiny", text, output="x" * 300)) == ["E1623"]
    assert problems(make(text.with_name("nothing.yaml"))) == ["E1103"]


def test_a_checkpoint_keeps_its_shape(trained: Run, text: Path, make: Make) -> None:
    assert problems(make(trained, text, model={"width": 64})) == ["E1011"]


def test_a_yaml_file_with_words_over_it(text: Path, make: Make) -> None:
    Path("my.yaml").write_text(f"start: gpt-tiny\ndata: {{paths: {text}}}\nlearning_rate: 0.5\nmax_steps: 7\n")
    ready = plan(make("my.yaml", train={"steps": 9}))
    assert (ready.settings.train.lr, ready.settings.train.steps) == (0.5, 9)
    Path("my.yaml").write_text("start: gpt-tiny\nlearning_rates: 0.5\n")
    assert problems(make("my.yaml")) == ["E1101"]


def test_amounts_follow_from_model_and_text() -> None:
    family, config = fresh("gpt2-mini", 3456)
    some = inferred(family, "mini", config, Amount(1, 1_100_000), {})
    assert some["data"]["length"] == 256
    tokens = some["train"]["steps"] * some["train"]["batch"] * 256
    assert tokens == pytest.approx(4 * 1_100_000 / 3.5, rel=0.02)
    much = inferred(family, "mini", config, Amount(1, 100_000_000), {})["train"]
    assert much["steps"] * much["batch"] * 256 * operations(config) == pytest.approx(
        4e13, rel=0.1
    )  # minutes on two cores
    less = inferred(family, "mini", config, Amount(1, 20_000), {})
    assert less["data"]["length"] < 256
    assert less["train"]["steps"] * less["train"]["batch"] * less["data"]["length"] <= 12 * 20_000 / 3.5
    given = inferred(
        family, "mini", config, Amount(1, 1_100_000), {"train": {"steps": 5, "batch": 3}, "data": {"length": 99}}
    )
    assert given["data"]["length"] == 99
    assert not {"steps", "batch"} & given["train"].keys()
    further = inferred(family, "", config, Amount(1, 1_100_000), {}, fresh=False)
    assert further["train"]["optimizer"] == "adamw"


@pytest.mark.parametrize("name", ["gpt2", "bert", "llama", "opt", "palm"])
def test_every_size_gets_settings_it_can_be_trained_with(name: str) -> None:
    family = FAMILIES[name]
    for size in family.sizes:
        config = fresh(f"{name}-{size}")[1]
        if operations(config) > 1e10:
            continue
        found = inferred(family, size, config, Amount(3, 5_000_000), {})
        assert found["train"]["steps"] >= 20
        assert 0 < found["train"]["lr"] < 0.1
        assert found["data"]["length"] <= (config.length or 1024)


def test_compressed_text_counts_for_more(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x" * 900)
    (tmp_path / "b.txt.gz").write_bytes(b"x" * 900)
    settings = DataSettings()
    plain = amount(sources([str(tmp_path / "a.txt")], settings))
    packed = amount(sources([str(tmp_path / "b.txt.gz")], settings))
    assert packed.bytes == 3 * plain.bytes


def started(folder: str, text: Path) -> "subprocess.Popen[str]":
    words = [word if not word.startswith("train.steps") else "train.steps=4000" for word in TINY]
    command = [sys.executable, "-m", "danlu", "pretrain", "gpt-tiny", str(text), *words, f"output={folder}"]
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    limit = time.monotonic() + 60
    while time.monotonic() < limit and child.poll() is None and not (Path(folder) / "metrics.jsonl").exists():
        time.sleep(0.05)
    return child


def test_an_interrupt_is_calm_and_says_how_to_go_on(text: Path, make: Make) -> None:
    child = started("runs/stop", text)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Traceback" not in errors
    assert errors.strip().endswith("stopped; go on with:  danlu pretrain runs/stop")
    run = Run(Path("runs/stop"))
    assert run.state == "interrupted"
    with pytest.raises(DanluError, match="E1621"):
        plan(make(run, train={"lr": 1.0}))
    assert plan(make(run)).run.path == run.path


def test_the_same_command_goes_on(text: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"model": {"width": 32, "depth": 1, "heads": 2, "length": 64}, "train": {"steps": 4, "batch": 4}}
    begun = plan(make("gpt-tiny", text, **words))
    begun.run.write_config(begun.settings)
    assert plan(make("gpt-tiny", text, **words)).run == begun.run
    assert plan(make("gpt-tiny", text, seed=1, **words)).run.path.name == "gpt-tiny-story-2"
    assert plan(make("gpt-tiny", text, output=str(begun.run), **words)).run == begun.run
    with pytest.raises(DanluError, match="E1621") as raised:
        plan(make("gpt-tiny", text, output=str(begun.run), seed=1, **words))
    assert raised.value.found == ["seed"]


def test_a_run_that_cannot_begin_leaves_nothing(make: Make) -> None:
    Path("noise.txt").write_bytes(bytes(range(256)) * 20)
    with pytest.raises(DanluError, match="E1205"):
        pretrain(make("gpt-tiny", "noise.txt"))
    assert not Path("runs/gpt-tiny-noise").exists()
    Path("mine").mkdir()
    Path("mine/notes.md").write_text("do not delete")
    with pytest.raises(DanluError, match="E1205"):
        pretrain(make("gpt-tiny", "noise.txt", output="mine"))
    assert Path("mine/notes.md").exists()


def test_a_start_that_is_missing_is_named(text: Path, make: Make) -> None:
    for words in ((), (text,)):
        with pytest.raises(DanluError, match="E1005") as raised:
            plan(make(*words))
        assert "START is missing" in raised.value.render("en")


def test_a_mistyped_run_is_not_looked_for_on_the_hub(text: Path, make: Make) -> None:
    Path("runs").mkdir()
    assert problems(make("runs/nope", text)) == ["E1420"]


def test_leaving_while_data_is_read(text: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("danlu.recipes.pretraining.pretrain.divide", interrupt)
    with pytest.raises(Stopped) as stopped:
        pretrain(make("gpt-tiny", text, output="runs/early", model={"width": 32, "depth": 1, "heads": 2, "length": 64}))
    assert stopped.value.advice == "danlu pretrain runs/early"


SHAPE = {"model": {"width": 32, "depth": 1, "heads": 2, "length": 64}, "tokenizer": {"vocabulary": 600}}
SHORT = {"train": {"steps": 4, "batch": 4}, "data": {"length": 32}}


@pytest.mark.parametrize(("start", "kind"), [("t5-tiny", "spans"), ("bart-tiny", "infill")])
def test_encoder_decoders_too(text: Path, start: str, kind: str) -> None:
    run = danlu.pretrain(start, text, quiet=True, **SHAPE, **SHORT)
    assert run.config["corruption"]["kind"] == kind
    assert "masked_accuracy" in run.metrics
    assert (run.path / "report.html").is_file()
    assert (run.path / "README.md").is_file()
    assert "text" in json.loads((run.path / "samples.json").read_text())[0]
    model = danlu.load(run)
    assert isinstance(model.restore("The cat [MASK] in the house.", max_new_tokens=5), str)
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(run.model).eval()
    assert theirs.config.decoder_start_token_id == model.model.config.start


@pytest.mark.parametrize(
    ("start", "objective", "losses"),
    [
        ("bert-tiny", "mlm+nsp", {"tokens_loss", "pairs_loss"}),
        ("bert-tiny", {"sop": 1.0}, {"pairs_loss"}),
        ("gpt-tiny", "fim", {"tokens_loss"}),
        ("gpt-tiny", ["prefix"], {"tokens_loss"}),
        ("t5-tiny", "ul2", {"tokens_loss"}),
    ],
)
def test_objectives_by_name(text: Path, start: str, objective: object, losses: set[str]) -> None:
    run = danlu.pretrain(start, text, quiet=True, objective=objective, samples={"count": 0}, **SHAPE, **SHORT)
    line = json.loads((run.path / "metrics.jsonl").read_text().splitlines()[0])
    assert {name for name in line if name.endswith("_loss")} == losses
    again = danlu.resume(run)
    assert again.path == run.path


def test_pair_heads_go_on_and_cannot_be_had_later(text: Path) -> None:
    plain = danlu.pretrain("bert-tiny", text, quiet=True, samples={"count": 0}, **SHAPE, **SHORT)
    run = danlu.pretrain("bert-tiny", text, quiet=True, objective="mlm+nsp", samples={"count": 0}, **SHAPE, **SHORT)
    architectures = json.loads((run.model / "config.json").read_text())["architectures"]
    assert architectures == ["BertForPreTraining"]
    further = danlu.pretrain(run, text, quiet=True, objective="mlm+nsp", samples={"count": 0}, output="more", **SHORT)
    assert further.config["corruption"]["pairs"] == "next"
    with pytest.raises(DanluError, match="E1506"):
        danlu.pretrain(plain, text, quiet=True, objective="mlm+nsp", output="never")


def test_objectives_that_do_not_fit_are_refused(text: Path, make: Make) -> None:
    for start, objective in (("gpt-tiny", "mlm"), ("bert-tiny", "clm"), ("bert-tiny", "nsp+sop"), ("t5-tiny", "spann"),
                             ("bert-tiny", "mlm+tlm+nsp"), ("bert-tiny", "tlm+nsp")):  # fmt: skip
        assert problems(make(start, text, objective=objective)) == ["E1507"]
    with pytest.raises(DanluError) as raised:
        plan(make("t5-tiny", text, objective="spann"))
    assert raised.value.nearest == "span"


def test_rows_beyond_the_table_of_positions_are_refused(text: Path, make: Make) -> None:
    with pytest.raises(DanluError) as caught:
        plan(make("gpt-tiny", text, **{"data.length": 512}))
    assert caught.value.code == "E1510"
    assert "model.length=512" in caught.value.render("en")
    assert plan(make("gpt-tiny", text, **{"data.length": 512, "model.length": 512})).settings.data.length == 512
    assert plan(make("qwen3-tiny", text, **{"data.length": 512})).settings.data.length == 512


def test_palm_keeps_its_penalty_on_large_logits(text: Path, make: Make) -> None:
    assert plan(make("palm-tiny", text)).settings.loss.z_weight == 1e-4
    assert plan(make("palm-tiny", text, loss={"z_weight": 0.0})).settings.loss.z_weight == 0.0
    assert plan(make("gpt-tiny", text)).settings.loss.z_weight == 0.0
