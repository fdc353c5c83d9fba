"""The command line: a group whose commands are imported when they are called."""

from __future__ import annotations

import gc
import sys
import warnings
from importlib import import_module
from io import TextIOWrapper

import click

from roofline import __version__
from roofline.cli.output import give_up_stdout
from roofline.errors import OutputError, RooflineError
from roofline.plain_text import one_line

COMMANDS = {
    "analyze": "FLOPs, memory traffic, time and bound of a prompt on a device.",
    "hardware": "List devices, or show one with its sources.",
    "models": "List models, or show one with its sources.",
    "reducers": "List token reducers, or show one with its options.",
    "quantization": "List quantization modes, or show one and where it runs.",
    "profile": "Run a model here and time its components, theory beside practice.",
    "compare": "Put records of `profile` side by side.",
    "calibrate": "Measure this device's ceilings and write them as a spec for --hw.",
    "fit": "Fit laws of attainable time to a table of measured kernels.",
    "validate": "Hold the analysis against PyTorch's counts and this machine's times.",
    "report": "Write a study as Markdown, HTML and figures.",
    "tokens": "Draw the visual tokens that reducers keep of a picture.",
    "reproduce": "Recompute a published table, cell by cell.",
}

_IMMEDIATE = ("analyze", "hardware", "models", "reducers", "quantization", "reproduce")
"""Commands that answer and end, most of whose time are imports: nothing of these is garbage."""
_LONGEST = 2000
"""Characters of an error."""
_NO_GARBAGE_BELOW = 100_000
"""Objects at which the collector starts to look for some."""


class _LazyGroup(click.Group):
    """Knows its commands by name and one-line help; `roofline.cli.NAME` holds `NAME`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"roofline.cli.{name}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(f"no command {args[0]!r}; there are {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help=(
        "Say what a large multimodal model costs on a device, before and after reduction of its "
        "visual tokens.\n\n"
        "\b\nroofline analyze --model vicuna-7b --hw v100 --quant int4 --visual-tokens 40"
    ),
)
@click.version_option(__version__, package_name="roofline", message="%(prog)s %(version)s")
def cli() -> None:
    """All commands."""


def main() -> None:
    """Entry point. Every deliberate error is one line on stderr and an exit code, no traceback."""
    if len(sys.argv) > 1 and sys.argv[1] in _IMMEDIATE:
        gc.set_threshold(_NO_GARBAGE_BELOW)
    warnings.showwarning = _warn  # type: ignore[assignment]  # category and line are for developers
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # no name is beyond what a terminal can show
            stream.reconfigure(errors="backslashreplace")
    try:
        code = cli.main(prog_name="roofline", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _fail(" ".join(error.format_message().split()), error.exit_code)
    except click.Abort:
        _fail("interrupted", 130)
    except RooflineError as error:
        _fail(error.line, error.exit_code)
    except OSError as error:
        give_up_stdout()
        said = f"{error.filename}: " if error.filename else "cannot write the result: "
        _fail(f"{said}{error.strerror or error}", OutputError.exit_code)
    finally:
        gc.freeze()  # nothing to collect at the end: it would take a tenth of a short command
    sys.exit(code if isinstance(code, int) else 0)


def _warn(message: Warning | str, *_: object) -> None:
    click.echo(f"roofline: warning: {one_line(str(message))}", err=True)


def _fail(message: str, code: int) -> None:
    message = one_line(message)
    cut = "…" if len(message) > _LONGEST else ""  # what was typed may be a file's content
    click.echo(f"roofline: error: {message[:_LONGEST]}{cut}", err=True)
    sys.exit(code)
