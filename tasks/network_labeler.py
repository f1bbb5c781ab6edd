"""Labelling with a model: its classes, and its objects one by one where it tells them apart."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from infra.device import choose_device
from infra.errors import UnusableInput
from models.card import ModelCard, load_card
from models.predictor import Predictor, load_predictor
from models.registry import learns_objects
from tasks.labelers import HALO, Labelled
from tasks.model import find_model, fit_bands
from tasks.raster.blend import TOP
from tasks.raster.classes import IGNORE, ClassMap
from tasks.raster.cube import Cube
from tasks.raster.grid import Window, crop_to, grown
from tasks.raster.numbering import numbered

CORE = 384
"""Pixels a side of its windows; with the halo 512, which strides of 32 divide."""
SURE = 0.5
"""Score from which on an object is one, and probability from which on a pixel is its."""
SEEN = 0.5
"""Share of an object, as surer ones cover, up to which it is one more: else it is they, seen again (Kirillov and others
2019, arXiv:1801.00868, section 4, put objects together so)."""

Layers: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.uint8]]
"""Class, object and confidence, (y, x) each."""


class NetworkLabeler:
    """What a model sees; a pixel of several objects is of the surest."""

    window, halo, pieces = CORE, HALO, True

    def __init__(self, cube: Cube, predictor: Predictor, classes: ClassMap) -> None:
        """Prepare.

        Raises:
            UnusableInput: the cube lacks a band of the model, or the map all of its classes.
        """
        self.cube, self.predictor = cube, predictor
        self.bands = fit_bands(predictor.card, cube)
        self.table = table_of(predictor.card, classes)
        self.tells = frozenset({0, *self.table[[*_found_by(predictor.card)]].tolist()})

    @classmethod
    def of(cls, cube: Cube, model: str, classes: ClassMap, *, device: str) -> NetworkLabeler:
        """The labeler of a model, by its folder or name.

        Raises:
            UnusableInput: there is no such model, it is damaged, or it does not fit the cube or the map.
        """
        return cls(cube, load_predictor(find_model(model), device=choose_device(device)), classes)

    def __call__(self, window: Window) -> Labelled:
        """Label one window."""
        seen = crop_to(grown(window, self.halo), (self.cube.grid.shape[0], self.cube.grid.shape[1]))
        image, valid = self.cube.read(seen, bands=self.bands)
        more = [(0, -n % self.predictor.card.stride) for n in valid.shape]
        image, there = np.pad(image, [(0, 0), *more])[None], np.pad(valid, more)[None]
        found = self._one_by_one if learns_objects(self.predictor.card.architecture) else self._by_regions
        label, instance, confidence = found(image, there)
        label[~there[0]], instance[~there[0]], confidence[~there[0]] = IGNORE, 0, IGNORE
        own = np.s_[: valid.shape[0], : valid.shape[1]]
        return Labelled(seen, label[own], instance[own], confidence[own])

    def _by_regions(self, image: NDArray[np.generic], valid: NDArray[np.bool_]) -> Layers:
        """By classes: connected regions of one are its objects."""
        likely = self.predictor(image, valid)[0]  # (class, y, x)
        label = self.table[likely.argmax(axis=0)]
        there = np.where(valid[0], label, np.uint8(0))
        objects = numbered(there, range(1, int(there.max()) + 1)).astype(np.uint32)
        confidence: NDArray[np.uint8] = likely.max(axis=0)
        return label, objects, confidence

    def _one_by_one(self, image: NDArray[np.generic], valid: NDArray[np.bool_]) -> Layers:
        """By the objects that the model finds."""
        size = (valid.shape[1], valid.shape[2])
        label, instance = np.zeros(size, np.uint8), np.zeros(size, np.uint32)
        sure = np.ones(size, np.float32)  # of `other`: that none of them is there
        found = self.predictor.objects(image, valid)[0]
        for one in found:
            sure[one.place] *= 1 - one.score * one.mask
        confidence = np.round(sure * TOP).astype(np.uint8)
        for number, one in enumerate(found, 1):
            inside = one.mask > SURE
            new = inside & (instance[one.place] == 0)
            seen_before = np.count_nonzero(new) <= SEEN * np.count_nonzero(inside)
            if one.score < SURE or not self.table[one.klass] or seen_before:
                continue
            label[one.place][new] = self.table[one.klass]
            instance[one.place][new] = number
            confidence[one.place][new] = round(one.score * TOP)
        return label, instance, confidence


def table_of(card: ModelCard, classes: ClassMap) -> NDArray[np.uint8]:
    """(class,) the map's ids of a model's classes, by name; those that the map does not have are `other`.

    Raises:
        UnusableInput: the map has none of them.
    """
    table = np.array([classes.names.index(n) if n in classes.names else 0 for n in card.classes], np.uint8)
    if not table.any():
        raise UnusableInput(
            f"The model tells {', '.join(card.classes)} and the map {', '.join(classes.names)}; ingest with --classes, "
            "or give another model."
        )
    return table


def _found_by(card: ModelCard) -> list[int]:
    """The classes that a model may find: where it learns objects, those whose objects it was trained on."""
    recipe = card.lineage.get("recipe")
    learnt = recipe.get("objects") if isinstance(recipe, dict) else None
    if not learns_objects(card.architecture) or not isinstance(learnt, list):
        return list(range(len(card.classes)))
    return [number for number, name in enumerate(card.classes) if name in learnt]


def card_for(model: str, cube: Cube, classes: ClassMap) -> ModelCard:
    """A model's card, once it is known to fit.

    Raises:
        UnusableInput: as `NetworkLabeler.of`.
    """
    card = load_card(find_model(model))
    fit_bands(card, cube)
    table_of(card, classes)
    return card
