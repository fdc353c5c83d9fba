"""Each cell of a study's tables is the figure that its header names, of the prompt of its row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import made_up
import numpy as np
import pytest
from made_up_prompts import (
    GB,
    candidate,
    deployed,
    estimated,
    front_of,
    prompt,
    studied,
    totals,
)
from msgspec.structs import replace

from roofline.explore.study import MeasuredRun, PricedPrompt, Study, study
from roofline.records.measurement import Record, TimedSpan
from roofline.report.document import Table
from roofline.report.text import study_tables as tables
from roofline.report.text.study_answers import short_name


def rows(found: Sequence[Table]) -> list[dict[str, str]]:
    (table,) = found
    return [dict(zip(table.headers, row, strict=True)) for row in table.rows]


def column(found: Sequence[Table], header: str) -> list[str]:
    return [row[header] for row in rows(found)]


WHOLE = {
    "flops": 600e12,
    "memory_access_bytes": 30 * GB,
    "weight_bytes": 10 * GB,
    "kv_cache_bytes": 4 * GB,
    "peak_activation_bytes": 2 * GB,
}
KEPT = {
    "flops": 100e12,
    "memory_access_bytes": 20 * GB,
    "weight_bytes": 11 * GB,
    "kv_cache_bytes": 3 * GB,
    "peak_activation_bytes": 1 * GB,
}


def pair(laws: bool, **given: Any) -> tuple[PricedPrompt, PricedPrompt]:
    """600 ms and, reduced, 150 at the roofline; 800 and 400 attained, known to 20.

    An answer of 8 tokens takes 600 ms more, one of 10 tokens 1.4 s and 10 GB.
    """

    def made(
        visual: int, figures: dict[str, Any], times_s: tuple[float, float], **more: Any
    ) -> PricedPrompt:
        answers = {
            length: totals(
                times_s[0] + more_s,
                times_s[1] + more_s if laws else None,
                error_s=0.02 if laws else None,
                compute_s=times_s[0] if visual > 50 else 0.0,
                **figures | given | {"kv_cache_bytes": figures["kv_cache_bytes"] + cache_bytes},
            )
            for length, more_s, cache_bytes in ((0, 0.0, 0.0), (8, 0.6, 8 * GB), (10, 1.4, 10 * GB))
        }
        return prompt(visual, answers[0], answers=answers, **more)

    whole = made(100, WHOLE, (0.6, 0.8), at_once=8)
    return whole, made(20, KEPT, (0.15, 0.4), at_once=5, reducer="r", unreduced=whole)


class TestCosts:
    def test_bounds_have_no_attainable_time(self) -> None:
        assert rows(tables.costs(studied(deployed(*pair(False))))) == [
            {
                "Visual": "100",
                "Reducer": "-",
                "FLOPs": "600 TFLOP",
                "Traffic": "30.0 GB",
                "FLOP/B": "20000",
                "Bound": "compute",
                "Roofline": "600 ms",
                "Faster": "-",
            },
            {
                "Visual": "20",
                "Reducer": "r",
                "FLOPs": "100 TFLOP",
                "Traffic": "20.0 GB",
                "FLOP/B": "5000",
                "Bound": "memory",
                "Roofline": "150 ms",
                "Faster": "4.0x",
            },
        ]

    def test_attainable_times_have_their_band(self) -> None:
        found = tables.costs(studied(deployed(*pair(True))))
        assert [list(row.items())[-4:] for row in rows(found)] == [
            [
                ("Roofline", "600 ms"),
                ("Attainable", "800 ms"),
                ("Within", "780 ms to 820 ms"),
                ("Faster", "-"),
            ],
            [
                ("Roofline", "150 ms"),
                ("Attainable", "400 ms"),
                ("Within", "380 ms to 420 ms"),
                ("Faster", "2.0x (4.0x)"),
            ],
        ]

    def test_a_device_without_laws_beside_others_has_no_attainable_time(self) -> None:
        other = prompt(100, totals(0.3), hardware="e")
        found = tables.costs(studied(deployed(*pair(True)), deployed(other)))
        assert column(found, "Attainable") == ["800 ms", "400 ms", "-"]
        assert column(found, "Within")[-1] == "-"
        assert column(found, "Faster") == ["-", "2.0x (4.0x)", "-"]
        assert column(found, "Device") == ["d", "d", "e"]

    @pytest.mark.parametrize("laws", [False, True])
    @pytest.mark.parametrize("compared", [False, True])
    def test_the_caption_explains_the_columns_that_there_are(
        self, laws: bool, compared: bool
    ) -> None:
        (table,) = tables.costs(studied(deployed(*pair(laws)[: 1 + compared])))
        assert ("Within" in table.headers) is ("Within:" in table.caption) is laws
        assert ("Faster" in table.headers) is ("Faster:" in table.caption) is compared

    def test_a_tie_and_a_full_prompt_that_does_not_fit_are_marked(self) -> None:
        whole = prompt(100, totals(0.1, 1.0, error_s=0.2, weight_bytes=98 * GB))
        tie = prompt(30, totals(0.05, 0.9, error_s=0.1), reducer="r", unreduced=whole)
        gain = prompt(20, totals(0.05, 0.5, error_s=0.1), reducer="r", unreduced=whole)
        found = tables.costs(studied(deployed(whole, tie, gain)))
        assert column(found, "Faster") == ["-", "tie (2.0x)*", "2.0x (2.0x)*"]


class TestParts:
    def of(self, *parts: dict[str, Any]) -> Study:
        prompts = (
            prompt(100 - i, totals(0.5), components=components)
            for i, components in enumerate(parts)
        )
        return studied(deployed(*prompts))

    def test_each_component_has_its_time_and_its_share(self) -> None:
        """Of half a second, in the order in which they run, whatever the estimate's."""
        first = {"llm": totals(0.35), "connector": totals(0.05), "vision": totals(0.1)}
        second = {"reducer": totals(0.025), "llm": totals(0.475)}
        assert rows(tables.parts(self.of(first, second))) == [
            {
                "Visual": "100",
                "Vision": "≥ 100 ms, 20.0 %",
                "Reduction": "-",
                "Connector": "≥ 50.0 ms, 10.0 %",
                "LLM": "≥ 350 ms, 70.0 %",
            },
            {
                "Visual": "99",
                "Vision": "-",
                "Reduction": "≥ 25.0 ms, 5.00 %",
                "Connector": "-",
                "LLM": "≥ 475 ms, 95.0 %",
            },
        ]

    def test_one_component_has_no_parts(self) -> None:
        assert tables.parts(self.of({"llm": totals(0.5)})) == ()
        assert tables.parts(self.of({"llm": totals(0.2), "vision": totals(0.3)})) != ()

    def test_attainable_times_are_no_bounds(self) -> None:
        parts = {"vision": totals(0.1, 0.2, error_s=0.02), "llm": totals(0.1, 0.6, error_s=0.06)}
        one = prompt(9, totals(0.2, 0.8), components=parts)
        (table,) = found = tables.parts(studied(deployed(one)))
        assert list(rows(found)[0].values()) == ["m", "200 ms, 25 %", "600 ms, 75 %"]
        assert table.caption.startswith("Attainable time of each component")
        assert "≥" not in table.caption
        (bounds,) = tables.parts(self.of({"llm": totals(0.2), "vision": totals(0.3)}))
        assert bounds.caption.startswith("Roofline time of each component")
        assert "≥ marks bounds" in bounds.caption


