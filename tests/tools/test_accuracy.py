"""`reports/accuracy.md` says of the laws that ship what they are."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from roofline.specs.catalog import all_hardware, load_hardware

ROOT = Path(__file__).resolve().parents[2]
MEASURED = ROOT.parent / "shared" / "measured"
TEXT = (ROOT / "reports" / "accuracy.md").read_text(encoding="utf-8")
KINDS = ("matmul", "attention", "decode_attention", "encoder_attention", "moe", "collective")
BOUND_OFF_PERCENT = {"a100-80gb": 43.5, "h100-sxm": 36.4, "h200": 41.3, "b200": 51.0, "l40s": 31.3}
"""Mean error of the plain roofline on matmuls in bf16, as others worked it out on other shapes of
the same databases.
"""


def table(heading: str) -> list[list[str]]:
    """Cells of the first table behind a heading, without the header."""
    lines = TEXT.split(f"\n## {heading}\n")[1].splitlines()
    rows = [line.strip("| ").split("|") for line in lines if line.startswith("| ")]
    cells = [[cell.strip() for cell in row] for row in rows]
    width = len(cells[0])
    return [row for row in cells[1:] if len(row) == width][: _first_block(lines)]


def _first_block(lines: list[str]) -> int:
    first = next(i for i, line in enumerate(lines) if line.startswith("| "))
    block = 0
    while first + block < len(lines) and lines[first + block].startswith("|"):
        block += 1
    return block - 2


def percent(cell: str) -> float:
    return float(re.sub(r"[ %]", "", cell).replace("−", "-"))


SHIPPED = table("Laws that ship, on the rows they were fitted to")
HELD_OUT = table("On shapes that a fit did not see")


def test_it_has_a_row_for_every_law_that_ships() -> None:
    laws = {
        (device.name, kind, name, law.library)
        for device in all_hardware()
        if device.kernel_laws
        for kind in KINDS
        for name, law in device.kernel_laws.families.get(kind, {}).items()
    }

    assert {tuple(row[:4]) for row in SHIPPED} == laws
    assert {tuple(row[:3]) for row in HELD_OUT} == {law[:3] for law in laws}


def test_it_states_what_the_files_state() -> None:
    """A law that was fitted anew makes the report stale, even where the measurements are not."""
    for device, kind, name, *_, median, p90 in SHIPPED:
        law = load_hardware(device).kernel_laws.families[kind][name]
        assert percent(median) == pytest.approx(law.median_error_percent, abs=0.051), (device, name)
        assert percent(p90) == pytest.approx(law.p90_error_percent, abs=0.051), (device, name)


def test_the_plain_roofline_is_as_far_off_as_was_known() -> None:
    found = {row[0]: percent(row[9]) for row in SHIPPED if row[1:3] == ["matmul", "bf16"]}

    for device, off in BOUND_OFF_PERCENT.items():
        assert found[device] == pytest.approx(off, abs=2.5)


def test_laws_are_much_closer_than_the_bound() -> None:
    for row in HELD_OUT:
        assert percent(row[6]) < percent(row[-1]) / 1.5, row


@pytest.mark.skipif(not MEASURED.is_dir(), reason="the measurements lie beside the checkout")
def test_the_report_says_what_the_laws_that_ship_give() -> None:
    pytest.importorskip("pyarrow", reason="the measurements are Parquet files")
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import accuracy
    finally:
        sys.path.pop(0)
    fresh = accuracy.shipped(MEASURED)

    assert TEXT.partition(accuracy.REFITTED)[0] == fresh, "run `python tools/accuracy.py FOLDER`"
