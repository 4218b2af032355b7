"""Names, sizes and config files."""

import json
import random
from typing import Any

import pytest

from danlu.errors import DanluError
from danlu.models.build import build, memory, parameters, read_config
from danlu.models.families import ALIASES, FAMILIES, family_of, fresh, split_name
from danlu.models.families.gpt import dense
from danlu.nn.initialize import InitialConfig

EVERY = [f"{each.name}-{size}" for each in FAMILIES.values() if each.model_types for size in each.sizes]  # published
# What the papers and model cards print, in millions.
PRINTED = {
    "bert-base": 110, "bert-large": 335, "roberta-base": 125, "roberta-large": 355, "xlm-roberta-base": 278,
    "gpt2-small": 124, "gpt2-medium": 355, "gpt2-large": 774, "gpt2-xl": 1558, "gpt3-125m": 125, "gpt3-350m": 356,
    "gpt3-760m": 760, "gpt3-1.3b": 1316, "gpt3-2.7b": 2650, "gpt3-6.7b": 6660, "gpt3-13b": 12_850,
    "gpt3-175b": 174_600, "opt-125m": 125, "opt-350m": 331, "opt-1.3b": 1316, "opt-66b": 65_700, "palm-8b": 8630,
    "palm-62b": 62_500, "palm-540b": 540_350, "llama-7b": 6738, "llama-13b": 13_016, "llama-65b": 65_286,
    "llama-3-8b": 8030, "mistral-7b": 7242, "qwen2-0.5b": 494, "qwen2-1.5b": 1544, "qwen2-7b": 7616,
    "qwen3-0.6b": 596, "qwen3-1.7b": 1721, "qwen3-8b": 8191, "t5-small": 60.5, "t5-base": 223, "t5-large": 738,
    "t5-11b": 11_307, "t5-v1.1-small": 77, "t5-v1.1-base": 248, "t5-v1.1-large": 783, "t5-v1.1-xl": 2850,
    "mt5-small": 300, "mt5-base": 582, "bart-base": 139, "bart-large": 406, "mbart-large": 611,
}  # fmt: skip


@pytest.mark.parametrize("name", EVERY)
def test_every_size_can_be_written_and_read(name: str) -> None:
    family, config = fresh(name)
    hf = json.loads(json.dumps(family.write(config)))
    assert as_published(family.reader(hf)) == as_published(config)
    assert read_config(json.loads(config.model_dump_json())) == config
    assert config.length


