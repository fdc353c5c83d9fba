"""Fit the laws of energy that ship: `python tools/fit_energy.py FOLDER`.

FOLDER is that of `tools/energy.py`. The laws of each device go to `hardware/laws/NAME.json`, beside
those of time, and what they are off on each other's device to
`roofline/data/borrowing_errors.json`. Fitted are text chats alone: of dense models on one device,
and of mixtures of experts on any number. Other tasks, and dense models on several devices, show
what the laws are worth elsewhere.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from energy import DEVICES, TEXT, energies, errors, serving_rows, step_joules
from msgspec.structs import replace

from roofline.device.borrowed import BORROWING_ERRORS_FILE, Errors, outside
from roofline.device.laws.energy import EnergyLaw
from roofline.fitting.device import fit_device
from roofline.fitting.energy import COLUMNS
from roofline.specs.catalog import load_hardware
from roofline.specs.kernel_laws import AnyLaw
from roofline.specs.reading import build, read_json
from roofline.specs.writing import laws_json
from roofline.units import MILLI

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "energies"
"""Key of the measurements among a device's sources."""
LIBRARY = "vllm"
RELATIVES = {"h200": "h100-sxm"}
"""Devices that lend to the one that theirs is borrowed from, so that `laws_from` cannot say it."""


def fitted_rows(folder: Path, name: str) -> pd.DataFrame:
    """A device's rows as a fit takes them."""
    rows = serving_rows(folder)
    chosen = (rows["hardware"] == name) & (rows["task"] == TEXT)
    rows = rows[chosen & (rows["grouped"] | (rows["num_gpus"] == 1))]
    return pd.DataFrame(
        {
            "energy_j": rows["step_j"],
            "time_ms": rows["step_s"] / MILLI,
            **{column: rows[column] for column in (*COLUMNS[2:], "dtype", "grouped", "model")},
            "source": LIBRARY,
        }
    )


def refit(name: str, folder: Path) -> None:
    """Write a device's laws of energy; all others stay."""
    found = fit_device(
        load_hardware(name),
        {EnergyLaw.family: fitted_rows(folder, name)},
        source=SOURCE,
        date="",
        progress=lambda kernel: print(f"{name}: {kernel}", flush=True),
    )
    write(name, found.families[EnergyLaw.family])


def write(name: str, laws: Mapping[str, AnyLaw]) -> None:
    """Into the device's file of laws."""
    file = ROOT / "hardware" / "laws" / f"{name}.json"
    file.write_text(laws_json({**read_json(file), EnergyLaw.family: laws}), encoding="utf-8")


def lend(name: str, lender: str, off: dict[str, float]) -> None:
    """Write a relative's laws, with the errors of borrowing."""
    laws = load_hardware(lender).kernel_laws
    assert laws is not None
    errors = build(Errors, off, BORROWING_ERRORS_FILE)
    # nobody measured energy under another library
    unknown = {"median_other_library_error_percent": None, "p90_other_library_error_percent": None}
    lent = {
        kernel: replace(outside(law, errors), **unknown)
        for kernel, law in laws.of(EnergyLaw).items()
    }
    write(name, lent)


def borrowed_errors(folder: Path) -> dict[str, float]:
    """What the laws are off on dense models of the other device: means over both ways."""
    rows = serving_rows(folder)
    rows = rows[(rows["task"] == TEXT) & ~rows["grouped"] & (rows["num_gpus"] == 1)]
    found = []
    for lender in DEVICES.values():
        others = rows[rows["hardware"] != lender].reset_index(drop=True)
        steps = np.asarray(others["step_s"])
        joules = step_joules(others, steps, steps, lender=lender)
        off = 100 * np.abs(joules / others["step_j"] - 1)
        found.append(np.quantile(off, (0.5, 0.9)))
    median, p90 = np.mean(found, axis=0)
    return {"median_percent": round(float(median), 1), "p90_percent": round(float(p90), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    for name in DEVICES.values():
        refit(name, folder)
    known = json.loads(BORROWING_ERRORS_FILE.read_text(encoding="utf-8"))
    off = borrowed_errors(folder)
    for relation in ("same_capability", "other_capability"):
        known[relation][EnergyLaw.family] = off  # no two of one capability were measured
    for name, lender in RELATIVES.items():
        lend(name, lender, off)
    BORROWING_ERRORS_FILE.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    print(errors(energies(folder)).round(1).to_string())


if __name__ == "__main__":
    main()
