"""The shipped devices. Files are read with plain PyYAML here, past the code under test."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from roofline.specs.catalog import all_hardware, load_hardware
from roofline.specs.hardware import Hardware

FILES = sorted((Path(__file__).parents[2] / "hardware").glob("*.yaml"))
UNITS = ("_gib", "_mib", "_gb_per_s", "_mhz", "_w", "_us", "_tflops", "_tops", "_count")

files = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def raw(file: Path) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return data


def sourced_figures(data: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping that holds a `value`, with the key it stands under."""
    if isinstance(data, dict):
        if "value" in data:
            yield key, data
        for inner, value in data.items():
            yield from sourced_figures(value, inner)


def test_all_devices_are_in_the_catalog() -> None:
    assert len(FILES) >= 50
    assert {device.name for device in all_hardware()} == {file.stem for file in FILES}


@files
def test_name_is_the_stem_of_the_file(file: Path) -> None:
    assert raw(file)["name"] == file.stem
    assert load_hardware(file.stem).name == file.stem


@files
def test_loaded_figures_are_those_of_the_file(file: Path) -> None:
    device, data = load_hardware(file.stem), raw(file)

    assert device.memory_bytes == data["memory_capacity_gib"]["value"] * 1024**3
    assert device.memory_bytes_per_s == data["memory_bandwidth_gb_per_s"]["value"] * 1e9
    for key, figure in data["matmul_peaks"].items():
        peak = device.matmul_peak(key.split("_")[0])
        assert peak is not None
        assert peak.value == figure["value"]


@files
def test_every_figure_cites_a_source_and_every_source_is_cited(file: Path) -> None:
    data = raw(file)
    cited = {figure.get("source") for _, figure in sourced_figures(data)}
    if "kernel_laws" in data:
        laws = json.loads((file.parent / data["kernel_laws"]).read_text(encoding="utf-8"))
        cited.add(laws["source"])
    if "correction" in data:
        cited.add(data["correction"]["source"])

    assert cited == set(data["sources"])
    assert all(text.strip() for text in data["sources"].values())


@files
def test_every_number_stands_under_a_key_with_its_unit(file: Path) -> None:
    found = list(sourced_figures(raw(file)))

    assert len(found) >= 4
    assert [key for key, _ in found if not key.endswith(UNITS)] == []
    bare = [key for key, value in raw(file).items() if isinstance(value, int | float)]
    assert bare == []  # no number without a source


def test_sparse_is_twice_dense_to_the_printed_digits() -> None:
    printed = [
        (file.stem, key, figure)
        for file in FILES
        for key, figure in sourced_figures(raw(file))
        if "sparse" in figure
    ]

    assert len(printed) > 10  # most data sheets since Ampere print it
    for device, key, figure in printed:
        assert abs(figure["sparse"] - 2 * figure["value"]) <= 1, (device, key)


MATRIX_FLOPS_PER_CLOCK = {
    "7.0": 8 * 64 * 2,
    "7.5": 8 * 64 * 2,
    "8.0": 4 * 256 * 2,
    "8.6": 4 * 128 * 2,
    "8.7": 4 * 256 * 2,
    "8.9": 4 * 128 * 2,
    "9.0": 4 * 512 * 2,
    "10.0": 4 * 1024 * 2,
    "10.3": 4 * 1024 * 2,
    "11.0": 4 * 1024 * 2,
    "12.0": 4 * 128 * 2,
    "cdna2": 1024,
    "cdna3": 2048,
    "cdna4": 4096,
}
"""fp16 FLOPs of an SM in a clock: tensor cores × multiply-adds × 2, by compute capability, from
NVIDIA's architecture whitepapers (Volta to Blackwell; GA10x and Ada at full rate). Of a compute
unit, by architecture, from AMD's CDNA whitepapers."""
FP32_LANES = {"7.0": 64, "7.5": 64, "8.0": 64, "cdna2": 64} | dict.fromkeys(
    ("8.6", "8.7", "8.9", "9.0", "10.0", "10.3", "11.0", "12.0", "cdna3", "cdna4"), 128
)
"""fp32 multiply-adds of an SM or compute unit in a clock, from the same."""
HALF_RATE = {"rtx-3090", "rtx-4090", "rtx-5090", "l40"}
"""Cards whose tensor cores are kept to half of what those of their siblings do in a clock."""
CAPPED = {"h20"}
"""Cards for export: nothing follows from SMs and clock."""
GPUS = [d for d in all_hardware() if d.vendor in ("NVIDIA", "AMD") and d.kind == "gpu"]
gpus = pytest.mark.parametrize("device", GPUS, ids=lambda device: device.name)
uncapped = pytest.mark.parametrize(
    "device", [d for d in GPUS if d.name not in CAPPED], ids=lambda device: device.name
)


