"""Published tokenizer files of every kind, read into one `tokenizers.Tokenizer` with its special tokens."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from danlu.errors import DanluError
from danlu.text.layouts import LANGUAGES, Layout, find_layout
from danlu.text.patterns import byte_level, check_regexes
from danlu.text.roles import NAMES, set_frame, special, usual_names
from danlu.text.sentencepiece import (
    LONGEST_PIECE,
    MOST_PIECES,
    NORMAL,
    USER,
    Piece,
    PieceModel,
    read_piece_model,
    to_tokenizer,
)

MOST_BYTES, MOST_MERGES, DEEPEST = 200_000_000, 5_000_000, 64
CONFIG_BYTES = 4_000_000
PIECE_FILES = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "spm.model")


@dataclass(frozen=True)
class Published:
    """A tokenizer as its files describe it: `names` as in tokenizer_config.json, `config` what else stands there."""

    tokenizer: Tokenizer
    names: dict[str, str]
    config: dict[str, Any] = field(default_factory=dict)


def read_published(where: Path) -> Published:
    """Read a folder, or one file: tokenizer.json, *vocab.txt, *vocab.json beside *merges.txt, *.model.

    E1301 where there is none, E1302 where one is damaged, E1303 over the limits, E1304 for a wild regular expression.
    """
    file = _main_file(where) if where.is_dir() else where
    if not file.is_file():
        raise DanluError("E1301", where=where)
    config = _config(file.parent) if where.is_dir() or file.name == "tokenizer.json" else {}
    try:
        return _read(file, config)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise DanluError("E1302", where=file, found=str(error) or type(error).__name__) from error
    except DanluError:
        raise
    except BaseException as error:  # the Rust library raises bare Exceptions, and panics that are not even that
        if type(error) is Exception or type(error).__name__ == "PanicException":
            raise DanluError("E1302", where=file, found=str(error)) from None
        raise


def _main_file(folder: Path) -> Path:
    found = [folder / name for name in ("tokenizer.json", *PIECE_FILES)]
    if (folder / "merges.txt").is_file():
        found.append(folder / "vocab.json")
    found += [folder / "vocab.txt", *sorted(folder.glob("*.model"))]
    present = [path for path in found if path.is_file()]
    if not present:
        raise DanluError("E1301", where=folder)
    return present[0]


def _read(file: Path, config: dict[str, Any]) -> Published:
    if file.suffix == ".model":
        model = read_piece_model(_bytes(file, MOST_BYTES), file)
        layout = find_layout(config, lambda token: any(piece.text == token for piece in model.pieces), model)
        names = _names(config, layout)
        tokenizer = _from_pieces(model, layout, config, names)
    elif file.name.endswith("vocab.txt"):
        tokens = _bytes(file, MOST_BYTES).decode("utf8").splitlines()
        _check_size(len(tokens), 0, max(map(len, tokens), default=0), file)
        layout = find_layout(config, set(tokens).__contains__, None)
        names = _names(config, layout)
        tokenizer = _from_words([token.strip() for token in tokens], config, names)
    elif file.name.endswith("vocab.json"):
        vocabulary, pairs = _vocabulary(file), _merges(file.with_name(file.name.replace("vocab.json", "merges.txt")))
        _check_size(len(vocabulary), len(pairs), max(map(len, vocabulary), default=0), file)
        layout = find_layout(config, vocabulary.__contains__, None)
        names = _names(config, layout)
        bpe = models.BPE(vocab=vocabulary, merges=pairs, continuing_subword_prefix="", end_of_word_suffix="")
        tokenizer = Tokenizer(bpe)
        byte_level(tokenizer, layout.pattern, bool(config.get("add_prefix_space", False)))
    else:
        tokenizer = _from_json(file)
        return Published(tokenizer, _names(config, None) or usual_names(tokenizer), config)
    _mark_specials(tokenizer, config, names, layout)
    names = {name: token for name, token in names.items() if tokenizer.token_to_id(token) is not None}
    set_frame(tokenizer, *_frame(layout, config, names))
    return Published(tokenizer, names or usual_names(tokenizer), config)


def _from_json(file: Path) -> Tokenizer:
    raw = _bytes(file, MOST_BYTES)
    data = json.loads(raw)
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        raise ValueError("not a tokenizer")
    vocabulary, pairs = data["model"].get("vocab", {}), data["model"].get("merges", [])
    tokens = list(vocabulary) if isinstance(vocabulary, dict) else [entry[0] for entry in vocabulary]
    _check_size(len(tokens), len(pairs), max(map(len, tokens), default=0), file)
    check_regexes(data, file)
    tokenizer = Tokenizer.from_str(raw.decode("utf8"))
    tokenizer.no_truncation()  # lengths are the loader's business; a published file may cut silently
    tokenizer.no_padding()
    return tokenizer


def _from_words(tokens: list[str], config: Mapping[str, Any], names: dict[str, str]) -> Tokenizer:
    """WordPiece from vocab.txt; without a config, a vocabulary with no capital letter is a lower-case one."""
    unknown = names.get("unk_token", "[UNK]")
    plain = [token for token in tokens if token not in names.values() and not token.startswith("[unused")]
    lower = config.get("do_lower_case", not any("A" <= letter <= "Z" for token in plain for letter in token))
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"), lowercase=bool(lower),
    )  # fmt: skip
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def _from_pieces(model: PieceModel, layout: Layout, config: Mapping[str, Any], names: dict[str, str]) -> Tokenizer:
    """SentencePiece, with what the model's own library puts before and behind its pieces."""
    pieces, unknown = list(model.pieces), model.unknown
    if layout.fairseq:  # <s> <pad> </s> <unk>, the pieces but their first three, languages, <mask>
        first = [Piece(token, 0.0, NORMAL) for token in ("<s>", "<pad>", "</s>", "<unk>")]
        languages = [Piece(code, 0.0, NORMAL) for code in (LANGUAGES if layout.languages else ())]
        pieces, unknown = [*first, *pieces[3:], *languages, Piece("<mask>", 0.0, NORMAL)], 3
    if layout.sentinels:
        count = int(config.get("extra_ids", layout.sentinels))
        if not 0 <= count <= 10_000:
            raise ValueError(f"extra_ids {count}")
        pieces += [Piece(f"<extra_id_{index}>", 0.0, USER) for index in reversed(range(count))]
    for name, index in (("bos_token", model.start), ("eos_token", model.end), ("unk_token", model.unknown)):
        if (token := model.name(index)) is not None:
            names.setdefault(name, token)
    return to_tokenizer(model, pieces, unknown)


