"""What a run's samples say once they are there: spans beside what was expected, and what spoils
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import asdict, replace

from roofline.records.measurement import WHOLE, Achieved, HostOverhead, TimedSpan
from roofline.records.statistics import StoppingRule, quality_warnings, summarize
from roofline.specs.kernel_laws import UNTRUSTED
from roofline.torch_side.measure.expectation import Expectation
from roofline.torch_side.measure.host_overhead import verdict
from roofline.torch_side.measure.trial import Measurement
from roofline.units import si

MARKED = "with marks"
"""The measurement of a run with a mark behind each component; `WHOLE` is the one without."""
_TOLERATED_GAP = 0.02
"""Between the components' sum and the whole."""
_LARGE_GAP = 0.3
"""The same: beyond it neither is to be believed."""
_ADD_UP = 1.5
"""Ops of a component that take so many times as long as it are not what it was timed at."""


def timed_spans(
    measured: Mapping[str, Measurement], expectation: Expectation | None
) -> dict[str, TimedSpan]:
    """Components and the whole, beside what was expected of them."""
    samples = measured[MARKED].spans | {WHOLE: measured[WHOLE].total}
    figures = {name: expectation.of(name, samples) for name in samples} if expectation else {}
    return {
        name: TimedSpan(samples_s=list(times), **(asdict(figures[name]) if name in figures else {}))
        for name, times in samples.items()
    }


def timing_warnings(measured: Mapping[str, Measurement], rule: StoppingRule) -> list[str]:
    """What disturbed the samples, by what was seen meanwhile and by themselves."""
    marked, whole = measured[MARKED].total, measured[WHOLE].total
    others = dict.fromkeys(each.disturbance for each in measured.values() if each.disturbance)
    found = [f"{UNTRUSTED}{other}: measure again when it is quiet" for other in others]
    found += quality_warnings(whole, summarize(whole), rule)
    gap = summarize(marked).p50_s / summarize(whole).p50_s - 1
    if abs(gap) > _TOLERATED_GAP:
        doubt = UNTRUSTED if abs(gap) > _LARGE_GAP else ""
        found.append(
            f"{doubt}the components' sum is {100 * gap:+.1f} % off the whole, more than marks "
            "cost: the machine was not steady"
        )
    return found


def judged(host: HostOverhead, expectation: Expectation | None) -> HostOverhead:
    """With the verdict of the roofline where that is longer than the time that kernels were seen
    to run, which stays as it was measured: no kernel is faster than the roof.
    """
    roofline_s = expectation.of(WHOLE, [WHOLE]).roofline_time_s if expectation else None
    if roofline_s is None or roofline_s <= host.busy_s:
        return host
    return replace(host, verdict=verdict(roofline_s, host.wall_s))


def not_adding_up(ops: Sequence[Achieved], spans: Mapping[str, TimedSpan]) -> list[str]:
    """A warning for each component whose ops take much longer than it was timed at."""
    found = []
    for name, span in spans.items():
        total_s = sum(op.measured_time_s or 0.0 for op in ops if op.component == name)
        timed_s = span.summary.p50_s
        if timed_s and total_s > _ADD_UP * timed_s:
            found.append(
                f"ops of {name} do not add up: {si(total_s, 's')} one by one, "
                f"{si(timed_s, 's')} together; the profiler slows such small ones down"
            )
    return found
