"""A task that was started is finished, and errors say how the command ends."""

import pytest

from infra import errors
from infra.progress import Silent, counting


class Written(Silent):
    def __init__(self):
        self.lines = []

    def start(self, name, *, total, unit):
        self.lines.append(f"start {name} {total:g} {unit}")
        return super().start(name, total=total, unit=unit)

    def finish(self, task):
        self.lines.append("finish")


def test_a_task_is_finished_whatever_happens():
    progress = Written()
    with counting(progress, "predict", total=9, unit="tiles") as bar:
        bar.advance()
        bar.say("half")
    with pytest.raises(ZeroDivisionError), counting(progress, "train", total=2, unit="steps"):
        raise ZeroDivisionError
    assert progress.lines == ["start predict 9 tiles", "finish", "start train 2 steps", "finish"]


@pytest.mark.parametrize(
    ("kind", "parent", "code"),
    [
        (errors.GeoloomError, Exception, 1),
        (errors.UnusableInput, ValueError, 2),
        (errors.UnwritableOutput, OSError, 2),
    ],
)
def test_each_error_has_its_exit_code_and_a_standard_parent(kind, parent, code):
    assert issubclass(kind, parent)
    assert issubclass(kind, errors.GeoloomError)
    assert kind("text").exit_code == code
    assert str(kind("text")) == "text"
