"""Runs of some tests in a child process, on a copy of the tree: what `tools/mutants.py` runs.

A child is forked from a process that has imported everything that the tests need but `roofline`
itself, so that it starts in no time and imports the copy's modules as they are.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import pytest

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("roofline", "tests", "tools", "hardware", "models", "reports", "docs", "examples")
"""Folders of the repository that tests look at."""
IMPORTED_BEFORE = (
    *("coverage", "hypothesis.extra.numpy", "msgspec", "pandas", "yaml", "matplotlib"),
    *("torch", "transformers"),
)
TIMED_OUT, CRASHED = -1, -2
POLL_S = 0.02
MOST_BYTES = 16 << 30
"""Address space of a child: a fault may ask for any array."""

T = TypeVar("T")


def copy_of_the_tree(folder: Path) -> Path:
    """The repository as it lies on the disk, without what is derived from it."""
    for name in NEEDED:
        ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy2(file, folder / file.name)
    return folder


def prepare() -> None:
    """Import once what every child would."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # one test process a core
    sys.dont_write_bytecode = True  # a module changed twice in a second would be found compiled
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that copies are removed
    for name in IMPORTED_BEFORE:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    assert "roofline" not in sys.modules


def run_tests(tree: Path, arguments: Sequence[str], plugins: Sequence[object]) -> int:
    """Exit code of pytest on the tests of a tree. Only for a child: it changes the process."""
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    os.environ["PYTHONPATH"] = str(tree)  # for the processes that tests start
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(quiet, stream)
    fixed = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--hypothesis-seed=0"]
    return int(pytest.main([*fixed, *arguments], plugins=list(plugins)))


@dataclass
class Job(Generic[T]):
    """Something for a child to do in a tree of its own, and what it is about."""

    about: T
    work: Callable[[Path], int]
    """Tree → exit code; runs in the child."""
    limit_s: float
    before: Callable[[Path], None] = lambda tree: None
    """Prepares the tree; runs in the parent, like `after`."""
    after: Callable[[Path], None] = lambda tree: None


def run_all(jobs: Iterable[Job[T]], trees: Sequence[Path]) -> Iterator[tuple[T, int, float]]:
    """Do all jobs, one at a time in each tree; yield what each was about, its code, its seconds.

    The code is TIMED_OUT beyond the job's limit, CRASHED where a signal ended the child.
    """
    waiting, free = iter(jobs), list(trees)
    running: dict[int, tuple[Job[T], Path, float]] = {}
    try:
        while True:
            while free and (job := next(waiting, None)) is not None:
                tree = free.pop()
                job.before(tree)
                running[_fork(job, tree)] = (job, tree, time.monotonic())
            if not running:
                return
            for pid, (job, tree, started) in list(running.items()):
                done, status = os.waitpid(pid, os.WNOHANG)
                took = time.monotonic() - started
                if not done and took <= job.limit_s:
                    continue
                if not done:
                    _kill(pid)
                    os.waitpid(pid, 0)
                    code = TIMED_OUT
                else:
                    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else CRASHED
                    _kill(pid)  # what it may have left behind
                del running[pid]
                job.after(tree)
                free.append(tree)
                yield job.about, code, took
            time.sleep(POLL_S)
    finally:
        for pid in running:
            _kill(pid)


def _fork(job: Job[T], tree: Path) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        os.setsid()  # so that all that the tests start can be ended with it
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        code = job.work(tree)
    except BaseException:  # whatever it was, the child must not go on as the parent
        code = 98
    os._exit(code)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
