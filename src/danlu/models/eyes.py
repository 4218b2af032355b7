"""How the pictures of a fresh model are prepared."""

from danlu.models.dual import DualConfig
from danlu.models.multimodal import MultimodalConfig
from danlu.vision.efficientnet import EfficientNetConfig
from danlu.vision.patches import PatchConfig
from danlu.vision.processor import (
    Processor,
    align_processor,
    chinese_processor,
    clip_processor,
    siglip_processor,
)


def default_processor(config: DualConfig | MultimodalConfig) -> Processor:
    """As the published models of its kind do it; for plain patches the whole picture, nothing cropped."""
    image = config.image
    if isinstance(image, EfficientNetConfig):
        return align_processor(config.size)
    if isinstance(image, PatchConfig) or image.pool == "attention":
        return siglip_processor(config.size)
    chinese = isinstance(config, DualConfig) and config.pool == "first"
    return chinese_processor(config.size) if chinese else clip_processor(config.size)
