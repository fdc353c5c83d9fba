"""Fit the laws of attained time that ship: `python tools/fit_catalogue.py FOLDER [DEVICE …]`.

FOLDER holds tables of measured kernels (Parquet or CSV, as `roofline fit` takes them) whose column
`hardware` names devices of the catalog. Of each such device's file all that stands behind `MARK` is
written anew; what stands before it is kept to the byte. Then `roofline/data/carry_over.yaml` is
made, too: what it costs to take the laws of one device for another.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pandas as pd
from accuracy import Pair, carried, layer
from measured import measurements, of_hardware

from roofline.device.borrowed import CARRY_OVER, quantizes
from roofline.fitting.device import fit_device
from roofline.specs.catalog import load_hardware
from roofline.specs.writing import attained_yaml

ROOT = Path(__file__).resolve().parents[1]
MARK = "\n# Below: laws fitted by tools/fit_catalogue.py, not to be edited.\n"
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
    """Write a device's laws into its file."""
    hardware, file = load_hardware(name), ROOT / "hardware" / f"{name}.yaml"
    started = time.perf_counter()
    laws = fit_device(
        hardware,
        of_hardware(tables, hardware),
        source=SOURCE,
        date=DATES[name],
        progress=lambda doing: print(f"{name}: {doing}", flush=True),
    )
    by_hand = file.read_text(encoding="utf-8").partition(MARK)[0]
    file.write_text(by_hand + MARK + attained_yaml(laws), encoding="utf-8")
    print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)


def carry_over_yaml(tables: list[pd.DataFrame], folder: Path) -> str:
    """Errors of typical laws: means over pairs of devices, and of vector ops on the layer."""
    pairs = carried(tables, list(DATES))
    lines = [
        "# Written by tools/fit_catalogue.py: errors of laws on other devices than their own,",
        "# means over pairs of measured devices; of vector ops, on the one layer measured.",
    ]
    plain = [pair for pair in pairs if not quantizes(pair.kernel)]
    for title, same in (("same_capability", True), ("other_capability", False)):
        lines.append(f"{title}:")
        for kind in ("matmul", "attention"):
            some = [pair for pair in plain if (pair.same, pair.kind) == (same, kind)]
            lines.append(f"  {kind}: {_mean(some)}")
    lines.append(f"quantized_matmul: {_mean([p for p in pairs if quantizes(p.kernel)])}")
    vector = layer(folder).vector_ops
    lines.append(f"vector: {_errors(vector.median, vector.p90)}")
    return "\n".join([*lines, ""])


def _mean(pairs: list[Pair]) -> str:
    median, p90 = ([getattr(pair.errors, name) for pair in pairs] for name in ("median", "p90"))
    return _errors(sum(median) / len(pairs), sum(p90) / len(pairs))


def _errors(median: float, p90: float) -> str:
    return f"{{median_percent: {median:.1f}, p90_percent: {p90:.1f}}}"


def main() -> None:
    folder, *names = sys.argv[1:] or sys.exit(__doc__)
    tables = measurements(Path(folder))
    for name in names or DATES:
        if name != "none":
            refit(name, tables)
    CARRY_OVER.write_text(carry_over_yaml(tables, Path(folder)), encoding="utf-8")


if __name__ == "__main__":
    main()
