"""What is found by name, and is open to users."""

from __future__ import annotations

from importlib import import_module
from typing import Generic, TypeVar

from roofline.errors import UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Values by name, in the order in which they were registered.

    kind: what they are, for errors. package: its modules register what ships; they are imported
    before the first look-up, and not by whoever only registers. remedy: what else a name may be.
    """

    def __init__(self, kind: str, package: str | None = None, remedy: str = "") -> None:
        self.kind, self.remedy = kind, remedy
        self._package = package
        self._values: dict[str, T] = {}

    def register(self, name: str, value: T) -> T:
        """Put a value under a name, and return it. Raises ValueError for a name that is taken."""
        if name in self._values:
            raise ValueError(f"the {self.kind} {name!r} is registered already")
        self._values[name] = value
        return value

    def find(self, name: str) -> T:
        """The value of that name. Raises UnknownNameError, which offers the nearest ones."""
        self._discover()
        if name not in self._values:
            raise UnknownNameError(self.kind, name, self._values, self.remedy)
        return self._values[name]

    def names(self) -> tuple[str, ...]:
        """All names."""
        self._discover()
        return tuple(self._values)

    def _discover(self) -> None:
        if self._package is None:
            return
        from pkgutil import iter_modules

        package, self._package = import_module(self._package), None
        for module in iter_modules(package.__path__, f"{package.__name__}."):
            import_module(module.name)
