"""Models that are published on the Hugging Face hub: SAM 2.1 and SAM 3.

What stands on a hub may change. The first fetch takes the commit that stands there, checks its files by the sha256
that the hub names, and writes the commit (REVISION) and every file's sha256 (SHA256SUMS) beside them: from then on
these very bytes are used.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from infra.errors import UnusableInput
from infra.storage import sha256_of

SUMS = "SHA256SUMS"
"""As the program sha256sum writes them: one file a line, its sha256 before its name."""
REVISION = "REVISION"
_ELSEWHERE = "check the network, or fetch the folder elsewhere and name it with --sam-checkpoint"
_WANTED = ("*.json", "model*.safetensors", "merges.txt", "LICENSE*")


@dataclass(frozen=True, slots=True)
class HubModel:
    """One model of the hub."""

    repository: str
    licence: str
    terms: str | None = None
    """What its licence asks of who uses it, where that has to be accepted first."""


_APACHE = "Apache-2.0, Meta AI, SAM 2.1"
HUB: Mapping[str, HubModel] = {
    "sam2-tiny": HubModel("facebook/sam2.1-hiera-tiny", _APACHE),
    "sam2-small": HubModel("facebook/sam2.1-hiera-small", _APACHE),
    "sam2-base-plus": HubModel("facebook/sam2.1-hiera-base-plus", _APACHE),
    "sam2-large": HubModel("facebook/sam2.1-hiera-large", _APACHE),
    "sam3": HubModel(
        "facebook/sam3",
        "SAM License, Meta",
        "no use for military, warfare, nuclear or espionage ends, for weapons, or against ITAR, export controls and "
        "sanctions; no reverse engineering; copies come with the licence; publications name SAM",
    ),
}


def require_licence(name: str, *, accepted: bool) -> None:
    """Raise where a model's licence has to be accepted and is not."""
    model = HUB.get(name)
    if model and model.terms and not accepted:
        raise UnusableInput(
            f"{name} comes under the {model.licence} ({model.terms}); read it at "
            f"https://huggingface.co/{model.repository}, and give --accept-license if you accept it."
        )


def get_hub(name: str, into: Path, *, url: str, token: str | None) -> None:
    """Fetch a model's files into an existing folder, each checked, with SHA256SUMS and REVISION.

    Args:
        name: one of `HUB`.
        into: the folder.
        url: the hub's address.
        token: the user's; None for what `hf auth login` has kept, if anything.

    Raises:
        UnusableInput: they cannot be had, or are not what the hub says they are.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    repository = HUB[name].repository
    try:
        found = HfApi(endpoint=url, token=token).model_info(repository, files_metadata=True)
        files = [file for file in found.siblings or () if any(fnmatch(file.rfilename, wanted) for wanted in _WANTED)]
        for file in files:
            hf_hub_download(repository, file.rfilename, revision=found.sha, local_dir=into, endpoint=url, token=token)
    except HfHubHTTPError as error:
        refused = error.response.status_code in {401, 403}
        todo = f"ask for access at {url}/{repository} and put your token into HF_TOKEN" if refused else _ELSEWHERE
        raise UnusableInput(f"{repository} cannot be fetched from {url} ({_reason(error)}); {todo}.") from error
    except Exception as error:  # the hub's client, its transport and the disk have no common parent below Exception
        raise UnusableInput(f"{repository} cannot be fetched from {url} ({_reason(error)}); {_ELSEWHERE}.") from error
    shutil.rmtree(into / ".cache", ignore_errors=True)  # the client's notes of what it has fetched
    sums = {file.rfilename: sha256_of(into / file.rfilename) for file in files}
    wrong = [file.rfilename for file in files if file.lfs and file.lfs.sha256 != sums[file.rfilename]]
    if wrong or "config.json" not in sums:
        told = f"{wrong[0]} did not arrive as it was sent" if wrong else "it holds no config.json"
        raise UnusableInput(f"{repository} at {url} cannot be used: {told}; {_ELSEWHERE}.")
    (into / REVISION).write_text(f"{found.sha}\n")
    (into / SUMS).write_text("".join(f"{sha256}  {file}\n" for file, sha256 in sorted(sums.items())))


def read_sums(folder: Path) -> dict[str, str] | None:
    """File → sha256 as the folder's SHA256SUMS has them; None where there is none.

    Raises:
        UnusableInput: it is no such list, or names files elsewhere.
    """
    if not (folder / SUMS).is_file():
        return None
    sums = {}
    for line in (folder / SUMS).read_text(errors="replace").splitlines():
        sha256, _, name = line.strip().partition("  ")
        if not name or "/" in name:
            raise UnusableInput(f"{folder / SUMS} has the line '{line}', expected a sha256 and a file beside it.")
        sums[name] = sha256
    return sums


def _reason(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
