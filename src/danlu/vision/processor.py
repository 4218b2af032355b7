"""From a picture to the numbers a tower reads, as the published processors do it (preprocessor_config.json)."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from danlu.errors import DanluError
from danlu.settings import Settings

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Triple = tuple[float, float, float]
Kind = Literal["CLIPImageProcessor", "ChineseCLIPImageProcessor", "SiglipImageProcessor", "EfficientNetImageProcessor"]

CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)
HALF: Triple = (0.5, 0.5, 0.5)
RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
RATIO = 346 / 289  # of ALIGN's resize to its crop
WHOLE = 16_000_000  # pixels of a resized picture that is cropped afterwards
CROPPED = 200  # pixels from which on a fresh ALIGN crops; smaller pictures have no border to lose


class Processor(Settings):
    """edge: the shorter edge is brought to so many pixels, the other in proportion; or size: (height, width) exactly.
    crop: (height, width) out of the middle, black where the picture is smaller. Then numbers times `scale`, minus one
    where `offset`, and, where given, less `mean` over `std`, and over `std` `again` (EfficientNet's include_top)."""

    kind: Kind = "CLIPImageProcessor"
    edge: int | None = Field(None, gt=0, le=2**14)
    size: tuple[int, int] | None = None
    resampling: Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"] = "bicubic"
    crop: tuple[int, int] | None = None
    scale: float = 1 / 255
    offset: bool = False
    mean: Triple | None = None
    std: Triple | None = None
    again: bool = False

    def pixels(self, picture: Image.Image) -> Pixels:
        """Resized and cropped: (height, width, 3)."""
        width, height = picture.size
        new = self._size(width, height)
        if self.crop is None or (new[1] < self.crop[0] or new[0] < self.crop[1]):
            resized = np.asarray(picture if new == (width, height) else picture.resize(new, self._filter))
            return resized if self.crop is None else _padded(resized, self.crop)
        rows, columns = self.crop
        left, top = (new[0] - columns) // 2, (new[1] - rows) // 2
        if new[0] * new[1] <= WHOLE:
            whole = picture if new == (width, height) else picture.resize(new, self._filter)
            return np.asarray(whole.crop((left, top, left + columns, top + rows)))
        # Of a picture of one pixel by thousands, only what is kept: the whole would fill the memory.
        reach = [_reach(old, large) for old, large in zip((width, height), new, strict=True)]
        first = max(0, left - reach[0]), max(0, top - reach[1])
        last = min(new[0], left + columns + reach[0]), min(new[1], top + rows + reach[1])
        across, down = width / new[0], height / new[1]
        box = (first[0] * across, first[1] * down, min(last[0] * across, width), min(last[1] * down, height))
        part = picture.resize((last[0] - first[0], last[1] - first[1]), self._filter, box)
        left, top = left - first[0], top - first[1]
        return np.asarray(part.crop((left, top, left + columns, top + rows)))

    def numbers(self, pixels: Pixels) -> Floats:
        """(..., height, width, 3) -> (..., 3, height, width)."""
        scale, shift = np.full(3, self.scale), np.full(3, -1.0 if self.offset else 0.0)
        if self.mean is not None and self.std is not None:
            shift = (shift - np.array(self.mean)) / np.array(self.std)
            scale = scale / np.array(self.std)
        if self.again and self.std is not None:
            scale, shift = scale / np.array(self.std), shift / np.array(self.std)
        numbers = pixels * scale.astype(np.float32) + shift.astype(np.float32)
        return np.ascontiguousarray(np.moveaxis(numbers, -1, -3))

    def __call__(self, picture: Image.Image) -> Floats:
        """(3, height, width)."""
        return self.numbers(self.pixels(picture))

    @property
    def _filter(self) -> Image.Resampling:
        return Image.Resampling[self.resampling.upper()]

    @property
    def shape(self) -> tuple[int, int] | None:
        """Height and width of what comes out; None where that depends on the picture."""
        return self.crop or self.size

    def _size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after resizing."""
        if self.size is not None:
            return self.size[1], self.size[0]
        if self.edge is None:
            return width, height
        short, long = min(width, height), max(width, height)
        other = int(self.edge * long / short)
        return (self.edge, other) if width <= height else (other, self.edge)


def _reach(old: int, new: int) -> int:
    """How many pixels away, after resizing from one length to another, a filter still looks: three, or three of old."""
    return 3 * max(1, -(-new // old)) + 1


def _padded(pixels: Pixels, crop: tuple[int, int]) -> Pixels:
    """The middle of a picture that is smaller than the crop in some direction, black around it (transformers' rule)."""
    rows, columns = crop
    height, width = pixels.shape[:2]
    top, left = (height - rows) // 2, (width - columns) // 2
    canvas = np.zeros((max(rows, height), max(columns, width), 3), np.uint8)
    down, right = -(-(canvas.shape[0] - height) // 2), -(-(canvas.shape[1] - width) // 2)
    canvas[down : down + height, right : right + width] = pixels
    top, left = top + down, left + right
    return canvas[max(0, top) : top + rows, max(0, left) : left + columns]


def clip_processor(size: int, kind: Kind = "CLIPImageProcessor") -> Processor:
    return Processor(kind=kind, edge=size, crop=(size, size), mean=CLIP_MEAN, std=CLIP_STD)


def chinese_processor(size: int) -> Processor:
    return clip_processor(size, "ChineseCLIPImageProcessor")


def siglip_processor(size: int) -> Processor:
    return Processor(kind="SiglipImageProcessor", size=(size, size), mean=HALF, std=HALF)


def align_processor(size: int) -> Processor:
    larger = round(size * RATIO) if size >= CROPPED else size
    return Processor(
        kind="EfficientNetImageProcessor", size=(larger, larger), crop=(size, size) if larger > size else None,
        resampling="bilinear", scale=2 / 255, offset=True,
    )  # fmt: skip


DEFAULTS: dict[str, Processor] = {
    "CLIPImageProcessor": clip_processor(224),
    "ChineseCLIPImageProcessor": chinese_processor(224),
    "SiglipImageProcessor": siglip_processor(224),
    "EfficientNetImageProcessor": Processor(
        kind="EfficientNetImageProcessor", size=(346, 346), mean=HALF, std=HALF, again=True
    ),
}


def read_processor(data: Mapping[str, Any], where: object = "preprocessor_config.json") -> Processor:
    """From a published file; what it does not say is as its class has it. E2210 where it says what we cannot do."""
    name = str(data.get("image_processor_type") or data.get("feature_extractor_type") or "CLIPImageProcessor")
    name = name.removesuffix("Fast").removesuffix("Pil").replace("FeatureExtractor", "ImageProcessor")
    if name not in DEFAULTS:
        raise DanluError("E2210", where=where, found=name, possible=list(DEFAULTS))
    default = DEFAULTS[name]
    try:
        edge, size = (default.edge, default.size) if data.get("size") is None else _sizes(data["size"], name)
        crop = _pair(data["crop_size"]) if data.get("crop_size") is not None else default.crop or (289, 289)
        plain, normal = data.get("do_rescale", True), data.get("do_normalize", default.mean is not None)
        mean, std = data.get("image_mean") or default.mean or HALF, data.get("image_std") or default.std or HALF
        return Processor(
            kind=default.kind,
            edge=edge if data.get("do_resize", True) else None,
            size=size if data.get("do_resize", True) else None,
            resampling=RESAMPLING[data.get("resample", _code(default.resampling))],
            crop=crop if data.get("do_center_crop", default.crop is not None) else None,
            scale=data.get("rescale_factor", default.scale) if plain else 1.0,
            offset=bool(plain and data.get("rescale_offset", False)),
            mean=tuple(mean) if normal else None,
            std=tuple(std) if normal or data.get("include_top", default.again) else None,
            again=bool(data.get("include_top", default.again)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DanluError("E2210", where=where, found=str(error), possible=list(DEFAULTS)) from error


def write_processor(processor: Processor) -> dict[str, Any]:
    """preprocessor_config.json as transformers reads it."""
    said: dict[str, Any] = {
        "image_processor_type": processor.kind,
        "do_resize": processor.edge is not None or processor.size is not None,
        "resample": _code(processor.resampling),
        "do_center_crop": processor.crop is not None,
        "do_rescale": True,
        "rescale_factor": processor.scale,
        "do_normalize": processor.mean is not None,
        "do_convert_rgb": True,
    }
    if processor.edge is not None:
        said["size"] = {"shortest_edge": processor.edge}
    elif processor.size is not None:
        said["size"] = dict(zip(("height", "width"), processor.size, strict=True))
    if processor.crop is not None:
        said["crop_size"] = dict(zip(("height", "width"), processor.crop, strict=True))
    if processor.std is not None:
        said |= {"image_mean": list(processor.mean or HALF), "image_std": list(processor.std)}
    if processor.kind == "EfficientNetImageProcessor":
        said |= {"rescale_offset": processor.offset, "include_top": processor.again}
    return said


def _sizes(size: Any, name: str) -> tuple[int | None, tuple[int, int] | None]:
    """(shorter edge, exact size), one of them None. A bare number is a square where the class has squares."""
    if isinstance(size, int):
        return (None, (size, size)) if DEFAULTS[name].size else (size, None)
    if "shortest_edge" in size and "longest_edge" not in size:
        return int(size["shortest_edge"]), None
    return None, _pair(size)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size["height"]), int(size["width"]))


def _code(resampling: str) -> int:
    return next(code for code, name in RESAMPLING.items() if name == resampling)
