"""Constraints for pip that hold everything that pyproject.toml names to its lower bound.

python tools/lowest_versions.py > lowest.txt

A bound is written once, in pyproject.toml; `make test-lowest` shows that roofline works there. What
the named packages bring along is not held. Run by a plain Python, before anything is installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_BOUNDED = re.compile(r"(?P<name>[\w.-]+)(?:\[[^]]*\])?>=(?P<lowest>[\w.]+)")


def constraints(project: Mapping[str, Any]) -> Iterator[str]:
    """`name==lowest` of each requirement, extras included. Raises ValueError for one without."""
    own = project["name"]
    groups = (project["dependencies"], *project["optional-dependencies"].values())
    for requirement in sorted({requirement for group in groups for requirement in group}):
        if requirement.startswith(f"{own}["):
            continue
        bounded = _BOUNDED.match(requirement)
        if bounded is None:
            raise ValueError(f"pyproject.toml: {requirement}: give a lower bound, >= first")
        yield f"{bounded['name']}=={bounded['lowest']}"


if __name__ == "__main__":
    document = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    sys.stdout.writelines(f"{line}\n" for line in constraints(document["project"]))
