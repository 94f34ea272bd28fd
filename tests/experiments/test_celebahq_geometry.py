"""The geometry of CelebA-HQ against computed numbers and symmetries; the landmark file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from experiments.celebahq.geometry import (
    FaceSquare,
    View,
    crop_surroundings,
    edge_mask,
    enlarge_small,
    face_square,
    pad_edges,
    read_landmarks,
    render,
    shrink_large,
)
from pggan_jax.errors import UserError

SIZE, TRANSFORM_SIZE = 64, 256
HEADER = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
# Eyes 1 apart, the mouth 1 below them; the nose lies anywhere, as it is not used.
FACE = np.array([(-0.5, 0.0), (0.5, 0.0), (0.1, 0.4), (-0.3, 1.0), (0.3, 1.0)])


def turn(degrees: float) -> np.ndarray:
    """The matrix that turns clockwise as seen on a screen, where y points down."""
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def place(eye: tuple[float, float], unit: float, degrees: float = 0.0) -> np.ndarray:
    """FACE with its eyes `unit` apart around the point `eye`."""
    return np.array(eye) + unit * FACE @ turn(degrees).T


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


# The square


def test_upright_face_by_hand():
    square = face_square(np.array([(100, 100), (200, 100), (0, 0), (120, 200), (180, 200)]))
    # eye (150.5, 100.5), mouth (150.5, 200.5); half a side is max(2 * 100, 1.8 * 100) = 200.
    np.testing.assert_allclose(square.center, (150.5, 110.5))
    np.testing.assert_allclose(square.corners, [(-49.5, -89.5), (-49.5, 310.5), (350.5, 310.5), (350.5, -89.5)])
    assert square.zoom(1024) == pytest.approx(2.56)
    assert square.bounds() == (-50, -90, 351, 311)
    assert square.border == 40
    assert square.scaled(1 / 20).border == 3


def test_long_face_is_measured_from_eye_to_mouth():
    square = face_square(np.array([(100, 100), (200, 100), (0, 0), (150, 250), (150, 250)]))
    assert square.side == pytest.approx(2 * 1.8 * 150)
    np.testing.assert_allclose(square.center, (150.5, 115.5))


def test_turned_face_by_hand():
    # ee (60, 80), em (-80, 60): ee - rot90(em) = (120, 160), scaled to the length 200; the centre is eye + em / 10.
    square = face_square(np.array([(0, 0), (60, 80), (0, 0), (-50, 100), (-50, 100)]))
    np.testing.assert_allclose(square.axis, (120, 160))
    np.testing.assert_allclose(square.center, (22.5, 46.5))
    np.testing.assert_allclose(square.corners, [(62.5, -233.5), (-257.5, 6.5), (-17.5, 326.5), (302.5, 86.5)])


@pytest.mark.parametrize(("degrees", "factor", "offset"), [(30, 1.0, (0, 0)), (-100, 0.4, (5, -7)), (180, 3.0, (-250, 90))])
def test_square_turns_grows_and_moves_with_the_face(degrees, factor, offset):
    landmarks = np.array([(95, 104), (190, 110), (0, 0), (130, 195), (171, 220)])
    moved = factor * landmarks @ turn(degrees).T + offset
    # Half a pixel is added to the eyes' and the mouth's middles whatever the size of the face.
    expected = factor * (face_square(landmarks).corners - 0.5) @ turn(degrees).T + offset + 0.5
    np.testing.assert_allclose(face_square(moved).corners, expected)


def test_landmarks_in_one_point_are_refused():
    # The mouth lies on the eyes, and these on each other.
    with pytest.raises(ValueError, match="do not determine an orientation"):
        face_square(np.full((5, 2), 7))


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"shape \(4, 2\)"):
        face_square(np.zeros((4, 2)))


# The steps


def test_shrinks_by_the_whole_number_below():
    square = FaceSquare(np.array([300.0, 150.0]), np.array([96.0, 0.0]))
    # zoom 1/3: floor(0.5 * 3) = 1 leaves it; zoom 1/5: floor(2.5) = 2.
    assert shrink_large(View(noise(600, 301), square), 64).image.size == (600, 301)
    shrunk = shrink_large(View(noise(600, 301), FaceSquare(square.center, square.axis * 5 / 3)), 64)
    assert shrunk.image.size == (300, 150)
    np.testing.assert_allclose(shrunk.square.center, (150, 75))
    assert shrunk.square.side == pytest.approx(160)


@pytest.mark.parametrize(("side", "factor"), [(64.0, 1), (63.9, 2), (32.0, 2), (31.9, 4), (100.0, 1)])
def test_enlarges_by_the_power_of_two_above(side, factor):
    square = FaceSquare(np.array([20.0, 15.0]), np.array([0.0, side / 2]))
    view = enlarge_small(View(noise(40, 30), square), 64)
    assert view.image.size == (40 * factor, 30 * factor)
    assert view.square.side == pytest.approx(side * factor)
    np.testing.assert_allclose(view.square.center, square.center * factor)


def test_crop_keeps_the_square_on_the_same_pixels():
    picture = noise(200, 150)
    view = crop_surroundings(View(picture, FaceSquare(np.array([100.5, 30.5]), np.array([20.0, 0.0]))), border=5)
    # The box is 80..121 by 10..51; above there is room for 5 pixels, so it begins at 5.
    np.testing.assert_array_equal(np.asarray(view.image), np.asarray(picture)[5:56, 75:126])
    np.testing.assert_allclose(view.square.center, (25.5, 25.5))


def test_face_outside_the_photo_is_refused():
    with pytest.raises(ValueError, match="outside the 50x40 image"):
        render(noise(50, 40), place((400, 20), 10), size=SIZE, transform_size=TRANSFORM_SIZE)


def slow_mask(height: int, width: int, pad: tuple[int, int, int, int]) -> np.ndarray:
    """spec 4.4 pixel by pixel."""
    left, top, right, bottom = pad
    mask = np.empty((height, width))
    for y in range(height):
        for x in range(width):
            mask[y, x] = 1 - min(x / left, (width - 1 - x) / right, y / top, (height - 1 - y) / bottom)
    return mask


def test_mask_agrees_with_one_computed_pixel_by_pixel():
    mask = edge_mask(23, 31, pad=np.array([7, 3, 5, 11]))
    np.testing.assert_allclose(mask, slow_mask(23, 31, (7, 3, 5, 11)), atol=1e-6)
    assert mask[0].min() == 1
    assert mask.min() < 0


def slow_padding(pixels: np.ndarray, pad: tuple[int, int, int, int], sigma: float) -> np.ndarray:
    """spec 4.4 in float64: a mirror image without its edge, its blur, the median of both blended, by the slow mask."""
    left, top, right, bottom = pad
    height, width, _ = pixels.shape
    rows = [min(abs(y), 2 * (height - 1) - abs(y)) for y in range(-top, height + bottom)]
    columns = [min(abs(x), 2 * (width - 1) - abs(x)) for x in range(-left, width + right)]
    mirrored = pixels.astype(np.float64)[rows][:, columns]
    mask = slow_mask(len(rows), len(columns), pad)[..., None]
    blurred = np.stack([ndimage.gaussian_filter(mirrored[..., channel], sigma) for channel in range(3)], axis=-1)
    blended = mirrored + (blurred - mirrored) * np.clip(3 * mask + 1, 0, 1)
    return blended + (np.median(blended, axis=(0, 1)) - blended) * np.clip(mask, 0, 1)


def test_padding_agrees_with_the_formula():
    picture = noise(90, 80)
    view = pad_edges(View(picture, FaceSquare(np.array([20.0, 40.0]), np.array([24.0, 0.0]))), border=5)
    # The side is 48: sigma 0.96, padding 0.3 * 48 = 14; 4 pixels and the border of 5 are less.
    expected = slow_padding(np.asarray(picture), (14, 14, 14, 14), 0.96)
    np.testing.assert_allclose(np.asarray(view.image), expected, atol=0.51)


@pytest.mark.parametrize(("top", "padded"), [(4, False), (3, True), (-5, True)])
def test_pads_where_the_square_comes_near_an_edge(top, padded):
    square = FaceSquare(np.array([60.0, top + 20.0]), np.array([20.0, 0.0]))
    view = pad_edges(View(noise(120, 100), square), border=4)
    # 0.3 * 40 = 12 pixels on each side, enough for what hangs over.
    assert view.image.size == ((120 + 24, 100 + 24) if padded else (120, 100))
    np.testing.assert_allclose(view.square.center - square.center, 12 if padded else 0)


def test_pads_as_much_as_hangs_over_and_the_border():
    view = pad_edges(View(noise(120, 100), FaceSquare(np.array([10.0, 50.0]), np.array([20.0, 0.0]))), border=6)
    # 10 pixels hang over at the left: 10 + 6 there, 12 on the other sides.
    assert view.image.size == (16 + 120 + 12, 12 + 100 + 12)
    np.testing.assert_allclose(view.square.center, (26, 62))


def test_padding_changes_the_rim_alone():
    picture = noise(120, 100)
    view = pad_edges(View(picture, FaceSquare(np.array([60.0, 22.0]), np.array([20.0, 0.0]))), border=4)
    pixels = np.asarray(view.image)
    # The blur reaches a third of the padding, 4 pixels, into the photograph.
    np.testing.assert_array_equal(pixels[12 + 4 : -12 - 4, 12 + 4 : -12 - 4], np.asarray(picture)[4:-4, 4:-4])
    assert (pixels[12:-12, 12] != np.asarray(picture)[:, 0]).any()


def test_padding_fades_from_the_mirror_image_to_the_median_colour():
    pixels = np.zeros((100, 120, 3), np.uint8)
    pixels[:30] = (200, 40, 90)
    view = pad_edges(View(Image.fromarray(pixels), FaceSquare(np.array([60.0, 22.0]), np.array([20.0, 0.0]))), border=4)
    column = np.asarray(view.image)[:, 70].astype(int)
    assert (column[0] == 0).all(), "the median of a picture that is mostly black"
    np.testing.assert_array_equal(column[12], (200, 40, 90))
    np.testing.assert_allclose(column[6], (100, 20, 45), atol=1)


# The picture


def test_checkerboard_at_zoom_one_is_a_plain_crop():
    y, x = np.mgrid[:240, :240]
    board = np.where((x // 16 + y // 16) % 2, 230, 20).astype(np.uint8)
    # Eyes 16 apart: the side is 64. Eyes at (100.5, 100.5) with the half pixel, a tenth of 10 below is the centre.
    landmarks = np.array([(92, 100), (108, 100), (0, 0), (100, 110), (100, 110)])
    picture = np.asarray(render(Image.fromarray(board), landmarks, size=SIZE, transform_size=TRANSFORM_SIZE)).astype(int)
    # The corner (68.5, 69.5) counts from middles of pixels: it is the upper left edge of pixel (69, 70).
    expected = np.repeat(board[70:134, 69:133, None], 3, axis=-1)
    inside = np.abs(np.mgrid[70:134, 69:133] % 16 - 7.5).max(axis=0) < 6
    np.testing.assert_allclose(picture[inside], expected[inside], atol=3)


def test_square_between_pixels_averages_them():
    """Drawn at the final size, half a pixel to the right of whole ones: the mean of neighbours on a ramp."""
    ramp = np.repeat(2 * np.arange(120, dtype=np.uint8)[None], 200, axis=0)
    landmarks = np.array([(52.5, 100), (68.5, 100), (0, 0), (60.5, 110), (60.5, 110)])
    picture = np.asarray(render(Image.fromarray(ramp), landmarks, size=SIZE, transform_size=SIZE))
    np.testing.assert_array_equal(picture[..., 0], np.broadcast_to(2 * (29 + np.arange(SIZE)) + 1, (SIZE, SIZE)))


def spots(side: int, points: np.ndarray, radius: float) -> Image.Image:
    """A red, a green and a blue spot around points, numbers of pixels that need not be whole, on black."""
    y, x = np.mgrid[:side, :side]
    light = [np.exp(-((x - left) ** 2 + (y - top) ** 2) / (2 * radius**2)) for left, top in points]
    return Image.fromarray(np.rint(255 * np.stack(light, axis=-1)).astype(np.uint8))


# Enlarging and shrinking keep the picture's edge, not the middle of its first pixel; that is the authors' half pixel of slack.
@pytest.mark.parametrize(("unit", "tolerance"), [(9.0, 0.65), (17.0, 0.1), (90.0, 0.2)])
@pytest.mark.parametrize("degrees", [0.0, 25.0, -140.0])
def test_landmarks_arrive_where_the_square_says(unit, tolerance, degrees):
    """A face that is enlarged, one that is not, and one that is shrunk."""
    middle = int(4 * unit)
    landmarks = place((middle, middle), unit, degrees)
    points = landmarks[[0, 1, 3]]
    picture = np.asarray(
        render(spots(2 * middle, points, 0.15 * unit), landmarks, size=SIZE, transform_size=TRANSFORM_SIZE), np.float64
    )
    square = face_square(landmarks)
    across = square.axis / (square.side / 2)
    along = np.array([-across[1], across[0]])
    expected = (points - square.center) @ np.stack([across, along], axis=1) * square.zoom(SIZE) + SIZE / 2 - 0.5
    # Upright or not, the eyes of any face lie here, but for the half pixel that is added to them.
    np.testing.assert_allclose(expected[:2], [(23.5, 29.9), (39.5, 29.9)], atol=np.sqrt(0.5) * square.zoom(SIZE))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for channel, position in enumerate(expected):
        weights = picture[..., channel] / picture[..., channel].sum()
        found = (weights * columns).sum(), (weights * rows).sum()
        np.testing.assert_allclose(found, position, atol=tolerance)


def test_photo_too_small_for_its_square_gives_a_whole_image():
    picture = render(noise(30, 26).convert("L"), place((12, 9), 8), size=SIZE, transform_size=TRANSFORM_SIZE)
    assert picture.mode == "RGB"
    assert picture.size == (SIZE, SIZE)
    assert np.asarray(picture).std() > 0


def test_default_size_is_that_of_the_paper():
    assert render(noise(300, 300), place((150, 140), 30)).size == (1024, 1024)


# The landmarks' file


def landmark_file(folder: Path, *lines: str, count: int | str | None = None) -> Path:
    path = folder / "landmarks.txt"
    path.write_text("\n".join([str(len(lines) if count is None else count), HEADER, *lines, ""]))
    return path


GOOD_LINE = "000001.jpg 165  184  244  176  196  249  194  271  266  260"


def test_reads_landmarks(tmp_path):
    landmarks = read_landmarks(landmark_file(tmp_path, GOOD_LINE, "b.jpg -1 2 3 4 5 6 7 8 9 10"))
    assert list(landmarks) == ["000001.jpg", "b.jpg"]
    np.testing.assert_array_equal(landmarks["000001.jpg"], [(165, 184), (244, 176), (196, 249), (194, 271), (266, 260)])
    assert landmarks["b.jpg"][0, 0] == -1


@pytest.mark.parametrize("line", ["b.jpg 1 2 3 4 5 6 7 8 9", "b.jpg 1 2 3 4 5 6 7 8 9 10 11", "b.jpg 1 2 3 4 5 6 7 8 9 x", ""])
def test_malformed_line_is_named(tmp_path, line):
    with pytest.raises(UserError, match="line 4: must be a file name and 10 whole numbers"):
        read_landmarks(landmark_file(tmp_path, GOOD_LINE, line, GOOD_LINE))


def test_repeated_name_is_named(tmp_path):
    with pytest.raises(UserError, match=r"line 4: '000001\.jpg' occurs twice"):
        read_landmarks(landmark_file(tmp_path, GOOD_LINE, GOOD_LINE))


@pytest.mark.parametrize("count", [2, "", "name"])
def test_number_of_lines_must_be_as_promised(tmp_path, count):
    with pytest.raises(UserError, match="the first line must be the number of photographs, 1,"):
        read_landmarks(landmark_file(tmp_path, GOOD_LINE, count=count))


def test_missing_binary_and_empty_files_are_one_line_each(tmp_path):
    with pytest.raises(UserError, match=r"No such file or directory\); give CelebA's"):
        read_landmarks(tmp_path / "nothing.txt")
    binary, empty = tmp_path / "photo.jpg", tmp_path / "empty.txt"
    binary.write_bytes(b"\xff\xd8\xff\xe0")
    empty.write_bytes(b"")
    with pytest.raises(UserError, match="is not text; give CelebA's"):
        read_landmarks(binary)
    with pytest.raises(UserError, match="the first line must be the number"):
        read_landmarks(empty)
