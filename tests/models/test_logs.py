"""Logs say what the history says, each step once, whatever kills the training; and they never stop one."""

import json
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from infra.errors import UnusableInput, UnwritableOutput
from models.card import ModelCard
from models.chips import Chips
from models.curves import draw_curves
from models.history import History
from models.logs import EVERY, LOGS, open_logs, require_logs
from models.ranks import Rank
from models.recipe import TrainSettings
from models.registry import build
from models.train import train

CARD = ModelCard(
    architecture="tiny", bands=("r", "g"), mean=(100, 100), std=(40, 40), classes=("other", "bright (very)", "never"),
    colours=((0, 0, 0), (255, 255, 0), (0, 0, 255)), stride=1, tile=32, margin=4, ramp=4,
)  # fmt: skip
RECIPE = {"steps": 45, "loss": {"dice": 1.0}, "patience": None}


class Killed(BaseException):
    """What ends a training in the midst of it."""


class Bar:
    def advance(self, amount=1.0):
        pass

    def say(self, text):
        pass


def draw(step):
    random = np.random.default_rng([7, step])
    labels = np.kron(random.integers(0, 2, (4, 4, 4)), np.ones((1, 8, 8))).astype(np.uint8)
    images = random.integers(40, 100, (4, 2, 32, 32)).astype(np.uint16)
    images[:, 0] += labels * 60
    return Chips(images, labels, np.ones(labels.shape, bool), np.ones((4, 3), bool))


def dies_at(last):
    def deadly(step):
        if step == last:
            raise Killed
        return draw(step)

    return deadly


def run(folder, *names, batches=draw, resume=False, told=None, rank=None, **settings):
    """A training with logs as the step runs it; gives its history."""
    torch.manual_seed(0)
    chosen = TrainSettings(**{"steps": 45, "chip": 32, "save_every": 20, "validate_every": 15, **settings})
    tell = (told if told is not None else []).append
    with open_logs(names, folder, recipe=RECIPE, classes=CARD.classes, tell=tell) as logs:
        done = train(
            build("tiny", {}, bands=2, classes=3), CARD, draw=batches, validate=[draw(1000)], settings=chosen,
            folder=folder, progress=Bar(), resume=resume, rank=rank or Rank(), logs=logs,
        )  # fmt: skip
        draw_curves(done.history, folder / "curves.png", classes=CARD.classes, colours=CARD.colours)
        last = done.history.checks[-1]
        scores = {"mean_iou": last.mean_iou, "iou": dict(zip(CARD.classes, last.iou, strict=True))}
        logs.finish(scores, folder / "curves.png", step=done.steps)
    return History.from_json((folder / "history.json").read_text())


def expected(history):
    """What a log holds: name to its (step, value), in order."""
    steps = [row for row in history.steps if row.step == 1 or row.step % EVERY == 0]
    curves = {name: [(r.step, getattr(r, name)) for r in steps] for name in ("loss", "learning_rate", "gradient_norm")}
    checks, last = history.checks, history.checks[-1]
    curves["validation/loss"] = [(r.step, r.loss) for r in checks]
    curves["validation/mean_iou"] = [(r.step, r.mean_iou) for r in checks]
    curves["final/mean_iou"] = [(last.step, last.mean_iou)]
    for number, name in enumerate(CARD.classes):
        curves[f"validation/iou/{name}"] = [(r.step, r.iou[number]) for r in checks if r.iou[number] is not None]
        if last.iou[number] is not None:
            curves[f"final/iou/{name}"] = [(last.step, last.iou[number])]
    return {name: rows for name, rows in curves.items() if rows}


