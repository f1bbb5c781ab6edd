"""The tile engine's promises: the same bits whoever works, each tile once, nothing lost, only what changed."""

from pathlib import Path

import numpy as np
import pytest

from flows import steps
from infra.errors import GeoloomError, UnusableInput
from infra.ledger import Ledger
from infra.settings import settings
from infra.store import open_store
from tasks.disagreement import ACCEPTED
from tasks.raster.tiling import cut_scene

TILE, MARGIN, RAMP = 256, 8, 8


@pytest.fixture(scope="session")
def needed(pixels):
    """Tiles that have weight on a valid pixel, by brute force."""
    _, valid = pixels
    tiling = cut_scene(valid.shape, tile=TILE, margin=MARGIN, ramp=RAMP, stride=1, shard=1024)
    return sum(bool(valid[tiling.span(tile)].any()) for tile in tiling.tiles())


def test_a_tiled_prediction_equals_one_whole_pass(golden, pixels, tiny_model):
    from models.predictor import load_predictor
    from tasks.raster.probability import open_probability

    image, valid = pixels
    got = np.asarray(open_probability(open_store(golden["workspace"]).zarr("probability.zarr"))[:])
    want = load_predictor(tiny_model)(np.where(valid, np.maximum(image, 1), 0)[None], valid[None])[0]
    assert (got[:, ~valid] == 255).all()
    assert np.abs(got[:, valid].astype(int) - want[:, valid].astype(int)).max() <= 1


@pytest.mark.parametrize(("cluster", "workers"), [("lanes", 2), ("lanes", 5), ("processes", 2)])
def test_the_bits_do_not_depend_on_who_works(ingested, engine, golden, tiny_model, needed, cluster, workers):
    done = engine.predict(ingested, tiny_model, cluster=cluster, workers=workers)
    assert engine.bits(ingested) == golden["bits"]
    assert engine.products(ingested) == golden["products"]
    assert done.tiles_run == needed == golden["tiles"], "each tile once, and none that holds no data"
    assert not open_store(ingested).keys("strips")


def test_as_many_networks_work_at_once_as_each_run_asks_for(ingested, engine, tiny_model):
    """Also in a process that has predicted there before, with fewer."""
    from infra.ledger import Ledger
    from infra.store import open_store
    from tasks import predict_block

    for lanes in (1, 2):
        Ledger(open_store(ingested), "predict").forget_all()
        assert engine.predict(ingested, tiny_model, workers=lanes).tiles_run
        ((*_, known), tools), *more = predict_block._OPEN.items()
        assert not more
        assert known == lanes
        assert tools.gate.acquire(blocking=False)
        assert tools.gate.acquire(blocking=False) == (lanes == 2)
        for _ in range(lanes):
            tools.gate.release()


def test_a_rerun_does_nothing(ingested, engine, golden, tiny_model):
    engine.predict(ingested, tiny_model)
    again = engine.predict(ingested, tiny_model)
    assert (again.units_run, again.tiles_run) == (0, 0)
    assert engine.bits(ingested) == golden["bits"]


def changed(scene, pixels, engine, folder):
    """The scene with other pixels in one corner of one cell."""
    image, valid = pixels
    image = image.copy()
    image[:, 1600:1650, 1100:1150] ^= 77
    path = folder / scene.name
    engine.write_scene(path, image, valid)
    return path


@pytest.mark.parametrize("keep", [False, True])
def test_a_changed_region_redoes_just_the_units_that_see_it(scene, pixels, engine, tiny_model, tmp_path, needed, keep):
    first = tmp_path / "first"
    first.mkdir()
    copied = first / scene.name
    copied.write_bytes(scene.read_bytes())
    workspace = engine.ingest(copied, tmp_path / "ws")
    engine.predict(workspace, tiny_model, keep_strips=keep)
    before = Ledger(open_store(workspace), "predict").done()

    new = changed(scene, pixels, engine, tmp_path)
    copied.write_bytes(new.read_bytes())
    engine.ingest(copied, tmp_path / "ws")
    done = engine.predict(workspace, tiny_model, keep_strips=keep)

    after = Ledger(open_store(workspace), "predict").done()
    redone = {unit for unit in after if before[unit] != after[unit]}
    assert done.units_run == len(redone)
    assert 0 < len(redone) < len(after)
    assert 0 < done.tiles_run < needed
    fresh = engine.ingest(new, tmp_path / "fresh")
    engine.predict(fresh, tiny_model)
    assert engine.bits(workspace) == engine.bits(fresh)


