"""Laws of energy from made-up measurements, whose law is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from roofline.device.laws.energy import DENSE, EnergyLaw, energy_joules
from roofline.fitting.device import fit_device
from roofline.fitting.energy import START
from roofline.fitting.rows import FitError
from roofline.fitting.tables import by_family
from roofline.specs.catalog import load_hardware

H100 = load_hardware("h100-sxm")
FIT = {"rows": 1, "median_error_percent": 0.0, "p90_error_percent": 0.0}
LAW = EnergyLaw(**FIT, idle_share=START[0], memory_share=0.45, compute_share=1.5)
LABELS: dict[str, Any] = {"source": "energies", "date": "2026"}


def rows(law: EnergyLaw = LAW, **columns: Any) -> pd.DataFrame:
    """Five models at eight batches each."""
    rng = np.random.default_rng(5)
    seconds = rng.uniform(5e-3, 50e-3, 40)
    memory, compute = seconds * rng.uniform(0.2, 0.7, 40), seconds * rng.uniform(0.01, 0.25, 40)
    joules = energy_joules(
        law, 700.0, elapsed_s=seconds, kernel_s=seconds, memory_s=memory, compute_s=compute
    )
    return pd.DataFrame(
        {
            "energy_j": joules,
            "time_ms": 1e3 * seconds,
            "bytes": memory * 3.35e12,
            "flops": compute * 989e12,
            "dtype": "bf16",
            "model": np.repeat(list("abcde"), 8),
            **columns,
        }
    )


def laws(table: pd.DataFrame) -> dict[str, EnergyLaw]:
    return fit_device(H100, by_family(table), **LABELS).of(EnergyLaw)


def test_the_law_is_found_again() -> None:
    found = laws(rows())

    assert list(found) == [DENSE]
    law = found[DENSE]
    assert law.memory_share == pytest.approx(0.45, rel=0.02)
    assert law.compute_share == pytest.approx(1.5, rel=0.02)
    assert (law.rows, law.busy_share) == (40, 0.0)
    assert law.median_error_percent < 0.5


def test_mixtures_of_experts_have_laws_of_their_own() -> None:
    busy = replace(LAW, busy_share=0.3)
    found = laws(pd.concat([rows(), rows(busy, grouped=1)]).fillna({"grouped": 0}))

    assert list(found) == [DENSE, "moe-bf16"]
    assert found["moe-bf16"].busy_share == pytest.approx(0.3, rel=0.1)


def test_whole_models_are_held_out() -> None:
    """One model that draws half as much again is what the error shows, as it would not if its
    batches were in the fit.
    """
    table = rows()
    odd = table["model"] == "c"
    table.loc[odd, "energy_j"] *= 1.3
    assert laws(table)[DENSE].p90_error_percent > 20


def test_energy_rows_are_no_vector_ops() -> None:
    assert list(by_family(rows())) == ["energy"]


def test_a_row_beyond_the_tdp_is_refused() -> None:
    table = rows()
    table.loc[3, "energy_j"] *= 4
    with pytest.raises(FitError, match="times the device's TDP"):
        laws(table)


def test_a_device_without_tdp_is_refused() -> None:
    with pytest.raises(FitError, match="has no `tdp_w`"):
        fit_device(replace(H100, tdp_w=None), by_family(rows()), **LABELS)
