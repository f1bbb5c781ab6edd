"""An Overpass server that is busy is waited for, one that gives up is asked for less, and one that is gone is named."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from small_server import SmallServer

from infra.errors import UnusableInput
from infra.overpass import LONGEST_PAUSE_S, Overpass, TooMuch, _asked_for


def replies(*answers):
    """One after the other, the last for ever."""
    left = list(answers)

    def reply(_path, _body):
        return left.pop(0) if len(left) > 1 else left[0]

    return reply


def refused(server, words, error=UnusableInput):
    with pytest.raises(error, match=words) as caught:
        Overpass(server).ask("out;")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("status", [429, 504])
def test_a_busy_server_is_asked_again_when_it_says(status):
    busy = (status, {"Retry-After": "0"}, b"slow down")
    with SmallServer(replies(busy, busy, (200, {}, b'{"elements": []}'))) as server:
        assert Overpass(server.url).ask("[out:json];out;") == {"elements": []}
        assert server.asked == ["data=%5Bout%3Ajson%5D%3Bout%3B"] * 3
        assert all(agent.startswith("geoloom/") for agent in server.agents)


def test_it_is_waited_for_only_so_often():
    with SmallServer(replies((429, {"Retry-After": "0"}, b""))) as server:
        refused(server.url, "is busy .*GEOLOOM_OVERPASS_URL")
        assert len(server.asked) == 5


def test_what_it_cannot_do_at_once_is_another_error():
    said = b'{"elements": [], "remark": "runtime error: Query timed out in \\"query\\" at line 1 after 181 seconds."}'
    with SmallServer(replies((200, {}, said))) as server:
        refused(server.url, "gave up .Query timed out", TooMuch)


@pytest.mark.parametrize(
    ("answer", "words"),
    [((400, {}, b"<html>parse error"), "answered 400"), ((200, {}, b"<html>"), "cannot be used")],
)
def test_nonsense_is_said(answer, words):
    with SmallServer(replies(answer)) as server:
        refused(server.url, words)
        assert len(server.asked) == 1


def test_nobody_there():
    refused("http://127.0.0.1:1/api", "127.0.0.1 cannot be used .*refused")


def test_how_long_it_asks_to_be_left():
    assert _asked_for("7", otherwise=1) == 7
    assert _asked_for("99999", otherwise=1) == LONGEST_PAUSE_S
    assert _asked_for(None, otherwise=3) == 3
    assert _asked_for("soon", otherwise=3) == 3
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 50 < _asked_for(date, otherwise=1) <= 60
