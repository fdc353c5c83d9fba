"""All laws of a device, from everything that was measured on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pandas as pd
from msgspec.structs import replace

from roofline.device.kernel_types import ATTENTION_BYTES, kernel_roof
from roofline.fitting.attention import fit_attention
from roofline.fitting.matmul import fit_matmul
from roofline.fitting.pointwise import fit_pointwise
from roofline.fitting.rows import FitError, of_one_source
from roofline.fitting.tables import Kind, kernels
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import AttentionLaw, KernelLaws, MatmulLaw, Origin, PointwiseLaw

PLAINEST = "residual"
"""Vector op whose law goes for all that were not measured."""

Progress = Callable[[str], None]


def fit_device(
    hardware: Hardware,
    measured: Mapping[Kind, pd.DataFrame],
    *,
    source: str,
    date: str,
    origin: Origin = "fitted",
    progress: Progress = lambda doing: None,
) -> KernelLaws:
    """The section `kernel_laws` of a device's file, with a law for each kernel that was measured.

    measured: rows by kind, as `roofline.fitting.tables.by_kind` gives them, all of this device.
    source: key of the file's `sources`. progress: is told what is fitted next.

    Raises FitError, UnsupportedModeError.
    """
    nothing = pd.DataFrame()
    return KernelLaws(
        origin=origin,
        source=source,
        date=date,
        conditions=", ".join(_software(measured)) or "not told",
        matmul=_matmul(hardware, measured.get("matmul", nothing), progress),
        attention=_attention(hardware, measured.get("attention", nothing), progress),
        pointwise=_vector(hardware, measured.get("pointwise", nothing), progress),
    )


def _matmul(hardware: Hardware, rows: pd.DataFrame, progress: Progress) -> dict[str, MatmulLaw]:
    laws = {}
    for kernel, some in kernels(rows).items():
        with _naming(f"matmul {kernel}", progress):
            roof = kernel_roof(hardware, kernel)
            laws[kernel] = fit_matmul(_columns(some), roof, kernel=kernel, kind=hardware.kind)
    return laws


def _attention(
    hardware: Hardware, rows: pd.DataFrame, progress: Progress
) -> dict[str, AttentionLaw]:
    if "dtype" not in rows:
        rows = rows.assign(dtype="bf16" if hardware.matmul_peak("bf16") else "fp16")
    laws = {}
    for data_type, some in kernels(rows).items():
        with _naming(f"attention {data_type}", progress):
            if data_type not in ATTENTION_BYTES:
                raise FitError(f"dtype must be one of {', '.join(ATTENTION_BYTES)}")
            laws[data_type] = fit_attention(
                _columns(some),
                kernel_roof(hardware, data_type),
                element_bytes=ATTENTION_BYTES[data_type],
                kind=hardware.kind,
            )
    return laws


def _vector(hardware: Hardware, rows: pd.DataFrame, progress: Progress) -> dict[str, PointwiseLaw]:
    if "function" not in rows:
        rows = rows.assign(function="default")
    roof = replace(kernel_roof(hardware, "fp32"), flops_per_s=hardware.vector_flops_per_s)
    laws = {}
    for function, some in rows.groupby("function", sort=False):
        with _naming(f"vector {function}", progress):
            laws[str(function)] = fit_pointwise(_columns(some), roof)
    if laws and "default" not in laws:
        laws["default"] = laws.get(PLAINEST) or next(iter(laws.values()))
    return laws


@contextmanager
def _naming(what: str, progress: Progress) -> Iterator[None]:
    """Tell what is fitted next, and say so in an error, too."""
    progress(what)
    try:
        yield
    except FitError as error:
        raise FitError(f"{what}: {error}") from None


def _columns(rows: pd.DataFrame) -> dict[str, Any]:
    return {str(name): rows[name].to_numpy() for name in rows}


def _software(measured: Mapping[Kind, pd.DataFrame]) -> list[str]:
    """What the rows were measured with that laws are fitted to, as their `source` says."""
    found: dict[str, None] = {}
    for kind, rows in measured.items():
        apart = kernels(rows).values() if kind == "matmul" else (rows,)
        for some in apart:
            used = of_one_source(_columns(some))
            found |= dict.fromkeys(map(str, used["source"][:1]) if "source" in used else ())
    return list(found)
