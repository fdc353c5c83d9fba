"""How long a collective takes between devices of one machine: `collective_time`.

>>> import roofline
>>> exchange = roofline.collective_time("h100", "all_reduce", devices=8, bytes=[65536, 2**28])
>>> exchange.roofline_time_s.shape
(2,)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from roofline.device.borrowed import laws_of
from roofline.device.kernel_times import KernelTime, kernel_time
from roofline.device.kernel_types import ATTENTION_BYTES, OTHER_NAMES, KernelType
from roofline.device.laws.collective import (
    CUSTOM,
    TRAVERSALS,
    CollectiveLaw,
    bus_seconds,
    collective_seconds,
    op_of,
)
from roofline.device.sizes import sizes_of
from roofline.errors import ScenarioError, UnsupportedModeError
from roofline.specs.catalog import load_hardware
from roofline.specs.hardware import Hardware

OPS = (*TRAVERSALS, f"all_reduce{CUSTOM}")
"""What a caller may name."""

_NARROW = ("fp8", "w8a8")


def collective_time(
    hardware: str | Hardware,
    op: str,
    devices: ArrayLike,
    bytes: ArrayLike,  # noqa: A002  # as nccl-tests call it
    dtype: KernelType = "bf16",
) -> KernelTime:
    """One collective between two or more devices of one machine, by their link; arrays broadcast.

    op: all_reduce, all_gather, reduce_scatter or alltoall, as NCCL does them, or all_reduce-custom,
    the own kernel of a serving framework.
    bytes: the size that nccl-tests print. Of an all-reduce what each device has before and after;
    of an all-gather what each has after; of a reduce-scatter what each has before; of an all-to-all
    what each sends, its own part included. Each time the whole, not a device's part of it.
    dtype: of what is added up; one byte an element takes longer.

    The bound is bus bandwidth: bytes·(n − 1)/n, twice that of an all-reduce, at the link's peak in
    one direction. A switch that adds up in passing may beat it by a few percent.

    Raises UnknownNameError, SpecError, UnsupportedModeError for a device whose file gives no link,
    ScenarioError for other ops and types, fewer than two devices and sizes that are not above zero.
    """
    device, kernel = load_hardware(hardware), OTHER_NAMES.get(dtype, dtype)
    if op not in OPS:
        raise ScenarioError(f"no collective {op!r}: choose one of {', '.join(OPS)}")
    if kernel not in (*ATTENTION_BYTES, *_NARROW):
        raise ScenarioError(
            f"no collective in {dtype!r}: choose one of {', '.join(ATTENTION_BYTES)}, int8"
        )
    count, size = sizes_of(devices=devices, bytes=bytes)
    if np.any(count < 2):
        raise ScenarioError("devices must be 2 or more")
    link = device.link_bytes_per_s
    if link is None:
        raise UnsupportedModeError(
            f"{device.name} has no link to others of its kind: give its file "
            "`link_bandwidth_gb_per_s`"
        )
    bound = bus_seconds(op_of(op), count, size, link_bytes_per_s=link)[()]
    laws = laws_of(device)
    law = laws.of(CollectiveLaw).get(op) if laws else None
    if laws is None or law is None:
        return KernelTime(bound)
    seconds = collective_seconds(
        law, op_of(op), count, size, link_bytes_per_s=link, narrow=kernel in _NARROW
    )
    return kernel_time(np.asarray(bound), seconds, law, laws)
