"""Laws of kernel time in the catalog: who has them, who borrows them, and how far off they are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
import yaml
from msgspec.structs import replace

from roofline.device.borrowed import LAUNCH_US, borrowing_errors, laws_of
from roofline.device.laws.attention import AttentionLaw
from roofline.device.laws.decode_attention import DecodeAttentionLaw
from roofline.device.laws.matmul import MatmulLaw
from roofline.device.laws.pointwise import PointwiseLaw
from roofline.device.typical_vector import typical_vector_laws
from roofline.errors import SpecError, UnknownNameError
from roofline.specs.catalog import all_hardware, json_schema, load_hardware
from roofline.specs.hardware import Hardware
from roofline.specs.kernel_laws import (
    LAW_FAMILIES,
    AnyLaw,
    KernelLaws,
    NonNegative,
    read_kernel_laws,
    register_laws,
)
from roofline.specs.reading import read_json
from roofline.specs.sourced import Positive
from roofline.specs.writing import hardware_yaml, laws_json

MEASURED = {
    "a100-sxm-80gb": "a100-80gb",
    "h100-sxm": "h100-sxm",
    "h200-sxm": "h200",
    "b200-sxm": "b200",
    "b300-sxm": "b300",
    "gb200": "gb200",
    "gb300": "gb300",
    "l40s": "l40s",
    "rtx-pro-6000-server": "rtx-pro-6000-server",
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
    "device", [d for d in all_hardware() if d.vendor == "NVIDIA"], ids=lambda d: d.name
)
def test_every_gpu_of_nvidia_has_laws_and_says_whose(device: Hardware) -> None:
    found = laws(device.name)

    assert found.of(MatmulLaw)
    assert found.of(AttentionLaw)
    assert "default" in found.of(PointwiseLaw)
    if device.name in MEASURED.values():
        assert found.origin == "fitted"
        assert load_hardware(device.name).laws_from != device.name
    else:
        assert found.origin == "typical"
        assert device.kernel_laws is None
        source_device = load_hardware(str(device.laws_from))
        assert source_device.vendor == device.vendor
        assert source_device.architecture == device.architecture
    assert "Apache-2.0" in found.source


@pytest.mark.parametrize(
    "device", [d for d in all_hardware() if d.vendor != "NVIDIA"], ids=lambda d: d.name
)
def test_a_device_without_a_measured_relative_has_none(device: Hardware) -> None:
    """CPUs and accelerators of other makers: their libraries reach other shares of the peaks."""
    assert laws_of(device) is None


FEW_ROWS = {"t4", "v100-sxm2-16gb"}
"""Devices with fewer measurements than numbers, most of which a prior holds where they started."""


def test_laws_hold_no_table() -> None:
    """At most a few hundred numbers for each kernel, thousands of measurements behind them."""
    for device in all_hardware():
        for law in device.kernel_laws.of(MatmulLaw).values() if device.kernel_laws else ():
            numbers = len(law.corrections) + 4 * len(law.tiles) + 20
            assert numbers < 280
            assert law.rows > (140 if device.name in FEW_ROWS else 14 * numbers)


def shapes(law: MatmulLaw) -> list[tuple[float, float]]:
    """Of its tiles, whose efficiencies may be scaled for another device."""
    return [(tile.rows, tile.columns) for tile in law.tiles]


def test_a_sibling_lends_its_fractions_and_its_errors_are_those_of_transfer() -> None:
    source_device, borrower = laws("h100-sxm"), laws("h100-pcie")
    own, borrowed = source_device.of(MatmulLaw)["bf16"], borrower.of(MatmulLaw)["bf16"]
    errors = borrowing_errors().same_capability["matmul"]  # both are of compute capability 9.0

    assert borrowed.bandwidth_fraction == own.bandwidth_fraction
    assert borrowed.corrections == own.corrections
    assert shapes(borrowed) == shapes(own)
    assert borrowed.origin == "typical"
    assert borrowed.median_error_percent == max(errors.median_percent, own.median_error_percent)
    assert borrowed.p90_error_percent == max(errors.p90_percent, own.p90_error_percent)
    # it is no nearer to other libraries' kernels than it was where it was fitted
    assert own.p90_other_library_error_percent is not None
    others = max(errors.p90_percent, own.p90_other_library_error_percent)
    assert borrowed.p90_other_library_error_percent == others


def test_another_compute_capability_costs_more() -> None:
    same, other = borrowing_errors().same_capability, borrowing_errors().other_capability

    for family in ("matmul", "attention", "decode_attention", "encoder_attention", "moe"):
        assert same[family].p90_percent < other[family].p90_percent
    a40 = laws("a40").of(MatmulLaw)["bf16"]  # 8.6, where the A100 is 8.0
    assert a40.p90_error_percent == other["matmul"].p90_percent


def test_what_a_fitted_device_lacks_is_borrowed_and_what_it_has_is_its_own() -> None:
    sxm, t4 = load_hardware("v100-sxm2-16gb"), laws("t4")

    assert sxm.kernel_laws is not None
    assert not sxm.kernel_laws.of(AttentionLaw)  # nobody measured it
    found, own = laws("v100-sxm2-16gb"), sxm.kernel_laws.of(MatmulLaw)["fp16"]
    # nobody timed two libraries on it: what another's kernels are off is known from other devices
    elsewhere = borrowing_errors().other_library["matmul"]
    assert own.p90_other_library_error_percent is None
    assert found.of(MatmulLaw)["fp16"] == replace(
        own,
        median_other_library_error_percent=elsewhere.median_percent,
        p90_other_library_error_percent=elsewhere.p90_percent,
    )
    assert found.of(MatmulLaw)["fp16"].origin is None  # that of the section: fitted
    assert found.of(AttentionLaw)["bf16"].origin == t4.of(AttentionLaw)["bf16"].origin == "typical"


def test_what_other_libraries_do_with_a_narrow_cache_is_taken_from_a_wide_one() -> None:
    """Nobody timed two libraries decoding from 8 bits."""
    elsewhere = borrowing_errors().other_library["decode_attention"]
    law = laws("h100-sxm").of(DecodeAttentionLaw)["bf16-fp8kv"]

    assert "decode_attention" not in borrowing_errors().narrow_other_library
    assert law.p90_other_library_error_percent == elsewhere.p90_percent


def test_a_law_borrowed_twice_keeps_the_larger_error() -> None:
    # the PCIe card takes the SXM2's laws, attention among them, which is the A100's
    assert laws("v100").of(AttentionLaw)["bf16"].p90_error_percent == (
        borrowing_errors().other_capability["attention"].p90_percent
    )
    own = load_hardware("v100-sxm2-16gb").kernel_laws
    assert own is not None
    assert laws("v100").of(MatmulLaw)["fp16"].p90_error_percent == max(
        borrowing_errors().same_capability["matmul"].p90_percent,
        own.of(MatmulLaw)["fp16"].p90_error_percent,
    )


def test_vector_ops_that_nobody_measured_are_typical_and_measured_ones_go_first() -> None:
    """Softmax is not among the four that an A100's table has."""
    a100 = load_hardware("a100")
    assert a100.kernel_laws is not None
    own, found = a100.kernel_laws.of(PointwiseLaw), laws("a100").of(PointwiseLaw)

    assert a100.launch_overhead_us is not None
    typical = typical_vector_laws(a100, a100.launch_overhead_us.value)
    assert found["default"] == typical["default"]
    assert (found["default"].origin, found["default"].rows) == ("typical", 0)
    assert set(found) == {*own, *typical}
    assert {"rms_norm", "rotary", "swiglu", "residual"} <= set(own)
    for kernel, law in own.items():
        assert (found[kernel].launch_us, found[kernel].rows) == (law.launch_us, law.rows)