def _mark_specials(tokenizer: Tokenizer, config: Mapping[str, Any], names: dict[str, str], layout: Layout) -> None:
    """Tell the tokenizer which tokens are special, and add those the files name beyond the vocabulary."""
    decoder = config.get("added_tokens_decoder", {})
    listed = {int(index): entry for index, entry in decoder.items()} | {
        int(index): token for token, index in config.get("added_tokens", {}).items()
    }
    for index, entry in sorted(listed.items()):
        facts = entry if isinstance(entry, dict) else {"content": entry, "special": False}
        flags = {flag: bool(facts.get(flag, False)) for flag in ("single_word", "lstrip", "rstrip", "special")}
        added = AddedToken(facts["content"], normalized=bool(facts.get("normalized", False)), **flags)
        tokenizer.add_special_tokens([added]) if flags["special"] else tokenizer.add_tokens([added])
        if tokenizer.token_to_id(facts["content"]) != index:
            raise ValueError(f"added token {facts['content']!r} is not at {index}")
    done = {entry["content"] for entry in listed.values() if isinstance(entry, dict)}
    for name, token in names.items():
        if token not in done and (tokenizer.token_to_id(token) is not None or name in config):
            spaced = layout.spaced_mask and name == "mask_token"
            tokenizer.add_special_tokens([special(token, spaced)])
    extra = [f"<extra_id_{index}>" for index in range(layout.sentinels)] + list(LANGUAGES if layout.languages else ())
    tokenizer.add_special_tokens([special(token) for token in extra if tokenizer.token_to_id(token) is not None])


def _frame(
    layout: Layout, config: Mapping[str, Any], names: Mapping[str, str]
) -> tuple[list[str], list[str], list[str]]:
    before, after = list(layout.before), list(layout.after)
    switches = (("add_bos_token", "bos_token", before), ("add_eos_token", "eos_token", after))
    for switch, name, side in switches:
        if isinstance(config.get(switch), bool):
            side[:] = [name] if config[switch] else []
    tokens = [[names.get(name, name) for name in side] for side in (before, after, layout.between)]
    present = set(names.values()) | set(LANGUAGES)
    return tokens[0], tokens[1], tokens[2] if set().union(*tokens) <= present else []


def _names(config: Mapping[str, Any], layout: Layout | None) -> dict[str, str]:
    names = dict(layout.names) if layout else {}
    for name in NAMES:
        if name not in config:
            continue
        value = config[name]
        token = value.get("content") if isinstance(value, dict) else value
        if isinstance(token, str):
            names[name] = token
        else:
            names.pop(name, None)
    return names


def _config(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json over special_tokens_map.json, with the model type, added tokens and the chat template."""
    config: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        config |= _optional_json(folder / name)
    config.setdefault("model_type", _optional_json(folder / "config.json").get("model_type"))
    if "added_tokens_decoder" not in config and (added := _optional_json(folder / "added_tokens.json")):
        config["added_tokens"] = added
    template = folder / "chat_template.jinja"
    if template.is_file():
        config["chat_template"] = _bytes(template, CONFIG_BYTES).decode("utf8", errors="replace")
    return config


def _optional_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        data = json.loads(_bytes(path, CONFIG_BYTES))
    except (ValueError, RecursionError) as error:
        raise DanluError("E1302", where=path, found=str(error)) from error
    if not isinstance(data, dict):
        raise DanluError("E1302", where=path, found=type(data).__name__)
    return data


def _vocabulary(file: Path) -> dict[str, int]:
    data = json.loads(_bytes(file, MOST_BYTES))
    if not isinstance(data, dict) or not all(type(index) is int and 0 <= index < 2**31 for index in data.values()):
        raise ValueError("not token -> id")
    return data


def _merges(file: Path) -> list[tuple[str, str]]:
    if not file.is_file():
        raise DanluError("E1301", where=file)
    lines = _bytes(file, MOST_BYTES).decode("utf8").split("\n")
    pairs = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("a merge that is not a pair")
    return [(pair[0], pair[1]) for pair in pairs]


def _bytes(file: Path, most: int) -> bytes:
    try:
        size = file.stat().st_size
        if size > most:
            raise DanluError("E1303", where=file, found=f"{size} bytes", possible=f"{most} bytes")
        return file.read_bytes()
    except OSError as error:
        raise DanluError("E1302", where=file, found=error.strerror) from error


def _check_size(tokens: int, merges: int, longest: int, where: Path) -> None:
    limits = ((tokens, MOST_PIECES, "tokens"), (merges, MOST_MERGES, "merges"), (longest, LONGEST_PIECE, "characters"))
    for found, most, what in limits:
        if found > most:
            raise DanluError("E1303", where=where, found=f"{found} {what}", possible=f"{most} {what}")
