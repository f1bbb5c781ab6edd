"""A training's log as TensorBoard reads it: event files in the folder `tensorboard` beside the model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from models.logs import Point

FOLDER = "tensorboard"
_FILE_VERSION = "brain.Event:2"  # the version from which readers heed a restart


class TensorBoard:
    """Event files, one for each time that a training begins or goes on.

    Each begins with a restart at step 1, which makes readers forget what the files before it say, and with the whole
    history; so a step is there once, with the values that count, whatever a kill left in the older files.

    The records are written here and not by torch's SummaryWriter: that writes in a thread, where a full disk ends in a
    traceback on the terminal, and up to two minutes late, so that a kill costs them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._began = time.time()
        self._file: BinaryIO | None = None

    def begin(self, recipe: Mapping[str, str], past: Sequence[Point], *, seconds: float, resumed: bool) -> None:
        """Open a file of its own, and write the past into it."""
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from torch.utils.tensorboard.summary import hparams

        del resumed  # whatever older files say no longer counts
        self._began = time.time() - seconds
        self._folder.mkdir(parents=True, exist_ok=True)
        # Readers take files in the order of their names.
        path = self._folder / f"events.out.tfevents.{time.time_ns()}.geoloom"
        self._file = path.open("xb")
        self._add(file_version=_FILE_VERSION)
        self._add(step=1, session_log=SessionLog(status=SessionLog.START))
        for summary in hparams(dict(recipe), {"validation/mean_iou": 0.0}):  # type: ignore[no-untyped-call]
            self._add(summary=summary)
        self.write(past)

    def write(self, points: Sequence[Point]) -> None:
        """One record a point."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        for point in points:
            value = Summary.Value(tag=point.name, simple_value=point.value)
            self._add(step=point.step, wall_time=self._began + point.seconds, summary=Summary(value=[value]))

    def keep(self) -> None:
        """Nothing: steps that are learnt again are taken back by the restart."""

    def finish(self, curves: Path) -> None:
        """The curves as an image."""
        from PIL import Image
        from tensorboard.compat.proto.summary_pb2 import Summary

        content = curves.read_bytes()
        with Image.open(BytesIO(content)) as picture:
            width, height = picture.size
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=content)
        self._add(summary=Summary(value=[Summary.Value(tag="curves", image=image)]))

    def close(self, *, failed: bool) -> None:
        """Close the file."""
        del failed
        if self._file is not None:
            self._file.close()

    def _add(self, *, wall_time: float | None = None, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        assert self._file is not None
        event = Event(wall_time=time.time() if wall_time is None else wall_time, **content)
        whole = BytesIO()
        RecordWriter(whole).write(event.SerializeToString())
        self._file.write(whole.getvalue())
        self._file.flush()  # a kill costs nothing that was written, and a full disk says so here
