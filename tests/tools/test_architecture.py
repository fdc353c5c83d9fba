"""The page, the import contracts and the imports that are there say the same of the house."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "roofline"
MODULES = sorted(PACKAGE.rglob("*.py"))
FACADES = {"__init__", "__main__"}
"""Modules of no room: what users import, and `python -m roofline`."""


def contract() -> list[set[str]]:
    """Rooms by layer, top to bottom."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    first, *_ = settings["tool"]["importlinter"]["contracts"]
    assert first["name"] == "Imports point one way"
    return [
        {module.strip().removeprefix("roofline.") for module in layer.split("|")}
        for layer in first["layers"]
    ]


def rooms() -> set[str]:
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py"}
    found |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    return found - FACADES


def imports() -> Iterator[tuple[str, str, str]]:
    """(importing room, imported room, where), those inside functions included."""
    for file in MODULES:
        name = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            where = f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{where}: a relative import"
                modules = [node.module or ""]
                if node.module == "roofline":  # a module, or what `roofline` offers users
                    modules = [f"roofline.{a.name}" for a in node.names if a.name in rooms()]
            else:
                continue
            for module in modules:
                if module.startswith("roofline."):
                    yield name, module.split(".")[1], where


def test_every_room_has_its_layer() -> None:
    assert rooms() == set().union(*contract())


def test_every_import_points_down() -> None:
    layer = {room: number for number, row in enumerate(contract()) for room in row}
    up = [
        f"{where}: {importing} imports {imported}"
        for importing, imported, where in imports()
        if importing not in FACADES
        and importing != imported
        and layer[importing] >= layer[imported]
    ]

    assert not up


def test_the_page_shows_the_layers_of_the_contract() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = text.split("<!-- layers -->\n")[1].split("<!-- end -->")[0]
    shown = re.findall(r"^- \*\*(\w+)\*\*: (.+)$", block, re.M)

    assert len(shown) == len(block.splitlines())
    assert [room for room, _ in shown] == [room for row in contract_in_order() for room in row]
    assert all(len(text) > 20 for _, text in shown), "a room without a docstring"


def contract_in_order() -> list[list[str]]:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import docs
    finally:
        sys.path.pop(0)
    return docs.layers()


def types_of(source: str) -> list[str]:
    """Names of the classes and type aliases of a module; type variables are none."""
    found = []
    for node in ast.parse(source).body:
        match node:
            case ast.ClassDef(name=name):
                found.append(name)
            case ast.AnnAssign(target=ast.Name(id=name), annotation=ast.Name(id="TypeAlias")):
                found.append(name)
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Subscript() | ast.BinOp(op=ast.BitOr()) | ast.Attribute() | ast.Name(),
            ) if re.fullmatch(r"_?[A-Z]+[a-z]\w*", name):
                found.append(name)
            case _ if type(node).__name__ == "TypeAlias":  # `type X = …`, from Python 3.12 on
                found.append(node.name.id)  # type: ignore[attr-defined]
    return found


def test_no_name_of_a_type_is_defined_twice() -> None:
    homes: dict[str, list[str]] = defaultdict(list)
    for file in [*MODULES, *(ROOT / "tools").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]:
        for name in types_of(file.read_text(encoding="utf-8")):
            homes[name].append(str(file.relative_to(ROOT)))

    assert not {name: files for name, files in homes.items() if len(files) > 1}


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("class Row: ...", ["Row"]),
        ("Row: TypeAlias = 'dict[str, int]'", ["Row"]),
        ("Row = dict[str, int]", ["Row"]),
        ("Row = int | str", ["Row"]),
        ("Row = other.Row", ["Row"]),
        ("_Row = Other", ["_Row"]),
        ("T = TypeVar('T')", []),
        ("_ROWS = COLUMNS | {1}", []),
        ("rows = columns[0]", []),
    ],
)
def test_names_of_types_are_found_however_they_are_defined(line: str, names: list[str]) -> None:
    assert types_of(line) == names


