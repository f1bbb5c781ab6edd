"""What a pixel and its surroundings look like: colours from fine to coarse, edges, ridges and texture.

Filters of several widths (Leung and Malik 2001, "Representing and recognizing the visual appearance of materials"):
Gaussian means, the gradient, and the curvatures across and along a line (Hessian eigenvalues, times the squared width,
Lindeberg 1998), of which one is large and the other small on roads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_MEANS = (1.0, 2.0, 4.0, 8.0, 16.0)
_LINES = (1.0, 2.0, 4.0)
_TEXTURE = 3.0


def appearance(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Features of every pixel.

    Args:
        picture: (y, x, 3) uint8 RGB.

    Returns:
        (y, x, 28) float32: the colours (0..1) as they are and as Gaussian means of 1 to 16 pixels; of the grey at 1, 2
        and 4 pixels the gradient and the two curvatures, per width; the grey's deviation around 3 pixels. What lies
        within 64 pixels counts.
    """
    rows, cols = picture.shape[:2]
    picture = np.pad(picture, ((0, int(rows == 1)), (0, int(cols == 1)), (0, 0)), mode="edge")  # differences take two
    colours: NDArray[np.float32] = picture.astype(np.float32) / np.float32(255)
    grey: NDArray[np.float32] = colours.mean(2, dtype=np.float32)
    found = [colours[..., band] for band in range(3)]
    for width in _MEANS:
        found += [_mean(colours[..., band], width) for band in range(3)]
    for width in _LINES:
        found += _line_filters(_mean(grey, width), width)
    spread = _mean(grey**2, _TEXTURE) - _mean(grey, _TEXTURE) ** 2
    found.append(np.sqrt(np.maximum(spread, 0)))
    return np.stack(found, axis=-1)[:rows, :cols]


def _mean(values: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    smooth: NDArray[np.float32] = ndimage.gaussian_filter(values, width)  # within four widths
    return smooth


def _line_filters(smooth: NDArray[np.float32], width: float) -> list[NDArray[np.float32]]:
    down, right = np.gradient(smooth)
    down_down, down_right = np.gradient(down)
    right_right = np.gradient(right, axis=1)
    middle = (down_down + right_right) / 2
    apart = np.hypot((down_down - right_right) / 2, down_right)
    return [np.hypot(down, right) * width, (middle + apart) * width**2, (middle - apart) * width**2]
