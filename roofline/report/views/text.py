"""`repr` of an estimate: at most ten lines, the answer first."""

from __future__ import annotations

from roofline.engine.estimate import Counts
from roofline.engine.views import VIEWS
from roofline.report.views.summary import answer, needed, question, saved, table
from roofline.tables import grid


def text(estimate: Counts) -> str:
    """Four lines, then two of headings and one for each of several components."""
    lines = [answer(estimate), saved(estimate), needed(estimate), question(estimate)]
    headings, rows = table(estimate, together=False)
    if len(rows) > 1:
        lines += grid(rows, headings, words=("Bound",)).splitlines()
    return "\n".join(filter(None, lines))


VIEWS.register("text", text)
