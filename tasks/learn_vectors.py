"""The jobs in which a labelling looks at the scene before it labels: what the vectors' classes look like there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from infra.cluster import Cluster, Job
from infra.progress import Progress, counting
from models.machine import one_thread, one_thread_for_numpy
from tasks.label_block import Orders, Tools, open_tools
from tasks.ways import Way
from tasks.workspace import forgetting_damage

if TYPE_CHECKING:
    from tasks.scene_look import Lesson
    from tasks.vector_labeler import VectorLabeler
    from tasks.vector_lessons import Question


def learnt(orders: Orders, *, cluster: Cluster, progress: Progress) -> Orders:
    """Orders whose vectors know what their classes look like; others as they are.

    Raises:
        UnusableInput: the vectors, or the weights, cannot be used.
        DamagedCube: the cube's pixels are not those that were ingested.
    """
    ways = [
        _learnt(orders, way, cluster=cluster, progress=progress) if way.method == "vectors" else way
        for way in orders.ways
    ]
    return replace(orders, ways=tuple(ways))


def _learnt(orders: Orders, way: Way, *, cluster: Cluster, progress: Progress) -> Way:
    from tasks.vector_lessons import Known, learn, questions

    alone = replace(orders, ways=(replace(way, known=Known()),), recipe=f"{orders.recipe}-looks")
    labeler = _vectors(open_tools(alone))
    asked = questions(labeler.view, labeler.teachers)
    answers: dict[str, list[Lesson]] = {}
    with counting(progress, "learn", total=len(asked), unit="windows") as bar:

        def done(job: Job, lessons: list[Lesson]) -> None:
            answers[job.key] = lessons
            bar.advance()

        jobs = [Job(f"look-{number}", look_at, (alone, question)) for number, question in enumerate(asked)]
        cluster.run(jobs, done=done)
        known = learn(labeler.view, labeler.teachers, asked, [answers[job.key] for job in jobs])
    return replace(way, known=known)


def look_at(orders: Orders, question: Question) -> list[Lesson]:
    """What one window teaches."""
    from tasks.vector_lessons import look

    one_thread(orders.device)
    tools = open_tools(orders)
    labeler = _vectors(tools)
    with forgetting_damage(orders.store), one_thread_for_numpy(), tools.lanes:
        return look(labeler.view, labeler.teachers, question)


def _vectors(tools: Tools) -> VectorLabeler:
    labeler: VectorLabeler = tools.labeler  # type: ignore[assignment]  # orders of one way, which is this
    return labeler
