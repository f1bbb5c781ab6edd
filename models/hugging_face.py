"""Networks in Hugging Face's layout: a folder with config.json and model.safetensors, loaded whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from infra.errors import UnusableInput, first_line


def load_network(name: str, folder: Path, *, types: Collection[str], device: str) -> Any:
    """A network of transformers in evaluation mode, its gradients off.

    Args:
        name: its class.
        folder: where its files lie; nothing is fetched.
        types: the `model_type` that its config.json may say.
        device: where it runs.

    Raises:
        UnusableInput: transformers is not installed, or the files are missing, damaged or of another network.
    """
    transformers = import_transformers()
    _require_type(folder, types)
    transformers.utils.logging.set_verbosity_error()  # what it would warn of is raised here
    transformers.utils.logging.disable_progress_bar()
    try:
        network, loaded = getattr(transformers, name).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # a damaged file may raise nearly anything
        raise UnusableInput(
            f"The weights in {folder} cannot be read ({first_line(error)}); fetch them again."
        ) from error
    if loaded["missing_keys"]:
        first = min(loaded["missing_keys"])
        raise UnusableInput(
            f"The weights in {folder} are not those of a {name}: {len(loaded['missing_keys'])} tensors are missing "
            f"(the first is {first}); give the folder that belongs to this SAM."
        )
    return network.requires_grad_(requires_grad=False).eval().to(device)


def import_transformers() -> Any:
    """The package transformers.

    Raises:
        UnusableInput: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise UnusableInput(
            "SAM 2 and SAM 3 run on the package transformers, which is not installed; run pip install 'geoloom[sam]'."
        ) from error
    return transformers


def _require_type(folder: Path, types: Collection[str]) -> None:
    path = folder / "config.json"
    if not path.is_file() or not any(folder.glob("model*.safetensors")):
        raise UnusableInput(
            f"{folder} holds no network in Hugging Face's layout; expected a folder with config.json and "
            "model.safetensors."
        )
    try:
        found = json.loads(path.read_bytes())["model_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise UnusableInput(f"{path} is damaged ({first_line(error)}); fetch the model again.") from error
    if found not in types:
        raise UnusableInput(
            f"{path} describes a network '{found}', expected {' or '.join(types)}; give another folder."
        )
