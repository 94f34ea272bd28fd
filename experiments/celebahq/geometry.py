"""The geometry of CelebA-HQ (spec 4.4): five landmarks of a photograph give an oriented square, and the square an upright face.

Knows one photograph at a time. The authors afterwards added a stored correction to every image, the result of a learned
super-resolution; these corrections are not applied here. Positions are float64, x to the right and y down, in pixels of the
picture at hand; the authors' constants, given for 1024x1024, are written as shares of the square's side.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from pggan_jax.errors import UserError

LANDMARKS = ("left eye", "right eye", "nose", "left corner of the mouth", "right corner of the mouth")
_HEADER_LINES = 2
_BORDER_SHARE = 0.1
_MIN_BORDER = 3
_PAD_SHARE = 0.3
_BLUR_SHARE = 0.02
# A square that comes nearer to the edge than this is padded, as is one that goes over it.
_SAFE_DISTANCE = 4


@dataclass(frozen=True)
class FaceSquare:
    """A square around a face, turned like the face.

    Attributes:
        center: `[2]`, its middle.
        axis: `[2]`, from the middle to the middle of the edge that is the right one in the finished picture.
    """

    center: np.ndarray
    axis: np.ndarray

    @property
    def corners(self) -> np.ndarray:
        """`[4, 2]`: what is upper left, lower left, lower right and upper right in the finished picture."""
        down = _rot90(self.axis)
        return self.center + np.stack([-self.axis - down, -self.axis + down, self.axis + down, self.axis - down])

    @property
    def side(self) -> float:
        """Length of an edge."""
        return 2.0 * float(np.hypot(*self.axis))

    def zoom(self, size: int) -> float:
        """How much a finished picture of `size` pixels enlarges; below 1 it shrinks."""
        return size / self.side

    @property
    def border(self) -> int:
        """Pixels around the square that are kept for the filters."""
        return max(round(_BORDER_SHARE * self.side), _MIN_BORDER)

    def bounds(self) -> tuple[int, int, int, int]:
        """The upright box of whole pixels around it: left, top, right, bottom."""
        left, top = np.floor(self.corners.min(axis=0)).astype(int)
        right, bottom = np.ceil(self.corners.max(axis=0)).astype(int)
        return int(left), int(top), int(right), int(bottom)

    def scaled(self, factor: float) -> FaceSquare:
        """The same square after the picture has been resized."""
        return FaceSquare(self.center * factor, self.axis * factor)

    def shifted(self, right: int, down: int) -> FaceSquare:
        """The same square after the picture has been moved."""
        return FaceSquare(self.center + np.array([right, down]), self.axis)


@dataclass(frozen=True)
class View:
    """A picture and the square in it, in its own pixels."""

    picture: Image.Image
    square: FaceSquare


def _rot90(vector: np.ndarray) -> np.ndarray:
    """A quarter turn that takes right to down."""
    return np.array([-vector[1], vector[0]])


def face_square(landmarks: np.ndarray) -> FaceSquare:
    """The square that CelebA-HQ cuts out (spec 4.4).

    Args:
        landmarks: `[5, 2]`, in the order of `LANDMARKS`; the nose is not used.

    Raises:
        ValueError: the landmarks span nothing, or have another shape.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (len(LANDMARKS), 2):
        raise ValueError(f"landmarks have the shape {points.shape}, not {(len(LANDMARKS), 2)}")
    left_eye, right_eye, _, left_mouth, right_mouth = points
    eye = (left_eye + right_eye) / 2 + 0.5
    mouth = (left_mouth + right_mouth) / 2 + 0.5
    eye_to_eye = right_eye - left_eye
    eye_to_mouth = mouth - eye
    # Both lines tell how the head is turned; their sum is steadier than either.
    direction = eye_to_eye - _rot90(eye_to_mouth)
    length = np.hypot(*direction)
    if not length:
        raise ValueError("the landmarks do not tell where up is")
    half_side = max(2.0 * np.hypot(*eye_to_eye), 1.8 * np.hypot(*eye_to_mouth))
    return FaceSquare(center=eye + 0.1 * eye_to_mouth, axis=direction / length * half_side)


def render(photo: Image.Image, landmarks: np.ndarray, *, size: int = 1024, transform_size: int = 4096) -> Image.Image:
    """The finished picture of one face, without the authors' correction (spec 4.4).

    Args:
        photo: in any colour mode.
        landmarks: `[5, 2]` in pixels of the photo, in the order of `LANDMARKS`.
        size: side of the result.
        transform_size: side at which the square is drawn before Lanczos takes it down to `size`.

    Returns:
        An RGB picture of `size` x `size`.

    Raises:
        ValueError: the landmarks span nothing, or the square lies outside the photo.
    """
    view = shrink_large(View(photo.convert("RGB"), face_square(landmarks)), size)
    # Fixed before the picture is enlarged, as the authors have it.
    border = view.square.border
    view = enlarge_small(crop_surroundings(view, border), size)
    return _draw(pad_edges(view, border), size, transform_size)


