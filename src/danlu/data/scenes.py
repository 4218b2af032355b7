"""Drawn scenes with captions: so many shapes of one colour somewhere on a plain ground.

Every scene is a pure function of its number. Combinations of the four facts that fall to the held-out part by their
hash are never drawn for training, so that who finds them must have learnt the facts and not the combinations.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from danlu.data.order import uniforms

Points = list[tuple[float, float]]
Pixels = tuple[int, int, int]

SIZE, FINER = 64, 3  # pixels of an edge; drawn so many times larger, for smooth borders
HELD_OUT = 3  # one combination of so many
# word: singular, plural, Chinese
SHAPES: Mapping[str, tuple[str, str]] = {
    "circle": ("circles", "圆形"), "square": ("squares", "正方形"), "triangle": ("triangles", "三角形"),
    "star": ("stars", "五角星"), "cross": ("crosses", "十字"), "ring": ("rings", "圆环"),
    "diamond": ("diamonds", "菱形"), "bar": ("bars", "长条"),
}  # fmt: skip
COLOURS: Mapping[str, tuple[Pixels, str]] = {
    "red": ((214, 40, 40), "红色"), "green": ((46, 160, 67), "绿色"), "blue": ((38, 84, 200), "蓝色"),
    "yellow": ((244, 208, 63), "黄色"), "orange": ((240, 135, 30), "橙色"), "purple": ((130, 60, 170), "紫色"),
    "pink": ((245, 140, 190), "粉色"), "brown": ((120, 72, 40), "棕色"), "black": ((20, 20, 20), "黑色"),
    "cyan": ((60, 200, 215), "青色"),
}  # fmt: skip
COUNTS: Mapping[str, str] = {"one": "一个", "two": "两个", "three": "三个", "four": "四个"}
PLACES: Mapping[str, tuple[tuple[float, float], str]] = {
    "top left": ((0.27, 0.27), "左上角"), "top right": ((0.73, 0.27), "右上角"),
    "bottom left": ((0.27, 0.73), "左下角"), "bottom right": ((0.73, 0.73), "右下角"),
    "middle": ((0.5, 0.5), "正中间"),
}  # fmt: skip
# Where in its place each of so many shapes stands, in units of their distance.
LAYOUTS: Mapping[int, Points] = {
    1: [(0, 0)], 2: [(-0.5, 0), (0.5, 0)], 3: [(-0.5, 0.4), (0.5, 0.4), (0, -0.5)],
    4: [(-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5)],
}  # fmt: skip


class Scene(NamedTuple):
    shape: str
    colour: str
    number: str
    place: str

    @property
    def held_out(self) -> bool:
        return hashlib.sha256(" ".join(self).encode()).digest()[0] % HELD_OUT == 0

    @property
    def en(self) -> str:
        shapes = self.shape if self.number == "one" else SHAPES[self.shape][0]
        return f"{self.number} {self.colour} {shapes} in the {self.place}"

    @property
    def zh(self) -> str:
        return f"{PLACES[self.place][1]}有{COUNTS[self.number]}{COLOURS[self.colour][1]}的{SHAPES[self.shape][1]}"


@cache
def combinations(held_out: bool) -> tuple[Scene, ...]:
    """All there are of one part, in a fixed order."""
    every = (Scene(*facts) for facts in product(SHAPES, COLOURS, COUNTS, PLACES))
    return tuple(scene for scene in every if scene.held_out == held_out)


def scenes(count: int, held_out: bool = False, seed: int = 0) -> Iterator[tuple[Scene, Image.Image]]:
    """`count` scenes; each combination comes as often as any other, each time drawn afresh."""
    known = combinations(held_out)
    part = 2 * seed + held_out
    for number in range(count):
        scene = known[number % len(known)]
        yield scene, drawn(scene, uniforms(part, 0, number, 24)[0])


def drawn(scene: Scene, chance: np.ndarray) -> Image.Image:
    """The picture: ground, size, exact place and turns come from 24 numbers of chance in [0, 1)."""
    canvas = SIZE * FINER
    ground = tuple(int(205 + 50 * share) for share in chance[:3])
    picture = Image.new("RGB", (canvas, canvas), ground)
    pencil = ImageDraw.Draw(picture)
    count = list(COUNTS).index(scene.number) + 1
    (x, y), _ = PLACES[scene.place]
    radius = canvas * (0.075 + 0.03 * chance[3])
    distance = 2.35 * radius
    x, y = canvas * (x + 0.05 * (chance[4] - 0.5)), canvas * (y + 0.05 * (chance[5] - 0.5))
    colour = tuple(int(min(255, max(0, value + 24 * (chance[6] - 0.5)))) for value in COLOURS[scene.colour][0])
    for number, (right, down) in enumerate(LAYOUTS[count]):
        jitter = chance[8 + 4 * number : 12 + 4 * number]
        centre = (
            x + distance * right + radius * 0.3 * (jitter[0] - 0.5),
            y + distance * down + radius * 0.3 * (jitter[1] - 0.5),
        )
        _shape(pencil, scene.shape, centre, radius * (0.9 + 0.2 * jitter[2]), 0.5 * (jitter[3] - 0.5), colour, ground)
    return picture.resize((SIZE, SIZE), Image.Resampling.BOX)


def _shape(
    pencil: ImageDraw.ImageDraw, shape: str, centre: tuple[float, float], radius: float, turn: float,
    colour: tuple[int, ...], ground: tuple[int, ...],
) -> None:  # fmt: skip
    if shape in ("circle", "ring"):
        pencil.ellipse(_box(centre, radius), fill=colour)
        if shape == "ring":
            pencil.ellipse(_box(centre, 0.55 * radius), fill=ground)
    elif shape == "cross":
        for corners in (_rectangle(1.0, 0.33), _rectangle(0.33, 1.0)):
            pencil.polygon(_placed(corners, centre, radius, turn), fill=colour)
    else:
        pencil.polygon(_placed(OUTLINES[shape], centre, radius, turn), fill=colour)


def _box(centre: tuple[float, float], radius: float) -> tuple[float, float, float, float]:
    return centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius


def _rectangle(width: float, height: float) -> Points:
    return [(-width, -height), (width, -height), (width, height), (-width, height)]


def _around(corners: int, radii: tuple[float, ...] = (1.0,)) -> Points:
    """Corners at equal angles from the top on, at radii in turn."""
    angles = [2 * math.pi * corner / corners - math.pi / 2 for corner in range(corners)]
    return [
        (radii[corner % len(radii)] * math.cos(angle), radii[corner % len(radii)] * math.sin(angle))
        for corner, angle in enumerate(angles)
    ]


OUTLINES: Mapping[str, Points] = {
    "square": _rectangle(0.85, 0.85), "triangle": _around(3, (1.1,)), "star": _around(10, (1.15, 0.48)),
    "diamond": [(0, -1.15), (0.7, 0), (0, 1.15), (-0.7, 0)], "bar": _rectangle(1.05, 0.36),
}  # fmt: skip


def _placed(corners: Points, centre: tuple[float, float], radius: float, turn: float) -> Points:
    cosine, sine = math.cos(turn), math.sin(turn)
    return [
        (centre[0] + radius * (x * cosine - y * sine), centre[1] + radius * (x * sine + y * cosine)) for x, y in corners
    ]
