"""Rounds that something disturbs are taken anew; those of an earlier sitting count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import Any

import pytest

from roofline.records.statistics import StoppingRule, WarmUpRule
from roofline.torch_side.measure.timing import Mark, Subject, WallStopwatch, interrupted, measure
from roofline.torch_side.measure.trial import Measurement, Stretch

SIX = StoppingRule(relative_ci=0.01, least=6, most=100)
"""Equal samples are enough when they are six."""


class Machine:
    """Runs take what the test says, and so do the looks."""

    def __init__(self, seconds: Iterable[float], looks: Iterable[str] = ()) -> None:
        self.now, self.runs = 0.0, 0
        self._seconds: Iterator[float] = iter(seconds)
        self._looks = chain(looks, repeat(""))
        self.kept: list[Stretch] = []

    def run(self, mark: Mark) -> None:
        self.runs += 1
        self.now += next(self._seconds)
        mark("llm")

    def measure(self, names: Sequence[str] = ("run",), **options: Any) -> dict[str, Measurement]:
        return measure(
            [Subject(name, self.run) for name in names],
            WallStopwatch(lambda: self.now),
            options.pop("rule", SIX),
            warm_up=WarmUpRule(most=0),
            clock=lambda: self.now,
            disturbance=lambda: next(self._looks),
            keep=self.kept.append,
            **options,
        )


BEFORE = ""
"""The look at the beginning, which says nothing of any sample."""


def test_disturbed_samples_are_taken_anew() -> None:
    machine = Machine([1.0, 5.0, 5.0, *[1.0] * 9], [BEFORE, "", "noise", "noise"])
    found = machine.measure()["run"]

    assert machine.runs == 8
    assert found.total == found.spans["llm"] == [1.0] * 6
    assert (found.stopped, found.disturbance) == ("settled", "")


def test_what_was_at_work_before_the_first_sample_is_nobodys_business() -> None:
    assert Machine([1.0] * 9, ["noise while warming up"]).measure()["run"].total == [1.0] * 6


def test_the_last_samples_are_looked_at_before_it_ends() -> None:
    """Six equal ones would be enough, but the last of them does not count."""
    machine = Machine([1.0] * 9, [BEFORE, *[""] * 5, "noise"])
    assert machine.measure()["run"].total == [1.0] * 6
    assert machine.runs == 7


def test_looks_are_not_taken_more_often_than_the_books_are_kept() -> None:
    machine = Machine([0.125] * 9, [BEFORE, "noise"])
    found = machine.measure()["run"]

    # a look each quarter of a second, and one at the end
    assert [len(stretch.samples["run"]) for stretch in machine.kept] == [2, 2, 2, 2]
    assert [stretch.disturbance for stretch in machine.kept] == ["noise", "", "", ""]
    assert len(found.total) == 6


def test_where_nothing_was_calm_all_samples_stay_and_say_so() -> None:
    machine = Machine(repeat(1.0), [BEFORE, *["noise"] * 3, "more noise", *["noise"] * 99])
    found = machine.measure(rule=StoppingRule(relative_ci=0.01, least=6, most=8))["run"]

    assert found.total == [1.0] * 8
    assert (found.stopped, found.disturbance) == ("cap", "noise during 7 of 8 samples")


@pytest.mark.parametrize(("calm", "stay"), [(1, 8), (2, 2)])
def test_a_quarter_of_the_samples_has_to_be_calm(calm: int, stay: int) -> None:
    machine = Machine(repeat(1.0), [BEFORE, *[""] * calm, *["noise"] * 99])
    found = machine.measure(rule=StoppingRule(relative_ci=0.01, least=6, most=8))["run"]

    assert len(found.total) == stay
    assert bool(found.disturbance) == (stay == 8)


def test_a_round_too_many_is_not_taken_anew() -> None:
    machine = Machine(repeat(1.0), [BEFORE, *[""] * 5, "noise"])
    rule = StoppingRule(relative_ci=0.01, least=6, most=6)
    assert [len(m.total) for m in machine.measure(("a", "b"), rule=rule).values()] == [5, 5]
    # each had its most by then: the five calm ones will have to do
    assert machine.runs == 12


def test_a_deadline_ends_what_is_disturbed() -> None:
    machine = Machine(repeat(1.0), [BEFORE, *["noise"] * 99])
    found = machine.measure(deadline_s=4.0)["run"]

    assert (len(found.total), found.stopped) == (4, "cap")
    assert found.disturbance == "noise during 4 of 4 samples"


def test_all_is_kept_also_of_a_round_that_ctrl_c_cuts() -> None:
    def seconds() -> Iterator[float]:
        yield from [0.1, 0.2, 0.3]
        raise KeyboardInterrupt

    machine = Machine(seconds())
    found = machine.measure(("a", "b"))

    assert interrupted(found)
    assert machine.kept == [
        Stretch({"a": [{"llm": 0.1}], "b": [{"llm": pytest.approx(0.2)}]}),
        Stretch({"a": [{"llm": pytest.approx(0.3)}]}),
    ]


def test_an_earlier_sitting_counts() -> None:
    first = Machine([1.0, 5.0, 1.0, 1.0], [BEFORE, "", "noise"])
    with pytest.raises(StopIteration):  # killed, as it were
        first.measure()
    assert len(first.kept) == 4
    second = Machine([1.0] * 9)
    found = second.measure(known=first.kept)["run"]

    assert second.runs == 3
    assert found.total == [1.0] * 6
    third = Machine([])
    assert third.measure(known=[*first.kept, *second.kept])["run"].total == [1.0] * 6
    assert (third.runs, third.kept) == (0, [])


def test_an_earlier_sitting_has_used_its_time() -> None:
    known = [Stretch({"run": [{"llm": 3.0}, {"llm": 4.0}]})]
    machine = Machine(repeat(1.0))
    rule = StoppingRule(relative_ci=1e-9, cap_s=9.0)
    found = machine.measure(known=known, rule=rule)["run"]

    assert found.total == [3.0, 4.0, 1.0, 1.0]


def test_how_far_it_is_never_falls_for_who_watches() -> None:
    shares: list[float] = []
    progress: Callable[[float, str], None] = lambda share, doing: shares.append(share)  # noqa: E731
    Machine([1.0] * 20, [BEFORE, *[""] * 5, *["noise"] * 4]).measure(progress=progress)

    assert shares == sorted(shares)
    assert shares[-1] == 1.0
