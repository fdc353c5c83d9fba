"""Group traced aten calls into kernels, by named rules only.

A rule says which calls are one kernel. A call that no rule claims is a kernel of its own, under
its aten name, and moves everything it names: nothing is left out without a rule to answer for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from roofline.torch_side.oracle.trace import Call, Trace

Key: TypeAlias = tuple[str, str]
"""Layer and name: a layer has one kernel of a name."""


@dataclass(frozen=True)
class Claims:
    """What one rule says about a trace."""

    labels: Mapping[int, str] = field(default_factory=dict)
    """The kernel that a call is part of: the calls of a layer with one label are fused."""
    assembled: frozenset[int] = frozenset()
    """Concatenations that need not run: one part is in place, who makes the other puts it there."""
    uncounted: frozenset[int] = frozenset()
    """Storages too small to count."""


@dataclass(frozen=True)
class Grouping:
    """The trace's calls, kernel by kernel, in the order in which kernels can run."""

    kernels: Mapping[Key, tuple[Call, ...]]
    """Calls without the regions that a rule says are not touched, or do not count."""
    fused: frozenset[Key]
    """Kernels that a rule made; what they produce for themselves alone stays on chip."""
    used: frozenset[str]
    """Names of the rules that had anything to say."""


Rule: TypeAlias = Callable[[Trace], Claims]


class Label(NamedTuple):
    """What a rule says of a call: the kernel that it is part of."""

    rule: str
    kernel: str
    """The rule's own name for what would not run if kernels were as the rule says."""


def labels(trace: Trace, rules: Mapping[str, Rule]) -> dict[int, Label]:
    """Kernels of the calls that rules claim, by the calls' indices; traces may have many turns."""
    found: dict[int, Label] = {}
    for name, rule in rules.items():
        claims = rule(trace)
        found |= {index: Label(name, kernel) for index, kernel in claims.labels.items()}
        found |= {index: Label(name, name) for index in claims.assembled}
    return found


def group(trace: Trace, rules: Mapping[str, Rule]) -> Grouping:
    """Apply the rules; what is assembled in place joins the kernel of the part that is new."""
    claims_by_rule = {name: rule(trace) for name, rule in rules.items()}
    labels = {
        index: label for claims in claims_by_rule.values() for index, label in claims.labels.items()
    }
    assembled = frozenset[int]().union(*(claims.assembled for claims in claims_by_rule.values()))
    uncounted = frozenset[int]().union(*(claims.uncounted for claims in claims_by_rule.values()))
    keys: dict[int, Key] = {
        call.index: (layer_of(call), labels[call.index])
        if call.index in labels
        else (call.path, f"{call.op}#{call.index}")
        for call in trace.calls
    }
    for index in sorted(assembled):
        keys[index] = keys[_fresh(trace, trace.calls[index]).index]
    members: dict[Key, list[Call]] = {}
    launched: dict[Key, int] = {}
    for call in trace.calls:
        key = keys[call.index]
        in_place = call.index in assembled
        members.setdefault(key, []).append(_touched(trace, call, in_place, uncounted))
        if not in_place:
            launched[key] = call.index
    return Grouping(
        {key: tuple(members[key]) for key in sorted(members, key=launched.__getitem__)},
        frozenset(keys[index] for index in (*labels, *assembled)),
        frozenset(name for name, claims in claims_by_rule.items() if claims != Claims()),
    )


def _touched(trace: Trace, call: Call, in_place: bool, uncounted: Collection[int]) -> Call:
    """The call without what it need not touch: parts that are in place, and what is not counted."""
    reads, writes = call.reads, call.writes
    if in_place:
        reads = tuple(r for r in reads if r.storage in trace.producers)
        writes = tuple(w._replace(elements=sum(r.elements for r in reads)) for w in writes)
    return replace(
        call,
        reads=tuple(r for r in reads if r.storage not in uncounted),
        writes=tuple(w for w in writes if w.storage not in uncounted),
    )


