"""Options of the axes: every command that takes several of one takes them in both ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from roofline.cli.analyze import analyze
from roofline.cli.main import cli
from roofline.cli.options import scenario_options
from roofline.cli.profile import profile
from roofline.cli.report import report
from roofline.cli.tokens import tokens
from roofline.engine.axes import AXES, BY_NAME, VARIED, Axis
from roofline.errors import InputError

Cli = Callable[..., Any]

SEVERAL = (analyze, report)
"""Commands that combine every value of an axis with every other."""
SOUND = {
    "model": ("llava-1.5-7b", "llava-1.5-13b"),
    "hardware": ("h200", "v100"),
    "quant": ("fp16", "int8"),
    "reducer": ("prumerge", "none"),
    "runtime": ("eager", "vllm"),
}
"""Two values of each axis that is no count."""

every_varied_axis = pytest.mark.parametrize("axis", VARIED, ids=lambda axis: axis.name)
every_axis_of_a_run = pytest.mark.parametrize(
    "axis", [axis for axis in VARIED if axis.name != "runtime"], ids=lambda axis: axis.name
)
"""Those that `profile` has options for, which runs in a mode."""


def two(axis: Axis) -> tuple[Any, Any]:
    return ((axis.least or 0) + 7, (axis.least or 0) + 40) if axis.is_count else SOUND[axis.name]


def parsed(command: click.Command, *words: str) -> dict[str, Any]:
    """What the command's function would be given."""
    required = ["-o", "out"] if command in (report, tokens) else []
    model = [] if command is report or "--model" in words else ["--model", "llava-1.5-7b"]
    return command.make_context("it", [*words, *required, *model]).params


@every_varied_axis
@pytest.mark.parametrize("command", SEVERAL, ids=lambda command: command.name)
class TestSeveralValues:
    def test_repeated_and_with_commas_are_the_same(
        self, command: click.Command, axis: Axis
    ) -> None:
        first, second = map(str, two(axis))
        repeated = parsed(command, axis.option, first, axis.option, second)
        joined = parsed(command, axis.option, f"{first},{second}")
        spaced = parsed(command, axis.option, f"{first} , {second}")

        assert repeated[axis.name] == joined[axis.name] == spaced[axis.name] == two(axis)

    def test_in_the_order_typed_and_each_once(self, command: click.Command, axis: Axis) -> None:
        first, second = map(str, two(axis))
        words = (axis.option, second, axis.option, f"{first},{second}", axis.option, first)

        assert parsed(command, *words)[axis.name] == two(axis)[::-1]

    def test_an_empty_place_is_one_clear_line(
        self, command: click.Command, axis: Axis, call: Cli, tmp_path: Path
    ) -> None:
        first, second = two(axis)
        for text in (f"{first},,{second}", f"{first},", f",{first}"):
            code, out, err = call(command.name, axis.option, text, "-o", "out")

            assert (code, out) == (2, "")
            assert err == (
                f"roofline: error: Invalid value for '{axis.option}': '{text}' has an empty place "
                "beside a comma\n"
            )
        assert list(tmp_path.iterdir()) == []

    def test_the_help_says_so(self, command: click.Command, axis: Axis) -> None:
        (option,) = [option for option in command.params if option.name == axis.name]

        assert isinstance(option, click.Option)
        assert (option.help or "").endswith("Repeatable, or with commas.")


COUNTED = [axis for axis in VARIED if axis.is_count]


@pytest.mark.parametrize("axis", COUNTED, ids=lambda axis: axis.name)
@pytest.mark.parametrize("command", [*SEVERAL, profile], ids=lambda command: command.name)
@pytest.mark.parametrize("text", ["4x", "x", "1.5", "1e3", "", "4,4x"])
def test_a_bad_count_is_one_clear_line(
    text: str, command: click.Command, axis: Axis, call: Cli, tmp_path: Path
) -> None:
    code, out, err = call(command.name, axis.option, text, "-o", "out")

    assert (code, out) == (2, "")
    bad = text.rpartition(",")[2]
    assert err == (
        f"roofline: error: Invalid value for '{axis.option}': {bad!r} is not a whole number\n"
    )
    assert list(tmp_path.iterdir()) == []


@every_varied_axis
def test_every_axis_reaches_the_analysis(axis: Axis, call: Cli) -> None:
    """Two values, joined by a comma: two documents that differ in them."""
    text = ",".join(map(str, two(axis)))
    given = {"--model": "llava-1.5-7b", "--hw": "h200", "--output-tokens": "2", axis.option: text}
    words = [word for pair in given.items() for word in pair]
    code, out, err = call("analyze", *words, "--stage", "generate", "--format", "json")

    assert (code, err) == (0, "")
    help_text = [document["inputs"][axis.name] for document in json.loads(out)]
    assert help_text == [None if value == "none" else value for value in two(axis)]


