"""The ways of labelling that a user asked for: what each starts from, and the labeler that it becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from infra.errors import UnusableInput
from infra.hub import HUB
from infra.lease import Grip
from infra.progress import Progress
from models.card import answers_of, load_card
from tasks.fetch_model import fetch_model
from tasks.fetch_prompts import fetch_prompts, is_origin, opened_prompts
from tasks.given_labels import PRESENT, keep_given, open_given
from tasks.label_params import WITHOUT_SAM, LabelParams
from tasks.labelers import CombinedLabeler, Labeler, PresentLabeler, TruthLabeler
from tasks.model import default_model, trained_here
from tasks.raster.cube import Cube
from tasks.raster.grid import ground_resolution
from tasks.raster.texts import texts_of
from tasks.raster.truth import Truth, VectorTruth, file_fingerprint
from tasks.raster.vectors import Shapes, read_shapes
from tasks.sam_weights import checkpoint_fingerprint, require_sam, told_of
from tasks.truth_file import open_truth_file
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from models.few_shot import FewShot
    from tasks.vector_lessons import Known

FILE_OF = {"truth": "truth", "vectors": "prompts", "few-shot": "examples"}
"""The option that names the file which a method starts from; the others start from none."""
EDITIONS = {"present": 1, "truth": 1, "vectors": 5, "few-shot": 5, "automatic": 2, "text": 2, "network": 1}
"""Of each method; one more where the same scene and options give other labels than before."""
NUMBERING = frozenset({"few-shot", "automatic", "text", "network"})
"""Methods whose windows number what they see for themselves."""
LEARNING = frozenset({"vectors", "few-shot"})
"""Methods that learn from the whole scene first."""


@dataclass(frozen=True, slots=True)
class Way:
    """One of the methods of a labelling. Plain data: it travels to workers."""

    params: LabelParams
    """With this method alone."""
    source: str = ""
    """The file that it starts from, or where prompts are fetched from; '' where there is none."""
    content: str = ""
    """sha256 of that file."""
    owners: str = ""
    """Whose what was fetched is."""
    from_truth: bool = False
    """Labels that stand, or a model that is looked through, were made from truth."""
    weights: str = ""
    """sha256 of SAM's weights where its name does not say which they are."""
    model: str = ""
    """What stands for the model that labels, or is looked through."""
    seen: tuple[str, ...] = ()
    """Fingerprints of the scenes that this model has learnt from."""
    learnt: FewShot | None = None
    known: Known | None = None
    """What the classes of the vectors look like (`tasks/learn_vectors.py`)."""

    @property
    def method(self) -> str:
        """Its name."""
        return self.params.way


def chosen_ways(params: LabelParams, workspace: Workspace, *, grip: Grip, progress: Progress) -> tuple[Way, ...]:
    """The ways that are asked for, in their order; prompts are fetched, weights and examples not yet opened.

    Raises:
        UnusableInput: a method lacks its file, or the file or the SAM cannot be used.
    """
    return tuple(_chosen(params.alone(method), workspace, grip=grip, progress=progress) for method in params.method)


def _chosen(params: LabelParams, workspace: Workspace, *, grip: Grip, progress: Progress) -> Way:
    way = Way(params)
    if way.method == PRESENT:
        grip.check()
        given = keep_given(workspace)
        return replace(way, content=given.content, from_truth=given.from_truth)
    if way.method == "network":
        return _by_network(way, workspace, progress=progress)
    if way.method != "truth":
        require_sam(params)
        way = replace(way, weights=_sam_of(params, progress=progress))
    option = FILE_OF.get(way.method)
    if option is None:
        return way
    source = getattr(params, option)
    if source is None:
        raise UnusableInput(f"Labelling with {way.method} needs a file; give it with --{option}.")
    if way.method == "few-shot":
        card = load_card(default_model())
        way = replace(
            way,
            model=card.weights_sha256,
            from_truth=trained_here(card, workspace, workspace.cube()),
            seen=_texts(card.lineage.get("fingerprints")),
        )
        if way.from_truth:
            progress.note(
                "The model that few-shot looks through was trained on this scene: no truth can score the labels."
            )
    owners = ""
    if option == "prompts" and is_origin(source):
        owners = fetch_prompts(source, workspace, grip=grip, progress=progress)
    with opened_prompts(workspace.store, source) as path:
        return replace(way, source=source, content=file_fingerprint(path), owners=owners)


def _by_network(way: Way, workspace: Workspace, *, progress: Progress) -> Way:
    if way.params.model is None:
        raise UnusableInput("Labelling with network needs a model; give its folder or name with --model.")
    from tasks.network_labeler import card_for

    cube = workspace.cube()
    card = card_for(way.params.model, cube, workspace.classes)
    here = trained_here(card, workspace, cube)
    if here:
        progress.note("The model was trained on this scene: no truth can score the labels.")
    return replace(
        way,
        content=card.weights_sha256,
        model=answers_of(card),
        from_truth=here,
        owners="; ".join(_texts(card.lineage.get("attribution"))),
        seen=_texts(card.lineage.get("fingerprints")),
    )


def _texts(found: object) -> tuple[str, ...]:
    return tuple(map(str, found)) if isinstance(found, list) else ()


