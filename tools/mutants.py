"""Plant small faults in the numeric core and see whether a test notices: mutation testing.

    python tools/mutants.py [--path roofline/fitting …] [--tests tests/fitting …] [--sample 200] …

Each fault goes into a copy of the tree, never into the working tree, and is met by the tests that
run its line, until the first one fails. Faults that change nothing are listed in
`tools/equivalent_mutants.toml`, each with its reason. Survivors are for people to read: the exit
code is 0.
"""

from __future__ import annotations

import argparse
import os
import random
import time
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from covering_tests import CoveringTests, covering_tests
from mutations import Mutation, mutations
from runs import TIMED_OUT, Job, copy_of_the_tree, prepare, run_all, run_tests

CORE = (
    "roofline/model",
    "roofline/reducers",
    "roofline/engine",
    "roofline/device",
    "roofline/fitting",
    "roofline/explore",
    "roofline/report/text",
    "roofline/report/charts",
)
TESTS = (
    "tests/specs",
    "tests/model",
    "tests/reducers",
    "tests/device",
    "tests/engine",
    "tests/fitting",
    "tests/explore",
    "tests/records",
    "tests/report",
    "tests/cli",
    "tests/torch_side/oracle",
    "tests/torch_side/measure",
    "tests/torch_side/reduce/test_launches.py",
)
"""Those that hold the numeric core and the report's text: the rest runs the methods on tensors."""
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.toml")
START_S, SLOWER = 20.0, 6.0
"""A mutant may take so many seconds, and so many times as long as its tests take otherwise."""
KILLED, SURVIVED, TIMEOUT, UNCOVERED, SAME = (
    "killed",
    "survived",
    "timed out",
    "no test",
    "equivalent",
)


@dataclass(frozen=True)
class Mutant:
    """A mutation of a file, and what became of it."""

    file: str
    mutation: Mutation
    code: str
    """The line before the change."""
    verdict: str = ""
    tests: int = 0

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from others, whatever its line's number."""
        return self.file, self.code, self.mutation.change


