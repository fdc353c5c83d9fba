"""The shipped models, and the sizes that follow from them."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from roofline.engine.layout import lay_out
from roofline.specs.catalog import all_models, load_model
from roofline.specs.models import LanguageModel, Lmm, Model, VisionEncoder

FILES = sorted((Path(__file__).parents[2] / "models").glob("*.yaml"))

files = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def raw(file: Path) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return data


def language_model(name: str) -> LanguageModel:
    model = load_model(name)
    assert isinstance(model, LanguageModel)
    return model


def test_all_models_are_in_the_catalog() -> None:
    assert len(FILES) >= 8
    assert {model.name for model in all_models()} == {file.stem for file in FILES}


@files
def test_name_is_the_stem_of_the_file(file: Path) -> None:
    assert raw(file)["name"] == file.stem
    assert load_model(file.stem).name == file.stem


def within(part: Any, whole: Any) -> bool:
    """Whether `whole` has every field of `part` with the same value, however deep."""
    if isinstance(part, dict):
        return all(key in whole and within(value, whole[key]) for key, value in part.items())
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(within, part, whole))
    return bool(part == whole)


@files
def test_loaded_fields_are_those_of_the_file(file: Path) -> None:
    assert within(raw(file), msgspec.to_builtins(load_model(file.stem)))


@files
def test_source_says_where_the_sizes_come_from(file: Path) -> None:
    assert raw(file)["source"].startswith("https://")


def test_names_and_aliases_are_unambiguous() -> None:
    named = [
        n.lower() for file in FILES for n in (raw(file)["name"], *raw(file).get("aliases", []))
    ]

    assert len(named) == len(set(named))


@pytest.mark.parametrize(
    "model", [m for m in all_models() if isinstance(m, Lmm)], ids=lambda m: m.name
)
def test_the_parts_of_an_lmm_are_those_that_its_file_names(model: Model) -> None:
    work, file = lay_out(model), raw(FILES[0].with_name(f"{model.name}.yaml"))

    for key, spec in (("vision", work.vision), ("connector", work.connector), ("llm", work.llm)):
        assert spec is not None
        assert spec.name == part(file, key)["name"]


def part(whole: dict[str, Any], key: str) -> dict[str, Any]:
    """A part of an LMM's file: written out there, or in the file of its name."""
    spec = whole[key]
    return spec if isinstance(spec, dict) else raw(FILES[0].with_name(f"{spec}.yaml"))


@pytest.mark.parametrize(
    ("name", "parameters"),
    # numbers of parameters of the checkpoints llava-hf/NAME-hf
    [("llava-1.5-7b", 7_063_427_072), ("llava-1.5-13b", 13_351_494_656)],
)
def test_the_parts_of_llava_add_up_to_its_checkpoint(name: str, parameters: int) -> None:
    file = raw(FILES[0].with_name(f"{name}.yaml"))
    vision, connector, llm = (part(file, key) for key in ("vision", "connector", "llm"))

    c, f, patch = vision["hidden_size"], vision["intermediate_size"], vision["patch_size_px"]
    positions = (vision["image_size_px"] // patch) ** 2 + 1  # and the class token
    embeddings = 3 * patch**2 * c + c + positions * c
    block = 4 * (c * c + c) + 2 * c * f + f + c + 2 * 2 * c  # attention, MLP, two norms; biases
    tower = embeddings + vision["num_hidden_layers"] * block + 2 * 2 * c  # norms around the blocks

    d, g = llm["hidden_size"], llm["intermediate_size"]
    layer = 4 * d * d + 3 * d * g + 2 * d
    vocabulary = file.get("llm_vocab_size", llm["vocab_size"])
    decoder = llm["num_hidden_layers"] * layer + 2 * vocabulary * d + d

    assert connector.get("num_linear_layers", 2) == 2
    assert connector.get("bias", True)
    assert tower + (c * d + d) + (d * d + d) + decoder == parameters


@pytest.mark.parametrize(
    ("name", "billions"),
    # The parameter counts that are published for these models
    [
        ("vicuna-7b", 6.738),
        ("llama-2-7b", 6.738),
        ("vicuna-13b", 13.016),
        ("llama-3-8b", 8.030),
        ("mistral-7b", 7.242),
        ("qwen2-7b", 7.616),
    ],
)
def test_parameters_add_up_to_the_published_count(name: str, billions: float) -> None:
    m = language_model(name)
    d, f = m.hidden_size, m.intermediate_size
    kv = d // m.num_attention_heads * (m.num_key_value_heads or m.num_attention_heads)
    layer = 2 * d * d + 2 * d * kv + 3 * d * f + 2 * d  # q and o, k and v, MLP, two norms
    biases = d + 2 * kv if m.attention_bias else 0  # of q, k and v
    parameters = m.num_hidden_layers * (layer + biases) + 2 * m.vocab_size * d + d

    assert parameters / 1e9 == pytest.approx(billions, abs=0.0005)


def test_clip_gives_24_by_24_patches_and_a_class_token() -> None:
    clip = load_model("clip-vit-l-336")
    assert isinstance(clip, VisionEncoder)

    assert clip.patches == (336 // 14) ** 2 == 576
    assert clip.tokens == 577
    assert clip.patch_width == 14 * 14 * 3


@pytest.mark.parametrize("name", ["llava-1.5-7b", "llava-1.5-13b"])
def test_llava_drops_the_class_token_and_the_last_block(name: str) -> None:
    work = lay_out(name)

    assert work.unreduced_visual_tokens == 576
    assert [(s.layers, s.tokens) for s in work.vision_groups[0]] == [(23, 577)]
    assert work.llm is not None
    assert work.llm.vocab_size == 32064


def test_an_llm_knows_how_many_visual_tokens_its_lmm_feeds_it() -> None:
    assert lay_out("vicuna-7b").unreduced_visual_tokens == 576
    assert lay_out("llama-3-8b").unreduced_visual_tokens is None


def test_grouped_query_attention_narrows_k_and_v_only() -> None:
    llama = language_model("llama-3-8b")

    assert llama.attention_width == 32 * 128 == 4096
    assert llama.kv_width == 8 * 128 == 1024
