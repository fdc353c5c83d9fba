"""Time per op of a real run, under the names of the analysis, and what share of the roof that is.

`torch.profiler` times kernels; which op a kernel belongs to is read off the same trace, by the same
rules, that hold the analysis against the model (`roofline.torch_side.oracle`). For that every aten
call runs in a profiler range of its own, which costs the host up to 0.1 ms a call: the times of
kernels are true, the gaps between them are not (`measure.host_overhead` is for those).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from msgspec import Struct
from torch.profiler import ProfilerActivity, profile, record_function

from roofline.engine.result import OpTotals
from roofline.errors import InputError
from roofline.records.measurement import Achieved
from roofline.torch_side.families import family_of
from roofline.torch_side.families.base import OpOwners
from roofline.torch_side.measure.kernel_events import RANGE, Spent, spent_by_range
from roofline.torch_side.measure.timing import Mark, synchronizer
from roofline.torch_side.oracle.fusion import Label, labels, layer_of, rules_for
from roofline.torch_side.oracle.trace import CallRecorder

OTHER = "other"
"""Name of what is no op of the analysis: it is reported all the same."""
_KINDS = {
    "norm": "norm",
    "linear": "linear",
    "rotary": "rotary",
    "flash": "attention",
    "eager": "attention",
    "act_fn": "activation",
    "prompt": "embedding",
    "vision-embeddings": "embedding",
    "residual": "residual",
}
"""Kind of op by the fusion rule that names it; what no op of the analysis does is `OTHER`."""
_MARKED = {
    "vision": "vision",
    "reducer": "reducer",
    "connector": "connector",
    "llm": "llm",
    "decode": "llm",
}


class OpTime(Struct, frozen=True):
    """What all occurrences of an op took in one run."""

    component: str
    name: str
    """As in `Estimate.ops`; `kv-cache` and `index` stand for the work that the analysis
    leaves out under the fusions of these names, `OTHER` for all the rest."""
    kind: str
    count: int
    """Occurrences, or aten calls where it is `OTHER`."""
    kernels: int
    """Kernels launched; on a CPU, aten ops that call no other."""
    measured_time_s: float
    host_time_s: float
    """CPU time inside the op's own calls: launching, or on a CPU the work itself."""


