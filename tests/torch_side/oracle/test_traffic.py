"""`exact` bytes and peak activations against a trace of the Hugging Face model: equal, to the byte.

What the trace moves and the formulas do not is answered for by a named rule of `fusion`, and the
names are those of `FUSIONS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import toy
from msgspec.structs import replace as changed

from roofline import Counts, count
from roofline.model.architectures.decoder import AttentionKind
from roofline.model.counted import TRAFFIC
from roofline.model.fusions import FUSIONS
from roofline.specs.catalog import load_component, load_model
from roofline.specs.models import LanguageModel, Lmm, VisionEncoder
from roofline.torch_side.oracle.decoders import decoder_trace
from roofline.torch_side.oracle.fusion import RULES, Claims, Rule, group, rules_for
from roofline.torch_side.oracle.subjects import trace_connector, trace_llm, trace_vision
from roofline.torch_side.oracle.trace import Trace
from roofline.torch_side.oracle.traffic import Traffic, measure

ODD_LLM = toy.llm(
    name="odd-llm",
    title="No width equals another, GQA, biases",
    hidden_size=96,
    num_hidden_layers=3,
    num_attention_heads=6,
    num_key_value_heads=2,
    head_dim=20,
    intermediate_size=212,
    vocab_size=4001,
    attention_bias=True,
    mlp_bias=True,
)
ODD_TOWER = toy.tower(
    name="odd-tower",
    title="No width equals another",
    hidden_size=72,
    num_hidden_layers=3,
    num_attention_heads=6,
    intermediate_size=200,
    image_size_px=35,
    patch_size_px=7,
)
ODD_SIGLIP = changed(
    ODD_TOWER,
    name="odd-siglip",
    image_size_px=38,  # 5 patches of 7 a side, and 3 pixels that are not looked at
    class_token=False,
    pre_norm=False,
    patch_bias=True,
    hidden_act="gelu_tanh",
)
ODD_TOWERS = {"odd-tower": ODD_TOWER, "odd-siglip": ODD_SIGLIP}
SMALL = {
    "hidden_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 401,
    "pad_token_id": 0,
}
CAPPED = SMALL | {"model_type": "gemma2", "head_dim": 20}
MIXED = SMALL | {"model_type": "qwen2_moe", "num_experts": 5, "moe_intermediate_size": 52}
"""Configs of decoders with soft caps, and with experts."""
ATTENTIONS: tuple[AttentionKind, ...] = ("flash", "eager")
VISUAL = {"vicuna-7b": 24, "llama-3-8b": 0, "odd-llm": 7}
"""Models, and the visual rows in their prompts."""

attentions = pytest.mark.parametrize("attention", ATTENTIONS)
lengths = pytest.mark.parametrize(
    ("name", "length"),
    [*((name, 61) for name in VISUAL), ("vicuna-7b", 1101), ("odd-llm", 1101)],
)
"""Short prompts peak in the MLP; in long ones, eager attention's scores outgrow it."""
batches = pytest.mark.parametrize("batch", [1, 3])


def llm(name: str) -> LanguageModel:
    spec = ODD_LLM if name == "odd-llm" else load_model(name)
    assert isinstance(spec, LanguageModel)
    return spec


def tower() -> VisionEncoder:
    spec = load_model("clip-vit-l-336")
    assert isinstance(spec, VisionEncoder)
    return spec


def priced(trace: Trace, rules: Mapping[str, Rule]) -> Traffic:
    return measure(trace, group(trace, rules))


def table_of(estimate: Counts, component: str) -> dict[str, dict[str, float]]:
    return {
        op.name: {column: float(getattr(op, column)) for column in ("count", *TRAFFIC)}
        for op in estimate.ops
        if op.component == component
    }


def assert_same(estimate: Counts, component: str, traffic: Traffic) -> None:
    assert traffic.causal
    table, ours = traffic.table(), table_of(estimate, component)
    assert ours == table
    assert list(ours) == list(table)  # lifetimes depend on the order
    totals = estimate.components[component]
    assert totals.memory_access_bytes == traffic.total()
    assert totals.activation_store_bytes == sum(
        row["activation_write_bytes"] for row in table.values()
    )
    assert totals.peak_activation_bytes == traffic.peak()


@attentions
@batches
@lengths
def test_prefill(name: str, length: int, batch: int, attention: AttentionKind) -> None:
    spec, visual = llm(name), VISUAL[name]
    text = length - visual
    trace = trace_llm(spec, attention, batch=batch, text=text, visual=visual)
    estimate = count(
        spec,
        visual_tokens=visual,
        text_tokens=text,
        batch=batch,
        attention=attention,
    )
    assert_same(estimate, "llm", priced(trace, rules_for(attention)))


@attentions
@batches
@lengths
def test_decode(name: str, length: int, batch: int, attention: AttentionKind) -> None:
    spec, visual = llm(name), VISUAL[name]
    trace = trace_llm(spec, attention, batch=batch, text=1, cached=length)
    estimate = count(
        spec,
        visual_tokens=visual,
        text_tokens=length - visual,
        batch=batch,
        stage="decode",
        attention=attention,
    )
    assert_same(estimate, "llm", priced(trace, rules_for(attention)))


