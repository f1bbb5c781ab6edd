"""Where the weights of the SAM lie that a labelling asks for, and whether they may be used."""

from __future__ import annotations

import hashlib
from pathlib import Path

from infra.errors import UnusableInput
from infra.hub import HUB, read_sums, require_licence
from infra.progress import Silent
from infra.weights import WEIGHTS, check_files
from tasks.fetch_model import fetch_model
from tasks.label_params import LabelParams
from tasks.raster.truth import file_fingerprint


def require_sam(params: LabelParams) -> None:
    """Raise where the SAM that is asked for cannot do what is asked, or may not be used; weights are not fetched.

    Raises:
        UnusableInput: it cannot be asked by text; its licence is not accepted; or a checkpoint is not there, is
            damaged or does not go with it.
    """
    sam, checkpoint = params.backbone, params.sam_checkpoint
    if params.way == "text" and sam != "sam3":
        raise UnusableInput(f"--sam was {sam} for labelling by text, which only SAM 3 can; leave it out.")
    require_licence(sam, accepted=params.accept_license)
    if checkpoint is None:
        return
    if sam in HUB:
        if not Path(checkpoint).is_dir():
            raise UnusableInput(
                f"--sam-checkpoint was {checkpoint} for {sam}; expected a folder with config.json and "
                "model.safetensors."
            )
        check_files(Path(checkpoint), read_sums(Path(checkpoint)) or {})
    elif sam == "sam-vit-t" or not checkpoint.endswith(".pth"):
        raise UnusableInput(
            f"--sam-checkpoint was {checkpoint} for {sam}; expected a .pth file of sam-vit-b, l or h, or a folder of "
            "SAM 2 or SAM 3."
        )
    elif not Path(checkpoint).is_file():
        raise UnusableInput(f"{checkpoint} is missing; give the path of a checkpoint of {sam}.")


def told_of(params: LabelParams, sha256: str) -> str:
    """What a user should know of a checkpoint of his own; '' where its bytes are known, or its folder says them.

    One flipped bit in a file of weights loads silently, so what is called as the published file must be that file.

    Args:
        params: with a checkpoint that `require_sam` let pass.
        sha256: of its bytes.

    Raises:
        UnusableInput: it bears the published file's name and has other bytes.
    """
    sam, checkpoint = params.backbone, params.sam_checkpoint
    if checkpoint is None or sam in HUB:
        return ""
    ((name, published),) = WEIGHTS[sam].files.items()
    if sha256 == published:
        return ""
    found = f"its sha256 begins with {sha256[:12]}, that of the published {name} with {published[:12]}"
    if Path(checkpoint).name == name:
        raise UnusableInput(
            f"{checkpoint} is damaged or another file: {found}; fetch it again, or give weights of your own another "
            "name."
        )
    return f"{checkpoint} is not the published checkpoint of {sam} ({found}): whether it is whole is not known"


def find_sam(params: LabelParams) -> tuple[Path, str]:
    """Where the SAM's weights lie, fetched if need be, and a name for what this SAM makes of a picture."""
    sam, place = params.backbone, params.sam_checkpoint
    if place is None:
        place = fetch_model(sam, progress=Silent(), accept_license=params.accept_license)["folder"]
        if sam not in HUB:  # what stands under the name is known, down to its sha256
            return Path(place), sam
    return Path(place), f"{sam}-{checkpoint_fingerprint(place)[:16]}"


def checkpoint_fingerprint(checkpoint: str) -> str:
    """sha256 of a checkpoint's bytes; of a folder's, of what its files' are."""
    folder = Path(checkpoint)
    if not folder.is_dir():
        return file_fingerprint(checkpoint)
    files = sorted(path for path in folder.iterdir() if path.suffix in {".json", ".safetensors", ".txt"})
    listed = "".join(f"{path.name} {file_fingerprint(str(path))}\n" for path in files)
    return hashlib.sha256(listed.encode()).hexdigest()
