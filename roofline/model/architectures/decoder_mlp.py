"""The MLP of a decoder's layer: one, or a mixture of experts."""

from __future__ import annotations

from roofline.model.op import MoeShape, Op
from roofline.model.ops import (
    activation,
    expert_mlps,
    gated_activation,
    linear,
    residual,
    routing,
    weighed,
)
from roofline.model.polynomial import Number
from roofline.specs.models import ExpertMixture, LanguageModel


def dense_mlp(
    llm: LanguageModel,
    *,
    rows: Number,
    source: str,
    target: str,
    intermediate: int | None = None,
    prefix: str = "",
) -> tuple[Op, ...]:
    """[rows, d] → the same, through an intermediate width; names start with `prefix`."""
    d, f = llm.hidden_size, intermediate or llm.intermediate_size
    act, function = f"{prefix}act_fn", llm.hidden_act

    def project(name: str, read: str, written: str, i: int, o: int) -> Op:
        return linear(
            f"{prefix}{name}",
            read,
            written,
            rows=rows,
            in_features=i,
            out_features=o,
            bias=llm.mlp_bias,
        )

    up = project("up_proj", source, "up", d, f)
    down = project("down_proj", "activated", target, f, d)
    if llm.mlp == "gated":
        gate = project("gate_proj", source, "gate", d, f)
        product = gated_activation(
            act, "gate", "up", "activated", rows=rows, width=f, function=function
        )
        return gate, up, product, down
    return up, activation(act, "up", "activated", rows=rows, width=f, function=function), down


def expert_mixture(
    llm: LanguageModel,
    moe: ExpertMixture,
    *,
    rows: Number,
    touched: Number,
    source: str,
    target: str,
) -> tuple[Op, ...]:
    """[rows, d] → the same, through a few experts a row, and those that all go through.

    touched: experts that any row goes to.
    """
    d, experts, top_k = llm.hidden_size, moe.num_experts, moe.num_experts_per_tok
    router = linear(
        "router",
        source,
        "router_logits",
        rows=rows,
        in_features=d,
        out_features=experts,
        bias=moe.router_bias,
    )
    chosen = routing(
        "routing", "router_logits", "routes", tokens=rows, experts=experts, top_k=top_k
    )
    shape = MoeShape(rows, d, moe.intermediate_size, experts, top_k, llm.mlp == "gated")
    mixed = expert_mlps(
        "experts",
        source,
        "routes",
        target,
        shape=shape,
        touched=touched,
        function=llm.hidden_act,
        bias=moe.expert_bias,
    )
    return (router, chosen, mixed, *_shared_experts(llm, moe, rows, source, target))


def _shared_experts(
    llm: LanguageModel, moe: ExpertMixture, rows: Number, source: str, target: str
) -> tuple[Op, ...]:
    """What every row goes through, added to what its experts gave."""
    if moe.shared_intermediate_size is None:
        return ()
    d, ops = (
        llm.hidden_size,
        [
            *dense_mlp(
                llm,
                rows=rows,
                source=source,
                target="shared",
                intermediate=moe.shared_intermediate_size,
                prefix="shared_experts.",
            )
        ],
    )
    if moe.shared_gate:
        gate = "shared_expert_gate"
        ops.append(linear(gate, source, "weight", rows=rows, in_features=d, out_features=1))
        ops.append(weighed("weigh_shared", "weight", "shared", rows=rows, width=d))
    return (*ops, residual("shared_experts.residual", target, "shared", rows=rows, width=d))
