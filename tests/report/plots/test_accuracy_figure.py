"""Accuracy against cost: fronts, choices, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest
from artists import legend, lines, the_line

from roofline.explore.study import COSTS, Study
from roofline.report.plots import FIGURES


@pytest.mark.parametrize(
    ("name", "cost"),
    [
        ("accuracy-time", "prefill_time_s"),
        ("accuracy-energy", "energy_at_tdp_j"),
        ("accuracy-memory", "peak_memory_bytes"),
    ],
)
def test_fronts_and_choices_survive_a_search_through_all_pairs(
    name: str, cost: str, priced: Study
) -> None:
    page = FIGURES[name].draw(priced)

    assert [axes.get_title(loc="left") for axes in page.axes] == [f.name for f in priced.fronts]
    for axes, front in zip(page.axes, priced.fronts, strict=True):
        points = [(c.cost(cost), c.score.value) for c in front.candidates]
        drawn = [
            (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
            for line in axes.lines
            if line.get_gid() not in {"front", "choice"}
        ]
        assert drawn == points
        beaten = {
            p for p in points if any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in points)
        }
        assert set(zip(*the_line(axes, "front"), strict=True)) == set(points) - beaten
        assert lines(axes, "front")[0].get_drawstyle() == "steps-post"
        best = max(score for _, score in points)
        near = [p for p in points if p[1] >= best - front.benchmark.full_marks / 100 - 1e-9]
        (x,), _ = the_line(axes, "choice")
        assert x == min(cost for cost, _ in near)
    assert page.axes[-1].get_xlabel().lower() == COSTS[cost].title.lower()
    assert "cheapest within 1 point of the best" in legend(page)


def test_what_does_not_fit_is_faint(studies: dict[str, Study]) -> None:
    found = studies["crowded"]
    page = FIGURES["accuracy-time"].draw(found)
    large = [line for line in page.axes[0].lines if str(line.get_gid()).endswith("13b")]
    small = [line for line in page.axes[0].lines if str(line.get_gid()).endswith("7b")]

    assert large
    assert {line.get_alpha() for line in large} == {0.3}
    assert {line.get_alpha() for line in small} == {None}
    assert "does not fit" in legend(page)
    assert "does not fit" not in legend(FIGURES["accuracy-time"].draw(studies["accuracy"]))


def test_accuracies_on_other_devices_are_in_the_tables(studies: dict[str, Study]) -> None:
    assert FIGURES["accuracy-time"].draw(studies["accuracy"]).get_suptitle() == "h200, fp16"
    page = FIGURES["accuracy-time"].draw(studies["crowded"])
    assert page.get_suptitle() == "rtx-4090, fp16; 1 more in the tables"


def test_energy_is_time_at_the_devices_power(priced: Study) -> None:
    times, energies = (
        [c.cost(cost) for f in priced.fronts for c in f.candidates]
        for cost in ("prefill_time_s", "energy_at_tdp_j")
    )

    assert np.allclose(np.divide(energies, times), 700.0)  # W, of the H200's data sheet