Writer = Callable[..., Path]


@pytest.fixture
def catalog(
    write_spec: Writer, device: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Put devices into a folder of the search path."""
    monkeypatch.setenv("ROOFLINE_PATH", str(tmp_path))

    def write(**like: str) -> None:
        for name, source_device in like.items():
            write_spec({**device, "name": name, "laws_from": source_device}, f"{name}.yaml")

    return write


def test_devices_that_lend_in_a_circle_are_refused(catalog: Callable[..., None]) -> None:
    catalog(one="other", other="one")

    with pytest.raises(SpecError, match="laws_from: one has no laws of its own"):
        laws_of(load_hardware("one"))


def test_a_source_device_without_laws_or_name_is_refused(catalog: Callable[..., None]) -> None:
    catalog(one="xeon-8480", other="no-such-device")

    with pytest.raises(SpecError, match="xeon-8480 has no laws of its own"):
        laws_of(load_hardware("one"))
    with pytest.raises(SpecError, match=r"other.yaml: laws_from: .*no-such-device"):
        laws_of(load_hardware("other"))


def test_any_device_may_take_the_laws_of_one_that_ships(catalog: Callable[..., None]) -> None:
    catalog(mine="a100")
    found = laws("mine")

    assert found.origin == "typical"
    own = laws("a100").of(MatmulLaw)["bf16"]
    assert shapes(found.of(MatmulLaw)["bf16"]) == shapes(own)
    assert found.of(MatmulLaw)["bf16"].corrections == own.corrections
    # vector ops are no shares of anything: those of 10 GB/s of its own
    assert found.of(PointwiseLaw) == typical_vector_laws(load_hardware("mine"), LAUNCH_US)


def test_laws_that_lack_a_kind_need_a_source_device(write_spec: Writer) -> None:
    data = yaml.safe_load((FOLDER / "t4.yaml").read_text(encoding="utf-8"))
    data["kernel_laws"] = json.loads((FOLDER / "laws/t4.json").read_text(encoding="utf-8"))
    del data["laws_from"]

    with pytest.raises(SpecError, match="no law of attention: name in laws_from"):
        load_hardware(str(write_spec(data)))


def test_laws_that_ship_have_one_home() -> None:
    named = {}
    for file in FOLDER.glob("*.yaml"):
        section = yaml.safe_load(file.read_text(encoding="utf-8")).get("kernel_laws")
        assert section is None or isinstance(section, str), file.name
        if section is not None:
            named[file.stem] = section

    assert named == {name: f"laws/{name}.json" for name in MEASURED.values()}
    assert {f"laws/{file.name}" for file in (FOLDER / "laws").iterdir()} == set(named.values())


def within(part: Any, whole: Any) -> bool:
    """Whether `whole` has all that `part` has, however deep: fields left out are aside."""
    if isinstance(part, dict):
        return all(key in whole and within(value, whole[key]) for key, value in part.items())
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(within, part, whole))
    return bool(part == whole)


@pytest.mark.parametrize("name", MEASURED.values())
def test_laws_are_read_as_the_file_has_them(name: str) -> None:
    file = json.loads((FOLDER / f"laws/{name}.json").read_text(encoding="utf-8"))
    laws = load_hardware(name).kernel_laws
    assert laws is not None

    header = {"origin", "source", "date", "conditions"}
    assert {key: getattr(laws, key) for key in header} == {key: file[key] for key in header}
    assert set(laws.families) == set(file) - header
    for family, kernels in laws.families.items():
        assert set(kernels) == set(file[family])
        for kernel, law in kernels.items():
            read = json.loads(msgspec.json.encode(law))
            assert within(file[family][kernel], read)


def test_a_file_of_laws_is_written_as_it_is_read(tmp_path: Path) -> None:
    laws = load_hardware("h200").kernel_laws
    assert laws is not None
    file = tmp_path / "laws.json"
    file.write_text(laws_json(laws), encoding="utf-8")

    assert read_kernel_laws(read_json(file), file) == laws
    assert laws_json(laws) == (FOLDER / "laws/h200.json").read_text(encoding="utf-8")


@pytest.fixture
def with_laws(write_spec: Writer, device: dict[str, Any]) -> Callable[..., Path]:
    """A device that names a file of laws, and that file."""

    def write(**changes: Any) -> Path:
        laws = {**T4_LAWS, "source": "here", **changes}
        write_spec(json.dumps(laws), "laws/toy.json")
        return write_spec({**device, "kernel_laws": "laws/toy.json", "laws_from": "a100"})

    return write


T4_LAWS = json.loads((FOLDER / "laws/t4.json").read_text(encoding="utf-8"))


def test_a_users_device_may_name_a_file_of_laws_too(with_laws: Callable[..., Path]) -> None:
    found = load_hardware(str(with_laws()))

    assert found.kernel_laws is not None
    assert found.kernel_laws.of(MatmulLaw) == load_hardware("t4").kernel_laws.of(MatmulLaw)  # type: ignore[union-attr]


def test_an_edited_file_of_laws_is_read_again(with_laws: Callable[..., Path]) -> None:
    file = str(with_laws(date="before"))
    before = load_hardware(file).kernel_laws
    with_laws(date="after")
    os.utime(Path(file).parent / "laws/toy.json", ns=(10**18, 10**18))
    after = load_hardware(file).kernel_laws

    assert before is not None
    assert after is not None
    assert (before.date, after.date) == ("before", "after")


def test_faults_of_a_file_of_laws_name_it(with_laws: Callable[..., Path]) -> None:
    file = with_laws(origin="guessed", matmuls={})

    with pytest.raises(SpecError, match="matmuls: unknown field; did you mean matmul") as caught:
        load_hardware(str(file))
    assert caught.value.file == str(file.parent / "laws/toy.json")
    assert [path for path, _ in caught.value.faults] == ["matmuls", "origin"]


@pytest.mark.parametrize(
    ("content", "message"), [(b"{", "not valid JSON"), (b'"\xff"', "not valid JSON")]
)
def test_a_file_that_is_no_json_is_refused(
    with_laws: Callable[..., Path], content: bytes, message: str
) -> None:
    file = with_laws()
    (file.parent / "laws/toy.json").write_bytes(content)

    with pytest.raises(SpecError, match=message):
        load_hardware(str(file))


def test_a_file_of_laws_that_is_not_there_is_a_fault_of_the_device(
    write_spec: Writer, device: dict[str, Any]
) -> None:
    file = write_spec({**device, "kernel_laws": "laws/gone.json"})

    with pytest.raises(SpecError, match=r"kernel_laws: names .*gone\.json, which does not exist"):
        load_hardware(str(file))


def test_faults_of_laws_in_place_stand_beside_those_of_the_device(
    write_spec: Writer, device: dict[str, Any]
) -> None:
    data = {**device, "kernel_laws": {"origin": "guessed"}, "laws_from": 5}

    with pytest.raises(SpecError) as caught:
        load_hardware(str(write_spec(data)))
    paths = [path for path, _ in caught.value.faults]
    inside = ("origin", "source", "date", "conditions")
    assert paths == ["laws_from", *(f"kernel_laws.{name}" for name in inside)]


class LinkLaw(AnyLaw, frozen=True):
    """Made up: a family as a plugin would add it."""

    family: ClassVar[str] = "toy_link"
    latency_us: NonNegative
    bandwidth_gb_per_s: Positive


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registered family of laws, until the test is over."""
    LAW_FAMILIES.names()
    monkeypatch.setattr(LAW_FAMILIES, "_things", dict(LAW_FAMILIES._things))

    @register_laws(LinkLaw)
    def link_seconds(law: LinkLaw, size_bytes: float) -> float:
        return law.latency_us * 1e-6 + size_bytes / (law.bandwidth_gb_per_s * 1e9)


def test_a_family_that_a_plugin_registers_needs_no_change_elsewhere(
    plugin: None, with_laws: Callable[..., Path], tmp_path: Path
) -> None:
    found = load_hardware(
        str(with_laws(toy_link={"nvlink": {"latency_us": 3, "bandwidth_gb_per_s": 300}}))
    )
    assert found.kernel_laws is not None
    law = found.kernel_laws.of(LinkLaw)["nvlink"]

    # 3 µs and 6 MB at 300 GB/s
    assert LAW_FAMILIES.find("toy_link").seconds(law, 6e6) == pytest.approx(23e-6)
    (tmp_path / "again.yaml").write_text(hardware_yaml(found), encoding="utf-8")
    assert load_hardware(str(tmp_path / "again.yaml")).kernel_laws == found.kernel_laws
    assert "toy_link" in json_schema("hardware")["$defs"]["KernelLaws"]["properties"]
    with pytest.raises(SpecError, match=r"toy_link\.nvlink\.latency_us: expected"):
        load_hardware(
            str(with_laws(toy_link={"nvlink": {"latency_us": -3, "bandwidth_gb_per_s": 300}}))
        )


def test_without_the_plugin_its_family_is_an_unknown_field(with_laws: Callable[..., Path]) -> None:
    with pytest.raises(SpecError, match="toy_link: unknown field"):
        load_hardware(str(with_laws(toy_link={})))


def test_a_family_of_another_name_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="family of laws 'matmull': did you mean matmul"):
        LAW_FAMILIES.find("matmull")
