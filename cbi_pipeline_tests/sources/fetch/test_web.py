"""What every request does when the service stumbles, and that no key is shown."""

from __future__ import annotations

import base64
import logging

import pytest

from cbi_pipeline.errors import SourceError
from cbi_pipeline.sources.fetch import web
from cbi_pipeline_tests.sources.fetch.server import Answer, quick_web, serving

KEY = "db-a-key-that-nobody-may-see"
GOOD = Answer(b"observation_date,DGS10\n2024-12-31,4.58\n")


@pytest.mark.parametrize(
    "fault",
    [
        Answer(status=500),
        Answer(status=503),
        Answer(status=429),
        Answer(status=429, headers={"Retry-After": "0"}),
        Answer(GOOD.body, sent_bytes=20),
    ],
)
def test_a_passing_fault_is_tried_again(fault: Answer) -> None:
    with serving(lambda _, count: fault if count < 2 else GOOD) as server, quick_web() as client:
        assert client.get(server.url + "/file") == GOOD.body
        assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("fault", "requests"),
    [
        (Answer(status=404), 1),
        (Answer(status=401), 1),
        (Answer(status=429, headers={"Retry-After": "86400"}), 1),
        (Answer(status=500), web.ATTEMPTS),
        (Answer(GOOD.body, sent_bytes=20), web.ATTEMPTS),
    ],
)
def test_a_lasting_fault_ends_in_an_error(fault: Answer, requests: int) -> None:
    with serving(lambda *_: fault) as server, quick_web() as client:
        with pytest.raises(SourceError, match=r"/file: The provider"):
            client.get(server.url + "/file")
        assert len(server.asked) == requests


def test_a_file_that_is_not_there_is_no_fault_where_it_may_be_missing() -> None:
    with serving(lambda asked, _: Answer(status=int(asked.path[1:]))) as server, quick_web() as client:
        assert client.get_if_there(server.url + "/404") is None
        assert client.get_if_there(server.url + "/410") is None
        with pytest.raises(SourceError, match="403"):
            client.get_if_there(server.url + "/403")


def test_the_wait_that_a_service_asks_for_is_kept() -> None:
    busy = Answer(status=429, headers={"Retry-After": "1"})
    with serving(lambda _, count: GOOD if count else busy) as server, quick_web() as client:
        client.get(server.url + "/file")
        assert server.asked[1].at - server.asked[0].at >= 0.99


def test_requests_keep_the_rate_limit() -> None:
    with serving(lambda *_: GOOD) as server, web.Web(pause_seconds=0.2) as client:
        for _ in range(3):
            client.get(server.url + "/file")
        assert server.asked[2].at - server.asked[0].at >= 0.39


def test_an_address_where_nobody_listens_is_an_error() -> None:
    with serving(lambda *_: GOOD) as server:
        url = server.url
    with quick_web() as client, pytest.raises(SourceError, match="ConnectError"):
        client.get(url + "/file")


def test_an_answer_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "LARGEST_ANSWER_BYTES", 10)
    with (
        serving(lambda *_: GOOD) as server,
        quick_web() as client,
        pytest.raises(SourceError, match="no larger than 10 bytes"),
    ):
        client.get(server.url + "/file")


@pytest.mark.parametrize("fault", [Answer(status=401), Answer(status=500), Answer(GOOD.body, sent_bytes=5)])
def test_the_key_is_sent_and_shown_nowhere(fault: Answer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(lambda *_: fault) as server, quick_web(KEY) as client:
        with pytest.raises(SourceError) as caught:
            client.post(server.url + "/v0/metadata.get_cost", {"dataset": "GLBX.MDP3"})
        encoded = base64.b64encode(f"{KEY}:".encode()).decode()
        assert server.asked[0].authorization == f"Basic {encoded}"
    assert caplog.text
    everything = caplog.text + str(caught.value) + repr(caught.value.__cause__)
    assert KEY not in everything
    assert encoded not in everything


def test_the_key_does_not_follow_to_another_host() -> None:
    with serving(lambda *_: GOOD) as other:
        moved = Answer(status=302, headers={"Location": other.url.replace("127.0.0.1", "localhost") + "/file"})
        with serving(lambda *_: moved) as server, quick_web(KEY) as client:
            assert client.get(server.url + "/file") == GOOD.body
            assert server.asked[0].authorization
            assert other.asked[0].authorization is None