def layer_of(call: Call) -> str:
    """`llm.model.layers.7` for all that runs in that layer, nothing for what runs in none."""
    found = _LAYER.match(call.path)
    return found[0] if found else ""


_LAYER = re.compile(r".*?\.(?:layers?|blocks)\.\d+(?=\.|$)")
"""Path of a layer: releases and models call the list of them one thing or another."""


def _fresh(trace: Trace, call: Call) -> Call:
    """The call that made the one part of a concatenation that was not there before."""
    (producer,) = (trace.producers[r.storage] for r in call.reads if r.storage in trace.producers)
    return producer


def _named(calls: Iterable[Call], label: str | None = None) -> dict[int, str]:
    return {call.index: label or call.path.rpartition(".")[2] for call in calls}


def _inside(trace: Trace, *endings: str) -> list[Call]:
    return [call for call in trace.calls if call.owner.endswith(endings)]


def _norm(trace: Trace) -> Claims:
    return Claims(_named(_inside(trace, *trace.owners.norm)))


def _linear(trace: Trace) -> Claims:
    return Claims(_named(_inside(trace, *trace.owners.linear)))


_KV_WRITES = ("cat", "copy_", "index_copy_")
"""What a cache does with new keys and values: behind the old ones, or in their place."""


def _kv_cache(trace: Trace) -> Claims:
    updates = (call for call in _inside(trace, "update") if call.op in _KV_WRITES)
    return Claims(assembled=frozenset(call.index for call in updates))


def _rotary(trace: Trace) -> Claims:
    """What is not rotated of a head is put behind what is by the same kernel."""
    whole = (call for call in _inside(trace, *trace.owners.attention) if call.op == "cat")
    return Claims(
        _named((*_inside(trace, *trace.owners.rotary), *whole), "apply_rotary_pos_emb")
        | _named(_inside(trace, *trace.owners.rotary_table))
    )


def _flash(trace: Trace) -> Claims:
    inside = [call for call in _inside(trace, *trace.owners.attention) if call.op != "cat"]
    latent = (call for call in inside if call.op in ("new_empty", "copy_"))
    return Claims(_named(inside, "attention") | _named(latent, "expand_kv"))


def _eager(trace: Trace) -> Claims:
    """Split at the softmax; a copy of an operand belongs to the product that reads it."""
    labels: dict[int, str] = {}
    products: dict[tuple[str, int], str] = {}
    for call in _inside(trace, *trace.owners.attention):
        if call.op == "bmm":
            here = call.path, call.turn
            second = products.get(here) == "qk_matmul"
            products[here] = labels[call.index] = "sv_matmul" if second else "qk_matmul"
        elif call.op in ("_softmax", "_to_copy"):
            labels[call.index] = "softmax"
        elif call.op in ("mul", "add", "div", "tanh"):
            labels[call.index] = "qk_matmul"
    for call in _inside(trace, *trace.owners.attention):
        if call.op == "clone":
            readers = trace.consumers.get(call.writes[0].storage, [])
            labels[call.index] = next(
                (labels[reader.index] for reader in readers if reader.index in labels), "sv_matmul"
            )
    return Claims(labels)


def _act_fn(trace: Trace) -> Claims:
    """A product in an MLP itself, not in a module of it, is that of gate and up projection."""
    product = _named(
        (call for call in _inside(trace, *trace.owners.mlp) if call.op == "mul"), "act_fn"
    )
    return Claims(_named(_inside(trace, *trace.owners.activation)) | product)


def _prompt(trace: Trace) -> Claims:
    lookup = (call for call in trace.calls if call.path.endswith(trace.owners.token_embedding))
    return Claims(
        _named(lookup),
        assembled=frozenset(call.index for call in _inside(trace, "Prompted")),
    )


