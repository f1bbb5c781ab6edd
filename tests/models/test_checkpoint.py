"""A model folder is read back as written, whole at every moment, and refused where it is damaged."""

import json
import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from infra.errors import GeoloomError, UnusableInput, UnwritableOutput
from models import checkpoint
from models.card import ModelCard, load_card
from models.checkpoint import load_model, save_card, save_model, write_durably
from models.registry import build


def card_of(**changes):
    fields = {
        "architecture": "unet",
        "arguments": {"width": 4, "depth": 2},
        "bands": ("red", "green", "blue"),
        "mean": (100.0, 110.0, 120.0),
        "std": (20.0, 30.0, 40.0),
        "classes": ("other", "building", "road"),
        "colours": ((0, 0, 0), (255, 0, 0), (90, 90, 90)),
        "resolution": 0.3,
        "stride": 4,
        "tile": 256,
        "margin": 32,
        "ramp": 16,
        "lineage": {"seed": 1, "scenes": ["abc"]},
    }
    return ModelCard(**(fields | changes))


def network_of(seed=0, **changes):
    torch.manual_seed(seed)
    card = card_of(**changes)
    return build(card.architecture, card.arguments, bands=len(card.bands), classes=len(card.classes))


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_what_is_saved_is_loaded(tmp_path):
    network = network_of().to(memory_format=torch.channels_last)
    written = save_model(tmp_path / "m", network, card_of())
    loaded, card = load_model(tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["model.json", "weights.safetensors"]
    assert same(network, loaded)
    assert not loaded.training
    assert card == written == load_card(tmp_path / "m")
    assert card == card_of(weights_sha256=card.weights_sha256)


def test_float16_halves_the_file_and_keeps_eleven_bits(tmp_path):
    network = network_of()
    save_model(tmp_path / "full", network, card_of())
    card = save_model(tmp_path / "half", network, card_of(), float16=True)
    loaded, _ = load_model(tmp_path / "half")
    sizes = [(tmp_path / name / "weights.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.6 * sizes[1]
    assert card.weights_dtype == "float16"
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == network.state_dict()[name].dtype
        torch.testing.assert_close(tensor, network.state_dict()[name], rtol=2**-11, atol=2**-24)


def test_a_replacement_killed_at_any_write_leaves_the_old_model_or_the_new(tmp_path, monkeypatch):
    """Every rename and every fsync is a place to die; the folder loads after each, and a new save cleans up."""
    old, new = network_of(0), network_of(1)
    real_replace, real_fsync = Path.replace, os.fsync
    outcomes = set()
    for deadly in range(20):
        folder = tmp_path / str(deadly)
        save_model(folder, old, card_of())
        calls = 0

        def step(real, *arguments, deadly=deadly):
            nonlocal calls
            calls += 1
            if calls > deadly:
                raise KeyboardInterrupt
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", lambda self, target: step(real_replace, self, target))
            patch.setattr(os, "fsync", lambda descriptor: step(real_fsync, descriptor))
            try:
                save_model(folder, new, card_of(scores={"iou": 0.5}))
                finished = True
            except KeyboardInterrupt:
                finished = False
        loaded, card = load_model(folder)
        assert same(loaded, new if card.scores else old)
        outcomes.add(bool(card.scores))
        save_model(folder, old, card_of())
        assert sorted(p.name for p in folder.iterdir()) == ["model.json", "weights.safetensors"]
        if finished:
            break
    assert finished
    assert outcomes == {False, True}


def test_the_card_alone_is_replaced_for_the_same_weights_only(tmp_path):
    card = save_model(tmp_path, network_of(), card_of())
    save_card(tmp_path, card.model_copy(update={"disagreement": 0.004, "tile": 512}))
    assert load_card(tmp_path).disagreement == 0.004
    with pytest.raises(UnusableInput, match="other weights"):
        save_card(tmp_path, card_of())


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    network = network_of()
    with torch.no_grad():
        network.head.bias[0] = float("nan")
    with pytest.raises(GeoloomError, match=r"head\.bias"):
        save_model(tmp_path / "m", network, card_of())
    with torch.no_grad():
        network.head.bias[0] = 1e5
    with pytest.raises(GeoloomError, match=r"head\.bias"):
        save_model(tmp_path / "m", network, card_of(), float16=True)
    assert not (tmp_path / "m").exists()


def rewrite(folder, tensors):
    """Other weights under a card that names them rightly: what a forger or a mix-up would leave."""
    import hashlib

    content = safetensors.torch.save(tensors)
    (folder / "weights.safetensors").write_bytes(content)
    edit(folder, weights_sha256=hashlib.sha256(content).hexdigest())


def edit(folder, **changes):
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def flip(folder):
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def damage_weights(folder, change):
    tensors = safetensors.torch.load_file(folder / "weights.safetensors")
    change(tensors)
    rewrite(folder, tensors)


def forge_pickle(folder):
    import hashlib

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {folder / 'sentinel'}",)

    content = pickle.dumps(Evil())
    (folder / "weights.safetensors").write_bytes(content)
    edit(folder, weights_sha256=hashlib.sha256(content).hexdigest())


DAMAGES = {
    "no weights": (lambda f: (f / "weights.safetensors").unlink(), "weights.safetensors is missing"),
    "no card": (lambda f: (f / "model.json").unlink(), "is not a model"),
    "truncated": (lambda f: os.truncate(f / "weights.safetensors", 5000), "damaged"),
    "empty": (lambda f: os.truncate(f / "weights.safetensors", 0), "damaged"),
    "one bit": (flip, "damaged"),
    "half a card": (lambda f: os.truncate(f / "model.json", 100), "not JSON"),
    "binary card": (lambda f: (f / "model.json").write_bytes(b"\xff\xfe\x00"), "is not a model"),
    "a list": (lambda f: (f / "model.json").write_text("[]"), "format version None"),
    "next version": (lambda f: edit(f, format_version=2), "format version 2"),
    "unknown field": (lambda f: edit(f, colour="red"), "colour"),
    "unknown architecture": (lambda f: edit(f, architecture="vnet"), "smp-unet"),
    "other architecture": (lambda f: edit(f, architecture="tiny", arguments={}, stride=1), "does not fit tiny"),
    "other width": (lambda f: edit(f, arguments={"width": 8, "depth": 2}), "does not fit unet"),
    "other stride": (lambda f: edit(f, stride=2), "stride 2"),
    "fewer bands": (lambda f: edit(f, bands=["red"]), "as many means"),
    "one class more": (lambda f: edit(f, classes=["a", "b", "c", "d"], colours=[[0, 0, 0]] * 4), "head"),
    "no std": (lambda f: edit(f, std=[1, 0, 1]), "std"),
    "hash of nothing": (lambda f: edit(f, weights_sha256="../../etc/passwd"), "weights_sha256"),
    "no hash": (lambda f: edit(f, weights_sha256=""), "damaged"),
    "pickle": (forge_pickle, "not a safetensors file"),
    "a NaN": (lambda f: damage_weights(f, lambda t: t["head.bias"].fill_(float("nan"))), "NaN"),
    "an infinity": (lambda f: damage_weights(f, lambda t: t["head.weight"].fill_(float("inf"))), "infinite"),
    "tensor missing": (lambda f: damage_weights(f, lambda t: t.pop("head.bias")), r"head\.bias is missing"),
    "tensor more": (lambda f: damage_weights(f, lambda t: t.update(extra=torch.ones(1))), "extra"),
    "integers": (lambda f: damage_weights(f, lambda t: t.update({"head.bias": t["head.bias"].int()})), "int32"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_refused_in_one_sentence(tmp_path, damage):
    save_model(tmp_path, network_of(), card_of())
    breaks, says = DAMAGES[damage]
    breaks(tmp_path)
    with pytest.raises(UnusableInput, match=says) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "sentinel").exists()


def test_listing_notices_damage_without_torch(tmp_path):
    save_model(tmp_path, network_of(), card_of())
    flip(tmp_path)
    with pytest.raises(UnusableInput, match="damaged"):
        load_card(tmp_path)


def test_a_card_is_read_without_torch():
    import subprocess
    import sys

    code = "import sys, models.card; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(checkpoint.__file__).parents[1]).returncode
        == 0
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tile": 250}, "stride"),
        ({"margin": 120}, "leaves nothing"),
        ({"classes": ("other", "road", "road")}, "repeat"),
        ({"mean": (float("nan"), 0.0, 0.0)}, "finite"),
        ({"disagreement": 1.5}, "disagreement"),
        ({"colours": ((0, 0, 256),) * 3}, "colours"),
    ],
)
def test_a_card_checks_itself(changes, says):
    with pytest.raises(ValueError, match=says):
        card_of(**changes)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableOutput, match="file"):
        write_durably(tmp_path / "file" / "x", b"")
