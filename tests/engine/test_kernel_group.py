"""Kernels of one time: what they wait for, how often they run, against a naive search."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from roofline.engine import count
from roofline.engine.count import summed_over_steps
from roofline.engine.price import KernelGroup
from roofline.model.polynomial import Point, Polynomial

STEP, BATCH = map(Polynomial.variable, ("step", "batch"))


def seconds(value: float) -> tuple[Polynomial, ...]:
    return (Polynomial.of(value),)


@pytest.mark.parametrize("bounds", [2, 3, 4])
def test_the_first_of_the_slowest_resources_holds_a_kernel(bounds: int) -> None:
    for times in product((0.0, 1.0, 2.0), repeat=bounds):
        group = KernelGroup("prefill", 5, tuple(map(seconds, times)), None, 0.0)
        found = group.time(Point({}))

        slowest = times.index(max(times))
        assert found.roofline == 5 * max(times)
        # seconds of each bound but the last, which has the rest
        assert [float(each) for each in found.bound] == [
            5 * max(times) if i == slowest else 0 for i in range(bounds - 1)
        ]
        assert found.attainable is None


def test_of_several_resources_of_one_bound_the_slowest_counts() -> None:
    # tensor and vector units work side by side
    both = (2 * BATCH, Polynomial.of(6.0))
    group = KernelGroup("prefill", 1, (both, seconds(5.0)), None, 0.0)
    found = group.time(Point({"batch": np.asarray([1.0, 3.0, 4.0])}))

    assert list(found.roofline) == [6, 6, 8]
    assert list(found.bound[0]) == [6, 6, 8]


@pytest.mark.parametrize(
    ("roof", "once"),
    [
        (Polynomial.of(7.0), [7, 7, 7]),  # the same in each step
        (3 * STEP, [3, 6, 9]),
        (2 * STEP * STEP - 2 * STEP + 10, [10, 14, 22]),
    ],
)
def test_decode_steps_are_added_up(roof: Polynomial, once: list[float]) -> None:
    laws: Any = lambda point: point(roof) + 1  # noqa: E731
    group = KernelGroup("decode", 2, ((roof,), seconds(9.0)), laws, 0.5)
    steps = np.asarray([0.0, 1.0, 3.0])
    found = group.time(Point({"steps": steps}))

    slower = [max(each, 9) for each in once]
    computing = [each if each >= 9 else 0 for each in once]
    for value, each in (
        (found.roofline, slower),
        (found.bound[0], computing),
        (found.attainable, [one + 1 for one in once]),
    ):
        assert list(value) == [2 * sum(each[: int(n)]) for n in steps]


@pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 14])
@pytest.mark.parametrize("steps", [[0], [3], [0, 1, 5, 8], [[2, 0], [9, 4]], [], [0, 0]], ids=str)
def test_steps_are_added_one_by_one_however_many_at_a_time(
    steps: Any, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(count, "CHUNK", chunk)
    lengths = np.asarray(steps, dtype=float)
    batch = np.asarray(3.0)
    point = Point({"steps": lengths, "batch": batch})

    squares, ones = summed_over_steps(
        point,
        lambda every: [every(STEP * STEP * BATCH), every(BATCH) * np.ones(np.shape(every["step"]))],
    )

    assert squares.shape == ones.shape == lengths.shape
    for index, length in np.ndenumerate(lengths):
        assert squares[index] == sum(3 * step**2 for step in range(1, int(length) + 1))
        assert ones[index] == 3 * length


def test_variables_are_all_that_its_time_depends_on() -> None:
    group = KernelGroup("prefill", 1, ((BATCH * BATCH,), (STEP + 1, BATCH)), None, 0.0)

    assert group.variables == ("batch", "step")
