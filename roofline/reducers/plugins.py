"""Files of users that register reducers of their own."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from zlib import crc32

from roofline.errors import InputError
from roofline.reducers.base import OWN_METHODS


def load_plugin(file: str | Path) -> ModuleType:
    """Run a Python file that registers reducers; a file that has been run is not run again.

    >>> load_plugin("my_reducers.py")

    Raises InputError for a file that is not there, does not run, or registers nothing.
    """
    from roofline.reducers import REDUCERS

    try:
        path = Path(file).resolve()
        is_there = path.suffix == ".py" and path.is_file()
    except (OSError, ValueError):  # no file can have that name
        is_there = False
    if not is_there:
        raise InputError(f"{file}: no such Python file: name one that registers a reducer")
    # the same in every process, so that what is pickled in one is found in another
    name = f"roofline_plugin_{path.stem}_{crc32(str(path).encode()):x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    before = list(REDUCERS)
    sys.modules[name] = module
    try:
        with REDUCERS.all_or_nothing(), OWN_METHODS.all_or_nothing():
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(
            f"{_place(error, path)}: {type(error).__name__}: {_line(error)}"
        ) from error
    if all(any(one is other for other in before) for one in REDUCERS):
        del sys.modules[name]
        raise InputError(f"{file} registers no reducer: call roofline.register_reducer in it")
    return module


def _place(error: BaseException, path: Path) -> str:
    """`my_reducers.py, line 12`: the last line of the file that ran."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f"{path.name}, line {error.lineno}"
    lines = [
        frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    return f"{path.name}, line {lines[-1]}" if lines else path.name


def _line(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return " ".join(text.split())
