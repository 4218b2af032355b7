"""How each published tokenizer dresses its vocabulary: special tokens, frame, cut, tokens beyond the file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from danlu.text.patterns import Pattern
from danlu.text.sentencepiece import PieceModel

# The language codes of mBART-25, in the order of their ids.
LANGUAGES = (
    "ar_AR", "cs_CZ", "de_DE", "en_XX", "es_XX", "et_EE", "fi_FI", "fr_XX", "gu_IN", "hi_IN", "it_IT", "ja_XX", "kk_KZ",
    "ko_KR", "lt_LT", "lv_LV", "my_MM", "ne_NP", "nl_XX", "ro_RO", "ru_RU", "si_LK", "tr_TR", "vi_VN", "zh_CN",
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """Sides of the frame are names (`bos_token`) or tokens; `fairseq` reorders SentencePiece's special pieces."""

    names: Mapping[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    between: tuple[str, ...] = ()
    pattern: Pattern = "gpt2"
    fairseq: bool = False
    languages: bool = False
    sentinels: int = 0
    spaced_mask: bool = False


def _all(token: str, *names: str) -> dict[str, str]:
    return {f"{name}_token": token for name in names}


ANGLES = _all("<s>", "bos", "cls") | _all("</s>", "eos", "sep") | _all("<pad>", "pad") | _all("<unk>", "unk")
MASKED = ANGLES | _all("<mask>", "mask")

LAYOUTS = {
    "bert": Layout(
        {f"{name}_token": f"[{name.upper()}]" for name in ("cls", "sep", "pad", "unk", "mask")},
        ("cls_token",), ("sep_token",),
    ),
    "gpt2": Layout(_all("<|endoftext|>", "bos", "eos", "unk")),
    "qwen": Layout(_all("<|endoftext|>", "eos", "pad"), pattern="qwen"),
    "roberta": Layout(MASKED, ("cls_token",), ("sep_token",), ("sep_token",), spaced_mask=True),
    "opt": Layout(_all("</s>", "bos", "eos", "unk") | _all("<pad>", "pad"), ("bos_token",)),
    "t5": Layout(
        _all("</s>", "eos") | _all("<pad>", "pad") | _all("<unk>", "unk"), after=("eos_token",), sentinels=100
    ),
    "xlm-roberta": Layout(
        MASKED, ("cls_token",), ("sep_token",), ("sep_token",), fairseq=True, spaced_mask=True
    ),
    "mbart": Layout(
        MASKED, (), ("eos_token", "en_XX"), fairseq=True, languages=True, spaced_mask=True
    ),
    "llama": Layout({}, ("bos_token",)),
    "plain": Layout(),
}  # fmt: skip

# A tokenizer's class or a model's type in the published files -> its layout.
MEANT = {
    "BertTokenizer": "bert", "DistilBertTokenizer": "bert", "ElectraTokenizer": "bert",
    "GPT2Tokenizer": "gpt2", "Qwen2Tokenizer": "qwen", "RobertaTokenizer": "roberta", "BartTokenizer": "roberta",
    "T5Tokenizer": "t5", "MT5Tokenizer": "t5", "XLMRobertaTokenizer": "xlm-roberta", "MBartTokenizer": "mbart",
    "LlamaTokenizer": "llama", "CodeLlamaTokenizer": "llama",
    "bert": "bert", "distilbert": "bert", "electra": "bert", "gpt2": "gpt2", "gpt_neo": "gpt2", "qwen2": "qwen",
    "qwen3": "qwen", "roberta": "roberta", "bart": "roberta", "opt": "opt", "t5": "t5", "mt5": "t5",
    "xlm-roberta": "xlm-roberta", "mbart": "mbart", "llama": "llama", "mistral": "llama",
}  # fmt: skip


def find_layout(config: Mapping[str, Any], has: Callable[[str], bool], pieces: PieceModel | None) -> Layout:
    """By the tokenizer's class, else the model's type, else by the tokens the vocabulary has."""
    for told in (config.get("tokenizer_class"), config.get("model_type")):
        if isinstance(told, str) and (name := MEANT.get(told.removesuffix("Fast"))):
            return LAYOUTS[name]
    return LAYOUTS[_guess(has, pieces)]


def _guess(has: Callable[[str], bool], pieces: PieceModel | None) -> str:
    if pieces:  # T5 alone has padding, end and unknown as its first three pieces, and no start
        t5 = (pieces.pad, pieces.end, pieces.unknown, pieces.start) == (0, 1, 2, -1)
        return "t5" if t5 else "plain"
    marks = (("bert", "[CLS]"), ("roberta", "<mask>"), ("gpt2", "<|endoftext|>"), ("opt", "</s>"))
    return next((name for name, token in marks if has(token)), "plain")
