"""Questions to an Overpass server: one at a time, and patient where it is busy, as its operators ask.

https://dev.overpass-api.de/overpass-doc/en/preface/commons.html
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Any

from infra.errors import UnusableInput
from infra.stopping import check

ANSWER_S = 180
"""Seconds that the server may think about a question; the question says so."""
SILENCE_S = ANSWER_S + 60.0
BUSY = (429, 502, 503, 504)
PAUSES_S = (5.0, 15.0, 30.0, 60.0)
"""Between attempts, where the server does not say how long (Retry-After)."""
LONGEST_PAUSE_S = 300.0


class TooMuch(UnusableInput):
    """The server gave up on a question: it asks for too much at once."""


@dataclass(frozen=True, slots=True)
class Overpass:
    """An Overpass server."""

    url: str
    """Of its interpreter."""

    def ask(self, query: str) -> dict[str, Any]:
        """The answer to a question in Overpass QL that asks for JSON.

        Raises:
            TooMuch: the server ran out of time or memory.
            UnusableInput: it cannot be reached, refuses, or is still busy after several attempts.
        """
        for pause in (*PAUSES_S, None):
            try:
                answer = self._answer(query)
            except urllib.error.HTTPError as error:
                with error:  # it holds the connection
                    if error.code not in BUSY:
                        raise self._refused(f"it answered {error.code}") from error
                    if pause is None:
                        raise self._refused(f"it is busy ({error.code}), and was each time it was asked") from error
                    wait = _asked_for(error.headers.get("Retry-After"), otherwise=pause)
            except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
                why = getattr(error, "reason", error)
                raise self._refused(str(getattr(why, "strerror", None) or why)) from error
            else:
                self._check(answer)
                return answer
            for seconds in _slices(wait):
                check()
                time.sleep(seconds)
        raise AssertionError  # the last attempt returned or raised

    def _answer(self, query: str) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - the setting's address
            self.url,
            data=urllib.parse.urlencode({"data": query}).encode(),
            headers={"User-Agent": f"geoloom/{version('geoloom')}", "Accept": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=SILENCE_S) as answer:  # noqa: S310
            document: dict[str, Any] = json.load(answer)
        return document

    def _check(self, answer: dict[str, Any]) -> None:
        said = str(answer.get("remark", ""))
        if "runtime error" in said:  # it says so with status 200, and what it had found so far
            why = said.partition("runtime error:")[2].strip(" .")
            raise TooMuch(f"The Overpass server {self._shown} gave up ({why}); try again later, or give an extract.")

    @property
    def _shown(self) -> str:
        return urllib.parse.urlsplit(self.url).hostname or "?"

    def _refused(self, why: str) -> UnusableInput:
        return UnusableInput(
            f"The Overpass server {self._shown} cannot be used ({why}); try again later, name another one in "
            "GEOLOOM_OVERPASS_URL, or give an extract with --prompts FILE.osm.pbf."
        )


def _asked_for(said: str | None, *, otherwise: float) -> float:
    """Seconds of a Retry-After header: a number, or a date."""
    if said is None:
        return otherwise
    try:
        wait = (
            float(said) if said.strip().isdigit() else (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
        )
    except (ValueError, TypeError):
        return otherwise
    return min(max(wait, 0.0), LONGEST_PAUSE_S)


def _slices(wait: float) -> Iterator[float]:
    """A wait in parts, so that who waits can be stopped."""
    while wait > 0:
        yield min(wait, 1.0)
        wait -= 1.0
