"""Published accuracies: who scored what at how many visual tokens, and what can be priced."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

import msgspec
from msgspec import Struct

from roofline.errors import InputError
from roofline.specs.reading import DATA, build, read_yaml
from roofline.specs.sourced import Positive, PositiveInt, Spec

_FILE = DATA / "prumerge_accuracy.yaml"


class Benchmark(Spec, frozen=True):
    """What a score of it means."""

    metric: str
    unit: str
    full_marks: Positive
    """Top of the scale, in the scores' unit."""
    higher_is_better: bool
    printed: str = ""
    """Its name in the tables, where that is another."""

    @property
    def point(self) -> float:
        """One point: a hundredth of the scale, such as 1 % or 20 of MME's 2000."""
        return self.full_marks / 100


class PublishedRow(Spec, frozen=True):
    """One row of a table, digits as printed."""

    method: str
    llm: str
    scores: dict[str, str]
    """By benchmark; without those that the table leaves blank."""
    model: str | None = None
    """Name of its spec; None for a model that `analyze` cannot price."""
    reducer: str | None = None
    """None where all visual tokens are kept, or where only their number is known."""
    visual_tokens: PositiveInt | None = None
    """Of a sample, on average over benchmarks; None is all of the model's."""
    visual_tokens_on: dict[str, PositiveInt] = msgspec.field(default_factory=dict)
    """The same on one benchmark, where the paper tells."""
    training: Literal["fine-tuned", "training-free", ""] = ""
    """Whether the LLM was trained on the reduced tokens; empty where that is not stated."""
    note: str = ""
    not_priced: str = ""
    """Why there is no `model`."""

    def tokens(self, benchmark: str) -> int | None:
        """Visual tokens of a sample of this benchmark; None is all of the model's."""
        return self.visual_tokens_on.get(benchmark, self.visual_tokens)


class PublishedTable(Spec, frozen=True):
    """One table of the paper; rows in its order."""

    number: PositiveInt
    title: str
    rows: tuple[PublishedRow, ...]


class PublishedAccuracy(Spec, frozen=True):
    """All of it."""

    source: str
    benchmarks: dict[str, Benchmark]
    tables: tuple[PublishedTable, ...]

    def __post_init__(self) -> None:
        for table in self.tables:
            for number, row in enumerate(table.rows, 1):
                where = f"table {table.number}, row {number}"
                if unknown := [name for name in row.scores if name not in self.benchmarks]:
                    raise ValueError(f"{where}: `benchmarks` lacks {', '.join(unknown)}")
                if (row.model is None) != bool(row.not_priced):
                    raise ValueError(f"{where}: give either `model` or `not_priced`")


class Score(Struct, frozen=True):
    """What one method scored on one benchmark."""

    benchmark: str
    method: str
    llm: str
    model: str
    reducer: str | None
    visual_tokens: int | None
    """Of a sample; None is all of the model's."""
    training: str
    value: float
    printed: str
    sources: tuple[str, ...]
    """`table 1, row 9` and the like: each place that prints it."""
    notes: tuple[str, ...] = ()


class Unpriced(Struct, frozen=True):
    """A method with published scores that no cost stands beside, and why."""

    method: str
    llm: str
    source: str
    why: str


@lru_cache(maxsize=1)
def published() -> PublishedAccuracy:
    """The accuracies that ship with the package. Raises SpecError."""
    return build(PublishedAccuracy, read_yaml(_FILE), _FILE)


def scores(models: Iterable[str], data: PublishedAccuracy | None = None) -> list[Score]:
    """Scores of these models, in the tables' order; one that several tables print comes once.

    Raises InputError if nothing is published for any of them.
    """
    data, wanted = data or published(), list(models)
    found: dict[tuple[object, ...], Score] = {}
    for table in data.tables:
        for number, row in enumerate(table.rows, 1):
            if row.model is None or row.model not in wanted:
                continue
            for benchmark, printed in row.scores.items():
                score = Score(
                    benchmark=benchmark,
                    method=row.method,
                    llm=row.llm,
                    model=row.model,
                    reducer=row.reducer,
                    visual_tokens=row.tokens(benchmark),
                    training=row.training,
                    value=float(printed),
                    printed=printed,
                    sources=(f"table {table.number}, row {number}",),
                    notes=(row.note,) if row.note else (),
                )
                key = (benchmark, row.method, row.model, score.visual_tokens, score.value)
                found[key] = _merged(found[key], score) if key in found else score
    if not found:
        known = dict.fromkeys(r.model for t in data.tables for r in t.rows if r.model)
        raise InputError(
            f"no accuracy is published here for {', '.join(wanted)}: choose among "
            f"{', '.join(known)}"
        )
    return list(found.values())


def unpriced(data: PublishedAccuracy | None = None) -> list[Unpriced]:
    """Methods of the tables that `analyze` has no cost model for."""
    data = data or published()
    return [
        Unpriced(row.method, row.llm, f"table {table.number}, row {number}", row.not_priced)
        for table in data.tables
        for number, row in enumerate(table.rows, 1)
        if row.not_priced
    ]


def _merged(first: Score, again: Score) -> Score:
    """The same figure, printed twice."""
    return Score(
        benchmark=first.benchmark,
        method=first.method,
        llm=first.llm,
        model=first.model,
        reducer=first.reducer,
        visual_tokens=first.visual_tokens,
        training=first.training or again.training,
        value=first.value,
        printed=first.printed,
        sources=first.sources + again.sources,
        notes=tuple(dict.fromkeys(first.notes + again.notes)),
    )
