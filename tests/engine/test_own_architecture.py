"""Kinds of parts that do not ship: laid out by what is registered for them, to the FLOP."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from toy import llm

from roofline import count
from roofline.errors import SpecError
from roofline.model.architectures import CONNECTORS, LANGUAGE_MODELS, rows_out
from roofline.model.block import Block
from roofline.model.ops import linear
from roofline.specs.catalog import load_model
from roofline.specs.models import Connector, LanguageModel, Lmm
from roofline.specs.sourced import PositiveInt


class Funnel(Connector, frozen=True, tag_field="kind", tag="funnel"):
    """A connector of two matrices, with a narrow place between."""

    name: str
    width: PositiveInt


class OwnDecoder(LanguageModel, frozen=True, tag_field="kind", tag="own-decoder"):
    """A decoder of a kind of its own."""


def connect(
    connector: Any, feeds: Any, *, in_features: int, out_features: int
) -> tuple[Block, ...]:
    width, rows = connector.width, rows_out(feeds)
    down = linear(
        "down", "features", "narrow", rows=rows, in_features=in_features, out_features=width
    )
    up = linear("up", "narrow", "rows", rows=rows, in_features=width, out_features=out_features)
    return (Block(1, (down, up)),)


@pytest.fixture(autouse=True)
def _own_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in (CONNECTORS, LANGUAGE_MODELS):
        registry.names()
        monkeypatch.setattr(registry, "_things", dict(registry._things))
    CONNECTORS.register("funnel", connect)


def with_funnel() -> Lmm:
    lmm = load_model("llava-1.5-7b")
    assert isinstance(lmm, Lmm)
    return replace(lmm, connector=Funnel(name="narrow", width=64))


def test_a_connector_of_ones_own() -> None:
    part = count(with_funnel(), visual_tokens=144).components["connector"]

    assert part.flops == 2 * 144 * (1024 * 64 + 64 * 4096)
    assert part.weight_bytes == 2 * (1024 * 64 + 64 * 4096)


def test_a_decoder_of_ones_own() -> None:
    shipped = llm()
    fields = {name: getattr(shipped, name) for name in shipped.__struct_fields__}
    own = OwnDecoder(**fields | {"name": "own"})
    with pytest.raises(SpecError, match="no architecture is registered for own-decoder"):
        count(own, visual_tokens=2)

    LANGUAGE_MODELS.register("own-decoder", LANGUAGE_MODELS.find("language-model"))

    assert count(own, visual_tokens=2).llm.flops == count(shipped, visual_tokens=2).llm.flops


def test_a_part_in_anothers_place_is_refused() -> None:
    wrong = replace(with_funnel(), connector="vicuna-7b")
    with pytest.raises(SpecError, match=r"expected connector or .*funnel, got language-model"):
        count(wrong, visual_tokens=144)
