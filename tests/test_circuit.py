"""The bulkhead and the breaker, which let the rest of a server go on."""

import threading
import time

import pytest

from files.circuit import Bulkhead, Circuit, UnavailableError
from tests.waiting import until


@pytest.fixture(autouse=True)
def _threads(monkeypatch):
    monkeypatch.setattr(Bulkhead, "threads", 4)


def test_no_more_than_a_share_of_the_threads_wait():
    bulkhead = Bulkhead("it", patience=0)
    bulkhead.enter()
    bulkhead.enter()
    with pytest.raises(UnavailableError, match=r"^2 requests wait for it already$"):
        bulkhead.enter()
    bulkhead.leave()
    with bulkhead.waiting():
        pass


def test_a_command_is_refused_nothing(monkeypatch):
    monkeypatch.setattr(Bulkhead, "threads", None)
    bulkhead = Bulkhead("it", patience=0)
    for _ in range(100):
        bulkhead.enter()


def test_more_of_them_wait_while_those_move_on():
    bulkhead = Bulkhead("it", share=0.25, patience=5)
    bulkhead.enter()
    timer = threading.Timer(0.1, bulkhead.leave)
    began = time.monotonic()
    timer.start()
    with bulkhead.waiting():
        assert 0.1 <= time.monotonic() - began < 5
    timer.join()


def test_all_are_refused_once_nothing_moves():
    bulkhead = Bulkhead("it", share=0.25, patience=0.2)
    bulkhead.enter()
    with pytest.raises(UnavailableError):
        bulkhead.enter()
    began = time.monotonic()
    with pytest.raises(UnavailableError):
        bulkhead.enter()
    assert time.monotonic() - began < 0.1


def test_two_failures_in_turn_open_the_circuit_until_a_probe_is_answered():
    probed, is_back = threading.Event(), threading.Event()

    def probe():
        probed.set()
        return is_back.is_set()

    circuit = Circuit("it", probe)
    for has_answered in (False, True, False):
        circuit.note(has_answered)
        with circuit.waiting():
            pass
    circuit.note(has_answered=False)
    with pytest.raises(UnavailableError, match=r"^it is out of reach"):
        circuit.enter()
    assert probed.wait(5)
    is_back.set()
    until(lambda: not circuit.is_out)
    with circuit.waiting():
        pass


def test_a_probe_that_fails_is_tried_again(caplog):
    answers = iter([ValueError("a fault"), True])

    def probe():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    circuit = Circuit("it", probe)
    circuit.note(has_answered=False)
    circuit.note(has_answered=False)
    until(lambda: not circuit.is_out)
    assert "The probe of it fails." in caplog.text
