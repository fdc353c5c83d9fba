"""Why a calibration is not to be trusted, and what else a reader should know of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import Law
from roofline.torch_side.calibrate.kernel_samples import FEW
from roofline.torch_side.calibrate.microbench import KernelRow
from roofline.torch_side.measure.disturbance import FOR_GOOD

_ERRS_MUCH = 40.0
"""Percent: a law whose median error is larger was fitted to times that something disturbed."""
_MANY_DISTURBED = 0.2
"""Share of kernels."""
_MOST_OF_THEM = 0.5
"""Share of kernels that were timed once: of a few nobody need know more."""
_LARGE_REPLAY = 0.01
"""Share of a kernel's time."""
_NAMED = 2
"""Of many reasons."""


def doubts(hardware: Hardware, rows: Sequence[KernelRow], beaten: Sequence[str]) -> str:
    """Why the times are not those of a quiet machine, or the ceilings none; empty where they are.

    beaten: which kernels beat which ceiling.
    """
    assert hardware.kernel_laws is not None
    bad = [
        f"{family} {kernel} errs by {law.median_error_percent:.0f} %"
        for family, laws in hardware.kernel_laws.families.items()
        for kernel, law in laws.items()
        if isinstance(law, Law) and law.median_error_percent > _ERRS_MUCH
    ]
    reasons = [*_shortened(beaten, "ceilings are beaten"), *_shortened(bad, "laws do")]
    seen = [str(row.get("disturbed", "")) for row in rows]
    disturbed = [why for why in seen if why and why != FEW and not why.startswith(FOR_GOOD)]
    if len(disturbed) > _MANY_DISTURBED * len(rows):
        [(why, _)] = Counter(disturbed).most_common(1)
        reasons.insert(0, f"{len(disturbed)} of {len(rows)} kernels were disturbed ({why})")
    found = f"{', '.join(reasons)}: measure again on a quiet machine" if reasons else ""
    few = seen.count(FEW)
    if few > _MOST_OF_THEM * len(rows):
        hurried = f"{few} of {len(rows)} kernels have a single sample: raise --seconds"
        return f"{found}; {hurried}" if found else hurried
    return found


def remarks(rows: Sequence[KernelRow], beaten: Sequence[str]) -> list[str]:
    """Sentences on single kernels: which stayed disturbed, which a replay weighs on."""
    found = [f"{each}: one of the two was measured wrongly" for each in beaten]
    kinds = Counter(row["disturbed"] for row in rows if row.get("disturbed"))
    found += [f"{count} of {len(rows)} kernels: {why}" for why, count in kinds.items()]
    shares = [row["replay_share"] for row in rows if row.get("replay_share", 0) > _LARGE_REPLAY]
    if shares:
        found.append(
            f"the replay of a CUDA graph is {100 * _LARGE_REPLAY:.0f} to {100 * max(shares):.1f} % "
            f"of the times of {len(shares)} kernels"
        )
    return found


def _shortened(reasons: Sequence[str], more: str) -> list[str]:
    """The first few, and how many more there are."""
    left = len(reasons) - _NAMED
    return [*reasons[:_NAMED], *([f"{left} more {more}"] if left > 0 else [])]
