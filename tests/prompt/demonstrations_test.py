from collections import Counter

import pytest

from danlu.prompt.demonstrations import demonstrations
from danlu.prompt.honest import Variation as V
from danlu.prompt.honest import demonstrated, spread, variations
from danlu.prompt.spec import Demonstration, Demonstrations, PromptSpec, Verbaliser
from danlu.tasks.task import Row

POOL = tuple(
    Demonstration(values={"text": text}, label=label)
    for text, label in (
        ("the soup was hot", "good"), ("a wonderful film", "good"), ("rain all day", "bad"), ("a dull film", "bad"),
        ("the bus was late", "bad"), ("bright rooms", "good"),
    )
)  # fmt: skip
ROWS = [Row({"text": "a film"}), Row({"text": "the bus"})]


def shown(**settings: object) -> list[list[str]]:
    found = demonstrations(Demonstrations(pool=POOL, **settings), ROWS)  # type: ignore[arg-type]
    return [[each.values["text"] for each in some] for some in found]


def test_none_is_none() -> None:
    assert shown(count=0) == [[], []]


def test_the_first_ones_in_turns_or_not() -> None:
    assert shown(count=3)[0] == ["the soup was hot", "rain all day", "a wonderful film"]
    assert shown(count=3, balance=False)[0] == ["the soup was hot", "a wonderful film", "rain all day"]
    assert len(shown(count=1000)[0]) == len(POOL)


def test_the_nearest_stand_last() -> None:
    film, bus = shown(count=2, selector="nearest", balance=False)
    assert set(film) == {"a wonderful film", "a dull film"}
    assert bus[-1] == "the bus was late"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_seed_repeats_and_seeds_differ(seed: int) -> None:
    drawn = shown(count=4, selector="random", seed=seed)
    assert drawn == shown(count=4, selector="random", seed=seed)
    assert drawn[0] == drawn[1]
    assert drawn != shown(count=4, selector="random", seed=seed + 10)
    labels = Counter(next(each.label for each in POOL if each.values["text"] == text) for text in drawn[0])
    assert labels == {"good": 2, "bad": 2}


def test_orders() -> None:
    given = shown(count=6)[0]
    assert shown(count=6, order="reversed")[0] == given[::-1]
    shuffled = shown(count=6, order="shuffled", seed=3)[0]
    assert sorted(shuffled) == sorted(given)
    assert shuffled != given


class Fake:
    """Answers by what it is shown last."""

    kind = "causal"

    def scores(self, spec: PromptSpec, rows: list[Row]) -> object:
        import torch

        pool = spec.demonstrations.pool
        last = demonstrations(spec.demonstrations, rows[:1])[0][-1].label if pool else spec.classes[0]
        return torch.tensor([[float(name == last) for name in spec.classes]] * len(rows))


def test_variations_show_what_a_prompt_depends_on() -> None:
    spec = PromptSpec(templates=("{text} {mask}",), verbaliser=Verbaliser(words={"good": ("great",), "bad": ("bad",)}))
    pool = [Row({"text": each.values["text"], "label": each.label}) for each in POOL]
    rows = [Row({"text": "x", "label": "good"})] * 3 + [Row({"text": "y", "label": "bad"})]
    found = list(variations(Fake(), [spec, spec], pool, rows, shots=2))  # type: ignore[arg-type]
    assert len(found) == 5 * 2 * 3
    assert {each.value for each in found} == {0.75, 0.25}
    assert spread(found).by["order"] > 0
    assert spread(found).by["template"] == 0
    assert len(list(variations(Fake(), [spec], pool, rows, shots=0))) == 1  # type: ignore[arg-type]
    few = [V(1, 0, "given", 0.5), V(1, 1, "given", 0.7), V(2, 0, "given", 0.6), V(2, 1, "given", 0.8)]
    whole = spread(few)
    assert (round(whole.mean, 3), whole.worst, whole.best) == (0.65, 0.5, 0.8)
    assert round(whole.by["seed"], 4) == round(0.1 / 2**0.5, 4)


def test_a_place_is_made_for_demonstrations() -> None:
    spec = PromptSpec(templates=("{text} {mask}",), verbaliser=Verbaliser(words={"good": ("great",), "bad": ("bad",)}))
    made = demonstrated(spec, [Row({"text": "x", "label": "good"})], 1, seed=0)
    assert made.lines == ["{demos}{text} {mask}"]
    assert made.demonstrations.count == 1
