"""Two ways to run `roofline`: in this process, and in one of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import roofline
from roofline.cli.main import main


class Result(NamedTuple):
    """What a command leaves behind."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROOFLINE_PATH", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Call the entry point here, which is quick; an exception that escapes it fails the test."""

    def called(*arguments: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["roofline", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        code = left.value.code
        assert isinstance(code, int)
        return Result(code, captured.out, captured.err)

    return called


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """That of a process which finds the `roofline` that is tested here, from any folder."""
    home = str(Path(roofline.__file__).resolve().parents[1])
    inherited = {k: v for k, v in os.environ.items() if k != "ROOFLINE_PATH"}
    return {**inherited, "PYTHONPATH": home}


@pytest.fixture
def run(environment: dict[str, str]) -> Callable[..., Result]:
    """Run `python -m roofline` as a user would, in a process of its own."""

    def ran(*arguments: str | Path) -> Result:
        command = [sys.executable, "-m", "roofline", *map(str, arguments)]
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return ran