def test_kept_strips_make_a_partial_rerun_smaller(scene, pixels, engine, tiny_model, tmp_path):
    runs = []
    for keep in (False, True):
        (tmp_path / str(keep)).mkdir()
        copied = tmp_path / str(keep) / scene.name
        copied.write_bytes(scene.read_bytes())
        workspace = engine.ingest(copied, tmp_path / str(keep) / "ws")
        engine.predict(workspace, tiny_model, keep_strips=keep)
        copied.write_bytes(changed(scene, pixels, engine, tmp_path).read_bytes())
        engine.ingest(copied, tmp_path / str(keep) / "ws")
        runs.append(engine.predict(workspace, tiny_model, keep_strips=keep).tiles_run)
    assert runs[1] < runs[0]


def test_another_model_redoes_everything(ingested, engine, tiny_model, tmp_path):
    import torch

    from models.card import load_card
    from models.checkpoint import save_model
    from models.registry import build

    first = engine.predict(ingested, tiny_model)
    torch.manual_seed(9)
    save_model(tmp_path / "other", build("tiny", {}, bands=3, classes=6), load_card(tiny_model))
    second = engine.predict(ingested, tmp_path / "other")
    assert second.units_run == second.units_total == first.units_total
    assert second.tiles_run == first.tiles_run


def failing(monkeypatch, *, times, value=123456789):
    """Make the network fail for tiles that begin like one of them, so many times."""
    from models.predictor import Predictor

    whole, left = Predictor.__call__, [times]

    def call(self, image, valid):
        if int(image[0, :, 100:110, 100:110].sum()) == value and left[0]:
            left[0] -= 1
            raise RuntimeError("out of memory, say")
        return whole(self, image, valid)

    monkeypatch.setattr(Predictor, "__call__", call)


def mark_of(pixels, tiling, tile):
    image, valid = pixels
    rows, cols = tiling.extent(tile)
    inside = np.where(valid, np.maximum(image, 1), 0)[:, rows, cols]
    return int(inside[:, 100:110, 100:110].sum())


def test_a_tile_that_fails_once_leaves_no_trace(ingested, engine, golden, tiny_model, pixels, monkeypatch):
    tiling = cut_scene(pixels[1].shape, tile=TILE, margin=MARGIN, ramp=RAMP, stride=1, shard=1024)
    failing(monkeypatch, times=1, value=mark_of(pixels, tiling, (3, 3)))
    done = engine.predict(ingested, tiny_model)
    assert not done.lost
    assert engine.bits(ingested) == golden["bits"]


def test_a_tile_that_fails_for_good_is_nodata_and_named_and_comes_with_the_next_run(
    ingested, engine, golden, tiny_model, pixels, monkeypatch
):
    from tasks.raster.probability import open_probability

    tiling = cut_scene(pixels[1].shape, tile=TILE, margin=MARGIN, ramp=RAMP, stride=1, shard=1024)
    tile = next(t for t in tiling.tiles() if len(tiling.touched(t)) == 4 and pixels[1][tiling.span(t)].any())
    with monkeypatch.context() as patch:
        failing(patch, times=99, value=mark_of(pixels, tiling, tile))
        done = engine.predict(ingested, tiny_model)
        assert len(done.lost) == 1
        assert "out of memory, say" in done.lost[0]
        store = open_store(ingested)
        got = np.asarray(open_probability(store.zarr("probability.zarr"))[:])
        want = np.asarray(open_probability(open_store(golden["workspace"]).zarr("probability.zarr"))[:]).copy()
        want[:, *tiling.span(tile)] = 255
        assert (got == want).all(), "nodata where the tile has weight, and nowhere else"
        assert len(Ledger(store, "predict").short()) == 4
        engine.products(ingested)
        with pytest.raises(GeoloomError, match="A tile failed"):
            engine.predict(ingested, tiny_model, strict=True)
    again = engine.predict(ingested, tiny_model)
    assert again.units_run == 4
    assert not again.lost
    assert engine.bits(ingested) == golden["bits"]
    assert engine.products(ingested) == golden["products"]


