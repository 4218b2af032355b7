"""Several sources and languages from the command on: plans, runs that resume, reports, refusals."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

import danlu
from danlu.cli import main
from danlu.data.division import divide
from danlu.errors import DanluError, Problems
from danlu.recipes.pretraining.loading import Loading, loading
from danlu.recipes.pretraining.plan import plan
from danlu.recipes.pretraining.pretrain import chosen_for, make_tokenizer
from danlu.recipes.runs.call import Call
from danlu.settings import parse_words

SHAPE = ["model.width=16", "model.depth=1", "model.heads=2", "model.length=64", "tokenizer.vocabulary=300", "lang=en",
         "data.length=32", "train.batch=4", "samples.count=0"]  # fmt: skip
Make = Callable[..., Call]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """English, German, and both beside each other."""
    monkeypatch.chdir(tmp_path)
    texts = {"en": "the dog number {} runs over the green hill", "de": "der Hund Nummer {} läuft über den grünen Hügel"}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(text.format(number) for number in range(150)), encoding="utf8")
    return ["data.sources.en=en.txt", "data.sources.de.paths=de.txt", "data.sources.de.weight=3",
            "data.sources.both.parallel.en=en.txt", "data.sources.both.parallel.de=de.txt",
            f"data.cache={tmp_path / 'cache'}"]  # fmt: skip


def test_languages_from_the_command_to_the_report(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pretrain", "xlm-tiny", "objective=mlm+tlm", "output=runs/x", "train.steps=8", *files, *SHAPE]
    assert main(words) == 0
    run = Path("runs/x")
    model = json.loads((run / "model/config.json").read_text())
    assert model["lang2id"] == {"de": 0, "en": 1}
    sources = json.loads((run / "ledger.json").read_text())["sources"]
    mlm = {row["name"]: row for row in sources if row["turn"] == "mlm"}
    assert mlm.keys() == {"en", "de"}, "translations are read by the objective that is about them"
    assert [row["name"] for row in sources if row["turn"] == "tlm"] == ["both"]
    assert sum(row["tokens"] for row in sources) == 8 * 4 * 32
    assert sum(row["share"] for row in sources) == pytest.approx(1)
    page = (run / "report.html").read_text()
    assert "times through it" in page
    pairs = ["data.parallel.de=de.txt", "data.parallel.en=en.txt", "lang=en", "--json"]
    capsys.readouterr()
    assert main(["evaluate", "runs/x", *pairs]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"]
    assert 0 <= found["retrieval"]["low"] <= found["retrieval"]["value"] <= found["retrieval"]["high"] <= 1
    assert found["retrieval"]["count"] == 150
    assert main(["evaluate", "runs/x", *pairs, "against=runs/x", "retrieval.centred=true", "retrieval.layer=1"]) == 0
    assert "no difference shown" in capsys.readouterr().out


def loaded_from(call: Call) -> Loading:
    """The batches of a run that is not carried out."""
    ready = plan(call)
    tokenizer = make_tokenizer(ready.settings, ready.start.family, call.voice)
    divided = divide(ready.settings.data, tokenizer, call.voice)
    chosen = chosen_for(ready.settings, ready.start.family)
    return loading(ready.settings, divided, tokenizer, ready.start.family, chosen, ready.start.languages)


def test_weights_change_what_is_drawn(files: list[str], make: Make) -> None:
    alone = [word for word in files if "both" not in word]
    loaded = loaded_from(make("xlm-tiny", **parse_words(alone, ())[1]))
    drawn = {each.name: each.tokens for each in loaded.training.drawn(200)}
    assert drawn["de"] / drawn["en"] == pytest.approx(3, abs=0.3)


def test_a_batch_is_a_function_of_its_step_alone(files: list[str], make: Make) -> None:
    settings = parse_words([*files, *SHAPE, "objective=mlm+tlm"], ())[1]
    straight, resumed = (loaded_from(make("xlm-tiny", **settings)).training for _ in range(2))
    batches = [straight.batch(step) for step in range(9)]
    for step in (8, 5, 0):
        again = resumed.batch(step)
        assert again.inputs.keys() == batches[step].inputs.keys() >= {"tokens", "languages"}
        assert all(torch.equal(tensor, batches[step].inputs[name]) for name, tensor in again.inputs.items())
        assert all(torch.equal(tensor, batches[step].targets[name]) for name, tensor in again.targets.items())


def test_a_config_of_sources_repeats_itself(files: list[str]) -> None:
    words = ["xlm-tiny", "objective=mlm", "train.steps=2", *files, *SHAPE]
    assert main(["pretrain", *words, "output=runs/a"]) == 0
    assert main(["pretrain", "runs/a/config.yaml", "output=runs/b", "lang=en"]) == 0
    one, two = (yaml.safe_load((Path("runs") / name / "config.yaml").read_text()) for name in "ab")
    assert one["data"] == two["data"]
    weights = [(Path("runs") / name / "model/model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]


def test_a_list_of_sources_says_the_same(files: list[str], make: Make) -> None:
    named = {"en": {"paths": "en.txt"}, "de": {"paths": ["de.txt"], "weight": 3}}
    listed = [{"name": name, **each} for name, each in named.items()]
    plans = [plan(make("bert-tiny", data={"sources": each})) for each in (named, listed)]
    assert plans[0].settings.data.sources == plans[1].settings.data.sources


def test_check_counts_sources_and_says_what_would_go(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with Path("en.txt").open("a", encoding="utf8") as file:
        file.write("\nthe dog number 7 runs over the green hill\nhm")
    both = [word for word in files if "both" not in word]
    assert (
        main(["data", "check", *both, "data.deduplicate=exact", "data.filters.characters=5", "lang=en", "--json"]) == 0
    )
    out = capsys.readouterr().out
    found = json.loads(out.splitlines()[-1])["metrics"]
    assert found["dropped"] == {"duplicate": 1, "too short": 1}
    assert "en.txt:151 like en.txt:8" in out
    assert found["sources"]["de"]["share"] == 0.75
    assert found["sources"]["en"]["documents"] == 150


def test_inspect_names_sources_and_languages(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "inspect", "xlm-tiny", "objective=mlm+tlm", *files, *SHAPE, "rows=2", "html=look.html"]) == 0
    out = capsys.readouterr().out
    assert "both (en, de)" in out
    assert "· de" in out
    assert "both (en, de)" in Path("look.html").read_text()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["data.sources.en.weight=-1"], "E1229"),
        (["data.sources.en.weight=0", "data.sources.de.weight=0"], "E1229"),
        (["data.sources.en.weight=much"], "E1102"),
        (["data.sources.fr.paths=nothing.txt"], "E1201"),
        (["data.sampling=2"], "E1102"),
        (["data.sources.en.wieght=1"], "E1101"),
    ],
)
def test_bad_sources_are_refused_before_anything_is_made(
    words: list[str], code: str, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    plain = ["data.sources.en.paths=en.txt", "data.sources.de.paths=de.txt"]
    assert main(["pretrain", "xlm-tiny", *plain, *words, *SHAPE, "train.steps=2"]) == 2
    assert code in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_language_that_was_never_learnt(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "xlm-tiny", "output=runs/x", "train.steps=2", *files, *SHAPE]) == 0
    more = ["data.sources.sv.paths=en.txt", "data.sources.sv.language=sv", "train.steps=2", "data.length=32"]
    assert main(["pretrain", "runs/x", *more, "train.batch=4", "output=runs/y", "lang=en"]) == 2
    assert "E1227" in capsys.readouterr().err
    assert not Path("runs/y").exists()


def test_a_line_alone_a_foreign_encoding_and_a_tiny_vocabulary(tmp_path: Path, files: list[str], make: Make) -> None:
    cases = {"one.txt": (b"one line only", "E1220"), "latin.txt": ("größer als groß ".encode("latin-1") * 50, "E1204")}
    for name, (content, code) in cases.items():
        Path(name).write_bytes(content)
        with pytest.raises((DanluError, Problems), match=code):
            danlu.pretrain("bert-tiny", name, quiet=True, train={"steps": 2}, data={"length": 64})
    with pytest.raises((DanluError, Problems), match="E1306"):
        danlu.pretrain("bert-tiny", "en.txt", quiet=True, train={"steps": 2}, tokenizer={"vocabulary": 4})


def test_a_text_is_scored_in_its_language(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "xlm-tiny", "output=runs/x", "train.steps=30", *files, *SHAPE]) == 0
    capsys.readouterr()
    losses = []
    for words in ([], ["data.language=en"], ["data.language=de"]):
        assert main(["evaluate", "runs/x", "en.txt", *words, "data.length=32", "lang=en", "--json"]) == 0
        losses.append(json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"]["loss"]["value"])
    assert len(set(losses)) == 3
    assert main(["evaluate", "runs/x", "en.txt", "data.language=sv", "lang=en"]) == 2
    assert "E1227" in capsys.readouterr().err


def test_standard_input_is_read_once(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tiny text from a pipe, too small for a part to be set aside."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(Path("en.txt").read_bytes()[:3000])))
    assert main(["pretrain", "bert-tiny", "-", "output=runs/x", "train.steps=2", *SHAPE]) == 0
    assert "too little text to set some aside" in capsys.readouterr().err
    ledger = json.loads(Path("runs/x/ledger.json").read_text())
    assert ledger["trained"] == ledger["read"] == 1
    (kept,) = yaml.safe_load(Path("runs/x/config.yaml").read_text())["data"]["paths"]
    assert Path(kept).read_bytes() == Path("en.txt").read_bytes()[:3000], "the run can be repeated"


def test_a_tokenizer_of_several_sources(files: list[str]) -> None:
    assert main(["tokenizer", "train", *files, "tokenizer.vocabulary=300", "output=tok", "lang=en"]) == 0
    assert (Path("tok") / "tokenizer.json").is_file()
