"""What a device sustains beside another: power, accumulate rate."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

import roofline
from roofline.device.roof import Roof
from roofline.device.sustained import paced, sustained
from roofline.specs.catalog import load_hardware
from roofline.specs.sourced import Sourced


def of(borrower: str, lender: str, kernel: str = "bf16") -> tuple[float, float]:
    found = sustained(load_hardware(borrower), load_hardware(lender), kernel)
    return found.rate_ratio, found.lender_rate


def test_a_card_with_less_power_for_its_clock_sustains_less() -> None:
    """(72 − 14.4) W / (58 · 2.04 GHz) = 0.487 W/GHz, half of the L40S's: in proportion."""
    assert of("l4", "l40s") == (pytest.approx(0.487 / 0.945, rel=0.02), 1.0)
    # above the lowest voltage the cube root: 285 W to 385 W of the same chip
    assert of("a100-80gb-pcie", "a100-80gb")[0] == pytest.approx((285 / 385) ** (1 / 3), rel=1e-3)


def test_geforce_cards_accumulate_at_half_rate_and_wait_for_no_power() -> None:
    rate, more = of("rtx-4090", "l40s")
    assert more == 2
    assert rate > 1
    # int8 runs at full rate, and fp32 on no tensor core
    assert of("rtx-4090", "l40s", "w8a8") == (1.0, 1.0)
    assert of("rtx-4090", "l40s", "fp32")[1] == 1.0


def test_figures_that_a_file_lacks_change_nothing() -> None:
    bare = replace(load_hardware("l4"), tdp_w=None)
    assert sustained(bare, load_hardware("l40s"), "bf16").rate_ratio == 1.0


def test_all_but_the_multiplications_takes_as_long_as_on_the_lender() -> None:
    """A lender of twice the rate takes 3 s at its peak of 2 FLOP/s for 4 FLOPs, of which 2 s are
    multiplications: they take 4 s here, all else 1 s.
    """
    laws = load_hardware("l40s").kernel_laws
    assert laws is not None
    law = replace(laws.families["matmul"]["bf16"], lender_rate=2.0)  # type: ignore[arg-type]
    roof = Roof(flops_per_s=1.0, bytes_per_s=1.0, units=1.0, cache_bytes=0.0)
    seconds = paced(law, roof, 4.0, lambda seen: np.asarray(4.0 / seen.flops_per_s + 1.0))
    assert seconds == 5.0


def test_more_power_is_never_slower() -> None:
    slow, fast = (
        replace(load_hardware("l4"), tdp_w=Sourced(value=watts, source="datasheet"))
        for watts in (60.0, 90.0)
    )
    sizes = {"m": [1024, 4096], "n": 4096, "k": 4096, "dtype": "bf16"}
    slower, faster = (roofline.matmul_time(card, **sizes) for card in (slow, fast))  # type: ignore[arg-type]
    assert slower.attainable_time_s is not None
    assert faster.attainable_time_s is not None
    assert np.all(slower.attainable_time_s >= faster.attainable_time_s * (1 - 1e-12))


@pytest.mark.parametrize(("card", "measured_s"), [("rtx-4090", 0.745)])
def test_a_tower_on_a_card_that_borrows(card: str, measured_s: float) -> None:
    """CLIP-L/336, 256 images, fp16: within 10 % of what was measured, corrected or not."""
    device = load_hardware(card)
    for one in (device, replace(device, correction=None)):
        tower = roofline.analyze("clip-vit-l-336", one, "fp16", batch=256).end_to_end
        assert tower.attainable_time_s == pytest.approx(measured_s, rel=0.1)
