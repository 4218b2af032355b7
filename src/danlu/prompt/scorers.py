"""Which scorer a model gets."""

from danlu.checkpoint import Checkpoint
from danlu.errors import DanluError
from danlu.models.classifier import Classifier
from danlu.models.dual import DualEncoder
from danlu.models.language import LanguageModel
from danlu.models.sequence_to_sequence import SequenceToSequence
from danlu.prompt.causal import CausalScorer
from danlu.prompt.dual import PictureScorer, TextScorer
from danlu.prompt.masked import MaskedScorer
from danlu.prompt.scorer import BUDGET, Scorer
from danlu.prompt.sequences import SequenceScorer


def scorer_for(model: Checkpoint, bf16: bool = False, budget: int = BUDGET) -> Scorer:
    """The scorer of a loaded model: of one that fills masks, writes on, reads and writes, or compares.

    An encoder whose files have no head over the vocabulary compares texts. E2307 for a model that can do none of it.
    """
    return kind_of(model)(model, bf16, budget)


def kind_of(model: Checkpoint) -> type[Scorer]:
    """Its class."""
    match model.model:
        case DualEncoder():
            return PictureScorer
        case SequenceToSequence():
            return SequenceScorer
        case LanguageModel(config=config) if config.causal:
            return CausalScorer
        case LanguageModel():
            headless = any(name.startswith("head.") for name in model.loaded.fresh)
            return TextScorer if headless else MaskedScorer
        case Classifier(config=config) if any(head.form == "vector" for head in config.heads.values()):
            return TextScorer
    raise DanluError(
        "E2307", where=model.where, found="classify", possible="mask, label", kind=type(model.model).__name__
    )
