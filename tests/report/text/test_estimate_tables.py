"""One estimate in Markdown: each cell is the figure of its row, of the prompt of its column."""

from __future__ import annotations

from typing import Any

import pytest
from made_up_prompts import GB, against, estimated, op, reduced_by, totals

from roofline import count
from roofline.engine.estimate import Counts
from roofline.report.text.estimate_words import band, times
from roofline.report.text.estimates import render
from roofline.units import si, significant


def page(one: Counts, *, per_op: bool = False) -> str:
    return render([one], "md", per_op=per_op)


def grids(text: str) -> list[list[list[str]]]:
    """Cells of every table, its headers first."""
    found: list[list[list[str]]] = []
    for block in text.split("\n\n"):
        if block.startswith("|"):
            cells = [line.strip("|").split("|") for line in block.splitlines()]
            rows = [[cell.strip() for cell in line] for line in cells]
            found.append([rows[0], *rows[2:]])
    return found


def facts(text: str) -> dict[str, str]:
    """Text by label, of what stands under the tables."""
    lines = [line[2:] for line in text.splitlines() if line.startswith("- ")]
    return dict(line.split(": ", 1) for line in lines)


PARTS = {
    "flops": 60e12,
    "vector_flops": 6e12,
    "memory_access_bytes": 30 * GB,
    "activation_store_bytes": 8 * GB,
    "weight_bytes": 10 * GB,
    "kv_cache_bytes": 4 * GB,
    "peak_activation_bytes": 6 * GB,
}
FULL = totals(0.6, 0.8, error_s=0.04, **PARTS)
HALF = {name: value / 2 for name, value in PARTS.items() if name != "weight_bytes"}
KEPT = totals(0.1, 0.2, error_s=0.02, compute_s=0.0, weight_bytes=11 * GB, **HALF)


class TestTotals:
    def test_figures_stand_beside_those_of_all_visual_tokens(self) -> None:
        one = estimated(KEPT, visual_tokens=20, comparison=against(FULL, KEPT))
        assert grids(page(one))[-1] == [
            ["End to end", "20 visual", "all 100", "saving"],
            ["FLOPs", "30.0 TFLOP", "60.0 TFLOP", "2.0x"],
            ["Vector FLOPs", "3.00 TFLOP", "6.00 TFLOP", "2.0x"],
            ["Memory traffic", "15.0 GB", "30.0 GB", "2.0x"],
            ["Activations stored", "4.00 GB", "8.00 GB", "2.0x"],
            ["Weights", "11.0 GB", "10.0 GB", ""],
            ["KV cache", "2.00 GB", "4.00 GB", "2.0x"],
            ["Peak activations", "3.00 GB", "6.00 GB", "2.0x"],
            ["Peak memory", "16.0 GB", "20.0 GB", "1.2x"],
            ["Prefill time, roofline", "100 ms", "600 ms", "6.0x"],
            ["Prefill time, attainable", "200 ms", "800 ms", "4.0x"],
            ["FLOP per byte", "2000", "2000", ""],
            ["Bound", "memory", "compute", ""],
        ]

    def test_without_a_comparison_they_stand_alone(self) -> None:
        found = grids(page(estimated(totals(0.6, weight_bytes=8 * GB), kind="llm")))
        assert found[0] == [
            ["LLM", "total"],
            ["FLOPs", "500 TFLOP"],
            ["Vector FLOPs", "3.00 TFLOP"],
            ["Memory traffic", "20.0 GB"],
            ["Activations stored", "4.00 GB"],
            ["Weights", "8.00 GB"],
            ["KV cache", "2.00 GB"],
            ["Peak activations", "1.00 GB"],
            ["Peak memory", "11.0 GB"],
            ["Prefill time, roofline", "600 ms"],
            ["FLOP per byte", "25000"],
            ["Bound", "compute"],
        ]
        assert len(found) == 1

    def test_an_encoder_alone_has_its_own_name(self) -> None:
        assert grids(page(estimated(totals(0.6), kind="vision")))[-1][0] == ["Vision", "total"]
        assert grids(page(estimated(totals(0.6))))[-1][0] == ["End to end", "total"]

    def test_where_nothing_runs_nothing_binds(self) -> None:
        idle = estimated(totals(0.0))
        assert grids(page(idle))[-1][-1] == ["Bound", "-"]
        assert {row[-1] for row in grids(page(idle))[0][1:]} == {"-"}

    def test_a_difference_inside_the_error_is_a_tie_of_attainable_times_alone(self) -> None:
        near = totals(0.1, 0.79, error_s=0.02)
        one = estimated(near, comparison=against(FULL, near))
        rows = {row[0]: row[-1] for row in grids(page(one))[-1]}
        assert rows["Prefill time, attainable"] == "tie"
        assert rows["Prefill time, roofline"] == "6.0x"

    def test_counts_have_no_times(self) -> None:
        """Beside those of all 576 tokens; end to end is the sum of the components."""
        one, full = count("llava-1.5-7b", visual_tokens=40), count("llava-1.5-7b")
        parts, totals_ = grids(page(one))
        kinds = [
            ("FLOPs", "flops", "FLOP"),
            ("Vector FLOPs", "vector_flops", "FLOP"),
            ("Memory traffic", "memory_access_bytes", "B"),
            ("Activations stored", "activation_store_bytes", "B"),
            ("Weights", "weight_bytes", "B"),
            ("KV cache", "kv_cache_bytes", "B"),
            ("Peak activations", "peak_activation_bytes", "B"),
            ("Peak memory", "peak_memory_bytes", "B"),
        ]
        both = one.end_to_end, full.end_to_end
        assert [row[:3] for row in totals_[1:-1]] == [
            [label, *(si(getattr(part, name), unit) for part in both)]
            for label, name, unit in kinds
        ]
        ratios = [f"{full.end_to_end.flops / one.end_to_end.flops:.1f}x", ""]
        assert [totals_[1][-1], totals_[5][-1]] == ratios
        intensities = (part.flops / part.memory_access_bytes for part in both)
        assert totals_[-1] == ["FLOP per byte", *map(significant, intensities), ""]
        assert parts[0] == ["Component", "FLOPs", "Traffic", "Weights"]
        assert [row[0] for row in parts[1:]] == [*one.components, "end to end"]
        assert parts[-1][1:] == [totals_[1][1], totals_[3][1], totals_[5][1]]
        assert facts(page(one)) == {}


