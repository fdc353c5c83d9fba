"""A picture file as an encoder gets it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from roofline.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
# CLIP's, of each colour's values between 0 and 1


class PictureError(InputError):
    """A picture that cannot be read, or that does not come out as the encoder needs it."""


def read(file: str | Path) -> Image:
    """A photo in RGB, the right way up. Raises PictureError."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as photo:
            return ImageOps.exif_transpose(photo).convert("RGB")
    except UnidentifiedImageError:
        raise PictureError(f"{file} is no picture of a known format") from None
    except Image.DecompressionBombError:
        raise PictureError(f"{file} has too many pixels: make it smaller") from None
    except (OSError, ValueError, SyntaxError) as error:  # Pillow raises them for broken files
        raise PictureError(
            f"cannot read {file}: {getattr(error, 'strerror', None) or error}"
        ) from None


def crop(photo: Image, side: int) -> Image:
    """CLIP's view: the shorter edge resized to `side` (bicubic), the middle square of it."""
    from PIL.Image import Resampling

    shorter = min(photo.size)
    width, height = (side * length // shorter for length in photo.size)
    left, top = (width - side) // 2, (height - side) // 2
    resized = photo.resize((width, height), Resampling.BICUBIC)
    return resized.crop((left, top, left + side, top + side))


def preprocessed(
    photo: Image, checkpoint: str | Path | None, side: int
) -> tuple[NDArray[Any], Tensor]:
    """The picture as the encoder gets it, uint8 and normalised [1, 3, side, side].

    By the checkpoint's own preprocessor where it comes with one, else as CLIP's does it.
    """
    if checkpoint is None:
        return _as_clip(photo, side)
    try:
        processor = _image_processor(checkpoint)
    except (OSError, ValueError):
        return _as_clip(photo, side)
    pixels = processor(photo, return_tensors="pt")["pixel_values"]
    if pixels.shape != (1, 3, side, side):
        raise PictureError(
            f"the preprocessor of {checkpoint} makes {'×'.join(map(str, pixels.shape[2:]))} "
            f"pixels; its encoder takes {side}×{side}"
        )
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (processor.image_mean, processor.image_std))
    image = ((pixels[0] * std + mean) * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return image, pixels


def preprocessed_square(
    photo: Image, checkpoint: str | Path | None, side: int
) -> tuple[NDArray[Any], Tensor]:
    """The middle square of a picture, for families that cut pictures by their shape: uint8, and
    normalised [1, 3, side, side] as the checkpoint's preprocessor does it, or else CLIP's.
    """
    image = np.array(crop(photo, side))
    try:
        processor = None if checkpoint is None else _image_processor(checkpoint)
    except (OSError, ValueError):
        processor = None
    if processor is None:
        return image, normalise(image)
    return image, normalise(image, processor.image_mean, processor.image_std)


def preprocessed_by(checkpoint: str | Path, photos: list[Image]) -> dict[str, Any]:
    """Pixels of pictures and what says how they are laid out, by a checkpoint's own preprocessor.

    Raises PictureError for a checkpoint that comes with none.
    """
    try:
        processor = _image_processor(checkpoint)
    except (OSError, ValueError):
        raise PictureError(f"{checkpoint} has no preprocessor_config.json: add it") from None
    return dict(processor(photos, return_tensors="pt"))


def _image_processor(checkpoint: str | Path) -> Any:
    # where it is defined: up to 5.17 transformers' own name for it asks for torchvision
    from transformers.models.auto import image_processing_auto

    automatic: Any = image_processing_auto.AutoImageProcessor
    with quiet(checkpoint):
        return automatic.from_pretrained(checkpoint, trust_remote_code=False)


def normalise(
    image: NDArray[Any], mean: Sequence[float] = _MEAN, std: Sequence[float] = _STD
) -> Tensor:
    """uint8 pixels [height, width, 3] → [1, 3, height, width], less a mean and in units of a
    deviation of each colour, CLIP's unless others are given.
    """
    values = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    return ((values - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1))[None]


def _as_clip(photo: Image, side: int) -> tuple[NDArray[Any], Tensor]:
    image = np.array(crop(photo, side))
    return image, normalise(image)


@contextmanager
def quiet(checkpoint: str | Path) -> Iterator[None]:
    """No progress bars and warnings of transformers for what lies on the disk already."""
    import transformers

    logging: Any = transformers.utils.logging
    if not Path(checkpoint).is_dir():
        yield
        return
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
