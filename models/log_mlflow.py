"""A training's log as an MLflow run: where MLflow's environment says, else in the folder `mlruns` beside the model."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.checkpoint import write_durably

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from models.logs import Point

FOLDER = "mlruns"
RUN_NAME = "mlflow_run"
"""The file with the run's id, beside the training's state."""
EXPERIMENT = "geoloom"
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its 7, each after a longer pause, would hold a training for minutes
    "MLFLOW_ALLOW_FILE_STORE": "true",  # MLflow 3 refuses folders otherwise, and a database is much for one training
}
"""What MLflow reads in its environment, where the user says nothing else."""
_METRICS, _PARAMETERS = 1000, 100  # that a server takes in one request
_LONGEST = 500  # characters of a parameter that every version takes


class MLflow:
    """A run, which never forgets: it is told of steps only when a state holds them, and of none twice."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._run = folder, ""
        self._began = time.time()
        self._client: MlflowClient | None = None
        self._waiting: list[Point] = []
        self._known: set[tuple[str, int]] = set()

    def begin(self, recipe: Mapping[str, str], past: Sequence[Point], *, seconds: float, resumed: bool) -> None:
        """Go on with the run of a training that is resumed, or start one."""
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        import mlflow

        self._began = time.time() - seconds
        where = None if mlflow.is_tracking_uri_set() else (self._folder / FOLDER).absolute().as_uri()
        self._client = mlflow.MlflowClient(tracking_uri=where)
        if not (resumed and self._reopened(self._client)):
            self._run = self._started(self._client, recipe)
        self.write(past)
        self.keep()

    def write(self, points: Sequence[Point]) -> None:
        """Remember what is to be sent."""
        self._waiting += points

    def keep(self) -> None:
        """Send it."""
        from mlflow.entities import Metric

        assert self._client is not None
        rows = [Metric(_key(p.name), p.value, int(1000 * (self._began + p.seconds)), p.step) for p in self._waiting]
        rows = [row for row in rows if (row.key, row.step) not in self._known]
        for first in range(0, len(rows), _METRICS):
            some = rows[first : first + _METRICS]
            self._client.log_batch(self._run, metrics=some)
            self._known |= {(row.key, row.step) for row in some}
        self._waiting.clear()

    def finish(self, curves: Path) -> None:
        """The curves as an artifact."""
        self.keep()
        assert self._client is not None
        self._client.log_artifact(self._run, str(curves))

    def close(self, *, failed: bool) -> None:
        """End the run; steps that no state holds are not told of."""
        if self._client is not None and self._run:
            self._client.set_terminated(self._run, "FAILED" if failed else "FINISHED")

    def _reopened(self, client: MlflowClient) -> bool:
        """Whether the run that is noted beside the state is there to go on with."""
        from mlflow.exceptions import MlflowException

        noted = self._folder / RUN_NAME
        if not noted.is_file():
            return False
        try:
            run = client.get_run(noted.read_text(encoding="utf-8").strip())
        except MlflowException as error:
            if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                return False
            raise
        if run.info.lifecycle_stage != "active":
            return False
        self._run = run.info.run_id
        self._known = {(key, row.step) for key in run.data.metrics for row in client.get_metric_history(self._run, key)}
        client.set_terminated(self._run, "RUNNING")
        return True

    def _started(self, client: MlflowClient, recipe: Mapping[str, str]) -> str:
        """The id of a new run with a training's options, noted beside the state."""
        from mlflow.entities import Param

        experiment = client.get_experiment_by_name(EXPERIMENT)
        number = client.create_experiment(EXPERIMENT) if experiment is None else experiment.experiment_id
        run: str = client.create_run(number, run_name=self._folder.absolute().name).info.run_id
        options = [Param(_key(name), value[:_LONGEST]) for name, value in recipe.items()]
        for first in range(0, len(options), _PARAMETERS):
            client.log_batch(run, params=options[first : first + _PARAMETERS])
        write_durably(self._folder / RUN_NAME, run.encode())
        return run


def _key(name: str) -> str:
    """A name as MLflow takes it."""
    return re.sub(r"[^\w/.\- ]", "_", name)
