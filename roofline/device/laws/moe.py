"""Attainable time of a mixture-of-experts MLP: gate-up and down as two grouped matmuls.

Routing is balanced: T tokens of k experts each touch min(experts, T·k) of them, and every touched
expert works on as many rows. Its weights come from DRAM once, its rows are computed in blocks, so
that few rows cost as much as some more, and a block walks its whole depth even where nothing else
keeps the device busy. Those three overlap in each of the two matmuls. Launches, sorting by expert,
and the passes over activations between the matmuls are added. Two curves and a linear function of
the shape take what physics leaves over. The curves rise with rows an expert and with experts
touched, so that the time never falls as tokens rise. No result is below the roofline.

Grouped matmuls of experts: Gale et al., MegaBlocks, arXiv:2211.15841, section 5.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta

from roofline.device.laws.smooth import scaled, within_cache
from roofline.device.roof import FloatOrArray, Roof
from roofline.model.polynomial import Array
from roofline.specs.kernel_laws import Coefficient, Fraction, Law, NonNegative, register_laws
from roofline.specs.sourced import Positive
from roofline.units import MICRO, NANO

BLOCK_ROWS, BLOCK_COLUMNS = 64, 128
"""Block of the output that a unit computes at a time."""
ALIGNED = 16
"""Elements that a row of weights must be a multiple of for wide loads."""
ROWS_NODES = (1.0, 4.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0)
"""Rows an expert at which the first curve has values; linear in the logarithm between."""
TOUCHED_NODES = (1.0, 4.0, 16.0, 64.0, 256.0)
"""Experts touched at which the second has."""
SHAPE = ((10.0, 13.0), (5.0, 14.0), (3.0, 9.0), (0.0, 4.5))
"""Ranges of log₂ of hidden, intermediate, experts and top_k; functions of them hold beyond."""
MOST_TILT = 1.4
"""Largest logarithm by which a shape stretches a curve."""

_Values = Annotated[tuple[NonNegative, ...], Meta(max_length=len(ROWS_NODES))]


class MoeLaw(Law, frozen=True):
    """Numbers of `moe_seconds`, for grouped matmuls of one data type."""

    family: ClassVar[str] = "moe"
    launch_us: NonNegative
    """Time of all launches, in µs."""
    row_ns: NonNegative
    """Time of routing a row (a token to one of its experts), in ns."""
    expert_ns: NonNegative
    """Time of keeping book of an expert, touched or not, in ns."""
    efficiency: Fraction
    """Share of the peak that the matmuls attain with many rows."""
    least_rows: NonNegative
    """Rows of an expert that are computed beside its own."""
    fill_k: NonNegative
    """Steps in k that filling and draining a block's pipeline costs."""
    step_ns: NonNegative
    """Time of a step in k of a block, however little there is to do, in ns."""
    bandwidth_fraction: Fraction
    """Share of the DRAM bandwidth that reading weights attains."""
    activation_passes: NonNegative
    """Times that activations are moved between the matmuls, at the DRAM bandwidth."""
    unaligned_slowdown: NonNegative = 0.0
    """Extra time, relative, where `intermediate` is no multiple of 16."""
    cached_bandwidth_ratio: Positive = 1.0
    """Bandwidth of weights in the last-level cache, over DRAM bandwidth."""
    cached_share: NonNegative = 0.0
    """Share of the last-level cache up to which the measurement found weights there."""
    rows_curve: _Values = ()
    """Logarithm of time at `ROWS_NODES`, for what the physics leaves over; it never falls."""
    touched_curve: _Values = ()
    """The same at `TOUCHED_NODES`."""
    rows_tilt: tuple[Coefficient, ...] = ()
    """How the logarithm of the first curve's size goes with each of `SHAPE`."""
    touched_tilt: tuple[Coefficient, ...] = ()
    """The same of the second curve."""
    shape_corrections: tuple[Coefficient, ...] = ()
    """Added to the logarithm of time: a constant, and a factor for each of `SHAPE`."""

    def __post_init__(self) -> None:
        _check_curve("rows_curve", self.rows_curve, len(ROWS_NODES))
        _check_curve("touched_curve", self.touched_curve, len(TOUCHED_NODES))
        for name in ("rows_tilt", "touched_tilt", "shape_corrections"):
            needed = len(SHAPE) + (name == "shape_corrections")
            if len(getattr(self, name)) not in (0, needed):
                raise ValueError(f"`{name}` takes {needed} numbers, or none")

    @property
    def terms(self) -> str:
        """`34 µs of launches + FLOPs at up to 85 % of the peak, weights at up to 95 % …`"""
        return (
            f"{self.launch_us:.3g} µs of launches + FLOPs at up to {100 * self.efficiency:.0f} % "
            f"of the peak, weights of touched experts at up to {100 * self.bandwidth_fraction:.0f} "
            "% of the bandwidth; docs/attainable.md"
        )


