"""Inputs that nobody means, by the thousand: `python tools/fuzz --seed 1 --specs 1000`.

Each case is drawn from the seed, its kind and its number alone, so that one that fails can be run
again by itself (`--only specs:17`). A case fails unless it ends with exit 0 and finite numbers, or
with exit 2 and one line of error that says where.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from time import perf_counter

import click
from cases import KINDS, Outcome, drawn, outcomes
from files import Case

_SHOWN = 3000
_AT_ONCE = 50
"""Cases that a process is given."""


@click.command(help=__doc__)
@click.option("--seed", default="0", show_default=True)
@click.option("--specs", default=1000, show_default=True, help="Damaged files of specs.")
@click.option("--commands", default=1000, show_default=True, help="Command lines.")
@click.option("--records", default=200, show_default=True, help="Damaged records.")
@click.option("--most", default=10, show_default=True, help="Failures to show.")
@click.option("--only", help="One case, such as specs:17.")
def fuzz(seed: str, most: int, only: str | None, **counts: int) -> None:
    """Run all cases, and exit with 1 if any fails."""
    chosen = [(kind, number) for kind in KINDS for number in range(counts[kind])]
    if only:
        kind, _, which = only.partition(":")
        if kind not in KINDS or not which.isdecimal():
            known = " or ".join(f"{name}:17" for name in KINDS)
            raise click.BadParameter(f"{only!r} is no case: give {known}", param_hint="--only")
        chosen = [(kind, int(which))]
    began_s, failed, answered = perf_counter(), 0, Counter[str]()
    if only:
        show(drawn(seed, *chosen[0]))
    for kind, number, arguments, ended, wrong in all_outcomes(seed, chosen):
        answered[kind] += ended.code == 0
        if only:
            click.echo(f"{ended.code}\n{ended.out[:_SHOWN]}{ended.err[:_SHOWN]}")
        if not wrong:
            continue
        failed += 1
        click.echo(f"--seed {seed} --only {kind}:{number}\n  {' '.join(arguments)[:300]!r}")
        click.echo("".join(f"  {line}\n" for line in wrong)[-_SHOWN:])
        if failed >= most:
            break
    took_s = perf_counter() - began_s
    sound = ", ".join(f"{count} of {counts[kind]} {kind}" for kind, count in answered.items())
    click.echo(f"{len(chosen)} cases in {took_s:.0f} s, seed {seed}; answered: {sound}")
    click.echo(f"{failed} fail")
    sys.exit(failed > 0)


def all_outcomes(seed: str, chosen: Sequence[tuple[str, int]]) -> Iterator[Outcome]:
    """In their order, worked out by as many processes as there are cores."""
    parts = [chosen[i : i + _AT_ONCE] for i in range(0, len(chosen), _AT_ONCE)]
    with ProcessPoolExecutor() as pool:
        try:
            for part in pool.map(partial(outcomes, seed), parts):
                yield from part
        finally:
            pool.shutdown(cancel_futures=True)


def show(case: Case) -> None:
    """What a case is made of."""
    click.echo(repr(case.arguments))
    for name, content in case.files.items():
        click.echo(f"--- {name}\n{content.decode(errors='replace')[:_SHOWN]}")


if __name__ == "__main__":
    os.environ.pop("ROOFLINE_PATH", None)
    fuzz()
