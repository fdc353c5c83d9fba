"""LMMs from their configs against Hugging Face's of the same config, run: FLOPs and parameters.

Sizes are odd, so that no width equals another; two sizes of picture, or several grids at once.
"""

from __future__ import annotations

import pytest
from hub_witness import CASES, WORDS, Case, built, counted, imported, seen
from msgspec.structs import replace
from transformers import CONFIG_MAPPING

from roofline.engine.layout import lay_out
from roofline.model.block import parameters
from roofline.specs.hub import HUB_CONFIGS
from roofline.specs.models import LanguageModel, Lmm, QFormer, View

EACH = [
    pytest.param(case, id=f"{name}-{i}")
    for name, cases in CASES.items()
    for i, case in enumerate(cases)
]


def ours(case: Case) -> Lmm:
    model = imported(case.config)
    assert isinstance(model, Lmm)
    if case.config["model_type"] == "instructblip":
        assert isinstance(model.connector, QFormer)
        model = replace(model, connector=replace(model.connector, instruction_tokens=WORDS))
    return model


@pytest.mark.parametrize("case", EACH)
def test_tower_and_connector(case: Case) -> None:
    theirs = seen(built(case.config), case.connector, case.run)

    assert counted(ours(case), case.views) == theirs
    assert 0 < theirs.connector_flops < theirs.flops


@pytest.mark.parametrize("name", CASES)
def test_parameters_of_the_whole(name: str) -> None:
    case = CASES[name][0]
    if case.config["text_config"]["model_type"] not in HUB_CONFIGS:
        pytest.skip("its LLM is of a type that is not imported yet")
    model = built(case.config)

    held = sum(
        part.copies * parameters(part.loaded).total for part in lay_out(ours(case)).components
    )

    assert held == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", sorted(set(CASES) - {"blip-2", "instructblip"}))
def test_a_head_is_tied_where_the_class_ties_it(name: str, tied: bool) -> None:
    """By a flag of the text's section, where the whole says nothing."""
    config = CASES[name][0].config
    section = config["text_config"] | {"tie_word_embeddings": tied}
    if section["model_type"] not in HUB_CONFIGS:
        pytest.skip("its LLM is of a type that is not imported yet")
    fields = {k: v for k, v in config.items() if k != "model_type"} | {"text_config": section}

    ours = imported(config | {"text_config": section})

    assert isinstance(ours, Lmm)
    assert isinstance(ours.llm, LanguageModel)
    theirs = CONFIG_MAPPING[name](**fields)
    assert ours.llm.tie_word_embeddings == theirs.tie_word_embeddings


def test_pictures_of_several_shapes_cost_what_they_cost_one_by_one() -> None:
    case = CASES["qwen2_5_vl"][0]
    model, views = ours(case), (View(4, 10), View(6, 6, count=2), View(18, 14))
    together = counted(model, views)

    apart = [counted(model, (view,)) for view in views]
    assert together.flops == sum(one.flops for one in apart)
    assert together.connector_flops == sum(one.connector_flops for one in apart)
