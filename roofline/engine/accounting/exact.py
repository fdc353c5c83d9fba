"""`exact` accounting, the default: every kernel reads its inputs and writes its outputs once.

FLOPs equal those of PyTorch's `FlopCounterMode` to the last one; `costs.ops.FUSIONS` lists what is
one kernel. Widths come from the quantization mode, tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

from roofline.engine.layout import BATCH, IMAGES, STEP, STEPS, TEXT, Layout
from roofline.engine.scenario import Stage
from roofline.model.architectures import decoder as language
from roofline.model.architectures import mlp as projection
from roofline.model.architectures import vit as vision
from roofline.model.architectures.decoder import AttentionKind
from roofline.model.block import Block, LayerGroup, live_elements
from roofline.model.counted import Amounts, ComponentCost, CostRow, Phase
from roofline.model.op import Op
from roofline.model.polynomial import Number, Polynomial, total, upper_envelope
from roofline.specs.models import LanguageModel, MlpConnector, VisionEncoder
from roofline.specs.quantization import Quantization

Phases: TypeAlias = dict[Phase, Sequence[Block]]
_KNOWN = 64
"""Components that are not priced again."""


def price(work: Layout, llm_mode: Quantization, mode: Quantization) -> list[ComponentCost]:
    """Cost of each component; `llm_mode` for the LLM, `mode` for vision tower and connector."""
    components = []
    prompt = work.stage != "decode"
    if work.vision:
        components.append(
            _vision(
                work.vision,
                work.vision_groups,
                mode,
                work.attention,
                towers=work.vision_towers,
                prompt=prompt,
            )
        )
    if work.reducer:
        assert work.task
        phases: Phases = {"prefill": work.reducer.extra_ops(work.task)} if prompt else {}
        width = llm_mode if work.reducer.site == "llm" else mode
        components.append(_component("reducer", phases, width, 0.0))
    if work.vision and work.connector and work.llm:
        shape = {"in_features": work.vision.hidden_size, "out_features": work.llm.hidden_size}
        components.append(_connector(work.connector, work.projected, mode, prompt=prompt, **shape))
    if work.llm:
        components.append(_llm(work.llm, work.llm_groups, llm_mode, work.attention, work.stage))
    return components


# Priced once: configurations that differ in visual tokens share all formulas but those of the
# reducer's own work.


@lru_cache(maxsize=_KNOWN)
def _vision(
    encoder: VisionEncoder,
    groups: tuple[LayerGroup, ...],
    mode: Quantization,
    attention: AttentionKind,
    *,
    towers: int,
    prompt: bool,
) -> ComponentCost:
    blocks = vision.encode(encoder, groups, images=IMAGES, attention=attention)
    weights = towers * vision_weight_bytes(encoder, mode)
    layers = sum(group.layers for group in groups)
    return _component("vision", {"prefill": blocks} if prompt else {}, mode, weights, layers=layers)


@lru_cache(maxsize=_KNOWN)
def _connector(
    connector: MlpConnector,
    rows: Number,
    mode: Quantization,
    *,
    in_features: int,
    out_features: int,
    prompt: bool,
) -> ComponentCost:
    shape = {"in_features": in_features, "out_features": out_features}
    blocks = projection.project(connector, rows=rows, **shape)
    weights = connector_weight_bytes(connector, mode, **shape)
    return _component("connector", {"prefill": blocks} if prompt else {}, mode, weights)


@lru_cache(maxsize=_KNOWN)
def _llm(
    llm: LanguageModel,
    groups: tuple[LayerGroup, ...],
    mode: Quantization,
    attention: AttentionKind,
    stage: Stage,
) -> ComponentCost:
    phases: Phases = {}
    if stage != "decode":
        phases["prefill"] = language.prefill(
            llm, groups, batch=BATCH, text_tokens=TEXT, attention=attention
        )
    if stage != "prefill":
        phases["decode"] = language.decode(llm, groups, batch=BATCH, step=STEP, attention=attention)
    cached = total(group.layers * (group.tokens + STEPS) for group in groups)
    kv = 2 * llm.kv_width * mode.kv_bytes * BATCH * cached
    weights = language_weight_bytes(llm, mode)
    return _component("llm", phases, mode, weights, kv, layers=llm.num_hidden_layers)


def _component(
    name: str,
    phases: Phases,
    mode: Quantization,
    weight_bytes: float,
    kv_cache_bytes: Polynomial | None = None,
    layers: int = 0,
) -> ComponentCost:
    rows = tuple(
        CostRow(
            op.name,
            op.kind,
            op.unit,
            phase,
            block.count,
            _amounts(op, mode),
            block.label,
            op.shape,
            _kernel(op, mode),
        )
        for phase, blocks in phases.items()
        for block in blocks
        for op in block.ops
    )
    peaks = upper_envelope(
        live * mode.activation_bytes for blocks in phases.values() for live in live_elements(blocks)
    )
    return ComponentCost(
        name,
        rows,
        weight_bytes,
        kv_cache_bytes or Polynomial({}),
        tuple(peaks),
        mode.compute,
        mode.attention_types,
        layers,
    )


def _kernel(op: Op, mode: Quantization) -> str:
    if op.unit == "matmul" and op.role == "linear":
        return mode.weight_only_kernel
    return op.function


def _amounts(op: Op, mode: Quantization) -> Amounts:
    weights = op.weights * mode.weight_bytes(op.role) + op.vectors * mode.vector_bytes
    return Amounts(
        flops=Polynomial.of(op.flops),
        vector_flops=Polynomial.of(op.vector_flops),
        weight_read_bytes=Polynomial.of(weights),
        activation_read_bytes=total(op.reads.values()) * mode.activation_bytes,
        activation_write_bytes=total(op.writes.values()) * mode.activation_bytes,
        kv_read_bytes=Polynomial.of(op.kv_reads * mode.kv_bytes),
        kv_write_bytes=Polynomial.of(op.kv_writes * mode.kv_bytes),
    )


def language_weight_bytes(llm: LanguageModel, mode: Quantization) -> float:
    """All parameters as loaded: layers, embedding, lm_head (once if tied), norms and biases."""
    d = llm.hidden_size
    matrices = llm.num_hidden_layers * sum(
        w.in_features * w.out_features for w in llm.layer_linears
    )
    biases = sum(w.out_features for w in llm.layer_linears if llm.has_bias(w.name))
    vectors = llm.num_hidden_layers * (2 * d + biases) + d
    table = llm.vocab_size * d
    return (
        matrices * mode.weight_bytes("linear")
        + vectors * mode.vector_bytes
        + table * mode.weight_bytes("embedding")
        + (0 if llm.tie_word_embeddings else table * mode.weight_bytes("lm_head"))
    )


def vision_weight_bytes(encoder: VisionEncoder, mode: Quantization) -> float:
    """All parameters as loaded, blocks behind the feature layer and the last norm included."""
    d, blocks = encoder.hidden_size, encoder.num_hidden_layers
    matrices = blocks * sum(w.in_features * w.out_features for w in encoder.layer_linears)
    biases = sum(w.out_features for w in encoder.layer_linears)
    stem = (encoder.class_token + encoder.tokens + 2 * encoder.pre_norm + encoder.patch_bias) * d
    vectors = blocks * (biases + 4 * d) + stem + 2 * d
    return (matrices + encoder.patch_width * d) * mode.weight_bytes("linear") + (
        vectors * mode.vector_bytes
    )


def connector_weight_bytes(
    connector: MlpConnector, mode: Quantization, *, in_features: int, out_features: int
) -> float:
    """All parameters as loaded."""
    square = (connector.num_linear_layers - 1) * out_features
    biases = connector.num_linear_layers * out_features * connector.bias
    return (in_features + square) * out_features * mode.weight_bytes("linear") + (
        biases * mode.vector_bytes
    )