def _sam_of(params: LabelParams, *, progress: Progress) -> str:
    """sha256 of a checkpoint of the user's own, or of what lies under a hub's name; else '': its name says all."""
    if params.sam_checkpoint is not None:
        sha256 = checkpoint_fingerprint(params.sam_checkpoint)
        if note := told_of(params, sha256):
            progress.note(note)
        return sha256
    if params.backbone in HUB:
        fetched = fetch_model(params.backbone, progress=progress, accept_license=params.accept_license)
        return checkpoint_fingerprint(fetched["folder"])
    return ""


def about_ways(ways: Sequence[Way], workspace: Workspace) -> dict[str, Any]:
    """What labels made in these ways remember of how they were made."""
    owners = sorted({way.owners for way in ways if way.owners})
    seen = sorted({mark for way in ways for mark in way.seen})
    about: dict[str, Any] = {
        "classes": workspace.classes.names,
        "made_by": ", ".join(way.method for way in ways),
        "sources": [way.content for way in ways if way.content],
        "from_truth": any(way.method == "truth" or way.params.from_truth or way.from_truth for way in ways),
        "pieces": len(ways) > 1 or ways[0].method in NUMBERING,
    }
    return about | ({"attribution": "; ".join(owners)} if owners else {}) | ({"seen": seen} if seen else {})


def prepared(way: Way, workspace: Workspace, *, device: str, progress: Progress) -> Way:
    """A way with what is made once for all jobs: SAM's weights on this machine, and what the examples teach.

    Raises:
        UnusableInput: weights cannot be had, or nothing can be learnt from the examples.
    """
    params = way.params
    if way.method in WITHOUT_SAM:
        return way
    if way.method == "text":
        texts_of(workspace.classes.names, params.texts)
    if params.sam_checkpoint is None:
        fetch_model(params.backbone, progress=progress, accept_license=params.accept_license)
    if way.method != "few-shot":
        return way
    from models.machine import as_a_lane
    from tasks.few_shot_labeler import learn
    from tasks.sam_view import SamView

    view, truth = SamView.of(workspace.store, workspace.cube(), params, device=device), _truth(way, workspace)
    with as_a_lane(device):
        learnt = learn(params, view, truth, classes=workspace.classes, device=device, progress=progress)
    return replace(way, learnt=learnt)


def open_labeler(ways: Sequence[Way], workspace: Workspace, cube: Cube, *, device: str) -> tuple[Labeler, list[str]]:
    """What labels in these ways, and what the user should know of the vectors that they start from.

    Raises:
        UnusableInput: a file, or weights, cannot be used.
    """
    opened = [_opened(way, workspace, cube, device=device) for way in ways]
    notes = [note for _, note in opened if note]
    if len(opened) == 1:
        return opened[0][0], notes
    shape = (cube.grid.shape[0], cube.grid.shape[1])
    labelers = tuple(labeler for labeler, _ in opened)
    return CombinedLabeler(labelers, shape, classes=len(workspace.classes)), notes


def _opened(way: Way, workspace: Workspace, cube: Cube, *, device: str) -> tuple[Labeler, str]:
    params = way.params
    if way.method == "truth":
        truth = _truth(way, workspace)
        return TruthLabeler(truth), _told(way, truth.shapes) if isinstance(truth, VectorTruth) else ""
    if way.method == PRESENT:
        return PresentLabeler(open_given(workspace)), ""
    if way.method == "text":
        from tasks.text_labeler import TextLabeler

        return TextLabeler.of(cube, workspace.classes.names, params, device=device), ""
    if way.method == "network":
        from tasks.network_labeler import NetworkLabeler

        assert params.model is not None
        return NetworkLabeler.of(cube, params.model, workspace.classes, device=device), ""
    return _opened_with_sam(way, workspace, cube, device=device)


def _opened_with_sam(way: Way, workspace: Workspace, cube: Cube, *, device: str) -> tuple[Labeler, str]:
    from tasks.few_shot_labeler import FewShotLabeler
    from tasks.sam_labelers import AutomaticLabeler
    from tasks.sam_view import SamView
    from tasks.vector_labeler import VectorLabeler

    params = way.params
    view = SamView.of(workspace.store, cube, params, device=device)
    if way.method == "automatic":
        return AutomaticLabeler(view, points=params.points), ""
    if way.method == "few-shot":
        assert way.learnt is not None
        return FewShotLabeler(view, way.learnt, device=device), ""
    shapes = _shapes(way, workspace)
    assert way.known is not None
    misplaced = params.misplaced / (ground_resolution(workspace.grid) or 1.0)
    apart = shapes.apart((cube.grid.shape[0], cube.grid.shape[1]))
    return VectorLabeler(view, apart, way.known, misplaced=misplaced), _told(way, shapes)


def _truth(way: Way, workspace: Workspace) -> Truth:
    return open_truth_file(way.source, way.params, grid=workspace.grid, classes=workspace.classes)


def _shapes(way: Way, workspace: Workspace) -> Shapes:
    params = way.params
    with opened_prompts(workspace.store, way.source) as path:
        return read_shapes(
            path, workspace.grid, workspace.classes, vector_class=params.vector_class, road_width=params.road_width,
            assume_crs=params.assume_crs,
        )  # fmt: skip


def _told(way: Way, shapes: Shapes) -> str:
    return f"{way.source.rpartition('/')[2]}: {shapes.summary()}."