def damage(workspace, pattern, how):
    """Damage the largest stored object of an array; whole shards hold many chunks."""
    shards = sorted((p for p in Path(workspace).glob(pattern) if p.is_file()), key=lambda p: p.stat().st_size)
    shard = shards[-1]
    content = bytearray(shard.read_bytes())
    if how == "deleted":
        shard.unlink()
    elif how == "truncated":
        shard.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 3] ^= 16
        shard.write_bytes(content)


@pytest.mark.parametrize("how", ["deleted", "truncated", "flipped"])
def test_a_damaged_prediction_is_named_and_made_again(ingested, engine, golden, tiny_model, how):
    engine.predict(ingested, tiny_model)
    damage(ingested, "probability.zarr/probability/c/**/*", how)
    with pytest.raises(UnusableInput, match="damaged in rows"):
        engine.products(ingested)
    again = engine.predict(ingested, tiny_model)
    assert again.units_run == 1
    assert engine.products(ingested) == golden["products"]


@pytest.mark.parametrize("how", ["deleted", "truncated", "flipped"])
def test_a_damaged_cube_is_named_and_read_again(scene, ingested, engine, golden, tiny_model, tmp_path, how):
    damage(ingested, "cube.zarr/image/c/**/*", how)
    with pytest.raises(UnusableInput, match="damaged in rows"):
        engine.predict(ingested, tiny_model)
    engine.ingest(scene, tmp_path / "ws")
    engine.predict(ingested, tiny_model)
    assert engine.bits(ingested) == golden["bits"]


def killed(engine, workspace, model, units):
    """A prediction killed when so many of its jobs, two a block, had ended: what the ledger says of it."""
    call = (
        f"steps.predict(PredictParams(model={str(model)!r}, precision='float32', tile=256), {workspace!r},"
        " run=RunParams(workers=2, device='cpu'), progress=Dying())"
    )
    engine.die(call, units=units)
    return Ledger(open_store(workspace), "predict").done()


@pytest.mark.parametrize("units", [2, 6, 11])
def test_a_killed_prediction_is_gone_on_with(ingested, engine, golden, tiny_model, tmp_path, monkeypatch, units):
    done = killed(engine, ingested, tiny_model, units)
    assert len(done) < 9
    seen = tmp_path / "tiles"
    seen.touch()
    monkeypatch.setenv("GEOLOOM_TILE_LOG", str(seen))
    settings.cache_clear()
    again = engine.predict(ingested, tiny_model)
    monkeypatch.undo()
    settings.cache_clear()
    assert again.units_run == 9 - len(done)
    assert again.tiles_run == len(seen.read_text().split()) < golden["tiles"]
    assert engine.bits(ingested) == golden["bits"]
    assert not open_store(ingested).keys("strips")


@pytest.mark.parametrize("how", ["flipped", "emptied"])
@pytest.mark.parametrize("which", ["own", "strip"])
def test_a_damaged_strip_costs_its_tiles_and_no_more(ingested, engine, golden, tiny_model, how, which):
    """What a block has parked, and what it has handed over; nothing of it may pass for a tile that failed."""
    killed(engine, ingested, tiny_model, 1)
    found = [p for p in Path(ingested).glob("strips/*/*") if p.name.startswith("own.") == (which == "own")]
    assert found
    for path in found:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 16
        path.write_bytes(content if how == "flipped" else b"")
    for _ in range(len(found) + 1):  # each rerun may meet the next one
        try:
            done = engine.predict(ingested, tiny_model)
        except GeoloomError as error:
            assert "run" in str(error)  # noqa: PT017 - some damage is named, some made good at once
        else:
            break
    assert not done.lost
    assert engine.bits(ingested) == golden["bits"]


