"""Polynomials and products in words, and the same with their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, SupportsFloat

from roofline.model.polynomial import Monomial, Number, Point, Polynomial
from roofline.units import si

_POWERS = {2: "²", 3: "³"}


def plain_number(value: SupportsFloat) -> str:
    """`4,096`, `0.515625`."""
    number = float(value)
    return f"{number:,.0f}" if number.is_integer() else f"{number:,.6g}"


def product(*factors: object) -> str:
    """`2 × 80 × 4,096`."""
    return " × ".join(f if isinstance(f, str) else plain_number(f) for f in factors)  # type: ignore[arg-type]


def in_symbols(number: Number) -> str:
    """`4,096 × batch × prompt tokens`; of a constant the number."""
    return _sum(number, lambda name: name.replace("_", " "))


def in_numbers(number: Number, point: Point) -> str:
    """`4,096 × 1 × 80`."""
    return _sum(number, lambda name: plain_number(point[name]))


def worked(number: Number, point: Point, unit: str, *factors: str) -> str:
    """Symbols, numbers and result: `4 × batch × 2 B = 4 × 1 × 2 B = 8.00 B`.

    factors: what the polynomial is multiplied by; `number` holds the result without them. Terms
        that come to nothing here are left out.
    """
    polynomial = Polynomial.of(number)
    terms = {m: c for m, c in polynomial.terms.items() if point(Polynomial({m: c}))}
    polynomial = Polynomial(terms) if terms else polynomial
    texts = [in_symbols(polynomial)]
    if polynomial.variables:
        texts.append(in_numbers(polynomial, point))
    if factors:
        several = len(polynomial.terms) > 1
        texts = [product(f"({text})" if several else text, *factors) for text in texts]
    scale = 1.0
    for factor in factors:
        scale *= float(factor.split()[0])
    return equal(*texts, si(value_of(polynomial, point) * scale, unit))


def equal(*texts: str) -> str:
    """Joined by equals signs, each once."""
    return " = ".join(dict.fromkeys(texts))


def value_of(number: Number, point: Point) -> float:
    """Of one configuration."""
    return float(point(Polynomial.of(number)))


def listed(parts: Sequence[tuple[str, Any]], unit: str) -> str:
    """`vision 607 MB + llm 13.5 GB = 14.1 GB`."""
    total = sum(float(value) for _, value in parts)
    texts = " + ".join(f"{name} {si(value, unit)}" for name, value in parts)
    return f"{texts} = {si(total, unit)}" if len(parts) > 1 else texts


def _sum(number: Number, word: Any) -> str:
    terms = Polynomial.of(number).terms
    return " + ".join(_term(c, m, word) for m, c in terms.items()) or "0"


def _term(coefficient: float, monomial: Monomial, word: Any) -> str:
    factors = [
        word(name) + (_POWERS.get(power, f"^{power}") if power > 1 else "")
        for name, power in Counter(monomial).items()
    ]
    if coefficient != 1 or not factors:
        factors.insert(0, plain_number(coefficient))
    return " × ".join(factors)
