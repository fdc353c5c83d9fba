"""Records as text: what they say, and that they fit a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from roofline.records.measurement import Record, Snapshot, Telemetry, TimedSpan
from roofline.report.text.record import render_record
from roofline.report.text.record_comparison import render_comparison

Made = Callable[..., Record]


def row(text: str, name: str, table: int = 0) -> list[str]:
    """Cells of the line that begins with a name: of the first, second, … such line."""
    lines = [line for line in text.splitlines() if re.match(rf"{re.escape(name)}(\s|$)", line)]
    return re.split(r"\s{2,}", lines[table])


class TestARecord:
    def test_times_stand_beside_the_roof_and_the_prediction(self, record: Made) -> None:
        text = render_record(record(), "table")

        assert row(text, "Component") == [
            *("Component", "Median", "p10", "p90", "Roofline", "Of roof", "Predicted", "Error")
        ]
        assert row(text, "llm") == [  # 3 of 4 ms; 4.1 against 4
            *("llm", "4.00 ms", "3.84 ms", "4.16 ms", "3.00 ms", "75 %", "4.10 ms", "+2.5 %")
        ]
        assert row(text, "reducer")[5:] == ["0.20 %", "1.20 ms", "-25 %"]

    def test_rates_follow_from_the_median(self, record: Made) -> None:
        text = render_record(record(), "table")

        assert row(text, "llm", 1) == [  # 1.04 TFLOP in 4 ms of 6.1
            *("llm", "66 %", "1.04 TFLOP", "14.2 GB", "260 T", "3.55 T")
        ]

    def test_what_is_not_known_is_no_column(self, record: Made) -> None:
        spans = {name: TimedSpan(samples_s=span.samples_s) for name, span in record().spans.items()}
        text = render_record(record(spans=spans), "table")

        assert row(text, "Component") == ["Component", "Median", "p10", "p90"]
        assert "FLOP" not in text.partition("op by op")[0]

    def test_work_without_a_roof_is_shown(self, record: Made) -> None:
        spans = {
            name: replace(span, roofline_time_s=None, attainable_time_s=None)
            for name, span in record().spans.items()
        }
        text = render_record(record(spans=spans), "table")

        assert row(text, "Component") == ["Component", "Median", "p10", "p90"]
        assert row(text, "llm", 1)[2:] == ["1.04 TFLOP", "14.2 GB", "260 T", "3.55 T"]

    def test_facts(self, record: Made) -> None:
        text = render_record(record(warnings=["it shook"], notes=["no thermometer"]), "table")

        assert row(text, "Samples")[1].startswith("10, the median known to ±")
        assert (
            row(text, "Device busy")[1] == "4.20 ms of 6.00 ms (70 %), 1234 kernels: launch-bound"
        )
        assert row(text, "Peak memory")[1] == "14.3 GB"
        assert row(text, "Energy")[1] == "2.50 J a run"
        assert row(text, "Sensors")[1] == "1755 of 1980 MHz, 512 of 700 W, 61 °C, not throttled"
        assert row(text, "Software")[1].endswith("CUDA 12.8, driver 570.1, threads")
        assert row(text, "Warning")[1] == "it shook"
        assert row(text, "Note")[1] == "no thermometer"

    def test_throttling_is_counted(self, record: Made) -> None:
        moments = [
            Snapshot(taken_at_s=0.0, throttle=reasons)
            for reasons in ([], ["power cap"], ["power cap"])
        ]
        text = render_record(record(telemetry=Telemetry(during=[*moments, *moments])), "table")

        assert row(text, "Sensors")[1] == "power cap in 4 of 6 looks"

    def test_of_a_device_that_says_nothing_nothing_is_said(self, record: Made) -> None:
        silent = [Snapshot(taken_at_s=0.0)]
        text = render_record(
            record(telemetry=Telemetry(during=silent), host=None, peak_memory_bytes=None), "table"
        )

        labels = {line.partition("  ")[0] for line in text.splitlines()}
        assert not labels & {"Sensors", "Device busy", "Energy", "Peak memory"}

    def test_few_samples_bound_nothing(self, record: Made) -> None:
        text = render_record(record(spans={"whole": TimedSpan(samples_s=[1.0, 1.1])}), "table")

        assert row(text, "Samples")[1] == "2, too few to bound the median"

    def test_decode_has_a_pace(self, record: Made) -> None:
        spans = {**record().spans, "decode": TimedSpan(samples_s=[0.2])}
        axes = {"stage": "generate", "output_tokens": 10, "batch": 4}
        text = render_record(record(inputs=axes, spans=spans), "table")

        assert row(text, "Decode")[1] == "20.0 ms a step, 200 tokens/s"  # 4 each 20 ms
        assert "prefill and 10 output tokens" in text

    def test_ops_are_grouped_by_component_and_the_slowest_come_first(self, record: Made) -> None:
        text = render_record(record(), "table")
        titles = [line for line in text.splitlines() if line.endswith(("op by op", "components"))]

        assert titles == [
            *("vision, op by op", "reducer, op by op", "llm, op by op", "outside components")
        ]
        llm = text.partition("llm, op by op")[2]
        assert [line.split()[0] for line in llm.splitlines()[4:7]] == ["q_proj", "norm", "other"]
        assert row(llm, "q_proj") == [
            *("q_proj", "32", "300 µs", "56 %", "900 T", "3.00 T", "67 %")
        ]
        assert row(llm, "norm") == ["norm", "1", "20.0 µs", "3.7 %", "-", "130 G", "0.34 %"]
        assert row(llm, "other") == ["other", "-", "10.0 µs", "1.9 %", "-", "-", "-"]

    def test_an_op_that_could_not_be_timed_has_no_time(self, record: Made) -> None:
        assert row(render_record(record(), "table"), "score")[1:] == ["-"] * 6

    def test_a_partial_record_says_so(self, record: Made) -> None:
        assert "Interrupted" in render_record(record(complete=False), "table")
        assert "Interrupted" not in render_record(record(), "table")

    def test_lines_fit_a_terminal(self, record: Made) -> None:
        long = "a warning of quite some length, as they may be " * 4
        ops = [replace(op, name="post_attention_layernorm") for op in record().ops]
        spans = {  # as wide as numbers get
            name: TimedSpan(
                samples_s=[9.99e-6 * k for k in range(1, 11)],
                flops=9.99e14,
                memory_access_bytes=9.99e11,
                roofline_time_s=9.99e-6,
                attainable_time_s=9.99e-5,
            )
            for name in ("connector", "whole")
        }
        around = {"device": "An Accelerator of the Longest Name That Anybody Has Ever Made (80 GB)"}
        text = render_record(
            record(ops=ops, spans=spans, warnings=[long], environment=around), "table"
        )

        assert max(map(len, text.splitlines())) <= 80

    def test_json_is_the_file(self, record: Made) -> None:
        assert render_record(record(), "json").encode() == record().to_json()

    def test_markdown(self, record: Made) -> None:
        text = render_record(record(), "md")

        assert "| llm       | 4.00 ms |" in text
        assert "- Peak memory: 14.3 GB" in text


class TestSideBySide:
    @pytest.fixture
    def pair(self, record: Made) -> list[Record]:
        """Without a reducer, 2 times as slow as a whole and 4 times in the LLM; and with one."""
        slow = {
            "vision": TimedSpan(samples_s=[5e-4]),
            "llm": TimedSpan(samples_s=[16e-3]),
            "whole": TimedSpan(samples_s=[12.2e-3]),
        }
        without = record(
            inputs={"reducer": None, "visual_tokens": 576}, spans=slow, peak_memory_bytes=2e10
        )
        return [without, record()]

    def test_speed_ups_are_against_the_first(self, pair: list[Record]) -> None:
        text = render_comparison(["all", "few"], pair, "table")

        assert row(text, "Median") == ["Median", "vision", "llm", "reducer", "whole"]
        assert row(text, "all", 1) == ["all", "500 µs", "16.0 ms", "-", "12.2 ms"]
        assert row(text, "few", 1) == ["few", "500 µs", "4.00 ms", "1.60 ms", "6.10 ms"]
        assert row(text, "all", 2) == ["all", "1.00x", "1.00x", "-", "1.00x"]
        assert row(text, "few", 2) == ["few", "1.00x", "4.00x", "-", "2.00x"]

    def test_what_differs_is_told_apart_from_what_does_not(self, pair: list[Record]) -> None:
        text = render_comparison(["all", "few"], pair, "table")
        shared = text.partition("\n\n")[0].replace("\n", " ")

        assert shared.startswith("llava-1.5-7b, fp16, 40 text tokens, batch 1, prefill")
        assert "visual" not in shared
        assert "output tokens" not in shared
        assert row(text, "all")[1] == "no reducer, 576 visual tokens"
        assert row(text, "few")[1] == "with prumerge, 40 visual tokens"

    def test_other_machines_are_told(self, pair: list[Record]) -> None:
        other = replace(pair[1], environment={"device": "NVIDIA A100", "torch": "2.12.0"})
        text = render_comparison(["here", "there"], [pair[1], other], "table")

        assert row(text, "here")[1] == "on NVIDIA H200, torch 2.13.0"
        assert row(text, "there")[1] == "on NVIDIA A100, torch 2.12.0"

    def test_alike(self, record: Made) -> None:
        text = render_comparison(["one", "two"], [record(), record()], "table")

        assert [part.split()[0] for part in text.split("\n\n")] == [
            *("llava-1.5-7b,", "Median", "Speed-up", "Besides")
        ]

    def test_what_else_is_known(self, pair: list[Record]) -> None:
        text = render_comparison(["all", "few"], pair, "table")

        assert row(text, "Besides") == [
            *("Besides", "Of roof", "Prediction", "Peak memory", "Energy", "Busy", "Kernels")
        ]
        assert row(text, "all", 3) == ["all", "-", "-", "20.0 GB", "2.50 J", "70 %", "1234"]
        assert row(text, "few", 3)[1:4] == ["56 %", "-4.1 %", "14.3 GB"]  # 3.4 and 5.85 of 6.1

    def test_columns_that_nobody_knows_are_left_out(self, record: Made) -> None:
        bare = record(
            spans={"whole": TimedSpan(samples_s=[1.0])},
            peak_memory_bytes=None,
            telemetry=Telemetry(),
            host=None,
        )

        assert "Besides" not in render_comparison(["one", "two"], [bare, bare], "table")

    def test_one_record_alone(self, record: Made) -> None:
        text = render_comparison(["one"], [record()], "table")

        assert "Speed-up" not in text
        assert row(text, "one")[-1] == "6.10 ms"

    def test_warnings_name_their_run(self, record: Made) -> None:
        text = render_comparison(["a", "b"], [record(), record(warnings=["it shook"])], "table")

        assert text.endswith("b  it shook\n")

    @pytest.mark.parametrize("count", [2, 9])
    def test_any_number_fits_a_terminal(self, count: int, record: Made) -> None:
        spans = {
            name: TimedSpan(samples_s=[1.11e-3])
            for name in ("vision", "reducer", "connector", "llm", "decode", "whole")
        }
        records = [
            record(inputs={"visual_tokens": n}, spans=spans, warnings=["it shook " * 20])
            for n in range(count)
        ]
        names = [f"llava-1.5-7b-with-prumerge-and-{n}-visual-tokens" for n in range(count)]
        text = render_comparison(names, records, "table")

        assert max(map(len, text.splitlines())) <= 80
        assert max(map(len, render_comparison(names, records, "md").splitlines())) > 80

    def test_json_has_every_record_whole(self, pair: list[Record]) -> None:
        documents = json.loads(render_comparison(["all", "few"], pair, "json"))

        assert list(documents) == ["all", "few"]
        assert documents["few"] == json.loads(pair[1].to_json())
