"""Sentences about prompts of which a test chose every figure: who takes how long, and why."""

from __future__ import annotations

from typing import Any

import pytest
from made_up_prompts import GB, deployed, lawless, prompt, totals, ways
from msgspec.structs import replace

from roofline.explore.study import PricedPrompt, study
from roofline.report.text.study_answers import band, faster, in_full
from roofline.units import si

ANSWERS = (0, 8, 10)


class TestCosts:
    @pytest.mark.parametrize(
        ("given", "start"),
        [
            ({}, "Prefill of 100 visual and 40 text tokens takes "),
            ({"batch": 2}, "Prefill of 100 visual and 40 text tokens in a batch of 2 takes "),
            ({"batch": 1}, "Prefill of 100 visual and 40 text tokens takes "),
            ({"text_tokens": 0}, "Prefill of 100 visual tokens takes "),
        ],
    )
    def test_the_prompt_is_named_by_its_counts(self, given: dict[str, Any], start: str) -> None:
        assert in_full(deployed(lawless(100, 0.2, **given))).startswith(start)

    def test_text_alone_has_no_visual_tokens(self) -> None:
        text = in_full(deployed(lawless(0, 0.2, kind="llm")))
        assert text.startswith("Prefill of 40 text tokens takes at least 200 ms, bound by")

    def test_an_encoder_encodes_images(self) -> None:
        text = in_full(deployed(lawless(9, 0.2, kind="vision", batch=3)))
        assert text.startswith(
            "Encoding an image of 9 tokens in a batch of 3 takes at least 200 ms"
        )

    @pytest.mark.parametrize(("kind", "whole"), [("lmm", True), ("llm", False), ("vision", False)])
    def test_only_of_several_components_it_is_end_to_end(self, kind: str, whole: bool) -> None:
        assert ("end to end" in in_full(deployed(lawless(9, 0.2, kind=kind)))) is whole

    @pytest.mark.parametrize(("compute_s", "bound"), [(0.2, "compute"), (0.05, "memory")])
    def test_what_bounds_it_is_named(self, compute_s: float, bound: str) -> None:
        text = in_full(deployed(lawless(9, 0.2, compute_s=compute_s)))
        assert f"takes at least 200 ms, end to end, bound by {bound}." in text

    def test_an_attainable_time_has_its_band_its_origin_and_the_bound(self) -> None:
        one = prompt(9, totals(0.1, 0.4, error_s=0.04))
        assert (
            "takes 400 ms (360 ms to 440 ms, fitted from public measurements; 100 ms at the "
            "device's peaks), end to end"
        ) in in_full(deployed(one))

    def test_an_attainable_time_without_an_error_has_no_band(self) -> None:
        assert "takes 400 ms (-, fitted" in in_full(deployed(prompt(9, totals(0.1, 0.4))))

    def test_laws_that_nobody_names_have_no_origin(self) -> None:
        one = prompt(9, totals(0.1, 0.4, error_s=0.04), device={"kernel_laws": None})
        assert "takes 400 ms, end to end" in in_full(deployed(one))


