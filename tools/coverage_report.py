"""Say what the tests ran, room by room: `python tools/coverage_report.py [ROOM …]`.

`make coverage` measures lines and branches into `.coverage.json`. Without arguments the shares are
printed and held against `FLOORS`; with rooms, the lines and branches that no test took.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ROOT / ".coverage.json"
FLOORS = {
    "cli": (91, 86),
    "device": (99, 98),
    "engine": (99, 98),
    "explore": (99, 98),
    "fitting": (99, 98),
    "model": (99, 99),
    "records": (99, 98),
    "reducers": (99, 97),
    "report": (99, 97),
    "specs": (98, 95),
    "torch_side": (96, 92),
}
"""Lines and branches, in percent, that at least must run: a point or so below what does. Commands
run in processes of their own as well, which are not measured; CUDA events, streams, graphs and
NVML's samples run on a GPU alone, where `tests/gpu` holds them."""


class CoveredShare(NamedTuple):
    """Of lines or branches: those taken, of all."""

    taken: int
    every: int

    @property
    def percent(self) -> float:
        return 100 * self.taken / self.every if self.every else 100.0


def measured() -> dict[str, dict[str, Any]]:
    """What was found of each file of the package."""
    if not MEASURED.exists():
        sys.exit(f"nothing measured yet: `make test` writes {MEASURED.name}")
    files = json.loads(MEASURED.read_text(encoding="utf-8"))["files"]
    return {name: found for name, found in sorted(files.items()) if name.startswith("roofline/")}


def room_of(file: str) -> str:
    return file.split("/")[1].removesuffix(".py")


def shares(files: dict[str, dict[str, Any]]) -> dict[str, tuple[CoveredShare, CoveredShare]]:
    """Room → lines and branches."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for name, found in files.items():
        lines, branches = len(found["executed_lines"]), len(found.get("executed_branches", ()))
        every_line = lines + len(found["missing_lines"])
        every_branch = branches + len(found.get("missing_branches", ()))
        counts = (lines, every_line, branches, every_branch)
        sums[room_of(name)] = [a + b for a, b in zip(sums[room_of(name)], counts, strict=True)]
    return {room: (CoveredShare(*s[:2]), CoveredShare(*s[2:])) for room, s in sums.items()}


def gaps(files: dict[str, dict[str, Any]], rooms: list[str]) -> str:
    """Lines and branches of the rooms that no test took."""
    rows = []
    for name, found in files.items():
        missing = set(found["missing_lines"])
        branches = [
            f"{start}→{end or 'end'}"
            for start, end in found.get("missing_branches", ())
            if start not in missing
        ]
        if room_of(name) in rooms and (missing or branches):
            rows.append(f"{name}: {', '.join([*spans(sorted(missing)), *branches])}")
    return "\n".join(rows)


def spans(lines: list[int]) -> list[str]:
    """Consecutive lines put together."""
    ranges: list[list[int]] = []
    for line in lines:
        if ranges and line == ranges[-1][-1] + 1:
            ranges[-1].append(line)
        else:
            ranges.append([line])
    return [str(s[0]) if len(s) == 1 else f"{s[0]}–{s[-1]}" for s in ranges]


def main() -> None:
    files, rooms = measured(), sys.argv[1:]
    if rooms:
        print(gaps(files, rooms))
        return
    low = []
    print(f"{'':12}{'lines':>9}{'branches':>11}")
    for room, (lines, branches) in shares(files).items():
        print(f"{room:12}{lines.percent:7.1f} %{branches.percent:9.1f} %")
        for what, share, floor in zip(
            ("lines", "branches"), (lines, branches), FLOORS.get(room, (0, 0)), strict=True
        ):
            if share.percent < floor:
                low.append(f"{room}: {share.percent:.1f} % of {what} run, fewer than {floor} %")
    if low:
        sys.exit("\n".join([*low, "`python tools/coverage_report.py ROOM` names them"]))


if __name__ == "__main__":
    main()
