"""Several estimates: a row for each with its own figures, and what is said of all of them."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from made_up_prompts import GB, against, estimated, op, totals

from roofline import analyze, count
from roofline.engine.estimate import Counts
from roofline.report.text.estimates import render
from roofline.units import si


def blocks(estimates: Sequence[Counts], form: str = "md") -> list[str]:
    return render(estimates, form).rstrip("\n").split("\n\n")


def rows(estimates: Sequence[Counts]) -> list[dict[str, str]]:
    """Of the one table in Markdown: cells by their headers."""
    (grid,) = (block for block in blocks(estimates) if block.startswith("|"))
    lines = grid.replace("\\*", "*").splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], line, strict=True)) for line in cells[2:]]


def heading(*estimates: Counts) -> list[str]:
    return blocks(estimates)[0].splitlines()


FULL = totals(0.6, 0.8, error_s=0.04)
KEPT = totals(0.1, 0.2, error_s=0.02, compute_s=0.0, flops=7e12)


class TestRows:
    def test_without_laws_the_roofline_stands_alone(self) -> None:
        full, kept = totals(0.6), totals(0.1, memory_access_bytes=5 * GB, kv_cache_bytes=1 * GB)
        several = [
            estimated(full),
            estimated(kept, visual_tokens=20, comparison=against(full, kept)),
        ]
        assert rows(several) == [
            {
                "Visual": "100",
                "FLOPs": "500 T",
                "Traffic": "20.0 GB",
                "Roofline": "600 ms",
                "Bound": "compute",
                "Memory": "13.0 GB",
                "Saves": "-",
            },
            {
                "Visual": "20",
                "FLOPs": "500 T",
                "Traffic": "5.00 GB",
                "Roofline": "100 ms",
                "Bound": "compute",
                "Memory": "12.0 GB",
                "Saves": "6.0x",
            },
        ]
        assert "Saves: roofline time against all visual tokens." in blocks(several)[1]

    def test_with_laws_attainable_times_stand_beside_it(self) -> None:
        several = [
            estimated(KEPT, comparison=against(FULL, KEPT)),
            estimated(totals(0.0), hardware="e"),
        ]
        assert rows(several) == [
            {
                "Hardware": "d",
                "FLOPs": "7.00 T",
                "Roofline": "100 ms",
                "Attainable": "200 ms ±10 %",
                "Bound": "memory",
                "Memory": "13.0 GB",
                "Saves": "4.0x (6.0x)",
            },
            {
                "Hardware": "e",
                "FLOPs": "500 T",
                "Roofline": "0 s",
                "Attainable": "-",
                "Bound": "-",
                "Memory": "13.0 GB",
                "Saves": "-",
            },
        ]
        caption = blocks(several)[1]
        assert "Saves: attainable time against all visual tokens" in caption

    def test_an_exact_time_has_no_band(self) -> None:
        several = [estimated(totals(0.1, 0.2)), estimated(totals(0.1, 0.2, error_s=0.0), batch=2)]
        assert [row["Attainable"] for row in rows(several)] == ["200 ms", "200 ms"]

    def test_without_comparisons_nothing_saves(self) -> None:
        several = [estimated(totals(0.1)), estimated(totals(0.1), batch=2)]
        assert "Saves" not in rows(several)[0]
        assert blocks(several)[1] == "All figures are end to end."

    def test_what_does_not_fit_is_marked_and_explained(self) -> None:
        large, full = totals(0.1, weight_bytes=98 * GB), totals(0.6, weight_bytes=97.5 * GB)
        kept = totals(0.1)
        several = [
            estimated(large, batch=2),
            estimated(kept, comparison=against(full, kept)),
        ]
        found = rows(several)
        assert [row["Memory"] for row in found] == ["101 GB!", "13.0 GB"]
        assert [row["Saves"] for row in found] == ["-", "6.0x*"]
        notes = blocks(several)[3].splitlines()
        assert notes == [
            "!  more than the device's memory",
            "*  over a prompt that does not fit the device's memory",
        ]

    def test_only_marks_that_occur_are_explained(self) -> None:
        near = totals(0.1, 0.79, error_s=0.02)
        tie = [estimated(near, comparison=against(FULL, near)), estimated(near, batch=2)]
        assert rows(tie)[0]["Saves"] == "tie (6.0x)"
        assert blocks(tie)[3] == "tie: the difference is inside the error band"
        assert blocks([estimated(near), estimated(near, batch=2)])[3].startswith("- Peak")

    def test_counts_have_no_times(self) -> None:
        several = [count("llava-1.5-7b", visual_tokens=n) for n in (576, 40)]
        whole, kept = (one.end_to_end for one in several)
        assert rows(several) == [
            {
                "Visual": n,
                "FLOPs": si(part.flops, ""),
                "Traffic": si(part.memory_access_bytes, "B"),
                "Memory": si(part.peak_memory_bytes, "B"),
                "Saves": saves,
            }
            for n, part, saves in (
                ("576", whole, "-"),
                ("40", kept, f"{whole.flops / kept.flops:.1f}x"),
            )
        ]
        assert blocks(several)[1].endswith("Saves: FLOPs against all visual tokens.")
        same = [count("llava-1.5-7b", batch=n) for n in (1, 2)]
        assert "Saves" not in rows(same)[0]

    def test_each_device_and_mode_is_described_once(self) -> None:
        """Its name where there are several, its peaks, and what its laws rest on."""
        laws = [
            op("llm", "a", "linear", 0.1, attainable_time_s=0.2, attainable_origin=origin)
            for origin in ("typical", "fitted")
        ]
        several = [
            estimated(KEPT, ops=laws, quant=quant, batch=batch, hardware=name)
            for name, quant in (("d", "fp16"), ("e", "fp16"), ("e", "int8"))
            for batch in (1, 2)
        ]
        found = [block.splitlines() for block in blocks(several)[3:]]
        starts = [(lines[0], lines[1].partition(":")[0]) for lines in found]
        assert starts == [
            ("- Device: d (toy)", "- Peak, fp16"),
            ("- Device: e (toy)", "- Peak, fp16"),
            ("- Device: e (toy)", "- Peak, int8"),
        ]
        rests = "fitted from public measurements, typical for this architecture"
        assert {lines[-1] for lines in found} == {f"- Attainable: {rests}"}
        (alone,) = blocks([estimated(totals(0.1)), estimated(totals(0.1), batch=2)])[3:]
        assert "Device" not in alone
        assert "Attainable" not in alone

    def test_each_device_says_where_its_host_is_waited_for_if_that_is_one_number(self) -> None:
        def said(batches: Sequence[int], **options: Any) -> list[str]:
            several = [
                analyze("llava-1.5-7b", device, visual_tokens=40, batch=batch, **options)
                for device in ("a100-80gb", "h100-sxm")
                for batch in batches
            ]
            return re.findall(r"Launch-bound: (\w+)", render(several, "md"))

        assert said([1], runtime="eager") == ["never", "up"]
        assert said([1, 4], runtime="eager") == ["never"]  # the H100 has two numbers
        assert said([1], runtime="eager", stage="decode") == []
        assert said([1]) == []


class TestCaption:
    @pytest.mark.parametrize(
        ("made", "title"),
        [
            ([("lmm", "a"), ("lmm", "b")], "end to end."),
            ([("llm", "a"), ("llm", "b")], "the LLM's."),
            ([("vision", "a"), ("vision", "b")], "the vision encoder's."),
            ([("lmm", "a"), ("llm", "b"), ("llm", "c")], "end to end; of b, c the LLM's."),
            ([("llm", "b"), ("vision", "v")], "of b the LLM's; of v the vision encoder's."),
            ([("lmm", "a"), ("llm", "b"), ("llm", "b")], "end to end; of b the LLM's."),
        ],
    )
    def test_it_says_what_all_figures_are_of(self, made: list[tuple[str, str]], title: str) -> None:
        several = [
            estimated(totals(0.1), kind=kind, model=model, batch=i)
            for i, (kind, model) in enumerate(made)
        ]
        assert blocks(several)[1] == f"All figures are {title}"

    def test_two_components_are_end_to_end(self) -> None:
        parts = {"vision": totals(0.1), "llm": totals(0.1)}
        several = [estimated(totals(0.2), components=parts, batch=batch) for batch in (1, 2)]
        assert blocks(several)[1] == "All figures are end to end."


def widths(length: int, *, laws: bool = False) -> tuple[list[str], list[str], int]:
    """Titles, headers and the widest line of tables of two models with names of that length."""
    several = [
        estimated(totals(0.1, 0.2 if laws else None), model=letter * length, batch=batch)
        for letter in "mn"
        for batch in (1, 2)
    ]
    parts = blocks(several, "table")[2:]
    grids = [part for part in parts if "Roofline" in part]
    headers = grids[0].splitlines()[0].split()
    titles = [part for part in parts if re.fullmatch(r"[mn]+|batch \d", part)]
    return titles, headers, max(len(line) for grid in grids for line in grid.splitlines())


class TestRoom:
    """A terminal has 80 columns: a page has room for all of them."""

    ALL = ("Model", "Batch", "FLOPs", "Traffic", "Roofline", "Bound", "Memory")

    def test_columns_go_where_the_last_one_would_not_fit(self) -> None:
        """First traffic, then FLOPs; then the names of models are titles."""
        found = [widths(length) for length in range(1, 75)]
        kept: list[Any] = []
        for titles, headers, wide in found:
            assert wide <= 80
            if (state := (len(titles), tuple(headers))) not in kept:
                kept.append(state)
        assert kept == [
            (0, self.ALL),
            (0, tuple(h for h in self.ALL if h != "Traffic")),
            (0, tuple(h for h in self.ALL if h not in ("Traffic", "FLOPs"))),
            (2, self.ALL[1:]),
        ]
        # a column goes no sooner than it has to: just before, the line is full
        changes = [i for i in range(1, len(found)) if found[i][1] != found[i - 1][1]]
        assert [found[i - 1][2] for i in changes] == [80] * 3

    def test_names_that_are_too_long_for_any_line_still_have_their_tables(self) -> None:
        titles, headers, _ = widths(90)
        assert [title[0] for title in titles] == []
        several = [estimated(totals(0.1), model=letter * 90) for letter in "mn"]
        parts = blocks(several, "table")
        assert [part for part in parts if part.strip("mn") == ""] == ["m" * 90, "n" * 90]
        assert headers[0] == "Roofline"

    def test_with_laws_there_is_no_traffic_to_spare(self) -> None:
        _, headers, _ = widths(1, laws=True)
        assert headers == [
            *("Model", "Batch", "FLOPs", "Roofline", "Attainable", "Bound", "Memory")
        ]

    def test_tables_of_one_title_hold_its_rows_alone(self) -> None:
        several = [
            estimated(totals(t), model=letter * 60, batch=batch)
            for letter, batch, t in (("m", 1, 0.1), ("n", 1, 0.2), ("m", 2, 0.3), ("n", 2, 0.4))
        ]
        parts = blocks(several, "table")[2:6]
        assert parts[::2] == ["m" * 60, "n" * 60]
        times = [re.findall(r"(\d+) ms", part) for part in parts[1::2]]
        assert times == [["100", "300"], ["200", "400"]]


class TestHeading:
    def test_one_has_all_that_was_asked(self) -> None:
        assert heading(estimated(totals(0.1))) == [
            "m, prefill, on d (toy), fp16",
            "100 visual + 40 text tokens, batch 1, flash attention, kernels alone",
        ]

    def test_it_names_a_library_and_other_ways_than_the_usual_where_somebody_did(self) -> None:
        ways = {"kernels": "fused", "library": "vllm", "runtime": "vllm"}
        assert " ".join(heading(estimated(totals(0.1), **ways))[1:]).endswith(
            "flash attention, run by vllm, fused kernels, kernels of vllm"
        )

    @pytest.mark.parametrize(
        ("given", "title"),
        [
            ({"stage": "decode"}, "m, one decode step, on d (toy), fp16"),
            (
                {"stage": "generate", "output_tokens": 8},
                "m, prefill and 8 output tokens, on d (toy), fp16",
            ),
            ({"reducer": "r"}, "m, prefill with r, on d (toy), fp16"),
            ({"hardware": None}, "m, prefill, fp16"),
        ],
    )
    def test_the_title_says_what_runs_where(self, given: dict[str, Any], title: str) -> None:
        reducer = {"reducer": None} | given
        one = estimated(totals(0.1), **{k: v for k, v in given.items() if k != "reducer"})
        one.inputs["reducer"] = reducer["reducer"]
        assert heading(one)[0] == title

    @pytest.mark.parametrize(
        ("given", "start"),
        [
            ({"text_tokens": 0}, "100 visual tokens, batch 1,"),
            ({"visual_tokens": 0}, "40 text tokens, batch 1,"),
            ({"visual_tokens": 0, "text_tokens": 0}, "batch 1,"),
            ({"kind": "vision", "visual_tokens": 9}, "9 tokens, batch 1,"),
        ],
    )
    def test_tokens_are_named_that_there_are(self, given: dict[str, Any], start: str) -> None:
        assert heading(estimated(totals(0.1), **given))[1].startswith(start)

    @pytest.mark.parametrize(
        ("axis", "values", "lines"),
        [
            ("model", ("a", "b"), ("prefill, on d (toy), fp16", "100 visual + 40 text tokens")),
            ("hardware", ("d", "e"), ("m, prefill, fp16", "100 visual + 40 text tokens")),
            ("quant", ("fp16", "int8"), ("m, prefill, on d (toy)", "100 visual + 40 text tokens")),
            ("visual_tokens", (9, 8), ("m, prefill, on d (toy), fp16", "40 text tokens, batch 1")),
            ("text_tokens", (9, 8), ("m, prefill, on d (toy), fp16", "100 visual tokens, batch 1")),
            (
                "batch",
                (1, 2),
                ("m, prefill, on d (toy), fp16", "100 visual + 40 text tokens, flash"),
            ),
        ],
    )
    def test_what_differs_is_left_to_the_rows(
        self, axis: str, values: tuple[Any, Any], lines: tuple[str, str]
    ) -> None:
        title, tokens = heading(*(estimated(totals(0.1), **{axis: value}) for value in values))
        assert title == lines[0]
        assert tokens.startswith(lines[1])

    def test_reducers_and_lengths_that_differ_are_left_to_the_rows(self) -> None:
        found = [estimated(totals(0.1), stage="generate", output_tokens=n) for n in (4, 8)]
        assert heading(*found)[0] == "m, prefill and output tokens, on d (toy), fp16"
        for one, who in zip(found, ("r", None), strict=True):
            one.inputs["reducer"] = who
            one.inputs["output_tokens"] = 4
        assert heading(*found)[0] == "m, prefill and 4 output tokens, on d (toy), fp16"
        for one in found:
            one.inputs["stage"] = "prefill"
        assert heading(*found)[0] == "m, prefill, on d (toy), fp16"

    def test_towers_of_other_sizes_have_no_common_count(self) -> None:
        found = [estimated(totals(0.1), kind="vision", visual_tokens=n) for n in (9, 16)]
        assert heading(*found)[1] == "batch 1, flash attention, kernels alone"

    def test_beside_an_llm_a_tower_has_visual_tokens(self) -> None:
        found = [estimated(totals(0.1), kind=kind, model=kind) for kind in ("vision", "llm")]
        assert heading(*found)[1].startswith("100 visual + 40 text tokens, batch 1,")


class TestForPrograms:
    def test_csv_has_a_row_for_each_with_end_to_end_and_the_main_component(self) -> None:
        several = [
            analyze("llava-1.5-7b", "v100", visual_tokens=n, reducer=who)
            for n, who in ((40, "prumerge"), (576, None))
        ]
        found = list(csv.DictReader(io.StringIO(render(several, "csv"))))
        documents = json.loads(render(several, "json"))
        assert len(found) == 2
        for row, document in zip(found, documents, strict=True):
            comparison = document["comparison"] or {}
            expected = {
                **document["inputs"],
                **{f"end_to_end_{k}": v for k, v in document["end_to_end"].items()},
                **{f"llm_{k}": v for k, v in document["components"]["llm"].items()},
                "flops_saving": comparison.get("end_to_end", {}).get("flops_saving"),
                **{k: comparison.get(k) for k in ("speedup", "roofline_speedup", "tie")},
                "full_fits": comparison.get("full_fits"),
            }
            assert row == {k: "" if v is None else str(v) for k, v in expected.items()}

    def test_csv_of_ops_has_a_row_for_each_op(self) -> None:
        several = [analyze("llava-1.5-7b", "v100", visual_tokens=n) for n in (40, 50)]
        found = list(csv.DictReader(io.StringIO(render(several, "csv", per_op=True))))
        expected = [(one.inputs["visual_tokens"], o) for one in several for o in one.ops]
        assert len(found) == len(expected)
        for row, (count_, one) in zip(found, expected, strict=True):
            assert row["visual_tokens"] == str(count_)
            assert (row["component"], row["name"], row["layers"]) == (
                *(one.component, one.name, one.layers),
            )
            for name, seconds in one.resource_times_s.items():
                assert float(row[f"{name}_time_s"]) == pytest.approx(float(seconds))
            assert "resource_times_s" not in row

    def test_json_is_one_document_or_a_list(self) -> None:
        several = [analyze("llava-1.5-7b", "v100", visual_tokens=n) for n in (40, 50)]
        assert json.loads(render(several[:1], "json")) == several[0].to_dict()
        assert render(several[:1], "json").startswith('{\n  "inputs": {\n    "model"')
        assert json.loads(render(several, "json", per_op=True)) == [
            one.to_dict(per_op=True) for one in several
        ]
