"""How an estimate shows itself in Python: as text, and as a frame."""

from __future__ import annotations

import re

import pytest
from made_up import bare, device
from msgspec.structs import replace
from toy import llm, lmm, toy

from roofline import analyze, count


def test_an_estimate_reads_as_what_was_asked_and_a_line_a_component() -> None:
    text = repr(toy(lmm(), device(kernel_laws=None)))
    first, *lines = text.splitlines()

    assert first.startswith("Estimate(model='toy-lmm', hardware='toy', quant='fp16', visual_tok")
    assert "reducer" not in first  # nobody asked for one
    assert [line.split(":")[0] for line in lines] == [
        *("  vision", "  connector", "  llm", "  end_to_end"),
    ]
    # 5 tokens of the LLM with 576 weights a layer and scores [2, 5, 5], e = 4; logits of one
    flops = 2 * (2 * 5 * 576 + 2 * (2 * 50 * 4)) + 2 * 8 * 10
    assert lines[2].startswith(f"  llm: flops={float(flops):.4g}, peak_memory_bytes=")
    assert re.search(r", bound=(memory|compute)$", lines[2])


def test_counts_read_without_times() -> None:
    found = count(llm(), visual_tokens=2)
    names = ("flops", "memory_access_bytes", "peak_memory_bytes")
    figures = ", ".join(f"{name}={getattr(found.llm, name):.4g}" for name in names)

    assert repr(found).splitlines()[1] == f"  llm: {figures}"


def test_many_configurations_read_as_ranges() -> None:
    many = analyze("vicuna-7b", bare("v100"), visual_tokens=[1, 2000, 40])
    few, most = (
        analyze("vicuna-7b", bare("v100"), visual_tokens=n).llm.roofline_time_s for n in (1, 2000)
    )
    line = repr(many).splitlines()[1]

    assert f"roofline_time_s={few:.4g}…{most:.4g}, " in line
    assert line.endswith("bound=compute/memory")
    assert repr(toy(visual_tokens=[])).splitlines()[1].endswith("bound=none")


@pytest.mark.parametrize(("longer", "cut"), [(0, ""), (1, "…")])
def test_a_long_question_is_cut_after_160_characters(longer: int, cut: str) -> None:
    def inputs_line(name: str) -> str:
        first = repr(count(replace(llm(), name=name), visual_tokens=2)).splitlines()[0]
        return first.removeprefix("Counts(").removesuffix(")")

    name = "x" * (1 + longer + 160 - len(inputs_line("x")))
    assert len(inputs_line("x")) < 160
    assert "…" not in inputs_line("x")
    assert len(inputs_line(name)) == 160 + len(cut)
    assert inputs_line(name).endswith(cut)


def test_rows_of_frames_are_numbered_through() -> None:
    many = toy(lmm(), visual_tokens=[1, 2, 3])

    for frame in (many.to_frame(), many.ops_frame()):
        assert list(frame.index) == list(range(len(frame)))
    assert list(many.to_frame()["visual_tokens"]) == [1, 2, 3] * 4
    assert set(many.to_frame()["model"]) == {"toy-lmm"}
