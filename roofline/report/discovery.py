"""Modules of a folder, each of which registers what it holds when it is imported."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pkgutil import iter_modules


def import_all(package: str, folders: Iterable[str]) -> None:
    """Import every module of a package, whose `__path__` is `folders`."""
    for module in iter_modules(folders, f"{package}."):
        import_module(module.name)
