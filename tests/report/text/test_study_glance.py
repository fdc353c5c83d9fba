"""The small table that a report opens with: the pair that its text is about."""

from __future__ import annotations

from typing import Any

import pytest
from made_up import bare
from made_up_prompts import GB, deployed, lawless, prompt, studied, totals, ways

import roofline
from roofline.explore.study import Deployment, Study, study
from roofline.report.document import Table
from roofline.report.text.study_glance import glance
from roofline.units import si


def the_table(found: Study) -> Table:
    (table,) = glance(found)
    return table


def rows(found: Study) -> list[dict[str, str]]:
    table = the_table(found)
    return [dict(zip(table.headers, row, strict=True)) for row in table.rows]


def answering(error_s: float | None = None, room_gb: float = 100.0, **given: Any) -> Deployment:
    """4 s become 2; with an answer, 8 become 6; 40 GB of KV cache become 10; 5 fit, then 15."""

    def of(time_s: float, cache_gb: float) -> Any:
        laws = {} if error_s is None else {"attainable_s": time_s, "error_s": error_s}
        cache = cache_gb * GB
        return totals(time_s / 2, kv_cache_bytes=cache, device_memory_bytes=room_gb * GB, **laws)

    def made(count: int, first_s: float, cache_gb: float, **more: Any) -> Any:
        answers = {0: of(first_s, cache_gb), 9: of(first_s + 4.0, cache_gb)}
        return prompt(count, answers[0], answers=answers, **more, **given)

    whole = made(100, 4.0, 40.0)
    slow = made(50, 3.0, 20.0, reducer="s", unreduced=whole)
    kept = made(20, 2.0, 10.0, reducer="r", unreduced=whole, at_once=15)
    return deployed(whole, slow, kept)


def test_of_one_deployment_prompts_are_columns() -> None:
    assert rows(studied(answering(error_s=0.0))) == [
        {"Visual tokens": "Prefill", "100": "4.00 s", "20 r": "2.00 s", "Gain": "2.0x"},
        {"Visual tokens": "Bound by", "100": "compute", "20 r": "compute", "Gain": ""},
        {
            "Visual tokens": "With 9 output tokens",
            "100": "8.00 s",
            "20 r": "6.00 s",
            "Gain": "1.3x",
        },
        {"Visual tokens": "KV cache", "100": "40.0 GB", "20 r": "10.0 GB", "Gain": "4.0x"},
        {"Visual tokens": "Fit at once", "100": "5", "20 r": "15", "Gain": "3.0x"},
    ]
    assert the_table(studied(answering(error_s=0.0))).caption == "At a glance, end to end."


def test_bounds_ties_and_what_does_not_fit_are_marked_and_said() -> None:
    """Half the time at the roofline; known to 1.5 s, 8 and 6 s are a tie, and 4 and 2 are not."""
    bounds = studied(answering())
    assert [row["20 r"] for row in rows(bounds)][:1] == ["≥ 1.00 s"]
    assert the_table(bounds).caption == "At a glance, end to end. ≥ marks bounds."
    tied = studied(answering(error_s=3.0))
    assert [row["Gain"] for row in rows(tied)][:3] == ["tie", "", "tie"]
    assert the_table(tied).caption.endswith(" Tie: the difference is inside the error band.")
    tight = studied(answering(error_s=0.0, room_gb=45.0))
    assert [row["Gain"] for row in rows(tight)][:3] == ["2.0x*", "", "1.3x*"]
    assert the_table(tight).caption.endswith(" *: all visual tokens do not fit.")


def test_a_prompt_alone_has_no_gain() -> None:
    assert rows(studied(deployed(lawless(9, 0.1)))) == [
        {"Visual tokens": "Prefill", "9": "≥ 100 ms"},
        {"Visual tokens": "Bound by", "9": "compute"},
        {"Visual tokens": "Fit at once", "9": "5"},
    ]


def test_where_nothing_fits_without_reduction_there_is_no_ratio() -> None:
    whole = lawless(100, 1.0, at_once=0)
    kept = lawless(20, 0.5, reducer="r", unreduced=whole, at_once=3)
    last = rows(studied(deployed(whole, kept)))[-1]
    assert (last["100"], last["20 r"], last["Gain"]) == ("0", "3", "")


def test_of_several_deployments_each_is_a_row() -> None:
    found = studied(answering(error_s=0.0), answering(error_s=0.0, hardware="e"))
    assert rows(found) == [
        {
            "Deployment": device,
            "Unreduced": "4.00 s",
            "Fewer tokens": "2.00 s",
            "Faster": "2.0x",
            "With answer": "1.3x",
            "Fit at once": "5 → 15",
        }
        for device in ("d", "e")
    ]
    assert the_table(found).caption == (
        "At a glance: prefill, end to end, unreduced and with r at 20 visual tokens."
    )
    differ = studied(answering(), ways(0.3, hardware="e"))
    assert "unreduced and with the quickest way." in the_table(differ).caption


def test_deployments_without_a_reduced_prompt_have_their_time() -> None:
    alone = [deployed(lawless(9, 0.1, hardware=name)) for name in ("d", "e")]
    assert rows(studied(*alone))[1] == {
        "Deployment": "e",
        "Prefill": "≥ 100 ms",
        "Fit at once": "5",
    }
    both = rows(studied(answering(), alone[1]))
    assert [row["Fewer tokens"] for row in both] == ["≥ 1.00 s", "-"]
    assert [row["Faster"] for row in both] == ["2.0x", "-"]
    assert [row["With answer"] for row in both] == ["1.3x", "-"]


@pytest.mark.parametrize(("count", "more"), [(24, ""), (25, " 1 more below.")])
def test_up_to_two_dozen_deployments_have_a_row(count: int, more: str) -> None:
    found = studied(*(deployed(lawless(9, 0.1, hardware=f"d{i}")) for i in range(count)))
    assert len(rows(found)) == 24
    assert the_table(found).caption.endswith(f"≥ marks bounds.{more}")


def test_figures_are_those_of_an_analysis() -> None:
    found = rows(study(model="llava-1.5-7b", hardware=bare("v100"), visual_tokens=[40]))
    for column, given in (
        ("576", {}),
        ("40 prumerge", {"visual_tokens": 40, "reducer": "prumerge"}),
    ):
        one = roofline.analyze("llava-1.5-7b", bare("v100"), **given).end_to_end
        assert found[0][column] == f"≥ {si(one.roofline_time_s, 's')}"
        assert found[3][column] == si(one.kv_cache_bytes, "B")
