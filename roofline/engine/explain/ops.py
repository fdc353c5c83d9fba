"""One op: FLOPs, traffic and time of an occurrence, and over all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from roofline.device.resources import RESOURCES
from roofline.engine.explain.explanation import Explanation, Line, Lines
from roofline.engine.explain.formulas import (
    equal,
    in_numbers,
    in_symbols,
    listed,
    plain_number,
    product,
    value_of,
    worked,
)
from roofline.engine.explain.workings import Part, Workings
from roofline.engine.price import PricePlan
from roofline.engine.result import OpTotals, Totals
from roofline.model.counted import CountedOp
from roofline.model.op import AttentionShape, MatmulShape, MoeShape, Op, OpShape
from roofline.model.polynomial import Number, Point, Polynomial
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import KernelLaws, Law
from roofline.specs.quantization import Quantization
from roofline.units import percent, si

_TRAFFIC = {
    "weight_read_bytes": "Weights read",
    "activation_read_bytes": "Activations read",
    "activation_write_bytes": "Activations written",
    "kv_read_bytes": "Cache read",
    "kv_write_bytes": "Cache written",
}


def explain_op(workings: Workings, parts: Sequence[Part]) -> Explanation:
    """All that an op of a name does, phase by phase and layers by layers."""
    first = parts[0]
    return Explanation(
        f"{first.op.name} of the {first.row.component}: {workings.configuration}",
        tuple(
            Lines.of(_lines(workings, part), _heading(part) if len(parts) > 1 else "")
            for part in parts
        ),
        tuple(sources(workings, parts)),
    )


def _heading(part: Part) -> str:
    phase = "First decode step" if part.op.phase == "decode" else "Prefill"
    return f"{phase}, layers {part.op.layers}" if part.op.layers else phase


def _lines(workings: Workings, part: Part) -> Iterator[Line]:
    point, op = workings.point, part.op
    amounts = op.amounts
    if amounts.flops:
        yield "FLOPs", flops(op.shape, amounts.flops, point)
    if isinstance(op.shape, MatmulShape) and Polynomial.of(op.shape.rows).variables:
        rows = op.shape.rows
        yield (
            "Rows",
            equal(in_symbols(rows), in_numbers(rows, point), plain_number(value_of(rows, point))),
        )
    if amounts.vector_flops:
        yield "Vector FLOPs", worked(amounts.vector_flops, point, "FLOP")
    moved = []
    for name, title in _TRAFFIC.items():
        amount: Polynomial = getattr(amounts, name)
        if amount:
            yield title, _bytes(part, name, amount, point)
            moved.append((title.lower(), value_of(amount, point)))
    yield "Traffic", listed(moved, "B")
    if isinstance(part.plan, PricePlan):
        yield from _times(workings, part, part.plan)


def flops(shape: OpShape | None, amount: Polynomial, point: Point) -> str:
    """By the shape where that says it all, else as the polynomial that they are."""
    sizes: tuple[Number, ...]
    match shape:
        case MatmulShape():
            sizes = (shape.rows, shape.in_features, shape.out_features)
            symbols = "2 × rows × in × out"
            formula = 2 * shape.rows * shape.in_features * shape.out_features
        case AttentionShape():
            sizes = (shape.batch, shape.heads, shape.queries, shape.keys, shape.head_dim)
            symbols = "2 × 2 × batch × heads × queries × keys × head size"
            formula = 2 * shape.query_key_flops
        case MoeShape():
            sizes = (shape.tokens, shape.top_k, shape.expert_elements)
            symbols = "2 × tokens × experts of each × weights of one"
            formula = shape.flops
        case None:
            return worked(amount, point, "FLOP")
    if Polynomial.of(formula) != amount:
        return worked(amount, point, "FLOP")
    twos = (2, 2) if isinstance(shape, AttentionShape) else (2,)
    numbers = product(*twos, *(value_of(size, point) for size in sizes))
    return equal(symbols, numbers, si(value_of(amount, point), "FLOP"))


def _bytes(part: Part, name: str, amount: Polynomial, point: Point) -> str:
    """Elements times their width; bytes alone where a convention counts nothing else."""
    op, mode = part.op.elements, part.counts.mode
    if op is None:
        return worked(amount, point, "B")
    if name == "weight_read_bytes":
        return _weights(op, mode, amount, point)
    width = mode.kv_bytes if name.startswith("kv") else mode.activation_bytes
    text = worked(amount / width, point, "B", f"{width:g} B")
    tensors = {"activation_read_bytes": op.reads, "activation_write_bytes": op.writes}.get(name)
    return f"{text} ({', '.join(tensors)})" if tensors else text


def _weights(op: Op, mode: Quantization, amount: Polynomial, point: Point) -> str:
    parts = []
    if op.weights:
        size, shape = in_symbols(op.weights), op.shape
        if isinstance(shape, MatmulShape) and shape.in_features * shape.out_features == op.weights:
            size = product(*(value_of(n, point) for n in (shape.in_features, shape.out_features)))
        parts.append(product(size, f"{mode.weight_bytes(op.role):g} B"))
    if op.vectors:
        parts.append(product(in_symbols(op.vectors), f"{mode.vector_bytes:g} B"))
    return equal(" + ".join(parts), si(value_of(amount, point), "B"))


def _times(workings: Workings, part: Part, plan: PricePlan) -> Iterator[Line]:
    """Seconds of one occurrence at each resource, by a law, and over all occurrences."""
    point, op, row = workings.point, part.op, part.row
    assert isinstance(row, OpTotals)
    times = plan.resource_times(op)
    seconds = {name: value_of(time, point) for name, time in times.items()}
    for name in seconds:
        unit = _unit(name, part)
        amount, rate = value_of(op.amounts_at[name], point), plan.peaks.per_s(name, op.unit)
        title = RESOURCES.find(name).title
        yield title, f"{si(amount, unit)} ÷ {si(rate, f'{unit}/s')} = {si(seconds[name], 's')}"
    slowest = max(seconds, key=lambda name: seconds[name])
    yield (
        "Roofline",
        f"{si(seconds[slowest], 's')}, the slowest: {RESOURCES.find(slowest).title}",
    )
    attainable = _attainable_once(plan, op, point)
    if attainable is not None and plan.laws is not None:
        law, text = plan.laws.law(op), si(attainable, "s")
        if law is None:
            text += ", its roofline: no law goes for it"
        else:
            text += f" by the law of {_law_name(op, law, plan.laws.kernel_laws)}"
            text += f" ({law.origin}; nine in ten within {100 * plan.laws.error(op):.0f} %)"
        if op.launches > 1:
            text += f", {op.launches} launches"
        yield "Attainable", text
        if law is not None and law.terms:
            yield "Law", law.terms
    count = float(row.count)
    if count != 1:
        yield "All", _all(row, count, workings) if count else "it does not run"


def _attainable_once(plan: PricePlan, op: CountedOp, point: Point) -> float | None:
    """Seconds of one occurrence; of a decode step, the first."""
    attainable = plan.kernel(op).attainable
    return None if attainable is None else float(attainable(point))


def _unit(resource: str, part: Part) -> str:
    """What a resource does; of units that compute in integers, operations."""
    assert isinstance(part.plan, PricePlan)
    kind = part.plan.peaks.data_type(part.op.unit)
    unit = RESOURCES.find(resource).unit
    return "OP" if resource == "tensor" and kind.startswith("int") else unit


def _law_name(op: CountedOp, law: Law, laws: KernelLaws) -> str:
    """`fp16 matmul`, `norm`: by the kernel that it was fitted to, which may be another type's."""
    known = laws.of(type(law))
    kernel = next((n for n, one in known.items() if replace(one, origin=law.origin) == law), "")
    if op.unit == "vector":
        return "vector ops" if kernel == "default" else f"{kernel} kernels"
    if isinstance(op.shape, MoeShape):
        return f"{kernel} experts"
    return f"{kernel} {'attention' if isinstance(op.shape, AttentionShape) else 'matmuls'}"


