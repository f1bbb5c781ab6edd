"""Leaks between splits: what was planted is found, what is clean passes, and many chips take little time."""

import io
import time

import numpy as np
import pytest
import shapely
from PIL import Image
from scipy import ndimage

from tasks.raster.leaks import Footprint, Sample, find_leaks, pixel_digest
from tasks.raster.likeness import ALIKE, BLANK, look, pairs_alike
from tasks.raster.shifted import Marks, marks_of, pairs_shifted

FULL = np.ones((128, 128), bool)


def picture(seed):
    """Something with structure: blobs of several sizes, (3, 128, 128) uint8."""
    rng = np.random.default_rng(seed)
    layers = [rng.integers(0, 256, (3, 128 // s, 128 // s)).repeat(s, axis=1).repeat(s, axis=2) for s in (32, 8, 2)]
    return np.mean(layers, axis=0).astype(np.uint8)


def recompressed(image, quality):
    held = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(held, "JPEG", quality=quality)
    return np.asarray(Image.open(held)).transpose(2, 0, 1)


def sample(name, split, image, footprint=None):
    return Sample(name, split, footprint, pixel_digest(image, FULL), look(image, FULL))


def clean(count=60):
    return [sample(f"{n}", ("train", "val", "test")[n % 3], picture(n)) for n in range(count)]


def test_clean_chips_pass():
    assert find_leaks(clean()) == []


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (lambda image: image, "have the same pixels"),
        (lambda image: recompressed(image, 60), "look the same"),
        (lambda image: (image * 0.7 + 20).astype(np.uint8), "look the same"),
        (lambda image: np.asarray(image, np.uint16) * 257, "look the same"),
    ],
    ids=["copied", "recompressed", "brightened", "as uint16"],
)
def test_a_copy_is_found_wherever_it_is(change, how):
    samples = [*clean(), sample("planted", "val", change(picture(0)))]
    (leak,) = find_leaks(samples)
    assert {leak.one.name, leak.other.name} == {"0", "planted"}
    assert how in str(leak)
    assert "0 (train)" in str(leak)
    assert "planted (val)" in str(leak)


def test_a_copy_in_the_same_split_is_none():
    assert find_leaks([*clean(), sample("planted", "train", picture(0))]) == []


def test_what_shows_nothing_is_not_compared():
    black = np.zeros((3, 128, 128), np.uint8)
    samples = [sample("a", "train", black), sample("b", "val", black)]
    assert (samples[0].digest, samples[0].look) == ("", BLANK)
    assert find_leaks(samples) == []
    assert look(black.astype(float) * np.nan, FULL) == BLANK


@pytest.mark.parametrize("place", [{"crs": "EPSG:32632"}, {"crs": "", "scene": "north"}], ids=["ground", "scene"])
def test_a_shifted_window_is_found_and_a_neighbour_is_not(place):
    def at(x):
        return Footprint(shapely.box(x, 0, x + 100, 100), **place)

    apart = [sample("a", "train", picture(1), at(0)), sample("b", "val", picture(2), at(100))]
    assert find_leaks(apart) == []
    (leak,) = find_leaks([*apart, sample("c", "test", picture(3), at(-70))])
    assert {leak.one.name, leak.other.name} == {"a", "c"}
    assert "overlap" in str(leak)


def test_the_same_window_of_two_scenes_is_no_leak():
    box = shapely.box(0, 0, 100, 100)
    samples = [sample(s, split, picture(n), Footprint(box, "", s)) for n, (s, split) in
               enumerate([("north", "train"), ("south", "val")])]  # fmt: skip
    assert find_leaks(samples) == []


def test_footprints_of_different_crs_are_compared():
    degrees = Footprint(shapely.box(9.0, 48.0, 9.01, 48.01), "OGC:CRS84")
    metres = Footprint(shapely.box(500_100, 5_316_500, 500_300, 5_316_700), "EPSG:32632")
    (leak,) = find_leaks([sample("a", "train", picture(1), degrees), sample("b", "val", picture(2), metres)])
    assert "on the ground" in str(leak)


def test_near_pairs_are_those_of_brute_force():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2, (300, 256), dtype=np.uint8)
    near = base.copy()
    for n, row in enumerate(near):
        row[rng.choice(256, n % 40, replace=False)] ^= 1  # 0 to 39 bits differ, anywhere
    bits = np.concatenate([base, near])
    split = np.repeat([0, 1], 300)
    hashes = [np.packbits(row).tobytes() for row in bits]
    found = {(min(a, b), max(a, b)) for a, b, _ in pairs_alike(hashes, split)}
    wanted = {(n, n + 300) for n in range(300) if n % 40 <= ALIKE}
    assert found <= wanted
    assert {(a, b) for a, b in wanted if (bits[a] != bits[b]).sum() < 16} <= found, "with fewer, a word is the same"
    assert len(found) > 0.95 * len(wanted)