class TestSavings:
    def test_one_way_is_told_with_what_bounds_it(self) -> None:
        whole = lawless(100, 1.2)
        kept = lawless(20, 0.3, reducer="r", unreduced=whole, compute_s=0.0)
        gain = "it takes at least 300 ms, 4.0 times as fast, bound by memory."
        assert f"With r at 20 visual tokens {gain}" in in_full(deployed(whole, kept))

    def test_two_or_three_ways_are_told_the_quickest_first(self) -> None:
        assert (
            "With r1 at 21 visual tokens it takes at least 300 ms, 4.0 times as fast, bound by "
            "compute; with r2 at 22 visual tokens at least 400 ms, 3.0 times as fast; with r0 at "
            "20 visual tokens at least 600 ms, 2.0 times as fast."
        ) in in_full(ways(0.6, 0.3, 0.4))

    def test_of_more_ways_the_quickest_and_the_slowest_are_told(self) -> None:
        assert (
            "Of 4 ways to have fewer, r2 at 22 visual tokens is the fastest: at least 200 ms, 6.0 "
            "times as fast, bound by compute; the slowest is r1 at 21 visual tokens: at least 600 "
            "ms, 2.0 times as fast."
        ) in in_full(ways(0.4, 0.6, 0.2, 0.3))

    def test_fewer_tokens_by_themselves_have_no_reducer(self) -> None:
        whole = lawless(100, 1.2)
        kept = lawless(20, 0.3, unreduced=whole)
        assert "With 20 visual tokens it takes at least 300 ms" in in_full(deployed(whole, kept))

    @pytest.mark.parametrize(
        ("own_s", "expected"),
        [
            (0.1, "; of what that saves, reducing takes 10.0 %."),  # 1.2 − (0.3 − 0.1) is 1 s
            (0.25, "; of what that saves, reducing takes 21.7 %."),  # 0.25 / 1.15
        ],
    )
    def test_of_one_way_the_share_of_reducing_is_told(self, own_s: float, expected: str) -> None:
        whole = lawless(100, 1.2)
        parts = {"reducer": totals(own_s), "llm": totals(0.3 - own_s)}
        kept = lawless(20, 0.3, reducer="r", unreduced=whole, components=parts)
        assert f"4.0 times as fast, bound by compute{expected}" in in_full(deployed(whole, kept))

    def test_the_share_of_reducing_has_the_digits_that_its_error_allows(self) -> None:
        """123 of 1123 ms are 10.95 %; known to ± a tenth, that is 11 %."""
        whole = prompt(100, totals(0.1, 1.3))
        own = totals(0.1, 0.123, error_s=0.0123)
        parts = {"reducer": own, "llm": totals(0.1, 0.177)}
        kept = prompt(20, totals(0.1, 0.3), reducer="r", unreduced=whole, components=parts)
        assert "reducing takes 11 %." in in_full(deployed(whole, kept))

    @pytest.mark.parametrize("kept_s", [1.2, 1.4])
    def test_reducing_that_saves_nothing_has_no_share(self, kept_s: float) -> None:
        """At 1.2 s, all that others save is what the reducer takes; beyond, it is more."""
        whole = lawless(100, 1.2)
        parts = {"reducer": totals(0.6), "llm": totals(kept_s - 0.6)}
        kept = lawless(20, kept_s, reducer="r", unreduced=whole, components=parts)
        text = in_full(deployed(whole, kept))
        assert "no faster" in text
        assert "reducing takes" not in text

    def test_a_difference_inside_the_error_is_a_tie(self) -> None:
        whole = prompt(100, totals(0.1, 1.0, error_s=0.2))
        kept = prompt(20, totals(0.05, 0.9, error_s=0.1), reducer="r", unreduced=whole)
        text = in_full(deployed(whole, kept))
        assert "it takes 900 ms, a tie inside the error band" in text
        assert "times as fast" not in text

    def test_a_saving_has_the_rooflines_beside_it(self) -> None:
        whole = prompt(100, totals(0.6, 1.0, error_s=0.01))
        kept = prompt(20, totals(0.2, 0.25, error_s=0.01), reducer="r", unreduced=whole)
        assert "it takes 250 ms, 4.0 times as fast (3.0 at the roofline)" in in_full(
            deployed(whole, kept)
        )

    def test_of_nothing_to_compare_with_nothing_is_faster(self) -> None:
        assert faster(None) == "no faster"

    def test_each_unreduced_prompt_is_followed_by_its_own(self) -> None:
        """Up to three of them: of more, the slowest and the quickest."""

        def found(count: int) -> str:
            wholes = [lawless(100 * (i + 1), 1.0 + i) for i in range(count)]
            kept = [
                lawless(10 * (i + 1), 0.5 + i / 10, reducer="r", unreduced=whole)
                for i, whole in enumerate(wholes)
            ]
            middle = wholes[1:-1]
            return in_full(deployed(*middle, wholes[-1], wholes[0], *kept))

        def counts_in(text: str) -> list[int]:
            starts = {n: text.find(f"Prefill of {n} visual") for n in (100, 200, 300, 400)}
            return sorted((n for n in starts if starts[n] >= 0), key=lambda n: starts[n])

        three, four = found(3), found(4)
        assert counts_in(three) == [200, 300, 100]
        assert counts_in(four) == [400, 100]
        assert "With r at 40 visual tokens it takes at least 800 ms" in four
        assert "With r at 10 visual tokens it takes at least 500 ms" in four
        assert "r at 20" not in four


