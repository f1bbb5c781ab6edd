"""A U-Net and a tiny network, written here: they need no library beyond torch and no downloaded weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def _block(inputs: int, outputs: int) -> nn.Sequential:
    """Two times 3x3 convolution, normalisation, ReLU: the unit of Ronneberger's network, with BatchNorm and padding."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        # BatchNorm follows: a bias in the convolution would be subtracted again.
        layers += [nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Maps (n, band, y, x) float32 to logits (n, class, y, x); y and x are multiples of `stride`.

    Ronneberger, Fischer, Brox: U-Net (2015), arXiv:1505.04597, with padded convolutions. Upsampling repeats pixels
    and convolves them, because a transposed convolution paints a checkerboard (Odena and others, Distill 2016) and a
    bilinear one has no deterministic gradient on CUDA. Nothing in it is global: tiles can be made exact.
    """

    def __init__(self, bands: int, classes: int, *, width: int = 32, depth: int = 4) -> None:
        super().__init__()
        if width < 1 or depth < 0:
            raise ValueError(f"width {width} and depth {depth}: expected 1 or more and 0 or more")
        widths = [width * 2**level for level in range(depth + 1)]
        self.stride = 2**depth
        self.down = nn.ModuleList(_block(a, b) for a, b in zip([bands, *widths], widths, strict=False))
        steps = list(zip(widths[:0:-1], widths[-2::-1], strict=True))  # (deep, shallow), from the bottom up
        self.shrink = nn.ModuleList(nn.Conv2d(deep, shallow, 3, padding=1) for deep, shallow in steps)
        self.up = nn.ModuleList(_block(2 * shallow, shallow) for _, shallow in steps)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of every pixel."""
        if image.shape[-2] % self.stride or image.shape[-1] % self.stride:
            # Pooling would drop the odd row, and the result would lie half a pixel off.
            raise ValueError(f"image is {tuple(image.shape[-2:])} pixels: expected multiples of {self.stride}")
        skips: list[Tensor] = []
        x = image
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else functional.max_pool2d(x, 2))  # (n, width * 2^level, y / 2^level, ...)
            skips.append(x)
        skips.pop()
        for shrink, block in zip(self.shrink, self.up, strict=True):
            x = shrink(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
            x = block(torch.cat([skips.pop(), x], dim=1))
        logits: Tensor = self.head(x)
        return logits


class Tiny(nn.Module):
    """Three 3x3 convolutions: a pixel's logits depend on the 7x7 pixels around it and on nothing else.

    Its receptive half-width of 3 fits in any margin, so a tiled run can be compared with one whole pass exactly.
    """

    stride = 1
    halfwidth = 3

    def __init__(self, bands: int, classes: int, *, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(bands, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, classes, 3, padding=1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits (n, class, y, x) of an image (n, band, y, x) of any size."""
        logits: Tensor = self.layers(image)
        return logits
