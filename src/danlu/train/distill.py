"""Distilling: a student learns from what a teacher makes of the same batch.

Shapes: B rows, T tokens, N places that ask for something, V answers, D width.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor, nn
from torch.nn import functional as F

from danlu.data.batch import IGNORED, Batch
from danlu.models.classifier import Classifier
from danlu.models.dual import DualEncoder
from danlu.nn.transformer import Transformer
from danlu.settings import Settings
from danlu.train.answers import ANSWERS, AnswerSettings
from danlu.train.contrast import CONTRASTS, ContrastSettings
from danlu.train.objectives import Speaking, TokenSettings, token_loss
from danlu.train.settings import TrainSettings
from danlu.train.taps import Compared, Seen, tapped
from danlu.train.teaching import Teacher

# What a student is trained with where nothing else is said: as a model that has learnt is fine-tuned.
USUAL: dict[str, Any] = {
    "batch": 32, "schedule": "linear", "warmup": 0.05, "weight_decay": 0.0, "betas": (0.9, 0.999), "keep_finished": 0,
}  # fmt: skip
Weight = Annotated[float, Field(ge=0)]
BRIDGES = "bridges"  # maps from the student's width to the teacher's; they are there while it learns
CHUNK = 2**24  # logits of teacher and student that are compared at once


def _usual(value: Any) -> Any:
    return USUAL | value if isinstance(value, dict) else value


class Distil(Settings):
    """What a student learns from, each with its weight.

    answers: the right answers. logits: what the teacher holds of all answers, softened by `temperature` (Hinton et al.
    2015); `beta` 0 is the forward divergence, 1 the reverse one, between them the generalised Jensen-Shannon (Agarwal
    et al. 2024). hidden: the stream after each block, layers mapped evenly (DistilBERT, TinyBERT). attention: whom each
    token looks at (TinyBERT). relations: how queries, keys and values resemble each other in the last block (MiniLM).
    own: the share of batches whose text the student writes itself (on-policy, GKD). texts: teacher, it writes all of
    them beforehand (sequence level, Kim and Rush 2016). top: how many of the teacher's logits are kept, so that each
    text is read by it once; 0: it reads each batch. teacher: another model than the one before the chain. into: sizes
    of a fresh, smaller student of the same family, which begins with what fits of the teacher's layers.
    """

    kind: Literal["distil"] = "distil"
    answers: Weight = 0.5
    logits: Weight = 0.5
    temperature: float = Field(2.0, gt=0)
    beta: float = Field(0.0, ge=0, le=1)
    hidden: Weight = 0.0
    attention: Weight = 0.0
    relations: Weight = 0.0
    own: float = Field(0.0, ge=0, le=1)
    texts: Literal["data", "teacher"] = "data"
    prompt: float = Field(0.25, gt=0, lt=1)  # of a row, where a text is written on
    top: int = Field(0, ge=0)
    teacher: str | None = None
    into: dict[str, int] = Field(default_factory=dict)
    train: Annotated[TrainSettings, BeforeValidator(_usual)] = TrainSettings(**USUAL)

    def plain(self) -> dict[str, Any]:
        """What differs from the defaults, as plain data."""
        usual = TrainSettings(**USUAL).model_dump(mode="json")
        train = {name: value for name, value in self.train.model_dump(mode="json").items() if value != usual[name]}
        found = self.model_dump(mode="json", exclude_defaults=True, exclude={"train"})
        return found | ({"train": train} if train else {})

    @property
    def weights(self) -> dict[str, float]:
        names = ("answers", "logits", "hidden", "attention", "relations")
        return {name: weight for name in names if (weight := getattr(self, name))}


Rewrite = Callable[[nn.Module, Batch], Batch]  # a batch whose texts a model has written


class DistilObjective:
    """The losses of `Distil` of a student against a teacher. losses: of a classifier's heads, names in ANSWERS. kind:
    of a model of two towers, a name in CONTRASTS.

    write: puts a model's own text in the place of a batch's, for `own` and `texts`.
    """

    def __init__(
        self, teacher: nn.Module, settings: Distil, *, losses: Mapping[str, str] | None = None,
        contrast: str = "contrastive", write: Rewrite | None = None,
    ):  # fmt: skip
        self.settings, self.losses, self.contrast, self.write = settings, dict(losses or {}), contrast, write
        self.teacher = Teacher(teacher, settings.top)
        self.weights: Mapping[str, float] = settings.weights

    def counts(self, batch: Batch) -> dict[str, int]:
        asked = _asked_of(batch)
        return {name: asked if name in ("answers", "logits") else _read_of(batch) for name in self.weights}

    def __call__(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        counts = self.counts(batch)
        batch = self._written(model, batch)
        want = self.weights
        taps = (bool(want.get("hidden")), bool(want.get("attention") or want.get("relations")))
        ways: Mapping[type[nn.Module], Callable[..., dict[str, Tensor]]] = {
            Classifier: self._answering, DualEncoder: self._matching,
        }  # fmt: skip
        way = ways.get(type(model), self._speaking)
        if not any(taps):
            means = way(model, batch, None)
        else:
            with tapped(model, *taps) as mine, tapped(self.teacher.model, *taps) as theirs:
                means = way(model, batch, theirs)
            means |= self._inside(model, mine, theirs)
        return {name: means[name] * counts[name] for name in want}

    # What the three kinds of models give: means over what is asked

    def _speaking(self, model: nn.Module, batch: Batch, seen: Seen | None) -> dict[str, Tensor]:
        """Over the vocabulary, wherever a token has a target. Logits live for a chunk of places at a time."""
        student = cast(Speaking, model)
        targets = batch.targets["tokens"]
        asked = targets != IGNORED
        inputs: Mapping[str, Any] = batch.inputs
        hidden = student.hidden(**inputs)
        found = {}
        count = max(1, int(asked.sum()))
        if self.weights.get("answers"):
            found["answers"] = token_loss(student, hidden, targets, TokenSettings()) / count
        if self.weights.get("logits") or seen is not None:
            told = self.teacher.of_tokens(batch, asked, always=seen is not None)
            features = student.head.features(hidden[asked])
            total = features.new_zeros((), dtype=torch.float32)
            step = max(1, CHUNK // student.config.vocabulary)
            for start in range(0, len(features), step) if self.weights.get("logits") else ():
                part = features[start : start + step]
                kept = told[start : start + step]
                total = total + torch.utils.checkpoint.checkpoint(
                    lambda x, y: self._apart(student.head.output(x), y), part, kept, use_reentrant=False
                )  # fmt: skip
            found["logits"] = total / count
        return found

    def _answering(self, model: nn.Module, batch: Batch, seen: Seen | None) -> dict[str, Tensor]:
        """Over the labels of each head that the batch has targets for."""
        student = cast(Classifier, model)
        names = [name for name in self.losses if name in batch.targets]
        mine = student.answers(names, **batch.inputs)
        theirs = self.teacher.of_heads(batch, names)
        count = max(1, _asked_of(batch))
        hard, soft = (next(iter(mine.values())).new_zeros((), dtype=torch.float32) for _ in range(2))
        for name in names:
            targets, kind = batch.targets[name], self.losses[name]
            hard = hard + ANSWERS[kind](mine[name].float(), targets, AnswerSettings())
            soft = soft + self._soft(kind, mine[name].float(), theirs[name].float(), targets)
        return {"answers": hard / count, "logits": soft / count}

    def _soft(self, kind: str, mine: Tensor, theirs: Tensor, targets: Tensor) -> Tensor:
        """Summed over what is asked; of vectors and numbers a squared distance is the softest there is."""
        if kind in ("labels", "tags", "choices"):
            asked = targets.flatten() != IGNORED
            return self._apart(mine.flatten(0, -2)[asked], theirs.flatten(0, -2)[asked])
        if kind == "spans":
            return self._apart(mine.mT.flatten(0, 1), theirs.mT.flatten(0, 1))
        if kind == "several":
            return F.binary_cross_entropy_with_logits(mine, theirs.sigmoid(), reduction="sum")
        return F.mse_loss(mine, theirs, reduction="sum")

    def _matching(self, model: nn.Module, batch: Batch, seen: Seen | None) -> dict[str, Tensor]:
        """Which text each picture resembles and the other way round, and both towers' vectors (TinyCLIP, CLIP-KD)."""
        student, teacher = cast(DualEncoder, model), cast(DualEncoder, self.teacher.model)
        inputs = batch.inputs
        images, texts = student.embed_image(inputs["images"]), student.embed_text(inputs["tokens"], inputs.get("valid"))
        with torch.no_grad():
            other = (teacher.embed_image(inputs["images"]), teacher.embed_text(inputs["tokens"], inputs.get("valid")))
            theirs = teacher.similarity(*other)
        mine = student.similarity(images, texts)
        rows = max(1, len(images))
        soft = (self._apart(mine, theirs) + self._apart(mine.T, theirs.T)) / 2
        if images.shape == other[0].shape:
            soft = soft + ((images - other[0]).square().sum() + (texts - other[1]).square().sum()) / 2
        found = {"logits": soft / rows}
        if self.weights.get("answers"):
            alike = batch.targets["alike"]
            right = alike[:, None] == alike[None, :]
            sides = (images, texts)
            found["answers"] = (
                CONTRASTS[self.contrast](student.similarity, sides, sides, right, ContrastSettings()) / rows
            )
        return found

    def _apart(self, mine: Tensor, theirs: Tensor) -> Tensor:
        """The summed divergence of two softened distributions, times the squared temperature: (N, V), (N, V) -> ()."""
        heat = self.settings.temperature
        return heat**2 * divergence(theirs.float() / heat, mine.float() / heat, self.settings.beta)

    # What is inside

    def _inside(self, model: nn.Module, mine: Seen, theirs: Seen) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        if self.weights.get("hidden"):
            bridges = getattr(model, BRIDGES, None)
            found["hidden"] = _mean([
                F.mse_loss(bridges[str(stack)](own).float() if bridges is not None else own.float(), other.float())
                for stack, (few, many) in enumerate(zip(mine.streams, theirs.streams, strict=True))
                for own, other in _paired(few, many)
            ])  # fmt: skip
        pairs = list(zip(mine.compared, theirs.compared, strict=True))
        if self.weights.get("attention"):
            found["attention"] = _mean([
                _looks_apart(own, other) for few, many in pairs for own, other in _paired(few, many)
            ])  # fmt: skip
        if self.weights.get("relations"):
            found["relations"] = _mean([_relations_apart(few[-1], many[-1]) for few, many in pairs])
        return found

    def _written(self, model: nn.Module, batch: Batch) -> Batch:
        """The batch, or what the student (or the teacher) writes in its place."""
        if self.write is None or "tokens" not in batch.targets or not model.training:
            return batch
        if self.settings.texts == "teacher":
            return self.teacher.written(batch, self.write)
        if self.settings.own and float(torch.rand(())) < self.settings.own:
            with torch.no_grad():
                model.eval()
                batch = self.write(model, batch)
                model.train()
        return batch


