"""`danlu compress`: chains, budgets, what is kept, what is told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import danlu
from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError, Problems
from danlu.nn.quantized import quantized
from danlu.recipes.compressing.chain import laid_out
from danlu.recipes.compressing.compress import compress, weights_hash
from danlu.recipes.compressing.stage import Compress
from danlu.recipes.runs.call import Call
from danlu.recipes.runs.folder import Run
from danlu.settings import build

Make = Callable[..., Call]
QUICK: dict[str, Any] = {"measure": {"seconds": 0.01, "rows": 64, "memory": False, "length": 16}}
HEAL: dict[str, Any] = {"steps": 2, "batch": 8}
ROUNDED: dict[str, Any] = {"kind": "quantize", "coding": "int4", "method": "qat", "group": 32}


@pytest.fixture
def reader(tmp_path: Path) -> Run:
    """A finished run of a small classifier."""
    good, bad, things = ("good", "fine", "lovely"), ("bad", "poor", "awful"), ("tea", "day", "film", "book", "song")
    rows = [f"a {word} {thing} {at},{'yes' if word in good else 'no'}"
            for at in range(8) for word in (*good, *bad) for thing in things]  # fmt: skip
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(rows), encoding="utf8")
    settings: dict[str, Any] = {
        "model": {"width": 64, "depth": 2, "heads": 4, "length": 32}, "tokenizer": {"vocabulary": 160},
        "train": {"steps": 30, "batch": 32, "lr": 3e-3},
    }  # fmt: skip
    return danlu.finetune("bert-tiny", tmp_path / "rows.csv", quiet=True, output="runs/reader", **settings)


def record_of(run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(run, "compression.json").read_text())
    return found


def test_a_chain_is_carried_out_measured_and_told(reader: Run, make: Make) -> None:
    words = {"prune": "units:0.5", "distil": {"train": HEAL, "hidden": 1.0}, "quantize": "int8", **QUICK}
    answer = compress(make(str(reader), output="runs/small", **words))
    assert answer.run == Path("runs/small")
    found = record_of("runs/small")
    assert [each["step"]["kind"] for each in found["steps"]] == ["prune", "distil", "quantize"]
    sizes = [found["original"]["size"]["file"], *(each["measured"]["size"]["file"] for each in found["steps"])]
    assert sizes[0] > sizes[1] >= sizes[2] > sizes[3]
    last = found["steps"][-1]["measured"]
    assert last["size"]["bits"] < 16
    assert last["agreement"]["same"]["value"] > 0.5
    assert last["errors"]
    assert found["latency"]["compressed"][0]["low"] > 0
    assert found["test"]["comparison"]["verdict"]
    checkpoint = Checkpoint.load("runs/small")
    assert quantized(checkpoint.model)
    assert [each["kind"] for each in checkpoint.changes] == ["prune", "distil", "quantize"]
    assert checkpoint.replay().holds
    assert danlu.load("runs/small").classify("a good tea 1").value in ("yes", "no")
    page = Path("runs/small/report.html").read_text()
    assert all(word in page for word in ("Compression", "prune units", "int8", "bits a weight"))
    assert "bits a weight" in Path("runs/small/README.md").read_text()


def test_its_recipe_gives_the_same_bytes_again(reader: Run, make: Make) -> None:
    compress(make(str(reader), output="runs/one", prune="units:0.5", distil={"train": HEAL}, quantize="int4", **QUICK))
    compress(make(str(reader), "runs/one/recipe.yaml", output="runs/two", **QUICK))
    assert weights_hash(Path("runs/one/model")) == weights_hash(Path("runs/two/model")) == record_of("runs/two")["hash"]
    compress(make("runs/one/config.yaml", output="runs/three"))
    assert record_of("runs/three")["hash"] == record_of("runs/one")["hash"]


def test_what_is_done_is_not_done_again(reader: Run, make: Make) -> None:
    words = {"prune": "units:0.5", "quantize": "int8", **QUICK}
    compress(make(str(reader), output="runs/small", **words))
    whole = record_of("runs/small")["hash"]
    first = Path("runs/small/steps/01-prune/model/model.safetensors")
    before = first.stat().st_mtime_ns
    Path("runs/small/README.md").unlink()
    Path("runs/small/steps/02-quantize/step.json").unlink()
    compress(make("runs/small"))
    assert first.stat().st_mtime_ns == before
    assert record_of("runs/small")["hash"] == whole


def test_tokens_go_and_everything_still_fits(reader: Run, make: Make) -> None:
    before = Checkpoint.load(reader)
    steps = [{"kind": "prune", "part": "vocabulary", "share": 0.2}, {"kind": "distil", "logits": 1, "train": HEAL}]
    compress(make(str(reader), output="runs/small", steps=steps, **QUICK))
    after = Checkpoint.load("runs/small")
    assert before.tokenizer
    assert after.tokenizer
    assert after.config.vocabulary == after.tokenizer.vocabulary < before.tokenizer.vocabulary
    found = record_of("runs/small")["steps"]
    assert found[0]["measured"]["agreement"]["same"]["value"] > 0.95
    Path("runs/small/README.md").unlink()  # and it goes on from there
    compress(make("runs/small"))


def test_what_was_pruned_stays_so_while_it_heals(reader: Run, make: Make) -> None:
    steps = [{"kind": "prune", "method": "wanda", "share": 0.5}, {"kind": "distil", "train": HEAL}]
    compress(make(str(reader), output="runs/small", steps=steps, **QUICK))
    shares = [each["measured"]["size"]["nonzero"] for each in record_of("runs/small")["steps"]]
    assert shares[0] == shares[1] < record_of("runs/small")["original"]["size"]["nonzero"]
    weights = [Checkpoint.load(f"runs/small/steps/{name}/model").model for name in ("01-prune", "02-distil")]
    own, other = (dict(each.named_parameters()) for each in weights)
    assert any(not torch.equal(own[name], other[name]) for name in own)


def test_movement_and_rounding_happen_while_it_learns(reader: Run, make: Make) -> None:
    steps = [{"kind": "prune", "method": "movement", "share": 0.5}, {"kind": "distil", "train": HEAL},
             {"kind": "distil", "train": HEAL}, ROUNDED]  # fmt: skip
    compress(make(str(reader), output="runs/small", steps=steps, **QUICK))
    found = record_of("runs/small")["steps"]
    assert found[0]["within"]["method"] == "movement"
    inside = [each for path, each in Checkpoint.load("runs/small/steps/01-distil/model").model.named_modules()
              if ".blocks." in path and isinstance(each, torch.nn.Linear)]  # fmt: skip
    zeros = sum(int((each.weight == 0).sum()) for each in inside) / sum(each.weight.numel() for each in inside)
    assert zeros == pytest.approx(0.5, abs=0.01)
    learnt = found[1]["measured"]["quality"]["value"]
    assert found[2]["measured"]["quality"]["value"] == pytest.approx(learnt, abs=0.15)


def test_pruning_in_rounds_heals_in_between() -> None:
    settings = build(Compress, {"start": "x", "prune": "units:0.75", "distil": 4})
    first = settings.chain[0].model_copy(update={"rounds": 2})
    steps = [step for step, _ in laid_out([first, settings.chain[1]])]
    assert [step.kind for step in steps] == ["prune", "distil", "prune", "distil"]
    assert [getattr(step, "share", None) for step in steps][::2] == [0.5, 0.5]
    assert steps[1].train.epochs == 2  # type: ignore[union-attr]


def test_a_smaller_member_of_the_family_learns(reader: Run, make: Make) -> None:
    student = {"into": {"depth": 1, "inner": 64}, "relations": 1.0, "train": HEAL}
    compress(make(str(reader), output="runs/small", distil=student, **QUICK))
    config = Checkpoint.load("runs/small").config
    assert (config.transformer.depth, config.transformer.mlp.inner) == (1, 64)  # type: ignore[union-attr]


def test_a_budget_is_searched_and_kept(reader: Run, make: Make) -> None:
    whole = sum(path.stat().st_size for path in (reader.model).glob("model*.safetensors"))
    words = {"max_size": whole // 2, "max_drop": "30%", "search": {"trials": 2, "heal": 0}, **QUICK}
    compress(make(str(reader), output="runs/small", **words))
    found = record_of("runs/small")["budget"]
    assert found["winner"]
    won = [each for each in found["trials"] if each["meets"]]
    assert all(each["size"] <= whole // 2 and each["drop"] <= 0.3 for each in won)
    assert Path("runs/small/model/model.safetensors").stat().st_size <= whole // 2
    assert found["frontier"]
    assert "frontier" in Path("runs/small/report.html").read_text()
    tried = len(found["trials"])
    compress(make(str(reader), "runs/small/recipe.yaml", output="runs/again", **QUICK))
    assert record_of("runs/again")["hash"] == record_of("runs/small")["hash"]
    assert tried >= 8


def test_a_budget_that_cannot_be_kept_tells_the_nearest(reader: Run, make: Make) -> None:
    words = {"max_size": 1000, "max_drop": "1%", "search": {"trials": 1, "heal": 0}, **QUICK}
    with pytest.raises(DanluError) as error:
        compress(make(str(reader), output="runs/small", **words))
    assert error.value.code == "E2411"
    assert "MB" in str(error.value.possible)


def test_texts_are_compressed_by_their_perplexity(trained: Run, make: Make) -> None:
    heal = {"steps": 2, "batch": 4}
    steps = [{"kind": "prune", "share": 0.3}, {"kind": "distil", "own": 0.5, "beta": 0.5, "train": heal},
             {"kind": "factorize", "keep": 0.6, "multiple": 4}]  # fmt: skip
    compress(make(str(trained), output="runs/small", steps=steps, **QUICK))
    found = record_of("runs/small")
    assert found["test"]["quality"]["name"] == "perplexity"
    assert found["steps"][0]["measured"]["size"]["nonzero"] < found["original"]["size"]["nonzero"]
    assert found["steps"][2]["measured"]["size"]["weights"] < found["original"]["size"]["weights"]
    assert danlu.load("runs/small").generate("The cat", max_new_tokens=3)


def test_an_encoder_decoder_writes_its_own_lessons(text: Path, make: Make) -> None:
    model = {"width": 32, "depth": 1, "heads": 2}
    run = danlu.pretrain("t5-tiny", text, quiet=True, output="runs/t5", model=model, tokenizer={"vocabulary": 400},
                         train={"steps": 2, "batch": 4}, data={"length": 32}, samples={"count": 0})  # fmt: skip
    words = {"distil": {"texts": "teacher", "train": {"steps": 2, "batch": 4}}, "prune": "heads:1", **QUICK}
    compress(make(str(run), output="runs/small", **words))
    assert Checkpoint.load("runs/small").config.encoder.attention.heads == 1  # type: ignore[union-attr]


def wrong(call: Call) -> list[str]:
    with pytest.raises(DanluError) as error:
        compress(call)
    found = error.value
    return [each.code for each in found.problems] if isinstance(found, Problems) else [found.code]


def test_what_is_wrong_is_said_before_anything_begins(reader: Run, make: Make, tmp_path: Path) -> None:
    assert wrong(make(str(reader))) == ["E2412"]
    assert wrong(make(str(reader), quantize="int8", max_size="1MB")) == ["E2413"]
    assert wrong(make(str(reader), max_size="1 horse")) == ["E1102"]
    assert wrong(make(str(reader), prune={"part": "units", "method": "wanda"})) == ["E1102"]
    assert wrong(make(str(reader.model), quantize="int8")) == ["E1005"]
    assert not Path("runs/reader-small").exists()


def test_texts_the_tokenizer_does_not_know_are_refused(reader: Run, make: Make, tmp_path: Path) -> None:
    rows = [f"这{'好' if at % 2 else '坏'}茶真是没有话可说{at},{'yes' if at % 2 else 'no'}" for at in range(200)]
    (tmp_path / "zh.csv").write_text("text,label\n" + "\n".join(rows), encoding="utf8")
    assert wrong(make(str(reader), "zh.csv", prune="units:0.5", output="runs/x", **QUICK)) == ["E2403"]
    short = "text,label\n" + "\n".join(f"a good tea,{'yes' if at % 2 else 'no'}" for at in range(6))
    (tmp_path / "short.csv").write_text(short, encoding="utf8")
    assert wrong(make(str(reader), "short.csv", prune="units:0.5", output="runs/y", **QUICK)) == ["E2402"]


def test_a_coded_model_is_not_pruned(reader: Run, make: Make) -> None:
    steps = [{"kind": "quantize", "coding": "int8"}, {"kind": "prune", "part": "units", "method": "magnitude"}]
    assert wrong(make(str(reader), output="runs/x", steps=steps, **QUICK)) == ["E2408"]
