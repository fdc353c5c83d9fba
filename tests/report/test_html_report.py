"""The HTML report: valid for whoever reads it, and complete in one file, in a real browser too."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from base64 import b64decode
from collections.abc import Iterator
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from contrast import contrast, luminance

from roofline.explore.study import study
from roofline.report.charts import report_charts
from roofline.report.document import (
    Bullets,
    Code,
    Document,
    Heading,
    Paragraph,
    Picture,
    Table,
    markdown,
)
from roofline.report.html import html
from roofline.report.study_report import render_study

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><circle r="4"/></svg>'
DOCUMENT = Document(
    "A <b>bold</b> title & more",
    (
        Heading("What it costs"),
        Paragraph("Costs 3 < 4, *really*, of a|b and __init__."),
        Bullets((("h200.", "fast"), ("", "no label"))),
        Table(
            "Times of a|b.",
            ("Device", "Bound", "Time"),
            (("v100", "compute", "81 ms"), ("h<1>", "memory", "9.6 ms")),
            ("Bound",),
        ),
        Heading("Within", level=3),
        Picture("curve", "Time & tokens.", 'Lines that "fall"\nfrom 576 to 1 [tokens]'),
        Code("roofline report --model 'a b' | less"),
    ),
)
VOID = {"meta", "img", "link", "br", "source"}


class Element(NamedTuple):
    tag: str
    attributes: dict[str, str]
    text: list[str]
    inside: tuple[str, ...]
    """Tags of the elements around it."""


class Page(HTMLParser):
    """Every element of a page; an end tag that fits no start tag fails the test."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[Element] = []
        self._open: list[Element] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        around = tuple(e.tag for e in self._open)
        self.found.append(Element(tag, {k: v or "" for k, v in attrs}, [], around))
        if tag not in VOID:
            self._open.append(self.found[-1])

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text.append(data)

    def all(self, tag: str) -> list[Element]:
        return [element for element in self.found if element.tag == tag]

    def texts(self, tag: str) -> list[str]:
        return ["".join(element.text).strip() for element in self.all(tag)]


@pytest.fixture(scope="module")
def text() -> str:
    return html(DOCUMENT, {"curve": SVG})


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_texts_come_out_as_they_went_in(page: Page) -> None:
    assert page.texts("title") == page.texts("h1") == [DOCUMENT.title]
    assert page.texts("p") == ["Costs 3 < 4, *really*, of a|b and __init__.", "Times of a|b."]
    assert page.texts("li") == ["h200. fast", "no label"]
    assert page.texts("td") == ["compute", "81 ms", "memory", "9.6 ms"]
    assert page.texts("code") == ["roofline report --model 'a b' | less"]


def test_every_cell_has_headers(page: Page) -> None:
    scopes = [(e.attributes["scope"], "".join(e.text)) for e in page.all("th")]

    assert scopes == [
        ("col", "Device"),
        ("col", "Bound"),
        ("col", "Time"),
        ("row", "v100"),
        ("row", "h<1>"),
    ]
    assert all("thead" in e.inside for e in page.all("th")[:3])


def test_long_row_headers_may_wrap_and_short_ones_with_hyphens_do_not() -> None:
    """A name such as llava-1.5-13b would have three lines else."""
    rows = ((("a" * 16), "1"), (("a" * 17), "2"))
    page = Page(html(Document("x", (Table("t", ("Name", "N"), rows),)), {}))
    heads = [
        e.attributes.get("class", "") for e in page.all("th") if e.attributes["scope"] == "row"
    ]
    assert heads == ["row", "row long"]


def test_what_names_a_row_together_is_one_cell_for_narrow_screens() -> None:
    """Beside the columns that it stands for: either is hidden."""
    rows = (("m<1>", "v100", "576", "1 ms"), ("m<1>", "-", "40", "2 ms"))
    block = Table("t", ("Model", "Device", "Tokens", "Time"), rows, ("Device",), names=3)
    page = Page(html(Document("x", (block,)), {}))
    cells = [
        (e.attributes["class"], "".join(e.text))
        for e in page.found
        if e.tag in ("th", "td") and "class" in e.attributes
    ]
    assert cells == [
        ("row together", "Model · Device · Tokens"),
        ("row apart", "Model"),
        ("apart", "Device"),
        ("apart number", "Tokens"),
        ("number", "Time"),
        ("row together", "m<1> · v100 · 576"),
        ("row apart", "m<1>"),
        ("apart words", "v100"),
        ("apart", "576"),
        ("row together", "m<1> · 40"),
        ("row apart", "m<1>"),
        ("apart words", "-"),
        ("apart", "40"),
    ]
    assert (
        "together" not in html(Document("x", (Table("t", ("A", "B"), (("1", "2"),)),)), {})[5000:]
    )