class TestLimits:
    def test_each_deployment_has_its_peaks_and_its_counts(self) -> None:
        peaks = {
            "llm": {
                "matmul_flops_per_s": 62e12,
                "matmul_type": "int8",
                "ridge_point_flops_per_byte": 68.9,
            }
        }
        found = []
        for name, kind, ridge, floor in (("d", "int8", 30, 25), ("e", "fp16", 0, 100)):
            one = deployed(prompt(9, totals(0.1), hardware=name), ridge=ridge, floor=floor)
            assert one.curve is not None
            made = {"llm": peaks["llm"] | {"matmul_type": kind}}
            device = one.curve.device | {"peaks": made, "memory_bytes_per_s": 900e9}
            found.append(replace(one, curve=replace(one.curve, device=device)))
        text = deployed(prompt(0, totals(0.1), hardware="f"))
        same = {"Bandwidth": "900 GB/s", "Ridge point": "68.9 FLOP/B"}
        assert rows(tables.limits(studied(*found, text))) == [
            {"Device": "d", "Matmul peak": "62.0 TOP/s int8"}
            | same
            | {"Memory-bound up to": "30", "Stops paying at": "25"},
            {"Device": "e", "Matmul peak": "62.0 TFLOP/s fp16"}
            | same
            | {"Memory-bound up to": "0", "Stops paying at": "100"},
        ]

    def test_counts_that_vary_are_columns(self) -> None:
        few, many = (
            deployed(prompt(9, totals(0.1), batch=n, text_tokens=10 * n), ridge=3) for n in (1, 8)
        )
        found = rows(tables.limits(studied(few, many)))
        assert [list(row.items())[:2] for row in found] == [
            [("Text", "10"), ("Batch", "1")],
            [("Text", "80"), ("Batch", "8")],
        ]


