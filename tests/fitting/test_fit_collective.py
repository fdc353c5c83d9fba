"""A fit of collectives finds again what made its table; its rows are told by their op."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from example_laws import COLLECTIVE, LINK

from roofline.device.laws.collective import CollectiveLaw, collective_seconds
from roofline.fitting import FitError, fit_collective
from roofline.fitting.device import fit_device
from roofline.fitting.tables import by_family
from roofline.specs.catalog import load_hardware

LABELS: dict[str, Any] = {"source": "datasheet", "date": "2026-01-01"}


def table(op: str = "all_reduce", slower: float = 1.0, **columns: Any) -> pd.DataFrame:
    devices, elements, width = (
        a.ravel().astype(float) for a in np.meshgrid([2, 4, 8], 4.0 ** np.arange(4, 14), [1, 2])
    )
    times = collective_seconds(
        COLLECTIVE, op, devices, elements * width, link_bytes_per_s=LINK, narrow=width == 1
    )
    return pd.DataFrame(
        {
            "op": op,
            "num_gpus": devices,
            "message_size": elements,
            "dtype": np.where(width == 1, "int8", "fp16"),
            "time_ms": 1e3 * slower * times,
            **columns,
        }
    )


def test_finds_a_law_again() -> None:
    rows = {str(name): column.to_numpy() for name, column in table().items()}
    law = fit_collective(rows, "all_reduce", link_bytes_per_s=LINK)

    assert law.rows == 60
    assert law.median_error_percent < 1
    for name in ("latency_us", "doubling_us", "bandwidth_fraction", "narrow_slowdown"):
        assert getattr(law, name) == pytest.approx(getattr(COLLECTIVE, name), rel=0.05), name
    assert law == fit_collective(rows, "all_reduce", link_bytes_per_s=LINK)


def test_ops_and_frameworks_own_kernels_are_laws_of_their_own() -> None:
    rows = pd.concat(
        [
            table(source="nccl 2.9.1"),
            table(source="nccl 2.27.3"),
            table("alltoall", source="nccl 2.27.3"),
            table(slower=1.5, source="vllm 0.24.0 custom"),
        ],
        ignore_index=True,
    )
    families = by_family(rows)
    assert set(families) == {"collective"}

    laws = fit_device(load_hardware("h100"), families, **LABELS).of(CollectiveLaw)
    assert list(laws) == ["all_reduce", "alltoall", "all_reduce-custom"]
    # of two versions with as many rows the newer one, and the older is another library
    assert laws["all_reduce"].library == "nccl 2.27.3"
    other = laws["all_reduce"].p90_other_library_error_percent
    assert other is not None
    assert other < 1
    assert laws["alltoall"].p90_other_library_error_percent is None
    assert laws["all_reduce-custom"].latency_us == pytest.approx(9.0, rel=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_gpus": 1.0}, "num_gpus must be 2 or more"),
        ({"dtype": "int3"}, "dtype 'int3' is not one of"),
        ({"time_ms": 1e-6}, "row 59 of the measurements takes .* times the bus bandwidth"),
    ],
)
def test_refuses_what_cannot_be(change: dict[str, Any], message: str) -> None:
    rows = {str(name): column.to_numpy() for name, column in table().assign(**change).items()}
    with pytest.raises(FitError, match=message):
        fit_collective(rows, "all_reduce", link_bytes_per_s=LINK)


def test_a_device_without_a_link_is_refused() -> None:
    with pytest.raises(FitError, match="collective all_reduce: xeon-8480 has no `link_bandwidth"):
        fit_device(load_hardware("xeon-8480"), by_family(table()), **LABELS)
