"""How many prompts a second a sweep prices on one core, and single analyses for comparison.

Time, bound, FLOPs, traffic and memory of every prompt are computed and kept, with the
attainable time of a device that has laws and without; with laws once on a grid, whose batches and
lengths repeat, and once where no two prompts are alike. One core: NumPy
spreads matrix products over threads, but not the elementwise arithmetic that this is.
"""

import resource
from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

import roofline
from roofline.specs.catalog import load_hardware
from roofline.specs.hardware import Hardware

REPEATS = 7
SINGLE_CALLS = 200
GOALS = {"bounds": 10e6, "with laws": 1.5e6, "all unlike": 1e6}
DIFFERENT = 200_000

VISUAL, TEXT, BATCH = np.arange(1, 577), np.arange(8, 513, 8), np.arange(1, 33)
CONFIGURATIONS = VISUAL.size * TEXT.size * BATCH.size
LAWS = load_hardware("h200")
DEVICES = {"bounds": replace(LAWS, kernel_laws=None, laws_from=None), "with laws": LAWS}


def sweep(hardware: Hardware) -> None:
    estimate = roofline.sweep(
        "vicuna-7b", hardware, "bf16", visual_tokens=VISUAL, text_tokens=TEXT, batch=BATCH
    )
    assert estimate.llm.roofline_time_s.shape == (VISUAL.size, TEXT.size, BATCH.size)


def unlike() -> dict[str, NDArray[np.int64]]:
    """Triples of visual tokens, text and batch, each of which is there once."""
    picked = np.random.default_rng(2026).choice(4096 * 4096 * 64, DIFFERENT, replace=False)
    visual, rest = np.divmod(picked, 4096 * 64)
    text, batch = np.divmod(rest, 64)
    return {"visual_tokens": 1 + visual, "text_tokens": 1 + text, "batch": 1 + batch}


def different(counts: dict[str, NDArray[np.int64]]) -> None:
    estimate = roofline.analyze("vicuna-7b", LAWS, "bf16", **counts)
    assert estimate.llm.roofline_time_s.shape == (DIFFERENT,)


def single_calls(model: str) -> None:
    for visual in VISUAL[:SINGLE_CALLS]:
        roofline.analyze(model, LAWS, "bf16", visual_tokens=visual)


def rates(run: Callable[[], None], prompts: int) -> list[float]:
    """Configurations per second of each repeat, after one run to warm up."""
    run()
    result = []
    for _ in range(REPEATS):
        start = perf_counter()
        run()
        result.append(prompts / (perf_counter() - start))
    return result


def main() -> None:
    print(f"Vicuna-7B prefill: {CONFIGURATIONS:,} prompts, {REPEATS} repeats, one thread")
    for name, hardware in DEVICES.items():
        swept = rates(partial(sweep, hardware), CONFIGURATIONS)
        print(f"  {name:9} {median(swept):12,.0f}/s median  {max(swept):12,.0f}/s best", end="")
        print(f"  goal ≥ {GOALS[name]:,.0f}/s")
    swept = rates(partial(different, unlike()), DIFFERENT)
    print(f"  all unlike{median(swept):12,.0f}/s median  {max(swept):12,.0f}/s best", end="")
    print(f"  goal ≥ {GOALS['all unlike']:,.0f}/s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    for model in ("vicuna-7b", "llava-1.5-7b"):
        single = rates(partial(single_calls, model), SINGLE_CALLS)
        milliseconds = f"{1e3 / median(single):.2f} ms median  {1e3 / max(single):.2f} ms best"
        print(f"  one analyze of {model}: {milliseconds}  goal < 1 ms")
    print(f"  peak RSS {peak:,.0f} MiB")


if __name__ == "__main__":
    main()