TEXTS = sorted(
    file
    for pattern in (
        "*.md",
        "*.toml",
        "Makefile",
        "docs/**/*.md",
        "roofline/**/*.py",
        "tests/**/*.py",
        "tools/*.py",
        "benchmarks/*.py",
        "examples/**/*",
        "roofline/data/*.yaml",
    )
    for file in ROOT.glob(pattern)
    if file.is_file() and file != Path(__file__)
)
HISTORY = {"CHANGELOG.md", "docs/log.md"}
"""These speak of what was."""
TOP = "roofline|tests|tools|docs|benchmarks|hardware|models|reports|examples"
PATH = re.compile(rf"(?<![\w./~-])(?:{TOP})/[\w./-]+")
IN_PACKAGE = re.compile(r"`((?:\w+/)+\w+\.py)`")
MODULE = re.compile(r"\broofline(?:\.[a-z_]\w*)+(?!\S*\.(?:png|svg))\b(?<!\.png)(?<!\.fish)")


def texts() -> Iterator[tuple[str, str]]:
    for file in TEXTS:
        name = file.relative_to(ROOT).as_posix()
        if name not in HISTORY:
            yield name, file.read_text(encoding="utf-8")


def test_no_text_names_a_path_that_is_not_there() -> None:
    gone = []
    for name, text in texts():
        for found in PATH.finditer(text):
            path = found[0].rstrip(".-/")
            pattern = text[found.end() : found.end() + 1] in ("*", "<", "{", "…")
            if not (pattern or _is_an_example(path, name) or _installed(path).exists()):
                gone.append(f"{name}: {path}")

    assert not gone


def _is_an_example(path: str, text: str) -> bool:
    """`tests/NAME.py`, `hardware/my-gpu.yaml`, the reducer of docs/reducers.md, or a test's own."""
    made = text.startswith("tests/") and path.startswith(("hardware/", "models/", "reports/"))
    return made or bool(re.search(r"\b[A-Z]{3,}\b(?!\.md)|/my\b|/strided\.py$", path))


def _installed(path: str) -> Path:
    """Where it lies in the repository: a wheel has the spec files inside the package."""
    return ROOT / re.sub(r"^roofline/data/(hardware|models)\b", r"\1", path)


def test_the_page_names_no_file_of_a_room_that_is_not_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = IN_PACKAGE.findall(text)

    assert len(named) > 15
    assert not [path for path in named if not any((r / path).exists() for r in (ROOT, PACKAGE))]


def test_no_text_names_a_module_that_is_not_there() -> None:
    gone = []
    for name, text in texts():
        right = re.sub(r".*# type: ignore\[attr-defined\].*", "", text)
        for dotted in set(MODULE.findall(right)):
            if not _resolves(dotted):
                gone.append(f"{name}: {dotted}")

    assert not gone


def _resolves(dotted: str) -> bool:
    """A module, or a name in the module that comes first from the left."""
    parts = dotted.split(".")
    path = ROOT
    for i, part in enumerate(parts):
        if (path / part).is_dir():
            path = path / part
        elif (path / f"{part}.py").is_file():
            return _defines(path / f"{part}.py", parts[i + 1 :])
        else:
            return _defines(path / "__init__.py", parts[i:])
    return True


def _defines(file: Path, names: list[str]) -> bool:
    """Whether the first of the names is bound in the file, or is offered in its `__all__`."""
    if not names or names[0].startswith("__"):
        return True
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.alias(asname=str(name)):
                found.add(name)
            case ast.alias(name=name) | ast.Constant(value=str(name)):
                found.add(name)
    return names[0] in found


@pytest.mark.parametrize("dotted", ["roofline.costs.ops", "roofline.runtime", "roofline.engine.no"])
def test_the_old_house_does_not_resolve(dotted: str) -> None:
    assert not _resolves(dotted)


def test_names_of_modules_resolve_as_they_import() -> None:
    """The check by files agrees with Python's own finder."""
    for dotted in ("roofline.engine.analysis", "roofline.model.ops", "roofline.units"):
        assert _resolves(dotted)
        assert importlib.util.find_spec(dotted) is not None
