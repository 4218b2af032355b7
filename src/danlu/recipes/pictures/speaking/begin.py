"""What a language model that sees begins with: its weights, its tokenizer, its eyes."""

from torch import nn

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.models.build import build as build_model
from danlu.models.dual import DualConfig, DualEncoder
from danlu.models.eyes import default_processor
from danlu.models.families import FAMILIES
from danlu.models.families.llava import joined
from danlu.models.families.seeing import MARKS, seeing
from danlu.models.language import LanguageModelConfig
from danlu.models.multimodal import MultimodalConfig, MultimodalModel, ProjectorConfig
from danlu.nn.parameters import assign
from danlu.recipes.pictures.plan import Plan
from danlu.recipes.pictures.speaking.rows import Material, material, questions
from danlu.recipes.pictures.speaking.stage import TeachSeeing
from danlu.recipes.starting.start import fresh_tokenizer
from danlu.settings import Data
from danlu.text.tokenizer import Tokenizer
from danlu.vision.tower import PictureConfig
from danlu.voice import Voice

EYES = "llava"  # the family of a language model that was given a tower
PATCHES = "patches"  # in the place of a CLIP: no tower
BARE: Data = {"size": 64, "patch": 8, "common": 128, "both_ways": True}
PLAIN: Data = {"shuffle": 1, "axes": False, "both_ways": False, "common": None}  # as published; `model` says otherwise


def begin(ready: Plan[TeachSeeing], voice: Voice) -> tuple[Checkpoint, Material]:
    """The model before its first step, and the decoded pictures."""
    checkpoint = start_model(ready, voice)
    return checkpoint, material(ready.gathered, ready.settings, checkpoint, voice)


def start_model(ready: Plan[TeachSeeing], voice: Voice) -> Checkpoint:
    """Fresh, read, or put together from a language model and a CLIP. E2217 where there is neither eye nor tower."""
    settings, start = ready.settings, ready.start
    if start.where is None:
        tokenizer = make_tokenizer(ready, voice)
        ids = tuple(tokenizer.id(mark) for mark in MARKS)
        config = start.with_vocabulary(tokenizer.vocabulary, settings.model | {"ids": ids})
        assert isinstance(config, MultimodalConfig)
        model = build_model(config, "cpu", settings.seed)
        return Checkpoint(start.family, config, model, tokenizer, processor=default_processor(config))
    checkpoint = Checkpoint.load(start.where)
    if isinstance(checkpoint.model, MultimodalModel):
        return checkpoint
    config = checkpoint.config
    if settings.tower is None or not isinstance(config, LanguageModelConfig) or not config.causal:
        raise DanluError("E2217", where=start.name, found=config.kind)
    if settings.tower == PATCHES:
        return with_patches(checkpoint, settings)
    return with_eyes(checkpoint, Checkpoint.load(settings.tower), settings)


def make_tokenizer(ready: Plan[TeachSeeing], voice: Voice) -> Tokenizer:
    """The one that was given, the one an interrupted run has kept, or a fresh one, learnt from what is said."""
    settings, family = ready.settings, ready.start.family
    kept = ready.run.path / "checkpoints" / "tokenizer"
    if (kept / "special_tokens_map.json").is_file():  # written last
        return Tokenizer.read(kept)
    if settings.tokenizer.path:
        tokenizer = _marked(Tokenizer.read(settings.tokenizer.path))
    else:
        said = (text for pair in ready.gathered.training for asked in questions(pair) for text in asked if text)
        tokenizer = fresh_tokenizer(said, settings.tokenizer, family, voice)
    if ready.run.path.is_dir():
        tokenizer.write(kept)
    return tokenizer


def with_eyes(trunk: Checkpoint, eyes: Checkpoint, settings: TeachSeeing) -> Checkpoint:
    """A language model given the tower of a CLIP, and a fresh projector. E2218 where that has no patches."""
    tower = eyes.config
    if not isinstance(tower, DualConfig) or not isinstance(tower.image, PictureConfig):
        raise DanluError("E2218", where=settings.tower, found=eyes.family.name)
    tokenizer, config, (opening, media, closing) = _ready(trunk)
    words = PLAIN | settings.model
    projector = ProjectorConfig(shuffle=words.pop("shuffle"))
    made = joined(config, tower.image, media, projector, before=(opening,), after=(closing,), **words)
    model = build_model(made, "cpu", settings.seed)
    _take(model, trunk.model, "")
    assert isinstance(eyes.model, DualEncoder)
    _take(model, eyes.model.image, "image.")
    lineage = {"before": trunk.lineage, "tower": eyes.lineage}
    return Checkpoint(FAMILIES[EYES], made, model.eval(), tokenizer, lineage, processor=eyes.processor)


def with_patches(trunk: Checkpoint, settings: TeachSeeing) -> Checkpoint:
    """A language model that looks at patches itself."""
    tokenizer, config, ids = _ready(trunk)
    made = seeing(config, **(BARE | settings.model), ids=ids)
    model = build_model(made, "cpu", settings.seed)
    _take(model, trunk.model, "")
    family = FAMILIES["palm-vision" if made.axes else "gpt3-vision"]
    lineage = {"before": trunk.lineage}
    return Checkpoint(family, made, model.eval(), tokenizer, lineage, processor=default_processor(made))


def _ready(trunk: Checkpoint) -> tuple[Tokenizer, LanguageModelConfig, tuple[int, int, int]]:
    """A tokenizer with the marks around pictures, a config with room for them, and their ids. E1903 without one."""
    if trunk.tokenizer is None:
        raise DanluError("E1903", where=trunk.where)
    tokenizer, config = _marked(trunk.tokenizer), trunk.config
    assert isinstance(config, LanguageModelConfig)
    vocabulary = max(config.vocabulary, tokenizer.vocabulary)
    wider = config.embedding.model_copy(update={"vocabulary": vocabulary})
    opening, media, closing = (tokenizer.id(mark) or 0 for mark in MARKS)
    return tokenizer, config.model_copy(update={"embedding": wider}), (opening, media, closing)


def _take(model: nn.Module, source: nn.Module, prefix: str) -> None:
    """The weights of a part, under a prefix, as far as the model has them. New rows of a table begin as the mean of the
    others."""
    theirs = {prefix + name: tensor.detach() for name, tensor in source.named_parameters(remove_duplicate=False)}
    found = {}
    for name, own in model.named_parameters(remove_duplicate=False):
        if name in theirs:
            taken = theirs[name].to(own.dtype)
            if taken.shape != own.shape:
                grown = own.detach().clone()
                grown[: len(taken)] = taken
                grown[len(taken) :] = taken.float().mean(0).to(grown.dtype)
                taken = grown
            found[name] = taken
    assign(model, found)


def _marked(tokenizer: Tokenizer) -> Tokenizer:
    """A tokenizer that has the marks around pictures."""
    missing = [mark for mark in MARKS if tokenizer.id(mark) is None]
    return tokenizer.extend(missing) if missing else tokenizer


def new_parts(model: MultimodalModel, times: float) -> dict[str, float]:
    """What a trunk that has learnt did not have: it learns so many times as fast."""
    new = ("projector.", "common.", "similarity.") if model.projector else ("image.", "common.", "similarity.")
    return {name: times for name, _ in model.named_parameters() if name.startswith(new)}
