"""Points: variables that are given and those derived from them, against plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofline.model.polynomial import Array, Derived, Point, Polynomial

STEP, BATCH, KEYS, TWICE = map(Polynomial.variable, ("step", "batch", "keys", "twice"))
WINDOW = 7.0


class Window:
    """min(prompt + step, 7), and how often it was computed."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, prompt: Array, step: Array) -> Array:
        self.calls += 1
        return np.minimum(prompt + step, WINDOW)


def derived(window: Any = None) -> tuple[Derived, ...]:
    """Keys in a window, and twice as many: a variable derived from a derived one."""
    return (
        Derived("twice", ("keys",), lambda keys: 2 * keys),
        Derived("keys", ("prompt", "step"), window or Window()),
    )


def point(window: Any = None, **values: Any) -> Point:
    return Point(
        {name: np.asarray(value, float) for name, value in values.items()}, derived(window)
    )


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9))
def test_a_derived_variable_is_a_variable(prompt: int, step: int, batch: int) -> None:
    at = point(prompt=prompt, step=step, batch=batch)
    keys = min(prompt + step, 7)

    assert at["keys"] == keys
    assert at(3 * BATCH * KEYS * KEYS + TWICE - 1) == 3 * batch * keys**2 + 2 * keys - 1


def test_it_is_computed_when_first_asked_for_and_once() -> None:
    window = Window()
    at = point(window, prompt=3, step=1, batch=2)

    assert at(BATCH) == 2
    assert window.calls == 0
    assert (at(KEYS), at(KEYS * BATCH), at(TWICE)) == (4, 8, 8)
    assert window.calls == 1


def test_what_is_given_need_not_be_derived() -> None:
    window = Window()
    at = point(window, keys=5, batch=2)

    assert at(KEYS + TWICE) == 15
    assert window.calls == 0


def test_a_moved_point_computes_anew_what_moves_and_keeps_the_rest() -> None:
    window = Window()
    at = point(window, prompt=[3, 6], step=1, batch=2)
    assert np.array_equal(at(KEYS * BATCH + TWICE), [16, 28])
    assert window.calls == 1

    moved = at.at(step=np.asarray(2.0))
    assert np.array_equal(moved(KEYS * BATCH + TWICE), [20, 28])
    assert window.calls == 2
    other = at.at(batch=np.asarray(3.0))
    assert np.array_equal(other(KEYS * BATCH + TWICE), [20, 35])
    assert window.calls == 2  # a window is no matter of the batch
    assert np.array_equal(at(KEYS * BATCH + TWICE), [16, 28])


@pytest.mark.parametrize(
    ("name", "moved", "expected"),
    [
        ("step", "step", True),
        ("keys", "step", True),
        ("twice", "step", True),
        ("twice", "prompt", True),
        ("batch", "step", False),
        ("keys", "batch", False),
        ("keys", "keys", True),
        ("nobody", "step", False),
    ],
)
def test_what_moves_with_what(name: str, moved: str, expected: bool) -> None:
    assert point(prompt=3, step=1, batch=2).moves_with(name, moved) is expected


def test_a_given_variable_moves_with_itself_alone() -> None:
    assert not point(keys=5, step=1).moves_with("keys", "step")
    assert point(keys=5, step=1).moves_with("keys", "keys")


def test_outer_gives_values_an_axis_of_their_own() -> None:
    prompts, steps = [1.0, 5.0, 20.0], [1.0, 2.0, 3.0, 4.0]
    at = point(prompt=prompts, batch=[[1], [2]]).outer(step=np.asarray(steps))
    found = np.broadcast_to(at(BATCH * KEYS + STEP), (2, 3, 4))

    for (i, j, k), value in np.ndenumerate(found):
        assert value == (i + 1) * min(prompts[j] + steps[k], 7) + steps[k]


def test_its_shape_is_that_of_all_that_is_given() -> None:
    assert point(prompt=[[1], [2]], step=[1, 2, 3], batch=1).shape == (2, 3)
    assert point(prompt=1).shape == ()


def test_it_maps_all_names_to_values() -> None:
    at = point(prompt=3, step=1)

    assert len(at) == 4
    assert dict(at.items()) == {"prompt": 3, "step": 1, "keys": 4, "twice": 8}
    with pytest.raises(KeyError, match="nobody"):
        at["nobody"]


@pytest.mark.parametrize(
    ("moved", "expected"), [({"x": 5}, 10), ({"y": 7}, 14), ({"x": 5, "y": 7}, 35)]
)
def test_several_variables_may_move_at_once(moved: dict[str, float], expected: float) -> None:
    x, y, z = map(Polynomial.variable, "xyz")
    at = Point({"x": np.asarray(2.0), "y": np.asarray(2.0), "z": np.asarray(9.0)})
    assert (at(x * y), at(z * z)) == (4, 81)

    other = at.at(**{name: np.asarray(float(value)) for name, value in moved.items()})

    assert (other(x * y), other(z * z)) == (expected, 81)


class Doubling:
    """Twice the values, and how often it was computed."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, values: Array) -> Array:
        self.calls += 1
        return 2 * values


def test_a_function_of_a_polynomial_is_computed_once_at_a_point() -> None:
    """As places of rows among the knots of a curve, which many matmuls share."""
    one, other = Doubling(), Doubling()
    at = point(keys=[4, 5], batch=2)

    found = [at.mapped(one, BATCH * KEYS) for _ in range(3)]
    assert all(np.array_equal(value, [16, 20]) for value in found)
    assert np.array_equal(at.mapped(one, KEYS * BATCH + 0.0), [16, 20])  # the same by another way
    assert one.calls == 1
    assert np.array_equal(at.mapped(other, BATCH * KEYS), [16, 20])
    assert np.array_equal(at.mapped(one, KEYS), [8, 10])
    assert (one.calls, other.calls) == (2, 1)
    assert at.mapped(one, Polynomial.of(3)) == 6  # a constant comes as an array, too


def test_a_moved_point_maps_anew() -> None:
    double = Doubling()
    at = point(prompt=3, step=1, batch=2)
    assert at.mapped(double, KEYS) == 8

    assert at.at(step=np.asarray(2.0)).mapped(double, KEYS) == 10
    assert np.array_equal(at.outer(batch=np.array([1.0, 3.0])).mapped(double, BATCH), [2, 6])
    assert at.mapped(double, KEYS) == 8
    assert double.calls == 3
