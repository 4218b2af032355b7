"""A tokenizer of fewer tokens: what it no longer knows as a whole it spells with what is left."""

import json
from collections.abc import Collection
from typing import Any

from danlu.text.tokenizer import Tokenizer


def pruned(tokenizer: Tokenizer, kept: Collection[int]) -> tuple[Tokenizer, list[int]]:
    """A tokenizer of these tokens, and what they have to be spelled with, and the old ids in the order of the new ones.

    Special and added tokens stay, single characters and bytes, and of a BPE what its merges build the kept ones of.
    """
    data: dict[str, Any] = json.loads(tokenizer.description)
    model = data["model"]
    ids: dict[str, int] = (
        {piece: at for at, (piece, _) in enumerate(model["vocab"])}
        if isinstance(model["vocab"], list)
        else model["vocab"]
    )
    always = {token["id"] for token in data.get("added_tokens", [])}
    always |= {at for piece, at in ids.items() if _single(piece, model)}
    stay = _with_parts(ids, model, (set(kept) & set(ids.values())) | (always & set(ids.values())))
    order = sorted(stay | always)
    new = {old: at for at, old in enumerate(order)}
    if isinstance(model["vocab"], list):
        model["vocab"] = [pair for at, pair in enumerate(model["vocab"]) if at in stay]
        if model.get("unk_id") is not None:
            model["unk_id"] = new[model["unk_id"]]
    else:
        model["vocab"] = {piece: new[at] for piece, at in ids.items() if at in stay}
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if _possible(merge, ids, stay)]
    for token in data.get("added_tokens", []):
        token["id"] = new[token["id"]]
    data["post_processor"] = _renumbered(data.get("post_processor"), new)
    return tokenizer.described(json.dumps(data)), order


def _single(piece: str, model: dict[str, Any]) -> bool:
    """Whether a piece is one character, at the beginning of a word or inside it, one byte, or the unknown one."""
    bare = piece.removeprefix(model.get("continuing_subword_prefix") or "\0").removeprefix("▁").removesuffix("</w>")
    return len(bare) <= 1 or (piece.startswith("<0x") and piece.endswith(">")) or piece == model.get("unk_token")


def _with_parts(ids: dict[str, int], model: dict[str, Any], wanted: set[int]) -> set[int]:
    """These tokens, and those that merges make them of."""
    parts: dict[int, list[tuple[int, int]]] = {}
    for merge in model.get("merges", []):
        left, right = _sides(merge)
        whole = ids.get(left + right.removeprefix(model.get("continuing_subword_prefix") or "\0"))
        if whole is not None and left in ids and right in ids:
            parts.setdefault(whole, []).append((ids[left], ids[right]))
    found, open_ = set(wanted), list(wanted)
    while open_:
        for pair in parts.get(open_.pop(), []):
            for each in pair:
                if each not in found:
                    found.add(each)
                    open_.append(each)
    return found


def _possible(merge: Any, ids: dict[str, int], stay: set[int]) -> bool:
    left, right = _sides(merge)
    whole = ids.get(left + right, ids.get(left + right.removeprefix("##")))
    return all(each in stay for each in (ids.get(left), ids.get(right), whole))


def _sides(merge: Any) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _renumbered(processor: Any, new: dict[int, int]) -> Any:
    """Ids inside a post-processor: lists of `ids`, and (token, id) pairs."""
    if isinstance(processor, dict):
        made = {}
        for name, value in processor.items():
            if name == "ids":
                made[name] = [new[each] for each in value]
            elif name in ("sep", "cls") and isinstance(value, list):
                made[name] = [value[0], new[value[1]]]
            else:
                made[name] = _renumbered(value, new)
        return made
    return [_renumbered(each, new) for each in processor] if isinstance(processor, list) else processor