def events(folder):
    """As TensorBoard itself reads them."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    read = accumulator.EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    return read.Reload()


def scalars(folder):
    read = events(folder)
    return {tag: [(row.step, row.value) for row in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def runs(folder):
    """The active runs of a folder, by MLflow's own client, and one's metrics by name."""
    mlflow = pytest.importorskip("mlflow")
    client = mlflow.MlflowClient(tracking_uri=(folder / "mlruns").as_uri())
    found = client.search_runs([client.get_experiment_by_name("geoloom").experiment_id])
    noted = client.get_run((folder / "mlflow_run").read_text())
    metrics = {
        key: [(row.step, row.value) for row in client.get_metric_history(noted.info.run_id, key)]
        for key in noted.data.metrics
    }
    return found, noted, metrics, client


def close_to(curves):
    return {name: [(step, pytest.approx(value, rel=1e-6)) for step, value in rows] for name, rows in curves.items()}


def for_mlflow(curves):
    return {name.replace("(", "_").replace(")", "_"): rows for name, rows in curves.items()}


def test_tensorboard_reads_what_the_history_says(tmp_path):
    pytest.importorskip("tensorboard")
    history = run(tmp_path, "tensorboard")
    assert [step for step, _ in expected(history)["loss"]] == [1, 10, 20, 30, 40]
    assert scalars(tmp_path) == close_to(expected(history))
    read = events(tmp_path)
    assert read.Images("curves")[0].encoded_image_string == (tmp_path / "curves.png").read_bytes()
    times = [row.wall_time for row in read.Scalars("loss")]
    assert times == sorted(times)
    options = read.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"loss.dice" in options
    assert b"patience" not in options


def test_a_resumed_training_goes_on_in_the_same_tensorboard(tmp_path):
    """Killed after step 35, with the last state at step 20: steps 21 to 35 are learnt again and stand there once."""
    pytest.importorskip("tensorboard")
    with pytest.raises(Killed):
        run(tmp_path, "tensorboard", batches=dies_at(35))
    assert [step for step, _ in scalars(tmp_path)["loss"]] == [1, 10, 20, 30]
    history = run(tmp_path, "tensorboard", resume=True)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    assert scalars(tmp_path) == close_to(expected(history))
    run(tmp_path, "tensorboard", resume=True)  # it is at its end already
    assert scalars(tmp_path) == close_to(expected(history))
    other = run(tmp_path, "tensorboard", seed=5)  # and a new one takes the place of the old
    assert other.steps != history.steps
    assert scalars(tmp_path) == close_to(expected(other))


def test_a_log_that_is_asked_for_later_is_told_what_went_before(tmp_path):
    pytest.importorskip("tensorboard")
    with pytest.raises(Killed):
        run(tmp_path, batches=dies_at(35))
    assert not (tmp_path / "tensorboard").exists()
    history = run(tmp_path, "tensorboard", resume=True)
    assert scalars(tmp_path) == close_to(expected(history))


def test_a_resumed_training_goes_on_in_the_same_mlflow_run(tmp_path):
    pytest.importorskip("mlflow")
    with pytest.raises(Killed):
        run(tmp_path, "mlflow", batches=dies_at(35))
    _, noted, metrics, _ = runs(tmp_path)
    assert noted.info.status == "FAILED"
    assert [step for step, _ in metrics["loss"]] == [1, 10, 20]  # no more than the state holds
    history = run(tmp_path, "mlflow", resume=True, learning_rate=5e-4)
    found, again, metrics, client = runs(tmp_path)
    assert (len(found), again.info.run_id, again.info.status) == (1, noted.info.run_id, "FINISHED")
    assert metrics == close_to(for_mlflow(expected(history)))
    assert again.data.params == {"steps": "45", "loss.dice": "1.0"}
    assert [entry.path for entry in client.list_artifacts(noted.info.run_id)] == ["curves.png"]
    run(tmp_path, "mlflow", resume=True, learning_rate=5e-4)
    assert runs(tmp_path)[2] == metrics
    other = run(tmp_path, "mlflow", seed=5)
    found, noted, metrics, _ = runs(tmp_path)
    assert len(found) == 2
    assert metrics == close_to(for_mlflow(expected(other)))


def test_mlflow_goes_where_its_own_environment_says(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "elsewhere").as_uri())
    run(tmp_path / "m", "mlflow")
    assert not (tmp_path / "m" / "mlruns").exists()
    client = mlflow.MlflowClient()
    assert client.get_run((tmp_path / "m" / "mlflow_run").read_text()).info.status == "FINISHED"


@contextmanager
def no_file_longer_than(size):
    """What a full disk looks like: from here on a write beyond so many bytes fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_costs_the_log_and_not_the_training(tmp_path):
    """Full from step 12 to step 18: told once; what was there can be read; resuming completes it."""
    pytest.importorskip("tensorboard")
    told, full = [], []

    def filling(step):  # is called one step ahead
        if step == 8:
            full.append(no_file_longer_than(16))
            full[0].__enter__()
        if step == 18:
            full.pop().__exit__(None, None, None)
        return draw(step)

    history = run(tmp_path, "tensorboard", batches=filling, told=told)
    assert len(history.steps) == 45
    (sentence,) = told
    assert sentence.startswith("The log of tensorboard cannot be written any more ([Errno 27] File too large)")
    assert scalars(tmp_path)["loss"] == close_to(expected(history) | {"loss": expected(history)["loss"][:1]})["loss"]
    history = run(tmp_path, "tensorboard", resume=True, told=told)
    assert len(told) == 1
    assert scalars(tmp_path) == close_to(expected(history))


def test_a_log_that_cannot_be_opened_is_refused_before_the_first_step(tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("a file where a folder should be")
    with pytest.raises(UnwritableOutput, match=r"The log of tensorboard cannot be opened \(.*without --logs"):
        run(tmp_path, "tensorboard", batches=lambda step: 1 / 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tensorboard"]


def test_what_is_unknown_or_not_installed_is_refused():
    with pytest.raises(UnusableInput, match="There is no log 'wandb'; give --logs tensorboard or mlflow"):
        require_logs(["wandb"])
    from importlib.util import find_spec

    missing = [name for name in LOGS if find_spec(name) is None]
    if not missing:
        pytest.skip("both are installed")
    with pytest.raises(UnusableInput, match=rf"run pip install 'geoloom\[{missing[0]}\]'"):
        require_logs(missing)


def test_without_logs_neither_library_is_loaded(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_logs; from pathlib import Path; import tasks.train\n"
        f"test_logs.run(Path({str(tmp_path)!r}), steps=2)\n"
        "import json; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert "torch" in loaded
    assert not {"tensorboard", "mlflow"} & set(loaded)