def _vision_embeddings(trace: Trace) -> Claims:
    inside = (
        call
        for call in trace.calls
        if trace.owners.vision_embeddings in call.path and call.op != "convolution"
    )
    return Claims(_named(inside, "position_embedding"))


def _index(trace: Trace) -> Claims:
    """Whole numbers and truth values, what the decoder derives from them, rotary frequencies."""
    derived = _inside(trace, *trace.owners.decoder)
    frequencies = (
        r.storage
        for call in _inside(trace, *trace.owners.rotary_table)
        for r in call.reads
        if trace.storages[r.storage].kind == "parameter"
    )
    whole = (key for key, storage in trace.storages.items() if not storage.dtype.is_floating_point)
    masks = (r.storage for call in derived for r in call.writes)
    scalars = (r.storage for call in derived for r in call.reads if r.elements == 1)
    uncounted = frozenset((*frequencies, *whole, *masks, *scalars))
    return Claims(_named(derived, "index"), uncounted=uncounted)


def _scale(trace: Trace) -> Claims:
    """Behind the head, and in a layer before it is added."""
    factors = ("mul", "div", "tanh")
    head = (call for call in _inside(trace, "ForCausalLM") if call.op in factors)
    branches = {
        call.index: _added(trace, call)
        for call in _inside(trace, *trace.owners.layer)
        if call.op == "mul" and sum(region.elements > 1 for region in call.reads) == 1
    }
    constants = (
        region.storage
        for call in trace.calls
        if call.path.endswith(trace.owners.token_embedding)
        for region in call.reads
        if region.elements == 1
    )
    return Claims(_named(head, "lm_head") | branches, uncounted=frozenset(constants))


def _added(trace: Trace, factor: Call) -> str:
    """Which branch of its layer a factor is of: the first or the second."""
    earlier = (
        call
        for call in _inside(trace, *trace.owners.layer)
        if (call.path, call.turn) == (factor.path, factor.turn) and call.index < factor.index
    )
    return "mlp_residual" if any(call.op == "add" for call in earlier) else "attention_residual"


def _experts(trace: Trace) -> Claims:
    """A router's matmul, all else in a router, all in the experts; a weight of shared ones."""
    routers = _inside(trace, "Router")
    matmuls = [call for call in routers if call.op in ("mm", "addmm")]
    experts = (call for call in trace.calls if ".experts" in call.path)
    weighed = (call for call in _inside(trace, "MoeBlock") if call.op in ("sigmoid", "mul"))
    return Claims(
        _named(routers, "routing")
        | _named(matmuls, "router")
        | _named(experts, "experts")
        | _named(weighed, "weigh_shared")
    )


def _residual(trace: Trace) -> Claims:
    """The additions in a layer itself: first that of the attention's branch, then the MLP's."""
    labels: dict[int, str] = {}
    seen: set[tuple[str, int]] = set()
    for call in _inside(trace, *trace.owners.layer):
        if call.op != "add":  # a factor a channel is a kernel of its own
            continue
        here = call.path, call.turn
        labels[call.index] = "mlp_residual" if here in seen else "attention_residual"
        seen.add(here)
    return Claims(labels)


RULES: Mapping[str, Rule] = {
    "norm": _norm,
    "linear": _linear,
    "kv-cache": _kv_cache,
    "rotary": _rotary,
    "flash": _flash,
    "eager": _eager,
    "act_fn": _act_fn,
    "prompt": _prompt,
    "vision-embeddings": _vision_embeddings,
    "index": _index,
    "residual": _residual,
    "scale": _scale,
    "experts": _experts,
}
"""By the names of `roofline.model.fusions.FUSIONS`."""


def rules_for(attention: str, *, without: Collection[str] = ()) -> dict[str, Rule]:
    """All rules but those of the other kind of attention and those of `without`."""
    left_out = {"flash", "eager"} - {attention} | set(without)
    return {name: rule for name, rule in RULES.items() if name not in left_out}
