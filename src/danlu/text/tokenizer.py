"""The tokenizer: text to ids and back, on the `tokenizers` library."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as RustTokenizer
from tokenizers.models import WordPiece

from danlu.errors import DanluError
from danlu.files import replace_file, replace_json
from danlu.text.reading import Published, read_published
from danlu.text.roles import NAMES, names_of, roles_of

# Between Chinese and Japanese characters, and around their punctuation, WordPiece's decoder puts spaces nobody wrote.
MARKS = "　-〿！-／：-＠［-｠"
WIDE = f"[{MARKS}㐀-䶿一-鿿豈-﫿０-Ｚ\U00020000-\U0003ffff]"
UNWRITTEN_SPACE = re.compile(f"(?<={WIDE}) (?={WIDE})|(?<=[{MARKS}]) | (?=[{MARKS}])")
# What is only about one reading of the files, or said anew on writing.
NOT_KEPT = {*NAMES, "tokenizer_class", "model_type", "added_tokens", "added_tokens_decoder", "auto_map", "extra_ids",
            "name_or_path", "special_tokens_map_file", "tokenizer_file", "vocab_file", "merges_file", "backend",
            "add_bos_token", "add_eos_token", "additional_special_tokens", "extra_special_tokens",
            "is_local", "local_files_only", "chat_template", "processor_class"}  # fmt: skip


class Tokenizer:
    """Never changes; `extend` gives a new one.

    special: role (pad start end mask unknown separator) -> id; a role the tokenizer lacks is absent.
    vocabulary: one more than the highest id.
    """

    def __init__(self, rust: RustTokenizer, names: Mapping[str, str], config: Mapping[str, Any] | None = None):
        """`names`: special tokens by the ecosystem's names (`bos_token` ...); `config`: what else the files say."""
        self._rust = rust
        self._names = dict(names)
        self._config = dict(config or {})
        ids = rust.get_vocab(with_added_tokens=True)
        self.vocabulary: int = max(ids.values(), default=-1) + 1
        self.prefix, self.suffix = self._sides()
        if self.prefix and self.suffix and "cls_token" not in self._names:  # a bare file that frames as BERT does
            first, last = rust.id_to_token(self.prefix[0]), rust.id_to_token(self.suffix[-1])
            self._names |= {"cls_token": str(first), "sep_token": str(last)}
        self.roles: dict[str, str] = {role: token for role, token in roles_of(self._names).items() if token in ids}
        self.special: dict[str, int] = {role: ids[token] for role, token in self.roles.items()}

    @staticmethod
    def read(where: str | Path) -> "Tokenizer":
        """From a folder or one published file. Errors as of `read_published`."""
        published: Published = read_published(Path(where))
        return Tokenizer(published.tokenizer, published.names, published.config)

    @staticmethod
    def of_roles(rust: RustTokenizer, roles: Mapping[str, str], config: Mapping[str, Any] | None = None) -> "Tokenizer":
        """A fresh tokenizer whose special tokens are given by role."""
        return Tokenizer(rust, names_of(roles), config)

    def write(self, folder: str | Path) -> None:
        """tokenizer.json, tokenizer_config.json, special_tokens_map.json, as transformers' AutoTokenizer reads them."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        inputs = ["input_ids", "token_type_ids", "attention_mask"] if self._words else ["input_ids", "attention_mask"]
        kept = {name: value for name, value in self._config.items() if name not in NOT_KEPT}
        config = kept | {
            "tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": inputs,
            "clean_up_tokenization_spaces": False, **self._names,
        }  # fmt: skip
        if template := self._config.get("chat_template"):
            config["chat_template"] = template
        replace_file(folder / "tokenizer.json", self._rust.to_str(pretty=True))
        replace_json(folder / "tokenizer_config.json", config)
        replace_json(folder / "special_tokens_map.json", self._names)

    def encode(self, text: str) -> list[int]:
        """Ids without frame; special tokens written in the text are recognised. E1308 for text that is no Unicode."""
        return self.encode_many([text])[0]

    def encode_many(self, texts: Sequence[str], specials: bool = True) -> list[list[int]]:
        """Many texts at once, on all cores. specials: whether special tokens written in them are more than letters.
        E1302 where the tokenizer's files gave no entry for unknown text."""
        rust = self._rust if specials else self._letters
        try:
            encodings = rust.encode_batch_fast(list(texts), add_special_tokens=False)
        except (TypeError, UnicodeEncodeError) as error:
            raise DanluError("E1308", found=_first_unfit(texts) or str(error)) from error
        except Exception as error:  # the Rust library's bare one: the files contradict themselves
            raise DanluError("E1302", found=str(error)) from error
        return [encoding.ids for encoding in encodings]

    def encode_with_offsets(self, texts: Sequence[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Ids without frame, and from which character to which each goes; a space before a word is not its own."""
        try:
            encodings = self._rust.encode_batch(list(texts), add_special_tokens=False)
        except (TypeError, UnicodeEncodeError) as error:
            raise DanluError("E1308", found=_first_unfit(texts) or str(error)) from error
        return [
            (encoding.ids, [_trimmed(text, span) for span in encoding.offsets])
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def decode(self, ids: Sequence[int], specials: bool = False) -> str:
        """Text again, without special tokens unless asked for; ids beyond the vocabulary leave nothing."""
        text: str = self._rust.decode(list(ids), skip_special_tokens=not specials)
        return UNWRITTEN_SPACE.sub("", text) if self._words else text

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Each id as readable text; bytes that are no character alone stand as <0xE4>, unknown ids as <id>."""
        return [self._piece(index) for index in ids]

    def frame(self, ids: Sequence[int]) -> list[int]:
        """The ids with the family's own special tokens around: [CLS] … [SEP], <s> … </s>, … </s>, or nothing."""
        return [*self.prefix, *ids, *self.suffix]

    def id(self, token: str) -> int | None:
        """The id of exactly this token."""
        index: int | None = self._rust.token_to_id(token)
        return index

    @cached_property
    def between(self) -> tuple[int, ...]:
        """What the file's post-processor puts between two texts; nothing where it just joins them."""
        for probe in ("a", "的", "1"):
            bare, pair = self.encode(probe), self._rust.encode(probe, probe).ids
            middle = pair[len(self.prefix) + len(bare) : len(pair) - len(self.suffix) - len(bare)]
            if bare and pair == [*self.prefix, *bare, *middle, *bare, *self.suffix]:
                return tuple(middle)
        return ()

    @cached_property
    def sentinels(self) -> tuple[int, ...]:
        """Ids of <extra_id_0>, <extra_id_1>, … as far as they go (T5)."""
        found: list[int] = []
        while (index := self.id(f"<extra_id_{len(found)}>")) is not None:
            found.append(index)
        return tuple(found)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides the ids; the same before writing and after reading."""
        data = json.loads(self._rust.to_str())
        if isinstance(data["model"]["vocab"], list):  # a score's last digit may change on its way through a file
            data["model"]["vocab"] = [[token, round(score, 6)] for token, score in data["model"]["vocab"]]
        return hashlib.sha256(json.dumps(data).encode("utf8")).hexdigest()

    @property
    def chat_template(self) -> str | None:
        template = self._config.get("chat_template")
        return template if isinstance(template, str) else None

    def extend(self, tokens: Sequence[str]) -> "Tokenizer":
        """A tokenizer that knows more tokens, with the next free ids; E1309 for one it has already, or an empty one."""
        known = [token for token in tokens if not token.strip() or self.id(token) is not None]
        if known or len(set(tokens)) != len(tokens):
            raise DanluError("E1309", found=known or tokens)
        rust = RustTokenizer.from_str(self._rust.to_str())
        rust.add_tokens([AddedToken(token, normalized=False) for token in tokens])
        return Tokenizer(rust, self._names, self._config)

    @property
    def description(self) -> str:
        """All of it, as the `tokenizers` library writes it down: JSON."""
        return str(self._rust.to_str())

    def described(self, description: str) -> "Tokenizer":
        """The same special tokens and settings with another description."""
        return Tokenizer(RustTokenizer.from_str(description), self._names, self._config)

    def __reduce__(self) -> tuple[Any, ...]:  # worker processes get it as text
        return _rebuilt, (self._rust.to_str(), self._names, self._config)

    @cached_property
    def _letters(self) -> RustTokenizer:
        """The same tokenizer, to which special tokens in a text are letters like others."""
        rust = RustTokenizer.from_str(self._rust.to_str())
        rust.encode_special_tokens = True
        return rust

    @cached_property
    def _words(self) -> bool:
        return isinstance(self._rust.model, WordPiece)

    def _piece(self, index: int) -> str:
        token: str | None = self._rust.id_to_token(index) if index >= 0 else None
        if token is None:
            return f"<{index}>"
        if self._words or token in self._marked:
            return token
        text: str = self._rust.decode([index], skip_special_tokens=False)
        if "\ufffd" in text and self._bytes:
            return "".join(f"<0x{self._bytes[letter]:02X}>" if letter in self._bytes else letter for letter in token)
        return text if text and not token.startswith("▁") else token.replace("▁", " ")

    @cached_property
    def _marked(self) -> set[str]:
        return {token.content for token in self._rust.get_added_tokens_decoder().values()}

    @cached_property
    def _bytes(self) -> dict[str, int]:
        """GPT-2's letter for each byte, where this tokenizer is byte-level."""
        return letters() if "ByteLevel" in json.dumps(json.loads(self._rust.to_str())["decoder"]) else {}

    def _sides(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What the file's post-processor puts before and after a text, found by looking at one."""
        for probe in ("a", "的", "1"):
            bare = self.encode(probe)
            framed = self._rust.encode(probe).ids
            for place in range(len(framed) - len(bare) + 1):
                if bare and framed[place : place + len(bare)] == bare:
                    return tuple(framed[:place]), tuple(framed[place + len(bare) :])
        return (), ()


def letters() -> dict[str, int]:
    """letter -> byte: printable Latin-1 stands for itself, the rest follow from U+0100 on (Radford et al. 2019)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


def _trimmed(text: str, span: tuple[int, int]) -> tuple[int, int]:
    """A stretch of a text without the spaces at its ends."""
    start, end = span
    piece = text[start:end]
    if not piece.strip():
        return end, end
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())


def _first_unfit(texts: Sequence[object]) -> str | None:
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            return f"text {index}: {type(text).__name__}"
        try:
            text.encode("utf8")
        except UnicodeEncodeError as error:
            return f"text {index}, character {error.start}: U+{ord(text[error.start]):04X}"
    return None


def _rebuilt(text: str, names: dict[str, str], config: dict[str, Any]) -> Tokenizer:
    return Tokenizer(RustTokenizer.from_str(text), names, config)
