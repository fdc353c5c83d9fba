"""What is measured of the host, by a clock that says how long everything takes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

import pytest
import torch
from launches import launches_by_component
from made_up import device

from roofline.torch_side.calibrate import host_time
from roofline.torch_side.measure.pipeline import build_pipeline
from roofline.torch_side.measure.trial import Stretch


def test_a_reducers_host_time_tells_its_launches_and_what_a_read_takes() -> None:
    """Each look at the clock is 1 s later: a span takes 1 s, and so do all reads of a sample."""
    ticks = count()
    laws, disturbed = host_time.host_laws(
        device(), torch.device("cpu"), quant="fp16", budget_s=50.0, clock=lambda: float(next(ticks))
    )

    with build_pipeline(
        host_time._of_depth(host_time.DEPTHS[0]),
        reducer="prumerge",
        visual_tokens=4,
        text_tokens=8,
        dtype="fp16",
    ) as pipeline:
        issued = launches_by_component(pipeline).totals["reducer"]
    assert set(laws) == {"vision", "reducer", "connector", "llm", "decode"}
    assert laws["reducer"].launches == issued == 56
    assert laws["reducer"].fixed_us == pytest.approx(1e6)
    assert laws["reducer"].wait_us == pytest.approx(1e6 / 20)
    assert {name for name, law in laws.items() if law.launches or law.wait_us} == {"reducer"}
    assert disturbed == ""


def test_what_disturbed_it_all_the_time_is_stated_once() -> None:
    ticks = count()
    looks: list[str] = []
    _, disturbed = host_time.host_laws(
        device(),
        torch.device("cpu"),
        quant="fp16",
        budget_s=50.0,
        clock=lambda: float(next(ticks)),
        disturbance=lambda: looks.append("") or "others",
    )

    assert len(looks) > 1
    assert disturbed == "others"


class TestTime:
    """On a machine whose every span takes what chance says: it neither warms up nor settles."""

    @pytest.fixture
    def looks(self) -> list[float]:
        return [0.0]

    @pytest.fixture
    def clock(self, looks: list[float]) -> Callable[[], float]:
        chance = Random(0)

        def look() -> float:
            looks.append(looks[-1] + chance.uniform(0.0, 0.2))
            return looks[-1]

        return look

    @pytest.mark.parametrize("budget_s", [9.0, 60.0])
    @pytest.mark.parametrize("disturber", ["", "others"])
    def test_warm_up_and_samples_keep_to_what_there_is(
        self,
        clock: Callable[[], float],
        looks: list[float],
        budget_s: float,
        disturber: str,
    ) -> None:
        host_time.host_laws(
            device(),
            torch.device("cpu"),
            quant="fp16",
            budget_s=budget_s,
            clock=clock,
            disturbance=lambda: disturber,
        )

        assert 0.7 * budget_s < looks[-1] < 1.3 * budget_s


class TestSittings:
    """Each span takes a second, and the median is known after ten samples."""

    def sitting(self, known: list[Stretch], tick_s: float = 1.0) -> tuple[list[Stretch], Any]:
        ticks, kept = count(step=tick_s), list[Stretch]()
        laws, _ = host_time.host_laws(
            device(),
            torch.device("cpu"),
            quant="fp16",
            budget_s=1e4,
            clock=lambda: float(next(ticks)),
            known=known,
            keep=kept.append,
        )
        return kept, laws

    def samples(self, stretches: list[Stretch], name: str) -> int:
        return sum(len(stretch.samples.get(name, [])) for stretch in stretches)

    def test_what_was_kept_is_not_measured_again(self) -> None:
        kept, laws = self.sitting([])
        assert len(kept) > 3
        again, same = self.sitting(kept, tick_s=7.0)

        assert again == []
        assert same == laws

    def test_the_rest_is(self) -> None:
        whole, _ = self.sitting([])
        rest, _ = self.sitting(whole[:3])

        for name in ("prefill 3", "decode 9", "read back"):
            assert self.samples(whole, name) == 10
            assert self.samples(rest, name) == 10 - self.samples(whole[:3], name) == 7
