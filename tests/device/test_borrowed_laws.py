"""Which laws a device borrows, which it keeps, and what nobody measured."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from roofline.device.borrowed import laws_of, with_own_laws
from roofline.device.laws.attention import AttentionLaw
from roofline.device.laws.host import HostLaw
from roofline.device.laws.matmul import MatmulLaw
from roofline.device.laws.pointwise import PointwiseLaw
from roofline.device.typical_vector import ADDING, COMPUTING
from roofline.specs.catalog import load_hardware
from roofline.specs.correction import Correction
from roofline.specs.kernel_laws import KernelLaws
from roofline.specs.sourced import Sourced


@pytest.mark.parametrize(("launch", "launch_us"), [(6.5, 6.5), (None, 4.0)])
def test_unmeasured_vector_ops_take_the_shares_of_bandwidth_and_launch_that_an_a100_shows(
    launch: float | None, launch_us: float
) -> None:
    """Launches take 3 µs on new cards, 8 on old ones; where the file has none, 4."""
    overhead = None if launch is None else Sourced(value=launch, source="datasheet")
    laws = laws_of(replace(load_hardware("a40"), launch_overhead_us=overhead))
    assert laws is not None
    found = laws.of(PointwiseLaw)
    for name, shares in (("default", COMPUTING), ("residual", ADDING)):
        law = found[name]
        assert (law.origin, law.rows) == ("typical", 0)
        assert law.launch_us == pytest.approx(shares.launch * launch_us)
        assert law.bandwidth_gb_per_s == pytest.approx(shares.dram * 696)


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


def shapes(law: MatmulLaw) -> list[tuple[float, float]]:
    """Of its tiles, whose efficiencies may be scaled for another device."""
    return [(tile.rows, tile.columns) for tile in law.tiles]


def test_what_a_device_measured_goes_before_what_it_could_borrow() -> None:
    """A V100 that takes the laws of an H200, and has measured one of its kernels itself."""
    volta, hopper = own("v100-sxm2-16gb").of(MatmulLaw)["fp16"], own("h200")
    both = own("v100-sxm2-16gb").updated(matmul={"bf16": volta})
    found = laws_of(replace(load_hardware("v100-sxm2-16gb"), laws_from="h200", kernel_laws=both))
    assert found is not None

    matmuls = found.of(MatmulLaw)
    assert matmuls["bf16"].tiles == volta.tiles
    assert {name for name, law in matmuls.items() if law.origin == "typical"} == (
        set(hopper.of(MatmulLaw)) - {"bf16"}  # nor fp32: its own law of 16 bits is nearer
    )
    assert shapes(matmuls["fp8"]) == shapes(hopper.of(MatmulLaw)["fp8"])
    assert matmuls["fp8"].corrections == hopper.of(MatmulLaw)["fp8"].corrections
    assert (found.origin, found.date) == (both.origin, both.date)
    # of attention it has none, and borrows all; had it one kernel, it would borrow the rest
    assert {name: law.block_us for name, law in found.of(AttentionLaw).items()} == {
        name: law.block_us for name, law in hopper.of(AttentionLaw).items()
    }
    assert {law.origin for law in found.of(AttentionLaw).values()} == {"typical"}
    attention = {"fp16": hopper.of(AttentionLaw)["bf16"]}
    with_attention = both.updated(attention=attention)
    device = replace(load_hardware("v100-sxm2-16gb"), laws_from="h200", kernel_laws=with_attention)
    kept = laws_of(device)
    assert kept is not None
    assert kept.of(AttentionLaw) == {**found.of(AttentionLaw), **attention}


def test_a_correction_is_a_factor_of_each_law_and_time_for_each_launch() -> None:
    """The host's own law is measured, whatever whole models say of kernels."""
    host = HostLaw(fixed_us=1.0, layer_us=2.0)
    a100 = load_hardware("a100")
    assert a100.kernel_laws is not None
    a100 = replace(a100, kernel_laws=a100.kernel_laws.updated(host={"llm": host}))
    correction = Correction(
        source=next(iter(a100.sources)),
        stages=("decode",),
        rows=3,
        models=1,
        rate=0.5,
        bandwidth=0.8,
        kernel_us=3.0,
    )
    before, after = laws_of(a100), laws_of(replace(a100, correction=correction))

    assert before is not None
    assert after is not None
    for law in (MatmulLaw, AttentionLaw):
        old, new = before.of(law)["bf16"], after.of(law)["bf16"]
        assert new.rate_ratio == pytest.approx(0.5 * old.rate_ratio)
        assert new.bandwidth_ratio == pytest.approx(0.8 * old.bandwidth_ratio)
        assert new.launch_us == pytest.approx(old.launch_us + 3)
    assert after.of(HostLaw) == {"llm": host}


def test_borrowed_laws_take_a_source_of_their_own_where_the_name_is_taken() -> None:
    a40 = load_hardware("a40")
    taken = replace(a40, sources={**a40.sources, "laws": "somebody's table"})
    own = with_own_laws(taken)

    assert own.kernel_laws is not None
    assert own.kernel_laws.source == "laws-borrowed"
    assert own.sources["laws"] == "somebody's table"
    lent = laws_of(a40)
    assert lent is not None
    assert own.sources["laws-borrowed"] == lent.source