def test_edges_that_show_are_warned_of_and_refused_where_strict(ingested, tiny_model):
    """Also when the plan was made by a run that was content with a warning."""
    from flows import steps
    from infra.progress import Silent
    from tasks.params import PredictParams, RunParams

    notes = []

    class Heard(Silent):
        def note(self, text):
            notes.append(text)

    def run(**more):
        params = PredictParams(model=str(tiny_model), precision="float32", tile=32, margin=0, ramp=1, **more)
        return steps.predict(params, ingested, run=RunParams(workers=2, device="cpu"), progress=Heard())

    plan = run().plan
    assert plan.disagreement > ACCEPTED
    assert any(f"tiles change {plan.disagreement:.2%} of the pixels" in note for note in notes)
    with pytest.raises(UnusableInput, match=r"tile edges may show\. Use a larger --margin"):
        run(strict=True)


def test_a_cluster_of_two_kinds_of_machine_is_refused_and_loses_nothing(ingested, engine, tiny_model, monkeypatch):
    from infra.lanes import Lanes

    engine.predict(ingested, tiny_model)
    done = Ledger(open_store(ingested), "predict").done()
    mine = Lanes.everywhere

    def everywhere(self, call, *args):
        here = mine(self, call, *args)
        return [*here, here[0] | {"cache": "another"}]

    monkeypatch.setattr(Lanes, "everywhere", everywhere)
    with pytest.raises(UnusableInput, match=r"only some of the workers are of that kind .*another"):
        engine.predict(ingested, tiny_model)
    assert Ledger(open_store(ingested), "predict").done() == done


def test_a_plan_is_told_and_nothing_is_done(ingested, engine, tiny_model):
    told = engine.predict(ingested, tiny_model, plan=True)
    assert told.tiles_run == 0
    assert told.estimate.blocks_left == told.units_total == 9
    assert told.estimate.memory < told.estimate.memory_there
    assert not open_store(ingested).keys("probability.zarr")


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"tile": 4096}, "give at most 2500"),
        ({"tile": 256, "margin": 60, "ramp": 20}, "over half of a tile"),
        ({"tile": 16 * 5 + 1, "margin": 30, "ramp": 30}, "over half of a tile"),
        ({"tile": 40}, "over half of a tile"),  # the model's own overlap of 24, made for tiles of 256
    ],
)
def test_tiles_that_make_no_sense_are_refused(ingested, engine, tiny_model, params, words):
    with pytest.raises(UnusableInput, match=words):
        engine.predict(ingested, tiny_model, **params)


@pytest.mark.parametrize("plan", [False, True])
def test_what_cannot_fit_is_refused_before_work(ingested, engine, tiny_model, monkeypatch, plan):
    from infra.lanes import Lanes

    monkeypatch.setattr(Lanes, "memory", 1_000_000)
    with pytest.raises(UnusableInput, match="may use 1 MB"):
        engine.predict(ingested, tiny_model, plan=plan)


