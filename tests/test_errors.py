"""The errors: what the page of them says is what there is."""

import ast
import re
from pathlib import Path

from roofline import errors

ROOM = Path(errors.__file__).parent


def test_the_list_of_errors_is_that_of_the_package() -> None:
    there = {
        node.name
        for file in ROOM.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error")
    }

    listed = set(re.findall(r"\b[A-Z]\w*Error\b", str(errors.__doc__)))
    assert listed - {"ValueError"} == there
