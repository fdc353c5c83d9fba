"""Fit the laws of attained time that ship: `python tools/fit_hardware.py FOLDER [DEVICE …]`.

FOLDER holds tables of measured kernels (Parquet or CSV, as `roofline fit` takes them) whose column
`hardware` names devices of the catalog. The laws of each such device go to
`hardware/laws/NAME.json`, which its file names in `kernel_laws`; laws of families that are
not in the tables stay. `--family NAME`, repeated, fits those families alone.

`none` in place of devices, and any run of all, makes `roofline/data/borrowing_errors.json`: what it
costs to take a law for another device, data type, phase or library.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measured import (
    FAMILIES,
    LIBRARIES,
    MeasuredKernel,
    measured_kernels,
    of_hardware,
    own_law,
    with_law,
)
from msgspec.structs import replace

from roofline.device.borrowed import BORROWING_ERRORS_FILE, quantizes
from roofline.device.kernel_types import WIDE
from roofline.device.laws.energy import EnergyLaw
from roofline.fitting.device import fit_device
from roofline.specs.catalog import load_hardware
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import LAW_FAMILIES, KernelLaws, Law, read_kernel_laws
from roofline.specs.reading import build, read_json, read_yaml
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
    "gb200": "2026",
    "b300": "2026",
    "gb300": "2026",
    "rtx-pro-6000-server": "2026",
    "v100-sxm2-16gb": "2019",
    "t4": "2019",
}
"""Fitted devices, and when their kernels were measured (DeepBench: the year of its CUDA 10.1)."""


def bare(name: str) -> Hardware:
    """A device without its laws, which may be of a form that is gone."""
    file = ROOT / "hardware" / f"{name}.yaml"
    fields = {key: value for key, value in read_yaml(file).items() if key != "kernel_laws"}
    return build(Hardware, fields, file)


def refit(name: str, folder: Path, families: Sequence[str]) -> None:
    """Write a device's laws."""
    hardware, file = bare(name), ROOT / "hardware" / "laws" / f"{name}.json"
    started = time.process_time()
    measured = {
        family: rows for family, rows in of_hardware(folder, hardware).items() if family in families
    }
    laws = fit_device(
        hardware,
        measured,
        source=SOURCE,
        date=DATES[name],
        libraries=LIBRARIES.get(name, {}),
        progress=lambda kernel: print(f"{name}: {kernel}", flush=True),
    )
    known = {} if not file.exists() else read_json(file)
    families_kept = [name for name in known if name in LAW_FAMILIES and name not in measured]
    kept = {family: known[family] for family in families_kept}
    if kept:
        header = {key: getattr(laws, key) for key in ("origin", "source", "date", "conditions")}
        laws = laws.updated(**read_kernel_laws({**header, **kept}, file).families)
    file.write_text(laws_json(replace(laws, conditions=_libraries(laws))), encoding="utf-8")
    print(f"{name}: {time.process_time() - started:.0f} s", flush=True)


def _libraries(laws: KernelLaws) -> str:
    """Those that any law was fitted to."""
    known = (law for kernels in laws.families.values() for law in kernels.values())
    names = dict.fromkeys(law.library for law in known if isinstance(law, Law) and law.library)
    return ", ".join(names) or "not stated"


class Relation:
    """Errors of laws outside what they were fitted to, collected by family."""

    def __init__(self) -> None:
        self._errors: dict[str, list[tuple[float, float]]] = {}

    def add(self, family: str, hardware: Hardware, rows: MeasuredKernel) -> None:
        """What the device's laws are off on rows."""
        predicted = rows.times(hardware).attainable_time_s
        assert predicted is not None
        off = 100 * np.abs(predicted / rows.seconds - 1)
        median, p90 = np.quantile(off, (0.5, 0.9)).tolist()
        self._errors.setdefault(family, []).append((median, p90))

    def means(self) -> dict[str, Any]:
        """By family, over all that were added."""
        return {
            family: errors(*(sum(values) / len(values) for values in zip(*found, strict=True)))
            for family, found in self._errors.items()
        }


def errors(median: float, p90: float) -> dict[str, float]:
    return {"median_percent": round(median, 1), "p90_percent": round(p90, 1)}