def test_real_scenes_are_not_confused(data):
    """Every pair of chips of a city and a desert, and the same after JPEG; docs/datasets.md has the figures."""
    files = [data / "dubai" / f"tile{t}" / "images" / f"image_part_00{p}.jpg" for t in (1, 5) for p in (1, 5, 9)]
    chips = []
    for file in files:
        image = np.asarray(Image.open(file)).transpose(2, 0, 1)
        chips += [image[:, r : r + 128, c : c + 128] for r in range(0, 256, 128) for c in range(0, 384, 128)]
    hashes = [look(chip, FULL) for chip in chips]
    # Each chip in a split of its own: all pairs are compared.
    assert list(pairs_alike(hashes, np.arange(len(chips)))) == []
    again = [look(recompressed(chip, 75), FULL) for chip in chips]
    pairs = pairs_alike(hashes + again, np.repeat([0, 1], len(chips)))
    found = {a % len(chips) for a, b, _ in pairs if a % len(chips) == b % len(chips)}
    shown = [n for n, one in enumerate(hashes) if one != BLANK]
    assert len(found) > 0.95 * len(shown)


def test_a_hundred_thousand_chips_take_seconds():
    rng = np.random.default_rng(0)
    count = 100_000
    hashes = list(map(bytes, rng.integers(0, 256, (count, 32), dtype=np.uint8)))
    rows, cols = np.divmod(np.arange(count), 400)
    outlines = shapely.box(cols, rows, cols + 1.0, rows + 1.0)
    splits = np.array(["train", "val"])[(cols // 40) % 2]
    samples = [
        Sample(f"{n}", str(splits[n]), Footprint(outlines[n], "EPSG:32632"), f"{n}", hashes[n]) for n in range(count)
    ]
    samples.append(Sample("planted", "val", None, "nothing", hashes[5]))
    started = time.perf_counter()
    assert [str(leak) for leak in find_leaks(samples)] == [
        "5 (train) and planted (val) look the same (0 of 255 bits of their hashes differ)"
    ]
    assert time.perf_counter() - started < 30, "two seconds on a free core; brute force takes hours"


def windows_of(large, places, side):
    return [large[:, y : y + side, x : x + side] for y, x in places]


@pytest.mark.parametrize(("side", "shift"), [(256, (64, 64)), (256, (3, 101)), (128, (0, 40)), (512, (150, 90))])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_windows_of_one_picture_that_overlap_share_pixels(side, shift, dtype):
    """256 pixels a side, shifted by 64 both ways, share 56 %."""
    rng = np.random.default_rng(5)
    large = ndimage.gaussian_filter(rng.normal(0, 1, (3, 1330, 1330)), (0, 2, 2))
    large = ((large - large.min()) / np.ptp(large) * 255).astype(dtype)
    full = np.ones((side, side), bool)
    one, other, beside = windows_of(large, [(100, 200), (100 + shift[0], 200 + shift[1]), (800, 810)], side)
    marks = [marks_of(image, full) for image in (one, beside, other)]
    assert list(pairs_shifted(marks, np.array([0, 1, 1]))) == [(0, 2, shift)]
    assert not list(pairs_shifted(marks, np.array([0, 1, 0])))
    samples = [
        Sample(name, name, None, pixel_digest(image, full), look(image, full), marks_of(image, full))
        for name, image in (("train", one), ("val", other), ("test", beside))
    ]
    [leak] = find_leaks(samples)
    assert f"share pixels ({shift[0]} rows and {shift[1]} columns apart)" in str(leak)


def test_a_watermark_a_frame_and_plain_ground_are_no_shared_pixels():
    rng = np.random.default_rng(6)
    full = np.ones((256, 256), bool)
    mark = rng.integers(0, 256, (3, 40, 90), dtype=np.uint8)
    images = []
    for seed in range(6):
        image = np.full((3, 256, 256), 90, np.uint8)
        image[:, 20:200, 20:] = np.random.default_rng(seed).integers(0, 256, (3, 180, 236))
        image[:, 205:245, 100:190] = mark
        images.append(marks_of(image, full))
    assert not list(pairs_shifted(images, np.arange(6)))


def test_marks_of_many_chips_are_compared_in_little_time():
    rng = np.random.default_rng(7)
    some = [
        Marks(
            rng.integers(0, 2**63, 190, dtype=np.uint64), rng.integers(8, 240, (190, 2), dtype=np.int32), (256, 256), 8
        )
        for _ in range(5000)
    ]
    begun = time.perf_counter()
    assert not list(pairs_shifted(some, np.arange(5000) % 3))
    assert time.perf_counter() - begun < 20
