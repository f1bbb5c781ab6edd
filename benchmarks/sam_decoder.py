"""SAM's mask decoder: geoloom's order of its sums against the package's own, same weights, same prompts.

    python -m benchmarks.sam_decoder [--runs 3] [--prompts 64] [--batch 4]

One thread, one window whose embedding is chance: what a decoder costs does not hang on what it sees.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np

from benchmarks.page import Goal, Result, number, parser, publish

SIDE = 512


def main() -> None:
    """Time both in turn, tell."""
    words = parser("sam_decoder", __doc__)
    words.add_argument("--runs", type=int, default=3)
    words.add_argument("--prompts", type=int, default=64)
    words.add_argument("--batch", type=int, default=4, help="prompts at once")
    options = words.parse_args()
    import torch

    from models.sam import load_sam
    from models.sam_first import FirstSam
    from models.segmenter import EncodedWindow, Prompts
    from tasks.label_params import LabelParams
    from tasks.sam_weights import find_sam

    torch.set_num_threads(1)
    network = load_sam("sam-vit-t", find_sam(LabelParams())[0])
    sam = FirstSam(network)
    torch.manual_seed(0)
    window = EncodedWindow(sam, (SIDE, SIDE), (torch.randn(1, 256, 64, 64) / 10,))
    chance = np.random.default_rng(0)
    corner = chance.uniform(0, 400, (options.prompts, 2))
    boxes = np.concatenate([corner, corner + chance.uniform(20, 100, corner.shape)], axis=1).astype(np.float32)
    starts = range(0, options.prompts, options.batch)
    places = network.prompt_encoder.get_dense_pe()

    @torch.inference_mode()
    def theirs() -> None:
        for start in starts:
            asked = torch.as_tensor(boxes[start : start + options.batch]) * (1024 / SIDE)
            sparse, dense = network.prompt_encoder(points=None, boxes=asked, masks=None)
            network.mask_decoder(window.embedding[0], places, sparse, dense, multimask_output=False)

    def ours(*, near: bool) -> None:
        for start in starts:
            these = boxes[start : start + options.batch]
            sam.decode(window, Prompts(boxes=these, near=these if near else None), multimask=False)

    ways: dict[str, Callable[[], None]] = {
        "segment-anything": theirs,
        "geoloom, whole masks": lambda: ours(near=False),
        "geoloom, near the box": lambda: ours(near=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.runs):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            seconds[name].append((time.perf_counter() - begun) / options.prompts)
    least = {name: median(values) for name, values in seconds.items()}
    ratios = {name: value / least["segment-anything"] for name, value in least.items()}
    rows = tuple((name, number(1000 * least[name]), number(ratios[name])) for name in ways)
    about = (
        f"{options.prompts} boxes of 20 to 100 pixels in a window of {SIDE}, {options.batch} at once, one mask each, "
        f"ViT-T's decoder, one thread; median of {options.runs} runs in turn. Masks near the box are those that "
        "labelling by vectors takes."
    )
    goals = tuple(
        Goal(f"{name} / the package", ratios[name], at_most=most)
        for name, most in (("geoloom, whole masks", 0.7), ("geoloom, near the box", 0.5))
    )
    head = ("", "ms a prompt", "of the package's")
    publish(Result("sam_decoder", "SAM's mask decoder", about, head, rows, {"seconds": seconds}, goals), options)


if __name__ == "__main__":
    main()