def borrowing_errors(folder: Path) -> dict[str, Any]:
    """Errors of borrowed laws, as the file has them."""
    devices = {name: load_hardware(name) for name in DATES}
    measured = {  # a quarter of the shapes says as much
        name: [one.where(one.held_out) for one, _ in measured_kernels(folder, device)]
        for name, device in devices.items()
    }
    same, other, quantized = Relation(), Relation(), Relation()
    for name, device in devices.items():
        for lender in devices.values():
            if lender is device:
                continue
            related = lender.compute_capability == device.compute_capability
            for one in measured[name]:
                law = own_law(lender, one)
                if law is not None:
                    relation = quantized if quantizes(one.kernel) else same if related else other
                    borrower = with_law(device, one.kernel, replace(law, origin="typical"))
                    relation.add(one.family, borrower, one)
    quantized_errors = quantized.means()["matmul"]
    known = read_json(BORROWING_ERRORS_FILE)  # energies are of other tables: tools/fit_energy.py
    energy = {
        relation: {name: off for name, off in known[relation].items() if name == EnergyLaw.family}
        for relation in ("same_capability", "other_capability")
    }
    return {
        "same_capability": same.means() | energy["same_capability"],
        "other_capability": other.means() | energy["other_capability"],
        "quantized_matmul": quantized_errors,
        **_other_type(devices, measured),
        "other_phase": _other_phase(devices, measured).means(),
        "other_library": _other_library(devices.values(), narrow=False),
        "narrow_other_library": _other_library(devices.values(), narrow=True),
    }


def _other_type(
    devices: dict[str, Hardware], measured: dict[str, list[MeasuredKernel]]
) -> dict[str, Any]:
    """A law of each data type of a device for its others, quantized matmuls apart. Where only wide
    matmuls were measured in two types, other families take the errors of narrow types.
    """
    wide, narrow = Relation(), Relation()
    for name, device in devices.items():
        for one in measured[name]:
            if one.family == "collective":  # whose kernels are ops, not types
                continue
            assert device.kernel_laws is not None
            for kernel, law in device.kernel_laws.families[one.family].items():
                if kernel != one.kernel and not quantizes(kernel) and not quantizes(one.kernel):
                    assert isinstance(law, Law)
                    changed = with_law(device, one.kernel, replace(law, origin="typical"))
                    relation = wide if {kernel, one.kernel} <= WIDE else narrow
                    relation.add(one.family, changed, one)
    return {"other_type": narrow.means() | wide.means(), "narrow_type": narrow.means()}


def _other_phase(
    devices: dict[str, Hardware], measured: dict[str, list[MeasuredKernel]]
) -> Relation:
    """Laws of prompts for decode and for encoders."""
    relation = Relation()
    for name, device in devices.items():
        assert device.kernel_laws is not None
        without = {**device.kernel_laws.families}
        for family in ("decode_attention", "encoder_attention"):
            without.pop(family, None)
        laws = replace(device.kernel_laws, families=without)
        for one in measured[name]:
            if one.family not in without and "attention" in without and one.kernel == "bf16":
                relation.add(one.family, replace(device, kernel_laws=laws, laws_from=None), one)
    return relation


def _other_library(devices: Iterable[Hardware], *, narrow: bool) -> dict[str, Any]:
    """Means over all laws of which it was measured, of 16 bits and more or of fewer."""
    found: dict[str, list[tuple[float, float]]] = {}
    for device in devices:
        assert device.kernel_laws is not None
        for family, laws in device.kernel_laws.families.items():
            for kernel, law in laws.items():
                wide = kernel in WIDE or family == "collective"
                if wide == narrow or not isinstance(law, Law):
                    continue
                if law.p90_other_library_error_percent is not None:
                    median = law.median_other_library_error_percent or 0.0
                    pair = (median, law.p90_other_library_error_percent)
                    found.setdefault(family, []).append(pair)
    return {
        family: errors(*(sum(values) / len(values) for values in zip(*pairs, strict=True)))
        for family, pairs in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("devices", nargs="*")
    parser.add_argument("--family", action="append", choices=FAMILIES)
    given = parser.parse_args()
    if unknown := [name for name in given.devices if name not in ("none", *DATES)]:
        parser.error(f"no measurements of {unknown[0]}; there are {', '.join(DATES)}, and none")
    for name in given.devices or DATES:
        if name != "none":
            refit(name, given.folder, given.family or list(FAMILIES))
    if not given.devices or "none" in given.devices:
        found = json.dumps(borrowing_errors(given.folder), indent=1)
        BORROWING_ERRORS_FILE.write_text(found + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