def measure_ops(
    run: Callable[[Mark], object],
    model: Any,
    device: str | torch.device,
    repeats: int = 5,
) -> list[OpTime]:
    """Profile `run`, which runs `model` or parts of it eagerly, and time its ops.

    run: takes a mark to call with a component's name behind its work, as `Pipeline.prefill` does.
        Without marks, work is told apart by module: `lambda mark: model(**inputs)` will do.
    model: of a known family, as `load_model` makes them.
    device: `cpu` or a CUDA device.
    repeats: runs, behind one that is not looked at. Times are those of the run with the median
        total, so that they add up.

    Raises InputError if `run` makes no aten calls, as a compiled one or a replayed graph does not,
    and FamilyError for a model of no known family.
    """
    if repeats < 1:
        raise InputError(f"`repeats` must be 1 or more, and is {repeats}")
    torch_device = torch.device(device)
    runs = [_profiled(run, model, torch_device) for _ in range(repeats + 1)][1:]
    runs.sort(key=lambda times: sum(time.measured_time_s for time in times))
    return runs[(len(runs) - 1) // 2]


def achieved(op_times: Iterable[OpTime], expected_ops: Iterable[OpTotals]) -> list[Achieved]:
    """Put measured times beside the analysis of the same scenario.

    All layers and phases together. An op that ran more often than the analysis has it (Hugging
    Face runs the ViT block behind the features, say) is compared per occurrence. Expected ops that
    could not be told apart stand against their component's `OTHER`: a reducer's, for instance.
    """
    measured = {(time.component, time.name): time for time in op_times}
    expected: dict[tuple[str, str], _Expected] = {}
    for op in expected_ops:
        key = op.component, op.name
        if key not in measured and (op.component, OTHER) in measured:
            key = op.component, OTHER
        expected.setdefault(key, _Expected(op.kind)).add(op)
    alone = [key for key in expected if key not in measured]
    return [
        *(_beside(time, expected.get(key)) for key, time in measured.items()),
        *(
            Achieved(*key, expected[key].kind, 0, 0, None, None, expected[key].roofline_time_s)
            for key in alone
        ),
    ]


class _Expected(Struct):
    """All rows of the analysis that one measured op stands against."""

    kind: str
    count: float = 0.0
    flops: float = 0.0
    memory_access_bytes: float = 0.0
    roofline_time_s: float = 0.0

    def add(self, op: OpTotals) -> None:
        for name in ("count", "flops", "memory_access_bytes", "roofline_time_s"):
            setattr(self, name, getattr(self, name) + float(getattr(op, name)))


def _beside(time: OpTime, expected: _Expected | None) -> Achieved:
    op = (
        time.component,
        time.name,
        time.kind,
        time.count,
        time.kernels,
        time.measured_time_s,
        time.host_time_s,
    )
    if expected is None or not expected.count:
        return Achieved(*op, None)
    ran = 1.0 if time.name == OTHER else time.count / expected.count
    roofline_time_s = ran * expected.roofline_time_s
    if not time.measured_time_s:
        return Achieved(*op, roofline_time_s)
    return Achieved(
        *op,
        roofline_time_s,
        flops_per_s=ran * expected.flops / time.measured_time_s,
        bytes_per_s=ran * expected.memory_access_bytes / time.measured_time_s,
        share_of_roof=roofline_time_s / time.measured_time_s,
    )


class _Range(NamedTuple):
    """Where an aten call ran, and which call of the trace it is, if it moved data."""

    path: str
    call: int


class _RangedRecorder(CallRecorder):  # type: ignore[no-untyped-call]
    """A recorder that runs every call in a profiler range of its own."""

    def __init__(self, owners: OpOwners) -> None:
        super().__init__(owners)
        self.ranges: list[_Range] = []

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        name = f"{RANGE}{len(self.ranges)}"
        self.ranges.append(_Range(self.path, len(self.calls)))
        with record_function(name):
            return super().run(func, args, kwargs)


def _profiled(run: Callable[[Mark], object], model: Any, device: torch.device) -> list[OpTime]:
    on_cpu = device.type == "cpu"
    activities = [ProfilerActivity.CPU, *([] if on_cpu else [ProfilerActivity.CUDA])]
    family = family_of(model)
    recorder = _RangedRecorder(family.owners)
    components: list[str] = []  # of the ranges up to the last mark

    def mark(name: str) -> None:
        missing = len(recorder.ranges) - len(components)
        components.extend([_MARKED.get(name, "")] * missing)

    with profile(activities=activities) as profiler:
        with torch.no_grad(), recorder.inside(model), recorder:
            run(mark)
        synchronizer(device)()
    mark("")
    if not recorder.calls:
        raise InputError("nothing to time op by op: no aten calls are made; use the mode eager")
    attention = "eager" if model.config._attn_implementation == "eager" else "flash"
    named = labels(recorder.trace(model), rules_for(attention))
    ops = _ops(recorder, named, components, family.components)
    return _summed(ops, spent_by_range(profiler.events(), on_cpu=on_cpu))


class _Op(NamedTuple):
    """What the range of one call belongs to."""

    component: str
    name: str
    kind: str
    occurrence: object
    """The same for all calls of one occurrence of the op; None for what counts as none."""


def _ops(
    recorder: _RangedRecorder,
    named: Mapping[int, Label],
    components: Sequence[str],
    component_of: Mapping[str, str],
) -> dict[str | None, _Op]:
    """By the name of a range, and for None, what runs in no range."""
    last = {span.call: number for number, span in enumerate(recorder.ranges)}
    ops: dict[str | None, _Op] = {None: _Op(OTHER, OTHER, OTHER, None)}
    for number, (span, marked) in enumerate(zip(recorder.ranges, components, strict=True)):
        component = marked or _component(span.path, component_of)
        # of the ranges that were to have an index the last one has it: those before were views
        recorded = span.call < len(recorder.calls) and last[span.call] == number
        label = named.get(span.call) if recorded else None
        if label is None:
            op = _Op(component, OTHER, OTHER, number if recorded else None)
        else:
            call = recorder.calls[span.call]
            kind = "softmax" if label.kernel == "softmax" else _KINDS.get(label.rule, OTHER)
            op = _Op(component, label.kernel, kind, (layer_of(call), call.turn))
        ops[f"{RANGE}{number}"] = op
    return ops


def _component(path: str, component_of: Mapping[str, str]) -> str:
    """By the innermost module on the path that belongs to one: a merger may lie in a tower."""
    parts = (component_of.get(part) for part in reversed(path.split(".")))
    return next((part for part in parts if part), OTHER)


def _summed(ops: Mapping[str | None, _Op], spent: Mapping[str | None, Spent]) -> list[OpTime]:
    """In the order in which ops first ran, with `OTHER` behind them."""
    occurrences: dict[tuple[str, str, str], set[object]] = {}
    totals: dict[tuple[str, str, str], Spent] = {}
    for name, op in ops.items():
        key = op[:3]
        total = totals.setdefault(key, Spent())
        seen = occurrences.setdefault(key, set())
        if op.occurrence is not None:
            seen.add(op.occurrence)
        if name in spent:
            total.kernels += spent[name].kernels
            total.device_s += spent[name].device_s
            total.host_s += spent[name].host_s
    return [
        OpTime(*key, len(occurrences[key]), total.kernels, total.device_s, total.host_s)
        for key, total in sorted(totals.items(), key=lambda item: item[0][1] == OTHER)
        if total.kernels or total.device_s
    ]
