"""What a validation found: the analysis against PyTorch's counts, predictions against times.

Plain data, between who measures and who renders; its JSON reloads. Verdicts and errors follow from
what was found, and are derived anew where it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from roofline.engine.layout import COMPONENTS
from roofline.records.statistics import disturbed, noise

FORMAT = 1
CELLS = (*COMPONENTS, "decode", "whole")
"""What cells are about, in the order in which it runs."""
_MANY_DISTURBED = 0.2
"""Share of cells."""
_DERIVED = (
    *("measured_time_s", "median_time_s", "error", "roofline_error", "noise", "disturbed"),
    "in_band",
)
BYTES_TOLERANCE = 0.05
"""Share of what was counted: allocators round up, and keep workspaces of libraries."""
BAND_SHARE = 0.9
"""Of cells that lie in their bands: those are what nine in ten are off at most."""


class Count(Struct, frozen=True, kw_only=True):
    """One number of the analysis beside the same number counted by somebody else."""

    component: str
    quantity: str
    """A key of the analysis: FLOPs or bytes by its ending."""
    analytic: float
    witnessed: float
    witness: str
    """Who counted: FlopCounterMode, the traced model, the allocator."""
    aside: dict[str, float] = {}
    """What the witness counted, too, and the analysis has elsewhere, by name."""

    @property
    def is_flops(self) -> bool:
        """Else it is bytes."""
        return self.quantity.endswith("flops")

    @property
    def difference(self) -> float:
        """Analytic, with what stands aside − witnessed."""
        return self.analytic + sum(self.aside.values()) - self.witnessed

    @property
    def error(self) -> float:
        """The same as a share of what was witnessed; infinite where that is nothing."""
        if not self.witnessed:
            return float(np.copysign(np.inf, self.difference)) if self.difference else 0.0
        return self.difference / self.witnessed


class TimedCell(Struct, frozen=True, kw_only=True):
    """One component at one size: what was predicted, and what it took."""

    component: str
    """One of `CELLS`."""
    tokens: int
    """Prompt tokens of a sequence; for decode, those in the cache."""
    batch: int
    attainable_time_s: float
    attainable_time_low_s: float | None = None
    attainable_time_high_s: float | None = None
    """The ends of the band that the prediction promises; None where no error is known, as in files
    of older versions."""
    roofline_time_s: float
    """The bound, at the calibrated peaks."""
    samples_s: list[float]
    disturbance: str = ""
    """What else was at work while most of them were taken; empty where nothing is known to have
    been."""

    @property
    def measured_time_s(self) -> float:
        """The fastest sample: whatever else a machine does only ever adds time."""
        return min(self.samples_s)

    @property
    def median_time_s(self) -> float:
        return float(np.median(self.samples_s))

    @property
    def noise(self) -> float:
        """How far the median is above the fastest, as a share of it."""
        return noise(self.samples_s)

    @property
    def disturbed(self) -> bool:
        """Whether its samples are not those of the work alone: as was seen, or as they show."""
        return bool(self.disturbance) or disturbed(self.samples_s)

    @property
    def error(self) -> float:
        """Predicted / measured − 1: negative where the prediction is too fast."""
        return self.attainable_time_s / self.measured_time_s - 1

    @property
    def in_band(self) -> bool | None:
        """Whether it took what the band promises; None without a band."""
        low_s, high_s = self.attainable_time_low_s, self.attainable_time_high_s
        if low_s is None or high_s is None:
            return None
        return low_s <= self.measured_time_s <= high_s

    @property
    def roofline_error(self) -> float:
        """The same for the bound."""
        return self.roofline_time_s / self.measured_time_s - 1


def by_component(cells: Iterable[TimedCell]) -> dict[str, list[TimedCell]]:
    """Cells of each component that has any: in the order in which it runs, then any others."""
    groups: dict[str, list[TimedCell]] = {name: [] for name in CELLS}
    for cell in cells:
        groups.setdefault(cell.component, []).append(cell)
    return {name: some for name, some in groups.items() if some}


class Accuracy(Struct, frozen=True, kw_only=True):
    """Errors of some cells together."""

    cells: int
    median: float
    """Of the absolute errors."""
    p90: float
    worst: float
    geometric_mean: float
    """Of predicted / measured: 1 is unbiased."""


def accuracy(cells: Sequence[TimedCell], *, roofline: bool = False) -> Accuracy:
    """Accuracy of the predictions for at least one cell, or of the plain roofline."""
    errors: NDArray[np.float64] = np.array(
        [cell.roofline_error if roofline else cell.error for cell in cells]
    )
    absolute = np.abs(errors)
    return Accuracy(
        cells=len(cells),
        median=float(np.median(absolute)),
        p90=float(np.percentile(absolute, 90)),
        worst=float(absolute.max()),
        geometric_mean=float(np.exp(np.log1p(errors).mean())),
    )


class Verdict(Struct, frozen=True, kw_only=True):
    """Whether a layer of a validation holds."""

    layer: Literal["flops", "bytes", "time"]
    holds: bool | None
    """None where nobody can say: no prediction has a band, or the run is untrusted."""
    agree: int
    """FLOPs that are equal, bytes within `BYTES_TOLERANCE`, times inside their bands."""
    compared: int
    """Numbers that were looked at; of times those that have a band."""
    why_open: str = ""
    """Why nobody can say; empty where somebody can."""
    off: float
    """Absolute error: of bytes and FLOPs the largest (infinite where nothing was counted, which
    JSON has as null), of times the median over all cells."""


class Validation(Struct, frozen=True, kw_only=True):
    """One run of `roofline validate`."""

    roofline_validation: int = FORMAT
    created: str
    complete: bool
    inputs: dict[str, Any]
    """Model, hardware, quant, mode, attention."""
    environment: dict[str, Any]
    took_s: float
    """All of it, calibration included where there was one."""
    counts: list[Count]
    cells: list[TimedCell]
    notes: list[str] = []
    attention_kernels: dict[str, list[str]] = {}
    """Kernels that each component's attention went to, in an eager run of the longest prompt."""
    calibration_untrusted: str = ""
    """Why the laws that predicted are not those of a quiet machine, by the conditions that a
    calibration wrote beside them; empty where they are."""

    @property
    def untrusted(self) -> str:
        """Why errors are not those of the predictions; empty where they are."""
        noisy = [cell for cell in self.cells if cell.disturbed]
        reasons = [f"calibration: {self.calibration_untrusted}"] * bool(self.calibration_untrusted)
        if len(noisy) > _MANY_DISTURBED * len(self.cells):
            worst = max(cell.noise for cell in noisy)
            seen = next((f" ({cell.disturbance})" for cell in noisy if cell.disturbance), "")
            reasons.append(
                f"{len(noisy)} of {len(self.cells)} cells were disturbed{seen}, their medians up "
                f"to {100 * worst:.0f} % above the fastest samples: validate again on a quiet "
                "machine"
            )
        return "; ".join(reasons)

    @property
    def verdicts(self) -> list[Verdict]:
        """Of each layer that anything is known of: FLOPs equal to the last one, bytes within
        `BYTES_TOLERANCE`, and `BAND_SHARE` of the times or more inside their bands.
        """
        flops = [count for count in self.counts if count.is_flops]
        others = [count for count in self.counts if not count.is_flops]
        found = [
            *([_counted("flops", flops, 0.0)] if flops else []),
            *([_counted("bytes", others, BYTES_TOLERANCE)] if others else []),
        ]
        if self.cells:
            banded = [cell.in_band for cell in self.cells if cell.in_band is not None]
            why_open = "no prediction has a band" if not banded else ""
            if self.untrusted:
                why_open = "the run is untrusted"
            found.append(
                Verdict(
                    layer="time",
                    holds=None if why_open else sum(banded) >= BAND_SHARE * len(banded),
                    why_open=why_open,
                    agree=sum(banded),
                    compared=len(banded),
                    off=accuracy(self.cells).median,
                )
            )
        return found

    @property
    def by_component(self) -> dict[str, list[TimedCell]]:
        """Cells of each component that has any."""
        return by_component(self.cells)

    def to_json(self) -> bytes:
        """The file's content: fields, and the errors that follow from them."""
        document = msgspec.to_builtins(self)
        for cell, row in zip(self.cells, document["cells"], strict=True):
            row |= {name: getattr(cell, name) for name in _DERIVED}
        document["accuracy"] = {
            name: {
                "predicted": msgspec.to_builtins(accuracy(cells)),
                "roofline": msgspec.to_builtins(accuracy(cells, roofline=True)),
            }
            for name, cells in self.by_component.items()
        }
        document["verdicts"] = msgspec.to_builtins(self.verdicts)
        document["untrusted"] = self.untrusted
        return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def _counted(
    layer: Literal["flops", "bytes"], counts: Sequence[Count], tolerance: float
) -> Verdict:
    """Of numbers that are to agree within a share of what was witnessed."""
    off = [abs(count.error) for count in counts]
    agree = sum(error <= tolerance for error in off)
    return Verdict(
        layer=layer, holds=agree == len(off), agree=agree, compared=len(off), off=max(off)
    )
