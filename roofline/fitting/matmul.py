"""`MatmulLaw` from measured matmuls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from roofline.fitting.descent import descend, numeric_jacobian
from roofline.fitting.numbers import bound, free
from roofline.fitting.rows import (
    KERNELS,
    FitError,
    Format,
    check_physics,
    columns,
    errors_percent,
    held_out,
    of_one_source,
    rounded,
)
from roofline.kernels.matmul import (
    MOST_CORRECTION,
    Blocks,
    blocks,
    chosen_seconds,
    correction_basis,
    fixed_seconds,
    kernel_seconds,
    matmul_seconds,
)
from roofline.kernels.roof import Array, Roof
from roofline.specs.attained import MatmulLaw, Tile

_TRIAL_STEPS = 12
_PHYSICS_SPREAD = 1.5
"""Prior standard deviation of the physical numbers' logarithms (log odds of fractions)."""
_RELUCTANCE_SPREAD = 0.3
_CORRECTION_SPREAD = 0.1
_FEW_ROWS, _FEW_ROWS_SPREAD = 500, 0.5
"""Below so many rows the prior is as much narrower."""


def _tiles(*shapes: tuple[int, int, float]) -> tuple[Tile, ...]:
    return tuple(Tile(rows=r, columns=c, efficiency=e) for r, c, e in shapes)


GPU = MatmulLaw(
    rows=1,
    median_error_percent=0.0,
    p90_error_percent=0.0,
    launch_us=2.0,
    tiles=_tiles(
        (16, 64, 0.4),
        (32, 64, 0.4),
        (64, 64, 0.7),
        (64, 96, 0.75),
        (64, 128, 0.75),
        (128, 64, 0.75),
        (64, 192, 0.75),
        (128, 128, 0.8),
        (128, 256, 0.8),
        (256, 128, 0.8),
    ),
    bandwidth_fraction=0.85,
    starvation=0.1,
    fill_k=100.0,
    wave_share=0.7,
    wave_overhead=0.1,
    choice_sharpness=15.0,
    splits=(1, 2, 3, 4, 6, 8, 12),
    split_us=1.0,
    split_bandwidth_ratio=3.0,
    feed_bandwidth_ratio=3.0,
    cached_bandwidth_ratio=2.0,
    cached_weights_share=0.1,
    cached_activations_share=0.5,
)
"""Where a GPU's fit starts: tensor-core libraries of NVIDIA's last generations."""

CPU = MatmulLaw(
    rows=1,
    median_error_percent=0.0,
    p90_error_percent=0.0,
    launch_us=3.0,
    tiles=_tiles((1, 16, 0.2), (4, 32, 0.4), (16, 64, 0.7)),
    bandwidth_fraction=0.8,
    fill_k=30.0,
    packing_passes=0.5,
    cached_bandwidth_ratio=3.0,
    cached_weights_share=0.5,
)
"""Where a CPU's fit starts: small tiles in registers, cores that never wait for each other."""

GPU_STARTS = (GPU, msgspec.structs.replace(GPU, splits=(1,), split_bandwidth_ratio=None))
"""Libraries that split k, and those that do not."""

_NUMBERS = (
    "launch_us",
    "bandwidth_fraction",
    "starvation",
    "fill_k",
    "wave_share",
    "wave_overhead",
    "packing_passes",
    "quantizing_passes",
    "choice_sharpness",
    "split_us",
    "split_bandwidth_ratio",
    "feed_bandwidth_ratio",
    "cached_bandwidth_ratio",
    "cached_weights_share",
    "cached_activations_share",
)
"""What is fitted of a law: those of its start that are above zero."""


def fit_matmul(
    rows: Mapping[str, Any],
    roof: Roof,
    *,
    kernel: str = "bf16",
    kind: Literal["gpu", "cpu"] = "gpu",
) -> MatmulLaw:
    """A law from columns `m`, `n`, `k`, `time_ms`, one measured [m, k] @ [k, n] a row.

    `kernel` is a key of `KERNELS`, which has the widths of its operands. A CPU gets fewer numbers
    and no corrections, for it is fitted to dozens of measurements instead of thousands. The error
    is that of a first fit on (n, k) shapes held out from it. Raises FitError.
    """
    if kernel not in KERNELS:
        raise FitError(f"no matmul kernel {kernel!r}; there are {', '.join(KERNELS)}")
    rows = of_one_source(rows)
    m, n, k, seconds = columns(rows, ("m", "n", "k", "time_ms"))
    data = _Measured(roof, kernel, m, n, k, seconds)
    check_physics(roof, seconds, 2 * m * n * k, data.weight_bytes + data.activation_bytes)
    starts = GPU_STARTS if kind == "gpu" else (CPU,)
    test = held_out(n, k)
    median = p90 = 0.0
    if 0 < test.sum() < test.size:
        trial = _best(data.where(~test), starts)
        median, p90 = errors_percent(data.where(test).predict(trial), seconds[test])
    law = _best(data, starts)
    return msgspec.structs.replace(
        rounded(law), rows=m.size, median_error_percent=median, p90_error_percent=p90
    )


