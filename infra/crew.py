"""Processes of this machine that do one thing together, and meet at a port: where one fails, all end."""

from __future__ import annotations

import multiprocessing
import pickle
import socket
from collections.abc import Callable, Sequence
from itertools import count
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from infra.errors import GeoloomError
from infra.lifeline import end_with_parent
from infra.progress import Progress, Silent, Task


def work_together(call: Callable[..., Any], args: Sequence[Any], *, members: int, progress: Progress) -> Any:
    """Call a function in each of some new processes, as `call(number, port, progress, *args)`.

    Args:
        call: a function of a module; it returns when the work is done.
        args: small values.
        members: how many; their numbers begin with 0.
        progress: told what number 0 tells; the others tell nobody.

    Returns:
        What number 0 returned.

    Raises:
        GeoloomError: a process ended by itself.
        Exception: what a process raised.
    """
    context = multiprocessing.get_context("spawn")
    port = _free_port()
    crew: dict[Connection, BaseProcess] = {}
    try:
        for number in range(members):
            ours, theirs = context.Pipe(duplex=False)
            process: BaseProcess = context.Process(
                target=_member, args=(theirs, number, port, call, tuple(args)), daemon=True
            )
            process.start()
            theirs.close()
            crew[ours] = process
        return _heard(crew, progress)
    finally:
        for process in crew.values():
            process.kill()
            process.join()


def _heard(crew: dict[Connection, BaseProcess], progress: Progress) -> Any:
    """Listen until all are done."""
    result, tasks, open_ends = None, dict[int, Task](), list(crew)
    while open_ends:
        for end in wait(open_ends):
            assert isinstance(end, Connection)
            try:
                kind, *said = pickle.loads(end.recv_bytes())  # noqa: S301 - from a process of ours
            except EOFError:
                crew[end].join()
                raise GeoloomError(
                    f"A process that worked with others ended (exit code {crew[end].exitcode}), killed or out of "
                    "memory; run the same command again."
                ) from None
            if kind == "done":
                result = said[0] if said[0] is not None else result
                open_ends.remove(end)
            elif kind == "failed":
                raise said[0]
            else:
                _tell(kind, said, tasks, progress)
    return result


def _tell(kind: str, said: list[Any], tasks: dict[int, Task], progress: Progress) -> None:
    if kind == "start":
        tasks[said[0]] = progress.start(said[1], total=said[2], unit=said[3])
    elif kind == "finish":
        progress.finish(tasks.pop(said[0]))
    elif kind == "note":
        progress.note(said[0])
    elif kind == "advance":
        tasks[said[0]].advance(said[1])
    else:
        tasks[said[0]].say(said[1])


class _Relay:
    """Tells the process that listens."""

    def __init__(self, end: Connection) -> None:
        self._end, self._numbers = end, count()

    def start(self, name: str, *, total: float, unit: str) -> Task:
        number = next(self._numbers)
        _send(self._end, "start", number, name, total, unit)
        return _RelayedTask(self._end, number)

    def finish(self, task: Task) -> None:
        assert isinstance(task, _RelayedTask)
        _send(self._end, "finish", task.number)

    def note(self, text: str) -> None:
        _send(self._end, "note", text)


class _RelayedTask:
    def __init__(self, end: Connection, number: int) -> None:
        self._end, self.number = end, number

    def advance(self, amount: float = 1.0) -> None:
        _send(self._end, "advance", self.number, amount)

    def say(self, text: str) -> None:
        _send(self._end, "say", self.number, text)


def _member(end: Connection, number: int, port: int, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
    end_with_parent()
    try:
        done = call(number, port, _Relay(end) if number == 0 else Silent(), *args)
    except BaseException as error:  # noqa: BLE001 - it is raised where it can be told
        try:
            _send(end, "failed", error)
        except Exception:  # noqa: BLE001 - what cannot travel is told in words
            _send(end, "failed", GeoloomError(f"{type(error).__name__}: {error}"))
    else:
        _send(end, "done", done)


def _send(end: Connection, *said: Any) -> None:
    end.send_bytes(pickle.dumps(said))


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port
