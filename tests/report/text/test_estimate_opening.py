"""The sentences that an analysis opens with, of prompts whose every figure is chosen."""

from __future__ import annotations

from typing import Any

import pytest
from made_up_prompts import GB, against, estimated, reduced_by, totals
from msgspec.structs import replace

from roofline import analyze, count
from roofline.engine.axes import ANSWER_TOKENS
from roofline.engine.estimate import Estimate
from roofline.report.text.estimate_opening import opening
from roofline.report.text.estimates import render
from roofline.units import si

FULL, KEPT = totals(0.6, 0.8, error_s=0.04), totals(0.1, 0.2, error_s=0.02, compute_s=0.0)
NEAR = totals(0.1, 0.79, error_s=0.02)


def sentences(one: Estimate, **inputs: Any) -> list[str]:
    """Sentence by sentence, but for what an answer adds."""
    step = replace(one, inputs=one.inputs | {"stage": "decode"} | inputs)
    step.__dict__["comparison"] = one.comparison
    return opening(step).replace(". ", ".\n").splitlines()


@pytest.mark.parametrize(("kind", "ends"), [("lmm", " end to end"), ("llm", ""), ("vision", "")])
def test_what_it_takes_and_what_binds_it(kind: str, ends: str) -> None:
    assert sentences(estimated(KEPT, kind=kind)) == [
        f"One decode step takes 200 ms ±10 % (100 ms at the roofline){ends}, bound by memory."
    ]
    assert sentences(estimated(totals(0.6), kind=kind)) == [
        f"One decode step takes 600 ms at the roofline{ends}, bound by compute."
    ]


def test_each_stage_has_its_words() -> None:
    one = estimated(KEPT)
    assert sentences(one, stage="generate", output_tokens=7)[0].startswith(
        "The prompt and an answer of 7 tokens take 200 ms"
    )
    assert sentences(one, stage="prefill")[0].startswith("The prefill takes 200 ms")


def test_nothing_that_runs_takes_nothing() -> None:
    assert sentences(estimated(totals(0.0))) == ["Nothing runs."]


def test_what_fewer_tokens_save() -> None:
    one = estimated(KEPT, visual_tokens=20, comparison=against(FULL, KEPT))
    assert (
        sentences(one)[1]
        == "Keeping 20 of 100 visual tokens makes it 4.0x as fast (6.0x at the roofline)."
    )
    bare = estimated(totals(0.1), comparison=against(totals(0.6), totals(0.1)))
    assert sentences(bare, visual_tokens=20)[1] == (
        "Keeping 20 of 100 visual tokens makes it 6.0x as fast at the roofline."
    )


def test_a_reducer_is_named_and_a_tie_is_called_one() -> None:
    one = estimated(NEAR, visual_tokens=20, reducer=reduced_by("r"), comparison=against(FULL, NEAR))
    assert sentences(one)[1] == (
        "Keeping 20 of 100 visual tokens with r is a tie, inside the error (6.0x as fast at the "
        "roofline)."
    )


@pytest.mark.parametrize(("full_gb", "fits"), [(97, True), (98, False)])
def test_a_prompt_that_does_not_fit_is_said_to(full_gb: float, fits: bool) -> None:
    """2 GB of KV cache and 1 of activations besides, on 100 GB."""
    large = totals(0.6, weight_bytes=full_gb * GB)
    found = sentences(estimated(large))
    assert (len(found) == 1) == fits
    if not fits:
        assert found[1] == "It does not fit: it needs 101 GB of the device's 100 GB."
    one = estimated(totals(0.1), comparison=against(large, totals(0.1), visual_tokens=90))
    end = "" if fits else "; all 90 do not fit this device"
    assert sentences(one)[1].endswith(f"6.0x as fast at the roofline{end}.")


@pytest.mark.parametrize("reducer", [None, "prumerge"])
@pytest.mark.parametrize("batch", [1, 64])
def test_what_is_left_after_an_answer_is_what_a_generation_saves(
    reducer: str | None, batch: int
) -> None:
    axes: dict[str, Any] = {"visual_tokens": 40, "reducer": reducer, "batch": batch}
    prefill = analyze("llava-1.5-7b", "h200", **axes)
    answer = analyze("llava-1.5-7b", "h200", **axes, stage="generate", output_tokens=ANSWER_TOKENS)
    assert answer.comparison is not None
    last = opening(prefill).split(". ")[-1]
    start = f"With an answer of 128 tokens it takes {si(answer.end_to_end.predicted_time_s, 's')}"
    if batch == 1:
        assert answer.comparison.tie
        assert last == f"{start}: a tie, the saving is inside the error."
    else:
        assert not answer.comparison.tie
        assert last == f"{start}, {float(answer.comparison.speedup or 0):.1f}x as fast."


def test_an_answer_may_not_fit_where_the_prompt_does() -> None:
    prompt = analyze("llava-1.5-7b", "l4", reducer="prumerge", batch=28)
    assert prompt.comparison is not None
    assert prompt.comparison.full_fits
    answer = analyze(
        "llava-1.5-7b", "l4", reducer="prumerge", batch=28, stage="generate", output_tokens=128
    )
    assert answer.comparison is not None
    assert not answer.comparison.tie
    faster = f"{float(answer.comparison.speedup or 0):.1f}x as fast"
    assert opening(prompt).endswith(f"{faster}; all 576 do not fit this device.")

    prompt = analyze("llava-1.5-7b", "v100", reducer="prumerge", batch=26)
    assert prompt.end_to_end.fits
    assert opening(prompt).endswith(
        "Then it does not fit: it needs 17.24 GB of the device's 17.18 GB."
    )


def test_all_tokens_have_an_answer_and_no_saving() -> None:
    text = opening(analyze("llava-1.5-7b", "h200"))
    assert "Keeping" not in text
    assert text.split(". ")[-1].startswith("With an answer of 128 tokens it takes ")
    for alone in ("clip-vit-l-336", "vicuna-7b"):  # nobody's picture: no answer to it is priced
        assert "answer" not in opening(analyze(alone, "h200"))


def test_on_no_device_there_are_counts() -> None:
    assert opening(count("llava-1.5-7b", visual_tokens=40)) == (
        "1.41 TFLOP, 15.9 GB of memory traffic and 14.2 GB of memory end to end. Keeping 40 of 576 "
        "visual tokens needs 6.1x fewer FLOPs."
    )
    assert opening(count("vicuna-7b", visual_tokens=0, text_tokens=8)).endswith(" GB of memory.")


def test_it_stands_before_every_table() -> None:
    one = analyze("llava-1.5-7b", "h200", visual_tokens=40)
    for form in ("table", "md"):
        text = " ".join(render([one], form).split())
        assert text.index(opening(one)) < text.index("Component") < text.index("KV cache")
