"""The texts by which classes are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.errors import UnusableInput

TEXTS: Mapping[str, tuple[str, ...]] = {
    "building": ("building", "house", "roof"),
    "road": ("road", "street", "highway"),
    "land": ("bare ground", "sand", "dirt"),
    "vegetation": ("vegetation", "tree", "grass"),
    "water": ("water", "river", "lake", "swimming pool"),
}
"""Class → its texts; any other class is asked for by its name. SAM 3 knows short noun phrases, in English."""


def texts_of(classes: Sequence[str], given: Sequence[str]) -> dict[int, tuple[str, ...]]:
    """The texts of each class of a map, by its id; the first class, which stands for all others, has none of its own.

    Args:
        classes: names in id order.
        given: CLASS=TEXT,TEXT, in place of that class's own texts.

    Raises:
        UnusableInput: something given is no such thing, names no class of the map or no text; or there is no class.
    """
    texts = {name: TEXTS.get(name, (name.replace("_", " "),)) for name in classes[1:]}
    for pair in given:
        name, _, listed = (part.strip() for part in pair.partition("="))
        if name not in classes:
            raise UnusableInput(
                f"--texts was '{pair}', expected CLASS=TEXT,TEXT with one of the map's classes: {', '.join(classes)}."
            )
        texts[name] = tuple(dict.fromkeys(text.strip() for text in listed.split(",") if text.strip()))
        if not texts[name]:
            raise UnusableInput(f"--texts was '{pair}': class '{name}' has no text; give {name}=TEXT,TEXT.")
    if not texts:
        raise UnusableInput("The map has no class but the first, so there is no text to ask for; give --texts.")
    return {number: texts[name] for number, name in enumerate(classes) if name in texts}
