"""SentencePiece model files without the sentencepiece package: a small reader of their protocol buffer.

The file is one `ModelProto` (sentencepiece_model.proto): pieces with score and type, the trainer's and the normaliser's
settings. `to_tokenizer` builds the same segmentation on the `tokenizers` library.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from danlu.errors import DanluError

NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
UNIGRAM, BPE = 1, 2
SPACE = "▁"
MOST_PIECES, LONGEST_PIECE = 2_000_000, 1_024

Field = tuple[int, int | bytes]
Merge = tuple[str, str]


@dataclass(frozen=True)
class Piece:
    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class PieceModel:
    """What a SentencePiece file says; ids are -1 where a special piece is absent."""

    pieces: tuple[Piece, ...]
    algorithm: int = UNIGRAM
    byte_fallback: bool = False
    unknown: int = 0
    start: int = 1
    end: int = 2
    pad: int = -1
    characters: bytes = b""
    leading_space: bool = True
    squeeze: bool = True

    def name(self, index: int) -> str | None:
        return self.pieces[index].text if 0 <= index < len(self.pieces) else None


def read_piece_model(raw: bytes, where: object) -> PieceModel:
    """Parse a `.model` file. E1302 where it is not one, E1303 over the limits."""
    pieces: list[Piece] = []
    trainer: dict[int, int | bytes] = {}
    normalizer: dict[int, int | bytes] = {}
    try:
        for number, value in _fields(raw):
            if number == 1 and isinstance(value, bytes):
                pieces.append(_piece(value))
                if len(pieces) > MOST_PIECES:
                    raise DanluError("E1303", where=where, found=len(pieces), possible=MOST_PIECES)
            elif number == 2 and isinstance(value, bytes):
                trainer = dict(_fields(value))
            elif number == 3 and isinstance(value, bytes):
                normalizer = dict(_fields(value))
        if not pieces or len({piece.text for piece in pieces}) != len(pieces):
            raise ValueError("no pieces" if not pieces else "repeated pieces")
        unknown = _signed(trainer, 40, 0)
        if not 0 <= unknown < len(pieces):
            raise ValueError(f"unknown id {unknown}")
        characters = normalizer.get(2, b"")
        return PieceModel(
            tuple(pieces), _signed(trainer, 3, UNIGRAM), bool(trainer.get(35, False)), unknown,
            _signed(trainer, 41, 1), _signed(trainer, 42, 2), _signed(trainer, 43, -1),
            characters if isinstance(characters, bytes) else b"",
            bool(normalizer.get(3, True)), bool(normalizer.get(4, True)),
        )  # fmt: skip
    except (ValueError, IndexError, struct.error) as error:
        raise DanluError("E1302", where=where, found=str(error)) from error


def to_tokenizer(model: PieceModel, pieces: Sequence[Piece], unknown: int) -> Tokenizer:
    """The model's segmentation over `pieces`, which may be reordered or extended, with `unknown` the new unknown id."""
    if model.algorithm == UNIGRAM:
        vocabulary = [(piece.text, piece.score) for piece in pieces]
        tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=unknown, byte_fallback=model.byte_fallback))
    else:
        ids = {piece.text: index for index, piece in enumerate(pieces)}
        bpe = models.BPE(
            vocab=ids, merges=merges(pieces), unk_token=pieces[unknown].text, fuse_unk=True,
            byte_fallback=model.byte_fallback,
        )  # fmt: skip
        tokenizer = Tokenizer(bpe)
    marked = [piece for piece in pieces if piece.kind in (CONTROL, USER)]
    tokenizer.add_tokens([AddedToken(p.text, normalized=False, special=p.kind == CONTROL) for p in marked])
    tokenizer.normalizer = _normalizer(model)
    if all(SPACE not in piece.text[1:] for piece in pieces):  # no piece crosses words: they can be looked up apart
        tokenizer.pre_tokenizer = pre_tokenizers.Split(SPACE, "merged_with_next")
    tokenizer.decoder = _decoder(model.byte_fallback, model.leading_space)
    return tokenizer


def merges(pieces: Sequence[Piece]) -> list[Merge]:
    """The merges a BPE model's scores imply: a better score first, then an earlier left and right part."""
    ids = {piece.text: index for index, piece in enumerate(pieces) if piece.kind in (NORMAL, USER, UNUSED)}
    found: list[tuple[float, int, int, Merge]] = []
    for piece in pieces:
        if piece.kind != NORMAL:
            continue
        for cut in range(1, len(piece.text)):
            left, right = piece.text[:cut], piece.text[cut:]
            if left in ids and right in ids:
                found.append((-piece.score, ids[left], ids[right], (left, right)))
    found.sort(key=lambda entry: entry[:3])
    return [merge for *_, merge in found]


def _normalizer(model: PieceModel) -> normalizers.Normalizer:
    steps: list[normalizers.Normalizer] = []
    if model.characters:
        steps.append(normalizers.Precompiled(model.characters))
    if model.squeeze:
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if model.leading_space:
        steps.append(normalizers.Prepend(SPACE))
    return normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])


def _decoder(byte_fallback: bool, leading_space: bool) -> decoders.Decoder:
    steps: list[decoders.Decoder] = [decoders.Replace(SPACE, " ")]
    if byte_fallback:
        steps.append(decoders.ByteFallback())
    steps.append(decoders.Fuse())
    if leading_space:
        steps.append(decoders.Strip(" ", 1, 0))
    return decoders.Sequence(steps)


def _piece(raw: bytes) -> Piece:
    fields = dict(_fields(raw))
    text, score = fields.get(1, b""), fields.get(2, b"\0\0\0\0")
    if not isinstance(text, bytes) or not isinstance(score, bytes) or not text or len(text) > LONGEST_PIECE:
        raise ValueError("a piece without text, or too long a one")
    return Piece(text.decode("utf8"), struct.unpack("<f", score)[0], _signed(fields, 3, NORMAL))


def _signed(fields: dict[int, int | bytes], number: int, default: int) -> int:
    value = fields.get(number, default)
    if not isinstance(value, int):
        raise ValueError(f"field {number} is not a number")
    return value - 2**64 if value >= 2**63 else value


def _fields(raw: bytes) -> Iterator[Field]:
    """(number, value) of each field of a message: numbers as int, texts, messages and fixed values as bytes."""
    place = 0
    while place < len(raw):
        key, place = _varint(raw, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(raw, place)
            yield number, value
            continue
        if wire == 2:
            size, place = _varint(raw, place)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if place + size > len(raw):
            raise ValueError("the file ends inside a field")
        yield number, raw[place : place + size]
        place += size


def _varint(raw: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = raw[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number without end")
