"""`repr` of an estimate: the answer first, in units, on at most ten lines."""

from __future__ import annotations

import re

import pytest
from made_up import bare
from msgspec.structs import replace
from toy import device, llm, lmm, toy

from roofline import analyze, count, sweep
from roofline.units import si


def test_the_first_line_is_the_answer_and_the_others_what_it_rests_on() -> None:
    estimate = analyze("llava-1.5-7b", "h200", visual_tokens=40, reducer="prumerge")
    whole = estimate.end_to_end
    first, saving, needs, asked, *table = repr(estimate).splitlines()

    assert first.startswith(f"Prefill: {si(whole.attainable_time_s, 's')} (±")
    assert first.endswith(f"roofline {si(whole.roofline_time_s, 's')}), memory-bound")
    assert saving.startswith(f"Saving: {estimate.comparison.speedup:.1f}x as fast as all 576 visu")
    assert f"{si(whole.flops, 'FLOP')}, {si(whole.memory_access_bytes, 'B')} of traffic" in needs
    assert needs.endswith(f"(fits in {si(141 * 2**30, 'B')})")
    assert asked.startswith("Asked: llava-1.5-7b, prumerge, h200, fp16; 40 visual + 40 text tokens")
    assert max(map(len, repr(estimate).splitlines())) <= 80
    assert [line.split()[0] for line in table[2:]] == ["vision", "reducer", "connector", "llm"]


def test_what_was_asked_ends_with_ways_that_are_not_the_usual() -> None:
    asked = {"visual_tokens": 40, "text_tokens": 9, "kernels": "fused", "library": "vllm"}
    estimate = analyze("vicuna-7b", "h200", attention="eager", **asked)  # type: ignore[arg-type]
    (line,) = (line for line in repr(estimate).splitlines() if line.startswith("Asked: "))

    assert line.endswith(", batch 1; eager attention; fused kernels; kernels of vllm")


@pytest.mark.parametrize("reducer", [None, "prumerge", "fastv:k=3", "evit:stages=6,12,18"])
@pytest.mark.parametrize("stage", ["prefill", "decode", "generate"])
@pytest.mark.parametrize("visual", [144, [100, 144, 200]])
def test_it_has_ten_lines_at_most_of_120_letters(reducer: str, stage: str, visual: object) -> None:
    estimate = analyze(
        "llava-1.5-7b", "v100", visual_tokens=visual, reducer=reducer, stage=stage, output_tokens=9
    )
    lines = repr(estimate).splitlines()

    assert 4 <= len(lines) <= 10
    assert max(map(len, lines)) <= 120
    assert not re.search(r"\d{5}|e[+-]\d", repr(estimate)), "a figure without a prefix"


def test_a_model_of_one_component_needs_no_table() -> None:
    assert len(repr(analyze("vicuna-7b", "v100", visual_tokens=40)).splitlines()) == 4


def test_a_device_without_laws_tells_the_roofline() -> None:
    # 5 tokens of the LLM with 576 weights a layer and scores [2, 5, 5], e = 4; logits of one
    flops = 2 * (2 * 5 * 576 + 2 * (2 * 50 * 4)) + 2 * 8 * 10
    text = repr(toy(llm(), device(kernel_laws=None)))

    assert text.splitlines()[0].startswith("Prefill: ")
    assert " at the roofline, " in text.splitlines()[0]
    assert f"Needs: {si(flops, 'FLOP')}, " in text


def test_counts_read_without_times() -> None:
    found = count("llava-1.5-7b", visual_tokens=40)
    text = repr(found)

    assert text.startswith(f"Prefill: {si(found.end_to_end.flops, 'FLOP')}, ")
    assert f"Saving: {8.57 / 1.41:.1f}x fewer FLOPs than all 576 visual tokens" in text
    assert not re.search(r"\d s\b|ms|µs|bound", text)


def test_many_configurations_read_as_ranges() -> None:
    many = analyze("vicuna-7b", bare("v100"), visual_tokens=[1, 2000, 40])
    few, most = (
        analyze("vicuna-7b", bare("v100"), visual_tokens=n).llm.roofline_time_s for n in (1, 2000)
    )
    text = repr(many)

    assert f"Prefill: {si(few, 's')} to {si(most, 's')} at the roofline" in text
    assert "compute/memory-bound" in text
    assert "1 to 2000 visual + 40 text tokens, batch 1; 3 configurations" in text


def test_it_says_how_many_fit() -> None:
    tight = sweep("llava-1.5-7b", "v100", batch=[1, 8, 64])
    fits = [analyze("llava-1.5-7b", "v100", batch=n).end_to_end.fits for n in (1, 8, 64)]

    assert fits == [True, True, False]
    assert "(2 of 3 fit in 17.2 GB)" in repr(tight)
    assert "(does not fit in 17.2 GB)" in repr(analyze("llava-1.5-13b", "v100"))


def test_a_difference_inside_the_error_band_is_said_to_be_one() -> None:
    estimate = analyze("llava-1.5-7b", "h200", visual_tokens=570)

    assert estimate.comparison.tie
    assert re.search(
        r"[\d.]+x \(a tie\) as fast as all 576 .* \(roofline [\d.]+x\),", repr(estimate)
    )
    assert "tie" not in repr(analyze("llava-1.5-7b", "h200", visual_tokens=40))
    several = repr(analyze("llava-1.5-7b", "h200", visual_tokens=[40, 570]))
    assert re.search(r"x \(some a tie\) as fast as all 576 .* \(roofline [^,]*x\),", several)


def test_no_configuration_is_said_to_be_none() -> None:
    lines = repr(toy(lmm(), visual_tokens=[])).splitlines()

    assert lines[0] == "Prefill: no configuration"
    assert lines[1].startswith("Asked: toy-lmm, toy, fp16; no visual + 3 text tokens")
    assert len(lines) == 2


def test_a_long_name_is_cut() -> None:
    asked = repr(count(replace(llm(), name="x" * 500), visual_tokens=2)).splitlines()[-1]

    assert len(asked) == 120
    assert asked.endswith("xx…")


def test_what_is_not_the_usual_way_is_said() -> None:
    usual = repr(analyze("vicuna-7b", "v100"))
    other = repr(analyze("vicuna-7b", "v100", accounting="llm-viewer", attention="eager"))

    assert "attention" not in usual
    assert "accounting" not in usual
    assert other.endswith("batch 1; eager attention; llm-viewer accounting")