class TestMemory:
    def test_parts_of_memory_stand_beside_what_there_is(self) -> None:
        """16 and 15 GB, on 15."""
        assert rows(
            tables.memory(studied(deployed(*pair(False, device_memory_bytes=15 * GB))))
        ) == [
            {
                "Visual": "100",
                "Reducer": "-",
                "Weights": "10.0 GB",
                "KV cache": "4.00 GB",
                "Activations": "2.00 GB",
                "Peak": "16.0 GB",
                "Capacity": "15.0 GB",
                "Fits": "no",
                "At once": "8",
            },
            {
                "Visual": "20",
                "Reducer": "r",
                "Weights": "11.0 GB",
                "KV cache": "3.00 GB",
                "Activations": "1.00 GB",
                "Peak": "15.0 GB",
                "Capacity": "15.0 GB",
                "Fits": "yes",
                "At once": "5",
            },
        ]


class TestAnswers:
    def test_steps_and_whole_answers(self) -> None:
        """8 tokens in 600 ms, the last two in 800; 2 s and 1.55 s with the prompt."""
        found = tables.answers(studied(deployed(*pair(False, device_memory_bytes=25 * GB))))
        assert rows(found) == [
            {
                "Visual": "100",
                "Reducer": "-",
                "First step": "≥ 75.0 ms",
                "Last step": "≥ 400 ms",
                "Prefill": "30.0 %",
                "Prompt and answer": "≥ 2.00 s",
                "Faster": "-",
                "Memory": "26.0 GB",
                "Fits": "no",
            },
            {
                "Visual": "20",
                "Reducer": "r",
                "First step": "≥ 75.0 ms",
                "Last step": "≥ 400 ms",
                "Prefill": "9.68 %",
                "Prompt and answer": "≥ 1.55 s",
                "Faster": "1.3x*",
                "Memory": "25.0 GB",
                "Fits": "yes",
            },
        ]
        assert found[0].caption.startswith("An answer of 10 tokens.")
        assert "≥ marks bounds" in found[0].caption

    def test_attainable_times_are_no_bounds(self) -> None:
        """2.2 s and 1.8 s, each known to 20 ms; 2 and 1.55 s at the roofline."""
        (table,) = found = tables.answers(studied(deployed(*pair(True))))
        assert column(found, "Prompt and answer") == ["2.20 s", "1.80 s"]
        assert column(found, "Faster") == ["-", "1.2x (1.3x)"]
        assert column(found, "Prefill") == ["36.4 %", "22 %"]
        assert column(found, "Fits") == ["yes", "yes"]
        assert "≥" not in table.caption

    def test_several_lengths_are_named(self) -> None:
        """A row for each: 100 and 200 ms for 4 and 8 tokens behind a prompt of 100."""
        times = {0: totals(0.1), 4: totals(0.2), 8: totals(0.3, weight_bytes=98 * GB)}
        study = studied(deployed(prompt(9, totals(0.1), answers=times)))
        study.inputs["output_tokens"] = [4, 8]
        (table,) = found = tables.answers(study)
        assert table.caption.startswith("An answer of 4 or 8 tokens.")
        assert column(found, "Output") == ["4", "8"]
        assert column(found, "Last step") == ["≥ 25.0 ms"] * 2
        assert column(found, "Prompt and answer") == ["≥ 200 ms", "≥ 300 ms"]
        assert column(found, "Prefill") == ["50.0 %", "33.3 %"]
        assert column(found, "Memory") == ["13.0 GB", "101 GB"]
        assert column(found, "Fits") == ["yes", "no"]

    def test_what_cannot_answer_is_no_row(self) -> None:
        tower = prompt(9, totals(0.1), kind="vision", model="v")
        study = studied(deployed(*pair(False)), deployed(tower))
        assert len(rows(tables.answers(study))) == 2


