"""Frames of what there is: models, devices and modes, and what is known of each."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

import roofline
from roofline.explore.listings import serving
from roofline.specs.catalog import load_hardware, load_quantization

ROOT = Path(__file__).parents[2]


def shipped(folder: str) -> set[str]:
    return {file.stem for file in (ROOT / folder).glob("*.yaml")}


def test_every_model_is_a_row_by_its_name() -> None:
    frame = roofline.models()

    assert set(frame.index) == shipped("models")
    assert frame.index.name == "model"
    row = frame.loc["llava-1.5-7b"]
    assert (row["kind"], row["visual_tokens"]) == ("lmm", 576)
    assert row["parts"] == "clip-vit-l-336, llava-connector, vicuna-7b"
    # Hugging Face's config of Llama 2 7B: 6,738,415,616 parameters on its page
    assert frame.loc["llama-2-7b", "parameters"] == 6_738_415_616
    assert pd.isna(frame.loc["llava-connector", "parameters"])
    assert pd.isna(frame.loc["vicuna-7b", "visual_tokens"])
    assert roofline.count(row.name).reducer is None


def test_every_device_is_a_row_with_its_figures() -> None:
    frame = roofline.hardware()

    assert set(frame.index) == shipped("hardware")
    for name, row in frame.iterrows():
        data = yaml.safe_load((ROOT / "hardware" / f"{name}.yaml").read_text(encoding="utf-8"))
        for field in ("memory_capacity_gib", "memory_bandwidth_gb_per_s"):
            assert row[field] == data[field]["value"]
        for field, peak in data["matmul_peaks"].items():
            assert row[field] == peak["value"]
    assert pd.isna(frame.loc["v100", "fp8_tflops"])
    assert frame.loc["v100", "fp32_tflops"] == 14  # its vector units
    assert frame.loc["a100-80gb", "laws"] == "fitted"
    assert frame.loc["a100-40gb", "laws"] == "those of a100-80gb"
    assert "a100" in frame.loc["a100-80gb", "aliases"]


def test_every_mode_is_a_row_and_names_the_devices_that_run_it() -> None:
    frame = roofline.quantization()
    data = yaml.safe_load((ROOT / "roofline/data/quantization.yaml").read_text(encoding="utf-8"))

    assert list(frame.index) == list(data)
    for name, row in frame.iterrows():
        for field in ("weight_bits", "activation_bits", "kv_bits"):
            assert row[field] == data[name][field]
    assert frame.loc["w4a16", "weight_bytes"] == (4 + (16 + 4) / 128) / 8
    assert frame.loc["int4", "outside_llm"] == "fp16"
    assert frame.loc["fp32", "outside_llm"] == "fp32"


@pytest.mark.parametrize("mode", ["fp16", "bf16", "fp8", "int8", "int4", "w4a16", "w4a8kv4"])
def test_where_a_mode_runs_is_where_an_analysis_is_not_refused(mode: str) -> None:
    devices = [load_hardware(name) for name in sorted(shipped("hardware"))]
    found = serving(load_quantization(mode), devices)
    runs = {name: data_type for data_type, names in found.items() for name in names}

    for device in devices:
        try:
            estimate = roofline.analyze("vicuna-7b", device, mode, 40)
        except roofline.RooflineError:
            assert device.name not in runs
        else:
            assert runs[device.name] == estimate.device["peaks"]["llm"]["matmul_type"]


def test_a_users_device_and_mode_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "hardware" / "v100.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(text.replace("name: v100", "name: mine"), encoding="utf-8")
    monkeypatch.setenv("ROOFLINE_PATH", str(tmp_path))

    assert roofline.hardware().loc["mine", "memory_capacity_gib"] == 16
    assert "mine" in roofline.quantization().loc["fp16", "runs_on"].split(", ")
