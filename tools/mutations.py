"""Small faults that can be planted in a module: what `tools/mutants.py` draws from.

A mutation replaces one piece of the source by another: a comparison, an operator, a constant, the
order of two arguments, a statement. Comments, annotations, docstrings, assertions (they are for the
type checker), the words of error messages and the arguments of decorators are left alone.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

Slot: TypeAlias = tuple[ast.AST, str, int | None]
"""A node's place: its parent, the field, and the index where the field is a list."""


@dataclass(frozen=True)
class Mutation:
    """One fault in one file: source[start:end] becomes `text`."""

    line: int
    kind: str
    before: str
    """The piece of code that is replaced, on one line."""
    after: str
    start: int
    end: int
    text: str
    in_function: bool
    """Whether it runs when something is called, and not when the module is imported."""

    def applied(self, source: str) -> str:
        encoded = source.encode()
        return (encoded[: self.start] + self.text.encode() + encoded[self.end :]).decode()

    @property
    def change(self) -> str:
        return f"{self.before} → {self.after}"


COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
}
OPPOSITES = {
    "min": "max",
    "minimum": "maximum",
    "argmin": "argmax",
    "nanmin": "nanmax",
    "any": "all",
    "floor": "ceil",
    "first": "last",
    "smallest": "largest",
}
OPPOSITES |= {other: one for one, other in OPPOSITES.items()}
COMPOUND = (ast.BinOp, ast.BoolOp, ast.Compare, ast.UnaryOp, ast.IfExp)
"""What needs brackets wherever it may be put."""
ORDER_IS_NOTHING = {"min", "max", "minimum", "maximum", "isclose", "all_equal"}
"""Functions of two arguments that may be swapped."""
CRASHES_SWAPPED = {"isinstance", "issubclass", "getattr", "hasattr", "cast", "TypeVar"}
"""Nobody needs a test to notice."""


def mutations(source: str) -> list[Mutation]:
    """Every mutation of a module, in the order of the source."""
    tree = ast.parse(source)
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found: list[Mutation] = []
    for node, slot, anchor, in_function in _nodes(tree):
        for kind, changed in _changes(node, slot, anchor):
            if ast.dump(changed) != ast.dump(node):
                found.append(_mutation(node, slot, anchor, changed, kind, in_function, starts))
    return sorted(found, key=lambda one: (one.start, one.end, one.kind, one.text))


def _mutation(
    node: ast.expr | ast.stmt,
    slot: Slot,
    anchor: ast.expr | ast.stmt | None,
    changed: ast.AST,
    kind: str,
    in_function: bool,
    starts: list[int],
) -> Mutation:
    """Replace the node, or the f-string around it: before 3.12 only that knows where it stands."""
    before, after = ast.unparse(node), ast.unparse(changed)
    target, text = anchor or node, after
    if anchor is not None:
        _put(slot, changed)
        text = ast.unparse(anchor)
        _put(slot, node)
    elif text.startswith("-") or isinstance(changed, COMPOUND):
        text = f"({text})"
    assert target.end_lineno is not None
    assert target.end_col_offset is not None
    return Mutation(
        line=target.lineno,
        kind=kind,
        before=_short(before),
        after=_short(after),
        start=starts[target.lineno - 1] + target.col_offset,
        end=starts[target.end_lineno - 1] + target.end_col_offset,
        text=text,
        in_function=in_function,
    )


def _short(code: str) -> str:
    """One line of at most 90 characters."""
    line = " ".join(code.split())
    return line if len(line) <= 90 else f"{line[:87]}..."


def _put(slot: Slot, node: ast.AST) -> None:
    parent, field, index = slot
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def _nodes(
    tree: ast.Module,
) -> Iterator[tuple[ast.expr | ast.stmt, Slot, ast.expr | None, bool]]:
    """Expressions and statements that may be changed, with the f-string that they stand in."""
    stack: list[tuple[ast.AST, Slot | None, ast.expr | None, bool]] = [(tree, None, None, False)]
    while stack:
        node, slot, anchor, inside = stack.pop()
        if isinstance(node, ast.expr | ast.stmt) and slot is not None:
            yield node, slot, anchor, inside
        if isinstance(node, ast.JoinedStr):
            anchor = anchor or node
        for field, value in ast.iter_fields(node):
            if _left_alone(node, field):
                continue
            deeper = inside or (isinstance(node, ast.FunctionDef | ast.Lambda) and field == "body")
            children = value if isinstance(value, list) else [value]
            for i, child in enumerate(children):
                if isinstance(child, ast.AST):
                    child_slot = (node, field, i if isinstance(value, list) else None)
                    stack.append((child, child_slot, anchor, deeper))


