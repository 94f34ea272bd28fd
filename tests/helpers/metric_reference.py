"""SWD and MS-SSIM in float64 NumPy and SciPy, written from the specification (5.1, 5.2): slow, plain, and on their own."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

BINOMIAL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def shrink(image):
    return np.stack([ndimage.convolve(plane, BINOMIAL, mode="mirror")[::2, ::2] for plane in np.moveaxis(image, -1, 0)], -1)


def enlarge(image):
    height, width, channels = image.shape
    spread = np.zeros((2 * height, 2 * width, channels))
    spread[::2, ::2] = image
    return np.stack([ndimage.convolve(plane, 4 * BINOMIAL, mode="mirror") for plane in np.moveaxis(spread, -1, 0)], -1)


def pyramid(image, coarsest):
    """Levels of one image `[side, side, channels]`."""
    levels, finer = [], image.astype(np.float64)
    while finer.shape[0] > coarsest:
        coarser = shrink(finer)
        levels.append(finer - enlarge(coarser))
        finer = coarser
    return [*levels, finer]


def normalize(patches):
    """`[n, channels, h, w]`, each channel over all patches and pixels, flattened."""
    mean = patches.mean(axis=(0, 2, 3), keepdims=True)
    std = patches.std(axis=(0, 2, 3), keepdims=True)
    return ((patches - mean) / std).reshape(len(patches), -1)


def sliced_distance(first, second, directions):
    """Mean over directions of the mean distance of sorted projections."""
    ours, theirs = (np.sort(points.astype(np.float64) @ directions.T.astype(np.float64), axis=0) for points in (first, second))
    return np.abs(ours - theirs).mean()


def ssim(first, second):
    """Means of the SSIM map and of its contrast-structure part, of two images `[height, width, channels]`."""
    size = min(11, *first.shape[:2])
    offsets = np.arange(size) - (size - 1) / 2
    taps = np.exp(-(offsets**2) / (2 * (1.5 * size / 11) ** 2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    height, width, channels = first.shape
    similarities, contrasts = [], []
    for channel in range(channels):
        for y in range(height - size + 1):
            for x in range(width - size + 1):
                a = first[y : y + size, x : x + size, channel].astype(np.float64)
                b = second[y : y + size, x : x + size, channel].astype(np.float64)
                mean1, mean2 = (window * a).sum(), (window * b).sum()
                variance1, variance2 = (window * a * a).sum() - mean1**2, (window * b * b).sum() - mean2**2
                covariance = (window * a * b).sum() - mean1 * mean2
                contrast = (2 * covariance + 58.5225) / (variance1 + variance2 + 58.5225)
                contrasts.append(contrast)
                similarities.append((2 * mean1 * mean2 + 6.5025) / (mean1**2 + mean2**2 + 6.5025) * contrast)
    return np.mean(similarities), np.mean(contrasts)


def ms_ssim(first, second):
    """Of two images."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    result = 1.0
    for scale, weight in enumerate([0.0448, 0.2856, 0.3001, 0.2363, 0.1333]):
        similarity, contrast = ssim(first, second)
        result *= max(similarity if scale == 4 else contrast, 0.0) ** weight
        first, second = (
            im.reshape(im.shape[0] // 2, 2, im.shape[1] // 2, 2, -1).mean(axis=(1, 3)) if scale < 4 else im
            for im in (first, second)
        )
    return result
