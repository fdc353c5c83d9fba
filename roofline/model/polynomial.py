"""Polynomials in the axes of a scenario, the numbers that every cost formula computes with.

A transformer's FLOPs, bytes and live tensors are polynomials in a handful of variables: batch,
prompt tokens, visual tokens, the decode step. A formula is therefore evaluated once, on
variables, whatever the number of configurations; like terms collect, and only the few
coefficients that are left meet the arrays. The same formula also takes plain numbers and arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Monomial: TypeAlias = tuple[str, ...]
"""Sorted variable names, repeated for powers; () is the constant."""
_Result = TypeVar("_Result")


class Polynomial:
    """Σ coefficient · Π variables, immutable, with no zero coefficients stored.

    Coefficients are float64: sums and products of counts are exact up to 2^53.
    """

    __slots__ = ("terms",)

    def __init__(self, terms: Mapping[Monomial, float]) -> None:
        self.terms = {m: float(c) for m, c in terms.items() if c}

    @classmethod
    def variable(cls, name: str) -> Polynomial:
        return cls({(name,): 1.0})

    @classmethod
    def of(cls, value: Number) -> Polynomial:
        return value if isinstance(value, Polynomial) else cls({(): value})

    def __add__(self, other: Number) -> Polynomial:
        terms = dict(self.terms)
        for monomial, coefficient in Polynomial.of(other).terms.items():
            terms[monomial] = terms.get(monomial, 0.0) + coefficient
        return Polynomial(terms)

    __radd__ = __add__

    def __mul__(self, other: Number) -> Polynomial:
        if not isinstance(other, Polynomial):
            return Polynomial({m: c * other for m, c in self.terms.items()})
        terms: dict[Monomial, float] = {}
        for left, a in self.terms.items():
            for right, b in other.terms.items():
                monomial = tuple(sorted(left + right))
                terms[monomial] = terms.get(monomial, 0.0) + a * b
        return Polynomial(terms)

    __rmul__ = __mul__

    def __neg__(self) -> Polynomial:
        return Polynomial({m: -c for m, c in self.terms.items()})

    def __sub__(self, other: Number) -> Polynomial:
        return self + -Polynomial.of(other)

    def __truediv__(self, divisor: float) -> Polynomial:
        return Polynomial({m: c / divisor for m, c in self.terms.items()})

    def __bool__(self) -> bool:
        return bool(self.terms)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Polynomial) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))

    def __repr__(self) -> str:
        return (
            " + ".join(f"{c:g}" + "".join(f"·{v}" for v in m) for m, c in self.terms.items()) or "0"
        )

    def in_terms_of(self, *others: Polynomial) -> tuple[float, ...] | None:
        """Coefficients c of self = Σ c·other, the others each having a term that the later ones
        have not; None where it is no such sum.
        """
        rest, coefficients = self, []
        for i, other in enumerate(others):
            later = {monomial for one in others[i + 1 :] for monomial in one.terms}
            own = next((monomial for monomial in other.terms if monomial not in later), None)
            if own is None:
                return None
            coefficient = rest.terms.get(own, 0.0) / other.terms[own]
            rest = rest - other * coefficient
            coefficients.append(coefficient)
        largest = max(map(abs, self.terms.values()), default=0.0)
        if any(abs(left) > 1e-12 * largest for left in rest.terms.values()):
            return None
        return tuple(coefficients)

    @property
    def constant(self) -> float | None:
        """Its value, if it is the same everywhere."""
        return None if self.terms.keys() - {()} else self.terms.get((), 0.0)

    @property
    def variables(self) -> frozenset[str]:
        return frozenset(name for monomial in self.terms for name in monomial)

    def never_exceeds(self, other: Polynomial) -> bool:
        """True if no coefficient is above the other's, so that no non-negative point is either."""
        return all(c <= other.terms.get(m, 0.0) for m, c in self.terms.items()) and all(
            c >= 0.0 for m, c in other.terms.items() if m not in self.terms
        )


Number: TypeAlias = Polynomial | float


def total(values: Iterable[Number]) -> Polynomial:
    """Sum of polynomials."""
    terms: dict[Monomial, float] = {}
    for value in values:
        if value:  # most of an op's traffic is nothing
            for monomial, coefficient in Polynomial.of(value).terms.items():
                terms[monomial] = terms.get(monomial, 0.0) + coefficient
    return Polynomial(terms)


