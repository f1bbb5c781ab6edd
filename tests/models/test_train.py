"""The loop learns, resumes to the bit, stops in time, and stops at once where the loss is no number."""

import json
import math
import time
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from infra.errors import UnusableInput
from models.balance import class_weights
from models.card import ModelCard
from models.checkpoint import save_model
from models.chips import Chips
from models.curves import draw_curves
from models.history import Check, History, Step
from models.recipe import LossRecipe, TrainSettings
from models.registry import build
from models.train import train

CARD = ModelCard(
    architecture="unet", arguments={"width": 4, "depth": 2}, bands=("r", "g"), mean=(100, 100), std=(40, 40),
    classes=("other", "bright", "never"), colours=((0, 0, 0), (255, 255, 0), (0, 0, 255)),
    stride=4, tile=32, margin=4, ramp=4,
)  # fmt: skip


ALL = np.ones((4, 3), bool)
"""Labels that tell every class."""


class Bar:
    """Counts what it is told."""

    def __init__(self):
        self.steps, self.texts = 0, []

    def advance(self, amount=1.0):
        self.steps += amount

    def say(self, text):
        self.texts.append(text)


def draw(step, side=32):
    """Bright patches of one band on dark ground; a strip has no data, and one row is unlabelled."""
    random = np.random.default_rng([7, step])
    labels = np.kron(random.integers(0, 2, (4, 4, 4)), np.ones((1, side // 4, side // 4))).astype(np.uint8)
    images = random.integers(40, 100, (4, 2, side, side)).astype(np.uint16)
    images[:, 0] += labels * 60
    valid = np.ones(labels.shape, bool)
    valid[:, :, :3] = False
    images.transpose(0, 2, 3, 1)[~valid] = 65535
    labels[:, -1] = 255
    return Chips(images, labels, valid, ALL)


def network_of(seed=0):
    torch.manual_seed(seed)
    return build(CARD.architecture, CARD.arguments, bands=2, classes=3)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Killed(BaseException):
    """What ends a training in the midst of it."""


def run(folder, *, network=None, batches=draw, validate=(), resume=False, bar=None, about=None, threads=1, **settings):
    lessons, tell = about or ({}, lambda _: None)
    chosen = TrainSettings(**{"chip": 32} | settings)
    return train(
        network or network_of(), CARD, draw=batches, validate=validate, settings=chosen, folder=folder,
        progress=bar or Bar(), resume=resume, lessons=lessons, tell=tell, threads=threads,
    )  # fmt: skip


@pytest.mark.parametrize("precision", ["float32", "bf16-mixed"])
def test_it_learns_what_there_is_to_learn(tmp_path, precision):
    bar = Bar()
    weights = tuple(class_weights([int((draw(0).labels == c).sum()) for c in range(3)]).tolist())
    result = run(
        tmp_path, steps=60, learning_rate=1e-2, average=0.9, class_weights=weights, validate=[draw(1000), draw(1001)],
        validate_every=25, precision=precision, bar=bar,
    )  # fmt: skip
    checks = result.history.checks
    assert [row.step for row in checks] == [25, 50, 60]
    assert checks[-1].mean_iou > 0.9
    assert checks[-1].iou[2] is None
    assert (result.steps, bar.steps, len(result.history.steps)) == (60, 60, 60)
    assert len(bar.texts) == 3
    assert not result.network.training
    assert History.from_json((tmp_path / "history.json").read_text()) == result.history
    rates = [row.learning_rate for row in result.history.steps]
    assert max(rates) == pytest.approx(1e-2, rel=0.02)
    assert rates[-1] < 1e-4


def tensors(result):
    return result.network.state_dict()


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a) and a.keys() == b.keys()


def test_a_resumed_training_ends_in_the_same_bits(tmp_path):
    """Killed at step 7 with the last state at step 5: the rest is as if nothing had happened, moments and views too."""
    settings = {
        "steps": 12,
        "save_every": 5,
        "validate_every": 4,
        "validate": [draw(1000)],
        "class_weights": (0.5, 1.5, 0.0),
    }
    whole = run(tmp_path / "whole", **settings)

    def deadly(step):
        if step == 7:
            raise Killed
        return draw(step)

    with pytest.raises(Killed):
        run(tmp_path / "part", batches=deadly, **settings)
    asked = []

    def counting(step):
        asked.append(step)
        return draw(step)

    bar = Bar()
    resumed = run(tmp_path / "part", network=network_of(seed=5), batches=counting, resume=True, bar=bar, **settings)
    assert asked == list(range(5, 12))
    assert same(tensors(resumed), tensors(whole))
    assert bar.steps == 12
    assert [(r.step, r.loss) for r in resumed.history.steps] == [(r.step, r.loss) for r in whole.history.steps]
    assert resumed.history.checks == whole.history.checks
    states = [safetensors.torch.load_file(tmp_path / name / "training.safetensors") for name in ("whole", "part")]
    for state in states:
        del state["history"]  # it knows how long it took
    assert same(*states)
    assert any(name.startswith("optimizer.") for name in states[0])
    # Resuming what is finished changes nothing and draws nothing.
    again = run(tmp_path / "part", network=network_of(seed=6), batches=counting, resume=True, **settings)
    assert same(tensors(again), tensors(whole))
    assert len(asked) == 7


def test_a_new_training_that_is_killed_at_once_does_not_resume_an_older_one(tmp_path):
    """Of the same folder and settings, but for what it began with."""
    run(tmp_path, steps=4)

    def deadly(step):
        raise Killed

    with pytest.raises(Killed):
        run(tmp_path, network=network_of(seed=5), batches=deadly, steps=4)
    with pytest.raises(UnusableInput, match="holds no interrupted training"):
        run(tmp_path, steps=4, resume=True)


def corrected(step):
    """What was bright is of another class now."""
    chips = draw(step)
    return replace(chips, labels=np.where(chips.labels == 1, 2, chips.labels))


OLD, NEW = {"scenes": "s", "labels": "a"}, {"scenes": "s", "labels": "b"}


@pytest.mark.parametrize("threads", [2, 5, 40])
def test_as_many_threads_draw_as_may_and_batches_keep_their_order(tmp_path, threads):
    """Those that come first take longest; none is drawn more than `threads` ahead."""
    drawn, done, furthest = [], Bar(), []

    def slow(step):
        drawn.append(step)
        furthest.append(step - done.steps)
        time.sleep(0.02 if step % 3 == 0 else 0)
        return draw(step)

    alone = run(tmp_path / "a", steps=12)
    many = run(tmp_path / "b", steps=12, batches=slow, threads=threads, bar=done)
    assert [step.loss for step in many.history.steps] == [step.loss for step in alone.history.steps]
    assert sorted(drawn) == list(range(12))
    assert max(furthest) <= threads
    assert threads == 40 or max(furthest) > 1


def test_changed_labels_are_learnt_from_the_saved_weights(tmp_path):
    """Just what a training makes of a network that begins with those weights, and nothing of moments or schedule."""
    first = run(tmp_path / "model", steps=20, learning_rate=1e-2, about=(OLD, print))
    written = save_model(tmp_path / "model", first.network, CARD)
    network, notes = network_of(seed=5), []
    network.load_state_dict(tensors(first))
    expected = run(tmp_path / "other", network=network, batches=corrected, steps=30)
    tuned = run(tmp_path / "model", batches=corrected, steps=30, resume=True, about=(NEW, notes.append))
    assert notes == [f"The labels have changed since: fine-tuning the model of {tmp_path / 'model'} for 30 steps"]
    assert same(tensors(tuned), tensors(expected))
    assert [(r.step, r.loss) for r in tuned.history.steps] == [(r.step, r.loss) for r in expected.history.steps]
    assert tuned.history.steps[-1].loss < 0.9 * tuned.history.steps[0].loss
    assert (first.origin, tuned.origin, expected.origin) == ("", written.weights_sha256, "")


def test_an_interrupted_fine_tuning_ends_in_the_same_bits(tmp_path):
    """Killed before its first state it begins again; killed after it, it goes on; and it still knows its origin."""
    for name in ("whole", "part"):
        run(tmp_path / name, steps=4, about=(OLD, print))
    settings = {"steps": 12, "save_every": 5, "learning_rate": 3e-3, "resume": True}
    whole = run(tmp_path / "whole", batches=corrected, about=(NEW, print), **settings)
    notes, asked = [], []

    def deadly(step):
        asked.append(step)
        if len(asked) in (3, 12):
            raise Killed
        return corrected(step)

    for _ in range(2):
        with pytest.raises(Killed):
            run(tmp_path / "part", batches=deadly, about=(NEW, notes.append), **settings)
    assert len(notes) == 2
    part = run(tmp_path / "part", network=network_of(seed=6), batches=deadly, about=(NEW, notes.append), **settings)
    assert asked == [0, 1, 2, *range(9), *range(5, 12)]
    assert len(notes) == 2
    assert same(tensors(part), tensors(whole))
    assert part.origin == whole.origin != ""
    with pytest.raises(UnusableInput, match="steps 12, not 20"):
        run(tmp_path / "part", batches=corrected, about=(NEW, print), **settings | {"steps": 20})


def test_a_training_interrupted_before_the_labels_changed_does_not_go_on_silently(tmp_path):
    def deadly(step):
        if step == 7:
            raise Killed
        return draw(step)

    with pytest.raises(Killed):
        run(tmp_path, batches=deadly, steps=12, save_every=5, about=(OLD, print))
    notes = []
    result = run(tmp_path, batches=corrected, steps=12, resume=True, about=(NEW | {"scenes": "t"}, notes.append))
    assert notes[0].startswith("The scenes and labels have changed since: ")
    assert [row.step for row in result.history.steps] == list(range(1, 13))


def test_dropout_is_a_function_of_the_step_too(tmp_path):
    def network_with_dropout():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Conv2d(2, 8, 3, padding=1), torch.nn.Dropout(0.5), torch.nn.Conv2d(8, 3, 1))

    results = []
    for noise in (1, 2):
        network = network_with_dropout()
        torch.manual_seed(noise)
        results.append(run(tmp_path / str(noise), network=network, steps=3))
    assert same(tensors(results[0]), tensors(results[1]))
    other = run(tmp_path / "other", network=network_with_dropout(), steps=3, seed=1)
    assert not same(tensors(results[0]), tensors(other))


def test_without_averaging_the_last_weights_are_kept(tmp_path):
    network = network_of()
    result = run(tmp_path, network=network, steps=3, average=0.0)
    assert same(tensors(result), network.state_dict())
    averaged = run(tmp_path / "averaged", steps=3, average=0.9)
    assert not same(tensors(averaged), tensors(result))


def test_a_loss_that_is_no_number_ends_it_and_keeps_the_last_state(tmp_path):
    network = network_of()

    def poison(step):
        if step == 5:  # drawn while step 4 is learnt from: the weights break between two steps
            with torch.no_grad():
                network.head.bias.fill_(float("nan"))
        return draw(step)

    with pytest.raises(UnusableInput, match=r"At step [45] the loss is nan"):
        run(tmp_path, network=network, batches=poison, steps=20, save_every=2)
    state = safetensors.torch.load_file(tmp_path / "training.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    resumed = run(tmp_path, steps=20, save_every=2, resume=True, learning_rate=1e-4)
    assert resumed.steps == 20
    assert math.isfinite(resumed.history.steps[-1].loss)
    rates = [row.learning_rate for row in resumed.history.steps]
    assert rates[3] > 5e-4  # before it, as it was
    assert max(rates[4:]) < 1e-4


def test_batches_without_a_label_are_survived(tmp_path):
    def blank(step):
        chips = draw(step)
        valid = chips.valid if step else np.zeros_like(chips.valid)
        return replace(chips, labels=np.full_like(chips.labels, 255), valid=valid)

    result = run(tmp_path, batches=blank, steps=3, validate=[blank(0)], class_weights=(1.0, 1.0, 1.0))
    assert [row.loss for row in result.history.steps] == [0, 0, 0]
    assert result.history.checks[-1].mean_iou is None
    json.loads((tmp_path / "history.json").read_text())


def test_the_clock_ends_it_and_lowers_the_rate(tmp_path):
    def slow(step):
        time.sleep(0.02)
        return draw(step)

    began = time.monotonic()
    result = run(tmp_path, batches=slow, steps=100_000, minutes=1.5 / 60, validate=[draw(1)])
    assert 1.4 < time.monotonic() - began < 30
    assert 2 < result.steps < 1000
    assert result.history.steps[-1].learning_rate < 0.2e-3
    assert result.history.checks
    again = run(tmp_path, batches=slow, steps=100_000, minutes=1.5 / 60, validate=[draw(1)], resume=True)
    assert again.steps == result.steps


def test_what_draw_raises_comes_through(tmp_path):
    def broken(step):
        raise UnusableInput("The scene is gone.")

    with pytest.raises(UnusableInput, match="gone"):
        run(tmp_path, batches=broken, steps=2)


def test_only_the_same_training_is_resumed(tmp_path):
    with pytest.raises(UnusableInput, match="no interrupted training"):
        run(tmp_path, steps=4, resume=True)
    run(tmp_path, steps=4)
    with pytest.raises(UnusableInput, match=r"learning_rate 0\.001, not 0\.01"):
        run(tmp_path, steps=4, learning_rate=0.01, resume=True)
    with pytest.raises(UnusableInput, match="another network"):
        run(tmp_path, network=build("tiny", {}, bands=2, classes=3), steps=4, resume=True)
    path = tmp_path / "training.safetensors"
    content = bytearray(path.read_bytes())
    content[-50] ^= 1
    path.write_bytes(content)
    with pytest.raises(UnusableInput, match="damaged"):
        run(tmp_path, steps=4, resume=True)
    path.write_bytes(content[:1000])
    with pytest.raises(UnusableInput, match="damaged"):
        run(tmp_path, steps=4, resume=True)


def test_the_best_weights_are_kept(tmp_path):
    """From step 20 on the labels say the contrary: what was learnt before is kept, and what came last is not."""

    def turning(step):
        return (
            draw(step)
            if step < 20
            else replace(draw(step), labels=np.where(draw(step).labels == 1, 0, 1).astype(np.uint8))
        )

    settings = {"steps": 40, "learning_rate": 1e-2, "average": 0.5, "validate_every": 10, "batches": turning,
                "validate": [draw(1000)], "schedule": "constant", "warmup": 0.0}  # fmt: skip
    best = run(tmp_path / "best", **settings)
    checks = best.history.checks
    assert best.history.best in checks[1:3]
    assert checks[-1].mean_iou < 0.5 < best.history.best.mean_iou
    until = run(tmp_path / "until", **settings | {"steps": best.history.best.step})
    assert same(tensors(best), tensors(until))
    last = run(tmp_path / "last", **settings, keep="last")
    assert not same(tensors(last), tensors(best))
    # Killed after the best, resumed: it is still the best.
    dying = [False]

    def deadly(step):
        if step == 35 and not dying[0]:
            dying[0] = True
            raise Killed
        return turning(step)

    with pytest.raises(Killed):
        run(tmp_path / "part", **settings | {"batches": deadly}, save_every=5)
    resumed = run(tmp_path / "part", **settings | {"batches": deadly}, save_every=5, resume=True)
    assert same(tensors(resumed), tensors(run(tmp_path / "whole", **settings, save_every=5)))


def test_it_ends_early_where_nothing_gets_better(tmp_path):
    """And stays ended: nothing is drawn when it is resumed."""
    settings = {"steps": 1000, "learning_rate": 1e-9, "average": 0.0, "validate_every": 2, "patience": 3,
                "validate": [draw(1000)], "save_every": 1000}  # fmt: skip
    result = run(tmp_path, **settings)
    assert result.steps == result.history.best.step + 2 * 3 < 20  # the normalisation still learns at first
    again = run(tmp_path, **settings, batches=lambda step: 1 / 0, resume=True)
    assert again.steps == result.steps


def test_a_class_without_truth_has_no_score(tmp_path):
    """Not even where a pixel is called it."""
    network = network_of()
    with torch.no_grad():
        [*network.parameters()][-1][2] += 1.0
    check = run(tmp_path, network=network, steps=1, average=0.0, validate=[draw(1000)]).history.checks[-1]
    assert check.iou[2] is None
    assert check.mean_iou == pytest.approx(np.mean(check.iou[:2]))
    assert check.mean_iou < 0.5


def test_a_batch_in_parts_gives_the_gradient_of_the_whole(tmp_path):
    """Without normalisation over the batch, and by a loss that is a mean: the very same weights, but for rounding.

    Whichever parts hold the heavy classes, and what is not labelled.
    """
    network = torch.nn.Conv2d(2, 3, 3, padding=1)
    found = []
    for parts in (1, 2, 4):
        torch.manual_seed(0)
        network.reset_parameters()
        full = {"loss": LossRecipe(dice=0, focal=1), "augment": None, "steps": 3, "learning_rate": 1e-2, "average": 0.0}

        def uneven(step):
            chips = draw(step)
            labels = chips.labels.copy()
            labels[0, 1:] = 255
            return replace(chips, labels=labels)

        more = {"accumulate": parts, "class_weights": (0.1, 1.0, 5.0)}
        result = run(tmp_path / str(parts), network=network, batches=uneven, **more, **full)
        found.append([t.clone() for t in result.network.state_dict().values()])
    for other in found[1:]:
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found[0], other, strict=True))


