"""Polynomials against plain evaluation with NumPy. Integers throughout: equality is exact."""

import itertools
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roofline.model.polynomial import Monomial, Point, Polynomial, total, upper_envelope

NAMES = ("x", "y", "z")
MONOMIALS = [m for k in range(4) for m in itertools.combinations_with_replacement(NAMES, k)]

coefficients = st.integers(-50, 50)
polynomials = st.dictionaries(st.sampled_from(MONOMIALS), coefficients, max_size=6).map(Polynomial)
positive = st.dictionaries(st.sampled_from(MONOMIALS), st.integers(0, 50), max_size=6).map(
    Polynomial
)
values = st.fixed_dictionaries({name: st.integers(-9, 9).map(float) for name in NAMES})
GRID = [dict(zip(NAMES, map(float, xyz), strict=True)) for xyz in np.ndindex(4, 4, 4)]
"""Non-negative points, zeros on every axis included."""

X, Y = Polynomial.variable("x"), Polynomial.variable("y")


def naive(polynomial: Polynomial, at: Mapping[str, Any]) -> Any:
    """Term by term, each power multiplied out."""
    return sum(c * prod(at[name] for name in m) for m, c in polynomial.terms.items())


@given(polynomials, polynomials, values)
def test_sum_difference_and_product(p: Polynomial, q: Polynomial, at: dict[str, float]) -> None:
    left, right = naive(p, at), naive(q, at)

    assert naive(p + q, at) == left + right
    assert naive(p - q, at) == left - right
    assert naive(p * q, at) == left * right
    assert naive(-p, at) == -left


@given(polynomials, coefficients, values)
def test_plain_numbers_from_either_side(p: Polynomial, n: int, at: dict[str, float]) -> None:
    value = naive(p, at)

    assert naive(p + n, at) == naive(n + p, at) == value + n
    assert naive(p * n, at) == naive(n * p, at) == value * n
    assert naive(p - n, at) == value - n
    assert naive(p / 4, at) == value / 4


@given(polynomials, polynomials, polynomials)
def test_ring_laws(p: Polynomial, q: Polynomial, r: Polynomial) -> None:
    assert p + q == q + p
    assert p * q == q * p
    assert p * (q + r) == p * q + p * r
    assert (p + q) + r == p + (q + r)
    assert p - p == Polynomial({})
    assert hash(p + q) == hash(q + p)


@given(st.lists(polynomials, max_size=5), values)
def test_total_is_the_sum(ps: list[Polynomial], at: dict[str, float]) -> None:
    assert naive(total(ps), at) == sum(naive(p, at) for p in ps)


def test_total_takes_plain_numbers_too() -> None:
    assert total([1.0, X, 2.0]) == X + 3


@given(polynomials)
def test_no_zero_is_stored(p: Polynomial) -> None:
    assert 0.0 not in p.terms.values()
    assert (p * 0).terms == {}
    assert bool(p) == bool(p.terms)


@given(polynomials, values)
def test_a_point_evaluates(p: Polynomial, at: dict[str, float]) -> None:
    point = Point({name: np.asarray(value) for name, value in at.items()})

    assert point(p) == naive(p, at)


@given(polynomials, st.integers(0, 2**32 - 1))
def test_a_point_of_arrays_broadcasts(p: Polynomial, seed: int) -> None:
    draw = np.random.default_rng(seed)
    at = {
        "x": draw.integers(0, 9, (3, 1)).astype(float),
        "y": draw.integers(0, 9, 4).astype(float),
        "z": np.asarray(float(draw.integers(0, 9))),
    }
    found = np.broadcast_to(Point(at)(p), (3, 4))

    assert np.array_equal(found, np.broadcast_to(naive(p, at), (3, 4)))


@given(polynomials, polynomials, values, st.integers(-9, 9).map(float))
def test_a_moved_point_is_a_new_point(
    p: Polynomial, q: Polynomial, at: dict[str, float], x: float
) -> None:
    point = Point({name: np.asarray(value) for name, value in at.items()})
    point(p), point(q)  # fills the cache that `at` takes over

    moved = point.at(x=np.asarray(x))

    assert moved(p) == naive(p, {**at, "x": x})
    assert moved(q) == naive(q, {**at, "x": x})
    assert point(p) == naive(p, at)


class Watched(np.ndarray[Any, Any]):
    """An array that notes its name whenever anything is computed with it; results are plain."""

    name: str
    used: list[str]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        self.used.extend(one.name for one in inputs if isinstance(one, Watched))
        plain = [np.asarray(one) if isinstance(one, Watched) else one for one in inputs]
        return getattr(ufunc, method)(*plain, **options)


def watched(name: str, value: float, used: list[str]) -> Watched:
    array = np.asarray(value).view(Watched)
    array.name, array.used = name, used
    return array


def test_a_monomial_is_computed_once() -> None:
    used: list[str] = []
    point = Point({"x": watched("x", 2.0, used), "y": watched("y", 3.0, used)})

    assert point(X * Y + X) == 8
    assert point(5 * X * Y - X) == 28
    assert sorted(used) == ["x", "y"]
    moved = point.at(y=np.asarray(5.0))
    assert moved(X * Y) == 10
    assert moved(7 * X) == 14
    assert sorted(used) == ["x", "y"]  # what x alone gives is kept


