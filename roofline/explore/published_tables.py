"""Published tables recomputed from first principles, cell by cell."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Literal

from msgspec import Struct

from roofline.engine.analysis import analyze
from roofline.engine.estimate import Estimate
from roofline.specs.reading import DATA, build, read_yaml
from roofline.specs.sourced import Spec
from roofline.units import GIGA, MILLI, TERA

Column = Literal["flops_t", "time_ms", "memory_gb", "activation_gb"]
Status = Literal["match", "match, padded zero", "match, scaled", "slip", "mismatch"]

_TABLE2 = DATA / "prumerge_table2.yaml"
_QUANTITIES: dict[Column, tuple[str, float]] = {
    "flops_t": ("flops", TERA),
    "time_ms": ("roofline_time_s", MILLI),
    "memory_gb": ("memory_access_bytes", GIGA),
    "activation_gb": ("activation_store_bytes", GIGA),
}
REASONS: dict[Status, str] = {
    "match": "the recomputed value rounds to the printed one",
    "match, padded zero": (
        "the table pads with zeros: equal at the digits before the padding (4.60 stands for 4.6)"
    ),
    "match, scaled": (
        "INT4 FLOPs are the printed FP16 figure × 4/16; the time beside it uses the full count"
    ),
    "slip": "no rule gives the printed value",
    "mismatch": "differs from the printed value, and nothing explains it",
}


class PrintedRow(Spec, frozen=True):
    """One row of the table, digits as printed."""

    model: str
    quant: str
    method: str
    flops_t: str
    time_ms: str
    memory_gb: str
    activation_gb: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.model, self.quant, self.method


class Slip(Spec, frozen=True):
    """A printed cell known to be in error."""

    model: str
    quant: str
    method: str
    column: Column
    why: str


class PrintedTable(Spec, frozen=True):
    """Table 2 as data."""

    source: str
    hardware: str
    computed_at_tokens: dict[str, int]
    stated_tokens: dict[str, int]
    text_tokens: int
    rows: tuple[PrintedRow, ...]
    slips: tuple[Slip, ...]


class PrintedCell(Struct, frozen=True):
    """One printed value beside the recomputed one."""

    model: str
    quant: str
    method: str
    column: Column
    printed: str
    recomputed: float
    """In the column's unit: 10^12 operations, ms, GB."""
    status: Status
    why: str

    @property
    def matches(self) -> bool:
        return self.status.startswith("match")

    @property
    def explained(self) -> bool:
        return self.status != "mismatch"


class StatedRow(Struct, frozen=True):
    """The same row at the prompt length that the text states, under `exact` accounting."""

    model: str
    quant: str
    method: str
    prompt_tokens: int
    flops_t: float
    time_ms: float
    memory_gb: float
    activation_gb: float
    bound: str


class Reproduction(Struct, frozen=True):
    """Table 2 against its recomputation."""

    source: str
    cells: tuple[PrintedCell, ...]
    stated: tuple[StatedRow, ...]

    @property
    def explained(self) -> bool:
        """Whether every cell matches or is a known slip."""
        return all(cell.explained for cell in self.cells)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        import msgspec

        counts = {status: sum(c.status == status for c in self.cells) for status in REASONS}
        return {
            "source": self.source,
            "explained": self.explained,
            "counts": counts,
            "cells": [msgspec.to_builtins(c) | {"matches": c.matches} for c in self.cells],
            "stated_lengths_exact": msgspec.to_builtins(self.stated),
        }


def prumerge_table2(table: PrintedTable | None = None) -> Reproduction:
    """Recompute table 2 of the LLaVA-PruMerge paper under `llm-viewer` accounting."""
    table = table or build(PrintedTable, read_yaml(_TABLE2), _TABLE2)
    cells = [cell for row in table.rows for cell in _cells(table, row)]
    stated = [_stated(table, row) for row in table.rows]
    return Reproduction(table.source, tuple(cells), tuple(stated))


def _cells(table: PrintedTable, row: PrintedRow) -> list[PrintedCell]:
    tokens = table.computed_at_tokens[row.method]
    estimate = _estimate(table, row, tokens, "llm-viewer")
    cells = []
    for column in _QUANTITIES:
        printed, value = getattr(row, column), _in_units(estimate, column)
        status, recomputed = _judge(table, row, column, printed, value)
        why = REASONS[status]
        if status == "mismatch":
            known = [
                s.why
                for s in table.slips
                if (s.model, s.quant, s.method, s.column) == (*row.key, column)
            ]
            if known:
                status, why = "slip", known[0]
        cells.append(PrintedCell(*row.key, column, printed, recomputed, status, why))
    return cells


def _judge(
    table: PrintedTable, row: PrintedRow, column: Column, printed: str, value: float
) -> tuple[Status, float]:
    """How a printed cell relates to the recomputed value, and that value as the table means it."""
    if column == "flops_t" and row.quant == "int4":
        fp16 = next(r for r in table.rows if r.key == (row.model, "fp16", row.method))
        scaled = Decimal(fp16.flops_t) * 4 / 16
        return ("match, scaled" if _rounds_to(scaled, printed) else "mismatch"), float(scaled)
    exact = Decimal(value)
    if _rounds_to(exact, printed):
        return "match", value
    if printed.endswith("0") and _rounds_to(exact, printed.rstrip("0")):
        return "match, padded zero", value
    return "mismatch", value


def _rounds_to(value: Decimal, printed: str) -> bool:
    """Whether `value`, rounded half up to the digits of `printed`, is what is printed."""
    target = Decimal(printed)
    return value.quantize(target, rounding=ROUND_HALF_UP) == target


def _stated(table: PrintedTable, row: PrintedRow) -> StatedRow:
    tokens = table.stated_tokens[row.method]
    estimate = _estimate(table, row, tokens, "exact")
    return StatedRow(
        *row.key,
        tokens,
        flops_t=_in_units(estimate, "flops_t"),
        time_ms=_in_units(estimate, "time_ms"),
        memory_gb=_in_units(estimate, "memory_gb"),
        activation_gb=_in_units(estimate, "activation_gb"),
        bound=str(estimate.llm.bound),
    )


def _estimate(table: PrintedTable, row: PrintedRow, tokens: int, accounting: str) -> Estimate:
    return analyze(
        model=row.model,
        hardware=table.hardware,
        quant=row.quant,
        visual_tokens=tokens - table.text_tokens,
        text_tokens=table.text_tokens,
        accounting=accounting,
    )


def _in_units(estimate: Estimate, column: Column) -> float:
    quantity, unit = _QUANTITIES[column]
    return float(getattr(estimate.llm, quantity)) / unit
