"""The comparison of analysis and trace agrees to the byte, and tells when they do not.

Other tests of this folder hold the parts of the trace to account; here is what joins them.
"""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

import roofline
from roofline import reducers
from roofline.errors import ScenarioError
from roofline.specs.catalog import load_model
from roofline.specs.models import LanguageModel
from roofline.torch_side.oracle import checks as checks_module
from roofline.torch_side.oracle.checks import compare_costs, traced_costs
from roofline.torch_side.oracle.fusion import rules_for

CASES: list[tuple[str, dict[str, Any]]] = [
    ("llava-tiny", {}),
    ("llava-tiny", {"visual_tokens": 7, "text_tokens": 5, "batch": 3, "attention": "eager"}),
    ("llava-tiny", {"stage": "decode", "batch": 2}),
    ("llava-tiny", {"stage": "generate", "output_tokens": 3, "batch": 2}),
    ("video-llava-tiny", {"batch": 2}),
    ("llama-3-8b", {"text_tokens": 61, "attention": "eager"}),
    ("clip-vit-l-336", {"batch": 2}),
    ("llava-1.5-13b", {"visual_tokens": 40}),
]


@pytest.mark.parametrize(("model", "scenario"), CASES)
def test_analysis_and_trace_agree(model: str, scenario: dict[str, Any]) -> None:
    checks = compare_costs(model, **scenario)

    assert {check.difference for check in checks} == {0}
    assert all(check.traced > 0 for check in checks)


def test_every_component_and_quantity_is_compared() -> None:
    found = {(check.component, check.quantity) for check in compare_costs("llava-tiny")}
    assert found == {
        (component, quantity)
        for component in ("vision", "connector", "llm")
        for quantity in checks_module.QUANTITIES
    }
    assert {check.component for check in compare_costs("llava-tiny", stage="decode")} == {"llm"}


FIXED = [name for name in reducers.names() if not reducers.find(name).by_picture]


@pytest.mark.parametrize("reducer", FIXED)
@pytest.mark.parametrize("model", ["llava-tiny", "video-llava-tiny"])
def test_a_reducer_is_counted(model: str, reducer: str) -> None:
    estimate = roofline.count(model, reducer=reducer, batch=2)

    checks = compare_costs(model, reducer=reducer, batch=2)

    assert {check.difference for check in checks} == {0}
    flops = {
        check.component: check.traced - sum(check.aside.values())
        for check in checks
        if check.quantity == "flops"
    }
    assert sum(flops.values()) == estimate.end_to_end.flops
    reducer_site = reducers.find(reducer).site
    own = "reducer" if reducer_site == "features" else f"{reducer_site} + reducer"
    assert own in flops
    assert {c.component for c in checks if c.quantity != "flops"} == (
        {"vision", "connector", "llm"} - {reducer_site}
    )


def test_decoding_behind_a_reducer_is_the_llm_alone() -> None:
    checks = compare_costs("llava-tiny", reducer="tome", stage="decode")

    assert {check.component for check in checks} == {"llm"}
    assert {check.difference for check in checks} == {0}


def test_generating_behind_a_reducer() -> None:
    checks = compare_costs("llava-tiny", reducer="prumerge", stage="generate", output_tokens=2)

    assert {check.difference for check in checks} == {0}


@pytest.mark.parametrize(
    ("scenario", "message"),
    [
        ({"reducer": "ats"}, "ats leaves as many tokens as the picture asks for"),
        ({"reducer": "fastv", "stage": "decode"}, "compare the stage prefill"),
        ({"batch": [1, 2]}, "one scenario is traced at a time"),
    ],
)
def test_what_cannot_be_traced(scenario: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        compare_costs("llava-tiny", **scenario)


def test_traced_costs_add_up() -> None:
    """The connector by hand: [36, 64] @ [64, 64], GELU, again; fp16; biases of 64."""
    cost = traced_costs("llava-tiny")["connector"]

    tensor, matrix, bias = 36 * 64 * 2, 64 * 64 * 2, 64 * 2
    assert cost.flops.total == 2 * 2 * 36 * 64 * 64
    assert cost.weight_read_bytes == 2 * (matrix + bias)
    assert cost.activation_read_bytes == cost.activation_write_bytes == 3 * tensor
    assert cost.activation_store_bytes == 3 * tensor
    assert cost.memory_access_bytes == 6 * tensor + 2 * (matrix + bias)
    assert cost.peak_activation_bytes == 2 * tensor


def test_a_wrong_analysis_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """An LLM priced one layer too deep."""
    spec = load_model("llama-3-8b")
    assert isinstance(spec, LanguageModel)
    deeper = roofline.count(replace(spec, num_hidden_layers=33), text_tokens=5)
    true = checks_module.count
    monkeypatch.setattr(
        checks_module, "count", lambda *args, **options: replaced(true(*args, **options), deeper)
    )

    found = {check.quantity: check for check in compare_costs(spec, text_tokens=5)}

    wrong = found["flops"]
    assert wrong.analytic == deeper.llm.flops
    assert wrong.difference == wrong.analytic + sum(wrong.aside.values()) - wrong.traced > 0
    assert found["memory_access_bytes"].difference > 0
    assert found["peak_activation_bytes"].difference == 0


def replaced(estimate: roofline.Counts, other: roofline.Counts) -> roofline.Counts:
    """What runs as the one says, its figures as the other does."""
    return replace(estimate, components=other.components)


@pytest.mark.parametrize("name", ["norm", "linear", "act_fn", "flash"])
def test_without_a_fusion_more_is_traced(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        checks_module, "rules_for", lambda attention: rules_for(attention, without=[name])
    )

    moved = [c for c in compare_costs("llava-tiny", batch=2) if c.quantity == "memory_access_bytes"]

    assert min(check.difference for check in moved) < 0