def test_a_reader_is_told_language_structure_and_pictures(page: Page) -> None:
    assert page.all("html")[0].attributes["lang"] == "en"
    assert len(page.all("main")) == len(page.all("h1")) == 1
    assert [e.tag for e in page.found if re.fullmatch("h[1-6]", e.tag)] == ["h1", "h2", "h3"]
    assert [e.attributes["alt"] for e in page.all("img")] == [
        'Lines that "fall" from 576 to 1 [tokens]'
    ]


def test_what_scrolls_can_be_reached_by_keyboard(page: Page) -> None:
    (region,) = (e for e in page.all("div") if e.attributes.get("class") == "wide")

    assert region.attributes["tabindex"] == "0"
    assert region.attributes["role"] == "region"
    (caption,) = (e for e in page.all("p") if e.attributes.get("class") == "caption")
    assert "".join(caption.text) == "Times of a|b."
    assert "div" not in caption.inside  # it stays where it is when the table scrolls
    (table,) = page.all("table")
    for named in (region, table):
        assert named.attributes["aria-labelledby"] == caption.attributes["id"]


def test_every_table_has_a_caption_of_its_own() -> None:
    tables = (Table("One.", ("a",), (("1",),)), Table("Two.", ("a",), (("2",),)))
    page = Page(html(Document("x", tables), {}))
    captions = {e.attributes["id"]: "".join(e.text) for e in page.all("p")}
    named = [captions[e.attributes["aria-labelledby"]] for e in page.all("table")]
    assert named == ["One.", "Two."]


def test_narrow_screens_get_figures_that_were_drawn_for_them() -> None:
    narrow = SVG.replace(b'width="10"', b'width="5"')
    page = Page(html(DOCUMENT, {"curve": SVG}, narrow={"curve": narrow}))
    (source,), (image,) = page.all("source"), page.all("img")
    assert source.inside[-1] == image.inside[-1] == "picture"
    assert source.attributes["media"] == "(max-width: 40rem)"
    assert b64decode(source.attributes["srcset"].partition(",")[2]) == narrow
    assert b64decode(image.attributes["src"].partition(",")[2]) == SVG


def test_figures_are_inside(page: Page) -> None:
    kind, data = page.all("img")[0].attributes["src"].split(",")

    assert kind == "data:image/svg+xml;base64"
    assert b64decode(data) == SVG
    assert ElementTree.fromstring(b64decode(data)).tag.endswith("svg")


def test_nothing_is_fetched(page: Page, text: str) -> None:
    assert not page.all("script")
    assert not page.all("link")
    for element in page.found:
        for name in ("src", "href", "srcset", "data", "action"):
            assert element.attributes.get(name, "data:").startswith("data:")
    assert not re.search(r"url\(|@import", text)
    (policy,) = (e for e in page.all("meta") if "http-equiv" in e.attributes)
    assert policy.attributes["content"].startswith("default-src 'none'")


def themes(text: str) -> Iterator[dict[str, str]]:
    """Colours by name, light and dark, as the page's style has them."""
    style = text.partition("<style>")[2].partition("</style>")[0]
    for block in re.findall(r":root \{(.*?)\}", style):
        yield dict(re.findall(r"--(\w+): (#\w{6});", block))