def in_a_clock(device: Hardware, table: dict[str, int]) -> float:
    """What the SMs of a device do in a second, in units of 1e12, by a table of what one does in a
    clock.
    """
    assert device.sm_count is not None
    assert device.boost_clock_mhz is not None
    per_clock = table[device.compute_capability or device.architecture]
    return device.sm_count.value * device.boost_clock_mhz.value * per_clock / 1e6


@uncapped
def test_the_fp16_peak_is_what_sms_do_in_a_clock(device: Hardware) -> None:
    tflops = in_a_clock(device, MATRIX_FLOPS_PER_CLOCK)
    peak = device.matmul_peak("fp16")
    assert peak is not None

    assert peak.value == pytest.approx(tflops / (2 if device.name in HALF_RATE else 1), rel=0.015)


@pytest.mark.parametrize("name", sorted(CAPPED))
def test_a_card_for_export_is_far_below_what_its_sms_could_do(name: str) -> None:
    device = load_hardware(name)
    peak = device.matmul_peak("fp16")
    assert peak is not None
    assert device.sm_count is not None

    at_1_ghz = device.sm_count.value * MATRIX_FLOPS_PER_CLOCK[str(device.compute_capability)] / 1e3
    assert peak.value < 0.5 * at_1_ghz
    assert device.boost_clock_mhz is None  # nobody shall derive anything from it


@uncapped
def test_the_vector_peak_is_what_cuda_cores_do_in_a_clock(device: Hardware) -> None:
    tflops = 2 * in_a_clock(device, FP32_LANES)

    # data sheets of Hopper and Blackwell state it at a higher clock than the tensor cores'
    above = 0.15 if device.architecture in ("hopper", "blackwell") else 0.015
    assert tflops * 0.985 < device.vector_peak_fp32_tflops.value < tflops * (1 + above)


PUBLISHED_WITHOUT_TDP = ("apple-", "tpu-v5", "tpu-v6")


@files
def test_the_power_limit_is_given_wherever_the_maker_publishes_one(file: Path) -> None:
    without = file.stem.startswith(PUBLISHED_WITHOUT_TDP)

    assert (load_hardware(file.stem).tdp_w is None) == without


NOT_TWICE = {
    # GeForce: what sums in fp32 runs at half rate, integers and fp4 do not
    ("rtx-3090", "fp16", "int8"): 4,
    ("rtx-4090", "fp16", "int8"): 4,
    ("rtx-5090", "fp16", "int8"): 4,
    ("rtx-5090", "fp8", "fp4"): 4,
    # its data sheet prints one rate for both
    ("l40s", "int8", "int4"): 1,
    # Blackwell Ultra: more fp4, next to no int8
    ("b300", "fp16", "int8"): 0.068,
    ("gb300", "fp16", "int8"): 0.066,
    ("b300", "fp8", "fp4"): 3.11,
    ("gb300", "fp8", "fp4"): 3,
}
"""How much faster the narrower type is where it is not twice."""


