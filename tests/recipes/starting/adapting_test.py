"""Training a part through the verbs: small folders, resumed to the same bits, merged, switched at use."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import danlu
from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.recipes.finetuning.finetune import plan as plan_finetune
from danlu.recipes.pretraining.plan import plan as plan_pretrain
from danlu.recipes.runs.call import Call
from danlu.recipes.runs.folder import Run
from danlu.recipes.starting.adapting import faster, foreseen
from danlu.recipes.using.merge import merge
from danlu.train.trainer import Trainer

WORDS = {"good": ("kind", "warm", "bright"), "bad": ("cold", "grim", "dull")}


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    rows = [f"the {word} {thing} was {word} today,{label}" for label, words in WORDS.items() for word in words
            for thing in ("soup", "room", "host", "show", "walk", "talk")]  # fmt: skip
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\n" + "\n".join(rows), encoding="utf8")
    return path


@pytest.fixture
def start(reviews: Path) -> Path:
    """A model that has read the reviews."""
    text = reviews.with_name("text.txt")
    text.write_text("\n".join(line.partition(",")[0] for line in reviews.read_text().splitlines()[1:]) * 6)
    run = danlu.pretrain(
        "bert-tiny", text, quiet=True, output="runs/bert", samples={"count": 0}, data={"length": 16},
        tokenizer={"vocabulary": 120}, model={"width": 32, "depth": 2, "heads": 2, "length": 32}, train={"steps": 3},
    )  # fmt: skip
    return Path(run)


def finetuned(start: Path, data: Path, output: str, **settings: Any) -> Run:
    train = {"steps": 6, "batch": 8, "save_every": 2, "evaluate_every": 3, **settings.pop("train", {})}
    return danlu.finetune(start, data, quiet=True, output=output, train=train, **settings)


KINDS = [
    "head", {"kind": "top", "layers": 1}, "bitfit", "lora", {"kind": "lora", "base": "nf4", "rank": 2}, "dora", "ia3",
    "bottleneck", {"kind": "prefix", "tokens": 3}, {"kind": "prompt", "tokens": 3},
]  # fmt: skip


@pytest.mark.parametrize("adapt", KINDS, ids=str)
def test_every_kind_trains_saves_and_answers(adapt: Any, start: Path, reviews: Path) -> None:
    run = finetuned(start, reviews, "runs/part", adapt=adapt)
    kind = adapt if isinstance(adapt, str) else adapt["kind"]
    assert run.config["adapt"]["kind"] == kind
    record = json.loads((run.model / "danlu.json").read_text())
    whole = kind in ("head", "top", "bitfit")
    assert (run.model / "config.json").is_file() == whole
    assert record["trained"]["share"] < 0.6
    saved = next(run.path.glob("checkpoints/step-*/model.safetensors"))
    names = load_file(saved).keys()
    assert len(names) < len(load_file(start / "model/model.safetensors"))
    answers = danlu.load(run)
    assert {reply.value for reply in answers.classify(["the kind soup was kind today", "grim walk"])} <= {"good", "bad"}
    before = load_file(start / "model/model.safetensors")
    if kind == "head":
        after = load_file(run.model / "model.safetensors")
        assert all(torch.equal(after[name], before[name]) for name in after if "encoder.layer" in name)


@pytest.mark.parametrize(
    "adapt", ["lora", {"kind": "dora", "rank": 2, "ratio": 4}, {"kind": "prefix", "tokens": 3}], ids=str
)
def test_stopped_and_continued_is_the_same_run(
    adapt: Any, start: Path, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = finetuned(start, reviews, "runs/whole", adapt=adapt)
    log = Trainer._log
    seen: list[int] = []

    def stop(self: Any, *rest: Any) -> None:
        log(self, *rest)
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_log", stop)
        with pytest.raises(KeyboardInterrupt):
            finetuned(start, reviews, "runs/parts", adapt=adapt)
    parts = finetuned(start, reviews, "runs/parts", adapt=adapt)
    left, right = (load_file(run.model / "adapter_model.safetensors") for run in (whole, parts))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_merging_a_run(start: Path, reviews: Path, make: Callable[..., Call]) -> None:
    run = finetuned(start, reviews, "runs/lora", adapt={"rank": 4})
    answer = merge(make(run, output="models/merged"))
    assert answer.files == (Path("models/merged"),)
    texts = ["the kind soup was kind today", "the grim room was grim today", "walk"]
    adapted, plain = danlu.load(run), danlu.load("models/merged")
    for one, other in zip(adapted.classify(texts), plain.classify(texts), strict=True):
        assert one.value == other.value
    assert (Path("models/merged") / "config.json").is_file()
    assert Checkpoint.load("models/merged").adapted is None
    for word, code in (("models/merged", "E2014"), (run, "E1620")):
        with pytest.raises(DanluError, match=code):
            merge(make(word, output="models/merged" if code == "E1620" else "models/other"))
    prompted = finetuned(start, reviews, "runs/prompt", adapt={"kind": "prompt", "tokens": 2})
    with pytest.raises(DanluError, match="E2007"):
        merge(make(prompted, output="models/other"))


def test_going_on_from_an_adapted_run(start: Path, reviews: Path) -> None:
    first = finetuned(start, reviews, "runs/first", adapt={"rank": 2})
    on = finetuned(first.path, reviews, "runs/on")
    before, after = (json.loads((run.model / "danlu.json").read_text()) for run in (first, on))
    assert before["changes"] == after["changes"]
    assert before["base"]["folder"] == after["base"]["folder"]
    assert not torch.equal(
        *(next(iter(load_file(run.model / "adapter_model.safetensors").values())) for run in (first, on))
    )
    whole = finetuned(first.path, reviews, "runs/full", adapt="full")
    assert (whole.model / "config.json").is_file()
    second = finetuned(first.path, reviews, "runs/second", adapt="ia3")
    assert json.loads((second.model / "danlu.json").read_text())["base"]["folder"] == str(first.model.resolve())
    assert danlu.load(second).classify("the kind soup").value in ("good", "bad")


def test_further_pretraining_of_a_part(start: Path, reviews: Path) -> None:
    text = reviews.with_name("text.txt")
    train = {"steps": 4, "batch": 4}
    run = danlu.pretrain(start, text, quiet=True, output="runs/more", samples={"count": 1}, train=train, adapt="lora",
                         data={"length": 16})  # fmt: skip
    record = json.loads((run.model / "danlu.json").read_text())
    assert record["changes"][0]["kind"] == "lora"
    assert danlu.load(run).fill("the kind [MASK] was kind")
    with pytest.raises(DanluError, match="E2008"):
        danlu.pretrain(start, text, quiet=True, output="runs/long", train=train, data={"length": 32},
                       adapt={"kind": "prefix", "tokens": 4})  # fmt: skip


def test_adapters_are_switched_at_use(start: Path, reviews: Path) -> None:
    text = reviews.with_name("text.txt")
    for name, rank in (("a", 2), ("b", 4)):
        danlu.pretrain(
            start, text, quiet=True, output=f"runs/{name}", samples={"count": 0}, adapt={"rank": rank},
            train={"steps": 4, "batch": 4, "lr": 0.05}, data={"length": 16},
        )  # fmt: skip
    model = danlu.load(start, adapters={"a": "runs/a", "b": "runs/b"})
    tokens = torch.tensor([[7, 8, 9, 10]])
    with torch.no_grad():
        found = {}
        for name in ("a", "b", None):
            model.use(name)
            found[name] = model.model(tokens)
        assert torch.equal(found["a"], danlu.load("runs/a").model(tokens))
        assert torch.equal(found["b"], danlu.load("runs/b").model(tokens))
        assert torch.equal(found[None], danlu.load(start).model(tokens))
    with pytest.raises(DanluError, match="E2012"):
        model.use("c")


def test_rates_and_forecasts(start: Path, reviews: Path, make: Callable[..., Call], capsys: Any) -> None:
    assert faster(None) == faster("full") == 1.0
    assert faster("lora") > 1
    plain = danlu.call("finetune", start, reviews, dry_run=True, quiet=True)
    full = capsys.readouterr().out
    assert plain.metrics == {}
    danlu.call("finetune", start, reviews, dry_run=True, adapt="lora")
    heard = capsys.readouterr()
    assert "kind: lora" in heard.out
    assert "parameters train" in heard.err + heard.out
    rates = [
        float(next(line.split()[1] for line in out.splitlines() if line.strip().startswith("lr:")))
        for out in (full, heard.out)
    ]
    assert rates[1] == pytest.approx(rates[0] * faster("lora"))
    config = Checkpoint.peek(start)[1]
    assert foreseen(config, danlu.adapt.read_change("lora")).share < 0.5


@pytest.mark.parametrize(
    ("adapt", "code"),
    [({"targets": ["qurey"]}, "E2001"), ({"rank": 999}, "E2002"), ("loar", "E1102"), ({"rnak": 3}, "E1101")],
)
def test_what_cannot_be_adapted_is_known_before_anything_loads(
    adapt: Any, code: str, reviews: Path, make: Callable[..., Call]
) -> None:
    for verb, start in ((plan_finetune, "bert-tiny"), (plan_pretrain, "gpt-tiny")):
        with pytest.raises(DanluError) as caught:
            verb(make(start, reviews, adapt=adapt, output="runs/never"))
        assert caught.value.code == code
    assert not Path("runs").exists()


def test_a_fresh_model_is_warned_of(reviews: Path, capsys: Any) -> None:
    text = reviews.with_name("text.txt")
    text.write_text("the kind soup was kind today\n" * 60)
    run = danlu.pretrain(
        "bert-tiny", text, output="runs/fresh", samples={"count": 0}, data={"length": 16}, tokenizer={"vocabulary": 60},
        model={"width": 32, "depth": 1, "heads": 2, "length": 32}, train={"steps": 2}, adapt="lora", lang="en",
    )  # fmt: skip
    assert "this model is fresh" in capsys.readouterr().err
    assert (run.model / "config.json").is_file()  # nothing below could be found again
