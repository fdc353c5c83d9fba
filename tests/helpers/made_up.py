"""Devices of which a test knows everything: laws in round numbers, or none at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from msgspec.structs import replace

from roofline.device.laws.attention import AttentionForm, AttentionLaw
from roofline.device.laws.host import HostLaw
from roofline.device.laws.matmul import MatmulLaw, Tile
from roofline.device.laws.pointwise import PointwiseLaw
from roofline.specs.catalog import load_hardware
from roofline.specs.hardware import Hardware, MatmulPeaks
from roofline.specs.kernel_laws import KernelLaws
from roofline.specs.sourced import Peak, Sourced


def figure(value: float, **known: Any) -> Sourced:
    return Sourced(value=value, source="test", **known)


def peak(value: float, **known: Any) -> Peak:
    return Peak(value=value, source="test", **known)


def peaks(**rates: float) -> MatmulPeaks:
    """Of the data types that it names, by their fields: `fp16_tflops`, `int8_tops`."""
    return MatmulPeaks(**{name: peak(rate) for name, rate in rates.items()})


FIT: dict[str, Any] = {"rows": 1, "median_error_percent": 1.0, "p90_error_percent": 2.0}
LAWS = KernelLaws(
    origin="measured",
    source="test",
    date="2026-01-01",
    conditions="made up",
    families={
        "matmul": {
            "fp16": MatmulLaw(
                **FIT,
                launch_us=2.0,
                tiles=(
                    Tile(rows=4, columns=8, efficiency=0.5),
                    Tile(rows=8, columns=8, efficiency=0.7),
                ),
                bandwidth_fraction=0.8,
            )
        },
        "attention": {
            "fp16": AttentionLaw(
                **FIT,
                launch_us=3.0,
                block_us=1.0,
                efficiency=0.5,
                head_dim_power=0.5,
                longest_share=0.1,
                fill_keys=4.0,
                bandwidth_fraction=0.5,
            )
        },
        "pointwise": {"default": PointwiseLaw(**FIT, launch_us=1.0, bandwidth_gb_per_s=0.5)},
        "host": {
            "llm": HostLaw(fixed_us=7.0, layer_us=2.0),
            "decode": HostLaw(fixed_us=3.0, layer_us=1.0),
        },
    },
)


def device(**changes: Any) -> Hardware:
    """1 GB/s, 2 GFLOP/s in matmuls, 1 GFLOP/s otherwise: times come out in whole nanoseconds."""
    fields: dict[str, Any] = {
        "kind": "gpu",
        "memory_capacity_gib": figure(1),
        "memory_bandwidth_gb_per_s": figure(1),
        "matmul_peaks": peaks(fp16_tflops=0.002),
        "vector_peak_fp32_tflops": figure(0.001),
        "sources": {"test": "made up"},
        "kernel_laws": LAWS,
    }
    words = dict.fromkeys(("name", "title", "vendor", "architecture"), "toy")
    return Hardware(**(words | fields | changes))


def bare(name: str) -> Hardware:
    """A device of which nothing but the peaks is known, so that times are the bound."""
    return replace(load_hardware(name), kernel_laws=None, laws_from=None, correction=None)


def lawful(name: str, laws: KernelLaws, **changes: Any) -> Hardware:
    """A device with these laws and no others."""
    known = load_hardware(name)
    sources = {**known.sources, laws.source: "made up"}
    own = {"kernel_laws": laws, "laws_from": None, "correction": None, "sources": sources}
    return replace(known, **own, **changes)


def toy_laws(
    data_type: str,
    *,
    tile: int,
    vector_gb_per_s: float,
    host: Mapping[str, HostLaw] | None = None,
    errors_percent: tuple[float, float] = (0.0, 0.0),
) -> KernelLaws:
    """Half of all bandwidths and matmul peaks in square tiles, a microsecond or two a launch.

    errors_percent: median and 90th percentile of every law.
    """
    median, p90 = errors_percent
    fit: dict[str, Any] = {
        "rows": 1,
        "median_error_percent": median,
        "p90_error_percent": p90,
    }
    return KernelLaws(
        origin="measured",
        source="test",
        date="2026-01-01",
        conditions="made up",
        families={
            "matmul": {
                data_type: MatmulLaw(
                    **fit,
                    launch_us=2.0,
                    tiles=(Tile(rows=tile, columns=tile, efficiency=0.5),),
                    bandwidth_fraction=0.5,
                )
            },
            "attention": {
                data_type: AttentionLaw(
                    **fit,
                    launch_us=3.0,
                    block_us=1.0,
                    efficiency=0.4,
                    head_dim_power=0.5,
                    longest_share=0.0,
                    fill_keys=0.0,
                    bandwidth_fraction=0.5,
                    forms=get_args(AttentionForm),
                )
            },
            "pointwise": {
                "default": PointwiseLaw(**fit, launch_us=1.0, bandwidth_gb_per_s=vector_gb_per_s)
            },
            "host": dict(host or {}),
        },
    )
