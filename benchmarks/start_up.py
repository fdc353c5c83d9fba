"""How long a command takes beyond importing the libraries that it cannot do without.

Whole processes, in pairs: on a shared machine the time of a process drifts by far more than what is
to be shown, while the ratio of two neighbours in time holds still.
"""

import subprocess
import sys
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

PAIRS = 30
GOAL = 1.3

ROOFLINE = str(Path(sys.executable).with_name("roofline"))
ANALYZE = "analyze --model vicuna-7b --hw v100 --quant int4 --visual-tokens 40"
CASES = [
    (ANALYZE, "import click, yaml, numpy"),
    ("--help", "import click"),
]


def seconds(command: list[str]) -> float:
    start = perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - start


def paired(one: list[str], other: list[str]) -> list[tuple[float, float]]:
    """Seconds of both, side by side in time; they take turns in going first."""
    seconds(one), seconds(other)  # fill the file cache
    pairs = []
    for _ in range(PAIRS // 2):
        first = seconds(one), seconds(other)
        second = seconds(other), seconds(one)
        pairs += [first, second[::-1]]
    return pairs


def main() -> None:
    print(f"start-up: {PAIRS} pairs of processes, median [quartiles], goal ≤ {GOAL}×")
    for arguments, imports in CASES:
        pairs = paired([ROOFLINE, *arguments.split()], [sys.executable, "-c", imports])
        low, middle, high = quantiles((ours / theirs for ours, theirs in pairs), n=4)
        ours, theirs = (median(times) * 1e3 for times in zip(*pairs, strict=True))
        print(f"  {middle:.2f}× [{low:.2f}, {high:.2f}]  {ours:.0f} ms  roofline {arguments}")
        print(f"  {'':18}  {theirs:.0f} ms  python -c '{imports}'")


if __name__ == "__main__":
    main()
