"""The flow from scenes to a map: ingest ─▶ (label ─▶ train ─▶) predict ─▶ mosaic ─▶ vectorize (─▶ evaluate)."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows import prefect_tasks as tasks
from flows import steps
from flows.artifacts import begin_progress, end_progress, share_out, show_map, show_scores
from flows.gpu_pool import run_on_gpu_pool
from infra.errors import UnusableInput
from infra.lease import hold
from infra.store import open_store
from tasks.label_params import LabelParams
from tasks.params import PRODUCTS, IngestParams, MosaicParams, PredictParams, RunParams, TrainParams, VectorizeParams
from tasks.truth_params import EvaluateParams


@flow(name="map-scenes")
def map_scenes(
    out: str,
    ingest: IngestParams,
    label: LabelParams | None = None,
    train: TrainParams | None = None,
    predict: PredictParams = PredictParams(),
    mosaic: MosaicParams = MosaicParams(),
    vectorize: VectorizeParams = VectorizeParams(),
    evaluate: EvaluateParams | None = None,
    run: RunParams = RunParams(),
) -> dict[str, str]:
    """Map scenes, from pixels to scores; training and inference go to the GPU work pool where one is at work.

    Args:
        out: The workspace; on a path or in a bucket that every worker can reach.
        ingest: The scenes.
        label: Label the scenes first; a ready model needs no labels.
        train: Train on these labels before predicting.
        predict: The model and its tiles.
        mosaic: Its rasters: classes and probability, and perhaps more.
        vectorize: What to draw of the map.
        evaluate: Score the map against a truth.
        run: Where it runs.
    """
    if train is not None and label is None:
        raise UnusableInput("Training was asked for without labels; say how to label too (--label.with ...).")
    if predict.plan:
        raise UnusableInput(f"A map is not planned as a whole; ingest first, then run 'geoloom predict {out} --plan'.")
    if missing := {"classes", "probability"} - set(mosaic.products):
        raise UnusableInput(f"A map always has its {' and '.join(sorted(missing))}; --mosaic.products may add to them.")
    if unknown := sorted(set(mosaic.products) - {*PRODUCTS}):
        raise UnusableInput(f"There is no product '{unknown[0]}'; --mosaic.products takes {', '.join(PRODUCTS)}.")
    if train is not None and "://" in out:
        raise UnusableInput(
            f"Models are trained into folders, and {out} is none; run 'geoloom train {out} --out DIR' with its labels, "
            "then map with --model DIR."
        )
    # A worker of another pool stands in another folder.
    store = open_store(out if "://" in out else str(Path(out).absolute()))
    with hold(store, command="map", under=run.lease) as lease:
        return _map(store.url, ingest, label, train, predict, mosaic, vectorize, evaluate, run, lease.token)


def _map(
    out: str,
    ingest: IngestParams,
    label: LabelParams | None,
    train: TrainParams | None,
    predict: PredictParams,
    mosaic: MosaicParams,
    vectorize: VectorizeParams,
    evaluate: EvaluateParams | None,
    run: RunParams,
    lease: str,
) -> dict[str, str]:
    from tasks.model import absolute_model
    from tasks.recipe_file import self_contained

    chosen = [True, label is not None, train is not None, True, True, True, evaluate is not None]
    progress = begin_progress(f"map {', '.join(Path(s.partition('?')[0]).name for s in ingest.scenes)} into {out}")
    shares = iter(share_out(progress, sum(chosen)))
    elsewhere = run.model_copy(update={"lease": lease})
    predict = predict.model_copy(update={"model": tuple(absolute_model(name) for name in predict.model)})
    train = None if train is None else self_contained(train)
    workspace, left_out = tasks.ingest(ingest, out, run, next(shares))
    products = {"workspace": workspace}
    if label is not None:
        products["labels"] = tasks.label(label, out, run, next(shares))
    if train is not None:
        model = f"{out}/model"
        share = next(shares)
        given = {"workspaces": [out], "out": model, "params": train, "run": run}
        if not run_on_gpu_pool("train-model", given):
            tasks.train(train, [out], model, run, share)
        products["model"] = model
        predict = predict.model_copy(update={"model": (model,)})
    share = next(shares)
    if run_on_gpu_pool("predict-scene", {"out": out, "params": predict, "run": elsewhere}):
        lost = steps.lost_tiles(out)
    else:
        _, lost = tasks.predict(predict, out, run, share)
    maps = tasks.mosaic(mosaic, out, next(shares))
    vectors = tasks.vectorize(vectorize, out, run, next(shares))
    products |= maps | vectors
    if evaluate is not None:
        products["scores"], rows = tasks.evaluate(evaluate, out, next(shares))
        show_scores(rows)
    products["picture"] = tasks.draw(out, evaluate)
    show_map(products["picture"], [*maps.values(), *vectors.values()])
    end_progress(progress)
    if lost:
        products["lost_tiles"] = "; ".join(lost)
    if left_out:
        products["left_out"] = "\n".join(left_out)
    return products


if __name__ == "__main__":
    map_scenes.serve()
