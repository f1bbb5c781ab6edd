"""The one tree of errors, and the exit code each one ends the command line with.

    Exception
    └── GeoloomError                     1  a fault of ours
        ├── UnusableInput (ValueError)   2  what the user gave cannot be used
        │   └── UnusableScene            2  one scene cannot be read: 3 where others can
        ├── UnwritableOutput (OSError)   2  where the user wants the result, none can be written
        ├── PartialResult                3  a result that lacks tiles that failed, or scenes; they are named
        └── WorkspaceBusy                4  another run holds the workspace

Every message is one sentence: what was given, what was expected, what to do. This module imports nothing, so that
every layer may raise from it (docs/decisions/0001-one-error-tree.md).
"""


def first_line(error: BaseException) -> str:
    """The first line of what an error says, without its full stop; or its kind where it says nothing."""
    told = str(error).strip()
    return told.splitlines()[0].rstrip(".") if told else type(error).__name__


class GeoloomError(Exception):
    """A fault of geoloom's own, and the root of every error it raises on purpose."""

    exit_code = 1


class UnusableInput(GeoloomError, ValueError):
    """A file, folder, model or option that the user named cannot be used."""

    exit_code = 2


class UnusableScene(UnusableInput):
    """A scene that is there is empty, truncated, corrupt or no raster."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message, path)
        self.path = path

    def __str__(self) -> str:
        """The message alone."""
        return str(self.args[0])


class UnwritableOutput(GeoloomError, OSError):
    """A result cannot be written where the user wants it."""

    exit_code = 2


class PartialResult(GeoloomError):
    """Tiles failed and their pixels are nodata, or scenes were left out."""

    exit_code = 3


class WorkspaceBusy(GeoloomError):
    """Another run is at work in the workspace, or has taken it over from this one."""

    exit_code = 4
