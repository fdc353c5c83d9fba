"""Starting up is fast because of what is not imported. Each case runs in a process of its own."""

import subprocess
import sys

import pytest

PROBE = """
import sys
from roofline.cli.main import main

try:
    main()
finally:
    print()
    print(*sys.modules)
"""

HEAVY = {"torch", "transformers", "pandas", "matplotlib"}


def modules_after(*arguments: str) -> set[str]:
    """Names of all modules imported once `roofline ARGUMENTS` is done."""
    command = [sys.executable, "-c", PROBE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("command", "unwanted"),
    [
        ("--help", HEAVY | {"numpy", "yaml", "msgspec"}),
        ("analyze --model vicuna-7b --hw v100 --quant int4 --visual-tokens 40", HEAVY),
    ],
    ids=["help", "analyze"],
)
def test_a_command_imports_only_what_it_needs(command: str, unwanted: set[str]) -> None:
    modules = modules_after(*command.split())

    assert "roofline.cli.main" in modules
    assert not modules & unwanted
