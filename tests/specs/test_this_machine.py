"""The devices of a machine, found by the names that NVML and the operating system give."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from roofline.specs import this_machine
from roofline.specs.catalog import all_hardware
from roofline.specs.this_machine import by_nvml_name, cpu_name, devices_here
from roofline.units import GIB

H100 = ("NVIDIA H100 80GB HBM3", 80.0 * GIB)


class Nvml(SimpleNamespace):
    """The functions of pynvml that are in use, of a machine with these GPUs: name, bytes."""

    def __init__(self, *gpus: tuple[str | bytes, float], driver: bool = True) -> None:
        super().__init__(
            open=False,
            nvmlInit=lambda: self.begin(driver),
            nvmlShutdown=lambda: setattr(self, "open", False),
            nvmlDeviceGetCount=lambda: len(gpus),
            nvmlDeviceGetHandleByIndex=lambda index: gpus[index],
            nvmlDeviceGetName=lambda handle: handle[0],
            nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=handle[1]),
        )

    def begin(self, driver: bool) -> None:
        if not driver:
            raise RuntimeError("Driver Not Loaded")
        self.open = True


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file in which Linux says what the processor is."""
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Platinum 8480+\n")
    monkeypatch.setattr(this_machine, "_CPU_INFO", file)
    return file


def found(nvml: Any) -> list[tuple[str, str | None]]:
    here = devices_here(nvml)
    return [(each.name, each.hardware.name if each.hardware else None) for each in here]


def test_a_gpu_is_found_by_its_nvml_name() -> None:
    nvml = Nvml(H100)

    assert found(nvml) == [(H100[0], "h100-sxm")]
    assert not nvml.open


def test_gpus_of_a_kind_are_one_and_others_have_a_line_each() -> None:
    nvml = Nvml(H100, H100, (b"NVIDIA L4", 23.0 * GIB), ("NVIDIA RTX 9999", 1.0))

    assert found(nvml) == [(H100[0], "h100-sxm"), ("NVIDIA L4", "l4"), ("NVIDIA RTX 9999", None)]


@pytest.mark.parametrize("gib", [16, 32])
def test_of_one_name_and_two_sizes_the_nearer_is_meant(
    monkeypatch: pytest.MonkeyPatch, gib: int
) -> None:
    shipped = {spec.name: spec for spec in all_hardware()}
    both = shipped["v100-sxm2-16gb"], shipped["v100-sxm2-32gb"]
    assert not set(both[0].nvml_names) & set(both[1].nvml_names)
    name = both[0].nvml_names[0]
    pair = [both[0], replace(both[1], nvml_names=(name,))]
    monkeypatch.setattr(this_machine, "all_hardware", lambda: pair)

    spec = by_nvml_name(name, gib * GIB * 0.98)

    assert spec is not None
    assert spec.memory_capacity_gib.value == gib


@pytest.mark.parametrize("nvml", [Nvml(driver=False), Nvml()])
def test_without_a_gpu_it_is_the_processor(processor: Path, nvml: Any) -> None:
    assert found(nvml) == [("Intel(R) Xeon(R) Platinum 8480+", "xeon-8480")]


def test_a_processor_that_nobody_described(processor: Path) -> None:
    processor.write_text("model name : Something New\n")

    assert found(Nvml(driver=False)) == [("Something New", None)]


def test_the_processor_of_this_machine_has_a_name() -> None:
    assert cpu_name()


def test_every_name_leads_to_one_processor() -> None:
    names = [name for spec in all_hardware() for name in spec.cpu_names]

    assert len(names) == len(set(names)) >= 6