@every_varied_axis
def test_every_axis_reaches_the_study(
    axis: Axis, call: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected: dict[str, Any] = {}

    def study(**given: Any) -> None:
        collected.update(given)
        raise InputError("enough")

    monkeypatch.setattr("roofline.explore.study.study", study)
    first, second = map(str, two(axis))
    code, out, err = call("report", axis.option, first, axis.option, second, "-o", "out")

    assert (code, out, err) == (2, "", "roofline: error: enough\n")
    assert collected.pop(axis.name) == two(axis)
    others = {other.name for other in VARIED if other is not axis}
    assert {name for name, values in collected.items() if name in others and values == ()} == others


@every_axis_of_a_run
@pytest.mark.parametrize("how", ["repeated", "commas"])
def test_a_second_value_is_an_error_where_one_counts(
    how: str, axis: Axis, call: Cli, tmp_path: Path
) -> None:
    first, second = map(str, two(axis))
    words = (
        [axis.option, first, axis.option, second]
        if how == "repeated"
        else [axis.option, f"{first},{second}"]
    )
    code, out, err = call("profile", "--device", "cpu", *words, "-o", "record.json")

    assert (code, out) == (2, "")
    assert err == (
        f"roofline: error: Invalid value for '{axis.option}': takes one value here, and got 2\n"
    )
    assert list(tmp_path.iterdir()) == []


@every_axis_of_a_run
def test_one_value_is_one_value(axis: Axis) -> None:
    value = two(axis)[0]

    assert parsed(profile, axis.option, str(value))[axis.name] == value
    if axis.name != "model":
        assert parsed(profile)[axis.name] is None


def test_tokens_takes_several_reducers_of_one_model() -> None:
    several = parsed(tokens, "photo.png", "--reducer", "prumerge,tome", "--reducer", "ats")

    assert several["reducer"] == ("prumerge", "tome", "ats")
    for words in (("--model", "a,b"), ("--visual-tokens", "9,12")):
        with pytest.raises(click.BadParameter, match="takes one value here, and got 2"):
            parsed(tokens, "photo.png", *words)


def test_a_list_among_a_reducers_options_is_not_split() -> None:
    typed = "evit:stages=6,12,18:share=0.5, prumerge,fastv:k=3"

    assert parsed(analyze, "--reducer", typed)["reducer"] == (
        *("evit:stages=6,12,18:share=0.5", "prumerge", "fastv:k=3"),
    )


def test_the_name_of_a_file_may_have_a_comma(call: Cli, tmp_path: Path) -> None:
    shipped = (Path(__file__).parents[2] / "hardware" / "v100.yaml").read_text(encoding="utf-8")
    for name in ("lab,2.yaml", "other.yaml"):
        text = shipped.replace("name: v100\n", f"name: {name[:3]}\n")
        (tmp_path / name).write_text(text, encoding="utf-8")

    def hardware(*words: str) -> list[str]:
        _, out, err = call("analyze", "--model", "vicuna-7b", *words, "--format", "json")
        assert err == ""
        documents = json.loads(out)
        listed = documents if isinstance(documents, list) else [documents]
        return [document["inputs"]["hardware"] for document in listed]

    assert hardware("--hw", "lab,2.yaml") == ["lab"]
    assert hardware("--hw", "lab,2.yaml", "--hw", "other.yaml,h200") == ["lab", "oth", "h200"]
    missing = call("analyze", "--model", "vicuna-7b", "--hw", "lab,3.yaml")
    assert missing.code == 2
    assert "unknown hardware 'lab'" in missing.err


def test_all_axes_are_options_unless_a_command_leaves_them_out() -> None:
    @click.command()
    @scenario_options(omit=("stage",), required=("model",), helps={"batch": "Own words."})
    def command(**given: Any) -> None: ...

    options = {option.name: option for option in command.params}
    assert list(options) == [axis.name for axis in AXES if axis.name != "stage"]
    assert [name for name, option in options.items() if option.required] == ["model"]
    for name, option in options.items():
        assert isinstance(option, click.Option)
        assert option.opts == [BY_NAME[name].option]
        help_text = option.help or ""
        assert help_text.count("Default:") + (option.show_default is True) <= 1
        assert help_text.startswith("Own words." if name == "batch" else BY_NAME[name].help)


@pytest.mark.parametrize("name", cli.list_commands(click.Context(cli)))
def test_no_option_tells_two_defaults(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    for option in command.params:
        if isinstance(option, click.Option):
            shown = bool(option.show_default) and option.default is not None
            assert (option.help or "").lower().count("default:") + shown <= 1, option.name
