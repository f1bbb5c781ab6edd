"""What the vectors of a map teach about a scene: some windows are looked at, then each class is learnt from them.

Looking takes SAM, and is a job for each window; learning takes seconds, and is done once: what SAM made of the windows
is kept by then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from models.machine import one_thread_for_numpy
from tasks.area_evidence import Areas, all_areas
from tasks.line_evidence import Lines, all_lines
from tasks.raster.grid import Window
from tasks.raster.vectors import Shapes
from tasks.sam_view import SamView
from tasks.scene_look import ClassLook, Lesson, Sight, places

Teachers = Sequence[Areas | Lines]
"""The things of one class each."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the classes of a map look like in a scene, by their ids."""

    areas: Mapping[int, ClassLook] = field(default_factory=dict)
    lines: Mapping[int, ClassLook] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """A window, and the numbers of the teachers that have something to say of it."""

    window: Window
    teachers: tuple[int, ...]


def teachers_of(shapes: Shapes) -> Teachers:
    """The polygons of each class, then the lines of each."""
    return (*all_areas(shapes), *all_lines(shapes))


def questions(view: SamView, teachers: Teachers) -> list[Question]:
    """The windows to be looked at."""
    asked: dict[tuple[int, int], tuple[Window, list[int]]] = {}
    for number, teacher in enumerate(teachers):
        for window in places(view.cube, teacher.tree):
            asked.setdefault((window[0].start, window[1].start), (window, []))[1].append(number)
    return [
        Question(window, tuple(numbers)) for _, (window, numbers) in sorted(asked.items(), key=lambda item: item[0])
    ]


def look(view: SamView, teachers: Teachers, question: Question) -> list[Lesson]:
    """What a window teaches, in the order of its teachers."""
    sight = Sight(view, view.around(question.window))
    _ = sight.asked  # lines do not ask SAM here, but what is learnt of them does: it is kept
    return [teachers[number].lesson(sight) for number in question.teachers]


def learn(view: SamView, teachers: Teachers, asked: Sequence[Question], answers: Sequence[Sequence[Lesson]]) -> Known:
    """Learn what the classes look like.

    Args:
        view: SAM before the scene.
        teachers: the things of each class.
        asked: from `questions`.
        answers: from `look`, one for each of them.
    """
    lessons: list[list[Lesson]] = [[] for _ in teachers]
    for question, answer in zip(asked, answers, strict=True):
        for number, lesson in zip(question.teachers, answer, strict=True):
            lessons[number].append(lesson)
    with one_thread_for_numpy():  # whatever machine goes on with it, the same is learnt
        looks = [ClassLook.learnt(view, given) for given in lessons]
    pairs = list(zip(teachers, looks, strict=True))
    return Known(
        {teacher.klass: known for teacher, known in pairs if isinstance(teacher, Areas)},
        {teacher.klass: known for teacher, known in pairs if isinstance(teacher, Lines)},
    )


def learnt_here(view: SamView, shapes: Shapes) -> Known:
    """All of it in this process."""
    teachers = teachers_of(shapes)
    asked = questions(view, teachers)
    return learn(view, teachers, asked, [look(view, teachers, one) for one in asked])
