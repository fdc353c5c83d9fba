"""Things found by name: those that a package's own files hold, and those that users register."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Generic, TypeVar

from roofline.errors import UnknownNameError

T = TypeVar("T")


def _name_of(entry: Any) -> str:
    return str(entry.name)


class Registry(Generic[T]):
    """Entries by name, open to users.

    kind: what an entry is called in messages.
    package: a module of it that has `attribute`, a tuple of entries, is home to those: adding a
        file adds its entries. The modules are imported when something is first looked up.
    name_of: the name of an entry.
    """

    def __init__(
        self, kind: str, package: str, attribute: str, name_of: Callable[[T], str] = _name_of
    ) -> None:
        self.kind, self._package, self._attribute = kind, package, attribute
        self._name_of = name_of
        self._entries: dict[str, T] = {}
        self._discovered = False

    def register(self, *entries: T) -> None:
        """Make entries known by their names; an earlier one of a name gives way."""
        self._discover()
        self._entries.update((self._name_of(entry), entry) for entry in entries)

    def find(self, name: str) -> T:
        """The entry of that name. Raises UnknownNameError, with names that are near."""
        self._discover()
        if name not in self._entries:
            raise UnknownNameError(self.kind, name, self._entries)
        return self._entries[name]

    def names(self) -> list[str]:
        """All names, sorted."""
        self._discover()
        return sorted(self._entries)

    def entries(self) -> list[T]:
        """All entries, by name."""
        return [self._entries[name] for name in self.names()]

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        for module in iter_modules(import_module(self._package).__path__, f"{self._package}."):
            for entry in getattr(import_module(module.name), self._attribute, ()):
                self._entries[self._name_of(entry)] = entry
