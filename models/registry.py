"""Networks by name: what a model.json says under `architecture` and `arguments` becomes a network here.

Nothing is ever downloaded: networks are built with random weights, and a name that would reach out (timm takes
`hf-hub:...`) is refused, because a model.json may come from anybody.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from pydantic import JsonValue
from torch import nn

from infra.errors import UnusableInput
from models.lite_unet import LiteUNet
from models.unet import Tiny, UNet

_OWN: Mapping[str, type[LiteUNet | UNet | Tiny]] = {"lite-unet": LiteUNet, "unet": UNet, "tiny": Tiny}
# segmentation-models-pytorch's convolutional decoders; its dpt wants encoders of one fixed input size.
_SMP = (
    "unet",
    "unetplusplus",
    "manet",
    "linknet",
    "fpn",
    "pspnet",
    "deeplabv3",
    "deeplabv3plus",
    "pan",
    "upernet",
    "segformer",
)
MASK_RCNN = "mask-rcnn"
HALVED_FIVE_TIMES = 32
"""The stride of smp's networks, and of ours that have such an encoder."""
DEFAULT_ENCODER = "tu-tf_efficientnet_lite0"


def architectures() -> tuple[str, ...]:
    """Every name that `build` takes."""
    return (*_OWN, MASK_RCNN, *(f"smp-{name}" for name in _SMP))


def build(architecture: str, arguments: Mapping[str, JsonValue], *, bands: int, classes: int) -> nn.Module:
    """A network with random weights, from images (n, band, y, x) float32 to logits (n, class, y, x).

    Args:
        architecture: one of `architectures()`.
        arguments: what shapes the network: `width` and `depth` of "unet", `width` of "tiny", `encoder` of
            "lite-unet" (one of `models.lite_unet.LITE`); for "mask-rcnn" and "smp-..." the `encoder` (a name that
            segmentation-models-pytorch knows, "tu-" before timm's) and its class's own, such as `decoder_channels`.
        bands: planes of the image.
        classes: planes of the logits.

    Raises:
        UnusableInput: no such architecture, encoder or argument.
    """
    if architecture in _OWN:
        own = _OWN[architecture]
        _check_arguments(architecture, arguments, own)
        network: nn.Module = _try(architecture, own, dict(arguments), bands, classes)
        return network
    if architecture not in architectures():
        raise UnusableInput(f"Architecture {architecture!r} is not known: choose one of {', '.join(architectures())}.")
    return _build_around(architecture, arguments, bands=bands, classes=classes)


def learns_objects(architecture: str) -> bool:
    """Whether an architecture learns objects one by one, by a loss of its own: chips must then tell them apart."""
    return architecture == MASK_RCNN


def takes_encoder(architecture: str) -> bool:
    """Whether an architecture is built around an encoder that is named."""
    return architecture == "lite-unet" or architecture not in _OWN


def network_stride(architecture: str, arguments: Mapping[str, JsonValue]) -> int:
    """What tile sizes and tile starts must be multiples of, in pixels."""
    if architecture == "unet":
        depth = arguments.get("depth", 4)
        if not isinstance(depth, int) or depth < 0:
            raise UnusableInput(f"The depth of a unet is {depth!r}, expected a whole number, 0 or more.")
        return 1 << depth
    if architecture == "tiny":
        return 1
    if architecture not in architectures():
        raise UnusableInput(f"Architecture {architecture!r} is not known: choose one of {', '.join(architectures())}.")
    return HALVED_FIVE_TIMES


def _build_around(architecture: str, arguments: Mapping[str, JsonValue], *, bands: int, classes: int) -> nn.Module:
    """A network around an encoder of segmentation-models-pytorch."""
    import segmentation_models_pytorch as smp  # +190 MB: only who builds such a network pays
    import timm

    encoder = arguments.get("encoder", DEFAULT_ENCODER)
    known = isinstance(encoder, str) and (
        timm.is_model(encoder.removeprefix("tu-")) if encoder.startswith("tu-") else encoder in smp.encoders.encoders
    )
    if not known:
        raise UnusableInput(
            f"Encoder {encoder!r} is not known: choose one of segmentation-models-pytorch's, such as resnet18 or "
            f"mobilenet_v2, or one of timm's with tu- before its name, such as {DEFAULT_ENCODER}."
        )
    rest = {name: value for name, value in arguments.items() if name != "encoder"}
    network: nn.Module
    if architecture == MASK_RCNN:
        from models.mask_rcnn import MaskRCNN

        _check_arguments(architecture, rest, MaskRCNN, fixed=("encoder",))
        network = _try(architecture, MaskRCNN, {"encoder": encoder, **rest}, bands, classes)
    else:
        kind = smp.MODEL_ARCHITECTURES_MAPPING[architecture.removeprefix("smp-")]
        fixed = ("encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params", "kwargs")
        _check_arguments(architecture, rest, kind, fixed=fixed)
        keywords = {"encoder_name": encoder, "encoder_weights": None, **rest}
        network = _try(architecture, kind, {**keywords, "in_channels": bands, "classes": classes})
    reduction = getattr(network.encoder, "output_stride", None)
    if not isinstance(reduction, int) or HALVED_FIVE_TIMES % reduction:
        raise UnusableInput(
            f"Encoder {encoder!r} shrinks images {reduction} times, expected 32 or less: choose another."
        )
    return network


def _check_arguments(
    architecture: str, given: Mapping[str, JsonValue], kind: type, *, fixed: tuple[str, ...] = ()
) -> None:
    takes = [name for name in inspect.signature(kind).parameters if name not in (*fixed, "bands", "classes")]
    unknown = [name for name in given if name not in takes]
    if unknown:
        names = ", ".join(["encoder", *takes] if fixed else takes)
        raise UnusableInput(f"Architecture {architecture!r} takes no argument {unknown[0]!r}: it takes {names}.")


def _try(architecture: str, kind: type[nn.Module], keywords: dict[str, object], *positional: int) -> nn.Module:
    """Build, and turn any library's complaint about an argument's value into one sentence."""
    try:
        return kind(*positional, **keywords)
    except (TypeError, ValueError, KeyError, RuntimeError, IndexError, AttributeError, ZeroDivisionError) as error:
        raise UnusableInput(f"Architecture {architecture!r} cannot be built with {keywords}: {error}.") from error
