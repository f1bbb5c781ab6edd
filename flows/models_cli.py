"""The command line's `geoloom models`: what comes along, what it is, and weights to fetch."""

from __future__ import annotations

from cyclopts import App

from flows.show import Show

models_app = App(name="models", help="Models that come with geoloom, and weights to fetch.")


@models_app.command(name="list")
def list_models(*, show: Show = Show()) -> None:
    """List the models that come with geoloom."""
    with show.speak("models list") as (outcome, _):
        from tasks.model import DEFAULT, shipped_models

        found = shipped_models()
        outcome.outputs |= {name: str(path) for name, path in found.items()} | {"default": str(found.get(DEFAULT, ""))}
        outcome.lines += [f"{name}: {path}{' (default)' if name == DEFAULT else ''}" for name, path in found.items()]


@models_app.command(name="show")
def show_model(name: str = "default", /, *, show: Show = Show()) -> None:
    """Show what a model is, was trained on and scores."""
    with show.speak("models show") as (outcome, _):
        from tasks.model import describe_model

        outcome.outputs |= describe_model(name)
        outcome.lines += [f"{key}: {value}" for key, value in outcome.outputs.items()]


@models_app.command(name="fetch")
def fetch_model(name: str, /, *, accept_license: bool = False, show: Show = Show()) -> None:
    """Fetch weights: sam-vit-t, -b, -l, -h, sam2-tiny, -small, -base-plus, -large, sam3, efficientnet-lite0 to -lite2.

    Parameters
    ----------
    accept_license: You have read the licence of SAM 3 and accept it.
    """
    with show.speak("models fetch") as (outcome, progress):
        from tasks.fetch_model import fetch_model as step

        outcome.outputs |= step(name, progress=progress, accept_license=accept_license)
        outcome.lines.append(f"{name}: {outcome.outputs['folder']}")
