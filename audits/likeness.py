"""How like a record a rebuilt one is."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

Record = NDArray[np.float64]

MOST: Final = 100.0
"""Decibels at which a record counts as rebuilt exactly: fp32 shows no difference beyond."""
_WINDOW, _DEVIATION = 11, 1.5
_K1, _K2 = 0.01, 0.03


def psnr(rebuilt: Record, original: Record, reach: float) -> float:
    """Return the peak signal-to-noise ratio in decibels, `MOST` at the most.

    Parameters
    ----------
    rebuilt, original
        Of one shape.
    reach
        From the least to the largest value that a record may have.
    """
    error = float(np.square(rebuilt - original).mean()) / reach**2
    return min(MOST, -10 * math.log10(error)) if error else MOST


def correlation(rebuilt: Record, original: Record) -> float:
    """Return Pearson's correlation over the values of a record; 0 where one has no spread."""
    x, y = (np.ravel(record - record.mean()) for record in (rebuilt, original))
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / lengths if lengths else 0.0


def ssim(rebuilt: Record, original: Record, reach: float) -> float:
    """Return the mean structural similarity of two grey images, 1 at the most.

    Wang, Bovik, Sheikh and Simoncelli 2004, "Image Quality Assessment: From Error Visibility to
    Structural Similarity", section III: equation 13 with Gaussian weights of deviation 1.5 over
    11 × 11 pixels, K₁ = 0.01 and K₂ = 0.03, averaged over all places where the window lies inside
    the images. Where an image is smaller, so is the window.

    Parameters
    ----------
    rebuilt, original
        [height, width].
    reach
        L: from the least to the largest value of a pixel.
    """
    side = min(_WINDOW, *(size - 1 + size % 2 for size in original.shape))
    steps = np.arange(side) - side // 2
    weights = np.exp(-np.square(steps) / (2 * _DEVIATION**2))
    weights /= weights.sum()

    def mean(image: Record) -> Record:
        for axis in (0, 1):
            image = correlate1d(image, weights, axis)
        inside = side // 2
        return image[inside : image.shape[0] - inside, inside : image.shape[1] - inside]

    mean_x, mean_y = mean(rebuilt), mean(original)
    variance_x = mean(np.square(rebuilt)) - np.square(mean_x)
    variance_y = mean(np.square(original)) - np.square(mean_y)
    covariance = mean(rebuilt * original) - mean_x * mean_y
    c1, c2 = (_K1 * reach) ** 2, (_K2 * reach) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (np.square(mean_x) + np.square(mean_y) + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return float((luminance * structure).mean())
