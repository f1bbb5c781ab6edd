"""Training and inference go to the GPU work pool where a worker of it is online, and run here where none is."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType, WorkPoolStatus
from prefect.client.schemas.responses import SetStateStatus
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled
from pydantic import BaseModel

from infra.errors import GeoloomError, UnusableInput, UnwritableOutput, WorkspaceBusy
from infra.settings import settings

LOOK_S = 2.0
"""Between looks at a run that is waited for."""


def run_on_gpu_pool(flow_name: str, parameters: dict[str, Any]) -> bool:
    """Run a flow's deployment on the GPU pool and wait for it; False where no worker of it is online.

    Where the last worker goes before it takes the run, the run is taken back. One that it took is waited for: it may
    well outlive its worker, and where it does not, whoever runs it must say so. What it made stands in the workspace:
    Prefect keeps results where they were made, out of reach from here.

    The deployment is called as the pool is (`predict-scene/gpu`), and the pool's concurrency limit keeps one run a GPU.

    Raises:
        GeoloomError: the run there failed; bad input, a busy workspace and the like as what they are.
    """
    pool = settings().gpu_pool
    if not _is_ready(pool, f"{flow_name}/{pool}"):
        return False
    plain = {k: v.model_dump(mode="json") if isinstance(v, BaseModel) else v for k, v in parameters.items()}
    run: Any = run_deployment(name=f"{flow_name}/{pool}", parameters=plain, as_subflow=True, timeout=0)
    run = _ended(run.id, pool)
    if run is None:
        return False
    if run.state.type != StateType.COMPLETED:
        raise _failure(run, f"{flow_name} failed on the work pool '{pool}' (flow run {run.name})")
    return True


def _ended(run_id: UUID, pool: str) -> Any | None:
    """A run once it has ended; None where it was taken back."""
    with get_client(sync_client=True) as client:
        while True:
            run: Any = client.read_flow_run(run_id)
            if run.state.is_final():
                return run
            if run.state.type == StateType.SCHEDULED and client.read_work_pool(pool).status != WorkPoolStatus.READY:
                wanted: Any = Cancelled(message=f"No worker of '{pool}' is online any more.")
                if client.set_flow_run_state(run_id, wanted).status == SetStateStatus.ACCEPT:
                    return None
            time.sleep(LOOK_S)


def _failure(run: Any, what: str) -> GeoloomError:
    """Why a run failed: Prefect's state tells an exception as '... exception: Kind: message'."""
    told = run.state.message or ""
    kind, _, message = told.partition("exception: ")[2].partition(": ")
    ours = {error.__name__: error for error in (UnusableInput, UnwritableOutput, WorkspaceBusy)}
    if kind in ours and message:
        return ours[kind](f"{what}: {message}")
    return GeoloomError(f"{what}; its log says why.")


def _is_ready(pool: str, deployment: str) -> bool:
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(deployment)
            return client.read_work_pool(pool).status == WorkPoolStatus.READY
        except ObjectNotFound:
            return False