def divergence(theirs: Tensor, mine: Tensor, beta: float = 0.0) -> Tensor:
    """Summed over places: KL(teacher ‖ student) at beta 0, KL(student ‖ teacher) at 1, between them the generalised
    Jensen-Shannon divergence (Agarwal et al. 2024, eq. 2): logits (N, V), (N, V) -> ()."""
    teacher, student = theirs.log_softmax(-1), mine.log_softmax(-1)
    if beta == 0:
        return F.kl_div(student, teacher, reduction="sum", log_target=True)
    if beta == 1:
        return F.kl_div(teacher, student, reduction="sum", log_target=True)
    shares = torch.tensor([beta, 1 - beta], device=mine.device).log()
    middle = torch.logsumexp(torch.stack([teacher + shares[0], student + shares[1]]), 0)
    left = F.kl_div(middle, teacher, reduction="sum", log_target=True)
    return beta * left + (1 - beta) * F.kl_div(middle, student, reduction="sum", log_target=True)


def bridges(student: nn.Module, teacher: nn.Module) -> nn.ModuleDict | None:
    """A linear map for each stack whose widths differ (TinyBERT, eq. 8), the identity for the others; None where all
    widths agree."""
    pairs = list(zip(_widths(student), _widths(teacher), strict=True))
    if all(own == other for own, other in pairs):
        return None
    made = nn.ModuleDict()
    for at, (own, other) in enumerate(pairs):
        made[str(at)] = nn.Identity() if own == other else nn.Linear(own, other, bias=False)
        if own != other:
            nn.init.orthogonal_(cast(nn.Linear, made[str(at)]).weight)
    return made