def shrink_large(view: View, size: int) -> View:
    """Divide the picture by a whole number where the square has more than four times the pixels per direction wanted."""
    divisor = int(0.5 / view.square.zoom(size))
    if divisor < 2:
        return view
    width, height = view.picture.size
    small = (max(round(width / divisor), 1), max(round(height / divisor), 1))
    return View(view.picture.resize(small, Image.Resampling.LANCZOS), view.square.scaled(1 / divisor))


def crop_surroundings(view: View, border: int) -> View:
    """Keep the square's box and `border` pixels around it, as far as the picture goes.

    Raises:
        ValueError: nothing is left.
    """
    left, top, right, bottom = view.square.bounds()
    width, height = view.picture.size
    left, top = max(left - border, 0), max(top - border, 0)
    right, bottom = min(right + border, width), min(bottom + border, height)
    if left >= right or top >= bottom:
        raise ValueError(f"the face lies outside the {width}x{height} picture")
    return View(view.picture.crop((left, top, right, bottom)), view.square.shifted(-left, -top))


def enlarge_small(view: View, size: int) -> View:
    """Multiply the picture by the power of two that gives the square at least `size` pixels; it was super-resolution once."""
    factor = 2 ** int(np.ceil(np.log2(view.square.zoom(size))))
    if factor < 2:
        return view
    width, height = view.picture.size
    large = view.picture.resize((width * factor, height * factor), Image.Resampling.LANCZOS)
    return View(large, view.square.scaled(factor))


def pad_edges(view: View, border: int) -> View:
    """Where the square reaches an edge, continue the picture by its mirror image, blurred and fading to its median colour.

    Args:
        view: the picture as it is drawn from.
        border: pixels that stay around the square, at least.
    """
    left, top, right, bottom = view.square.bounds()
    width, height = view.picture.size
    overhang = np.array([-left, -top, right - width, bottom - height])
    if overhang.max() <= -_SAFE_DISTANCE:
        return view
    pad = np.maximum(overhang + border, round(_PAD_SHARE * view.square.side))
    rows, columns = (int(pad[1]), int(pad[3])), (int(pad[0]), int(pad[2]))
    # float32, as the authors have it: these arrays may be 4000 pixels wide and high.
    pixels = np.pad(np.asarray(view.picture, np.float32), (rows, columns, (0, 0)), mode="reflect")
    mask = edge_mask(pixels.shape[0], pixels.shape[1], pad)[..., None]
    blur = _BLUR_SHARE * view.square.side
    pixels += (ndimage.gaussian_filter(pixels, (blur, blur, 0)) - pixels) * np.clip(3 * mask + 1, 0, 1)
    pixels += (np.median(pixels, axis=(0, 1)) - pixels) * np.clip(mask, 0, 1)
    padded = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    return View(padded, view.square.shifted(columns[0], rows[0]))


def edge_mask(height: int, width: int, pad: np.ndarray) -> np.ndarray:
    """How far out each pixel lies: 1 on the edge, 0 where the padding begins, negative in the photograph.

    Args:
        height: of the padded picture.
        width: of the padded picture.
        pad: pixels added at left, top, right and bottom, none of them 0.

    Returns:
        float32 `[height, width]`: 1 - the smallest (distance to an edge / its padding).
    """
    left, top, right, bottom = np.asarray(pad, np.float32)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    across = np.minimum(x / left, x[::-1] / right)
    along = np.minimum(y / top, y[::-1] / bottom)
    return 1 - np.minimum(across[None, :], along[:, None])


def _draw(view: View, size: int, transform_size: int) -> Image.Image:
    """The square, turned upright. Its corners count pixels from their middles, Pillow counts from their edges."""
    corners = (view.square.corners + 0.5).ravel().tolist()
    canvas = (transform_size, transform_size)
    drawn = view.picture.transform(canvas, Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
    return drawn if transform_size == size else drawn.resize((size, size), Image.Resampling.LANCZOS)


def read_landmarks(path: Path) -> dict[str, np.ndarray]:
    """The landmarks of every photograph by its file name, `[5, 2]` each, from CelebA's `list_landmarks_celeba.txt`.

    The first line is the number of photographs, the second names the columns; then follow a name and ten whole numbers each.

    Raises:
        UserError: the file cannot be read, a line is malformed, or there are more or fewer lines than the first one says.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        raise UserError(f"landmarks {str(path)!r}: {reason}; give CelebA's list_landmarks_celeba.txt") from None
    landmarks: dict[str, np.ndarray] = {}
    for number, line in enumerate(lines[_HEADER_LINES:], start=_HEADER_LINES + 1):
        name, *values = line.split() or [""]
        try:
            points = np.array([int(value) for value in values], np.float64).reshape(len(LANDMARKS), 2)
        except ValueError:
            rule = f"must be a file name and {2 * len(LANDMARKS)} whole numbers"
            raise UserError(f"landmarks {str(path)!r}, line {number}: {rule}, not {line[:80]!r}") from None
        if name in landmarks:
            raise UserError(f"landmarks {str(path)!r}, line {number}: {name!r} was there before; remove one of the two lines")
        landmarks[name] = points
    promised = lines[0].strip() if lines else ""
    if promised != str(len(landmarks)):
        rule = f"the first line must be the number of photographs, {len(landmarks)} as the lines count, not {promised[:80]!r}"
        raise UserError(f"landmarks {str(path)!r}: {rule}; the file may be cut short, or another one")
    return landmarks
