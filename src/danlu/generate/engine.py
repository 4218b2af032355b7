"""A checkpoint put to use: write, fill, score, look at logits, embed. What `danlu.load` returns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, overload

import torch
from torch import Tensor
from torch.nn.functional import normalize

from danlu.adapt import switch
from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.generate.beams import search
from danlu.generate.conversation import conversation_of
from danlu.generate.decode import GenerateSettings, write
from danlu.generate.gaps import folded, marked
from danlu.generate.likelihood import Question, ask, causal_question, masked_questions
from danlu.generate.rest import at_rest
from danlu.generate.rows import BUDGET, batches, check_lengths, padded_right
from danlu.models.build import TextModel
from danlu.models.sequence_to_sequence import SequenceToSequence
from danlu.settings import build
from danlu.text.chat import Message
from danlu.text.tokenizer import Tokenizer

BROKEN = "\ufffd"  # the end of a text whose last character is not whole yet


@dataclass(frozen=True)
class Fill:
    """What may stand at a mask."""

    token: str
    id: int
    probability: float


class Engine:
    """Texts in, texts and numbers out. One text gives one result, a list of texts a list."""

    def __init__(self, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        self.model = cast(TextModel, checkpoint.model)

    @property
    def tokenizer(self) -> Tokenizer:
        """E1806 where the checkpoint has none."""
        if self.checkpoint.tokenizer is None:
            raise DanluError("E1806")
        return self.checkpoint.tokenizer

    @property
    def kind(self) -> str:
        """masked, causal or sequence_to_sequence."""
        if isinstance(self.model, SequenceToSequence):
            return "sequence_to_sequence"
        return "causal" if self.model.config.causal else "masked"

    def use(self, adapter: str | None) -> None:
        """Let one of the model's adapters work, or none. E2012 where there is none of that name."""
        switch(self.model, adapter)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return torch.device(next(self.model.parameters()).device)

    @overload
    def generate(self, texts: str, **settings: Any) -> str: ...
    @overload
    def generate(self, texts: list[str], **settings: Any) -> list[str]: ...
    def generate(self, texts: str | list[str], **settings: Any) -> str | list[str]:
        """What the model writes after each text (or in answer to it, an encoder-decoder); `settings`: GenerateSettings.

        The same seed gives the same text, in whatever company: row i draws from chance of its own. E1802 for a model
        that only fills masks, E1803 for a prompt longer than the model, E1804 for an empty one without a start token.
        """
        chosen = build(GenerateSettings, settings)
        prompts = [self.prompt(text) for text in _listed(texts)]
        tokens = self.write(prompts, chosen)
        written = [self.continued(prompt, new) for prompt, new in zip(prompts, tokens, strict=True)]
        return written[0] if isinstance(texts, str) else written

    def stream(self, text: str | Sequence[int], **settings: Any) -> Iterator[str]:
        """The same text as `generate`, in pieces as they are written; never half a character. text: or its tokens."""
        prompt = self.prompt(text) if isinstance(text, str) else list(text)
        new: list[int] = []
        said = ""
        for step in write(self.model, [prompt], build(GenerateSettings, settings | {"beams": 1}), self.ends):
            new.append(step[0])
            whole = self.continued(prompt, new)
            if whole.startswith(said) and not whole.endswith(BROKEN):
                yield whole[len(said) :]
                said = whole
        whole = self.continued(prompt, new)
        if whole != said:
            yield whole[len(said) :]

    def reply(self, messages: str | Sequence[Mapping[str, str]], **settings: Any) -> str:
        """What the model says next in a conversation, [{"role": "user", "content": ...}, ...], or to one text, put as
        its chat template says, or as it was taught to answer. E1802 for a model that only fills masks."""
        conversation = conversation_of(self.checkpoint, talks=True)
        if conversation is None:
            raise DanluError("E1802", found=self.kind)
        told = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
        conversation.said = [Message(each["role"], each["content"]) for each in told[:-1]]
        chosen = build(GenerateSettings, settings)
        prompt, length = conversation.ask(told[-1]["content"], chosen.max_new_tokens)
        (written,) = self.write([prompt], chosen.model_copy(update={"max_new_tokens": length}))
        return self.tokenizer.decode(written).strip()

    def write(
        self, prompts: Sequence[Sequence[int]], settings: GenerateSettings, images: Sequence[Tensor] | None = None
    ) -> list[list[int]]:
        """Tokens after each prompt's tokens, the end token included where one was written. images: as of `Writer`."""
        written: list[list[int]] = [[] for _ in prompts]
        lengths = [len(prompt) + settings.max_new_tokens for prompt in prompts]
        for rows in batches(lengths, BUDGET):
            some = [prompts[row] for row in rows]
            seen = None if images is None else [images[row] for row in rows]
            if settings.beams > 1:
                for row, text in zip(rows, search(self.model, some, settings, self.ends, seen), strict=True):
                    written[row] = text
                continue
            for step in write(self.model, some, settings, self.ends, rows, seen):
                for row, token in step.items():
                    written[row].append(token)
        return written

    @overload
    def fill(self, texts: str, top: int = 5) -> list[list[Fill]]: ...
    @overload
    def fill(self, texts: list[str], top: int = 5) -> list[list[list[Fill]]]: ...
    def fill(self, texts: str | list[str], top: int = 5) -> list[list[Fill]] | list[list[list[Fill]]]:
        """For each mask of a text the `top` likeliest tokens. E1802 for another kind of model, E1805 without a mask."""
        mask = self.tokenizer.special.get("mask")
        if self.kind != "masked" or mask is None:
            raise DanluError("E1807", found=self.kind)
        found = [self._fill(text, mask, top) for text in _listed(texts)]
        return found[0] if isinstance(texts, str) else found

    def restore(self, text: str, **settings: Any) -> str:
        """A text with what is missing written in, by an encoder-decoder: [MASK] may stand anywhere in it.

        One that knows sentinels (T5) is asked for the spans alone, which then take their places; others (BART) write
        the whole text anew. E1807 for another kind of model.
        """
        if self.kind != "sequence_to_sequence":
            raise DanluError("E1807", found=self.kind)
        ids = self.tokenizer.encode(marked(text, self.tokenizer))
        (written,) = self.write([self.tokenizer.frame(ids)], build(GenerateSettings, settings))
        whole = folded(ids, written, self.tokenizer) if set(ids) & set(self.tokenizer.sentinels) else written
        return self.tokenizer.decode(whole).strip()

    @overload
    def score(self, texts: str, sources: str | None = None, bf16: bool = False) -> float: ...
    @overload
    def score(self, texts: list[str], sources: list[str] | None = None, bf16: bool = False) -> list[float]: ...
    def score(self, texts: Any, sources: Any = None, bf16: bool = False) -> float | list[float]:
        """Log-probability of each whole text, in nats.

        A masked model gives the pseudo-log-likelihood (Salazar et al. 2020); an encoder-decoder scores each text as the
        answer to its source.
        """
        listed = _listed(texts)
        given = _listed(sources) if sources is not None else [""] * len(listed)
        questions = [self.questions(text, source) for text, source in zip(listed, given, strict=True)]
        answers = iter(ask(self.model, [each for some in questions for each in some], bf16))
        totals = [sum(next(answers).total for _ in some) for some in questions]
        return totals[0] if isinstance(texts, str) else totals

    def logits(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """tokens and valid (B, T) -> logits (B, T, V); an encoder-decoder is given the tokens to read and to write."""
        tokens = tokens.to(self.device)
        with at_rest(self.model):
            if isinstance(self.model, SequenceToSequence):
                start = torch.full_like(tokens[:, :1], self.model.config.start)
                logits: Tensor = self.model(tokens, torch.cat([start, tokens[:, :-1]], 1), valid)
            else:
                logits = self.model(tokens, valid)
        return logits

    def embed(self, texts: str | list[str]) -> Tensor:
        """The mean of a text's last hidden states, of length one: (D,) for one text, (N, D) for many; or E1803."""
        rows = [self._frame(text) for text in _listed(texts)]
        check_lengths(self.model, list(map(len, rows)))
        found: dict[int, Tensor] = {}
        for some in batches([len(row) for row in rows], BUDGET):
            tokens, valid = padded_right([rows[row] for row in some], self.device)
            with at_rest(self.model):
                read = self.model.encode if isinstance(self.model, SequenceToSequence) else self.model.hidden
                hidden = read(tokens, valid).float()
            weight = torch.ones_like(tokens) if valid is None else valid.long()
            means = (hidden * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
            found |= dict(zip(some, normalize(means, dim=-1).cpu(), strict=True))
        vectors = torch.stack([found[row] for row in range(len(rows))])
        return vectors[0] if isinstance(texts, str) else vectors

    @property
    def ends(self) -> frozenset[int]:
        """The tokens after which a text is over."""
        end = self.tokenizer.special.get("end")
        return frozenset() if end is None else frozenset({end})

    @property
    def first(self) -> tuple[int, ...]:
        """What stands before every text of a causal model: its start tokens, or the end of the text before."""
        return self.tokenizer.prefix or tuple(self.ends)

    def prompt(self, text: str) -> list[int]:
        """The tokens a model writes on from. An empty text begins after the end of another."""
        ids = self.tokenizer.encode(text)
        if self.kind == "sequence_to_sequence":
            return self.tokenizer.frame(ids)
        return [*self.tokenizer.prefix, *ids] or list(self.first)

    def questions(self, text: str, source: str = "") -> list[Question]:
        """What to ask a model to learn how likely it holds a text to be."""
        ids = self.tokenizer.encode(text)
        if isinstance(self.model, SequenceToSequence):
            targets = [*ids, *self.ends]
            return [
                Question(
                    [self.model.config.start, *targets[:-1]],
                    targets,
                    self.tokenizer.frame(self.tokenizer.encode(source)),
                )
            ]
        if self.kind == "causal":
            return [causal_question(ids, self.first)]
        mask = self.tokenizer.special.get("mask")
        if mask is None:
            raise DanluError("E1807", found=self.kind)
        return masked_questions(
            self.tokenizer.frame(ids), mask, frozenset(self.tokenizer.prefix + self.tokenizer.suffix)
        )

    def _frame(self, text: str) -> list[int]:
        return self.tokenizer.frame(self.tokenizer.encode(text)) or list(self.first)

    def _fill(self, text: str, mask: int, top: int) -> list[list[Fill]]:
        own = self.tokenizer.roles["mask"]
        text = marked(text, self.tokenizer)
        row = self._frame(text)
        places = [place for place, token in enumerate(row) if token == mask]
        if not places:
            raise DanluError("E1805", found=text, mask=own)
        check_lengths(self.model, [len(row)])
        with at_rest(self.model) as device:
            logits = self.model(torch.tensor([row], device=device))[0, places]
            best = logits.float().softmax(-1).topk(min(top, self.model.config.vocabulary))
        return [
            [Fill(*each) for each in zip(map(str.strip, self.tokenizer.pieces(ids)), ids, chances, strict=True)]
            for chances, ids in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    def continued(self, prompt: Sequence[int], new: Sequence[int]) -> str:
        """The text of new tokens, with the space between it and the prompt if there is one."""
        if self.kind == "sequence_to_sequence":
            return self.tokenizer.decode(new)
        before, whole = self.tokenizer.decode(prompt), self.tokenizer.decode([*prompt, *new])
        return whole[len(before) :] if whole.startswith(before) else self.tokenizer.decode(new)


def _listed(texts: str | list[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)