class TestWhereFewerStopPaying:
    @pytest.mark.parametrize(
        ("ridge", "floor", "expected", "unsaid"),
        [
            (0, 25, ["bound by compute whatever the count", "stop paying at 25:"], "up to"),
            (1, 25, ["bound by memory up to 1 visual", "stop paying at 25:"], "at all"),
            (99, 25, ["bound by memory up to 99 visual", "stop paying at 25:"], "at all"),
            (100, 25, ["bound by memory at all counts up to 100;"], "whatever"),
            (30, 99, ["bound by memory up to 30 visual", "stop paying at 99:"], "hardly help"),
            (30, 100, ["bound by memory up to 30 visual", "fewer visual tokens hardly"], "stop"),
        ],
    )
    def test_it_is_told_by_both_counts(
        self, ridge: int, floor: int, expected: list[str], unsaid: str
    ) -> None:
        text = in_full(deployed(lawless(100, 1.0), ridge=ridge, floor=floor, most=100))
        assert all(words in text for words in expected)
        assert unsaid not in text

    @pytest.mark.parametrize(
        ("kept", "gain"),
        [
            ((10, 24), ", so that 24 are hardly faster than 25."),
            ((24, 10, 60), ", so that 24 are hardly faster than 25."),
            ((25, 60), "with a single one."),
        ],
    )
    def test_the_most_tokens_below_are_named(self, kept: tuple[int, ...], gain: str) -> None:
        whole = lawless(100, 1.0)
        fewer = (lawless(n, 0.5, reducer="r", unreduced=whole) for n in kept)
        text = in_full(deployed(whole, *fewer, ridge=30, floor=25))
        assert gain in text
        assert text.count("hardly faster") == gain.count("hardly")

    def test_without_a_curve_nothing_is_said(self) -> None:
        text = in_full(deployed(lawless(0, 1.0)))
        assert "stop paying" not in text
        assert "LLM" not in text


class TestTheFramework:
    @pytest.mark.parametrize(("host_s", "waits"), [(None, False), (0.3, False), (0.301, True)])
    def test_it_is_named_where_it_takes_longer_than_the_device(
        self, host_s: float | None, waits: bool
    ) -> None:
        one = lawless(20, 0.3, host_time_s=host_s)
        text = in_full(deployed(one))
        assert ("Eager PyTorch takes 301 ms to issue the kernels of 20 visual" in text) is waits
        assert ("Eager" in text) is waits

    def test_it_is_that_of_the_quickest_prompt(self) -> None:
        whole = lawless(100, 1.2, host_time_s=2.0)
        kept = lawless(20, 0.3, reducer="r", unreduced=whole, host_time_s=0.5)
        text = in_full(deployed(whole, kept))
        assert "takes 500 ms to issue the kernels of r at 20 visual tokens" in text
        assert "2.00 s" not in text


def with_answers(visual: int, *times_s: float, laws: bool = False, **given: Any) -> PricedPrompt:
    """Prompt and answers of 0, 8 and 10 tokens; 2, 4 and 6 GB of KV cache with them."""
    made = {
        n: totals(t / 2 if laws else t, t if laws else None, kv_cache_bytes=k * GB)
        for n, t, k in zip(ANSWERS, times_s, (2, 4, 6), strict=True)
    }
    return prompt(visual, made[0], answers=made, **given)


class TestAnswers:
    def test_an_unreduced_prompt_has_its_time_and_its_last_step(self) -> None:
        """2.4 s of 10 tokens, of which the last two take 0.4 s."""
        text = in_full(deployed(with_answers(100, 1.2, 2.0, 2.4)))
        assert (
            "With an answer of 10 tokens, the prompt takes at least 2.40 s; its last decode step "
            "at least 200 ms."
        ) in text

    def test_a_reduced_one_stands_beside_all_visual_tokens(self) -> None:
        whole = with_answers(100, 1.2, 1.6, 2.4)
        kept = with_answers(20, 0.4, 0.5, 0.6, reducer="r", unreduced=whole)
        text = in_full(deployed(whole, kept))
        assert (
            "With an answer of 10 tokens, r at 20 visual tokens takes at least 600 ms, 4.0 times "
            "as fast: the last decode step takes at least 50.0 ms, 400 ms with all visual tokens."
        ) in text

    def test_attainable_times_are_no_bounds(self) -> None:
        whole = with_answers(100, 1.2, 1.6, 2.4, laws=True)
        kept = with_answers(20, 0.4, 0.5, 0.6, reducer="r", unreduced=whole, laws=True)
        text = in_full(deployed(whole, kept))
        assert "r at 20 visual tokens takes 600 ms, 4.0 times as fast (4.0 at the roofline)" in text
        assert "at least" not in text

    def test_an_answer_over_what_does_not_fit_says_so(self) -> None:
        """Behind all visual tokens the answer takes 101 GB of 100, behind 20 of them 13."""
        small, large = totals(1.2), totals(2.4, weight_bytes=98 * GB)
        whole = prompt(100, small, answers={0: small, 9: small, 10: large})
        kept = with_answers(20, 0.4, 0.5, 0.6, reducer="r", unreduced=whole)
        assert "with all visual tokens. With those it does not fit: 101 GB." in in_full(
            deployed(whole, kept)
        )

    @pytest.mark.parametrize(("length", "expected"), [(1, "1 token,"), (2, "2 tokens,")])
    def test_one_token_is_one(self, length: int, expected: str) -> None:
        answers = {0: totals(1.0), length: totals(1.0 + length / 2)}
        text = in_full(deployed(prompt(100, answers[0], answers=answers)))
        assert f"an answer of {expected} the prompt takes at least" in text
        assert "; its last decode step at least 500 ms" in text

    def test_of_several_prompts_the_quickest_is_named(self) -> None:
        one, other = with_answers(100, 1.2, 2.0, 2.4), with_answers(20, 0.3, 0.5, 0.6)
        text = in_full(deployed(one, other))
        assert "With an answer of 10 tokens, the prompt of 20 visual tokens takes" in text
        assert "Before the answer, the prompt of 20 visual tokens needs 13.0 GB" in text


