"""Our order of the mask decoder's sums against the package's own, with weights of chance: nothing hangs on training."""

import pytest
import torch
from segment_anything.modeling import Sam
from torch import nn

from models.sam import prompt_parts
from models.sam_first import FirstSam
from models.segmenter import EncodedWindow, Prompts

SHAPE = (384, 512)


@pytest.fixture(scope="module")
def window():
    torch.manual_seed(0)
    prompt, mask = prompt_parts()
    encoder = nn.Identity()
    encoder.img_size = 1024
    for name, values in mask.named_parameters():  # biases begin as 0, which hides what is left out
        if name.endswith("bias"):
            nn.init.normal_(values, std=0.2)
    network = Sam(encoder, prompt, mask).eval()
    return EncodedWindow(FirstSam(network), SHAPE, (torch.randn(1, 256, 64, 64),))


def packages(window, prompts):
    """What the package makes of the same prompts, three masks and their scores."""
    sam, network = window.sam, window.sam.network
    with torch.inference_mode():
        points = None
        if prompts.points is not None:
            placed = sam._placed(prompts.points, SHAPE)
            points = placed, torch.ones(placed.shape[:2], dtype=torch.int)
        boxes = None if prompts.boxes is None else sam._placed(prompts.boxes.reshape(-1, 2, 2), SHAPE).flatten(1)
        sparse, dense = network.prompt_encoder(
            points=points, boxes=boxes, masks=None if prompts.masks is None else prompts.masks[:, None]
        )
        places = network.prompt_encoder.get_dense_pe()
        return network.mask_decoder(window.embedding[0], places, sparse, dense, multimask_output=True)


def boxes(count):
    corner = torch.rand(count, 2) * 200
    return torch.cat([corner, corner + 20 + torch.rand(count, 2) * 100], dim=1).numpy()


@pytest.mark.parametrize(
    "prompts",
    [
        Prompts(boxes=boxes(3)),
        Prompts(points=torch.rand(5, 1, 2).mul(300).numpy()),
        Prompts(points=torch.rand(2, 4, 2).mul(300).numpy(), masks=torch.randn(2, 256, 256)),
    ],
    ids=["boxes", "points", "masks"],
)
def test_masks_and_scores_are_the_packages_but_for_rounding(window, prompts):
    masks, scores = window.sam.decode(window, prompts, multimask=True)
    wanted, expected = packages(window, prompts)
    assert wanted.std() > 1e-3
    torch.testing.assert_close(masks, wanted, atol=1e-4 * float(wanted.abs().max()), rtol=0)
    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=1e-4)


def test_near_its_box_a_mask_is_as_if_it_were_drawn_whole(window):
    asked = boxes(4)
    whole, near = (
        window.sam.enlarge(window.sam.decode(window, prompts, multimask=False)[0][:, 0], SHAPE)
        for prompts in (Prompts(boxes=asked), Prompts(boxes=asked, near=asked))
    )
    for one, other, (x0, y0, x1, y1) in zip(whole, near, asked, strict=True):
        inside = slice(int(y0), int(y1) + 1), slice(int(x0), int(x1) + 1)
        torch.testing.assert_close(one[inside], other[inside], atol=1e-4, rtol=1e-4)
        assert (other < -30).float().mean() > 0.5
