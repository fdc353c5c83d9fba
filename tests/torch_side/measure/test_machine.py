"""Which device this is, beside the specs that could be meant."""

from __future__ import annotations

import pytest
import torch
from msgspec.structs import replace

from roofline.specs.catalog import load_hardware
from roofline.torch_side.measure import machine

MPS = torch.device("mps")


@pytest.fixture
def _an_m2_max(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpu_name", lambda: "Apple M2 Max")


@pytest.mark.usefixtures("_an_m2_max")
def test_the_gpu_of_a_chip_goes_by_the_chip_s_name() -> None:
    spec = load_hardware("apple-m2-max")

    assert "Apple M2 Max" in spec.cpu_names
    assert machine.another_device(MPS, spec) == ""
    assert machine.another_device(MPS, load_hardware("apple-m4-max")) == (
        "apple-m4-max is Apple M4 Max (40-core GPU) 128 GB, and this is Apple M2 Max (GPU)"
    )


@pytest.mark.usefixtures("_an_m2_max")
def test_a_spec_of_no_name_may_be_of_any_device() -> None:
    unnamed = replace(load_hardware("apple-m2-max"), cpu_names=(), nvml_names=())

    assert machine.another_device(MPS, unnamed) == ""