def test_text_stands_out_in_light_and_dark(text: str) -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # WebAIM's example

    light, dark = themes(text)
    for colours in (light, dark):
        for ink in ("ink", "quiet"):
            for paper in ("paper", "band"):
                assert contrast(colours[ink], colours[paper]) >= 4.5
    assert luminance(light["paper"]) > 0.9
    assert luminance(dark["paper"]) < 0.1
    used = set(re.findall(r"(?<!-)color: var\(--(\w+)\)", text))
    assert used == {"ink", "quiet"}  # which the loop above holds against both papers
    found = set(re.findall(r"background:\s([^;]+);", text))
    (shadow,) = (one for one in found if "gradient" in one)
    assert found - {shadow} == {"var(--paper)", "var(--band)", "#ffffff"}  # behind figures
    assert set(re.findall(r"var\(--(\w+)\)", shadow)) == {"paper", "edge"}
    for colours in (light, dark):
        assert contrast(colours["ink"], colours["edge"]) >= 4.5  # figures that it lies behind
        assert contrast(colours["paper"], colours["edge"]) >= 1.5


def test_markdown_says_the_same() -> None:
    assert markdown(DOCUMENT) == (
        r"""# A \<b>bold\</b> title & more

## What it costs

Costs 3 \< 4, \*really\*, of a\|b and \_\_init\_\_.

- **h200.** fast
- no label

Times of a\|b.

| Device | Bound   |   Time |
|--------|---------|-------:|
| v100   | compute |  81 ms |
| h\<1>  | memory  | 9.6 ms |

### Within

![Lines that "fall" from 576 to 1 (tokens)](curve.png)

*Time & tokens.*

```sh
roofline report --model 'a b' | less
```
"""
    )


CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


class Visit(NamedTuple):
    dom: str
    requested: list[str]
    """Addresses that the page asked for; the browser's own errands are not among them."""
    console: list[str]