def _left_alone(node: ast.AST, field: str) -> bool:
    match node:
        case ast.Raise() | ast.Assert() | ast.ImportFrom() | ast.Import():
            return True
        case ast.AnnAssign() | ast.arg():
            return field == "annotation" or "TypeAlias" in ast.dump(node)
        case ast.FunctionDef() | ast.ClassDef():
            return field in ("decorator_list", "returns", "keywords")
        case ast.If():
            return "TYPE_CHECKING" in ast.unparse(node.test)
        case ast.Assign():
            return any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
        case ast.FormattedValue():
            return field == "format_spec"
        case ast.keyword():  # an assertion, too
            return node.arg == "strict"
        case ast.Subscript():  # Literal["a"], dict[str, int]: types, not values
            return ast.unparse(node.value) in ("Literal", "Annotated", "Callable", "tuple", "dict")
    return False


def _changes(
    node: ast.expr | ast.stmt, slot: Slot, anchor: ast.expr | None
) -> Iterator[tuple[str, ast.AST]]:
    match node:
        case ast.Compare(ops=[op]):
            for comparison in COMPARISONS[type(op)]:
                yield "comparison", _with(node, ops=[comparison()])
        case ast.BinOp(op=op) if type(op) in ARITHMETIC and not _text(node):
            yield "arithmetic", _with(node, op=ARITHMETIC[type(op)]())
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand) if not _number(operand):
            yield "dropped sign" if isinstance(node.op, ast.USub) else "dropped not", operand
        case ast.BoolOp(op=op):
            yield "and/or", _with(node, op=ast.And() if isinstance(op, ast.Or) else ast.Or())
        case ast.Constant(value=bool() as value):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            index = isinstance(slot[0], ast.Subscript) and slot[1] == "slice"
            near = (value + 1, value - 1) if value == int(value) else (2 * value, value / 2)
            for other in (-1,) if index and value == 0 else near:
                yield "index" if index else "constant", ast.Constant(other)
        case ast.Subscript(slice=ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1))):
            yield "index", _with(node, slice=ast.Constant(0))
        case ast.Call():
            yield from _call_changes(node)
    # a condition of `and`, `not` or a comparison has mutations of its own
    condition = slot[1] in ("test", "ifs")
    if condition and isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.Subscript):
        yield "negated condition", ast.UnaryOp(ast.Not(), node)
    if isinstance(node, ast.stmt) and anchor is None and _removable(node, slot):
        yield "removed statement", ast.Pass()


def _call_changes(node: ast.Call) -> Iterator[tuple[str, ast.AST]]:
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name in OPPOSITES:
        opposite = (
            _with(function, attr=OPPOSITES[name])
            if isinstance(function, ast.Attribute)
            else ast.Name(OPPOSITES[name])
        )
        yield "opposite", _with(node, func=opposite)
    plain = len(node.args) == 2 and not any(isinstance(a, ast.Starred) for a in node.args)
    if plain and name not in ORDER_IS_NOTHING | CRASHES_SWAPPED:
        yield "swapped arguments", _with(node, args=node.args[::-1])


def _removable(node: ast.stmt, slot: Slot) -> bool:
    """A statement without which names stay bound."""
    match node:
        case ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break():
            return True
        case ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom()):
            return True
        case ast.Assign(targets=[ast.Subscript() | ast.Attribute()]):
            return True
        case ast.Assign(targets=[ast.Name(id=name)]):  # bound just before, too
            parent, field, index = slot
            earlier = getattr(parent, field)[: index or 0]
            arguments = parent.args.args if isinstance(parent, ast.FunctionDef) else []
            return any(a.arg == name for a in arguments) or any(
                isinstance(s, ast.Assign) and name in map(ast.unparse, s.targets) for s in earlier
            )
    return False


def _with(node: Any, **changes: Any) -> Any:
    changed = copy.copy(node)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


def _text(node: ast.BinOp) -> bool:
    """Whether it joins or formats strings."""
    sides = (node.left, node.right)
    return any(
        isinstance(s, ast.JoinedStr) or (isinstance(s, ast.Constant) and isinstance(s.value, str))
        for s in sides
    )


def _number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant)
