"""Laws of attained time in the catalog: who has them, who lends them, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from roofline.device.borrowed import VECTOR_BANDWIDTH, carry_over, laws_of
from roofline.errors import SpecError, UnknownNameError
from roofline.specs.catalog import all_hardware, load_hardware
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import KernelLaws, PointwiseLaw

MEASURED = {
    "a100-sxm-80gb": "a100-80gb",
    "h100-sxm": "h100-sxm",
    "h200-sxm": "h200",
    "b200-sxm": "b200",
    "l40s": "l40s",
    "v100-sxm2-16gb": "v100-sxm2-16gb",
    "t4": "t4",
}
"""Names in public tables of measured kernels, and the device that each is."""
FOLDER = Path(__file__).parents[2] / "hardware"


def laws(name: str) -> KernelLaws:
    found = laws_of(load_hardware(name))
    assert found is not None
    return found


@pytest.mark.parametrize(("name", "device"), MEASURED.items())
def test_names_of_measured_devices_are_in_the_catalog(name: str, device: str) -> None:
    hardware = load_hardware(name)

    assert hardware.name == device
    assert hardware.kernel_laws is not None
    assert hardware.kernel_laws.origin == "fitted"
    assert hardware.kernel_laws.date
    assert hardware.kernel_laws.source in hardware.sources


@pytest.mark.parametrize(
    "device", [d for d in all_hardware() if d.kind == "gpu"], ids=lambda d: d.name
)
def test_every_gpu_has_laws_and_says_whose(device: Hardware) -> None:
    found = laws(device.name)

    assert found.matmul
    assert found.attention
    assert "default" in found.pointwise
    if device.name in MEASURED.values():
        assert found.origin == "fitted"
        assert load_hardware(device.name).laws_from != device.name
    else:
        assert found.origin == "typical"
        assert device.kernel_laws is None
        lender = load_hardware(str(device.laws_from))
        assert lender.architecture == device.architecture
    assert "Apache-2.0" in found.source


def test_a_cpu_of_the_catalog_has_none() -> None:
    xeon = load_hardware("xeon-8480")

    assert laws_of(xeon) is None


def test_laws_hold_no_table() -> None:
    """A few dozen numbers for each kernel, thousands of measurements behind them."""
    for device in all_hardware():
        for law in device.kernel_laws.matmul.values() if device.kernel_laws else ():
            numbers = len(law.corrections) + 4 * len(law.tiles) + 20
            assert numbers < 160
            assert law.rows > 140


def test_a_sibling_lends_its_fractions_and_its_errors_are_those_of_transfer() -> None:
    lender, borrower = laws("h100-sxm"), laws("h100-pcie")
    own, lent = lender.matmul["bf16"], borrower.matmul["bf16"]
    errors = carry_over().same_capability.matmul  # both are of compute capability 9.0

    assert lent.bandwidth_fraction == own.bandwidth_fraction
    assert lent.tiles == own.tiles
    assert lent.origin == "typical"
    assert lent.median_error_percent == errors.median_percent
    assert lent.p90_error_percent == errors.p90_percent
    assert lent.median_error_percent > own.median_error_percent


def test_another_compute_capability_costs_more() -> None:
    same, other = carry_over().same_capability, carry_over().other_capability

    assert same.matmul.p90_percent < other.matmul.p90_percent
    assert same.attention.p90_percent < other.attention.p90_percent
    a40 = laws("a40").matmul["bf16"]  # 8.6, where the A100 is 8.0
    assert a40.p90_error_percent == other.matmul.p90_percent


def test_what_a_fitted_device_lacks_is_lent_and_what_it_has_is_its_own() -> None:
    sxm, t4 = load_hardware("v100-sxm2-16gb"), laws("t4")

    assert sxm.kernel_laws is not None
    assert not sxm.kernel_laws.attention  # nobody measured it
    found = laws("v100-sxm2-16gb")
    assert found.matmul["fp16"] == sxm.kernel_laws.matmul["fp16"]
    assert found.matmul["fp16"].origin is None  # that of the section: fitted
    assert found.attention["bf16"].origin == t4.attention["bf16"].origin == "typical"


def test_a_law_lent_twice_keeps_the_larger_error() -> None:
    # the PCIe card takes the SXM2's laws, attention among them, which is the A100's
    assert laws("v100").attention["bf16"].p90_error_percent == (
        carry_over().other_capability.attention.p90_percent
    )
    assert laws("v100").matmul["fp16"].p90_error_percent == (
        carry_over().same_capability.matmul.p90_percent
    )


def test_vector_ops_that_nobody_measured_take_a_launch_and_most_of_the_bandwidth() -> None:
    law = laws("a100").pointwise["default"]

    assert law.launch_us == 3.2  # the file's launch_overhead_us
    assert law.bandwidth_gb_per_s == pytest.approx(VECTOR_BANDWIDTH * 2039)
    assert (law.origin, law.rows) == ("typical", 0)


def test_measured_vector_ops_go_first() -> None:
    a100 = load_hardware("a100")
    assert a100.kernel_laws is not None
    norm = PointwiseLaw(
        rows=9, median_error_percent=1, p90_error_percent=2, launch_us=1, bandwidth_gb_per_s=99
    )
    found = laws_of(replace(a100, kernel_laws=replace(a100.kernel_laws, pointwise={"norm": norm})))

    assert found is not None
    assert found.pointwise["norm"] == norm
    assert found.pointwise["default"].origin == "typical"


Writer = Callable[..., Path]


@pytest.fixture
def catalog(
    write_spec: Writer, device: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Put devices into a folder of the search path."""
    monkeypatch.setenv("ROOFLINE_PATH", str(tmp_path))

    def write(**like: str) -> None:
        for name, lender in like.items():
            write_spec({**device, "name": name, "laws_from": lender}, f"{name}.yaml")

    return write


def test_devices_that_lend_in_a_circle_are_refused(catalog: Callable[..., None]) -> None:
    catalog(one="other", other="one")

    with pytest.raises(SpecError, match="laws_from: one has no laws of its own"):
        laws_of(load_hardware("one"))


def test_a_lender_without_laws_or_name_is_refused(catalog: Callable[..., None]) -> None:
    catalog(one="xeon-8480", other="no-such-device")

    with pytest.raises(SpecError, match="xeon-8480 has no laws of its own"):
        laws_of(load_hardware("one"))
    with pytest.raises(UnknownNameError, match="no-such-device"):
        laws_of(load_hardware("other"))


def test_any_device_may_take_the_laws_of_one_that_ships(catalog: Callable[..., None]) -> None:
    catalog(mine="a100")
    found = laws("mine")

    assert found.origin == "typical"
    assert found.matmul["bf16"].tiles == laws("a100").matmul["bf16"].tiles
    assert found.pointwise["default"].bandwidth_gb_per_s == VECTOR_BANDWIDTH * 10


def test_laws_that_lack_a_kind_need_a_lender(write_spec: Writer) -> None:
    data = yaml.safe_load((FOLDER / "t4.yaml").read_text(encoding="utf-8"))
    del data["laws_from"]

    with pytest.raises(SpecError, match="no law of attention: name in laws_from"):
        load_hardware(str(write_spec(data)))


def test_what_the_tool_writes_stands_behind_its_mark() -> None:
    for name in MEASURED.values():
        text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
        by_hand, _, section = text.partition("\n# Below: laws fitted by tools/fit_catalogue.py")
        assert set(yaml.safe_load(section.partition("\n")[2])) == {"kernel_laws"}
        assert "kernel_laws" not in yaml.safe_load(by_hand)
