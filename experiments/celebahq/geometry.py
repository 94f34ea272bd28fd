"""The geometry of CelebA-HQ (spec 4.4).

From five landmarks of a photograph to an upright square face.

The authors then added a stored correction to every image, the result of a learned super-resolution; these corrections are not
applied. Coordinates are float64 in pixels of the current image, x to the right and y down; the authors' constants, given for
1024x1024, are written as fractions of the square's side.
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
# A square closer to the edge than this many pixels, or beyond it, is padded.
_SAFE_DISTANCE = 4


@dataclass(frozen=True)
class FaceSquare:
    """A square around a face, rotated with the face.

    Attributes:
        center: `[2]`, the centre.
        axis: `[2]`, from the centre to the middle of the right edge of the result.
    """

    center: np.ndarray
    axis: np.ndarray

    @property
    def corners(self) -> np.ndarray:
        """`[4, 2]`: upper left, lower left, lower right and upper right corner of the result."""
        down = _rot90(self.axis)
        return self.center + np.stack([-self.axis - down, -self.axis + down, self.axis + down, self.axis - down])

    @property
    def side(self) -> float:
        """Length of an edge."""
        return 2.0 * float(np.hypot(*self.axis))

    def zoom(self, size: int) -> float:
        """Return the scale of a result of `size` pixels; above 1 the face is enlarged."""
        return size / self.side

    @property
    def border(self) -> int:
        """Pixels around the square that are kept for the filters."""
        return max(round(_BORDER_SHARE * self.side), _MIN_BORDER)

    def bounds(self) -> tuple[int, int, int, int]:
        """Return the bounding box in whole pixels: left, top, right, bottom."""
        left, top = np.floor(self.corners.min(axis=0)).astype(int)
        right, bottom = np.ceil(self.corners.max(axis=0)).astype(int)
        return int(left), int(top), int(right), int(bottom)

    def scaled(self, factor: float) -> FaceSquare:
        """Return the square after the image was resized."""
        return FaceSquare(self.center * factor, self.axis * factor)

    def shifted(self, right: int, down: int) -> FaceSquare:
        """Return the square after the image was shifted."""
        return FaceSquare(self.center + np.array([right, down]), self.axis)


@dataclass(frozen=True)
class View:
    """An image and the square in its pixel coordinates."""

    image: Image.Image
    square: FaceSquare


def _rot90(vector: np.ndarray) -> np.ndarray:
    """Rotate by 90 degrees, from right to down."""
    return np.array([-vector[1], vector[0]])


def face_square(landmarks: np.ndarray) -> FaceSquare:
    """Return the square that CelebA-HQ crops (spec 4.4).

    Args:
        landmarks: `[5, 2]`, in the order of `LANDMARKS`; the nose is not used.

    Raises:
        ValueError: the landmarks coincide, or have another shape.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (len(LANDMARKS), 2):
        raise ValueError(f"landmarks have the shape {points.shape}, must be {(len(LANDMARKS), 2)}")
    left_eye, right_eye, _, left_mouth, right_mouth = points
    eye = (left_eye + right_eye) / 2 + 0.5
    mouth = (left_mouth + right_mouth) / 2 + 0.5
    eye_to_eye = right_eye - left_eye
    eye_to_mouth = mouth - eye
    # Both lines show the rotation of the head; their sum is more stable than either.
    direction = eye_to_eye - _rot90(eye_to_mouth)
    length = np.hypot(*direction)
    if not length:
        raise ValueError("the landmarks do not determine an orientation")
    half_side = max(2.0 * np.hypot(*eye_to_eye), 1.8 * np.hypot(*eye_to_mouth))
    return FaceSquare(center=eye + 0.1 * eye_to_mouth, axis=direction / length * half_side)


def render(photo: Image.Image, landmarks: np.ndarray, *, size: int = 1024, transform_size: int = 4096) -> Image.Image:
    """Return the upright image of one face, without the authors' correction (spec 4.4).

    Args:
        photo: in any colour mode.
        landmarks: `[5, 2]` in pixels of the photo, in the order of `LANDMARKS`.
        size: side of the result.
        transform_size: side at which the square is drawn before Lanczos reduces it to `size`.

    Returns:
        An RGB image of `size` x `size`.

    Raises:
        ValueError: the landmarks coincide, or the square lies outside the photo.
    """
    view = shrink_large(View(photo.convert("RGB"), face_square(landmarks)), size)
    # Fixed before the image is enlarged, as in the authors' code.
    border = view.square.border
    view = enlarge_small(crop_surroundings(view, border), size)
    return _draw(pad_edges(view, border), size, transform_size)