def test_labels_that_are_not_sure_teach_less(tmp_path):
    """Half of the samples have wrong labels: they are learnt, unless they are said to be worth nothing."""

    def half_wrong(step, worth):
        chips = draw(step)
        wrong = np.where(np.arange(4)[:, None, None] < 2, chips.labels, 1 - np.minimum(chips.labels, 1))
        sure = np.ones(chips.labels.shape, np.float32)
        sure[2:] = worth
        return replace(chips, labels=np.where(chips.labels == 255, 255, wrong).astype(np.uint8), sure=sure)

    scores = []
    for worth in (0.0, 1.0):
        result = run(
            tmp_path / str(worth), batches=lambda step, worth=worth: half_wrong(step, worth), steps=40,
            learning_rate=1e-2, average=0.5, validate=[draw(1000)], validate_every=40,
        )  # fmt: skip
        scores.append(result.history.checks[-1].mean_iou)
    assert scores[0] > 0.8 > scores[1] + 0.4


def test_classes_that_a_data_set_does_not_label_are_learnt_from_another(tmp_path):
    """One data set calls class 2 `other`, another knows it: as background, half of the samples would unlearn it."""

    def mixed(step):
        chips = corrected(step)  # the bright is class 2
        told = ALL.copy()
        told[:2, 2] = False
        labels = chips.labels.copy()
        labels[:2][labels[:2] == 2] = 0
        return replace(chips, labels=labels, told=told)

    whole = run(
        tmp_path,
        batches=mixed,
        steps=60,
        learning_rate=1e-2,
        average=0.9,
        validate=[corrected(1000)],
        validate_every=60,
    )
    assert whole.history.checks[-1].iou[2] > 0.85
    blind = replace(
        mixed(1000), labels=np.where(mixed(1000).labels == 2, 0, mixed(1000).labels), told=ALL & [True, True, False]
    )
    network = network_of()
    network.load_state_dict(tensors(whole))
    seen = run(tmp_path / "seen", network=network, batches=mixed, steps=1, learning_rate=1e-9, validate=[blind])
    assert seen.history.checks[-1].iou[0] > 0.98


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle", "constant"])
def test_schedules(schedule):
    settings = TrainSettings(steps=1000, learning_rate=2.0, schedule=schedule)
    rates = np.array([settings.rate(done) for done in np.arange(1000) / 1000])
    top = rates.argmax()
    assert rates.max() == pytest.approx(2.0, rel=1e-3)
    assert 0 < rates[0] < 0.1
    assert (np.diff(rates[: top + 1]) > 0).all()
    assert (np.diff(rates[top:]) <= 0).all()
    assert rates[-1] == pytest.approx(2.0 if schedule == "constant" else 0.0, abs=1e-3)
    assert top == {"cosine": 50, "one-cycle": 300, "constant": 50}[schedule]