@gpus
def test_half_the_width_is_twice_the_rate(device: Hardware) -> None:
    def rate(data_type: str) -> float | None:
        peak = device.matmul_peak(data_type)
        return peak.value if peak and peak.engine == "tensor cores" else None

    pairs = [("tf32", "fp16"), ("fp16", "fp8"), ("fp16", "int8"), ("fp8", "fp4"), ("int8", "int4")]
    for wide, narrow in pairs:
        slow, fast = rate(wide), rate(narrow)
        if slow and fast:
            times = NOT_TWICE.get((device.name, wide, narrow), 2)
            assert fast == pytest.approx(times * slow, rel=0.025), (wide, narrow)


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("a100-sxm-80gb", "a100-80gb"),
        ("h100-sxm", "h100-sxm"),
        ("h200-sxm", "h200"),
        ("b200-sxm", "b200"),
        ("gb200", "gb200"),
        ("b300-sxm", "b300"),
        ("gb300", "gb300"),
        ("l40s", "l40s"),
        ("rtx-pro-6000-server", "rtx-pro-6000-server"),
        ("Jetson AGX Thor", "jetson-thor"),
        ("Jetson Orin Nano (8GB)", "jetson-orin-nano"),
        ("Nvidia GH200 GPU", "gh200"),
        ("Nvidia H100 GPU", "h100-sxm"),
        ("AMD MI300X GPU", "mi300x"),
    ],
)
def test_devices_go_by_the_names_of_published_tables(table: str, name: str) -> None:
    assert load_hardware(table).name == name


def test_names_and_aliases_are_unambiguous() -> None:
    named = [
        n.lower() for file in FILES for n in (raw(file)["name"], *raw(file).get("aliases", []))
    ]

    assert len(named) == len(set(named))


@pytest.mark.parametrize(
    ("name", "data_type", "dense", "sparse"),
    [
        ("h100-sxm", "bf16", 989, 1979),
        ("h100-sxm", "fp8", 1979, 3958),
        ("h200", "bf16", 989, 1979),
        ("h100-pcie", "fp16", 756, 1513),
        ("l4", "fp16", 121, 242),
        ("a100-80gb", "bf16", 312, 624),
        ("a100-40gb", "fp16", 312, 624),
        ("a100-80gb-pcie", "fp16", 312, 624),
        ("a100-80gb", "int8", 624, 1248),
        ("b200", "bf16", 2250, 4500),
        ("b300", "bf16", 2250, 4500),
        ("gb300", "bf16", 2500, 5000),
        ("gh200", "bf16", 989, 1979),
        ("h100-nvl", "bf16", 835.5, 1671),
        ("l40", "fp16", 181, 362),
        ("rtx-5090", "fp4", 1676, 3352),
        ("rtx-pro-6000-max-q", "fp4", 1755.5, 3511),
        ("jetson-thor", "fp8", 517.5, 1035),
        ("jetson-orin-nano", "int8", 20, 40),
    ],
)
def test_the_dense_rate_is_the_peak_not_the_sparse_one_that_vendors_print(
    name: str, data_type: str, dense: float, sparse: float
) -> None:
    peak = load_hardware(name).matmul_peak(data_type)

    assert peak is not None
    assert (peak.value, peak.sparse) == (dense, sparse)


def test_v100_is_the_pcie_card_of_llm_viewer() -> None:
    v100 = load_hardware("v100")

    assert v100.memory_bytes_per_s == 900e9
    assert v100.memory_bytes == 16 * 2**30
    fp16, int8 = v100.matmul_peak("fp16"), v100.matmul_peak("int8")
    assert fp16 is not None
    assert int8 is not None
    assert fp16.value == 112
    assert int8.value == 62
    assert "dp4a" in int8.engine


@pytest.mark.parametrize("data_type", ["bf16", "int4", "fp8", "tf32", "fp4"])
def test_volta_has_no_such_matmul(data_type: str) -> None:
    assert load_hardware("v100").matmul_peak(data_type) is None


@pytest.mark.parametrize("name", ["h100-sxm", "h20", "gh200", "b200", "gb300", "rtx-5090"])
def test_hopper_and_blackwell_have_no_int4(name: str) -> None:
    assert load_hardware(name).matmul_peak("int4") is None


@pytest.mark.parametrize("name", ["a100-80gb", "a30", "a40", "a6000", "rtx-3090", "t4", "v100"])
def test_fp8_comes_after_ampere(name: str) -> None:
    assert load_hardware(name).matmul_peak("fp8") is None


def test_fp32_without_matrix_units_runs_at_the_vector_rate() -> None:
    a100 = load_hardware("a100-80gb")
    peak = a100.matmul_peak("fp32")

    assert peak is not None
    assert (peak.value, peak.engine) == (19.5, "vector units")
    assert peak.source == a100.vector_peak_fp32_tflops.source
