"""`llm-viewer` accounting: the convention of LLM-Viewer in early March 2024, its errors included.

It reproduces published numbers, table 2 of the LLaVA-PruMerge paper first of all. It knows the LLM
only. What it gets wrong, against `exact`: the lm_head at half its FLOPs, one byte a weight, and
blind to the batch; the MLP activation at hidden instead of intermediate size; a residual add that
reads one operand; no embedding, rotary or final norm; softmax and norms at the matmul peak.

Letters follow the convention's own table: S prompt tokens, B batch, d hidden size, H heads, e head
size; w, a, c bytes per weight, activation and KV element.
"""

from __future__ import annotations

from collections.abc import Iterator

from roofline.engine.accounting import ACCOUNTINGS, Accounting
from roofline.engine.layout import Layout
from roofline.errors import ScenarioError
from roofline.model.counted import Amounts, ComponentCounts, CountedOp, Phase
from roofline.model.op import OpKind
from roofline.model.polynomial import Number, Polynomial, total
from roofline.model.variables import BATCH, PROMPT, STEP, STEPS
from roofline.specs.hardware import DataType
from roofline.specs.models import LanguageModel, LinearShape
from roofline.specs.quantization import Quantization
from roofline.units import BITS_PER_BYTE

B, S = BATCH, PROMPT


def count(layout: Layout, mode: Quantization) -> list[ComponentCounts]:
    """The LLM's counts. Raises ScenarioError for what the convention has no formula for."""
    if layout.llm is None:
        raise ScenarioError(f"llm-viewer accounting knows LLMs only; {layout.name} has none")
    if layout.attention != "eager":
        raise ScenarioError("llm-viewer accounting is defined here for eager attention only")
    if len(layout.llm_groups) > 1:
        raise ScenarioError("llm-viewer accounting has the same tokens in every layer")
    llm = layout.llm
    if llm.unlike_llama:
        raise ScenarioError(
            f"llm-viewer accounting knows decoders of Llama's shape only: {llm.name} differs in "
            f"{', '.join(llm.unlike_llama)}; use exact"
        )
    rows: list[CountedOp] = []
    if layout.stage != "decode":
        rows += _phase("prefill", llm, mode)
    if layout.stage != "prefill":
        rows += _phase("decode", llm, mode)
    w = mode.weight_bits / BITS_PER_BYTE
    layer_weights = sum(s.in_features * s.out_features for s in _linears(llm)) * w
    cached = 2 * llm.kv_width * mode.kv_bytes * llm.num_hidden_layers * B
    # decode steps of `decode` leave no trace in its figure, those of `generate` do
    context = S + STEPS if layout.stage == "generate" else S
    narrow = max(mode.weight_bits, mode.activation_bits, mode.kv_bits) <= 8
    types: tuple[DataType, ...] = ("int8",) if narrow else ("fp16",)
    return [
        ComponentCounts(
            "llm",
            mode,
            tuple(rows),
            llm.num_hidden_layers * layer_weights,
            cached * context,
            tuple(_stored_by_one_layer(rows, phase) for phase in sorted({r.phase for r in rows})),
            types,
            types,
            vector_peak=False,
        )
    ]


def _phase(phase: Phase, llm: LanguageModel, mode: Quantization) -> Iterator[CountedOp]:
    L, d, H, e = llm.num_hidden_layers, llm.hidden_size, llm.num_attention_heads, llm.head_size
    w, a, c = mode.weight_bits / BITS_PER_BYTE, mode.activation_bytes, mode.kv_bytes
    one_token = phase == "decode"
    n: Number = 1.0 if one_token else S  # tokens through the layer
    keys = S + STEP - 1 if one_token else S
    queries: Number = 1.0 if one_token else S
    scores = queries * keys * B * H
    kv = keys * e * B * llm.kv_heads * c

    def row(name: str, kind: OpKind, ops: Number, **traffic: Number) -> CountedOp:
        return CountedOp(name, kind, "matmul", phase, L, _amounts(ops, **traffic))

    for linear in _linears(llm):
        i, o = linear.in_features, linear.out_features
        to_cache = linear.name in ("k_proj", "v_proj")
        yield row(
            linear.name,
            "linear",
            2 * i * o * B * n,
            weight_read_bytes=i * o * w,
            activation_read_bytes=i * B * n * a,
            activation_write_bytes=0.0 if to_cache else o * B * n * a,
            kv_write_bytes=o * B * n * c if to_cache else 0.0,
        )
    yield row(
        "qk_matmul",
        "attention",
        2 * e * scores,
        activation_read_bytes=e * H * B * a if one_token else 0.0,
        activation_write_bytes=scores * a,
        kv_read_bytes=kv if one_token else 2 * kv,  # in prefill Q is counted among the KV reads
    )
    yield row(
        "softmax",
        "softmax",
        5 * scores,
        activation_read_bytes=scores * a,
        activation_write_bytes=scores * a,
    )
    yield row(
        "sv_matmul",
        "attention",
        2 * e * scores,
        activation_read_bytes=scores * a,
        activation_write_bytes=queries * e * B * H * a,
        kv_read_bytes=kv,
    )
    hidden = B * d * n
    for name in ("input_layernorm", "post_attention_layernorm"):
        yield row(name, "norm", 7 * hidden, **_pointwise(hidden * a, hidden * a))
    for name in ("attention_residual", "mlp_residual"):
        yield row(name, "residual", hidden, **_pointwise(hidden * a, hidden * a))
    yield row("act_fn", "activation", 2 * hidden, **_pointwise(2 * hidden * a, hidden * a))
    head = _amounts(
        B * d * llm.vocab_size,
        weight_read_bytes=d * llm.vocab_size,
        activation_read_bytes=d * a,
        activation_write_bytes=llm.vocab_size * a,
    )
    yield CountedOp("lm_head", "linear", "matmul", phase, 1, head)


def _linears(llm: LanguageModel) -> tuple[LinearShape, ...]:
    """The weight matrices of one layer, in execution order."""
    d, f = llm.hidden_size, llm.intermediate_size
    return (
        LinearShape("q_proj", d, llm.attention_width),
        LinearShape("k_proj", d, llm.kv_width),
        LinearShape("v_proj", d, llm.kv_width),
        LinearShape("o_proj", llm.attention_width, d),
        LinearShape("gate_proj", d, f),
        LinearShape("up_proj", d, f),
        LinearShape("down_proj", f, d),
    )


def _pointwise(read: Number, written: Number) -> dict[str, Number]:
    return {"activation_read_bytes": read, "activation_write_bytes": written}


def _amounts(ops: Number, **traffic: Number) -> Amounts:
    names = ("weight_read", "activation_read", "activation_write", "kv_read", "kv_write")
    return Amounts(
        flops=Polynomial.of(ops),
        vector_flops=Polynomial({}),
        **{f"{name}_bytes": Polynomial.of(traffic.get(f"{name}_bytes", 0.0)) for name in names},
    )


def _stored_by_one_layer(rows: list[CountedOp], phase: Phase) -> Polynomial:
    """Its "peak": the activations that one layer writes, summed as if none were ever freed."""
    return total(
        row.amounts.activation_write_bytes
        for row in rows
        if row.phase == phase and row.name != "lm_head"
    )


ACCOUNTINGS.register("llm-viewer", Accounting(count, attention="eager"))
