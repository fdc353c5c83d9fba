"""Of every chart: it appears where it applies, in its section, and is plain data."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from artists import charted

from roofline.explore.study import Study
from roofline.registry import Registry
from roofline.report.charts import PanelChart, ReportChart, ReportSection, register, report_charts
from roofline.report.charts import registry as charts_registry
from roofline.report.charts.chart import to_json

NAMES = (
    *("time", "visual-tokens", "roofline", "memory", "answer", "prediction"),
    *("accuracy-time", "accuracy-kv-cache"),
)


def test_charts_stand_in_a_reports_order() -> None:
    sections = list(ReportSection)
    found = [sections.index(kind.section) for kind in report_charts().values()]

    assert tuple(report_charts()) == NAMES
    assert found == sorted(found)
    assert {name: kind.name for name, kind in report_charts().items()} == {n: n for n in NAMES}


def test_what_has_nothing_to_show_does_not_apply(studies: dict[str, Study]) -> None:
    always = {"time", "roofline", "memory"}

    def applying(case: str) -> set[str]:
        return {name for name, kind in report_charts().items() if kind.applies(studies[case])}

    assert applying("vision") == always
    assert applying("text") == always | {"answer"}
    assert applying("one") == always | {"answer", "visual-tokens"}
    costs = {"accuracy-time", "accuracy-kv-cache"}
    assert applying("accuracy") == always | {"answer", "visual-tokens"} | costs


def numbers(value: Any) -> Iterator[float]:
    match value:
        case dict():
            for inside in value.values():
                yield from numbers(inside)
        case list():
            for inside in value:
                yield from numbers(inside)
        case bool():
            return
        case int() | float():
            yield value


@pytest.mark.parametrize("name", NAMES)
def test_a_chart_is_plain_data(name: str, one: Study, scored: Study, recorded: Study) -> None:
    kind = report_charts()[name]
    found = next(found for found in (one, scored, recorded) if kind.applies(found))
    chart = charted(name, found)
    data = to_json(chart)

    assert (chart.name, chart.title) == (name, kind.title)
    assert msgspec.json.decode(data, type=PanelChart) == chart
    assert charted(name, found) == chart  # the same of the same
    assert len(list(numbers(json.loads(data)["panels"]))) > 5
    assert chart.alt.endswith(".")
    assert "nan" not in chart.alt
    for panel in chart.panels:
        assert bool(panel.series or panel.bars) is not bool(panel.empty_because)
        for series in panel.series:
            assert len(series.x) == len(series.y)
            assert name == "answer" or not series.reduced  # nobody else tells prompts apart
            for more in (series.low, series.high, series.shares, series.origins):
                assert len(more) in (0, len(series.x))
    known = {entry.of for entry in chart.legend}
    shown = {
        *(series.of for panel in chart.panels for series in panel.series),
        *(part.of for panel in chart.panels for bar in panel.bars for part in bar.parts),
    }
    if name != "roofline":  # whose slopes and ceilings have their names beside them
        assert shown - {""} <= known


@pytest.mark.parametrize(
    ("name", "columns"),
    [("memory", 2), ("time", 2), ("roofline", 2), ("prediction", 2), ("visual-tokens", 3)],
)
def test_panels_that_belong_together_share_a_row(name: str, columns: int, recorded: Study) -> None:
    """Of time and roofs there may be many: two in a row; of the others, what is of one thing."""
    chart = charted(name, recorded)
    assert chart.columns == columns
    assert name in ("time", "roofline", "memory") or len(chart.panels) == columns


def test_a_chart_of_ones_own_is_in_every_report(
    one: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Registry[ReportChart]("chart")
    for shipped in report_charts().values():
        own.register(shipped.name, shipped)
    monkeypatch.setattr(charts_registry, "CHARTS", own)
    mine = ReportChart(name="mine", title="Mine", of=lambda study: charted("time", study))
    register(mine)

    assert list(report_charts())[-1] == "mine"
    assert report_charts()["mine"].section is ReportSection.MORE
    assert report_charts()["mine"].applies(one)


def test_within_a_section_places_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts_registry, "CHARTS", Registry("chart"))
    for name, section, order in (
        ("b", ReportSection.MEMORY, 2),
        ("a", ReportSection.MEMORY, 3),
        ("c", ReportSection.COSTS, 9),
    ):
        register(
            ReportChart(
                name=name,
                title=name,
                section=section,
                order=order,
                of=lambda study: charted("time", study),
            )
        )
    assert list(report_charts()) == ["c", "b", "a"]


def test_a_chart_without_a_place_is_among_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name, beside those whose place is 0."""
    monkeypatch.setattr(charts_registry, "CHARTS", Registry("chart"))
    for name, given in (("c", {"order": 0}), ("b", {}), ("a", {"order": 0}), ("0", {"order": 1})):
        register(
            ReportChart(name=name, title=name, of=lambda found: charted("time", found), **given)
        )
    assert list(report_charts()) == ["a", "b", "c", "0"]


def test_a_chart_needs_no_matplotlib() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from roofline.explore.study import study\n"
        "from roofline.report.charts import report_charts, to_json\n"
        "found = study(model='clip-vit-l-336', hardware='t4')\n"
        "print(*(k.name for k in report_charts().values()"
        " if k.applies(found) and to_json(k.of(found))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["time", "roofline", "memory"]


def test_what_is_no_plain_data_is_no_chart(one: Study) -> None:
    chart = charted("memory", one)
    with pytest.raises(NotImplementedError, match="a chart holds no Odd"):
        to_json(msgspec.structs.replace(chart, subtitle=Odd()))


class Odd:
    """Nothing that JSON knows."""
