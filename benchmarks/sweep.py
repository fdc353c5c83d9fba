"""How many configurations a second a sweep prices on one core, and single analyses for comparison.

Time, bound, FLOPs, traffic and memory of every configuration are computed and kept. One core: NumPy
spreads matrix products over threads, but not the elementwise arithmetic that this is.
"""

import resource
from collections.abc import Callable
from statistics import median
from time import perf_counter

import numpy as np

import roofline

REPEATS = 7
SINGLE_CALLS = 200
GOAL = 3e6

VISUAL, TEXT, BATCH = np.arange(1, 577), np.arange(8, 513, 8), np.arange(1, 33)
CONFIGURATIONS = VISUAL.size * TEXT.size * BATCH.size


def sweep() -> None:
    estimate = roofline.sweep(
        "vicuna-7b", "v100", "int4", visual_tokens=VISUAL, text_tokens=TEXT, batch=BATCH
    )
    assert estimate.time_s.shape == (VISUAL.size, TEXT.size, BATCH.size)


def single_calls() -> None:
    for visual in VISUAL[:SINGLE_CALLS]:
        roofline.analyze("vicuna-7b", "v100", "int4", visual_tokens=visual)


def rates(run: Callable[[], None], configurations: int) -> list[float]:
    """Configurations per second of each repeat, after one run to warm up."""
    run()
    result = []
    for _ in range(REPEATS):
        start = perf_counter()
        run()
        result.append(configurations / (perf_counter() - start))
    return result


def main() -> None:
    print(f"Vicuna-7B prefill: {CONFIGURATIONS:,} configurations, {REPEATS} repeats, one thread")
    swept = rates(sweep, CONFIGURATIONS)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    single = rates(single_calls, SINGLE_CALLS)
    print(f"  sweep   {median(swept):12,.0f}/s median  {max(swept):12,.0f}/s best", end="")
    print(f"  goal ≥ {GOAL:,.0f}/s  peak RSS {peak:,.0f} MiB")
    print(f"  analyze {median(single):12,.0f}/s median  {max(single):12,.0f}/s best")


if __name__ == "__main__":
    main()
