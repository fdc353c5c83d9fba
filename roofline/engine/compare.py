"""Reduced against full: the only place that divides one estimate's figures by another's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from roofline.engine.result import Quantities, Totals
from roofline.engine.scenario import plain
from roofline.model.polynomial import Array
from roofline.units import figures


class Saving(Struct, frozen=True, eq=False):
    """How many times less a component, or all of them, need than in the unreduced prompt."""

    flops_saving: Array
    memory_access_saving: Array
    peak_memory_saving: Array
    roofline_speedup: Array | None
    """Ratio of roofline times; None of counts on no device."""
    attainable_speedup: Array | None
    """Ratio of attainable times; None for a device without laws."""
    elapsed_speedup: Array | None
    """Ratio of elapsed times; None without a runtime."""
    tie: NDArray[np.bool_] | None
    """Whether the difference of both times is inside the error band: no larger than the larger of
    their errors. None where no error is known."""

    @property
    def speedup(self) -> Array | None:
        """The headline: of elapsed times under a runtime, else of attainable times where there are
        laws, else of roofline times.
        """
        times = (self.elapsed_speedup, self.attainable_speedup, self.roofline_speedup)
        return next((known for known in times if known is not None), None)

    def at(self, index: int) -> Saving:
        """Of one configuration, by its place among all."""
        picked: dict[str, Any] = {
            name: None if (v := getattr(self, name)) is None else np.ravel(v)[index]
            for name in self.__struct_fields__
        }
        return Saving(**picked)

    @property
    def headline(self) -> tuple[str, ...]:
        """Names of what is looked at first: of what is known."""
        times = ("speedup", "roofline_speedup", "tie")
        known = (name for name in times if getattr(self, name) is not None)
        return (*known, "flops_saving", "peak_memory_saving")

    def __repr__(self) -> str:
        """What is looked at first."""
        return f"Saving({figures({name: getattr(self, name) for name in self.headline})})"

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        names = ("speedup", *self.__struct_fields__)
        return {name: plain(getattr(self, name)) for name in names}


class Comparison(Struct, frozen=True, eq=False, kw_only=True):
    """A prompt against the same with all visual tokens of its images, and without a reducer."""

    full_visual_tokens: Array
    """Of the unreduced prompt."""
    full_components: Mapping[str, Quantities]
    """What that one needs."""
    full_end_to_end: Quantities
    components: Mapping[str, Saving]
    end_to_end: Saving
    reducer_share: Array | None
    """Share of the time saved that the reducer itself takes, by the headline's times; NaN where
    nothing is saved, None without a reducer or a device."""

    @property
    def speedup(self) -> Array | None:
        """End to end at the stage asked: attainable where the device has laws, else roofline."""
        return self.end_to_end.speedup

    @property
    def roofline_speedup(self) -> Array | None:
        """The same at the roofline."""
        return self.end_to_end.roofline_speedup

    @property
    def tie(self) -> NDArray[np.bool_] | None:
        """Whether the headline is inside the error band."""
        return self.end_to_end.tie

    @property
    def full_fits(self) -> NDArray[np.bool_] | None:
        """Whether the unreduced prompt fits the device's memory; None on no device."""
        whole = self.full_end_to_end
        return whole.fits if isinstance(whole, Totals) else None

    def __repr__(self) -> str:
        """What is compared with, and a line for each component and all together."""
        first = {name: getattr(self, name) for name in ("full_visual_tokens", "full_fits")}
        if self.reducer_share is not None:
            first["reducer_share"] = self.reducer_share
        lines = [f"Comparison({figures(first)})"]
        for name, part in {**self.components, "end_to_end": self.end_to_end}.items():
            lines.append(f"  {name}: {figures({key: getattr(part, key) for key in part.headline})}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "full_visual_tokens": plain(self.full_visual_tokens),
            "full_fits": plain(self.full_fits),
            "speedup": plain(self.speedup),
            "roofline_speedup": plain(self.roofline_speedup),
            "tie": plain(self.tie),
            "reducer_share": plain(self.reducer_share),
            "components": {name: saving.to_dict() for name, saving in self.components.items()},
            "end_to_end": self.end_to_end.to_dict(),
            "full_components": {n: part.to_dict() for n, part in self.full_components.items()},
            "full_end_to_end": self.full_end_to_end.to_dict(),
        }


Parts = tuple[Mapping[str, Quantities], Quantities]
"""Components, and end to end."""


def compare(visual_tokens: Array, full: Parts, reduced: Parts) -> Comparison:
    """Hold a prompt against the unreduced one of `visual_tokens`."""
    return Comparison(
        full_visual_tokens=visual_tokens,
        full_components=full[0],
        full_end_to_end=full[1],
        components={
            name: saving(full[0][name], part)
            for name, part in reduced[0].items()
            if name in full[0]
        },
        end_to_end=saving(full[1], reduced[1]),
        reducer_share=reducer_share(full[1], *reduced),
    )


def saving(full: Quantities, reduced: Quantities) -> Saving:
    """Full / reduced; 1 where neither has anything."""
    roofline = attainable = elapsed = tie = None
    if isinstance(full, Totals) and isinstance(reduced, Totals):
        roofline = ratio(full.roofline_time_s, reduced.roofline_time_s)
        if full.attainable_time_s is not None and reduced.attainable_time_s is not None:
            attainable = ratio(full.attainable_time_s, reduced.attainable_time_s)
        if full.elapsed_time_s is not None and reduced.elapsed_time_s is not None:
            elapsed = ratio(full.elapsed_time_s, reduced.elapsed_time_s)
        tie = tied(full, reduced)
    return Saving(
        ratio(full.flops, reduced.flops),
        ratio(full.memory_access_bytes, reduced.memory_access_bytes),
        ratio(full.peak_memory_bytes, reduced.peak_memory_bytes),
        roofline,
        attainable,
        elapsed,
        tie,
    )


def ratio(one: Array, other: Array) -> Array:
    """One / other; 1 where both are 0, infinite where only the second is."""
    one, other = np.broadcast_arrays(np.asarray(one, float), np.asarray(other, float))
    quotient = np.where(one == 0, 1.0, np.inf)
    return np.divide(one, other, out=quotient, where=other > 0)[()]


def tied(one: Totals, other: Totals) -> NDArray[np.bool_] | None:
    """Whether two predicted times differ by no more than the larger of their kernels' errors: their
    host is the same, and errs to the same side.
    """
    if one.attainable_time_s is None or other.attainable_time_s is None:
        return None
    error, other_error = one.attainable_error_s, other.attainable_error_s
    if error is None or other_error is None:
        return None
    apart = np.abs(one.predicted_time_s - other.predicted_time_s)
    close: NDArray[np.bool_] = apart <= np.maximum(error, other_error)
    return close


def reducer_share(
    full: Quantities, components: Mapping[str, Quantities], whole: Quantities
) -> Array | None:
    """Reducer's time / (full time − (reduced time − reducer's time)), end to end.

    NaN where nothing would be saved if it took none; None without a reducer or a device.
    """
    own = components.get("reducer")
    if not (isinstance(own, Totals) and isinstance(whole, Totals) and isinstance(full, Totals)):
        return None
    own_s = np.asarray(own.predicted_time_s)
    saved_s = full.predicted_time_s - (whole.predicted_time_s - own_s)
    share: Array = np.full(np.shape(saved_s), np.nan)
    return np.divide(own_s, saved_s, out=share, where=saved_s > 0)[()]
