"""Fetch pretrained weights: from the user's own folder, the cache, or where they are published."""

from __future__ import annotations

from infra.hub import HUB, get_hub, require_licence
from infra.progress import Progress
from infra.settings import settings
from infra.storage import replacing
from infra.weights import (
    DECODER_SOURCE,
    cached_folder,
    check_files,
    find_hub,
    find_weights,
    get_raw,
    known_weights,
)


def fetch_model(name: str, *, progress: Progress, accept_license: bool = False) -> dict[str, str]:
    """Make sure that a set of weights is on this machine, every file checked by its sha256.

    Args:
        name: sam-vit-t, sam-vit-b, sam-vit-l, sam-vit-h, efficientnet-lite0 to -lite2, or one of the hub: sam2-tiny ...
        progress: told when something is downloaded, with its licence.
        accept_license: the user has read and accepts the licence of SAM 3.

    Returns:
        `folder`, and `weights`: the file of torch tensors in it.

    Raises:
        UnusableInput: no such name, its licence is not accepted, or the files cannot be had.
        UnwritableOutput: the cache folder cannot be written.
    """
    if name in HUB:
        require_licence(name, accepted=accept_license)
        return _from_hub(name, progress=progress)
    here = settings()
    weights = known_weights(name)
    folder = find_weights(name, cache=here.cache_dir, local=here.weights_dir)
    if folder is None:
        folder = cached_folder(name, cache=here.cache_dir)
        progress.note(f"Fetching {name} ({weights.licence}).")
        with replacing(folder) as temporary:
            temporary.mkdir()
            get_raw(name, temporary)
            if DECODER_SOURCE in weights.raw:
                from models.sam_decoder import convert_decoder  # torch: only where a decoder is converted

                convert_decoder(temporary / DECODER_SOURCE, temporary / weights.main)
                (temporary / DECODER_SOURCE).unlink()
            check_files(temporary, weights.files)
    return {"folder": str(folder), "weights": str(folder / weights.main)}


def _from_hub(name: str, *, progress: Progress) -> dict[str, str]:
    here = settings()
    folder = find_hub(name, cache=here.cache_dir, local=here.weights_dir)
    if folder is None:
        folder = cached_folder(name, cache=here.cache_dir)
        progress.note(f"Fetching {name} ({HUB[name].licence}).")
        token = None if here.hub_token is None else here.hub_token.get_secret_value()
        with replacing(folder) as temporary:
            temporary.mkdir()
            get_hub(name, temporary, url=here.hub_url, token=token)
    return {"folder": str(folder), "weights": str(folder / "model.safetensors")}