class TestComponents:
    def test_each_has_its_figures_and_its_share(self) -> None:
        parts = {
            "vision": totals(
                0.02, 0.08, flops=9e12, memory_access_bytes=3 * GB, weight_bytes=1 * GB
            ),
            "llm": totals(0.08, 0.12, error_s=0.012, compute_s=0.0),
        }
        one = estimated(KEPT, components=parts)
        assert grids(page(one))[0] == [
            [
                *("Component", "FLOPs", "Traffic", "Weights", "Roofline", "Attainable"),
                *("Share", "Bound"),
            ],
            [
                *("vision", "9.00 TFLOP", "3.00 GB", "1.00 GB", "20.0 ms", "80.0 ms"),
                *("40.0 %", "compute"),  # of 200 ms, and exact
            ],
            [
                *("llm", "500 TFLOP", "20.0 GB", "10.0 GB", "80.0 ms", "120 ms"),
                *("60 %", "memory"),  # known to a tenth of itself
            ],
            [
                *("end to end", "30.0 TFLOP", "15.0 GB", "11.0 GB", "100 ms", "200 ms"),
                *("100 %", "memory"),
            ],
        ]

    def test_without_laws_shares_are_of_the_roofline(self) -> None:
        parts = {"vision": totals(0.125), "llm": totals(0.375)}
        found = grids(page(estimated(totals(0.5), components=parts)))[0]
        assert found[0][4:] == ["Roofline", "Share", "Bound"]
        assert [row[4:] for row in found[1:]] == [
            ["125 ms", "25.0 %", "compute"],
            ["375 ms", "75.0 %", "compute"],
            ["500 ms", "100 %", "compute"],
        ]

    def test_of_no_time_nobody_has_a_share(self) -> None:
        parts = {"vision": totals(0.0), "llm": totals(0.0)}
        found = grids(page(estimated(totals(0.0), components=parts)))[0]
        assert [row[-2] for row in found[1:]] == ["0 %", "0 %", "100 %"]


def ops(*cases: tuple[str, str, float, float, str | None]) -> list[Any]:
    """Of (component, kind, roofline time, attainable time, origin)."""
    return [
        op(
            component,
            kind,
            kind,
            roofline_s,
            attainable_time_s=attained_s,
            attainable_origin=origin,
        )
        for component, kind, roofline_s, attained_s, origin in cases
    ]