def _best(data: _Measured, starts: Sequence[MatmulLaw]) -> MatmulLaw:
    """The law fitted from the start that promises most after a few steps."""
    models = [_Model(data, start) for start in starts]
    trials = [descend(model, model.measured, steps=_TRIAL_STEPS) for model in models]
    best = min(range(len(starts)), key=lambda i: trials[i][1])
    x, _ = descend(models[best], models[best].measured, trials[best][0])
    return models[best].law(x)


class _Measured:
    """Shapes and times of one kernel."""

    def __init__(self, roof: Roof, kernel: str, m: Array, n: Array, k: Array, s: Array) -> None:
        self.roof, self.kernel = roof, kernel
        self.m, self.n, self.k, self.seconds = m, n, k, s
        width = KERNELS[kernel]
        self.weight_bytes = width.weight * n * k
        self.activation_bytes = m * (width.input * k + width.output * n)

    def where(self, mask: Any) -> _Measured:
        picked = (a[mask] for a in (self.m, self.n, self.k, self.seconds))
        return _Measured(self.roof, self.kernel, *picked)

    def predict(self, law: MatmulLaw) -> Array:
        return matmul_seconds(
            law,
            self.roof,
            self.m,
            self.n,
            self.k,
            weight_bytes=self.weight_bytes,
            activation_bytes=self.activation_bytes,
        )


def _numbers(start: MatmulLaw, width: Format) -> tuple[MatmulLaw, list[str]]:
    """A start for operands of these widths, and the names of the numbers to fit."""
    if start is not CPU:
        start = msgspec.structs.replace(
            start,
            packing_passes=0.5 if width.weight < width.input else 0.0,
            quantizing_passes=1.0 if width.input < width.output else 0.0,
            split_us=start.split_us if len(start.splits) > 1 else 0.0,
        )
    return start, [name for name in _NUMBERS if getattr(start, name)]


class _Model:
    """A law's free numbers as a vector: logarithms, log odds of fractions, corrections as such."""

    def __init__(self, data: _Measured, start: MatmulLaw) -> None:
        start, numbers = _numbers(start, KERNELS[data.kernel])
        self.data, self.template, self.numbers = data, start, numbers
        self.measured = np.log(data.seconds)
        bound_s = data.roof.seconds(
            2 * data.m * data.n * data.k, data.weight_bytes + data.activation_bytes
        )
        self.floor = np.log(bound_s)
        self.basis = correction_basis(data.roof, data.m, data.n, data.k, bound_s)
        if start is CPU:
            self.basis = self.basis[:, :0]
        self.all = blocks(
            start.tiles,
            start.splits,
            data.roof,
            data.m,
            data.n,
            data.k,
            data.weight_bytes,
            data.activation_bytes,
        )
        self.start = np.array(
            [free(start, name) for name in numbers]
            + [free(tile, "efficiency") for tile in start.tiles]
            + [0.0] * (len(start.tiles) + self.basis.shape[1])
        )
        self.spread = np.array(
            [_PHYSICS_SPREAD] * (len(numbers) + len(start.tiles))
            + [_RELUCTANCE_SPREAD] * len(start.tiles)
            + [_CORRECTION_SPREAD] * self.basis.shape[1]
        )
        if data.m.size < _FEW_ROWS:
            self.spread *= _FEW_ROWS_SPREAD
        self.physical = self.start.size - self.basis.shape[1]

    def law(self, x: Array) -> MatmulLaw:
        count, tiles = len(self.numbers), len(self.template.tiles)
        values = {name: bound(name, v) for name, v in zip(self.numbers, x[:count], strict=True)}
        efficiencies = x[count : count + tiles]
        reluctances = x[count + tiles : self.physical]
        fitted = tuple(
            msgspec.structs.replace(tile, efficiency=bound("efficiency", e), reluctance=float(r))
            for tile, e, r in zip(self.template.tiles, efficiencies, reluctances, strict=True)
        )
        return msgspec.structs.replace(
            self.template,
            tiles=fitted,
            corrections=tuple(map(float, x[self.physical :])),
            **values,
        )

    def settle(self, x: Array) -> Blocks:
        seconds = kernel_seconds(self.law(x), self.data.roof, self.all)
        return self.all.take(seconds.argmin(axis=-1))

    def logarithm(self, x: Array, state: Blocks) -> Array:
        law, roof = self.law(x), self.data.roof
        kernels = kernel_seconds(law, roof, state)[..., 0]
        data = self.data
        fixed = fixed_seconds(
            law, roof, data.m, data.n, data.k, data.weight_bytes, data.activation_bytes
        )
        added = np.clip(self.basis @ x[self.physical :], -MOST_CORRECTION, MOST_CORRECTION)
        return np.maximum(np.log(chosen_seconds(law, kernels) + fixed) + added, self.floor)

    def jacobian(self, x: Array, state: Blocks) -> Array:
        physics = numeric_jacobian(self, x, state, self.physical)
        above = self.logarithm(x, state) > self.floor
        return np.hstack([physics, self.basis * above[:, None]])
