"""Command lines of all commands: options that exist, with values that nobody means among them.

What would measure or draw is replaced: what comes before, and after, runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from random import Random
from typing import Any
from unittest import mock

import click
from damage import TEXTS
from files import ROOT, Case, sound_records

from roofline.cli.main import COMMANDS
from roofline.engine.axes import BY_NAME
from roofline.errors import InputError

DRAWN = (*COMMANDS, *("analyze",) * 6, "report", "profile")
"""All that there are, and some more often."""
FILES = ("mine.yaml", "broken.yaml", "dangling.yaml", "pipe.yaml", "folder.yaml", "none.yaml")
"""Specs beside the command, sound and not; `there` makes them."""
_HOSTILE = (*TEXTS, "x" * 100_000, "\udcff", "--", "--help", "-o", "=", ",", "a,b", ",,", "v100,")
_NAMES: dict[str, tuple[str, ...]] = {
    "model": ("vicuna-7b", "llava-1.5-7b", "llava-tiny", "clip-vit-l-336", "llava-connector"),
    "hardware": ("v100", "a100", "h100", "xeon-8480", "V100-PCIE"),
    "quant": ("fp16", "int4", "bf16", "w4a16", "w3a16kv8", "fp8", "FP16"),
    "library": ("vllm", "vLLM 0.24.0", "sglang", "nccl", "no such"),
    "reducer": ("prumerge", "fastv:k=3", "evit:stages=6,12", "none", "tome", "fastv:k=-1", "ats:"),
}
_COUNTS = ("0", "1", "40", "576", "577", "2880", "-1", "1.5", "1e3", "10000000", "10000001", "1,2")
_SECONDS = ("1", "0", "-1", "nan", "inf", "-inf", "1e-300", "1e308", "1e5", "")
_TARGETS = (
    "out.json",
    "out.md",
    "out.csv",
    "-",
    "",
    ".",
    "out/x",
    "sound.json",
    "/dev/full",
    "a/b",
)
_FIGURES = ("out.png", "out.svg", "out.png", "out.pdf")
"""For a command that writes nothing else, beside those."""
REPLACED = (
    ("profile", "roofline.torch_side.measure.profile", "profile"),
    ("calibrate", "roofline.torch_side.calibrate.calibrate", "calibrate"),
    ("validate", "roofline.torch_side.measure.validate", "calibrate_and_validate"),
    ("tokens", "roofline.torch_side.reduce.kept_patches", "inspect_photos"),
)
"""Commands that measure, and where they begin to: the module and what they import of it."""
DRAWN_BY = ("report", "roofline.report.study_report", "render_study")
"""The one that draws, likewise."""


def there(draw: Random) -> dict[str, bytes]:
    """Files beside a command."""
    models = sorted((ROOT / "models").glob("vicuna*.yaml"))
    return {
        "mine.yaml": draw.choice(models).read_bytes(),
        "broken.yaml": b"name: [1",
        "sound.py": b"",
        "sound.json": draw.choice(sound_records()),
        "rows.csv": b"op,dtype,m,n,k,time_ms\nmatmul,fp16,1,2,3,x\n",
    }


def command_case(draw: Random) -> Case:
    """A command line of any command."""
    name = draw.choice(DRAWN)
    command: click.Command = getattr(import_module(f"roofline.cli.{name}"), name)
    words: list[str] = []
    form = ""
    usual = draw.choice(((7, 3, 0.5), (7, 3, 0.5), (30, 2, 0.1)))  # few options get further
    for parameter in command.params:
        times = draw.choices((0, 1, 2), usual)[0]
        if parameter.required:
            times = draw.choices((0, 1, 2), (0.5, 10, 0.5))[0]
        for _ in range(times):
            typed = _typed(parameter, draw, draws=name == "tokens")
            words += typed
            if typed[0] == "--format":
                form = typed[-1]
    if draw.random() < 0.1:
        words.insert(draw.randrange(len(words) + 1), draw.choice(_HOSTILE))
    if draw.random() < 0.03:
        name = draw.choice(_HOSTILE)
    elsewhere = {"-o", "--output", "-h", "--help"} & {word.partition("=")[0] for word in words}
    is_json = name == "analyze" and form == "json" and not elsewhere
    return Case(there(draw), [name, *words], is_json=is_json)


def _typed(parameter: click.Parameter, draw: Random, *, draws: bool = False) -> list[str]:
    value = _value(parameter, draw, draws=draws)
    if isinstance(parameter, click.Argument):
        return [value]
    assert isinstance(parameter, click.Option)
    flag = draw.choice(parameter.opts)
    if parameter.is_flag:
        return [flag]
    return [f"{flag}={value}"] if flag.startswith("--") and draw.random() < 0.1 else [flag, value]


def _value(parameter: click.Parameter, draw: Random, *, draws: bool = False) -> str:
    """draws: whether the command writes a figure alone."""
    name = parameter.name or ""
    if draw.random() < 0.03:
        return draw.choice(_HOSTILE)
    if isinstance(parameter.type, click.Choice):
        return str(draw.choice((*parameter.type.choices, draw.choice(_HOSTILE))))
    if name in BY_NAME and BY_NAME[name].is_count:
        return draw.choice(_COUNTS)
    if name == "seconds":
        return draw.choice(_SECONDS)
    if name in ("output", "measurements") and isinstance(parameter, click.Option):
        return draw.choice((*_TARGETS, *_FIGURES * 3) if draws else _TARGETS)
    if name in ("records", "photos", "measurements", "checkpoint", "image"):
        return draw.choice(("sound.json", "rows.csv", "none", *FILES))
    if name == "explain":
        return draw.choice(("time", "memory", "flops", "kv", "llm", "q_proj", "vision", "none"))
    if name == "plugins":
        return draw.choice((*FILES, "sound.json", *("sound.py",) * 6))
    if name == "device":
        return draw.choice(("cpu", "cpu:9", "cuda", "cuda:99", "xpu", "meta", "mps", "", "gpu"))
    key = "hardware" if name in ("base", "like", "hardware") else name
    known = _NAMES.get(key, ("v100", "vicuna-7b"))
    return ",".join(
        draw.choices((*known, *known, *known, *known, *FILES), k=draw.choice((1, 1, 1, 1, 1, 2)))
    )


@contextmanager
def without_measuring() -> Iterator[None]:
    """Commands that measure end where they would begin to; reports draw nothing."""

    def begins(*_: Any, **__: Any) -> Any:
        raise InputError("here the measurement would begin")

    with ExitStack() as replaced:
        for _, home, what in REPLACED:
            replaced.enter_context(mock.patch.object(import_module(home), what, begins))
        _, home, what = DRAWN_BY
        replaced.enter_context(
            mock.patch.object(import_module(home), what, return_value={"report.md": b"x"})
        )
        yield
