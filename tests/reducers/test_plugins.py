"""Reducers of somebody's own: registered, in a file, or announced by an installed package."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from msgspec import NODEFAULT

import roofline
from roofline import reducers
from roofline.errors import InputError, ScenarioError, UnknownNameError
from roofline.reducers import OWN_METHODS, REDUCERS, Reducer, register_reducer
from roofline.reducers.base import TRACERS
from roofline.reducers.plugins import load_plugin
from roofline.registry import Registry

SOURCE = """
from roofline import Reducer, register_reducer

class Half(Reducer, frozen=True):
    name, title, source, site = "half", "Half", "Somebody 2026", "features"
    default_source = "a half"
    def default_kept(self, patches, blocks):
        return patches // 2

register_reducer(Half())
"""


class Half(Reducer, frozen=True):
    """A reducer of somebody's own."""

    name = "half"
    title = "Half"
    source = "Somebody 2026"
    site = "features"
    default_source = "a half"

    def default_kept(self, patches: int, blocks: int) -> int:
        return patches // 2


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    REDUCERS.names()
    for registry in (REDUCERS, OWN_METHODS):
        monkeypatch.setattr(registry, "_things", dict(registry._things))


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "mine.py"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_it_is_priced_by_its_name() -> None:
    register_reducer(Half())
    estimate = roofline.analyze("llava-1.5-7b", "h200", reducer="half")
    plain = roofline.analyze("llava-1.5-7b", "h200", visual_tokens=288)

    assert "half" in reducers.names()
    assert estimate.inputs["visual_tokens"] == 288
    assert estimate.components["llm"].flops == plain.components["llm"].flops
    assert estimate.reducer is not None
    assert estimate.reducer.cost == "none"
    assert estimate.components["reducer"].roofline_time_s == 0


def test_what_ships_says_what_it_costs() -> None:
    assert {reducers.find(name).cost for name in reducers.names()} == {"stated"}


def test_one_of_the_name_of_another_takes_its_place() -> None:
    class Mine(Half, frozen=True):
        name = "sequential"

    with pytest.warns(UserWarning, match="Mine takes the place of the reducer sequential"):
        register_reducer(Mine())
    assert type(reducers.find("sequential")) is Mine
    register_reducer(Mine())  # of one's own once more, as in a notebook: nothing to warn of


def made(name: str = "made", *, kept: Any = 3, site: str = "features", **fields: Any) -> Reducer:
    """A reducer of a class made for the purpose."""
    annotations = {field: kind for field, (kind, _) in fields.items()}
    defaults = {field: value for field, (_, value) in fields.items() if value is not NODEFAULT}
    body = {
        "__annotations__": annotations,
        "name": name,
        "title": "Made",
        "source": "here",
        "site": site,
        "default_source": "here",
        "default_kept": lambda self, patches, blocks: kept(patches) if callable(kept) else kept,
        **defaults,
    }
    given = {field: () for field, (_, value) in fields.items() if value is NODEFAULT}
    cls: Any = type("Made", (Reducer,), body, frozen=True)  # type: ignore[call-overload]
    return cls(**given)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("reducer", "method", "message"),
    [
        ({"name": "half:price"}, {}, "'half:price' is no name"),
        ({"site": "feature"}, {}, "its site is one of features, vision, llm, not 'feature'"),
        ({}, {"reduec": print}, "nothing is known of reduec: reduce, blocks, llm, needs_attention"),
        ({"weights": (tuple, NODEFAULT)}, {}, "each option needs a default"),
        ({"weights": (list, [])}, {}, r"options must be of types that do not change"),
        ({"kept": 172.8}, {}, "default_kept\\(576, 23\\) is 172.8, no whole number"),
        ({"kept": lambda patches: patches // 0}, {}, "default_kept.* fails: integer division"),
    ],
)
def test_what_cannot_be_is_said_as_it_is_registered(
    reducer: dict[str, Any], method: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=f"Made: {message}"):
        register_reducer(made(**reducer), **method)
    assert "made" not in REDUCERS


def test_what_each_must_say_is_asked_for() -> None:
    class Mute(Reducer, frozen=True):
        name = "mute"
        site = "features"

    with pytest.raises(InputError, match="Mute: it lacks title, source, default_source, default_k"):
        register_reducer(Mute())


def test_one_registered_anew_has_no_method_of_before() -> None:
    register_reducer(Half(), lambda *given, **options: None)
    assert reducers.find("half").cost == "traced"
    register_reducer(Half())
    assert reducers.find("half").cost == "none"


def test_a_name_that_nobody_knows_may_be_in_a_file() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown reducer 'quarter'.*--plugin"):
        reducers.find("quarter")


def test_a_file_is_run_once(file: Callable[[str], Path]) -> None:
    path = file(SOURCE)
    module = load_plugin(path)

    assert reducers.find("half").default_kept(10, 0) == 5
    assert load_plugin(path) is module
    assert type(reducers.find("half")) is module.Half


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", r"mine.py registers no reducer: call roofline.register_reducer in it"),
        ("import nowhere\n", r"mine.py, line 1: ModuleNotFoundError: No module named 'nowhere'"),
        ("x = 1\n\ny = (\n", r"mine.py, line 3: SyntaxError: '\(' was never closed"),
        ("def f():\n    1 / 0\n\nf()\n", r"mine.py, line 2: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", r"mine.py, line 2: SystemExit: 3"),
        ("raise ValueError('a\\nb')\n", r"mine.py, line 1: ValueError: a b$"),
    ],
    ids=["nothing", "import", "syntax", "deep", "exit", "lines"],
)
def test_a_file_that_does_not_work_is_one_line(
    text: str, message: str, file: Callable[[str], Path]
) -> None:
    path = file(text)
    for _ in range(2):  # nothing of the first try is left
        with pytest.raises(InputError, match=message):
            load_plugin(path)


