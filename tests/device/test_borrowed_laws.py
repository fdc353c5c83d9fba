"""Which laws a device borrows, which it keeps, and what nobody measured."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from roofline.device.borrowed import laws_of
from roofline.device.laws.attention import AttentionLaw
from roofline.device.laws.matmul import MatmulLaw
from roofline.device.laws.pointwise import PointwiseLaw
from roofline.specs.catalog import load_hardware
from roofline.specs.kernel_laws import KernelLaws
from roofline.specs.sourced import Sourced


@pytest.mark.parametrize(("launch", "expected"), [(6.5, 6.5), (None, 4.0)])
def test_unmeasured_vector_ops_take_four_fifths_of_the_bandwidth_and_a_launch(
    launch: float | None, expected: float
) -> None:
    """Copies and triads reach 80 to 90 %; launches take 3 µs on new cards, 8 on old ones."""
    overhead = None if launch is None else Sourced(value=launch, source="datasheet")
    laws = laws_of(replace(load_hardware("a40"), launch_overhead_us=overhead))
    assert laws is not None
    law = laws.of(PointwiseLaw)["default"]
    assert (law.launch_us, law.rows) == (expected, 0)
    assert law.bandwidth_gb_per_s == pytest.approx(0.8 * 696)


def test_a_device_that_is_no_relation_of_its_source_errs_as_such() -> None:
    """Without a compute capability on either side, nothing says that they are alike."""
    a40 = load_hardware("a40")
    known, unknown = (
        laws_of(replace(a40, laws_from="a100", compute_capability=capability))
        for capability in ("8.0", None)
    )
    assert known is not None
    assert unknown is not None
    for family in ("matmul", "attention"):
        like, unlike = (dict[str, Any](laws.families[family])["bf16"] for laws in (known, unknown))
        assert like.p90_error_percent < unlike.p90_error_percent


def own(name: str) -> KernelLaws:
    laws = load_hardware(name).kernel_laws
    assert laws is not None
    return laws


def test_what_a_device_measured_goes_before_what_it_could_borrow() -> None:
    """A V100 that takes the laws of an H200, and has measured one of its kernels itself."""
    volta, hopper = own("v100-sxm2-16gb").of(MatmulLaw)["fp16"], own("h200")
    both = own("v100-sxm2-16gb").updated(matmul={"bf16": volta})
    found = laws_of(replace(load_hardware("v100-sxm2-16gb"), laws_from="h200", kernel_laws=both))
    assert found is not None

    matmuls = found.of(MatmulLaw)
    assert matmuls["bf16"].tiles == volta.tiles
    assert {name for name, law in matmuls.items() if law.origin == "typical"} == (
        set(hopper.of(MatmulLaw)) - {"bf16"} | {"fp32"}  # lent as a law of 16 bits
    )
    assert matmuls["fp8"].tiles == hopper.of(MatmulLaw)["fp8"].tiles
    assert (found.origin, found.date) == (both.origin, both.date)
    # of attention it has none at all; had it one, it would borrow no other
    assert found.of(AttentionLaw)["bf16"].efficiency == hopper.of(AttentionLaw)["bf16"].efficiency
    attention = {"fp16": hopper.of(AttentionLaw)["bf16"]}
    with_attention = both.updated(attention=attention)
    device = replace(load_hardware("v100-sxm2-16gb"), laws_from="h200", kernel_laws=with_attention)
    kept = laws_of(device)
    assert kept is not None
    assert kept.of(AttentionLaw) == attention
