"""Training a tokenizer: WordPiece, byte-level BPE, unigram, or single characters."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from danlu.errors import DanluError
from danlu.settings import Settings
from danlu.text.patterns import byte_level
from danlu.text.roles import Frame, set_frame, special, usual_frame
from danlu.text.sample import Sample, take_sample
from danlu.text.sentencepiece import SPACE
from danlu.text.tokenizer import Tokenizer as TrainedTokenizer
from danlu.text.tokenizer import letters as byte_letters
from danlu.voice import Voice

Kind = Literal["wordpiece", "bpe", "unigram", "characters"]
BATCH, FREQUENT, LARGEST = 200, 2, 64_000
# Unigram pieces never reach over digits, line breaks and marks: else whole Chinese sentences would be candidates.
APART = rf"\p{{N}}|\s|[\p{{P}}\p{{S}}&&[^{SPACE}]]+"


class TokenizerSettings(Settings):
    """How a fresh tokenizer is made.

    kind: "auto" leaves the choice to the family, and is byte-level BPE without one.
    vocabulary: entries at most, or "auto": as many as the amount of text can teach.
    lowercase: capitals and accents are dropped (WordPiece: BERT "uncased").
    pattern: how byte-level BPE cuts text, "auto" as the family does, else as GPT-2; "qwen" is what Qwen models expect:
    digits apart, composed accents.
    sample: characters looked at; more text is thinned evenly.
    """

    kind: Literal["auto", "wordpiece", "bpe", "unigram", "characters"] = "auto"
    vocabulary: int | Literal["auto"] = Field(default="auto")
    lowercase: bool = False
    pattern: Literal["auto", "gpt2", "qwen"] = "auto"
    sample: int = Field(default=10_000_000, ge=1_000)


@dataclass(frozen=True)
class Plan:
    """What a recipe needs to know: the sample, the special tokens in the order of their ids, the size to reach."""

    sample: Sample
    settings: TokenizerSettings
    roles: Mapping[str, str]
    specials: list[AddedToken]
    size: int
    alphabet: list[str]


def train_tokenizer(
    texts: Iterator[str], settings: TokenizerSettings, specials: Mapping[str, str], voice: Voice, *,
    frame: Frame | None = None, extra: Sequence[str] = (),
) -> TrainedTokenizer:  # fmt: skip
    """Learn a vocabulary from a stream of texts; the same texts give the same tokenizer.

    specials: role -> token; ids follow the order given, from 0. frame: the roles put before and after a text, by
    default as `usual_frame` has it. extra: special tokens after the vocabulary, in order (T5's sentinels).
    E1305 without text, E1306 for a vocabulary too small.
    """
    with voice.progress("reading text for the tokenizer", "读取分词器文本", None) as bar:
        sample = take_sample(_counted(texts, bar.advance), settings.sample)
    if not sample.letters:
        raise DanluError("E1305")
    kind: Kind = "bpe" if settings.kind == "auto" else settings.kind
    roles = dict(specials)
    if "unknown" not in roles and kind != "bpe":
        roles["unknown"] = "[UNK]" if kind == "wordpiece" else "<unk>"
    plan = _plan(kind, sample, settings, roles)
    voice.say(
        f"learning a {kind} vocabulary of up to {plan.size:,} entries from {sample.characters:,} characters",
        f"从 {sample.characters:,} 个字符学习 {kind} 词表，最多 {plan.size:,} 项",
    )
    tokenizer = RECIPES[kind](plan)
    tokenizer.add_special_tokens([special(token) for token in extra])
    before, after = frame or usual_frame(roles)
    set_frame(tokenizer, [roles[role] for role in before], [roles[role] for role in after], _between(kind, roles))
    config = {"do_lower_case": settings.lowercase, "tokenize_chinese_chars": True} if kind == "wordpiece" else {}
    return TrainedTokenizer.of_roles(tokenizer, roles, config)


def _plan(kind: Kind, sample: Sample, settings: TokenizerSettings, roles: Mapping[str, str]) -> Plan:
    spaced = kind in ("bpe", "unigram")
    tokens = {token: special(token, spaced and role == "mask") for role, token in roles.items()}
    fixed = len(tokens) + (256 if kind in ("bpe", "unigram") else 0)
    letters = _alphabet(kind, sample, settings.lowercase)
    size = _size(kind, sample, fixed, letters) if settings.vocabulary == "auto" else settings.vocabulary
    if size < fixed + 1:
        raise DanluError("E1306", found=size, possible=f"≥ {fixed + 1}")
    # A learnt vocabulary of letters alone would know no words; rare letters make room for at least a few.
    room = {"characters": size - fixed, "bpe": 256}.get(kind, max(1, (size - fixed) * 9 // 10))
    return Plan(sample, settings, roles, list(tokens.values()), size, sorted(letters[:room]))


def _size(kind: Kind, sample: Sample, fixed: int, letters: list[str]) -> int:
    """Entries for all frequent letters, and for words by Heaps' law: they grow with the square root of the text."""
    if kind == "characters":
        return fixed + len(letters)
    if kind == "bpe":  # letters beyond ASCII are learnt, a merge or two each
        letters = [letter for letter, count in sample.letters.items() if count >= FREQUENT and letter > "\x7f"]
    return min(-(-(fixed + len(letters) + 3 * math.isqrt(sample.bytes)) // 64) * 64, LARGEST)


def _alphabet(kind: Kind, sample: Sample, lowercase: bool) -> list[str]:
    """Letters worth an entry, frequent ones first: all of them for characters, else those met at least twice."""
    counts = sample.letters
    if kind == "characters":
        return [letter for letter, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    if kind == "bpe":
        return sorted(byte_letters())
    totals: dict[str, int] = {}
    cleaner = _bert_cleaning(lowercase) if kind == "wordpiece" else _folding(lowercase)
    for letter, count in counts.items():
        for part in "".join(cleaner.normalize_str(letter).split()) if cleaner else letter:
            totals[part] = totals.get(part, 0) + count
    frequent = {letter: count for letter, count in totals.items() if count >= FREQUENT} or totals
    return sorted(frequent, key=lambda letter: (-frequent[letter], letter))


def _train_wordpiece(plan: Plan) -> Tokenizer:
    """BERT's cleaning: controls dropped, Chinese characters and punctuation apart, `##` inside words."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=plan.roles["unknown"]))
    tokenizer.normalizer = _bert_cleaning(plan.settings.lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    # The trainer numbers `##x` in the order of a hash table, and breaks ties by number: a first pass finds them, and
    # the second has them numbered already.
    first = _wordpieces(tokenizer, plan, plan.specials, 0)
    inner = [AddedToken(token) for token in sorted(token for token in first if token.startswith("##"))]
    ids = _wordpieces(tokenizer, plan, [*plan.specials, *inner], plan.size)
    trained = Tokenizer(models.WordPiece(vocab=ids, unk_token=plan.roles["unknown"]))
    trained.normalizer, trained.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    trained.decoder = tokenizer.decoder
    trained.add_special_tokens(plan.specials)
    return trained


def _wordpieces(tokenizer: Tokenizer, plan: Plan, known: list[AddedToken], size: int) -> dict[str, int]:
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=FREQUENT, special_tokens=known, show_progress=False,
        initial_alphabet=plan.alphabet, limit_alphabet=len(plan.alphabet),
    )  # fmt: skip
    tokenizer.train_from_iterator(_batches(plan.sample), trainer)
    vocabulary: dict[str, int] = json.loads(tokenizer.to_str())["model"]["vocab"]
    return vocabulary


def _train_bpe(plan: Plan) -> Tokenizer:
    """GPT-2's byte-level BPE: every text comes back as it was."""
    tokenizer = Tokenizer(models.BPE())
    byte_level(tokenizer, "gpt2" if plan.settings.pattern == "auto" else plan.settings.pattern)
    _lowercase(tokenizer, plan.settings.lowercase)
    trainer = trainers.BpeTrainer(
        vocab_size=plan.size, min_frequency=FREQUENT, special_tokens=plan.specials, show_progress=False,
        initial_alphabet=plan.alphabet,
    )  # fmt: skip
    tokenizer.train_from_iterator(_batches(plan.sample), trainer)
    return tokenizer


def _train_unigram(plan: Plan) -> Tokenizer:
    """SentencePiece's unigram (Kudo 2018) without loss: spaces kept, digits apart, bytes for unknown characters."""
    tokenizer = Tokenizer(models.Unigram())
    steps = [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
    folding = _folding(plan.settings.lowercase)
    tokenizer.normalizer = normalizers.Sequence([folding, *steps] if folding else steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(SPACE, "merged_with_next"), pre_tokenizers.Split(Regex(APART), "isolated")]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=plan.size - 256, special_tokens=plan.specials, unk_token=plan.roles["unknown"], show_progress=False,
        initial_alphabet=plan.alphabet,
    )  # fmt: skip
    known = set(plan.alphabet) | {" "}
    rare = {
        letter
        for letter in plan.sample.letters
        if not known >= set(folding.normalize_str(letter) if folding else letter)
    }
    tokenizer.train_from_iterator(_batches(plan.sample, str.maketrans(dict.fromkeys(rare, "\n"))), trainer)
    learnt = json.loads(tokenizer.to_str())["model"]
    count = len(plan.specials)
    first, pieces = learnt["vocab"][:count], learnt["vocab"][count:]
    single = [[f"<0x{byte:02X}>", 0.0] for byte in range(256)]
    vocabulary = [(token, score) for token, score in [*first, *single, *_settled(pieces)]]
    tokenizer.model = models.Unigram(vocabulary, unk_id=learnt["unk_id"], byte_fallback=True)
    tokenizer.add_special_tokens(plan.specials)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def _settled(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """The same pieces without the traces of a hash table's order.

    Sums differ in their last digits, and letters no sentence needed stand a ten-thousandth apart above the least score.
    """
    least = min((score for _, score in pieces), default=0.0)
    settled = []
    for token, score in pieces:
        steps = (score - least) * 1e4
        spare = len(token) == 1 and steps < len(pieces) and abs(steps - round(steps)) < 1e-6
        settled.append((token, round(least if spare else score, 6)))
    return sorted(settled, key=lambda piece: (-piece[1], piece[0]))


def _train_characters(plan: Plan) -> Tokenizer:
    """One entry a character, spaces and line breaks among them."""
    vocabulary = {token.content: index for index, token in enumerate(plan.specials)}
    for letter in plan.alphabet:
        vocabulary.setdefault(letter, len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=plan.roles["unknown"]))
    _lowercase(tokenizer, plan.settings.lowercase)
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(plan.specials)
    return tokenizer


RECIPES: dict[Kind, Callable[[Plan], Tokenizer]] = {
    "wordpiece": _train_wordpiece, "bpe": _train_bpe, "unigram": _train_unigram, "characters": _train_characters,
}  # fmt: skip


def _bert_cleaning(lowercase: bool) -> normalizers.Normalizer:
    return normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=lowercase, lowercase=lowercase
    )


def _folding(lowercase: bool) -> normalizers.Normalizer | None:
    return normalizers.Sequence([normalizers.Lowercase()]) if lowercase else None


def _lowercase(tokenizer: Tokenizer, lowercase: bool) -> None:
    if folding := _folding(lowercase):
        before = [tokenizer.normalizer] if tokenizer.normalizer else []
        tokenizer.normalizer = normalizers.Sequence([*before, folding])


def _between(kind: Kind, roles: Mapping[str, str]) -> list[str]:
    """RoBERTa sets a second separator between two texts, BERT none."""
    return [roles["separator"]] if kind != "wordpiece" and "separator" in roles else []


def _batches(sample: Sample, without: Mapping[int, str] | None = None) -> Iterator[list[str]]:
    for start in range(0, len(sample.pieces), BATCH):
        pieces = sample.pieces[start : start + BATCH]
        yield [piece.translate(without) for piece in pieces] if without else pieces


def _counted(texts: Iterator[str], advance: Callable[[float], None]) -> Iterator[str]:
    for text in texts:
        advance(len(text))
        yield text