def test_of_a_file_that_fails_nothing_stays(file: Callable[[str], Path]) -> None:
    with pytest.raises(InputError, match="RuntimeError"):
        load_plugin(file(SOURCE + "\nraise RuntimeError\n"))
    assert "half" not in REDUCERS


def test_its_module_is_called_alike_in_every_process(file: Callable[[str], Path]) -> None:
    path = file(SOURCE)
    name = load_plugin(path).__name__
    code = f"import roofline; print(roofline.load_plugin({str(path)!r}).__name__)"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == name


@pytest.mark.parametrize("name", ["nowhere.py", ".", "mine.txt"])
def test_a_file_that_is_none(name: str, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text(SOURCE, encoding="utf-8")
    with pytest.raises(InputError, match="no such Python file"):
        load_plugin(tmp_path / name)


@pytest.fixture
def _unknown_modules(monkeypatch: pytest.MonkeyPatch, file: Callable[[str], Path]) -> None:
    """A module `mine` that nobody has imported yet."""
    monkeypatch.syspath_prepend(file(SOURCE).parent)
    monkeypatch.delitem(sys.modules, "mine", raising=False)


def _announced(monkeypatch: pytest.MonkeyPatch, *values: str) -> Registry[Any]:
    """A registry of a package that is not there yet, and what others announce for it."""
    found = [EntryPoint(value.partition(":")[0], value, "roofline.reducers") for value in values]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: found)
    registry: Registry[Any] = Registry("reducer", group="roofline.reducers")
    monkeypatch.setattr(reducers, "REDUCERS", registry)
    return registry


@pytest.mark.usefixtures("_unknown_modules")
def test_an_installed_package_announces_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = _announced(monkeypatch, "mine")

    assert registry.names() == ("half",)
    assert reducers.find("half").title == "Half"


@pytest.mark.usefixtures("_unknown_modules")
def test_one_that_is_broken_breaks_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = _announced(monkeypatch, "nowhere", "mine")

    with pytest.warns(UserWarning, match=r"nowhere \(nowhere\) is left out: No module named"):
        assert registry.names() == ("half",)
    warnings.simplefilter("error")  # it is said once
    with pytest.raises(UnknownNameError, match="unknown reducer"):
        registry.find("third")


def test_tracing_needs_torch_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    register_reducer(Half(), lambda *given, **options: None)
    monkeypatch.setattr(TRACERS, "find", missing)
    with pytest.raises(
        ScenarioError, match="half states no cost, and tracing its code needs torch"
    ):
        roofline.analyze("llava-1.5-7b", "h200", reducer="half")


def test_a_list_is_no_reducer() -> None:
    with pytest.raises(ScenarioError, match="reducer is one name at a time"):
        reducers.find(["half"])  # type: ignore[arg-type]