def shrink_large(view: View, size: int) -> View:
    """Shrink the image by an integer where the square has more than four times the wanted side."""
    divisor = int(0.5 / view.square.zoom(size))
    if divisor < 2:
        return view
    width, height = view.image.size
    small = (max(round(width / divisor), 1), max(round(height / divisor), 1))
    return View(view.image.resize(small, Image.Resampling.LANCZOS), view.square.scaled(1 / divisor))


def crop_surroundings(view: View, border: int) -> View:
    """Crop to the square's bounding box with `border` pixels around it, within the image.

    Raises:
        ValueError: nothing is left.
    """
    left, top, right, bottom = view.square.bounds()
    width, height = view.image.size
    left, top = max(left - border, 0), max(top - border, 0)
    right, bottom = min(right + border, width), min(bottom + border, height)
    if left >= right or top >= bottom:
        raise ValueError(f"the face lies outside the {width}x{height} image")
    return View(view.image.crop((left, top, right, bottom)), view.square.shifted(-left, -top))


def enlarge_small(view: View, size: int) -> View:
    """Enlarge the image by the power of two that gives the square `size` pixels.

    Originally super-resolution.
    """
    factor = 2 ** int(np.ceil(np.log2(view.square.zoom(size))))
    if factor < 2:
        return view
    width, height = view.image.size
    large = view.image.resize((width * factor, height * factor), Image.Resampling.LANCZOS)
    return View(large, view.square.scaled(factor))


def pad_edges(view: View, border: int) -> View:
    """Pad an image whose square reaches an edge by its mirror image, faded to the median.

    Args:
        view: the cropped image.
        border: minimal number of pixels around the square.
    """
    left, top, right, bottom = view.square.bounds()
    width, height = view.image.size
    overhang = np.array([-left, -top, right - width, bottom - height])
    if overhang.max() <= -_SAFE_DISTANCE:
        return view
    pad = np.maximum(overhang + border, round(_PAD_SHARE * view.square.side))
    rows, columns = (int(pad[1]), int(pad[3])), (int(pad[0]), int(pad[2]))
    # float32, as in the authors' code: these arrays may have 4000 x 4000 pixels.
    pixels = np.pad(np.asarray(view.image, np.float32), (rows, columns, (0, 0)), mode="reflect")
    mask = edge_mask(pixels.shape[0], pixels.shape[1], pad=pad)[..., None]
    blur = _BLUR_SHARE * view.square.side
    pixels += (ndimage.gaussian_filter(pixels, (blur, blur, 0)) - pixels) * np.clip(3 * mask + 1, 0, 1)
    pixels += (np.median(pixels, axis=(0, 1)) - pixels) * np.clip(mask, 0, 1)
    padded = Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    return View(padded, view.square.shifted(columns[0], rows[0]))


def edge_mask(height: int, width: int, *, pad: np.ndarray) -> np.ndarray:
    """Return the padding depth of each pixel: 1 at the edge, 0 where it begins, negative inside.

    Args:
        height: of the padded image.
        width: of the padded image.
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
    """Draw the square upright.

    Its corners refer to pixel centres, those of Pillow to pixel edges.
    """
    corners = (view.square.corners + 0.5).ravel().tolist()
    canvas = (transform_size, transform_size)
    drawn = view.image.transform(canvas, Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
    return drawn if transform_size == size else drawn.resize((size, size), Image.Resampling.LANCZOS)


def read_landmarks(path: Path) -> dict[str, np.ndarray]:
    """Read landmarks `[5, 2]` by file name from CelebA's `list_landmarks_celeba.txt`.

    The first line is the number of photographs, the second names the columns; the others are a name and ten integers.

    Raises:
        UserError: the file cannot be read, a line is malformed, or the number of lines differs from the first one.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else "is not text"
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
            raise UserError(f"landmarks {str(path)!r}, line {number}: {name!r} occurs twice; remove one of the two lines")
        landmarks[name] = points
    stated = lines[0].strip() if lines else ""
    if stated != str(len(landmarks)):
        rule = f"the first line must be the number of photographs, {len(landmarks)}, not {stated[:80]!r}"
        raise UserError(f"landmarks {str(path)!r}: {rule}; the file may be truncated; copy it again")
    return landmarks
