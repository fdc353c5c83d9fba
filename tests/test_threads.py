"""Eight threads whose first call of the package comes at the same moment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import roofline

COLD_STARTS = 4
"""Each a process of its own: what is learnt once is learnt at the first call."""
PROGRAM = """
import sys, threading
sys.setswitchinterval(1e-6)
import roofline
models, devices, modes = ("vicuna-7b", "llava-1.5-7b"), ("a100", "v100", "h100"), ("int4", "fp16")
together, failed = threading.Barrier(8), []

def first_call(i):
    together.wait()
    try:
        estimate = roofline.analyze(models[i % 2], devices[i % 3], modes[i // 4], visual_tokens=40)
        assert float(estimate.end_to_end.roofline_time_s) > 0
    except BaseException as error:
        failed.append(repr(error))

threads = [threading.Thread(target=first_call, args=(i,)) for i in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit("; ".join(failed) or None)
"""


@pytest.mark.parametrize("start", range(COLD_STARTS))
def test_threads_may_come_first(start: int) -> None:
    home = str(Path(roofline.__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": home},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )

    assert (done.returncode, done.stderr) == (0, "")
