"""A tokenizer as GGUF keeps it: pieces in the order of their ids, with what its model needs to put them together."""

import json
from typing import Any

from danlu.text.tokenizer import Tokenizer

KINDS = {"BPE": "gpt2", "WordPiece": "bert", "Unigram": "t5"}
SPACE = "▁"


def add_tokenizer(writer: Any, gguf: Any, tokenizer: Tokenizer, vocabulary: int) -> None:
    """vocabulary: rows of the table, of which some may have no piece."""
    data = json.loads(tokenizer.description)
    model = data["model"]
    kind = model["type"]
    scored: dict[str, float] = {}
    if kind == "Unigram":
        numbered = {number: piece for number, (piece, _) in enumerate(model["vocab"])}
        scored = dict(model["vocab"])
    else:
        numbered = {number: piece for piece, number in model["vocab"].items()}
    special = {each["id"]: each["content"] for each in data.get("added_tokens", ()) if each.get("special", True)}
    numbered |= {each["id"]: each["content"] for each in data.get("added_tokens", ())}
    pieces, types = [], []
    for number in range(vocabulary):
        piece = numbered.get(number)
        unused, control = piece is None, number in special
        if piece is not None and kind == "WordPiece" and not control:
            piece = piece[2:] if piece.startswith("##") else SPACE + piece
        pieces.append(piece if piece is not None else f"[PAD{number}]")
        names = gguf.TokenType
        types.append(names.UNUSED if unused else names.CONTROL if control else names.NORMAL)
    writer.add_tokenizer_model(KINDS[kind])
    writer.add_tokenizer_pre("gpt-2" if kind == "BPE" else "default")
    writer.add_token_list(pieces)
    writer.add_token_types(types)
    if scored:
        writer.add_token_scores([scored.get(numbered.get(number, ""), 0.0) for number in range(vocabulary)])
    if kind == "BPE":
        pairs = model["merges"]
        writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in pairs])
    adders = {"start": "bos", "end": "eos", "unknown": "unk", "separator": "sep", "pad": "pad", "mask": "mask"}
    for role, word in adders.items():
        if role in tokenizer.special:
            getattr(writer, f"add_{word}_token_id")(tokenizer.special[role])
