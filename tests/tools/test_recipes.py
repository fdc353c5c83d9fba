"""What recipes say in prose is what the tool, its data and arithmetic say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import roofline
from roofline.device.borrowed import borrowing_errors
from roofline.specs.catalog import all_hardware
from roofline.specs.models import LanguageModel

RECIPES = Path(__file__).resolve().parents[2] / "docs" / "recipes"


def prose(page: str) -> str:
    return " ".join((RECIPES / f"{page}.md").read_text(encoding="utf-8").split())


def found(pattern: str, page: str) -> tuple[float, ...]:
    match = re.search(pattern, prose(page))
    assert match, pattern
    return tuple(map(float, match.groups()))


def test_the_roofline_promises_more_than_is_attained_on_the_devices_shown() -> None:
    assert "The roofline's saving (in brackets) is the larger one on all three" in prose(
        "which-number"
    )
    for hardware in ("v100", "a100-80gb", "h200"):
        comparison = roofline.analyze("llava-1.5-7b", hardware, reducer="prumerge").comparison
        assert comparison is not None
        end_to_end = comparison.end_to_end
        assert end_to_end.roofline_speedup > end_to_end.attainable_speedup


def test_what_borrowing_costs() -> None:
    errors = borrowing_errors()
    same, other = found(
        r"one compute capability that is (\d+) % for matmuls, between others (\d+) %",
        "unlisted-gpu",
    )
    assert same == round(errors.same_capability["matmul"].p90_percent)
    assert other == round(errors.other_capability["matmul"].p90_percent)


def test_relatives_to_borrow_from_have_laws_of_their_own() -> None:
    """Each named in the table, and each for the compute capability that its row is of."""
    devices = {device.name: device for device in all_hardware()}
    unmeasured = {"8.6", "8.7", "11.0"}
    rows = re.findall(
        r"^\| [^|]+ \| ([\d.]+) \| ([^|]+) \|$",
        (RECIPES / "unlisted-gpu.md").read_text(encoding="utf-8"),
        re.M,
    )
    assert len(rows) >= 8
    for capability, names in rows:
        for name in re.findall(r"`([\w-]+)`", names):
            device = devices[name]
            assert device.kernel_laws is not None or device.laws_from is not None
            if capability not in unmeasured:
                assert device.compute_capability == capability
    measured = {device.compute_capability for device in devices.values() if device.kernel_laws}
    assert not measured & unmeasured


def test_the_choice_of_a_relative_matters_less_than_the_band_says() -> None:
    assert "the same within a twentieth, the short one within a seventh" in prose("unlisted-gpu")
    blocks = re.findall(r"576 tokens +(\d+) ms, 40 tokens (\d+) ms", prose("unlisted-gpu"))
    (long_a, short_a), (long_b, short_b) = [tuple(map(float, block)) for block in blocks]
    assert 1 < long_a / long_b < 1 + 1 / 20
    assert 1 + 1 / 20 < short_a / short_b < 1 + 1 / 7
    card = roofline.load_hardware(RECIPES.parents[1] / "examples" / "rtx-3090-ti.yaml")
    whole = roofline.analyze("llava-1.5-7b", card, reducer="prumerge").end_to_end
    assert whole.attainable_error_s > whole.attainable_time_s / 7


def counters() -> dict[str, tuple[float, float]]:
    """GFLOP with fused and with eager attention, as each counter gave."""
    rows = re.findall(
        r"^\| (.+?) \| \**([\d.]+)\** \| \**([\d.]+)\** \|",
        (RECIPES / "flop-counters.md").read_text(encoding="utf-8"),
        re.M,
    )
    return {name: (float(fused), float(eager)) for name, fused, eager in rows}


def test_the_readings_of_the_counters_are_their_figures() -> None:
    spec = LanguageModel(
        name="small", title="small", source="the page", hidden_size=1024, num_hidden_layers=4,
        num_attention_heads=8, intermediate_size=2816, vocab_size=32000,
    )  # fmt: skip
    counts = roofline.count(spec, visual_tokens=0, text_tokens=616)
    ours = float(counts.llm.flops) / 1e9
    attention = sum(float(op.flops) for op in counts.ops if op.kind == "attention") / 1e9
    every = ours + 2 * 615 * 1024 * 32000 / 1e9
    shown = counters()

    (share,) = found(r"Attention is ([\d.]+) % of that", "flop-counters")
    assert share == pytest.approx(100 * attention / ours, abs=0.05)
    expected = {
        "PyTorch `FlopCounterMode`, `logits_to_keep=1`": (ours - attention, ours),
        "PyTorch `FlopCounterMode`": (every - attention, every),
        "DeepSpeed 0.19 `flops`": (every, every),
        "calflops 0.3 `flops`": (every - attention, every),
        "fvcore 0.1.5": ((every - attention) / 2, every / 2),
        "ptflops 0.7": ((every - attention) / 2, every / 2),
        "thop 0.1": ((every - attention) / 2, (every - attention) / 2),
    }
    assert shown.keys() == expected.keys()
    for name, figures in expected.items():  # some add a few norms
        assert shown[name] == pytest.approx(figures, rel=3e-4), name


def test_what_the_vision_tower_does_to_a_saving() -> None:
    alone, whole = found(
        r"without the vision tower, PruMerge's 40 of 576 tokens save ([\d.]+) times the FLOPs, "
        r"with it (\d+\.\d)",
        "flop-counters",
    )
    comparison = roofline.analyze("llava-1.5-7b", "a100-80gb", reducer="prumerge").comparison
    assert comparison is not None
    assert alone == round(float(comparison.components["llm"].flops_saving), 1)
    assert whole == round(float(comparison.end_to_end.flops_saving), 1)