def _check_curve(name: str, values: Sequence[float], needed: int) -> None:
    if len(values) not in (0, needed):
        raise ValueError(f"`{name}` takes {needed} numbers, or none")
    if any(b < a for a, b in pairwise(values)):
        raise ValueError(f"`{name}` must not fall: time would, with more tokens")


@register_laws(MoeLaw)
def moe_seconds(
    law: MoeLaw,
    roof: Roof,
    tokens: FloatOrArray,
    hidden: FloatOrArray,
    intermediate: FloatOrArray,
    experts: FloatOrArray,
    top_k: FloatOrArray,
    *,
    weight_bytes: FloatOrArray,
    activation_bytes: FloatOrArray,
    gated: bool | Array = True,
) -> Array:
    """Seconds of the MLP of `tokens`, each sent to `top_k` of `experts`; arguments broadcast.

    An expert is gate (if it is `gated`) and up [hidden, intermediate] and down [intermediate,
    hidden]; under tensor parallelism `intermediate` is the share of one device. `weight_bytes` are
    those of the experts touched, `activation_bytes` what tokens bring and take away.

    t = max(t_physical·exp(c), t_roof), in s, with `physical_seconds` and the correction c of
    `correction`; t_roof is `Roof.seconds` of `moe_flops` and all bytes.
    """
    tokens, hidden, intermediate, experts, top_k, weights = (
        np.asarray(value, dtype=np.float64)
        for value in (tokens, hidden, intermediate, experts, top_k, weight_bytes)
    )
    shape = (tokens, hidden, intermediate, experts, top_k)
    seconds = physical_seconds(law, roof, *shape, weight_bytes=weights, gated=gated)
    if law.rows_curve:
        seconds = seconds * np.exp(correction(law, *shape))
    flops = moe_flops(*shape, gated=gated)
    return np.maximum(seconds, roof.seconds(flops, weights + activation_bytes))


def moe_flops(
    tokens: Array,
    hidden: FloatOrArray,
    intermediate: FloatOrArray,
    experts: FloatOrArray,
    top_k: FloatOrArray,
    *,
    gated: bool | Array = True,
) -> Array:
    """FLOPs of the matmuls, 2 per row, weight of its expert and matrix: 6·T·k·hidden·intermediate
    with a gate, 4 without.
    """
    flops: Array = (4 + 2 * np.asarray(gated)) * tokens * top_k * hidden * intermediate
    return flops


def touched_experts(tokens: FloatOrArray, experts: FloatOrArray, top_k: FloatOrArray) -> Array:
    """Experts that have any token under balanced routing: min(experts, tokens·top_k)."""
    return np.minimum(experts, np.asarray(tokens, dtype=np.float64) * top_k)


