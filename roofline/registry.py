"""Things by name: those that a package's own files hold, and those that users add.

A package needs no list of what is in it: a module that has entries keeps them in a tuple of an
agreed name, and a module called like an entry is looked into first. Nothing is imported before it
is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Generic, Protocol, TypeVar

from roofline.errors import UnknownNameError


class Named(Protocol):
    @property
    def name(self) -> str: ...


Entry = TypeVar("Entry", bound=Named)


class Registry(Generic[Entry]):
    """Entries of one kind, by name.

    kind: what one is, for messages. package: whose modules hold entries. attribute: the name of
    the tuple that a module keeps its entries in; modules without one hold none.
    """

    def __init__(self, kind: str, package: str, attribute: str) -> None:
        self.kind, self.package, self.attribute = kind, package, attribute
        self._entries: dict[str, Entry] = {}
        self._unread: list[str] | None = None
        """Modules not looked into yet; None before the package was listed."""

    def register(self, *entries: Entry) -> None:
        """Add entries; an earlier one of the same name, a built-in one too, gives way."""
        self._entries.update((entry.name, entry) for entry in entries)

    def find(self, name: str, module: str | None = None) -> Entry:
        """The entry of a name. Raises UnknownNameError.

        module: of the package, where it probably is; left out, the one called like the entry.
        """
        for candidate in (module or name, *self._modules()):
            if name in self._entries:
                break
            self._read(candidate)
        if name not in self._entries:
            raise UnknownNameError(self.kind, name, self.names())
        return self._entries[name]

    def names(self) -> list[str]:
        """All names that `find` knows, in alphabetical order."""
        for module in self._modules():
            self._read(module)
        return sorted(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return (self._entries[name] for name in self.names())

    def _modules(self) -> list[str]:
        """Names of the modules not looked into yet."""
        if self._unread is None:
            path = import_module(self.package).__path__
            self._unread = [module.name for module in iter_modules(path)]
        return list(self._unread)

    def _read(self, module: str) -> None:
        """Add what a module holds; what users have registered under a name stays."""
        if module not in self._modules():
            return
        assert self._unread is not None
        self._unread.remove(module)
        entries = getattr(import_module(f"{self.package}.{module}"), self.attribute, ())
        for entry in entries:
            self._entries.setdefault(entry.name, entry)
