"""Built-in data: real images of scikit-learn and scikit-image, which need no download.

Both packages are imported when a source is opened, as their import is slow.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pggan_jax.errors import UserError
from pggan_jax.system.image_files import open_encoded

DIGITS_SIDE = 8
DIGITS_MAX_VALUE = 16
PHOTO_CROPS = 4096
PHOTO_MAX_RESOLUTION = 256
# Two photographs are much larger than the rest; this is enough for crops of half the side at the largest resolution.
_PHOTO_SHORTER_SIDE = 2 * PHOTO_MAX_RESOLUTION
# A constant of the data set, not of a run: crop i is the same image in every run.
_PHOTO_SEED = 20171027
# Photographs only (no drawing, diagram or text), and only files in the wheel itself: scikit-image would download the others.
# Of the stereo pair of the motorcycle, one.
_SKIMAGE_PHOTOS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)


class DigitsSource:
    """The 1,797 digit scans of scikit-learn.

    8x8 pixels, 17 grey values, 10 classes, enlarged to any side; in the middle of black where the images are not square.
    """

    name = "digits"
    channels = 1
    class_names = tuple("0123456789")
    problems: tuple[str, ...] = ()

    def __init__(self, *, height: int, width: int) -> None:
        """Open the scans, for images of `height` x `width` pixels."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        self._height, self._width = height, width
        self._scans = (digits.images * (255.0 / DIGITS_MAX_VALUE)).astype(np.float32)
        self._labels = digits.target

    def __len__(self) -> int:
        return len(self._scans)

    def item_name(self, index: int) -> str:
        """Return a name such as "scan 17"."""
        return f"scan {index}"

    def read(self, index: int) -> np.ndarray:
        """Return scan `index` as uint8 `[height, width, 1]`."""
        side = min(self._height, self._width)
        scan = np.rint(_resize_scan(self._scans[index], side)).astype(np.uint8)[..., None]
        if self._height == self._width:
            return scan
        image = np.zeros((self._height, self._width, 1), np.uint8)
        top, left = (self._height - side) // 2, (self._width - side) // 2
        image[top : top + side, left : left + side] = scan
        return image

    def label(self, index: int) -> int:
        """Return the digit on scan `index`, 0..9."""
        return int(self._labels[index])

    def fingerprint(self) -> str:
        """Return the name alone: scikit-learn has never changed this data set."""
        return self.name


def _resize_scan(scan: np.ndarray, resolution: int) -> np.ndarray:
    """Resize a scan `[8, 8]` to float `[resolution, resolution]`, 0..255.

    Bicubic rings below zero only, so clipping leaves the background exactly black; Lanczos leaves grey ghosts beside strokes.
    Each direction is clipped separately: where two negative lobes cross, their product would be bright.
    """
    kernel = Image.Resampling.BICUBIC if resolution > DIGITS_SIDE else Image.Resampling.BOX
    wide = np.clip(np.asarray(Image.fromarray(scan).resize((resolution, DIGITS_SIDE), kernel)), 0, 255)
    return np.clip(np.asarray(Image.fromarray(wide).resize((resolution, resolution), kernel)), 0, 255)


class PhotosSource:
    """`PHOTO_CROPS` crops of ten colour photographs, up to 256x256.

    Crop i depends only on i. No labels.
    """

    name = "photos"
    channels = 3
    class_names: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def __init__(self, *, height: int, width: int) -> None:
        """Open the photographs.

        Args:
            height, width: of the crops after downsizing, at most 256.

        Raises:
            UserError: a larger size, or a photograph is not installed.
        """
        if max(height, width) > PHOTO_MAX_RESOLUTION:
            size = f"resolution {width}" if height == width else f"images of {height}x{width}"
            remedy = f"set {PHOTO_MAX_RESOLUTION}" if height == width else "set a lower resolution"
            raise UserError(
                f"{size}: data.source = photos has at most {PHOTO_MAX_RESOLUTION}; {remedy}, "
                "or use your own images by folder:DIR"
            )
        self._height, self._width = height, width
        self._photos = _load_photos()

    def __len__(self) -> int:
        return PHOTO_CROPS

    def item_name(self, index: int) -> str:
        """Return a name such as "crop 17"."""
        return f"crop {index}"

    def read(self, index: int) -> np.ndarray:
        """Return crop `index` as uint8 `[height, width, 3]`."""
        number, box = self._crop(index)
        # reducing_gap: integer box reduction first, then Lanczos; visually equal and several times faster.
        crop = self._photos[number].resize((self._width, self._height), Image.Resampling.LANCZOS, box=box, reducing_gap=2.0)
        return np.asarray(crop)

    def label(self, index: int) -> int:
        """Return 0: there are no classes."""
        return 0

    def fingerprint(self) -> str:
        """Return the list of photographs and the constants of the crops."""
        return f"{self.name} {_PHOTO_SEED} {PHOTO_CROPS} {_SKIMAGE_PHOTOS}"

    def _crop(self, index: int) -> tuple[int, tuple[int, int, int, int]]:
        """Return the photograph's number and (left, top, right, bottom) of crop `index`."""
        random = np.random.Generator(np.random.Philox(key=[_PHOTO_SEED, index]))
        number = int(random.integers(len(self._photos)))
        width, height = self._photos[number].size
        widest = min(width, height * self._width // self._height)
        # From half the photograph to all of it: the crops differ in scale and remain recognisable. Never enlarged.
        across = int(random.integers(max(widest // 2, self._width), widest + 1))
        down = across * self._height // self._width
        left = int(random.integers(width - across + 1))
        top = int(random.integers(height - down + 1))
        return number, (left, top, left + across, top + down)


def _load_photos() -> list[Image.Image]:
    """Load all photographs, decoded, in a fixed order."""
    import skimage
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    folder = Path(skimage.__file__).parent / "data"
    for file_name in _SKIMAGE_PHOTOS:
        # Not by skimage.data.*(), which would download missing files.
        try:
            with open_encoded((folder / file_name).read_bytes()) as photo:
                photos.append(photo.convert("RGB"))
        except OSError as error:
            raise UserError(
                f"data.source = 'photos': cannot read {folder / file_name} ({error}); "
                "reinstall it with pip install --force-reinstall -r requirements.txt"
            ) from None
    return [_fit(photo) for photo in photos]


def _fit(photo: Image.Image) -> Image.Image:
    """Shrink the photograph to a shorter side of at most `_PHOTO_SHORTER_SIDE`."""
    factor = _PHOTO_SHORTER_SIDE / min(photo.size)
    if factor >= 1:
        return photo
    return photo.resize((round(photo.width * factor), round(photo.height * factor)), Image.Resampling.LANCZOS)