def physical_seconds(
    law: MoeLaw,
    roof: Roof,
    tokens: Array,
    hidden: Array,
    intermediate: Array,
    experts: Array,
    top_k: Array,
    *,
    weight_bytes: Array,
    gated: bool | Array = True,
) -> Array:
    """Time in s without correction and clamp.

    t = launch_us + s·(row_ns·R + expert_ns·experts + Σ (c⁴ + m⁴ + d⁴)^¼ + a), where R = T·k rows
    are r = R / E to each of E touched experts, and over both matmuls [r, k] @ [k, n]:

    - c = 2·E·(r + least_rows)·n·(k + fill_k) / (P·efficiency), at the peak P in FLOP/s;
    - m: the weights' bytes over B·bandwidth_fraction, sooner as far as they lie in the cache;
    - d = max(1, E·⌈r / 64⌉·n / 128 / U)·k·step_ns: waves of blocks on U units, each k deep;
    - a: activation_passes over R·(3·intermediate + 2·hidden) + 2·T·hidden 16-bit elements (2 for 3
      without a gate), at the bandwidth B in B/s;
    - s = 1 + unaligned_slowdown where `intermediate` is no multiple of 16, else 1.
    """
    touched = touched_experts(tokens, experts, top_k)
    rows = tokens * top_k
    each = rows / touched
    cached = within_cache(weight_bytes, law.cached_share * roof.cache_bytes)
    memory = weight_bytes * (1 - cached * (1 - 1 / law.cached_bandwidth_ratio))
    memory = memory / (roof.bytes_per_s * law.bandwidth_fraction)
    blocks = touched * np.ceil(each / BLOCK_ROWS) / (BLOCK_COLUMNS * roof.units)
    computed = 2 * touched * (each + law.least_rows) / (roof.flops_per_s * law.efficiency)
    up = 1 + np.asarray(gated)  # matrices that come before the activation
    moved = 2 * (rows * ((1 + up) * intermediate + 2 * hidden) + 2 * tokens * hidden)
    seconds = (
        law.row_ns * NANO * rows
        + law.expert_ns * NANO * experts
        + law.activation_passes * moved / roof.bytes_per_s
    )
    halves = ((up * intermediate, hidden, up / (1 + up)), (hidden, intermediate, 1 / (1 + up)))
    for n, k, share in halves:
        compute = computed * n * (k + law.fill_k)
        depth = np.maximum(1.0, blocks * n) * k * (law.step_ns * NANO)
        overlapped = _fourth(compute) + _fourth(share * memory) + _fourth(depth)
        seconds = seconds + np.sqrt(np.sqrt(overlapped))
    slowdown = 1 + law.unaligned_slowdown * (intermediate % ALIGNED != 0)
    whole: Array = law.launch_us * MICRO + seconds * slowdown
    return whole


def _fourth(value: Array) -> Array:
    """A power that takes a multiplication or two."""
    return np.square(np.square(value))


def correction(
    law: MoeLaw, tokens: Array, hidden: Array, intermediate: Array, experts: Array, top_k: Array
) -> Array:
    """What is added to the logarithm of time: c₀ + c·x + f(r)·exp(u·x) + g(E)·exp(v·x).

    f and g are the law's curves of rows an expert and of experts touched, x the shape scaled to
    [−1, 1], c `shape_corrections`, u and v the curves' tilts, u·x and v·x within ±1.4.
    """
    touched = touched_experts(tokens, experts, top_k)
    variables = shape_variables(hidden, intermediate, experts, top_k)
    constant, *slopes = law.shape_corrections
    rows = np.interp(np.log(tokens * top_k / touched), np.log(ROWS_NODES), law.rows_curve)
    experts_ = np.interp(np.log(touched), np.log(TOUCHED_NODES), law.touched_curve)
    added: Array = constant + weighted(slopes, variables)
    return (
        added
        + rows * stretch(law.rows_tilt, variables)
        + experts_ * stretch(law.touched_tilt, variables)
    )


def stretch(tilt: Sequence[float], variables: Sequence[Array]) -> Array:
    """How large a curve is for a shape: exp(Σ tilt·variable), within e^±1.4."""
    exponent = weighted(tilt, variables)
    factor: Array = np.exp(np.minimum(np.maximum(exponent, -MOST_TILT), MOST_TILT))
    return factor


def weighted(factors: Sequence[float], variables: Sequence[Array]) -> Array:
    """Σ factor·variable."""
    total: Array = np.zeros(())
    for factor, variable in zip(factors, variables, strict=True):
        total = total + factor * variable
    return total


def shape_variables(
    hidden: Array, intermediate: Array, experts: Array, top_k: Array
) -> list[Array]:
    """log₂ of each, its range in `SHAPE` mapped to [−1, 1] and held beyond."""
    sizes = zip((hidden, intermediate, experts, top_k), SHAPE, strict=True)
    return [scaled(np.log2(size), span) for size, span in sizes]
