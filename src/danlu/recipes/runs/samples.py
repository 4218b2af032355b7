"""What the model says while it learns: samples.json, a few texts after each evaluation."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field
from torch import nn

from danlu.data.corpus import Corpus
from danlu.data.order import key
from danlu.errors import DanluError
from danlu.files import replace_json
from danlu.generate.engine import Engine
from danlu.settings import Data, Settings
from danlu.text.tokenizer import Tokenizer

GAP = "[MASK]"
BEGINNING, SENTENCE, MASKS, TOP = 12, 24, 2, 5  # tokens of a beginning, of a sentence, masks in it, guesses a mask


class SampleSettings(Settings):
    """What the model is asked after each evaluation, to be read in the report. Without prompts, the held-out text
    gives them: its first words to continue, or a sentence with masks to fill."""

    count: int = Field(2, ge=0, le=20)
    prompts: tuple[str, ...] = ()
    tokens: int = Field(60, ge=1, le=2048)
    temperature: float = Field(0.8, ge=0)


def beginnings(corpus: Corpus, tokenizer: Tokenizer, kind: str, count: int) -> list[str]:
    """Prompts from a text: first words to go on from, or sentences with masks; the same for the same text."""
    found: list[str] = []
    length = BEGINNING if kind == "causal" else SENTENCE
    for number in range(4 * count):
        document = int(key(number)[0]) % corpus.documents
        start = int(key(number, 1)[0]) % max(1, int(corpus.lengths[document]) - length)
        ids = corpus.document(document)[start : start + length].tolist()
        if kind == "masked" and "mask" in tokenizer.special:
            for place in range(len(ids) // 3, len(ids), max(1, len(ids) // MASKS)):
                ids[place] = tokenizer.special["mask"]
        text = tokenizer.decode(ids, specials=True).strip()
        if kind == "sequence_to_sequence":
            third = len(ids) // 3
            sides = ids[:third], ids[third + 2 :]
            text = f" {GAP} ".join(tokenizer.decode(side).strip() for side in sides)
        if text and "\N{REPLACEMENT CHARACTER}" not in text and text not in found:
            found.append(text)
        if len(found) == count:
            break
    return found


@dataclass
class Sampler:
    """Asks the model in training; a step that is evaluated again after a resume replaces its samples."""

    engine: Engine
    prompts: list[str]
    settings: SampleSettings
    path: Path
    rows: list[Data] = field(default_factory=list)

    def ask(self, step: int) -> None:
        """Put this step's samples into samples.json."""
        if not self.prompts:
            return
        kept = [row for row in self._written() if row.get("step", 0) < step]
        self.rows = kept + [{"step": step, "prompt": prompt} | self._answer(prompt) for prompt in self.prompts]
        replace_json(self.path, self.rows)

    def _answer(self, prompt: str) -> Data:
        if self.engine.kind == "masked":
            guesses = self.engine.fill(prompt, top=TOP)
            return {"fills": [{"token": each.token, "probability": each.probability} for each in guesses[0]]}
        if GAP in prompt and self.engine.kind == "sequence_to_sequence":
            return {"text": self.engine.restore(prompt, max_new_tokens=self.settings.tokens)}
        wanted = {"max_new_tokens": self.settings.tokens, "temperature": self.settings.temperature, "seed": 0}
        return {"text": self.engine.generate(prompt, **wanted)}

    def _written(self) -> list[Data]:
        try:
            rows = json.loads(self.path.read_text(encoding="utf8"))
        except (OSError, ValueError):
            return []
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def watched(
    measure: Callable[[nn.Module], Mapping[str, float]], sampler: Sampler, step: Callable[[], int]
) -> Callable[[nn.Module], Mapping[str, float]]:
    """An evaluation that also lets the model speak. What a text cannot give (a prompt too long) leaves no sample."""

    def evaluate(model: nn.Module) -> Mapping[str, float]:
        values: Mapping[str, Any] = measure(model)
        with suppress(DanluError):
            sampler.ask(step())
        return values

    return evaluate
