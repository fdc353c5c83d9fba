"""What a record's text says of how it was run, and of what could not be known."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from roofline.engine.axes import AXES, Axis
from roofline.records.measurement import Achieved, NewLength, Record, Snapshot, Telemetry, TimedSpan
from roofline.report.text.record import facts, render_record
from roofline.report.text.record_comparison import render_comparison
from roofline.units import percent

Made = Callable[..., Record]


def tables(text: str) -> list[list[list[str]]]:
    """Cells of every table in Markdown, its headers first."""
    found = []
    for block in text.split("\n\n"):
        if block.startswith("|"):
            cells = [line.strip("|").split("|") for line in block.splitlines()]
            found.append([[cell.strip() for cell in row] for row in (cells[0], *cells[2:])])
    return found


def heading(record: Record) -> str:
    return " ".join(render_record(record, "table").partition("\n\n")[0].split())


class TestHeading:
    def test_it_has_all_that_was_asked(self, record: Made) -> None:
        assert heading(record()) == (
            "llava-1.5-7b with prumerge, prefill, on NVIDIA H200 40 visual + 40 text tokens, batch "
            "1, fp16, eager, sdpa attention, random weights"
        )

    @pytest.mark.parametrize(
        ("given", "expected", "unsaid"),
        [
            ({"reducer": None}, "llava-1.5-7b, prefill, on", "with"),
            ({"stage": "decode"}, ", one decode step, on", "prefill"),
            ({"checkpoint": "a/b"}, "attention, weights of a/b", "random"),
            (
                {"visual_tokens": 7, "text_tokens": 9, "batch": 3},
                "7 visual + 9 text tokens, batch 3",
                "40",
            ),
        ],
    )
    def test_what_was_asked_is_said(
        self, given: dict[str, Any], expected: str, unsaid: str, record: Made
    ) -> None:
        text = heading(record(inputs=given))
        assert expected in text
        assert unsaid not in text

    def test_a_machine_without_a_name_is_its_kind(self, record: Made) -> None:
        assert ", on cuda " in heading(record(environment={"torch": "2"}))


class TestColumns:
    def test_a_dash_stands_for_what_is_known_of_others(self, record: Made) -> None:
        known: dict[str, Any] = {
            "flops": 8e12,
            "memory_access_bytes": 2e9,
            "roofline_time_s": 0.1,
            "attainable_time_s": 0.3,
        }
        spans = {
            "llm": TimedSpan(samples_s=[0.2], **known),
            "other": TimedSpan(samples_s=[0.1]),
            "whole": TimedSpan(samples_s=[0.4]),
        }
        times, rates = tables(render_record(record(spans=spans, ops=[]), "md"))
        dashes = ["-"] * 4
        assert times[1:] == [
            ["llm", *["200 ms"] * 3, "100 ms", "50 %", "300 ms", "+50 %"],
            ["other", *["100 ms"] * 3, *dashes],
            ["whole", *["400 ms"] * 3, *dashes],
        ]
        assert rates == [
            ["Component", "Share", "FLOPs", "Traffic", "FLOP/s", "B/s"],
            ["llm", "50 %", "8.00 TFLOP", "2.00 GB", "40.0 T", "10.0 G"],
            ["other", "25 %", *dashes],
            ["whole", "100 %", *dashes],
        ]

    def test_of_a_run_that_took_no_time_nobody_has_a_share(self, record: Made) -> None:
        spans = {
            "llm": TimedSpan(samples_s=[0.2], flops=1.0),
            "whole": TimedSpan(samples_s=[0.0]),
        }
        _, rates = tables(render_record(record(spans=spans, ops=[]), "md"))
        assert [row[1] for row in rates[1:]] == ["-", "-"]


class TestFacts:
    def found(self, record: Record) -> dict[str, str]:
        return dict(facts(record))

    def test_the_median_is_known_to_half_its_interval(self, record: Made) -> None:
        made = record(spans={"whole": TimedSpan(samples_s=[1.0 + i / 100 for i in range(21)])})
        summary = made.whole.summary
        assert summary.ci_low_s is not None
        assert summary.ci_high_s is not None
        half = (summary.ci_high_s - summary.ci_low_s) / 2 / 1.1
        assert self.found(made)["Samples"] == f"21, the median known to ±{percent(half)} (95 %)"

    @pytest.mark.parametrize(
        ("given", "decode_s", "pace"),
        [
            ({"stage": "decode", "batch": 4, "output_tokens": 9}, 0.02, "20.0 ms a step, 200"),
            ({"stage": "generate", "batch": 1, "output_tokens": 4}, 0.2, "50.0 ms a step, 20.0"),
            ({"stage": "decode"}, 0.0, None),
        ],
    )
    def test_how_fast_an_answer_grows(
        self, given: dict[str, Any], decode_s: float, pace: str | None, record: Made
    ) -> None:
        spans = record().spans | {"decode": TimedSpan(samples_s=[decode_s])}
        found = self.found(record(inputs=given, spans=spans))
        assert found.get("Decode") == (None if pace is None else f"{pace} tokens/s")
        assert "Decode" not in self.found(record(inputs=given))

    def test_sensors_are_read_while_it_runs_or_else_at_its_ends(self, record: Made) -> None:
        def moment(clock: float | None, **known: Any) -> Snapshot:
            return Snapshot(taken_at_s=0.0, sm_clock_mhz=clock, **known)

        ends: dict[str, Any] = {"before": moment(1000.0), "after": moment(1400.0)}
        during = [moment(100.0), moment(None), moment(300.0), moment(900.0)]
        for telemetry, expected in (
            (Telemetry(**ends), "1200 MHz"),
            (Telemetry(before=ends["before"]), "1000 MHz"),
            (Telemetry(during=during, **ends), "300 MHz"),
        ):
            assert self.found(record(telemetry=telemetry))["Sensors"] == expected

    def test_each_sensor_has_its_limit_and_its_unit(self, record: Made) -> None:
        moments = [
            Snapshot(taken_at_s=0.0, power_w=300.0, power_limit_w=700.0, temperature_c=50.4),
            Snapshot(taken_at_s=1.0, sm_clock_mhz=1500.0, throttle=["heat", "power"]),
            Snapshot(taken_at_s=2.0, throttle=["heat"]),
            Snapshot(taken_at_s=3.0, throttle=[]),
        ]
        assert self.found(record(telemetry=Telemetry(during=moments)))["Sensors"] == (
            "1500 MHz, 300 of 700 W, 50 °C, heat in 2 of 3 looks, power in 1 of 3 looks"
        )

    def test_software_is_named_with_its_version(self, record: Made) -> None:
        assert self.found(record())["Software"] == (
            "torch 2.13.0, transformers 5.23.0, CUDA 12.8, driver 570.1, threads 16"
        )
        around = {"torch": "2", "cuda": None, "threads": 0}
        bare = record(environment=around, telemetry=Telemetry())
        assert self.found(bare)["Software"] == "torch 2"

    def test_facts_stand_in_one_order(self, record: Made) -> None:
        spans = record().spans | {"decode": TimedSpan(samples_s=[0.2])}
        made = record(
            spans=spans, inputs={"stage": "decode"}, warnings=["w", "v"], notes=["n", "o"]
        )
        assert [label for label, _ in facts(made)] == [
            *("Samples", "Decode", "Device busy", "Peak memory", "Energy", "Sensors", "Software"),
            *("Warning", "Warning", "Note", "Note"),
        ]


class TestOps:
    def test_shares_are_of_all_ops_and_the_untimed_stand_behind(self, record: Made) -> None:
        ops = [
            Achieved("llm", "c", "linear", 1, 1, None, None, None),
            Achieved("llm", "a", "linear", 2, 1, 0.1, None, 0.1, 8e12, 0.0, 0.25),
            Achieved("llm", "b", "linear", 3, 1, 0.5, None, 0.1, 0.0, 8e9, 0.5),
            Achieved("vision", "d", "linear", 4, 1, 0.4, None, 0.1),
        ]
        vision, llm = tables(render_record(record(ops=ops), "md"))[-2:]
        assert vision[1:] == [["d", "4", "400 ms", "40 %", "-", "-", "-"]]
        assert llm == [
            ["Op", "Count", "Time", "Share", "FLOP/s", "B/s", "Of roof"],
            ["b", "3", "500 ms", "50 %", "-", "8.00 G", "50 %"],
            ["a", "2", "100 ms", "10 %", "8.00 T", "-", "25 %"],
            ["c", "1", "-", "-", "-", "-", "-"],
        ]

    def test_an_untimed_op_is_not_slower_than_any_other(self, record: Made) -> None:
        """Not even than those that take hours, or no time at all."""
        ops = [
            Achieved("llm", name, "linear", 1, 1, seconds, None, None)
            for name, seconds in (("none", None), ("long", 7200.0), ("zero", 0.0), ("short", 1e-9))
        ]
        (found,) = tables(render_record(record(ops=ops), "md"))[-1:]
        assert [row[0] for row in found[1:]] == ["long", "short", "zero", "none"]

    def test_of_no_time_no_op_has_a_share(self, record: Made) -> None:
        ops = [
            Achieved("llm", "a", "linear", 1, 1, 0.0, None, None),
            Achieved("llm", "b", "linear", 1, 1, None, None, None),
        ]
        (found,) = tables(render_record(record(ops=ops), "md"))[-1:]
        assert [row[2:4] for row in found[1:]] == [["0 s", "-"], ["-", "-"]]


class TestComparison:
    def shared(self, *records: Record) -> str:
        names = [f"run-{i}" for i in range(len(records))]
        return " ".join(render_comparison(names, records, "table").partition("\n\n")[0].split())

    def test_what_is_the_same_is_said_once(self, record: Made) -> None:
        assert self.shared(record(), record()) == (
            "llava-1.5-7b, fp16, with prumerge, 40 visual tokens, 40 text tokens, batch 1, "
            "prefill, sdpa attention, eager, random weights, beside the spec h200, on NVIDIA H200, "
            "torch 2.13.0"
        )

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({"reducer": None}, "fp16, no reducer, 40 visual"),
            ({"checkpoint": "a/b"}, ", weights of a/b, "),
            ({"hardware": None}, ", beside no spec, on"),
            ({"output_tokens": 8}, ", 40 text tokens, batch 1, 8 output tokens, prefill"),
            ({"visual_tokens": 0}, "with prumerge, 40 text tokens"),
        ],
    )
    def test_what_is_absent_has_words(
        self, given: dict[str, Any], expected: str, record: Made
    ) -> None:
        assert expected in self.shared(record(inputs=given), record(inputs=given))

    def test_a_machine_that_says_nothing_is_not_named(self, record: Made) -> None:
        bare = record(environment={})
        assert self.shared(bare, bare).endswith("beside the spec h200")

    def test_each_run_has_what_only_it_has(self, record: Made) -> None:
        one, other = record(), record(inputs={"batch": 8, "reducer": None})
        lines = render_comparison(["a", "b"], [one, other], "md").split("\n\n")[1]
        assert lines.splitlines() == ["- a: with prumerge, batch 1", "- b: no reducer, batch 8"]

    @pytest.mark.parametrize("axis", [axis for axis in AXES if axis.name != "accounting"])
    def test_runs_are_told_apart_by_any_axis(self, axis: Axis, record: Made) -> None:
        values = (3, 4) if axis.is_count else ("one", "other")
        runs = [record(inputs={axis.name: value}) for value in values]
        text = render_comparison(["a", "b"], runs, "md").split("\n\n")[1]
        own = [line.partition(": ")[2] for line in text.splitlines()]
        assert [str(value) in line for value, line in zip(values, own, strict=True)] == [True, True]

    def test_json_has_names_as_they_are_written(self, record: Made) -> None:
        text = render_comparison(["größer"], [record()], "json")
        assert text.startswith('{\n "größer": {\n  "roofline_record"')

    def test_runs_alike_have_nothing_of_their_own(self, record: Made) -> None:
        assert render_comparison(["a", "b"], [record(), record()], "md").split("\n\n")[1][0] == "|"

    @pytest.mark.parametrize(("length", "lines"), [(22, 1), (23, 2), (44, 2), (45, 3)])
    def test_long_names_wrap_on_a_terminal_alone(
        self, length: int, lines: int, record: Made
    ) -> None:
        names = ["x" * length, "b"]
        text = render_comparison(names, [record(), record()], "table")
        table = next(part for part in text.split("\n\n") if part.startswith("Median"))
        assert sum(bool(re.match(r"x+", line)) for line in table.splitlines()) == lines
        assert "x" * length in render_comparison(names, [record(), record()], "md")

    def test_no_time_is_no_speed_up(self, record: Made) -> None:
        still = {"llm": TimedSpan(samples_s=[0.0]), "whole": TimedSpan(samples_s=[1.0])}
        moving = {"llm": TimedSpan(samples_s=[2.0]), "whole": TimedSpan(samples_s=[0.25])}
        records = [record(spans=spans) for spans in (still, moving, still)]
        speed_ups = tables(render_comparison(["a", "b", "c"], records, "md"))[1]
        assert speed_ups == [
            ["Speed-up", "llm", "whole"],
            ["a", "-", "1.00x"],
            ["b", "-", "4.00x"],
            ["c", "-", "1.00x"],
        ]
        turned = tables(render_comparison(["b", "a"], [records[1], records[0]], "md"))[1]
        assert turned[2] == ["a", "-", "0.250x"]

    def test_what_any_run_knows_is_a_column(self, record: Made) -> None:
        """Of roof 0.1 of 0.4 s; predicted 0.5; busy 4.2 of 6 ms."""
        known: dict[str, Any] = {"roofline_time_s": 0.1, "attainable_time_s": 0.5}
        one = record(spans={"whole": TimedSpan(samples_s=[0.4], **known)})
        other = record(
            spans={"whole": TimedSpan(samples_s=[0.4])},
            peak_memory_bytes=None,
            telemetry=Telemetry(),
            host=None,
        )
        besides = tables(render_comparison(["a", "b"], [other, one], "md"))[-1]
        assert besides == [
            ["Besides", "Of roof", "Prediction", "Peak memory", "Energy", "Busy", "Kernels"],
            ["a", *["-"] * 6],
            ["b", "25 %", "+25 %", "14.3 GB", "2.50 J", "70 %", "1234"],
        ]
        few = replace(one, host=None, telemetry=Telemetry())
        assert tables(render_comparison(["a", "b"], [other, few], "md"))[-1][0] == [
            *("Besides", "Of roof", "Prediction", "Peak memory")
        ]


class TestHowItRan:
    """Kernels of attention, lengths that are new, and whose memory it is."""

    @pytest.mark.parametrize(
        ("kernels", "text"),
        [
            ({"vision": ["flash"], "llm": ["flash"], "decode": ["flash"]}, "flash"),
            (
                {"vision": ["flash"], "llm": ["cudnn"], "decode": ["cudnn"]},
                "flash in vision, cudnn in llm and decode",
            ),
            ({"llm": ["flash", "math"]}, "flash and math"),
        ],
    )
    def test_attention(self, kernels: dict[str, list[str]], text: str, record: Made) -> None:
        assert dict(facts(record(attention_kernels=kernels)))["Attention"] == text

    def test_without_kernels_nothing_is_claimed(self, record: Made) -> None:
        assert "Attention" not in dict(facts(record()))

    @pytest.mark.parametrize(("first_s", "shown"), [(0.068, True), (0.0335, False)])
    def test_a_new_length_is_a_line_where_it_differs(
        self, first_s: float, shown: bool, record: Made
    ) -> None:
        """By a tenth or more of 31 ms; less is noise."""
        new = NewLength(tokens=618, first_s=first_s, again_s=0.031)
        rows = dict(facts(record(new_length=new)))
        assert ("New length" in rows) == shown
        if shown:
            assert rows["New length"] == (
                "a first prefill of 618 tokens takes the LLM 68.0 ms, the next 31.0 ms"
            )

    def test_memory_says_how_it_was_run(self, record: Made) -> None:
        eager = dict(facts(record(peak_memory_bytes=15e9)))
        graphs = dict(facts(record(peak_memory_bytes=15e9, graph_memory_bytes=1.5e9)))
        assert eager["Peak memory"] == "15.0 GB"
        assert graphs["Peak memory"] == "15.0 GB run eagerly; CUDA graphs hold 1.50 GB more"