def test_the_encoder_can_learn_slower(tmp_path):
    torch.manual_seed(0)
    network = build("smp-unet", {"encoder": "resnet18", "decoder_channels": [16, 8, 8, 8, 8]}, bands=2, classes=3)
    before = {name: p.clone() for name, p in network.named_parameters()}
    run(tmp_path, network=network, steps=2, encoder_rate=1e-6, weight_decay=0.0)
    moved = {name: (p - before[name]).abs().max().item() for name, p in network.named_parameters()}
    assert max(v for k, v in moved.items() if k.startswith("encoder.")) < 1e-6
    assert max(v for k, v in moved.items() if k.startswith("decoder.")) > 1e-5


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"learning_rate": 0.0},
        {"average": 1.0},
        {"minutes": 0.0},
        {"warmup": -0.1},
        {"weight_decay": -1.0},
    ],
)
def test_settings_check_themselves(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainSettings(**({"steps": 10} | wrong))


def test_chips_check_themselves():
    chips = draw(0)
    with pytest.raises(ValueError, match="expected"):
        replace(chips, labels=chips.labels[:, 1:])
    with pytest.raises(ValueError, match="uint8"):
        replace(chips, labels=chips.labels.astype(np.int64))
    with pytest.raises(ValueError, match="sure is float64"):
        replace(chips, sure=np.ones(chips.labels.shape))


def test_chips_are_joined_and_parted():
    one, two = draw(0), replace(draw(1), sure=np.full((4, 32, 32), 0.5, np.float32))
    both = Chips.join([one, two])
    assert len(both) == 8
    assert both.sure[:4].min() == 1
    assert both.sure[4:].max() == 0.5
    again = both.part(slice(4, 8))
    for name in ("images", "labels", "valid", "told", "sure"):
        np.testing.assert_array_equal(getattr(again, name), getattr(two, name))
    assert Chips.join([one, one]).sure is None


@pytest.mark.parametrize("checks", [True, False])
def test_curves_are_a_picture(tmp_path, checks):
    random = np.random.default_rng(0)
    history = History(
        steps=[Step(i, float(2 * np.exp(-i / 80) + 0.3 + 0.2 * random.random()), 1e-3, i) for i in range(1, 301)],
        checks=[Check(i, 2 * math.exp(-i / 80) + 0.5, 0.6, (0.5, None, i / 400)) for i in range(50, 301, 50)]
        if checks
        else [],
    )
    draw_curves(history, tmp_path / "curves.png", classes=CARD.classes, colours=CARD.colours)
    from PIL import Image

    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (1800, 720)
        colours = {tuple(c) for c in np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)}
    assert ((0, 0, 255) in colours) is checks  # the line of class "never", in its map colour
    assert (59, 91, 219) in colours  # the running mean of the loss


class OnlyInTraining(torch.nn.Conv2d):
    """Gives no numbers when it is asked as a finished network."""

    def forward(self, image):
        return super().forward(image) * (1 if self.training else math.nan)


def test_a_validation_without_numbers_ends_it_and_keeps_the_last_state(tmp_path):
    with pytest.raises(
        UnusableInput, match=r"At step 2 the validation loss is nan: check .* resume from the last good state"
    ):
        run(
            tmp_path, network=OnlyInTraining(2, 3, 1), steps=4, save_every=1, validate=[draw(1)], validate_every=2,
            augment=None,
        )  # fmt: skip
    assert json.loads((tmp_path / "history.json").read_text())["steps"][-1]["step"] == 1
