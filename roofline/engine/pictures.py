"""Pictures of a sample as a user writes them: `1280x720`, several with commas between them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from roofline.errors import ScenarioError


class PictureSize(NamedTuple):
    """In pixels."""

    width: int
    height: int


DEFAULT_PICTURE = PictureSize(1280, 720)
"""Shown to a model that takes pictures of any shape where none is given: a frame of the commonest
video, of a size that no such model scales to a single tile."""
_LARGEST = 100_000
"""Pixels of a side."""
_FORM = re.compile(r"(\d{1,6})\s*[xX×]\s*(\d{1,6})")


def pictures_of(text: str | Iterable[str]) -> tuple[PictureSize, ...]:
    """Read `WIDTHxHEIGHT`, one or several with commas between them. Raises ScenarioError."""
    given = text.split(",") if isinstance(text, str) else [*text]
    pictures = []
    for one in given:
        found = _FORM.fullmatch(str(one).strip())
        size = PictureSize(int(found[1]), int(found[2])) if found else PictureSize(0, 0)
        if not 1 <= min(size) <= max(size) <= _LARGEST:
            raise ScenarioError(
                f"a picture is written WIDTHxHEIGHT in pixels, such as 1280x720, each 1 "
                f"to {_LARGEST}; not {str(one)!r}"
            )
        pictures.append(size)
    if not pictures:
        raise ScenarioError("no picture is given: leave `pictures` out for the model's own")
    return tuple(pictures)


def written(pictures: Iterable[PictureSize]) -> str:
    """As `pictures_of` reads them."""
    return ",".join(f"{width}x{height}" for width, height in pictures)
