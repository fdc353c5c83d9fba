"""The fit of servers' steps: numbers that made the answers are found again; errors as promised."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import fit_runtimes  # noqa: E402  # a script beside the package

from roofline.specs.runtimes import find_runtime  # noqa: E402

MEASURED = ROOT.parent / "shared" / "measured"


def made_up(*numbers_us: float) -> list[fit_runtimes.Row]:
    """Answers whose host takes exactly so long."""
    rows = []
    for length in (128, 512, 2048):
        for batch in (1, 16, 64):
            for grouped in (False, True):
                one = fit_runtimes.Row("vllm", "d", "m", length, batch, grouped, 0.0, 1.0, 0.1)
                host_s = np.dot(one.terms, numbers_us) * 1e-6
                rows.append(one._replace(measured_s=1.0 + float(host_s)))
    return rows


@pytest.mark.parametrize("numbers", [(900.0, 30.0, 50.0), (900.0, 0.0, 50.0), (0.0, 0.0, 0.0)])
def test_numbers_that_made_the_answers_are_found(numbers: tuple[float, ...]) -> None:
    assert fit_runtimes.fitted(made_up(*numbers)) == pytest.approx(numbers, abs=1e-6)


def test_one_odd_answer_bends_little() -> None:
    rows = made_up(900.0, 30.0, 50.0)
    rows[3] = rows[3]._replace(measured_s=3 * rows[3].measured_s)
    assert fit_runtimes.fitted(rows) == pytest.approx((900.0, 30.0, 50.0), rel=0.1)


def test_what_no_answer_speaks_of_stays_as_it_was_known() -> None:
    rows = [row for row in made_up(900.0, 30.0, 0.0) if not row.grouped]
    found = fit_runtimes.fitted(rows, (0.0, 0.0, 7.0))
    assert found == pytest.approx((900.0, 30.0, 7.0), abs=1e-6)


def test_sharing_carries_over_by_bandwidth_and_as_it_is() -> None:
    low, value, high = fit_runtimes.carried_over({"a100-40gb": 50.0}, "h100-sxm")
    assert (low, high) == pytest.approx((50 * 1555 / 3350, 50.0))
    assert value == pytest.approx((low + high) / 2)


@pytest.mark.skipif(not MEASURED.exists(), reason="needs the measured answers beside the checkout")
@pytest.mark.parametrize("runtime", ["vllm", "trt-llm"])
def test_whole_answers_come_out_within_nine_percent_and_inside_the_band(runtime: str) -> None:
    rows = [row for row in fit_runtimes.rows_of(MEASURED) if row.runtime == runtime]
    for device in ("a100-40gb", "h100-sxm"):
        (law,) = (step for step in find_runtime(runtime).steps if step.hardware == device)
        own = [row for row in rows if row.device == device]
        ends = [
            np.array([getattr(getattr(law, name), end) for name in fit_runtimes.NUMBERS])
            for end in ("low", "value", "high")
        ]
        assert np.abs(fit_runtimes.errors(own, ends[1])).mean() < 0.09
        assert fit_runtimes.within(own, ends[0], ends[2]) >= 0.85
