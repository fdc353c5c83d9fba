"""Stages of commands, each of which is run until its result is there, in however many sittings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FAILED = ".failed"
"""Behind the name of a log whose command did not end well."""
_LEAST_S = 10.0
"""With less of a stage's time left no command is begun."""


@dataclass(frozen=True)
class Command:
    """Something to run, which leaves a file."""

    name: str
    argv: list[str]
    """`{folder}` stands for where results go."""
    result: str
    """The file, below that folder, that is there once it has ended well."""
    resumes: bool = False
    """Whether it takes `--resume`."""
    keeps_output: bool = False
    """Whether what it prints is the result, however it ends."""


@dataclass(frozen=True)
class RunStage:
    """Commands that go together."""

    name: str
    commands: list[Command]


def run_stage(
    stage: RunStage,
    folder: Path,
    *,
    limit_s: float,
    anew: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Run the commands whose results are not there, and say how many of them did not end well.

    A command that is still running at the end of the time is killed: what it has measured lies in
    its journal, which goes on, or with `anew` is thrown away. Output goes to `logs/NAME.log`, or to
    `logs/NAME.log.failed` where it did not end well.
    """
    end_s, failed = clock() + limit_s, 0
    for command in stage.commands:
        left_s = end_s - clock()
        if (folder / command.result).exists():
            print(f"{stage.name}: {command.name}: there already", file=sys.stderr)
            continue
        if left_s < _LEAST_S:
            print(f"{stage.name}: {command.name}: no time left: run it again", file=sys.stderr)
            failed += 1
            continue
        begun_s = clock()
        reason = run_command(command, folder, left_s, anew=anew)
        took = f"{clock() - begun_s:.0f} s"
        print(f"{stage.name}: {command.name}: {reason or 'done'} ({took})", file=sys.stderr)
        failed += bool(reason)
    return failed


def run_command(command: Command, folder: Path, limit_s: float, *, anew: bool = False) -> str:
    """Why it did not end well; empty where it did."""
    log, failure = folder / "logs" / f"{command.name}.log", ""
    for path in (log, folder / command.result):
        path.parent.mkdir(parents=True, exist_ok=True)
    argv = [part.format(folder=folder) for part in command.argv]
    if command.resumes:
        argv.append("--force" if anew else "--resume")
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(limit_s)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            code, failure = -1, "out of time: run it again, and it goes on"
    text = log.read_text(errors="replace")
    if command.keeps_output and not failure:
        (folder / command.result).write_text(text)
    if not code and not failure and not (folder / command.result).exists():
        failure = f"ended well and left no {command.result}"
    if code and not failure:
        failure = (text.strip().splitlines() or [f"exit code {code}"])[-1]
    failures = log.with_name(log.name + FAILED)
    failures.unlink(missing_ok=True)
    if failure:
        failures.write_text(f"{text}\n{failure}\n")
        log.unlink()
    return failure
