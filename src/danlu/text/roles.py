"""The special tokens: our roles, the ecosystem's names for them, and how they frame a text."""

from collections.abc import Iterable, Mapping, Sequence

from tokenizers import AddedToken, Tokenizer, processors

# role -> the names it goes by in tokenizer_config.json, the first one present counts.
ROLES: dict[str, tuple[str, ...]] = {
    "pad": ("pad_token",),
    "start": ("cls_token", "bos_token"),
    "end": ("eos_token", "sep_token"),
    "mask": ("mask_token",),
    "unknown": ("unk_token",),
    "separator": ("sep_token",),
}
Frame = tuple[Sequence[str], Sequence[str]]  # roles before and after a text
NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

# What the special tokens are called where no file says so.
USUAL: dict[str, tuple[str, ...]] = {
    "bos_token": ("<s>", "<|begin_of_text|>", "<|startoftext|>", "<bos>", "<|endoftext|>"),
    "eos_token": ("</s>", "<|end_of_text|>", "<eos>", "<|endoftext|>"),
    "unk_token": ("[UNK]", "<unk>", "<|endoftext|>"),
    "sep_token": ("[SEP]",),
    "pad_token": ("[PAD]", "<pad>", "<|pad|>"),
    "cls_token": ("[CLS]",),
    "mask_token": ("[MASK]", "<mask>"),
}


def usual_names(tokenizer: Tokenizer) -> dict[str, str]:
    """The special tokens a bare file most likely means."""
    names = {}
    for name, candidates in USUAL.items():
        found = [token for token in candidates if tokenizer.token_to_id(token) is not None]
        if found:
            names[name] = found[0]
    return names


def roles_of(names: Mapping[str, str]) -> dict[str, str]:
    """role -> token, from the ecosystem's names."""
    found = {role: [names[name] for name in wanted if name in names] for role, wanted in ROLES.items()}
    return {role: tokens[0] for role, tokens in found.items() if tokens}


def names_of(roles: Mapping[str, str]) -> dict[str, str]:
    """The ecosystem's names, from role -> token."""
    plain = {"start": "bos_token", "end": "eos_token", "pad": "pad_token", "mask": "mask_token", "unknown": "unk_token"}
    names = {name: roles[role] for role, name in plain.items() if role in roles}
    if "separator" in roles:
        names["sep_token"] = roles["separator"]
        if "start" in roles:
            names["cls_token"] = roles["start"]
    return names


def special(token: str, spaced: bool = False) -> AddedToken:
    """A special token; a `spaced` one swallows the space before it, as RoBERTa's mask does."""
    return AddedToken(token, lstrip=spaced, normalized=False, special=True)


def usual_frame(roles: Mapping[str, str]) -> Frame:
    """The roles that stand before and after a text, by those a family has.

    A separator means both (BERT, RoBERTa, BART); an end without a start, the end (T5); a start that is not the end, the
    start (Llama, Mistral); one token for everything, nothing (GPT-2).
    """
    start, end = roles.get("start"), roles.get("end", roles.get("separator"))
    last = "separator" if "separator" in roles else "end"
    if last == "separator" and start:
        return ("start",), (last,)
    if end and not start:
        return (), (last,)
    if start and start != end:
        return ("start",), ()
    return (), ()


def set_frame(tokenizer: Tokenizer, before: Iterable[str], after: Iterable[str], between: Iterable[str] = ()) -> None:
    """Frame single texts as `before A after`, pairs as `before A after between B after` (the second is segment 1)."""
    first, last, middle = list(before), list(after), list(between)
    if not first and not last:
        return
    single = [f"{token}:0" for token in first] + ["$A:0"] + [f"{token}:0" for token in last]
    pair = single + [f"{token}:1" for token in middle] + ["$B:1"] + [f"{token}:1" for token in last]
    used = {token: tokenizer.token_to_id(token) for token in first + last + middle}
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=list(used.items())
    )
