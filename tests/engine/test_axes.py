"""One table of axes: keywords, options, JSON keys and columns all follow it."""

from __future__ import annotations

import inspect
import itertools
from typing import Any, get_args, get_type_hints

import click
import pytest

import roofline
from roofline.cli.analyze import analyze as analyze_command
from roofline.cli.profile import profile as profile_command
from roofline.cli.report import report as report_command
from roofline.engine.axes import (
    AXES,
    BY_NAME,
    COUNTS,
    KERNELS,
    RUNTIMES,
    STAGES,
    VARIED,
    Kernels,
    Stage,
    combinations,
)
from roofline.engine.scenario import Axes, Scenario
from roofline.explore.study import study
from roofline.model.architectures import AttentionKind
from roofline.specs.runtimes import runtimes

# Restated: what a user can say, with option and default. A new axis belongs here as well.
EXPECTED = {
    "model": ("--model", None),
    "hardware": ("--hw", None),
    "quant": ("--quant", "fp16"),
    "reducer": ("--reducer", None),
    "visual_tokens": ("--visual-tokens", None),
    "pictures": ("--image", None),
    "text_tokens": ("--text-tokens", 40),
    "batch": ("--batch", 1),
    "output_tokens": ("--output-tokens", 0),
    "stage": ("--stage", "prefill"),
    "attention": ("--attention", None),
    "runtime": ("--runtime", None),
    "kernels": ("--kernels", None),
    "library": ("--library", None),
    "accounting": ("--accounting", "exact"),
}
LAYERS = {"vision_layers", "llm_layers"}
"""Said in Python alone: lists, that are no axes."""


def options(command: click.Command) -> dict[str, tuple[str, Any]]:
    """Flags by the names of their values."""
    return {str(one.name): one.opts[-1] for one in command.params if one.name in EXPECTED}


def test_the_table() -> None:
    assert {axis.name: (axis.option, axis.default) for axis in AXES} == EXPECTED
    assert list(BY_NAME) == list(EXPECTED)
    assert {axis.name for axis in COUNTS} == {
        *("visual_tokens", "text_tokens", "batch", "output_tokens")
    }
    assert {axis.name for axis in VARIED} == set(EXPECTED) - {
        *("pictures", "stage", "attention", "kernels", "library", "accounting")
    }
    for axis in AXES:
        assert axis.title
        assert axis.help.endswith(".")
        assert axis.is_count == (axis in COUNTS)


def test_choices_are_those_of_the_types() -> None:
    assert BY_NAME["stage"].choices == STAGES == get_args(Stage)
    assert BY_NAME["attention"].choices == get_args(AttentionKind)
    assert BY_NAME["kernels"].choices == KERNELS == get_args(Kernels)
    assert BY_NAME["runtime"].choices == RUNTIMES == tuple(runtimes())


@pytest.mark.parametrize(
    ("function", "first"),
    [(roofline.analyze, ("model", "hardware", "quant")), (roofline.count, ("model", "quant"))],
)
def test_keywords_in_python(function: Any, first: tuple[str, ...]) -> None:
    named = list(inspect.signature(function).parameters)
    typed = set(get_type_hints(Axes))

    assert named == [*first, "visual_tokens", "axes"]
    assert typed - LAYERS == set(EXPECTED) - {"model", "hardware", "quant", "visual_tokens"}
    assert typed >= LAYERS


def test_keywords_of_a_scenario_and_their_defaults() -> None:
    parameters = inspect.signature(Scenario.of).parameters
    counts = {axis.name for axis in COUNTS}

    assert set(parameters) - {"counts"} == (set(EXPECTED) - counts) | LAYERS
    for name in set(parameters) & set(EXPECTED) - {"model"}:
        assert parameters[name].default == EXPECTED[name][1], name


def test_options_of_the_commands() -> None:
    flags = {name: flag for name, (flag, _) in EXPECTED.items()}

    assert options(analyze_command) == flags
    priced = ("pictures", "attention", "runtime", "kernels", "library", "accounting")
    without = {name: flags[name] for name in flags if name not in priced}
    assert {n: f for n, f in options(profile_command).items() if n != "attention"} == without
    studied = {axis.name: axis.option for axis in VARIED}
    studied |= {name: flags[name] for name in ("attention", "kernels", "library", "pictures")}
    assert options(report_command) == studied


def test_keys_of_the_json_and_columns_of_the_frames() -> None:
    estimate = roofline.analyze("llava-1.5-7b", "v100", visual_tokens=[40, 144])
    names = list(EXPECTED)

    assert list(estimate.inputs) == list(estimate.to_dict()["inputs"]) == names
    assert list(estimate.to_frame().columns)[: len(names) + 1] == [*names, "component"]
    assert list(estimate.ops_frame().columns)[: len(names)] == names
    assert list(roofline.count("llava-1.5-7b").inputs) == names


def test_inputs_of_a_study() -> None:
    found = study(model="llava-1.5-7b", hardware="h200")

    assert set(found.inputs) == set(EXPECTED) - {"stage", "accounting", "pictures"}
    assert set(found.deployments[0].inputs) == {axis.name for axis in VARIED} - {
        *("visual_tokens", "reducer", "output_tokens")
    }


def test_a_study_of_several_runtimes_names_the_kernels_of_each() -> None:
    """The same library for all, and kernels as each runtime implies."""
    found = study(
        model="llava-tiny", hardware="h200", runtime=["eager", "vllm"], library="vllm 0.24.0"
    )

    assert found.inputs["kernels"] == ["unfused", "fused"]
    assert found.inputs["library"] == ["vllm 0.24.0"]
    asked = [one.prompts[0].estimate.inputs for one in found.deployments]
    assert [(one["runtime"], one["kernels"], one["library"]) for one in asked] == [
        ("eager", "unfused", "vllm 0.24.0"),
        ("vllm", "fused", "vllm 0.24.0"),
    ]


def test_combinations_are_every_value_with_every_other() -> None:
    given = {"batch": (1, 2), "model": ("a", "b"), "quant": (), "visual_tokens": (7,)}
    found = list(combinations(given))

    expected = itertools.product(("a", "b"), (7,), (1, 2))
    assert [(one["model"], one["visual_tokens"], one["batch"]) for one in found] == list(expected)
    assert all("quant" not in one for one in found)
    assert list(combinations({})) == [{}]
