"""Fetch pretrained weights: from the user's own folder, the cache, or where they are published."""

from __future__ import annotations

from infra.progress import Progress
from infra.settings import settings
from infra.storage import replacing
from infra.weights import DECODER_SOURCE, cached_folder, check_files, find_weights, get_raw, known_weights


def fetch_model(name: str, *, progress: Progress) -> dict[str, str]:
    """Make sure that a set of weights is on this machine, every file checked by its sha256.

    Args:
        name: sam-vit-t, sam-vit-b, sam-vit-l, sam-vit-h or efficientnet-lite0.
        progress: told when something is downloaded, with its licence.

    Returns:
        `folder`, and `weights`: the file of torch tensors in it.

    Raises:
        UnusableInput: no such name, or the files cannot be had.
        UnwritableOutput: the cache folder cannot be written.
    """
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
