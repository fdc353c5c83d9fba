"""What a calibration found, in a few lines."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from roofline.device.laws.attention import AttentionLaw
from roofline.device.laws.matmul import MatmulLaw
from roofline.device.laws.pointwise import PointwiseLaw
from roofline.specs.hardware import Hardware
from roofline.tables import definitions
from roofline.units import GIGA, MICRO, TERA, si


def render_ceilings(hardware: Hardware, notes: Sequence[str]) -> str:
    """What a calibration found, in a few lines."""
    known = hardware.kernel_laws
    assert known is not None
    lines = [("Device", hardware.title)]
    for name, peak in msgspec.structs.asdict(hardware.matmul_peaks).items():
        if peak is not None:
            unit = "OP/s" if name.endswith("tops") else "FLOP/s"
            lines.append((f"Peak, {name.rpartition('_')[0]}", si(peak.value * TERA, unit)))
    lines.append(("Memory", si(hardware.memory_bytes_per_s, "B/s")))
    if hardware.l2_bandwidth_gb_per_s is not None:
        lines.append(("Cache", si(hardware.l2_bandwidth_gb_per_s.value * GIGA, "B/s")))
    if hardware.launch_overhead_us is not None:
        lines.append(("Launch", si(hardware.launch_overhead_us.value * MICRO, "s")))
    for title, laws in (
        ("Matmul", known.of(MatmulLaw)),
        ("Attention", known.of(AttentionLaw)),
        ("Vector", known.of(PointwiseLaw)),
    ):
        errors = ", ".join(f"{name} {law.median_error_percent:.0f} %" for name, law in laws.items())
        lines.append((f"{title} error", f"{errors} (median on sizes left out of the fit)"))
    lines += [("Note", note) for note in notes]
    return definitions(lines) + "\n"