def _widths(model: nn.Module) -> list[int]:
    stacks = [module for module in model.modules() if isinstance(module, Transformer)]
    return [int(stack.blocks[0].attention.output.out_features) for stack in stacks]  # type: ignore[union-attr, arg-type]


def _paired(few: list[Any], many: list[Any]) -> list[tuple[Any, Any]]:
    """Layers mapped evenly, the last to the last."""
    return [(own, many[(at + 1) * len(many) // len(few) - 1]) for at, own in enumerate(few)]


def _looks_apart(mine: Compared, theirs: Compared) -> Tensor:
    """The mean divergence of whom tokens look at, head by head, or of all heads together where their numbers differ."""
    own, other = mine.weights(), theirs.weights()
    if own.shape[1] != other.shape[1]:
        own, other = (each.exp().mean(1).clamp(min=1e-12).log() for each in (own, other))
    return F.kl_div(own, other, reduction="sum", log_target=True) / own[..., 0].numel()


def _relations_apart(mine: Compared, theirs: Compared) -> Tensor:
    sizes = [each.query.shape[1] * each.query.shape[3] for each in (mine, theirs)]
    sizes += [each.key.shape[1] * each.key.shape[3] for each in (mine, theirs)]
    heads = max(count for count in range(1, theirs.query.shape[1] + 1) if all(size % count == 0 for size in sizes))
    return _mean([
        F.kl_div(own, other, reduction="sum", log_target=True) / own[..., 0].numel()
        for own, other in zip(mine.relations(heads), theirs.relations(heads), strict=True)
    ])  # fmt: skip


def _mean(losses: list[Tensor]) -> Tensor:
    return torch.stack(losses).mean()


def _asked_of(batch: Batch) -> int:
    """How many answers a batch asks for; of pairs of texts and pictures, its rows."""
    if "images" in batch.inputs:
        return batch.rows
    return sum(batch.count(name) for name in batch.targets)


def _read_of(batch: Batch) -> int:
    """How many tokens there are to read."""
    for name in ("valid", "source_valid"):
        if name in batch.inputs:
            return int(batch.inputs[name].sum())
    tokens = batch.inputs.get("tokens", batch.inputs.get("source"))
    return 0 if tokens is None else tokens.numel()