def test_rows_of_one_prompt_are_named_by_the_model() -> None:
    found = rows(tables.memory(studied(deployed(prompt(9, totals(0.1))))))
    assert next(iter(found[0])) == "Model"


@pytest.mark.parametrize(
    ("changed", "header", "cells"),
    [
        ({"model": "n"}, "Model", ["m", "n"]),
        ({"hardware": "e"}, "Device", ["d", "e"]),
        ({"quant": "int4"}, "Quant", ["fp16", "int4"]),
        ({"text_tokens": 50}, "Text", ["40", "50"]),
        ({"batch": 8}, "Batch", ["1", "8"]),
        ({"visual_tokens": 7}, "Visual", ["9", "7"]),
        ({"reducer": "r"}, "Reducer", ["-", "r"]),
    ],
)
def test_what_differs_is_the_only_column_that_tells_rows_apart(
    changed: dict[str, Any], header: str, cells: list[str]
) -> None:
    given = {"visual_tokens": 9} | changed
    one = prompt(9, totals(0.1), quant="fp16")
    other = prompt(given.pop("visual_tokens"), totals(0.1), **{"quant": "fp16", **given})
    found = rows(tables.memory(studied(deployed(one), deployed(other))))
    assert [row[header] for row in found] == cells
    assert list(found[0])[:2] == [header, "Weights"]


class TestMeasurements:
    def test_spans_stand_beside_bound_and_prediction(self, record: Callable[..., Record]) -> None:
        spans = {
            "llm": TimedSpan(
                samples_s=[0.1, 0.2, 0.3, 0.4, 0.5], roofline_time_s=0.15, attainable_time_s=0.36
            ),
            "whole": TimedSpan(samples_s=[0.5]),
        }
        other = record(spans={"whole": TimedSpan(samples_s=[2.0])})
        runs = [MeasuredRun("one", record(spans=spans)), MeasuredRun("two", other)]
        unknown = dict.fromkeys(("Roofline", "Of roof", "Predicted", "Error"), "-")
        found = rows(tables.measurements(runs))
        p10, p90 = np.percentile(spans["llm"].samples_s, (10, 90)) * 1000
        assert found[0] == {
            "Record": "one",
            "Span": "llm",
            "Median": "300 ms",
            "p10": f"{p10:.0f} ms",
            "p90": f"{p90:.0f} ms",
            "Samples": "5",
            "Roofline": "150 ms",
            "Of roof": "50 %",
            "Predicted": "360 ms",
            "Error": "+20 %",
        }
        assert [(row["Record"], row["Span"], row["Median"]) for row in found[1:]] == [
            ("one", "whole", "500 ms"),
            ("two", "whole", "2.00 s"),
        ]
        assert all(row.items() >= unknown.items() for row in found[1:])