def as_published(config: Any) -> dict[str, Any]:
    """What a config says of a model; how its first weights were drawn is not published."""

    def plain(data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {name: plain(each) for name, each in data.items() if name != "scheme"}

    return plain(config.model_dump())


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_the_common_sizes(name: str) -> None:
    sizes = FAMILIES[name].sizes
    assert {"tiny", "mini", "small", "base", "large"} <= sizes.keys()
    counts = [parameters(fresh(f"{name}-{size}")[1]) for size in ("tiny", "mini", "small", "base", "large")]
    assert counts == sorted(counts)
    assert counts[0] < 3e6
    assert counts[1] < 15e6


@pytest.mark.parametrize(("name", "millions"), PRINTED.items())
def test_sizes_have_the_parameters_that_papers_print(name: str, millions: float) -> None:
    assert parameters(fresh(name)[1]) / 1e6 == pytest.approx(millions, rel=0.005)


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_are_counted_as_they_are(name: str) -> None:
    config = fresh(f"{name}-tiny")[1]
    assert parameters(config) == sum(parameter.numel() for parameter in build(config).parameters())
    assert memory(config) == 4 * parameters(config)
    assert memory(config, training=True) == 16 * parameters(config)


def test_changes_are_in_our_words() -> None:
    family, config = fresh("gpt2-mini", 1000, width=192, depth=3, dropout=0.25)
    assert family is FAMILIES["gpt2"]
    assert config.vocabulary == 1000
    assert config.kind == "language"
    assert (config.transformer.width, config.transformer.depth) == (192, 3)
    assert config.transformer.mlp.inner == 4 * 192
    assert config.transformer.dropout == config.embedding.dropout == 0.25


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_aliases(alias: str, name: str) -> None:
    assert fresh(f"{alias}-tiny") == fresh(f"{name}-tiny")


def test_names_are_split_at_the_family() -> None:
    assert split_name("xlm-roberta-base") == (FAMILIES["xlm-roberta"], "base")
    assert split_name("T5-v1.1-Large") == (FAMILIES["t5"], "v1.1-large")
    assert split_name("llama-2-70b") == (FAMILIES["llama"], "2-70b")
    assert split_name("runs/mine") is None
    assert split_name("bert") == (FAMILIES["bert"], "")


@pytest.mark.parametrize(
    ("name", "near"), [("gpt2-minni", "gpt2-mini"), ("brt-base", "bert-base"), ("bert", None), ("gtp-tiny", "gpt-tiny")]
)
def test_unknown_names_tell_the_nearest(name: str, near: str | None) -> None:
    with pytest.raises(DanluError) as caught:
        fresh(name)
    assert caught.value.code == "E1401"
    if near:
        assert caught.value.nearest == near
    assert caught.value.possible


def test_unknown_and_impossible_changes_are_numbered() -> None:
    for changes, code in (({"widht": 3}, "E1101"), ({"width": "wide"}, "E1102"), ({"width": 130, "heads": 4}, "E1102")):
        with pytest.raises(DanluError) as caught:
            fresh("gpt2-tiny", **changes)  # type: ignore[arg-type]
        assert caught.value.code == code
    with pytest.raises(DanluError) as caught:
        fresh("gpt2-tiny", widht=3)
    assert caught.value.nearest == "width"


def test_gpt3_is_banded_unless_asked_otherwise() -> None:
    family, banded = fresh("gpt3-125m")
    assert banded.kind == "language"
    assert banded.transformer.attention.windows == (None, 256)
    assert family.write(banded)["model_type"] == "danlu_gpt3"
    assert family_of(family.write(banded)) is family
    plain = fresh("gpt3-125m", window=None)[1]
    assert plain.kind == "language"
    assert dense(plain)
    assert family.write(plain)["model_type"] == "gpt2"


@pytest.mark.parametrize(
    ("family", "start", "lost"),
    [
        ("llama", "gpt2-tiny", "positions"),
        ("llama", "qwen3-tiny", "head_norm"),
        ("gpt2", "opt-tiny", "offset"),
        ("bert", "roberta-tiny", "offset"),
        ("qwen2", "llama-tiny", "input_bias"),
    ],
)
def test_what_a_published_class_cannot_express_is_refused(family: str, start: str, lost: str) -> None:
    with pytest.raises(DanluError) as caught:
        FAMILIES[family].write(fresh(start)[1])
    assert caught.value.code == "E1409"
    assert lost in str(caught.value.found)


@pytest.mark.parametrize(
    ("hf", "code"),
    [
        ({"model_type": "bert", "position_embedding_type": "relative_key"}, "E1407"),
        ({"model_type": "bert", "is_decoder": True}, "E1407"),
        ({"model_type": "bert", "hidden_act": "mish"}, "E1407"),
        ({"model_type": "gpt2", "scale_attn_by_inverse_layer_idx": True}, "E1407"),
        ({"model_type": "cohere", "use_qk_norm": True}, "E1407"),
        ({"model_type": "llama", "rope_scaling": {"type": "dynamic", "factor": 2.0}}, "E1407"),
        ({"model_type": "opt", "layer_norm_elementwise_affine": False}, "E1407"),
        ({"model_type": "bart", "tie_word_embeddings": False}, "E1407"),
        ({"model_type": "bert", "hidden_size": "wide"}, "E1408"),
        ({"model_type": "bert", "hidden_size": 10, "num_attention_heads": 3}, "E1408"),
        ({"model_type": "llama", "rope_scaling": {"type": "linear"}}, "E1408"),
        ({"model_type": "qwen2", "use_sliding_window": True, "num_hidden_layers": 10**15}, "E1408"),
        ({"model_type": "llama", "num_attention_heads": 0}, "E1408"),
        ({"model_type": "bret"}, "E1410"),
        ({}, "E1410"),
        ({"model_type": 7}, "E1410"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values()))[:40],
)
def test_config_files_that_cannot_be_honoured(hf: dict[str, Any], code: str) -> None:
    with pytest.raises(DanluError) as caught:
        family_of(hf).read(hf)
    assert caught.value.code == code
    assert caught.value.render("zh")


def test_old_and_new_ways_of_saying_rotary() -> None:
    read = FAMILIES["llama"].read
    old = {"model_type": "llama", "rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2}}
    new = {"model_type": "llama", "rope_parameters": {"rope_type": "linear", "rope_theta": 5e5, "factor": 2.0}}
    assert read(old) == read(new)
    positions = read(old).model_dump()["transformer"]["positions"]
    assert positions["base"] == 5e5
    assert positions["scaling"]["factor"] == 2


def test_absent_settings_mean_what_the_published_class_assumes() -> None:
    assert FAMILIES["llama"].read({"model_type": "llama"}) == fresh("llama-7b", eps=1e-6)[1]
    assert FAMILIES["bert"].read({"model_type": "bert"}) == fresh("bert-base")[1]
    gpt2 = FAMILIES["gpt2"].read({"model_type": "gpt2"})
    assert gpt2 == fresh("gpt2-small")[1]
    opt = FAMILIES["opt"].read({"model_type": "opt"})
    assert opt == fresh("opt-125m")[1].model_copy(update={"initial": InitialConfig(scheme="residual", std=0.02)})


def test_damaged_config_files_give_numbered_errors_only(full: bool) -> None:
    """Random values in random places of real config files."""
    draw = random.Random(0)
    junk: list[Any] = [None, -1, 0, 3, 2**70, 1e308, float("nan"), "", "x", [], {}, [1], {"a": 1}, True, "gelu", 0.5]
    refused: list[DanluError] = []
    for _ in range(10_000 if full else 1_000):
        family, config = fresh(draw.choice(EVERY))
        hf = family.write(config)
        for name in draw.sample(sorted(hf), draw.randint(1, 3)):
            hf[name] = draw.choice(junk)
        try:
            family_of(hf).read(hf)
        except DanluError as error:
            refused.append(error)
    assert len(refused) > 300
    assert {error.code for error in refused} <= {"E1407", "E1408", "E1410"}
    assert all(error.render("en") for error in refused)