@attentions
def test_generate_is_prefill_and_its_steps(attention: AttentionKind) -> None:
    prompt, steps, rules = 13, 3, rules_for(attention)
    passes = [trace_llm(ODD_LLM, attention, batch=3, text=prompt)] + [
        trace_llm(ODD_LLM, attention, batch=3, text=1, cached=prompt + step)
        for step in range(steps)
    ]
    traffic = [priced(trace, rules) for trace in passes]
    estimate = count(
        ODD_LLM,
        text_tokens=prompt,
        batch=3,
        stage="generate",
        output_tokens=steps,
        attention=attention,
    )
    assert estimate.llm.memory_access_bytes == sum(each.total() for each in traffic)
    assert estimate.llm.peak_activation_bytes == max(each.peak() for each in traffic)


@attentions
@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize(
    ("name", "blocks"),
    [("clip-vit-l-336", 24), ("llava-1.5-7b", 23), ("odd-tower", 3), ("odd-siglip", 3)],
)
def test_vision_tower(name: str, blocks: int, images: int, attention: AttentionKind) -> None:
    odd = ODD_TOWERS.get(name)
    trace = trace_vision(odd or tower(), attention, blocks=blocks, images=images)
    estimate = count(odd or name, batch=images, attention=attention)
    assert_same(estimate, "vision", priced(trace, rules_for(attention)))


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("name", ["llava-1.5-7b", "llava-tiny"])
@pytest.mark.parametrize("architecture", ["llava", "video-llava"])
def test_connector(name: str, images: int, architecture: str) -> None:
    spec = load_model(name)
    assert isinstance(spec, Lmm)
    vision = load_component(spec.vision, VisionEncoder)
    language = load_component(spec.llm, LanguageModel)
    trace = trace_connector(
        vision, language, samples=images, tokens=vision.patches, architecture=architecture
    )
    estimate = count(name, batch=images)
    assert_same(estimate, "connector", priced(trace, rules_for("flash")))


@pytest.fixture(scope="module")
def small() -> list[tuple[AttentionKind, Trace]]:
    """Traces that give every rule something to explain."""
    both: list[tuple[AttentionKind, Trace]] = [
        (attention, trace)
        for attention in ATTENTIONS
        for trace in (
            trace_llm(ODD_LLM, attention, batch=3, text=6, visual=7),
            trace_llm(ODD_LLM, attention, batch=3, text=1, cached=13),
            trace_vision(ODD_TOWER, attention, blocks=3, images=3),
        )
    ]
    capped = decoder_trace(CAPPED, "eager", batch=3, text=13)()
    mixed = decoder_trace(MIXED, "flash", batch=3, text=13)()
    connected = trace_connector(ODD_TOWER, ODD_LLM, samples=3, tokens=25)
    return [*both, ("flash", connected), ("eager", capped), ("flash", mixed)]


def test_rules_are_the_fusions(small: list[tuple[AttentionKind, Trace]]) -> None:
    """The list in the code is complete, and nothing on it is superfluous."""
    used = frozenset[str]().union(
        *(group(trace, rules_for(attention)).used for attention, trace in small)
    )
    assert used == set(RULES) == set(FUSIONS)


@pytest.mark.parametrize("name", sorted(set(FUSIONS) - {"residual"}))
def test_what_no_rule_explains_is_seen(name: str, small: list[tuple[AttentionKind, Trace]]) -> None:
    """Without any one of the rules the trace moves more bytes than the formulas say."""
    more = [
        priced(trace, rules_for(attention, without=[name])).total()
        - priced(trace, rules_for(attention)).total()
        for attention, trace in small
    ]
    assert min(more) == 0
    assert max(more) > 0


def test_a_residual_add_fused_with_its_norm_is_seen() -> None:
    """`residual` rules a fusion out, so its opposite is what has to move fewer bytes."""

    def into_norm(trace: Trace) -> Claims:
        claims = RULES["residual"](trace)
        labels = {
            index: label.replace("attention_residual", "post_attention_layernorm")
            for index, label in claims.labels.items()
        }
        return replace(claims, labels=labels)

    trace = trace_llm(ODD_LLM, "flash", batch=1, text=13)
    apart = priced(trace, rules_for("flash"))
    fused = priced(trace, rules_for("flash") | {"residual": into_norm})
    layers, size = ODD_LLM.num_hidden_layers, 13 * ODD_LLM.hidden_size * 2
    assert apart.total() - fused.total() == layers * size


def test_one_layer_more_is_seen() -> None:
    trace = trace_llm(ODD_LLM, "flash", batch=1, text=13)
    deeper = changed(ODD_LLM, num_hidden_layers=ODD_LLM.num_hidden_layers + 1)
    estimate = count(deeper, text_tokens=13)
    assert table_of(estimate, "llm") != priced(trace, rules_for("flash")).table()