def visit(file: Path, folder: Path) -> Visit:
    """Open a file in headless Chromium, from which no name can be reached."""
    log = folder / f"{file.stem}-net.json"
    command = [
        str(CHROMIUM),
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr"),
        *(f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--dump-dom"),
        file.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=True)
    written: dict[str, Any] = json.loads(log.read_text(encoding="utf-8"))
    starts = written["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    requests = [e.get("params", {}) for e in written["events"] if e["type"] == starts]
    return Visit(
        done.stdout,
        [r["url"] for r in requests if "url" in r and r.get("initiator") != "not an origin"],
        [line for line in done.stderr.splitlines() if "CONSOLE" in line],
    )


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_a_browser_fetches_nothing_and_complains_of_nothing(tmp_path: Path) -> None:
    leaky = tmp_path / "leaky.html"
    leaky.write_text(
        '<!DOCTYPE html><title>x</title><img src="http://example.com/x.png">'
        '<script>console.error("heard")</script>',
        encoding="utf-8",
    )
    seen = visit(leaky, tmp_path)
    assert seen.requested == ["http://example.com/x.png"]  # what is looked for would be found
    assert any("heard" in line for line in seen.console)

    file = tmp_path / "report.html"
    charts = {name: report_charts()[name] for name in ("memory", "visual-tokens")}
    files = render_study(
        study(model=["llava-1.5-7b"], hardware=["h200"]), "roofline", "1.2.3", charts
    )
    file.write_bytes(files["report.html"])
    seen = visit(file, tmp_path)
    page = Page(seen.dom)
    assert page.texts("h1") == ["llava-1.5-7b on h200: fp16"]
    assert all(len(image.attributes["alt"]) > 20 for image in page.all("img"))
    assert len(page.all("img")) == 2
    assert seen.requested == []
    assert seen.console == []


def on_a_phone(page: str, folder: Path) -> dict[str, Any]:
    """What a page is like in a frame 390 pixels wide: headless windows are no narrower than 500."""
    script = (
        "const d = frames[0].document, e = d.documentElement;"
        "const wide = [...d.querySelectorAll('.wide')];"
        "document.title = JSON.stringify({beyond: e.scrollWidth - e.clientWidth,"
        " scrolling: wide.filter(w => w.scrollWidth > w.clientWidth).length,"
        " right: Math.max(...wide.map(w => w.getBoundingClientRect().right)),"
        " glance: wide.length && wide[0].scrollWidth <= wide[0].clientWidth,"
        " rows: wide.map(w => { w.scrollLeft = 1e4; const at = w.getBoundingClientRect().left;"
        " return [...w.querySelectorAll('th.row')].filter(c => c.clientWidth).map(c =>"
        " [c.textContent, Math.round(c.getBoundingClientRect().left - at), w.scrollLeft]); }),"
        " images: [...d.images].map(i => [i.clientWidth, i.naturalWidth])})"
    )
    frame = f'<iframe style="width: 390px; border: 0" srcdoc="{escape(page)}"></iframe>'
    file = folder / "frame.html"
    file.write_text(
        f"<!DOCTYPE html><title>x</title>{frame}<script>onload = () => {{ {script} }}</script>",
        encoding="utf-8",
    )
    (title,) = Page(visit(file, folder).dom).texts("title")
    seen: dict[str, Any] = json.loads(title)
    return seen


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_a_phone_needs_not_scroll_sideways(tmp_path: Path) -> None:
    """Tables do, within themselves, but the first; figures are those for narrow screens."""
    too_wide = '<p style="width: 600px">x</p><img src="data:," style="width: 9px">'
    assert on_a_phone(too_wide, tmp_path)["beyond"] > 200  # what is looked for would be found

    charts = {name: report_charts()[name] for name in ("memory", "visual-tokens")}
    found = study(model=["llava-1.5-7b"], hardware=["h200"], visual_tokens=[40])
    files = render_study(found, "roofline report --model llava-1.5-7b " * 9, "1.2.3", charts)
    seen = on_a_phone(files["report.html"].decode(), tmp_path)
    assert seen["beyond"] == 0
    assert seen["scrolling"] >= 2
    assert seen["right"] <= 390
    assert seen["glance"]
    for shown, natural in seen["images"]:
        assert 320 <= shown <= 390
        assert natural < 400  # 3.4 in, of 96 pixels each


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_on_a_phone_the_answer_of_several_deployments_is_read_without_scrolling(
    tmp_path: Path,
) -> None:
    found = study(
        model=["llava-1.5-7b"], hardware=["a100", "h200"], visual_tokens=[40], batch=[1, 8]
    )
    files = render_study(found, "roofline", "1.2.3", {"memory": report_charts()["memory"]})
    seen = on_a_phone(files["report.html"].decode(), tmp_path)
    assert seen["beyond"] == 0
    assert seen["glance"]


def test_the_answer_of_several_deployments_has_a_name_in_each_cell() -> None:
    found = study(model=["llava-1.5-7b"], hardware=["a100", "h200"], visual_tokens=[40])
    files = render_study(found, "roofline", "1.2.3", {"memory": report_charts()["memory"]})
    page = Page(files["report.html"].decode())
    (stacked,) = [t for t in page.all("table") if t.attributes.get("class") == "stacked"]
    named = [c.attributes["data-header"] for c in page.all("td") if "data-header" in c.attributes]
    assert stacked
    assert named == ["Unreduced", "Fewer tokens", "Faster", "With answer", "Fit at once"] * 2


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_on_a_phone_each_row_keeps_a_name_of_its_own_in_sight(tmp_path: Path) -> None:
    """Scrolled to its end a table still shows what each row is of, and what that is called."""
    found = study(
        model=["llava-1.5-7b", "llava-1.5-13b"],
        hardware=["v100", "h200"],
        visual_tokens=[576, 144, 40],
    )
    page = render_study(found, "roofline", "1.2.3", {})["report.html"].decode()
    tables = [rows for rows in on_a_phone(page, tmp_path)["rows"] if rows[0][2] > 0]

    assert len(tables) >= 4
    for rows in tables:
        assert len({text for text, *_ in rows}) == len(rows)
        assert {place for _, place, _ in rows} == {0}
    names = [rows[0][0] for rows in tables]
    assert "Model · Device · Visual · Reducer" in names
    assert ["llava-1.5-13b · h200 · 40 · prumerge"] in [[r[0] for r in t[-1:]] for t in tables]


def test_numbers_stay_with_their_units() -> None:
    sentence = "Takes 42.6 ms, 14.2 GB of 17.2 GB, 83 % of 3 s: 12 ways, 7 more."
    text = html(Document("x", (Paragraph(sentence), Bullets((("a.", sentence),)))), {})
    kept = "42.6&nbsp;ms, 14.2&nbsp;GB of 17.2&nbsp;GB, 83&nbsp;% of 3&nbsp;s: 12 ways, 7 more."
    assert text.count(f"Takes {kept}") == 2
