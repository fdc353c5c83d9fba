"""How long a report of 100 prompts takes, a whole process, and how much memory."""

import resource
import subprocess
import sys
from tempfile import TemporaryDirectory
from time import perf_counter

GOAL_S, GOAL_BYTES = 20, 1e9
MODELS = ("llava-1.5-7b", "llava-1.5-13b")
DEVICES = ("v100", "a100-80gb", "h100-sxm", "h200", "l40s")
QUANTS = ("fp16", "int4")
VISUAL_TOKENS = (576, 288, 144, 64, 40)

OPTIONS = [
    word
    for flag, values in (
        ("--model", MODELS),
        ("--hw", DEVICES),
        ("--quant", QUANTS),
        ("--visual-tokens", VISUAL_TOKENS),
    )
    for value in values
    for word in (flag, str(value))
]
CONFIGURATIONS = len(MODELS) * len(DEVICES) * len(QUANTS) * len(VISUAL_TOKENS)


def seconds(*more: str) -> float:
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "roofline", "report", *OPTIONS, *more, "-o", folder]
        start = perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return perf_counter() - start


def main() -> None:
    print(f"report of {CONFIGURATIONS} prompts, goal < {GOAL_S} s and < 1 GB")
    for more in ((), ("--accuracy",)):
        print(f"  {seconds(*more):5.1f} s  {' '.join(more)}".rstrip())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024  # Linux counts in KiB
    print(f"  {peak / GOAL_BYTES:5.2f} GB at most")


if __name__ == "__main__":
    main()