class TestScores:
    def methods(self, **given: Any) -> Any:
        """By time, energy and memory: `Few` is the cheapest, and `Half` within a point."""
        device = made_up.device(tdp_w=made_up.figure(200))
        made = []
        cases: list[Any] = [
            ("All", 70.0, 100, 0.3, 3, None, ""),
            ("Half", 69.5, 50, 0.2, 2, "r", "fine-tuned"),
            ("Same", 69.5, 50, 0.2, 4, "r", ""),
            ("Few", 60.0, 10, 0.1, 1, None, "training-free"),
            ("Large", 90.0, 90, 0.4, 200, None, ""),
        ]
        for name, score, visual, prefill_s, cache_gb, reducer, training in cases:
            one = prompt(visual, totals(prefill_s, kv_cache_bytes=cache_gb * GB), reducer=reducer)
            scenario = replace(one.estimate.scenario, hardware=device)
            one = replace(one, estimate=replace(one.estimate, scenario=scenario))
            sources = (f"table 1, row {visual}", "table 2, row 1")[: 2 if reducer else 1]
            made.append(candidate(name, score, one, training=training, sources=sources))
        return front_of(*made, **given)

    def test_methods_have_their_score_and_their_costs_the_quickest_first(self) -> None:
        found = rows(tables.candidates(self.methods()))
        assert found[:2] == [
            {
                "Method": "Few",
                "LLM": "An-LLM",
                "Trained": "training-free",
                "Tokens": "10",
                "Score": "60.0",
                "Prefill": "100 ms",
                "Energy": "≤ 20.0 J",  # of 200 W
                "KV cache": "1.00 GB",
                "Memory": "12.0 GB",
                "Fits": "yes",
                "Front": "time, KV cache",
                "Source": "table 1, row 10",
            },
            {
                "Method": "Half",
                "LLM": "An-LLM",
                "Trained": "fine-tuned",
                "Tokens": "50",
                "Score": "69.5",
                "Prefill": "200 ms",
                "Energy": "≤ 40.0 J",
                "KV cache": "2.00 GB",
                "Memory": "13.0 GB",
                "Fits": "yes",
                "Front": "time, KV cache",
                "Source": "table 1, row 50; table 2, row 1",
            },
        ]
        columns = ("Method", "Trained", "Memory", "Fits", "Front")
        assert [tuple(row[name] for name in columns) for row in found[2:]] == [
            ("Same", "-", "15.0 GB", "yes", "-"),
            ("All", "-", "14.0 GB", "yes", "time, KV cache"),
            ("Large", "-", "211 GB", "no", "-"),
        ]

    def test_the_caption_names_benchmark_and_place(self) -> None:
        (table,) = tables.candidates(self.methods(name="C", hardware="e", quant="int4"))
        assert table.caption.startswith("C, accuracy (%), on e in int4.")

    def test_energy_takes_a_tdp(self) -> None:
        one = candidate("All", 70, prompt(9, totals(0.1)))
        assert column(tables.candidates(front_of(one)), "Energy") == ["-"]

    def test_the_choice_is_the_cheapest_within_a_point(self) -> None:
        nothing = front_of(candidate("All", 70, prompt(9, totals(0.1, weight_bytes=200 * GB))))
        half = "69.5, Half at 50 tokens, An-LLM"
        assert rows(tables.choices([nothing, self.methods()])) == [
            {
                "Benchmark": "B, accuracy (%)",
                "Best": "70.0, All at 100 tokens, An-LLM",
                "By time": half,
                "By KV cache": half,
            }
        ]
        assert tables.choices([nothing]) == ()


def test_a_made_up_estimate_is_as_asked() -> None:
    """The helper says what it was told, and no more."""
    one = estimated(totals(0.1), hardware="e", batch=3)
    assert (one.inputs["hardware"], one.device["name"], one.inputs["batch"]) == ("e", "e", 3)
    assert one.end_to_end.peak_memory_bytes == 13 * GB


def test_kernels_alone_have_that_name_beside_a_runtime() -> None:
    priced = study(model="llava-1.5-7b", hardware="h200", runtime=[None, "eager"])

    assert set(column(tables.costs(priced), "Runtime")) == {"kernels alone", "eager"}
    assert set(column(tables.limits(priced), "Runtime")) == {"kernels alone", "eager"}
    assert [short_name(one, priced) for one in priced.deployments] == ["kernels alone", "eager"]
