"""Reading from the code itself which refusals it can make, and with which metadata."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.contract.image import ROOT


@dataclass(frozen=True, slots=True)
class Site:
    """A place that makes a refusal."""

    file: str
    function: str
    reason: str | None
    """None where it is a variable."""
    keys: frozenset[str]
    """Of its metadata."""


@cache
def sites(folder: Path = ROOT / "services") -> tuple[Site, ...]:
    """Every call of Refused(...) or invalid_field(...). Raises ValueError for one that the source does not tell."""
    found: list[Site] = []
    for file in sorted(folder.rglob("*.py")):
        tree = ast.parse(file.read_text())
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        here = [_site(file, function, call) for function in functions for call in _refusals(function)]
        if len(here) != sum(_is_refusal(node) for node in ast.walk(tree)):
            raise ValueError(f"{file.name}: a refusal is made outside any function")
        found += here
    return tuple(found)


def _refusals(function: ast.AST) -> Iterator[ast.Call]:
    """Those of the function itself, not of functions within it."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if _is_refusal(node):
            assert isinstance(node, ast.Call)
            yield node
        yield from _refusals(node)


def _is_refusal(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in ("Refused", "invalid_field")


def _site(file: Path, function: ast.FunctionDef | ast.AsyncFunctionDef, call: ast.Call) -> Site:
    named = {each.arg: each.value for each in call.keywords}
    reason = call.args[0] if call.args else named["reason"]
    figures = call.args[2] if len(call.args) > 2 else named.get("figures")
    try:
        keys = frozenset() if figures is None else frozenset(_keys(function, figures))
    except ValueError as error:
        raise ValueError(f"{file.name}, {function.name}: {error}; build it as a dict with literal keys") from error
    if getattr(call.func, "id", "") == "invalid_field":
        return Site(file.name, function.name, "INVALID_FIELD", keys)
    known = isinstance(reason, ast.Attribute) and isinstance(reason.value, ast.Name) and reason.value.id == "Reason"
    return Site(file.name, function.name, reason.attr if known and isinstance(reason, ast.Attribute) else None, keys)


def _keys(function: ast.AST, figures: ast.expr) -> Iterator[str]:
    """Of a dict that is written out, or of a local one with what is put into it afterwards."""
    if isinstance(figures, ast.Dict):
        for key in figures.keys:
            yield _text(key)
        return
    if not isinstance(figures, ast.Name):
        raise ValueError(f"cannot read {ast.unparse(figures)}")
    assigned = 0
    for node in ast.walk(function):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if isinstance(target, ast.Name) and target.id == figures.id:
                assigned += 1
                yield from _keys(function, node.value)
            if _is_item_of(target, figures.id):
                assert isinstance(target, ast.Subscript)
                yield _text(target.slice)
    if not assigned:
        raise ValueError(f"nothing is assigned to {figures.id}")


def _is_item_of(target: ast.expr, name: str) -> bool:
    return isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name) and target.value.id == name


def _text(key: ast.expr | None) -> str:
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        return key.value
    raise ValueError(f"cannot read the key {ast.unparse(key) if key else '**'}")
