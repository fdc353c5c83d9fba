"""What repeated timings say: their summary, when there are enough of them, what spoils them.

The centre is the median, its uncertainty an interval between order statistics: no distribution is
assumed, and a few slow outliers move neither. Everything is derived from raw samples in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import inf, log

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from roofline.errors import InputError
from roofline.specs.kernel_laws import UNTRUSTED
from roofline.units import si

CONFIDENCE = 0.95
_LARGE_SPREAD = 0.1
_LARGE_DRIFT = 0.02
DISTURBED = 0.5
"""A median so far above the fastest sample is no property of what was timed: something else ran."""
_LEAST_FOR_TWO_GROUPS = 20
_LEAST_GROUP = 0.2
"""Share of all samples that makes a second group, and not a few outliers."""


class Summary(Struct, frozen=True):
    """Statistics of one timed span; percentiles interpolate linearly, as NumPy's do."""

    count: int
    min_s: float
    p10_s: float
    p50_s: float
    p90_s: float
    mean_s: float
    ci_low_s: float | None
    """Bounds of the median's 95 % interval; None for fewer than 6 samples."""
    ci_high_s: float | None

    @property
    def relative_ci(self) -> float:
        """Half width of the interval over the median; infinite where there is none."""
        if self.ci_low_s is None or self.ci_high_s is None or not self.p50_s:
            return inf
        return (self.ci_high_s - self.ci_low_s) / 2 / self.p50_s

    @property
    def spread(self) -> float:
        """(p90 − p10) / p50."""
        return (self.p90_s - self.p10_s) / self.p50_s if self.p50_s else inf


def noise(samples: Sequence[float]) -> float:
    """How far the median is above the fastest sample, as a share of it; 0 of none."""
    fastest = min(samples, default=0.0)
    return float(np.median(samples)) / fastest - 1 if fastest else 0.0


def disturbed(samples: Sequence[float]) -> bool:
    """Whether other work on the machine has made more of the samples than what was timed."""
    return noise(samples) > DISTURBED


def summarize(samples: Sequence[float]) -> Summary:
    """Summary of samples in seconds. Raises InputError for none, or for NaN and infinity."""
    values = np.asarray(samples, dtype=np.float64)
    if not values.size:
        raise InputError("no samples to summarize: nothing has been measured yet")
    if not np.isfinite(values).all():
        raise InputError("samples hold NaN or infinity: times in seconds are needed")
    p10, p50, p90 = np.percentile(values, [10, 50, 90])
    low, high = median_interval(values) or (None, None)
    return Summary(
        count=values.size,
        min_s=float(values.min()),
        p10_s=float(p10),
        p50_s=float(p50),
        p90_s=float(p90),
        mean_s=float(values.mean()),
        ci_low_s=low,
        ci_high_s=high,
    )


def median_interval(samples: Sequence[float] | NDArray[np.float64]) -> tuple[float, float] | None:
    """Order statistics that hold the median between them with 95 % confidence or more.

    The number of samples below the true median is binomial(n, ½), whatever they are distributed
    like; so the k-th smallest and the k-th largest enclose it with probability
    1 − 2·P(binomial(n, ½) < k) (e.g. Conover, Practical Nonparametric Statistics, 3.2). The
    largest such k is taken. None where even the extremes are not enough: 5 samples reach 93.75 %.
    """
    rank = _interval_rank(len(samples))
    if not rank:
        return None
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    return float(ordered[rank - 1]), float(ordered[-rank])


@cache
def _interval_rank(n: int) -> int:
    """Largest k with P(binomial(n, ½) < k) ≤ 2.5 %; 0 if there is none."""
    i = np.arange(n)
    log_ways = np.concatenate([[0.0], np.cumsum(np.log((n - i) / (i + 1)))])  # of C(n, 0 … n)
    at_most = np.cumsum(np.exp(log_ways - n * log(2)))
    return int(np.count_nonzero(at_most <= (1 - CONFIDENCE) / 2))


class StoppingRule(Struct, frozen=True, kw_only=True):
    """When a span has been measured well enough, and when to give up.

    Looking at the interval after every sample makes it a little too narrow (optional stopping);
    `least` keeps that in check.
    """

    relative_ci: float = 0.005
    """Half width of the median's interval, as a share of the median."""
    least: int = 10
    """Samples."""
    most: int = 2000
    cap_s: float = 30.0
    """Seconds by the clock, preparation of the samples included."""

    def __post_init__(self) -> None:
        if not 0 < self.relative_ci < inf or not self.cap_s > 0:
            raise InputError("relative_ci and cap_s of a stopping rule must be above 0")
        if not 1 <= self.least <= self.most:
            raise InputError("a stopping rule needs 1 ≤ least ≤ most samples")

    def reached(self, samples: Sequence[float]) -> float:
        """How near the samples are to being enough, 0 to 1: intervals shrink as 1/√n."""
        if len(samples) < self.least:
            return 0.0
        interval = summarize(samples).relative_ci
        return min((self.relative_ci / interval) ** 2, 1.0) if interval else 1.0

    def settled(self, samples: Sequence[float]) -> bool:
        """Whether there are `least` samples and their interval is as narrow as asked."""
        return self.reached(samples) == 1.0