def _all(row: OpTotals, count: float, workings: Workings) -> str:
    whole = workings.estimate.end_to_end
    text = f"{plain_number(count)} times: {si(row.roofline_time_s, 's')} at the roofline"
    if row.attainable_time_s is not None:
        text += f", {si(row.attainable_time_s, 's')} attainable"
    assert isinstance(whole, Totals)
    share = float(row.roofline_time_s) / float(whole.roofline_time_s)
    return f"{text}; {percent(share)} of the whole roofline time"


def sources(
    workings: Workings, parts: Sequence[Part], *, rates: bool = True, widths: bool = True
) -> Iterator[Line]:
    """Who vouches for the figures.

    rates: those of the device that were divided by, and its laws. widths: bytes of an element.
    """
    if rates and workings.hardware is not None:
        yield from _rates(workings, workings.hardware, parts)
    for component in dict.fromkeys(part.row.component for part in parts):
        if sizes := workings.spec_source(component):
            yield sizes
    if widths:
        modes = {part.counts.mode.name: part.counts.mode for part in parts}
        yield from ((f"widths of {name}", mode.source) for name, mode in modes.items())


def _rates(workings: Workings, hardware: Hardware, parts: Sequence[Part]) -> Iterator[Line]:
    cited: dict[Line, None] = {}  # two figures may be as large
    plans = [part.plan for part in parts if isinstance(part.plan, PricePlan)]
    for part, plan in zip(parts, plans, strict=True):
        for name, amount in part.op.amounts_at.items():
            figure = plan.peaks.figure(name, part.op.unit)
            if amount and figure is not None:
                rate = si(plan.peaks.per_s(name, part.op.unit), f"{_unit(name, part)}/s")
                cited[rate, workings.cited(figure)] = None
    yield from cited
    if plans and plans[0].laws:
        laws = plans[0].laws.kernel_laws
        yield "laws", f"{' '.join(laws.source.split())}, {laws.date}; {laws.conditions}"
