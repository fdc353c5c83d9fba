"""All kinds of cases, and how one is tried."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from commands import command_case, without_measuring
from files import Case, record_case, spec_case
from judge import Ended, faults, ran

KINDS: dict[str, Callable[[Random], Case]] = {
    "specs": spec_case,
    "commands": command_case,
    "records": record_case,
}


class Outcome(NamedTuple):
    """How a case ended, and what is wrong with that."""

    kind: str
    number: int
    arguments: list[str]
    ended: Ended
    wrong: list[str]


def drawn(seed: str, kind: str, number: int) -> Case:
    """A case of its own, whatever others were drawn before."""
    return KINDS[kind](Random(f"{seed}:{kind}:{number}"))


def outcomes(seed: str, chosen: Sequence[tuple[str, int]]) -> list[Outcome]:
    """Run cases by kind and number, one after the other."""
    found = []
    with without_measuring():
        for kind, number in chosen:
            case = drawn(seed, kind, number)
            found.append(Outcome(kind, number, case.arguments, *tried(case)))
    return found


def tried(case: Case) -> tuple[Ended, list[str]]:
    """Run a case in a folder of its own."""
    home = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        os.chdir(folder)
        try:
            for name, content in case.files.items():
                Path(name).write_bytes(content)
            Path("dangling.yaml").symlink_to("nowhere")
            Path("folder.yaml").mkdir()
            os.mkfifo("pipe.yaml")
            ended = ran(case.arguments)
        finally:
            os.chdir(home)
    quoted = " ".join([*case.arguments, *(c.decode(errors="replace") for c in case.files.values())])
    wrong = list(faults(ended, named=case.named, is_json=case.is_json, quoted=quoted))
    return ended, wrong