class TestVerdicts:
    @pytest.mark.parametrize(
        ("needs_gb", "expected"),
        [(87, "100 GB fits in 100 GB"), (87.1, "100.1 GB does not fit in 100.0 GB")],
    )
    def test_whether_it_fits(self, needs_gb: float, expected: str) -> None:
        """2 GB of KV cache and 1 of activations besides, and 10 of weights."""
        one = estimated(totals(0.5, kv_cache_bytes=(needs_gb + 2) * GB))
        assert facts(page(one))["Memory"] == expected

    def test_what_the_device_computes_at(self) -> None:
        peak = {
            "matmul_type": "int8",
            "preferred_type": "int4",
            "matmul_flops_per_s": 62e12,
            "matmul_engine": "dp4a",
            "attention_type": "fp16",
            "attention_flops_per_s": 31e12,
            "vector_flops_per_s": 14e12,
            "ridge_point_flops_per_byte": 68.9,
        }
        device = {"peaks": {"llm": peak}, "memory_bytes_per_s": 900e9}
        found = facts(page(estimated(totals(0.5), quant="int4", device=device)))
        assert found["Peak, int4"] == (
            "int8 62.0 TOP/s (dp4a); no int4 on this device; attention fp16 31.0 TFLOP/s"
        )
        assert found["Vector peak"] == "14.0 TFLOP/s"
        assert found["Ridge point"] == "68.9 FLOP/B, at 900 GB/s"
        same = peak | {"preferred_type": "int8", "attention_type": "int8"}
        device = device | {"peaks": {"llm": same}}
        assert facts(page(estimated(totals(0.5), device=device)))["Peak, fp16"] == (
            "int8 62.0 TOP/s (dp4a)"
        )

    def test_attainable_times_have_their_span_their_error_and_their_origins(self) -> None:
        both = ops(("llm", "norm", 0.02, 0.05, "typical"), ("llm", "linear", 0.08, 0.15, "fitted"))
        text = facts(page(estimated(KEPT, ops=both)))["Attainable"]
        assert text == (
            "180 ms to 220 ms (±10 %): 75 % fitted from public measurements, 25 % typical for this "
            "architecture"
        )
        alone = facts(page(estimated(KEPT, ops=both[:1])))["Attainable"]
        assert alone == "180 ms to 220 ms (±10 %): typical for this architecture"

    def test_bounds_rest_on_no_laws(self) -> None:
        assert "Attainable" not in facts(page(estimated(totals(0.5))))

    def test_where_the_time_goes_by_kind_the_most_first(self) -> None:
        """Of 400 ms; what takes less than a two-thousandth is not named."""
        cases = ("attention", 0.1), ("linear", 0.2996), ("norm", 0.0002), ("embed", 0.00019)
        found = [op("llm", kind, kind, roofline_s) for kind, roofline_s in cases]
        found += [op("vision", "q", "linear", 0.00001)]
        one = estimated(totals(0.4), ops=found)
        assert facts(page(one))["Time goes to"] == "linear 74.9 %, attention 25.0 %, norm 0.0500 %"
        assert "By phase" not in facts(page(one))

    def test_shares_of_attainable_times_are_as_rough_as_these(self) -> None:
        found = ops(("llm", "linear", 0.05, 0.15, "typical"), ("llm", "norm", 0.05, 0.05, None))
        assert facts(page(estimated(KEPT, ops=found)))["Time goes to"] == "linear 75 %, norm 25 %"

    def test_an_answer_has_its_time_by_phase(self) -> None:
        found = [
            op("llm", "q", "linear", 0.1),
            op("llm", "q", "linear", 0.3, phase="decode"),
        ]
        one = estimated(totals(0.4), ops=found, stage="generate", output_tokens=8)
        assert facts(page(one))["By phase"] == "decode 75.0 %, prefill 25.0 %"

    def test_where_nothing_runs_no_time_goes_anywhere(self) -> None:
        assert "Time goes to" not in facts(page(estimated(totals(0.0))))


class TestReducer:
    @pytest.mark.parametrize(
        ("own_s", "kept_s", "taken"),
        [(0.1, 0.2, 0.2), (0.3, 0.4, 0.6), (0.3, 0.6, None), (0.3, 0.7, None)],
    )
    def test_what_reducing_takes_is_said_where_anything_is_saved(
        self, own_s: float, kept_s: float, taken: float | None
    ) -> None:
        """Of 600 ms: what is saved but for the reducer's own time."""
        kept = totals(kept_s)
        parts = {"reducer": totals(own_s), "llm": totals(kept_s - own_s)}
        comparison = against(totals(0.6), kept, components=parts)
        one = estimated(kept, components=parts, reducer=reduced_by("r", 99), comparison=comparison)
        text = None if taken is None else f"reducing takes {100 * taken:.1f} % of the time saved"
        assert facts(page(one)).get("Reducer") == text

    def test_of_a_tie_nothing_is_taken(self) -> None:
        near = totals(0.1, 0.79, error_s=0.02)
        parts = {"reducer": totals(0.01, 0.01), "llm": near}
        comparison = against(FULL, near, components=parts)
        one = estimated(near, components=parts, reducer=reduced_by("r"), comparison=comparison)
        assert "Reducer" not in facts(page(one))

    def test_the_reducers_share_is_as_rough_as_its_time(self) -> None:
        own = totals(0.05, 0.123, error_s=0.0123)
        parts = {"reducer": own, "llm": totals(0.05, 0.177)}
        kept, full = totals(0.1, 0.3), totals(0.6, 1.3)
        one = estimated(
            kept,
            components=parts,
            reducer=reduced_by("r", 99),
            comparison=against(full, kept, components=parts),
        )
        assert facts(page(one))["Reducer"] == "reducing takes 11 % of the time saved"

    @pytest.mark.parametrize(
        ("tokens", "settles", "default"), [(7, False, True), (7, True, False), (8, False, False)]
    )
    def test_a_reducer_s_default_has_its_source(
        self, tokens: int, settles: bool, default: bool
    ) -> None:
        full, kept = totals(0.6), totals(0.1)
        one = estimated(
            kept,
            reducer=reduced_by("r", 7, settles_count=settles),
            comparison=against(full, kept),
            counts={"visual_tokens": tokens},
        )
        text = "7 visual tokens are its default (section 3)" if default else None
        assert facts(page(one)).get("Reducer") == text


