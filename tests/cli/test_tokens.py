"""`roofline tokens`: a figure and its counts, or one line that says why not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from roofline import reducers
from roofline.cli import tokens as command
from roofline.torch_side.load import load_model

Cli = Callable[..., Any]

TINY = ["tokens", "photo.png", "--model", "llava-tiny"]
SPATIAL = [*TINY, "--reducer", "spatial"]
PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    load_model("llava-tiny").save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def photo(tmp_path: Path, in_an_empty_folder: None) -> Path:
    random = np.random.default_rng(0)
    picture = Image.fromarray(random.integers(0, 256, (90, 120, 3), dtype=np.uint8))
    picture.save(tmp_path / "photo.png")
    picture.rotate(90).save(tmp_path / "other.png")
    (tmp_path / "notes.png").write_text("no picture", encoding="utf-8")
    return tmp_path / "photo.png"


def test_a_figure_and_its_counts(call: Cli, tmp_path: Path) -> None:
    code, out, err = call(*SPATIAL, "--reducer", "sequential", "-o", "tokens.png")

    assert (code, err) == (0, "")
    assert out == ("spatial     2 sampled = 2 of 36 tokens\nsequential  2 kept = 2 of 36 tokens\n")
    assert (tmp_path / "tokens.png").read_bytes().startswith(PNG)
    assert not list(tmp_path.glob(".*"))


def size_of(file: Path) -> tuple[int, int]:
    with Image.open(file) as picture:
        return picture.size


def test_several_photos_are_rows_with_counts_of_their_own(call: Cli, tmp_path: Path) -> None:
    one = call(*SPATIAL, "--kept-only", "-o", "one.png")
    both = call("tokens", "photo.png", "other.png", *SPATIAL[2:], "-o", "both.png")

    counts = "spatial  2 sampled = 2 of 36 tokens\n"
    assert one == (0, counts, "")
    assert both == (0, f"photo.png\n{counts}other.png\n{counts}", "")
    (width, height), (same, more) = (size_of(tmp_path / f"{n}.png") for n in ("one", "both"))
    assert same == width
    assert height * 1.7 < more < height * 2


def test_the_kept_row_alone_is_less_than_the_whole_figure(
    call: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    asked = (*TINY, "--checkpoint", checkpoint)
    assert call(*asked, "-o", "whole.png").code == 0
    assert call(*asked, "--kept-only", "-o", "kept.png").code == 0
    assert size_of(tmp_path / "kept.png")[1] < size_of(tmp_path / "whole.png")[1] / 2


def test_the_kept_row_is_as_wide_as_a_column_of_a_paper(call: Cli, tmp_path: Path) -> None:
    asked = (*TINY, "--reducer", "none,spatial,sequential", "--visual-tokens", "9", "--kept-only")
    for width, pixels in (("single", 680), ("double", 1400)):  # 3.4 and 7 in of 200 dots
        assert call(*asked, "--figure-width", width, "-o", f"{width}.png").code == 0
        assert size_of(tmp_path / f"{width}.png")[0] == pytest.approx(pixels, abs=1)


@pytest.mark.parametrize("more", [[], ["--kept-only"]])
def test_a_background_is_light_unless_it_is_to_be_dark(
    more: list[str], call: Cli, tmp_path: Path
) -> None:
    brightness = []
    for name, asked in (("none", []), ("light", ["light"]), ("dark", ["dark"])):
        options = [word for one in asked for word in ("--background", one)]
        assert call(*SPATIAL, *more, *options, "-o", f"{name}.png").code == 0
        with Image.open(tmp_path / f"{name}.png") as picture:
            brightness.append(float(np.asarray(picture.convert("L")).mean()))
    usual, light, dark = brightness
    assert usual == light > dark + 20


def test_reducers_may_stand_behind_commas(call: Cli) -> None:
    repeated = call(*SPATIAL, "--reducer", "sequential", "-o", "tokens.png")

    assert call(*TINY, "--reducer", "spatial,sequential", "-o", "again.png") == repeated


def test_all_tokens_beside_those_that_a_reducer_keeps(call: Cli) -> None:
    code, out, _ = call(*TINY, "--reducer", "none,spatial", "-o", "tokens.png")

    assert code == 0
    assert out == "none     36 kept = 36 of 36 tokens\nspatial  2 sampled = 2 of 36 tokens\n"


def test_a_checkpoint_by_default_shows_prumerge_and_its_plus(
    call: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    code, out, _ = call(*TINY, "--checkpoint", checkpoint, "-o", "tokens.svg")

    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["prumerge", "prumerge+"]
    assert all(line.endswith(" of 36 tokens") for line in out.splitlines())
    assert (tmp_path / "tokens.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_all_reducers_of_a_picture_side_by_side(call: Cli, checkpoint: Path) -> None:
    names = [name for name in reducers.names() if reducers.find(name).site != "llm"]
    options = [word for name in names for word in ("--reducer", name)]
    code, out, _ = call(
        *TINY, *options, "--checkpoint", checkpoint, "--visual-tokens", "12", "-o", "tokens.pdf"
    )

    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == names
    counts = {line.split()[0]: line.partition(" = ")[2].split()[0] for line in out.splitlines()}
    assert int(counts.pop("ats")) <= 12
    assert set(counts.values()) == {"12"}
    assert "an approximation" in out


def test_in_a_process_of_its_own(run: Cli, tmp_path: Path) -> None:
    code, out, _ = run(*SPATIAL, "--visual-tokens", "12", "-o", "tokens.png")

    assert code == 0
    assert out == "spatial  12 sampled = 12 of 36 tokens\n"
    assert (tmp_path / "tokens.png").read_bytes().startswith(PNG)


BAD: dict[str, tuple[list[str], str]] = {
    "no photo of that name": (["tokens", "missing.jpg", *SPATIAL[2:]], "No such file"),
    "a folder": (["tokens", ".", *SPATIAL[2:]], "Is a directory"),
    "one of several photos": (["tokens", "photo.png", "missing.jpg", *SPATIAL[2:]], "missing.jpg"),
    "no photo": (["tokens", *SPATIAL[2:]], "PHOTO"),
    "no picture": (["tokens", "notes.png", *SPATIAL[2:]], "no picture of a known format"),
    "unknown reducer": ([*TINY, "--reducer", "spatil"], "did you mean spatial"),
    "one bad of several": ([*SPATIAL, "--reducer", "prumerge++"], "did you mean prumerge"),
    "inside the LLM": ([*TINY, "--reducer", "fastv"], "depends on the prompt"),
    "no checkpoint": (TINY, "random weights say nothing about a picture: give --checkpoint"),
    "missing checkpoint": ([*TINY, "--checkpoint", "./nowhere"], "nowhere"),
    "unknown model": ([*SPATIAL[:3], "llava-tinny", *SPATIAL[4:]], "llava-tiny"),
    "not an LMM": ([*SPATIAL[:3], "clip-vit-l-336", *SPATIAL[4:]], "only an lmm"),
    "two models": ([*SPATIAL, "--model", "clip-vit-l-336"], "takes one value here, and got 2"),
    "no visual tokens": ([*SPATIAL, "--visual-tokens", "0"], "between 1 and"),
    "too many visual tokens": ([*SPATIAL, "--visual-tokens", "37"], "36 patches, not 37"),
    "no grid": ([*SPATIAL, "--visual-tokens", "31"], "spatial: 31 patches form no grid"),
    "visual tokens in words": ([*SPATIAL, "--visual-tokens", "x"], "'x' is not a whole number"),
    "unknown device": ([*SPATIAL, "--hw", "h1000"], "did you mean"),
    "a runtime without a device": ([*SPATIAL, "--runtime", "eager"], "add --hw"),
    "several counts": ([*SPATIAL, "--visual-tokens", "9,12"], "takes one value here, and got 2"),
}


@pytest.mark.parametrize(("arguments", "hint"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_leaves_no_file(
    arguments: list[str], hint: str, call: Cli, tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    code, out, err = call(*arguments, "-o", "tokens.png")

    assert_one_line(code, out, err, hint)
    assert sorted(tmp_path.iterdir()) == before


def test_a_checkpoint_of_another_model_is_one_line(call: Cli, checkpoint: Path) -> None:
    code, out, err = call(
        "tokens", "photo.png", "--model", "llava-1.5-7b", "--checkpoint", checkpoint, "-o", "t.png"
    )

    assert_one_line(code, out, err, "is not a llava-1.5-7b")


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("photo.png", "photo.png is read by this very command"),
        ("tokens.gif", ".png, .svg, .pdf"),
        ("tokens", ".png, .svg, .pdf"),
        ("-", ".png, .svg, .pdf"),
        ("missing/tokens.png", "No such file or directory"),
        ("photo.png/tokens.png", "Not a directory"),
    ],
)
def test_a_place_that_cannot_be_written_is_found_out_first(
    target: str, hint: str, call: Cli, monkeypatch: pytest.MonkeyPatch, photo: Path
) -> None:
    before = photo.read_bytes()
    monkeypatch.setattr("roofline.torch_side.reduce.kept_patches.inspect_photos", pytest.fail)
    code, out, err = call(*SPATIAL, "-o", target)

    assert_one_line(code, out, err, hint)
    assert photo.read_bytes() == before


def test_a_file_is_replaced_when_forced(call: Cli, tmp_path: Path) -> None:
    (tmp_path / "tokens.png").write_text("old", encoding="utf-8")

    assert call(*SPATIAL, "-o", "tokens.png", "--force").code == 0
    assert (tmp_path / "tokens.png").read_bytes().startswith(PNG)


def test_a_place_is_required(call: Cli) -> None:
    assert_one_line(*call(*SPATIAL), "-o")


@pytest.mark.parametrize("module", command.NEEDS)
def test_what_is_missing_is_named_with_its_remedy(
    module: str, call: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    code, out, err = call(*SPATIAL, "-o", "tokens.png")

    extra = "report" if module == "matplotlib" else "profile"
    assert_one_line(code, out, err, f"pip install '.[{extra}]'")
    assert f"needs {'pillow' if module == 'PIL' else module}:" in err
    assert not (tmp_path / "tokens.png").exists()


def assert_one_line(code: int, out: str, err: str, hint: str) -> None:
    assert (code, out) == (2, "")
    assert err.startswith("roofline: error: ")
    assert err.count("\n") == 1
    assert hint in err