def upper_envelope(values: Iterable[Polynomial]) -> list[Polynomial]:
    """The fewest of `values` with the same pointwise maximum at every non-negative point."""
    kept: list[Polynomial] = []
    for value in values:
        if any(value.never_exceeds(other) for other in kept):
            continue
        kept = [other for other in kept if not other.never_exceeds(value)]
        kept.append(value)
    return kept


class Derived(Struct, frozen=True):
    """A variable that is computed from others: `name` = `compute`(*`of`), arrays that broadcast."""

    name: str
    of: tuple[str, ...]
    compute: Callable[..., Array]


class Point(Mapping[str, Array]):
    """Values of the variables, scalars or arrays that broadcast, at which polynomials are read.

    Monomials are computed once however many polynomials share them, derived variables when a
    polynomial first asks for them.
    """

    def __init__(self, values: Mapping[str, Array], derived: Iterable[Derived] = ()) -> None:
        self._given = dict(values)
        self._derived = {one.name: one for one in derived if one.name not in self._given}
        self._computed: dict[str, Array] = {}
        self._monomials: dict[Monomial, Array] = {(): np.float64(1.0)}  # type: ignore[dict-item]
        self._mapped: dict[Any, Any] = {}

    def __getitem__(self, name: str) -> Array:
        value = self._given.get(name)
        if value is None:
            value = self._computed.get(name)
        if value is None:
            one = self._derived[name]
            value = self._computed[name] = one.compute(*(self[other] for other in one.of))
        return value

    def __iter__(self) -> Iterator[str]:
        return iter((*self._given, *self._derived))

    def __len__(self) -> int:
        return len(self._given) + len(self._derived)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a figure that depends on all that is given."""
        return np.broadcast_shapes(*(np.shape(value) for value in self._given.values()))

    def moves_with(self, name: str, moved: str) -> bool:
        """Whether a variable is `moved`, or derived from it."""
        if name == moved:
            return True
        one = None if name in self._given else self._derived.get(name)
        return one is not None and any(self.moves_with(other, moved) for other in one.of)

    def _monomial(self, monomial: Monomial) -> Array:
        known = self._monomials.get(monomial)
        if known is None:
            known = self._monomial(monomial[:-1]) * self[monomial[-1]]
            self._monomials[monomial] = known
        return known

    def __call__(self, polynomial: Polynomial) -> Array:
        """Evaluate; a constant comes back as a 0-d value, to be broadcast by the caller."""
        value: Array | None = None
        for monomial, coefficient in polynomial.terms.items():
            term = self._monomial(monomial) * coefficient
            value = term if value is None else value + term
        return np.float64(0.0) if value is None else value  # type: ignore[return-value]

    def mapped(self, function: Callable[[Array], _Result], polynomial: Polynomial) -> _Result:
        """A function of a polynomial's values, computed once however many ask for it."""
        key = function, polynomial
        if key not in self._mapped:
            self._mapped[key] = function(np.asarray(self(polynomial)))
        found: _Result = self._mapped[key]
        return found

    def at(self, **values: Array) -> Point:
        """The same point with some variables moved; what does not depend on them is kept."""
        moved = Point({**self._given, **values}, self._derived.values())

        def stays(name: str) -> bool:
            return not any(moved.moves_with(name, other) for other in values)

        moved._computed = {n: v for n, v in self._computed.items() if stays(n)}
        moved._monomials = {m: v for m, v in self._monomials.items() if all(map(stays, m))}
        return moved

    def outer(self, **values: Array) -> Point:
        """Every configuration with every entry of 1-d `values`, along a last axis of their own."""
        given = {name: value[..., None] for name, value in self._given.items()}
        return Point({**given, **values}, self._derived.values())

    def maximum(self, polynomials: Iterable[Polynomial]) -> Array:
        """Pointwise maximum, at least 0."""
        highest: Array = np.float64(0.0)  # type: ignore[assignment]
        for polynomial in upper_envelope(polynomials):
            highest = np.maximum(highest, self(polynomial))
        return highest