class TestOps:
    FOUND = (
        op("vision", "fc1", "linear", 0.1, count=3, vector_flops=2e9, bound="compute"),
        op("llm", "q_proj", "linear", 0.3, layers="3-31", count=29, attainable_time_s=0.4),
        op("llm", "q_proj", "linear", 0.6, phase="decode", flops=20e9),
    )

    def test_ops_stand_by_component_and_phase(self) -> None:
        peaks = {
            "vision": {"matmul_type": "fp16"},
            "llm": estimated(totals(1.0)).device["peaks"]["llm"] | {"matmul_type": "int8"},
        }
        one = estimated(totals(2.0), ops=self.FOUND, device={"peaks": peaks})
        text = page(one, per_op=True)
        headers = ["Op", "Count", "FLOPs", "Traffic", "Roofline", "Share", "Bound"]
        assert grids(text)[-3:] == [
            [headers, ["fc1", "3", "12.0 G", "1.00 GB", "100 ms", "5.00 %", "compute"]],
            [headers, ["q_proj 3-31", "29", "10.0 G", "1.00 GB", "300 ms", "400 ms", "memory"]],
            [headers, ["q_proj", "1", "20.0 G", "1.00 GB", "600 ms", "30.0 %", "memory"]],
        ]
        for title in (
            "vision, prefill, on d at its fp16 peak",
            "llm, prefill, on d at its int8 peak",
            "llm, decode, on d at its int8 peak",
        ):
            assert f"\n\n{title}\n\n" in text

    def test_attainable_times_stand_in_place_of_shares(self) -> None:
        one = estimated(KEPT, ops=self.FOUND[1:2])
        header, row = grids(page(one, per_op=True))[-1]
        assert header[4:] == ["Roofline", "Attainable", "Bound"]
        assert row[4:] == ["300 ms", "400 ms", "memory"]

    def test_of_no_time_no_op_has_a_share(self) -> None:
        one = estimated(totals(0.0), ops=[op("llm", "q", "linear", 0.0)])
        assert grids(page(one, per_op=True))[-1][1][4:6] == ["0 s", "0 %"]

    def test_without_being_asked_for_they_are_not_shown(self) -> None:
        assert "q_proj" not in page(estimated(totals(1.0), ops=self.FOUND))

    def test_on_no_device_ops_have_no_times(self) -> None:
        text = page(count("llava-1.5-7b", visual_tokens=40), per_op=True)
        assert "\n\nllm, prefill\n\n" in text
        assert grids(text)[-1][0] == ["Op", "Count", "FLOPs", "Traffic"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.5, "0.50x"),
        (1.0, "1.0x"),
        (1.004, "1.00x"),
        (1.0499, "1.05x"),
        (1.0999, "1.10x"),
        (1.1, "1.1x"),
        (1.16, "1.2x"),
        (9.54, "9.5x"),
        (9.94, "9.9x"),
        (10.0, "10.0x"),
        (10.54, "10.5x"),
        (123.4, "123x"),
    ],
)
def test_ratios_have_three_digits_where_two_would_hide_them(value: float, shown: str) -> None:
    assert times(value) == shown


@pytest.mark.parametrize(
    ("error_s", "shown"), [(None, ""), (0.0, ""), (0.05, "±5 %"), (0.9, "±90 %")]
)
def test_a_band_is_the_error_as_a_share_of_the_time(error_s: float | None, shown: str) -> None:
    assert band(totals(0.5, 1.0, error_s=error_s)) == shown
    assert band(totals(0.5)) == ""
