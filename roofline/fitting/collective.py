"""`CollectiveLaw` from measured collectives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from msgspec.structs import replace

from roofline.device.laws.collective import (
    CUSTOM,
    TRAVERSALS,
    CollectiveLaw,
    bus_seconds,
    collective_seconds,
    op_of,
)
from roofline.fitting.fitters import FITTERS, Fitter
from roofline.fitting.law_fit import NumericFit, best_law, law_with_error
from roofline.fitting.numbers import bound, free
from roofline.fitting.rows import (
    FASTER_THAN_ROOF,
    FitError,
    columns,
    in_turn,
    of_one_source,
    place,
)
from roofline.model.polynomial import Array
from roofline.specs.hardware import Hardware

ELEMENT_BYTES = {"int8": 1, "fp8": 1, "fp16": 2, "bf16": 2, "fp32": 4}
"""Bytes of a message's element."""

START = CollectiveLaw(
    rows=1,
    median_error_percent=0.0,
    p90_error_percent=0.0,
    latency_us=6.0,
    doubling_us=3.0,
    bandwidth_fraction=0.7,
    devices_power=0.3,
    half_speed_bytes=3e6,
    half_speed_power=0.6,
    narrow_slowdown=0.05,
)
"""Where a fit starts."""

_NUMBERS = (
    "latency_us",
    "doubling_us",
    "bandwidth_fraction",
    "devices_power",
    "half_speed_bytes",
    "half_speed_power",
    "narrow_slowdown",
)
_SPREAD = 2.0
_COLUMNS = ("num_gpus", "message_size")


def fit_collective(rows: Mapping[str, Any], op: str, *, link_bytes_per_s: float) -> CollectiveLaw:
    """A law of an op from columns `num_gpus`, `message_size` (elements, as nccl-tests count them),
    `dtype` and `time_ms`.

    The errors are those of first fits on sets of (num_gpus, message_size) held out from them.
    Raises FitError.
    """
    rows = of_one_source(rows)
    data = _Messages.of(rows, op, link_bytes_per_s)
    share = data.bound() / data.seconds
    if share.max() > FASTER_THAN_ROOF:
        worst = int(share.argmax())
        raise FitError(
            f"{place(rows, worst)} takes {share[worst]:.2f} times the bus bandwidth of the link; "
            "check `link_bandwidth_gb_per_s`, and that message_size is in elements"
        )
    return law_with_error(data, _fitted, in_turn(data.devices, data.size))


def _kernels(hardware: Hardware, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows by op, those of frameworks' own kernels (`source` ends in `custom`) apart."""
    named = rows["op"].astype(str)
    if "source" in rows:
        custom = rows["source"].astype(str).str.endswith(CUSTOM.lstrip("-"))
        named = named.where(~custom, named + CUSTOM)
    return {str(name): rows[named == name] for name in dict.fromkeys(named)}


def _fit(hardware: Hardware, kernel: str, rows: dict[str, Any]) -> CollectiveLaw:
    link = hardware.link_bytes_per_s
    if link is None:
        raise FitError(f"{hardware.name} has no `link_bandwidth_gb_per_s` to state times by")
    return fit_collective(rows, op_of(kernel), link_bytes_per_s=link)


def _seconds(hardware: Hardware, kernel: str, law: CollectiveLaw, rows: Mapping[str, Any]) -> Array:
    link = hardware.link_bytes_per_s
    assert link is not None  # or there were no law
    return _Messages.of(rows, op_of(kernel), link).predict(law)


FITTERS.register(
    CollectiveLaw.family,
    Fitter(_COLUMNS, _kernels, _fit, seconds=_seconds, ops=tuple(sorted(TRAVERSALS))),
)


class _Messages:
    """Messages and times."""

    def __init__(self, op: str, link: float, *arrays: Any) -> None:
        self.op, self.link, self.arrays = op, link, arrays
        self.devices, self.size, self.narrow, self.seconds = arrays

    @classmethod
    def of(cls, rows: Mapping[str, Any], op: str, link: float) -> _Messages:
        devices, elements, seconds = columns(rows, (*_COLUMNS, "time_ms"), least=1)
        if devices.min() < 2:
            raise FitError("num_gpus must be 2 or more")
        names = np.asarray(rows["dtype"] if "dtype" in rows else ["fp16"] * seconds.size, dtype=str)
        unknown = sorted(set(names.tolist()) - set(ELEMENT_BYTES))
        if unknown:
            raise FitError(f"dtype {unknown[0]!r} is not one of {', '.join(ELEMENT_BYTES)}")
        width = np.array([ELEMENT_BYTES[name] for name in names.tolist()], dtype=np.float64)
        return cls(op, link, devices, elements * width, width == 1, seconds)

    def where(self, mask: Any) -> _Messages:
        return _Messages(self.op, self.link, *(array[mask] for array in self.arrays))

    def bound(self) -> Array:
        return bus_seconds(self.op, self.devices, self.size, link_bytes_per_s=self.link)

    def predict(self, law: CollectiveLaw) -> Array:
        link = self.link
        return collective_seconds(
            law, self.op, self.devices, self.size, link_bytes_per_s=link, narrow=self.narrow
        )


def _fitted(data: _Messages) -> CollectiveLaw:
    law: CollectiveLaw = best_law([_CollectiveFit(data)])
    return law


class _CollectiveFit(NumericFit):
    """The law's numbers as a vector."""

    def __init__(self, data: _Messages) -> None:
        self.data = data
        self.measured = np.log(data.seconds)
        self.start = np.array([free(START, name) for name in _NUMBERS])
        self.spread = np.full(len(_NUMBERS), _SPREAD)

    def law(self, x: Array) -> CollectiveLaw:
        values = {name: bound(name, value) for name, value in zip(_NUMBERS, x, strict=True)}
        return replace(START, **values)

    def logarithm(self, x: Array, state: None) -> Array:
        return np.log(self.data.predict(self.law(x)))
