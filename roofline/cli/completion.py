"""What TAB offers where a name is expected: the catalog's, files where none of them begins so."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

import click

from roofline.engine.axes import BY_NAME

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Completer: TypeAlias = "Callable[[click.Context, click.Parameter, str], list[CompletionItem]]"


def offered(axis: str) -> Completer:
    """A `shell_complete` of the names on an axis; of several with commas, of the last."""

    def complete(
        context: click.Context, option: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        before, comma, last = incomplete.rpartition(",")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of broken files: there is no line for them here
            names = _NAMES[axis]() if axis in _NAMES else BY_NAME[axis].choices
        fitting = [name for name in names if name.startswith(last)]
        if not fitting:
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(f"{before}{comma}{name}") for name in fitting]

    return complete


def _models() -> Iterable[str]:
    from roofline.specs.catalog import all_models

    return [spec.name for spec in all_models()]


def _hardware() -> Iterable[str]:
    from roofline.specs.catalog import all_hardware

    return [spec.name for spec in all_hardware()]


def _modes() -> Iterable[str]:
    from roofline.specs.catalog import quantization_modes

    return quantization_modes()


def _reducers() -> Iterable[str]:
    from roofline.reducers import names

    return (*names(), "none")


def _conventions() -> Iterable[str]:
    from roofline.engine.accounting import ACCOUNTINGS

    return ACCOUNTINGS.names()


_NAMES: dict[str, Callable[[], Iterable[str]]] = {
    "model": _models,
    "hardware": _hardware,
    "quant": _modes,
    "reducer": _reducers,
    "accounting": _conventions,
}
