"""A fresh tokenizer of a family frames and cuts text as the family's published one does."""

from pathlib import Path

import pytest

from danlu.checkpoint import Checkpoint
from danlu.data.corruption import Words
from danlu.models.build import build
from danlu.models.families import FAMILIES, Family, fresh
from danlu.recipes.starting.start import fresh_tokenizer
from danlu.text.layouts import LAYOUTS, MEANT
from danlu.text.tokenizer import Tokenizer
from danlu.text.training import TokenizerSettings
from danlu.voice import Voice

TEXTS = [
    f"The cat {deed} 2024 times by the river; \u732b\u5728\u6cb3\u8fb9 {deed}." for deed in ("sat", "ran", "sang")
] * 20
PROBE = "The cat sat by the river"
WRITERS = sorted(
    name for name, family in FAMILIES.items() if family.kind in ("masked", "causal", "sequence_to_sequence")
)


def made(family: Family) -> Tokenizer:
    return fresh_tokenizer(TEXTS, TokenizerSettings(vocabulary=600), family, Voice(quiet=True))


@pytest.mark.parametrize("name", WRITERS)
def test_transformers_frames_text_as_the_family_does(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    family = FAMILIES[name]
    tokenizer = made(family)
    before, after = ([tokenizer.special[role] for role in side] for side in family.frame)
    _, config = fresh(f"{name}-tiny", tokenizer.vocabulary)
    Checkpoint(family, config, build(config, "cpu", 0), tokenizer).save(tmp_path / "model")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert theirs(PROBE)["input_ids"] == [*before, *tokenizer.encode(PROBE), *after]
    assert theirs.decode(tokenizer.encode(PROBE)) == PROBE
    if layout := LAYOUTS.get(MEANT.get(name, "")):  # as published; of mBART's `</s> en_XX` a fresh one has the first
        assert (len(before), len(after)) == (len(layout.before), min(1, len(layout.after)))


def test_opt_begins_with_its_end() -> None:
    tokenizer = made(FAMILIES["opt"])
    assert tokenizer.pieces(tokenizer.frame([]))[0] == "</s>"


def test_mbart_sets_nothing_in_front(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = made(FAMILIES["mbart"])
    assert Words.of(tokenizer).frame.prefix == ()
    assert Words.of(tokenizer).frame.suffix == (tokenizer.special["end"],)
    vocabulary = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581The", -1.0), ("\u2581cat", -1.0)]
    theirs = transformers.MBartTokenizer(vocab=vocabulary, src_lang="en_XX")
    assert theirs.convert_ids_to_tokens(theirs("The cat")["input_ids"]) == ["\u2581The", "\u2581cat", "</s>", "en_XX"]


@pytest.mark.parametrize(("name", "whole"), [("qwen2", False), ("qwen3", False), ("gpt2", True)])
def test_qwen_keeps_digits_apart(name: str, whole: bool) -> None:
    tokenizer = made(FAMILIES[name])
    assert ("2024" in "|".join(tokenizer.pieces(tokenizer.encode(" 2024"))).replace(" ", "")) == whole