class WarmUpRule(Struct, frozen=True, kw_only=True):
    """When a run has warmed up: caches filled, clocks risen, kernels chosen."""

    window: int = 5
    """Samples that are compared with as many before them."""
    tolerance: float = 0.02
    most: int = 100
    cap_s: float = 10.0
    """Seconds by the clock, after the first run: that one may compile."""

    def __post_init__(self) -> None:
        if self.window < 1 or self.most < 0 or self.tolerance < 0 or self.cap_s < 0:
            raise InputError("a warm-up rule needs window ≥ 1, and nothing below 0")

    def steady(self, samples: Sequence[float]) -> bool:
        """Whether the medians of the last two windows agree within the tolerance."""
        if len(samples) < 2 * self.window:
            return False
        before = float(np.median(samples[-2 * self.window : -self.window]))
        last = float(np.median(samples[-self.window :]))
        return abs(last - before) <= self.tolerance * before


def quality_warnings(samples: Sequence[float], summary: Summary, rule: StoppingRule) -> list[str]:
    """What a reader should know before trusting the median; empty where nothing is wrong."""
    values = np.asarray(samples, dtype=np.float64)
    found = [
        _disturbed(samples),
        _unsettled(summary, rule),
        _wide(summary),
        _drifting(values),
        _grouped(values),
    ]
    return [warning for warning in found if warning]


def _disturbed(samples: Sequence[float]) -> str:
    if not disturbed(samples):
        return ""
    return (
        f"{UNTRUSTED}the median sample took {_percent(noise(samples))} longer than the fastest: "
        "something else ran on this machine; measure again when it is quiet"
    )


def _unsettled(summary: Summary, rule: StoppingRule) -> str:
    """That the median is not known well; of too few samples not even how well."""
    wanted = f"wanted: ±{_percent(rule.relative_ci)}"
    if summary.count < rule.least:
        few = f"only {summary.count} of at least {rule.least} samples"
        return f"{UNTRUSTED}{few}, too few to tell a busy machine from a quiet one: raise --seconds"
    if summary.relative_ci > rule.relative_ci:
        return (
            f"the median is known to ±{_percent(summary.relative_ci)} after {summary.count} "
            f"samples ({wanted}): raise --seconds or quieten the machine"
        )
    return ""


def _wide(summary: Summary) -> str:
    if summary.p90_s <= (1 + _LARGE_SPREAD) * summary.p50_s:
        return ""
    return (
        f"one sample in ten takes {summary.p90_s / summary.p50_s:.2f} times the median or more: "
        "something else uses this machine, or its clocks vary"
    )


def _drifting(samples: NDArray[np.float64]) -> str:
    """First third against last: farther apart than 2 %, and than their own uncertainty."""
    third = len(samples) // 3
    first, last = samples[:third], samples[len(samples) - third :]
    early, late = median_interval(first), median_interval(last)
    if early is None or late is None:
        return ""
    start, end = float(np.median(first)), float(np.median(last))
    apart = early[1] < late[0] or late[1] < early[0]
    if abs(end - start) <= _LARGE_DRIFT * start or not (start and apart):
        return ""
    change = end / start - 1
    way = "slower" if change > 0 else "faster"
    return f"times drift: the last third is {_percent(abs(change))} {way} than the first"


def _grouped(samples: NDArray[np.float64]) -> str:
    """Two groups: the widest gap is wider than either side's own p10–p90 range, and than 2 %."""
    n = len(samples)
    if n < _LEAST_FOR_TWO_GROUPS:
        return ""
    ordered = np.sort(samples)
    gaps = np.diff(ordered)
    least = round(_LEAST_GROUP * n)
    cut = least + int(gaps[least - 1 : n - least].argmax())  # so many samples lie below the gap
    fast, slow = ordered[:cut], ordered[cut:]
    widths = [float(np.subtract(*np.percentile(side, [90, 10]))) for side in (fast, slow)]
    gap, centre = float(gaps[cut - 1]), float(np.median(ordered))
    if gap <= max(*widths, _LARGE_DRIFT * centre):
        return ""
    return (
        f"times fall into two groups: {len(fast)} around {si(np.median(fast), 's')}, "
        f"{len(slow)} around {si(np.median(slow), 's')}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