@pytest.mark.parametrize(
    "looks", [{"tta": True}, {"scales": "0.5,1.5"}, {"tta": True, "scales": "0.75,1"}], ids=["tta", "scales", "both"]
)
def test_several_looks_keep_the_promises(ingested, engine, pixels, tiny_model, looks):
    """Tiled as in one whole pass, the same bits whoever works, and nothing again in a rerun."""
    from models.ensemble import assemble
    from models.looks import Looks
    from models.predictor import load_predictor
    from tasks.raster.probability import open_probability

    done = engine.predict(ingested, tiny_model, workers=1, tile=None, **looks)
    bits = engine.bits(ingested)
    assert engine.predict(ingested, tiny_model, tile=None, **looks).tiles_run == 0
    Ledger(open_store(ingested), "predict").forget_all()
    assert engine.predict(ingested, tiny_model, workers=3, tile=None, **looks).tiles_run == done.tiles_run
    assert engine.bits(ingested) == bits

    image, valid = pixels
    scales = tuple(float(s) for s in looks.get("scales", "1").split(","))
    whole = assemble([load_predictor(tiny_model)], bands=[(0, 1, 2)], looks=Looks(looks.get("tta", False), scales))
    pad = [(0, -length % whole.card.stride) for length in valid.shape]
    seen = np.pad(np.where(valid, np.maximum(image, 1), 0), [(0, 0), *pad])
    want = whole(seen[None], np.pad(valid, pad)[None])[0][:, : valid.shape[0], : valid.shape[1]]
    got = np.asarray(open_probability(open_store(ingested).zarr("probability.zarr"))[:])
    assert np.abs(got[:, valid].astype(int) - want[:, valid].astype(int)).max() <= 1


def test_two_models_answer_together(ingested, engine, tiny_model, tmp_path, pixels):
    import json

    import torch

    from models.card import load_card
    from models.checkpoint import save_model
    from models.predictor import load_predictor
    from models.registry import build
    from tasks.raster.probability import open_probability

    torch.manual_seed(5)
    card = load_card(tiny_model)
    save_model(tmp_path / "other", build("tiny", {}, bands=3, classes=len(card.classes)), card)
    done = engine.predict(ingested, f"{tiny_model},{tmp_path / 'other'}")
    assert str(tiny_model) in done.model
    assert str(tmp_path / "other") in done.model
    image, valid = pixels
    seen = np.where(valid, np.maximum(image, 1), 0)[None]
    means = [load_predictor(folder).probabilities(seen, valid[None])[0] for folder in (tiny_model, tmp_path / "other")]
    got = np.asarray(open_probability(open_store(ingested).zarr("probability.zarr"))[:])
    assert np.abs(got[:, valid] - 254 * np.mean(means, axis=0)[:, valid]).max() <= 1.01
    engine.products(ingested)
    item = json.loads(open_store(ingested).read("products/item.json"))
    checksum = item["assets"]["model"]["file:checksum"]
    assert checksum == "1220" + card.weights_sha256, "one file is named, by its own checksum"


def test_another_temperature_is_another_prediction(ingested, engine, tiny_model, tmp_path):
    """Its weights are the same; what comes of them is not, and no block of the one stays in the other."""
    import shutil

    from models.card import load_card
    from models.checkpoint import save_card

    shutil.copytree(tiny_model, tmp_path / "model")
    engine.predict(ingested, tmp_path / "model")
    before = engine.bits(ingested)
    save_card(tmp_path / "model", load_card(tmp_path / "model").model_copy(update={"temperature": 2.0}))
    assert engine.predict(ingested, tmp_path / "model").tiles_run
    assert engine.bits(ingested) != before


def test_a_scene_unlike_those_learnt_from_is_told_and_mapped(ingested, tiny_model, tmp_path):
    from infra.progress import Silent
    from models.checkpoint import load_model, save_model
    from tasks.params import PredictParams, RunParams

    notes = []

    class Notes(Silent):
        def note(self, text):
            notes.append(text)

    network, card = load_model(tiny_model)
    save_model(tmp_path / "other", network, card.model_copy(update={"dtype": "uint16", "resolution": 2.0}))
    for model in (tiny_model, tmp_path / "other"):
        params = PredictParams(model=(str(model),), plan=True)
        steps.predict(params, ingested, run=RunParams(device="cpu"), progress=Notes())
    assert [note for note in notes if "expect a weak" in note] == [
        "The scene has 0.50 m a pixel and the model was trained at 2.00 m; expect a weaker map.",
        "The scene has pixels of type uint8 and the model learnt from uint16; expect a weak map where their values are "
        "not on one scale.",
    ]