class TestMemory:
    def test_an_encoder_has_no_answer(self) -> None:
        one = lawless(9, 0.2, kind="vision", at_once=7)
        assert in_full(deployed(one)).endswith(
            "It needs 13.0 GB of 100 GB; 7 such images fit at once."
        )

    def test_a_reduced_prompt_stands_beside_the_unreduced_one(self) -> None:
        whole = with_answers(100, 1.2, 2.0, 2.4, at_once=3)
        kept = with_answers(20, 0.4, 0.5, 0.6, reducer="r", unreduced=whole, at_once=11)
        assert in_full(deployed(whole, kept)).endswith(
            "needs 13.0 GB of 100 GB; 11 such prompts fit at once, 3 without reduction."
        )
        assert in_full(deployed(whole)).endswith("3 such prompts fit at once.")

    @pytest.mark.parametrize(("capacity_gb", "fits"), [(13, True), (12.9, False)])
    def test_what_does_not_fit_is_told_so_and_no_more(self, capacity_gb: float, fits: bool) -> None:
        whole = totals(1.0, device_memory_bytes=capacity_gb * GB)
        text = in_full(deployed(prompt(100, whole, answers={0: whole, 2: whole})))
        expected = f"It does not fit: it needs 13.0 GB of {capacity_gb:.3g} GB."
        assert text.endswith(expected) is not fits
        assert ("fit at once" in text) is fits

    def test_what_fits_only_reduced_or_without_its_answer_is_said(self) -> None:
        """13 GB of 14, of all visual tokens 16; with the answer, 17 GB."""

        def of(kv_cache_gb: float) -> Any:
            return totals(1.0, kv_cache_bytes=kv_cache_gb * GB, device_memory_bytes=14 * GB)

        def made(visual: int, *kv_cache_gb: float, **given: Any) -> PricedPrompt:
            first, last = map(of, kv_cache_gb)
            return prompt(visual, first, answers={0: first, 2: last}, **given)

        large, small = made(100, 5, 5), made(100, 2, 2)
        long, short = (made(20, 2, n, reducer="r", unreduced=large) for n in (6, 3))
        without = "With all visual tokens it does not fit: 16.0 GB."
        with_it = "With the answer it does not fit: 17.0 GB."
        fewer = replace(long, unreduced=small)
        fewer.__dict__.update(long.__dict__)
        for deployment, expected in (
            (deployed(large, long), [without, with_it]),
            (deployed(large, short), [without]),
            (deployed(small, fewer), [with_it]),
        ):
            # the reduced one is as quick as the other: put it first
            text = in_full(replace(deployment, prompts=deployment.prompts[::-1]))
            assert [s for s in (without, with_it) if s in text] == expected


def test_kernels_at_the_roofline_make_a_prompt_take_at_least_so_long() -> None:
    (deployed,) = study(
        model="llava-1.5-7b", hardware="mi300x", runtime="vllm", visual_tokens=40
    ).deployments
    full = deployed.pair[0].estimate.end_to_end
    seconds = si(full.predicted_time_s, "s")
    assert band(full) == f"≥ {seconds}"
    assert f"takes at least {seconds} (" in in_full(deployed)
