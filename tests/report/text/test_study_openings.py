"""How a report opens: on all deployments together, on each in a line, on records and scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from made_up_prompts import (
    GB,
    candidate,
    deployed,
    front_of,
    lawless,
    prompt,
    studied,
    totals,
    ways,
)

from roofline.explore.study import MeasuredRun, Study
from roofline.records.measurement import Record, TimedSpan
from roofline.report.document import Bullets, Paragraph
from roofline.report.text.study_answers import answer, brief, measured, name, ratio


def lines(study: Study) -> dict[str, str]:
    (bullets,) = (block for block in answer(study) if isinstance(block, Bullets))
    return dict(bullets.items)


def span(study: Study) -> str:
    """What is said of all deployments together."""
    first = answer(study)[0]
    assert isinstance(first, Paragraph)
    return first.text


class TestBriefly:
    def test_before_and_after_are_on_one_line(self) -> None:
        whole = lawless(100, 1.2)
        kept = lawless(20, 0.3, reducer="r", unreduced=whole, compute_s=0.0)
        slower = lawless(50, 0.6, reducer="r", unreduced=whole)
        assert brief(deployed(whole, slower, kept, ridge=3, floor=25)) == (
            "at least 1.20 s (compute), with r at 20 visual tokens at least 300 ms (memory): 4.0 "
            "times as fast; fewer stop paying at 25."
        )
        assert brief(deployed(whole, kept)).endswith("4.0 times as fast.")

    def test_a_prompt_alone_has_its_time(self) -> None:
        alone = deployed(prompt(100, totals(0.1, 0.4, error_s=0.1)), lawless(20, 0.2))
        assert brief(alone) == "400 ms (compute)."

    @pytest.mark.parametrize(
        ("whole_gb", "kept_gb", "end"),
        [
            (13, 13, "4.0 times as fast."),
            (15, 13, "4.0 times as fast. Without reduction it does not fit."),
            (
                16,
                15,
                "4.0 times as fast. Needs 15.0 GB of 14.0 GB. Without reduction it does not fit.",
            ),
            (13, 15, "4.0 times as fast. Needs 15.0 GB of 14.0 GB."),
        ],
    )
    def test_what_does_not_fit_is_said(self, whole_gb: int, kept_gb: int, end: str) -> None:
        def of(roofline_s: float, needs_gb: float) -> Any:
            cache = (needs_gb - 11) * GB
            return totals(roofline_s, kv_cache_bytes=cache, device_memory_bytes=14 * GB)

        whole = prompt(100, of(1.2, whole_gb))
        kept = prompt(20, of(0.3, kept_gb), reducer="r", unreduced=whole)
        assert brief(deployed(whole, kept)).endswith(end)
        alone = brief(deployed(prompt(100, of(1.2, whole_gb))))
        needs = f"at least 1.20 s (compute). Needs {whole_gb}.0 GB of 14.0 GB."
        assert alone == (needs if whole_gb > 14 else "at least 1.20 s (compute).")


class TestAllTogether:
    def test_a_saving_over_what_does_not_fit_says_so(self) -> None:
        """101 GB of 100 before, 13 after: four times as fast; three times where both fit."""
        whole = [prompt(100, totals(1.2, weight_bytes=w * GB)) for w in (10, 98)]
        kept = [
            prompt(20, totals(roofline_s), reducer="r", unreduced=one)
            for roofline_s, one in zip((0.4, 0.3), whole, strict=True)
        ]
        study = studied(deployed(whole[0], kept[0]), deployed(whole[1], kept[1]))
        text = str(answer(study)[0])
        assert "3.0 times as fast (m on d, fp16, r at 20 visual tokens) to 4.0 times" in text
        assert "(m on d, fp16, r at 20 visual tokens, over a prompt that does not fit)." in text

    def test_the_shortest_and_the_longest_prefill_are_named(self) -> None:
        first = deployed(lawless(100, 0.4), lawless(20, 0.3))
        other = deployed(lawless(100, 0.5, hardware="e"), lawless(20, 0.2, hardware="e"))
        assert span(studied(first, other)).startswith(
            "4 prompts: prefill takes from at least 200 ms (m on e, fp16, 20 visual tokens) to at "
            "least 500 ms (m on e, fp16, 100 visual tokens)."
        )

    def test_the_least_and_the_largest_gain_are_named(self) -> None:
        study = studied(ways(0.4, 0.3), ways(0.1, 0.6, whole_s=0.6, hardware="e"))
        assert span(study).endswith(
            " Fewer visual tokens make it no faster (m on e, fp16, r1 at 21 visual tokens) to 6.0 "
            "times as fast (m on e, fp16, r0 at 20 visual tokens)."
        )

    def test_without_reduced_prompts_there_is_no_gain(self) -> None:
        study = studied(deployed(lawless(100, 0.4)), deployed(lawless(100, 0.5, hardware="e")))
        assert span(study).endswith("(m on e, fp16, 100 visual tokens).")

    def test_ties_are_counted_apart_from_gains(self) -> None:
        whole = prompt(100, totals(0.1, 1.0, error_s=0.2))
        tie, gain = (
            prompt(n, totals(0.1, roofline_s, error_s=0.1), reducer="r", unreduced=whole)
            for n, roofline_s in ((30, 0.9), (20, 0.5))
        )
        text = span(studied(deployed(whole, tie, gain), deployed(lawless(9, 1.0, hardware="e"))))
        assert (
            "Fewer visual tokens make it 2.0 times as fast (m on d, fp16, r at 20 visual tokens) "
            "to 2.0 times as fast (m on d, fp16, r at 20 visual tokens). Of 1 with fewer the "
            "difference is inside the error band."
        ) in text
        alone = span(studied(deployed(whole, tie), deployed(lawless(9, 1.0, hardware="e"))))
        assert "Fewer visual tokens" not in alone
        assert "Of 1 with fewer" in alone

    def test_bounds_are_no_gains_beside_attainable_times(self) -> None:
        whole = prompt(100, totals(0.1, 1.0, error_s=0.01))
        kept = prompt(20, totals(0.1, 0.5, error_s=0.01), reducer="r", unreduced=whole)
        text = span(studied(deployed(whole, kept), ways(0.1, 0.01, hardware="e")))
        gains = text.partition("Fewer visual tokens")[2]
        assert "2.0 times" in gains
        assert "on e" not in gains

    def test_prompts_that_do_not_fit_are_counted(self) -> None:
        crowded = deployed(
            *(lawless(n, 0.4, hardware="e", kv_cache_bytes=90 * GB) for n in (10, 20, 30))
        )
        roomy = deployed(lawless(100, 0.4))
        assert " 3 of them do not fit into the device's memory." in span(studied(roomy, crowded))
        other = deployed(lawless(100, 0.4, hardware="f"))
        assert "fit" not in span(studied(roomy, other))

    @pytest.mark.parametrize(
        ("count", "together", "brief_ones", "lines_"),
        [(1, 0, False, 1), (2, 1, False, 2), (6, 1, False, 6), (7, 1, True, 7), (24, 1, True, 24)],
    )
    def test_a_few_have_a_paragraph_each_and_more_a_line(
        self, count: int, together: int, brief_ones: bool, lines_: int
    ) -> None:
        made = [deployed(lawless(100, 0.4, hardware=f"d{i}")) for i in range(count)]
        blocks = answer(studied(*made))
        bullets = blocks[-1]
        assert isinstance(bullets, Bullets)
        assert len(blocks) == 1 + together
        assert [label for label, _ in bullets.items] == [f"m on d{i}, fp16." for i in range(count)]
        assert len(bullets.items) == lines_
        assert ("Prefill of" not in bullets.items[0][1]) is brief_ones

    def test_beyond_24_the_tables_tell(self) -> None:
        made = [deployed(lawless(100, 0.4, hardware=f"d{i}")) for i in range(25)]
        (paragraph,) = answer(studied(*made))
        assert isinstance(paragraph, Paragraph)

    def test_what_was_left_out_and_measured_follows(self, record: Callable[..., Record]) -> None:
        study = studied(
            deployed(lawless(100, 0.4)),
            skipped=("d has no fp8 peak",),
            records=(MeasuredRun("run-1", record()),),
        )
        found = lines(study)
        assert list(found) == ["m on d, fp16.", "Left out.", "Measured, run-1."]
        assert found["Left out."] == "d has no fp8 peak."
        assert found["Measured, run-1."] == measured(record())

    def test_counts_are_named_where_a_study_has_several(self) -> None:
        few, many = (deployed(lawless(9, 0.4, batch=n, text_tokens=7)) for n in (1, 8))
        assert name(few, studied(few)) == "m on d, fp16"
        assert name(many, studied(few, many)) == "m on d, fp16, batch 8"


class TestMeasured:
    def test_a_run_is_named_by_all_that_was_asked(self, record: Callable[..., Record]) -> None:
        assert measured(record()) == (
            "llava-1.5-7b with prumerge, 40 visual tokens, prefill, fp16, eager, on NVIDIA H200: "
            "6.10 ms, 56 % of the roof; predicted -4.1 %."
        )

    def test_a_prediction_that_is_too_slow_is_positive(self, record: Callable[..., Record]) -> None:
        spans = {"whole": TimedSpan(samples_s=[0.5], attainable_time_s=0.6)}
        assert measured(record(spans=spans)).endswith(": 500 ms; predicted +20 %.")

    def test_what_is_not_known_is_not_said(self, record: Callable[..., Record]) -> None:
        spans = {"whole": TimedSpan(samples_s=[0.5])}
        given = {"reducer": None, "stage": "decode"}
        made = record(spans=spans, inputs=given, environment={"torch": "2"})
        assert measured(made) == (
            "llava-1.5-7b, 40 visual tokens, decode, fp16, eager, on cuda: 500 ms."
        )


class TestScores:
    def quickest(self, **given: Any) -> Any:
        """Of methods that score 70, 69.5 and 60 in 300, 200 and 100 ms."""
        slow, middle, quick = (
            lawless(n, roofline_s) for n, roofline_s in ((100, 0.3), (50, 0.2), (10, 0.1))
        )
        methods = candidate("All", 70, slow), candidate("Half", 69.5, middle)
        return front_of(*methods, candidate("Few", 60, quick), **given)

    def test_the_quickest_within_a_point_of_the_best_is_named(self) -> None:
        study = studied(deployed(lawless(9, 0.4)), fronts=(self.quickest(),))
        assert lines(study)["Accuracy, d, fp16."] == (
            "Quickest prefill within one point of the best that fits: B Half at 50 tokens, An-LLM "
            "(69.5, best 70.0)."
        )

    def test_places_that_choose_alike_are_named_together(self) -> None:
        other = front_of(candidate("Few", 60, lawless(10, 0.1)), hardware="f")
        fronts = self.quickest(), self.quickest(name="C"), self.quickest(hardware="e")
        both = self.quickest(hardware="e", name="C")
        found = lines(studied(deployed(lawless(9, 0.4)), fronts=(*fronts, both, other)))
        half = "Half at 50 tokens, An-LLM (69.5, best 70.0)"
        assert found["Accuracy, d, fp16; e, fp16."].endswith(f": B {half}; C {half}.")
        assert "B Few at 10 tokens, An-LLM (60.0, best 60.0)" in found["Accuracy, f, fp16."]

    def test_places_have_the_counts_of_prompts_that_vary(self) -> None:
        few, many = (deployed(lawless(9, 0.4, batch=n)) for n in (1, 8))
        study = studied(few, many, fronts=tuple(self.quickest(batch=n) for n in (1, 8)))
        assert [label for label in lines(study) if label.startswith("Acc")] == [
            "Accuracy, d, fp16, batch 1; d, fp16, batch 8."
        ]

    def test_where_nothing_fits_that_is_said(self) -> None:
        large = lawless(9, 0.1, weight_bytes=200 * GB)
        study = studied(deployed(lawless(9, 0.4)), fronts=(front_of(candidate("All", 70, large)),))
        assert lines(study)["Accuracy, d, fp16."].startswith("None of the models fits")

    @pytest.mark.parametrize(("targets", "listed"), [(6, 6), (7, 0)])
    def test_up_to_six_places_that_differ_are_told_of(self, targets: int, listed: int) -> None:
        fronts = (
            front_of(candidate(f"M{i}", 60, lawless(10, 0.1)), hardware=f"d{i}")
            for i in range(targets)
        )
        found = lines(studied(deployed(lawless(9, 0.4)), fronts=tuple(fronts)))
        assert len([label for label in found if label.startswith("Accuracy")]) == listed


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.1, "1.1"), (1.0999, "1.10"), (9.99, "10"), (10, "10.0"), (0.5, "0.50"), (1, "1.0")],
)
def test_ratios_near_one_and_from_ten_on_have_three_digits(value: float, shown: str) -> None:
    assert ratio(value) == shown
