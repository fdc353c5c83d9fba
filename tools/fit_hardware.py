"""Fit the laws of attained time that ship: `python tools/fit_hardware.py FOLDER [DEVICE …]`.

FOLDER holds tables of measured kernels (Parquet or CSV, as `roofline fit` takes them) whose column
`hardware` names devices of the catalog. The laws of each such device go to
`hardware/laws/NAME.json`, which its file names in `kernel_laws`. Then
`roofline/data/borrowing_errors.json` is made, too: what it costs to take the laws of one device for
another. `none` in place of devices makes that file alone.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
from accuracy import Pair, borrowed, layer
from measured import measurements, of_hardware

from roofline.device.borrowed import BORROWING_ERRORS_FILE, quantizes
from roofline.fitting.device import fit_device
from roofline.specs.catalog import load_hardware
from roofline.specs.writing import laws_json

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "kernels"
"""Key of the measurements among a device's sources."""
DATES = {
    "a100-80gb": "2025-26",
    "h100-sxm": "2025-26",
    "h200": "2025-26",
    "b200": "2025-26",
    "l40s": "2025-26",
    "v100-sxm2-16gb": "2019",
    "t4": "2019",
}
"""Fitted devices, and when their kernels were measured (DeepBench: the year of its CUDA 10.1)."""


def refit(name: str, tables: list[pd.DataFrame]) -> None:
    """Write a device's laws."""
    hardware, file = load_hardware(name), ROOT / "hardware" / "laws" / f"{name}.json"
    started = time.perf_counter()
    laws = fit_device(
        hardware,
        of_hardware(tables, hardware),
        source=SOURCE,
        date=DATES[name],
        progress=lambda kernel: print(f"{name}: {kernel}", flush=True),
    )
    file.write_text(laws_json(laws), encoding="utf-8")
    print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)


def borrowing_errors(tables: list[pd.DataFrame], folder: Path) -> dict[str, Any]:
    """Errors of borrowed laws: means over pairs of devices, and of vector ops on the layer."""
    pairs = borrowed(tables, list(DATES))
    plain = [pair for pair in pairs if not quantizes(pair.kernel)]
    errors: dict[str, Any] = {}
    for title, same in (("same_capability", True), ("other_capability", False)):
        errors[title] = {
            family: _mean([p for p in plain if (p.same, p.family) == (same, family)])
            for family in ("matmul", "attention")
        }
    vector = layer(folder).vector_ops
    return errors | {
        "quantized_matmul": _mean([pair for pair in pairs if quantizes(pair.kernel)]),
        "vector": _errors(vector.median, vector.p90),
    }


def _mean(pairs: list[Pair]) -> dict[str, float]:
    median, p90 = ([getattr(pair.errors, name) for pair in pairs] for name in ("median", "p90"))
    return _errors(sum(median) / len(pairs), sum(p90) / len(pairs))


def _errors(median: float, p90: float) -> dict[str, float]:
    return {"median_percent": round(median, 1), "p90_percent": round(p90, 1)}


def main() -> None:
    folder, *names = sys.argv[1:] or sys.exit(__doc__)
    tables = measurements(Path(folder))
    for name in names or DATES:
        if name != "none":
            refit(name, tables)
    errors = json.dumps(borrowing_errors(tables, Path(folder)), indent=1)
    BORROWING_ERRORS_FILE.write_text(errors + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