@given(polynomials, polynomials)
def test_never_exceeds_holds_at_every_non_negative_point(p: Polynomial, q: Polynomial) -> None:
    if p.never_exceeds(q):
        assert all(naive(p, at) <= naive(q, at) for at in GRID)


@given(polynomials, positive)
def test_adding_what_is_never_negative_never_lowers(p: Polynomial, more: Polynomial) -> None:
    assert p.never_exceeds(p + more)
    assert (p + more).never_exceeds(p) == (not more)


@pytest.mark.parametrize(
    ("p", "q", "expected"),
    [
        (X, X, True),
        (X, 2 * X, True),
        (2 * X, X, False),
        (X, Y, False),
        (X, X + Y, True),
        (X, X - Y, False),  # below at y = 1, for all that y is missing on the left
        (X - Y, X, True),
        (Polynomial({}), X, True),
        (Polynomial({}), X - Y, False),
        (X, Polynomial.of(5.0), False),
        (X - Y / 2, X, True),
        (X, X + Y / 2, True),
        (X, X - Y / 2, False),
        (X + Y / 2, X, False),
    ],
)
def test_never_exceeds(p: Polynomial, q: Polynomial, expected: bool) -> None:
    assert p.never_exceeds(q) is expected


@given(st.lists(polynomials, min_size=1, max_size=6))
def test_the_envelope_has_the_same_maximum_everywhere(ps: list[Polynomial]) -> None:
    kept = upper_envelope(ps)

    assert all(p in ps for p in kept)
    for at in GRID:
        assert max(naive(p, at) for p in kept) == max(naive(p, at) for p in ps)


@given(st.lists(polynomials, min_size=1, max_size=6))
def test_the_envelope_holds_nothing_that_another_covers(ps: list[Polynomial]) -> None:
    kept = upper_envelope(ps)

    assert not any(p.never_exceeds(q) for p in kept for q in kept if p is not q)


def test_the_envelope_of_nothing_is_nothing() -> None:
    assert upper_envelope([]) == []


@given(st.lists(positive, max_size=5), st.sampled_from(GRID))
def test_maximum_of_a_point(ps: list[Polynomial], at: dict[str, float]) -> None:
    point = Point({name: np.asarray(value) for name, value in at.items()})

    assert point.maximum(ps) == max([0.0, *(naive(p, at) for p in ps)])


@pytest.mark.parametrize(
    ("polynomial", "monomial"), [(X * Y * X, ("x", "x", "y")), (Y * X, ("x", "y"))]
)
def test_monomials_are_sorted_so_that_like_terms_meet(
    polynomial: Polynomial, monomial: Monomial
) -> None:
    assert polynomial.terms == {monomial: 1.0}


def test_variables_are_those_that_are_left() -> None:
    p = X * Y + 1

    assert p.variables == {"x", "y"}
    assert (p - X * Y).variables == set()


def test_a_polynomial_reads_as_one() -> None:
    assert repr(3 * X * Y + 1) == "3·x·y + 1"
    assert repr(Polynomial({})) == "0"


@given(polynomials, polynomials, coefficients, coefficients)
def test_a_sum_of_others_is_found_again(p: Polynomial, q: Polynomial, a: int, b: int) -> None:
    """The first having a term that the second has not, and neither being nothing."""
    first, second = p + X * Y * Y * Y, q + 1000.0
    assert (first * a + second * b).in_terms_of(first, second) == (a, b)


@pytest.mark.parametrize(
    ("sum_", "others", "expected"),
    [
        (6 * X * Y, (X * Y,), (6,)),
        (6 * X * Y + 5, (X * Y,), None),  # more than a multiple
        (6 * X * Y + 5, (X * Y, Polynomial.of(1)), (6, 5)),
        (6 * X * Y, (X * Y, Polynomial.of(1)), (6, 0)),
        (Polynomial.of(7), (Polynomial.of(1),), (7,)),
        # traffic of attention: keys, and queries one more than they
        (2 * X * Y + 3 * X * (Y + 1), (X * Y, X * (Y + 1)), None),  # each has the other's term
        (2 * X * Y + 3 * X * (Y + 1), (X * (Y + 1), X * Y), (3, 2)),
        (X, (Y,), None),
        (X, (X + Y,), None),
        (Polynomial.of(0), (X,), (0,)),
        (Polynomial.of(0), (), ()),
        (X, (), None),
        (X, (Polynomial.of(0),), None),
    ],
)
def test_in_terms_of_others(
    sum_: Polynomial, others: tuple[Polynomial, ...], expected: tuple[float, ...] | None
) -> None:
    assert sum_.in_terms_of(*others) == expected


def test_coefficients_that_are_no_round_numbers_leave_nothing_but_their_last_bits() -> None:
    other = X * 0.1 + Y * 0.3
    found = (other * 0.7).in_terms_of(other)
    assert found == pytest.approx((0.7,), rel=1e-15)
    assert (other * 0.7 + X * 1e-9).in_terms_of(other) is None


@given(polynomials, coefficients)
def test_a_constant_is_what_has_no_variable(p: Polynomial, n: int) -> None:
    assert Polynomial.of(n).constant == n
    assert (p - p).constant == 0
    assert (p.constant is None) == bool(p.variables)
