"""Regenerate the gallery under `reports/`: `python tools/gallery.py [--check]`.

Each study is what its command writes, but for the HTML page and the SVG figures, which would only
fatten the repository. A validation was measured once: its text and figure are made from its JSON.

With `--check` nothing is written; stale files are named and the exit code is 1. A picture is stale
if it looks different: another machine may round a pixel otherwise.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec
import numpy as np
from matplotlib.image import imread

from docs import ROOT, output_of
from roofline import reducers
from roofline.records.validation import Validation
from roofline.report.charts.prediction import validation_chart
from roofline.report.plots import draw, render
from roofline.report.text.validation import render_validation

REPORTS = ROOT / "reports"
TABLE_2 = "roofline reproduce prumerge-table2"
LLAVA = "--model llava-1.5-7b --model llava-1.5-13b"
SIX = "--hw v100 --hw rtx-4090 --hw l40s --hw a100-80gb --hw h200 --hw b200"
EVERY_REDUCER = " ".join(f"--reducer {name}" for name in reducers.names())

VISIBLE, TOLERATED_PIXELS = 0.25, 10
"""Share of full brightness by which a pixel has to differ, and how many may."""


class GalleryStudy(NamedTuple):
    """A folder of the gallery."""

    name: str
    title: str
    about: str
    options: str
    """Of `roofline report`."""
    picture: str
    """The figure that the index shows."""

    @property
    def command(self) -> str:
        return f"roofline report {self.options} -o {self.name}"


STUDIES = (
    GalleryStudy(
        "table2-models",
        "The models of table 2, without its errors",
        "Vicuna-7B and 13B on the V100 in FP16 and INT4, with all 576 visual tokens and with 40: "
        "what table 2 means to say, in exact accounting and with what a V100 attains.",
        "--model vicuna-7b --model vicuna-13b --hw v100 --quant fp16 --quant int4 "
        "--visual-tokens 576 --visual-tokens 40",
        "roofline",
    ),
    GalleryStudy(
        "llava-on-six-devices",
        "LLaVA-1.5 7B and 13B on six devices",
        "From a V100 to a B200, with all visual tokens, a quarter of them, and 40.",
        f"{LLAVA} {SIX} --visual-tokens 576 --visual-tokens 144 --visual-tokens 40",
        "visual-tokens",
    ),
    GalleryStudy(
        "video-llava",
        "Video-LLaVA at 2056, 512 and 256 visual tokens",
        "Eight frames, of which PruMerge keeps a quarter or an eighth of the tokens, and the "
        "published accuracies against what they cost.",
        "--model video-llava-7b --hw a100-80gb --hw h200 --visual-tokens 2056 --visual-tokens 512 "
        "--visual-tokens 256 --accuracy",
        "time",
    ),
    GalleryStudy(
        "reducers",
        "Reducers compared",
        "Every reducer at 144 of LLaVA-1.5's 576 visual tokens: what it takes itself, what it "
        "saves, and the published accuracies of all methods against what they cost.",
        f"{LLAVA} --hw a100-80gb {EVERY_REDUCER} --visual-tokens 144 --accuracy",
        "accuracy-time",
    ),
)


def generated() -> dict[Path, bytes]:
    """Every file of the gallery and what it should hold."""
    files = {
        REPORTS / "prumerge-table2.md": (
            "# Table 2 of LLaVA-PruMerge, recomputed\n\n" + output_of(f"{TABLE_2} --format md")
        ).encode(),
        REPORTS / "README.md": index().encode(),
    }
    for file in REPORTS.glob("*/validation.json"):
        validation = msgspec.json.decode(file.read_bytes(), type=Validation)
        files[file.with_suffix(".md")] = render_validation(validation, "md").encode()
        files[file.with_suffix(".png")] = render(draw(validation_chart(validation)), "png")
    with ThreadPoolExecutor() as pool:
        for study, content in zip(STUDIES, pool.map(written, STUDIES), strict=True):
            files |= {REPORTS / study.name / name: data for name, data in content.items()}
    return files


def written(study: GalleryStudy) -> dict[str, bytes]:
    """Name → content of what the study's command writes and the gallery keeps."""
    with TemporaryDirectory() as scratch:
        output_of(f"roofline report {study.options} -o {shlex.quote(scratch)} --force")
        return {
            file.name: file.read_bytes()
            for file in sorted(Path(scratch).iterdir())
            if file.suffix in (".md", ".png")
        }


def index() -> str:
    """What there is, with a picture of each."""
    parts = [
        "# Reports\n\n"
        "Made by `make reports` from the specs that ship; `make check` says whether they are "
        "fresh.\nEach command also writes `report.html`, one page with everything inside, and its "
        "figures as SVG.",
        "## [Table 2 of LLaVA-PruMerge, recomputed](prumerge-table2.md)\n\n"
        f"Its cells, printed beside recomputed.\n\n```sh\n{TABLE_2}\n```",
    ]
    for study in STUDIES:
        page = f"{study.name}/report.md"
        parts.append(
            f"## [{study.title}]({page})\n\n{study.about}\n\n```sh\n{study.command}\n```\n\n"
            f"[![{study.picture} figure of the report]({study.name}/{study.picture}.png)]({page})"
        )
    parts.append(
        "## Measured\n\n"
        "- [validation-cpu](validation-cpu/validation.md): theory against practice on a shared "
        "2-core machine, one run of `roofline validate`.\n"
        "- [accuracy.md](accuracy.md): errors of attainable times against kernels that others "
        "measured, by device, data type, op and size."
    )
    return "\n\n".join(parts) + "\n"


def stale(files: dict[Path, bytes]) -> Iterator[Path]:
    """Those that are missing, different, or not to be there at all."""
    for file, content in files.items():
        if not file.exists():
            yield file
        elif file.suffix == ".png":
            if not looks_like(file.read_bytes(), content):
                yield file
        elif file.read_bytes() != content:
            yield file
    for report in REPORTS.glob("*/report.md"):  # of studies that are no more, too
        yield from (file for file in report.parent.iterdir() if file not in files)


def looks_like(one: bytes, other: bytes) -> bool:
    """Whether two PNG files show the same."""
    if one == other:
        return True
    left, right = (imread(BytesIO(data), format="png") for data in (one, other))
    if left.shape != right.shape:
        return False
    apart = np.abs(left - right).max(axis=-1) > VISIBLE
    return int(apart.sum()) <= TOLERATED_PIXELS


def main() -> None:
    check = "--check" in sys.argv[1:]
    files = generated()
    outdated = sorted(stale(files))
    for file in outdated:
        print(f"{'stale' if check else 'written'}: {file.relative_to(ROOT)}")
        if not check:
            file.unlink(missing_ok=True)
            if file in files:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(files[file])
    if check and outdated:
        sys.exit("run `make reports` and commit the result")


if __name__ == "__main__":
    main()