class _Ranked:
    """A pytest plugin: those tests alone, in that order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.rank = {test: i for i, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self.rank]
        items.sort(key=lambda item: self.rank[item.nodeid])


def all_mutants(tree: Path, paths: Sequence[str]) -> list[Mutant]:
    """Every mutant of the modules under `paths`, in order."""
    files = sorted(
        file
        for path in paths
        for file in ((tree / path).rglob("*.py") if (tree / path).is_dir() else [tree / path])
        if file.exists()
    )
    found = []
    for file in files:
        source = file.read_text(encoding="utf-8")
        lines = source.splitlines()
        name = file.relative_to(tree).as_posix()
        found += [Mutant(name, m, lines[m.line - 1].strip()) for m in mutations(source)]
    return found


def equivalents() -> dict[tuple[str, str, str], str]:
    """Mutants that nobody can tell from the original, and why."""
    entries = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8")).get("mutant", [])
    return {(entry["file"], entry["line"], entry["change"]): entry["reason"] for entry in entries}


def judged(
    mutants: Sequence[Mutant], known: CoveringTests, trees: Sequence[Path], budget_s: float
) -> list[Mutant]:
    """The mutants with their verdicts, those of no test and the equivalent ones included."""
    same = equivalents()
    done, jobs = [], []
    for mutant in mutants:
        tests = known.of(
            mutant.file,
            mutant.mutation.line,
            in_function=mutant.mutation.in_function,
            budget_s=budget_s,
        )
        if mutant.key in same:
            done.append(replace(mutant, verdict=SAME))
        elif not tests:
            done.append(replace(mutant, verdict=UNCOVERED))
        else:
            seconds = sum(known.seconds[test] for test in tests)
            jobs.append(_job(replace(mutant, tests=len(tests)), tests, START_S + SLOWER * seconds))
    for number, (mutant, code, took) in enumerate(run_all(jobs, trees), 1):
        verdict = {0: SURVIVED, TIMED_OUT: TIMEOUT}.get(code, KILLED)
        done.append(replace(mutant, verdict=verdict))
        where = f"{mutant.file}:{mutant.mutation.line}"
        change = f"  {mutant.mutation.change}" if verdict == SURVIVED else ""
        print(f"{number}/{len(jobs)} {verdict:9} {took:5.1f} s  {where}{change}", flush=True)
    return sorted(done, key=lambda one: (one.file, one.mutation.start, one.mutation.text))


def _job(mutant: Mutant, tests: Sequence[str], limit_s: float) -> Job[Mutant]:
    kept = ""

    def before(tree: Path) -> None:
        nonlocal kept
        file = tree / mutant.file
        kept = file.read_text(encoding="utf-8")
        file.write_text(mutant.mutation.applied(kept), encoding="utf-8")

    def work(tree: Path) -> int:
        files = sorted({test.split("::")[0] for test in tests})
        return run_tests(tree, ["-x", *files], [_Ranked(tests)])

    def after(tree: Path) -> None:
        (tree / mutant.file).write_text(kept, encoding="utf-8")

    return Job(mutant, work, limit_s, before, after)


def check_unchanged(known: CoveringTests, mutants: Sequence[Mutant], tree: Path) -> None:
    """The quickest test of every mutant passes on the tree as it is: else all would be killed."""
    quickest = {
        tests[0]
        for m in mutants
        if (tests := known.of(m.file, m.mutation.line, in_function=True, budget_s=0.0))
    }
    files = sorted({test.split("::")[0] for test in quickest})
    if not files:
        return
    job = Job("", lambda t: run_tests(t, ["-x", *files], [_Ranked(sorted(quickest))]), 600.0)
    ((_, code, _),) = run_all([job], [tree])
    if code:
        raise SystemExit(f"tests fail on the tree as it is (pytest's exit code {code})")


def report(mutants: Sequence[Mutant], total: int) -> str:
    """Verdicts by file, then every mutant that no test noticed."""
    names = (KILLED, TIMEOUT, SURVIVED, UNCOVERED, SAME)
    lines = ["", f"{'':45}" + "".join(f"{name:>11}" for name in names)]
    for file in sorted({mutant.file for mutant in mutants}):
        counts = Counter(mutant.verdict for mutant in mutants if mutant.file == file)
        lines.append(f"{file:45}" + "".join(f"{counts[name] or '':>11}" for name in names))
    counts = Counter(mutant.verdict for mutant in mutants)
    lines.append(f"{'all':45}" + "".join(f"{counts[name]:>11}" for name in names))
    unnoticed = [m for m in mutants if m.verdict in (SURVIVED, UNCOVERED)]
    if unnoticed:
        lines += ["", "Unnoticed:"]
    for mutant in unnoticed:
        fault = mutant.mutation
        tests = f"{mutant.tests} tests" if mutant.tests else "no test"
        lines.append(f"  {mutant.file}:{fault.line}  {fault.kind}, {tests}")
        lines.append(f"    {mutant.code}")
        lines.append(f"    {fault.change}")
    judged_ones = len(mutants) - counts[SAME]
    share = 100 * len(unnoticed) / judged_ones if judged_ones else 0.0
    lines += ["", f"{len(unnoticed)} of {judged_ones} unnoticed: {share:.0f} % ({total} in all)"]
    return "\n".join(lines)


def stale_equivalents(tree: Path) -> list[str]:
    """Entries of the list whose line or change is no more."""
    entries = equivalents()
    known = {m.key for m in all_mutants(tree, sorted({file for file, _, _ in entries}))}
    return [" | ".join(key) for key in entries if key not in known]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--path", nargs="+", default=CORE, help="modules or folders to mutate")
    parser.add_argument("--sample", type=int, default=100, help="how many mutants; 0: all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="files or folders to run")
    parser.add_argument("--budget", type=float, default=30.0, help="seconds of tests per mutant")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    started = time.monotonic()
    prepare()
    with TemporaryDirectory(prefix="mutants-") as scratch:
        trees = [copy_of_the_tree(Path(scratch) / str(i)) for i in range(options.workers)]
        mutants = everything = all_mutants(trees[0], options.path)
        if options.sample and options.sample < len(everything):
            mutants = random.Random(options.seed).sample(everything, options.sample)
        known = covering_tests(options.tests, trees)
        check_unchanged(known, mutants, trees[0])
        print(report(judged(mutants, known, trees, options.budget), len(everything)))
        for entry in stale_equivalents(trees[0]):
            print(f"stale in {EQUIVALENT.name}: {entry}")
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
