"""Things that are found by name, in registries that stay open to users."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from threading import RLock
from typing import Generic, TypeVar

from roofline.errors import UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Name → thing. What ships is registered by the modules of `package`, on first need; then what
    other installed distributions announce.

    kind: what is registered, for messages: `unknown KIND 'x'`. remedy: what else a name may be.
    group: of entry points, each a module that registers things as it is imported.
    """

    def __init__(
        self, kind: str, package: str | None = None, remedy: str = "", group: str | None = None
    ) -> None:
        self.kind, self.remedy = kind, remedy
        self._package, self._group = package, group
        self._things: dict[str, T] = {}
        self._discovering = RLock()

    def register(self, name: str, thing: T) -> T:
        """Make a thing known by its name; an earlier one of that name gives way."""
        self._things[name] = thing
        return thing

    def forget(self, name: str) -> None:
        """Take a thing off, if it is there."""
        self._things.pop(name, None)

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """What is registered inside stays only if nothing is raised."""
        before = dict(self._things)
        try:
            yield
        except BaseException:
            self._things = before
            raise

    def find(self, name: str) -> T:
        """The thing of that name. Raises UnknownNameError, with the nearest names."""
        if name not in self._things:
            self._discover()
        if name not in self._things:
            raise UnknownNameError(self.kind, name, self._things, self.remedy)
        return self._things[name]

    def names(self) -> tuple[str, ...]:
        """All names, in the order of their registration."""
        self._discover()
        return tuple(self._things)

    def __iter__(self) -> Iterator[T]:
        self._discover()
        return iter(list(self._things.values()))

    def __contains__(self, name: object) -> bool:
        if name not in self._things:
            self._discover()
        return name in self._things

    def _discover(self) -> None:
        """Import what ships and what is announced; what a user has registered meanwhile stays.

        A second thread waits for the first: half of a registry would be one without the rest.
        """
        with self._discovering:
            if self._package is None and self._group is None:
                return  # done, or asked by what is being imported
            mine = dict(self._things)
            if self._package is not None:
                import pkgutil

                package, self._package = import_module(self._package), None
                for module in pkgutil.iter_modules(
                    getattr(package, "__path__", ()), f"{package.__name__}."
                ):
                    import_module(module.name)
            if self._group is not None:
                from importlib.metadata import entry_points

                group, self._group = self._group, None
                for entry in entry_points(group=group):
                    try:
                        entry.load()
                    except Exception as error:  # one that is broken must not break all others
                        warnings.warn(
                            f"{group} {entry.name} ({entry.value}) is left out: {error}; "
                            "update or remove the package that announces it",
                            stacklevel=2,
                        )
            self._things = {**self._things, **mine}
