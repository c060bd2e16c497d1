"""Handlers on threads: order, concurrency, exceptions, limits."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
from conftest import PATIENCE, until

import tautline

Pair = tuple[tautline.Link, tautline.Link]


def test_messages_of_one_peer_are_handled_in_order(pair: Pair) -> None:
    plant, controller = pair
    handled: list[int] = []

    @plant.handler("data")
    def keep(message: tautline.Message, reply: tautline.Reply) -> None:
        handled.append(message.data)

    controller.publisher().send_batch(list(range(300)))
    until(lambda: len(handled) == 300, "the handling of all messages")
    assert handled == list(range(300))
    (counts,) = plant.handler_statistics()
    until(lambda: plant.handler_statistics()[0].handled == 300, "the counting of all messages")
    assert (counts.type, counts.channel, counts.raised) == ("data", None, 0)


def test_a_handler_that_cannot_take_message_and_reply_is_refused_at_once(pair: Pair) -> None:
    plant, _ = pair
    takes_one: Any = lambda message: None
    for function in (takes_one, takes_one(None)):
        with pytest.raises(TypeError, match="a function of the message and of reply is expected"):
            plant.handler("data")(function)
    assert plant.handler_statistics() == []
    plant.handler("data")(lambda *both: None)
    plant.handler("status")(print)


def test_a_handler_for_a_channel_goes_before_the_handler_for_its_type(pair: Pair) -> None:
    plant, controller = pair
    handled: list[Any] = []
    plant.handler("data")(lambda message, reply: handled.append(("type", message.data)))
    plant.handler("data", 2)(lambda message, reply: handled.append(("channel", message.data)))
    controller.send(1)
    controller.send(2, channel=2)
    until(lambda: len(handled) == 2, "both calls")
    assert sorted(handled) == [("channel", 2), ("type", 1)]
    assert plant.unregister("data", 2) and not plant.unregister("data", 2)


def test_messages_of_other_peers_do_not_wait_for_a_slow_call(pair: Pair) -> None:
    plant, first = pair
    release = threading.Event()
    handled: list[Any] = []

    @plant.handler("data")
    def handle(message: tautline.Message, reply: tautline.Reply) -> None:
        if message.data == "slow":
            release.wait(PATIENCE)
        handled.append(message.data)

    assert plant.local_address
    with tautline.connect(plant.local_address) as second:
        first.send("slow")
        second.send("fast")
        until(lambda: handled == ["fast"], "the call for the other peer")
        release.set()
        until(lambda: handled == ["fast", "slow"], "the end of the slow call")


def test_an_exception_is_logged_and_counted_and_the_next_message_is_handled(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    plant, controller = pair
    handled: list[int] = []

    @plant.handler("data")
    def handle(message: tautline.Message, reply: tautline.Reply) -> None:
        handled.append(message.data)
        raise ValueError("a bad day")

    with caplog.at_level(logging.ERROR, logger="tautline"):
        controller.send(1)
        controller.send(2)
        until(lambda: plant.handler_statistics()[0].raised == 2, "both calls")
    assert handled == [1, 2]
    assert "a bad day" in caplog.text


def test_a_call_past_its_time_limit_is_counted_and_replaced(pair: Pair) -> None:
    plant, controller = pair
    release = threading.Event()
    handled: list[Any] = []

    @plant.handler("data", concurrency=1, time_limit="20ms")
    def handle(message: tautline.Message, reply: tautline.Reply) -> None:
        if message.data == "hang":
            release.wait(PATIENCE)
        handled.append(message.data)

    controller.send("hang")
    until(lambda: plant.handler_statistics()[0].timed_out == 1, "the time-out")

    def is_next_handled() -> bool:
        # On a busy machine a call may pass its limit before its thread runs.
        controller.send("next")
        return "next" in handled

    until(is_next_handled, "the next call")
    release.set()


def test_a_function_that_returns_a_coroutine_is_run_to_its_end(pair: Pair) -> None:
    plant, controller = pair
    handled: list[Any] = []

    async def inner(data: Any) -> None:
        handled.append(data)

    plant.handler("data")(lambda message, reply: inner(message.data))
    controller.send("x")
    until(lambda: handled == ["x"], "the call")


def test_a_handler_may_register_another_and_unregister_itself(pair: Pair) -> None:
    plant, controller = pair
    handled: list[Any] = []

    @plant.handler("data")
    def first(message: tautline.Message, reply: tautline.Reply) -> None:
        plant.handler("status")(lambda message, reply: handled.append(message.data))
        plant.unregister("data")
        handled.append("first")

    controller.send(1)
    until(lambda: handled == ["first"], "the first call")
    controller.send(2)
    controller.send("status", "status")
    until(lambda: handled == ["first", "status"], "the second call")


def test_the_threads_of_a_handler_end_with_its_registration(pair: Pair) -> None:
    plant, controller = pair
    plant.handler("data")(lambda message, reply: reply("ok"))
    assert controller.request(1, "data", timeout=PATIENCE).data == "ok"
    plant.unregister("data")
    until(lambda: not [t for t in threading.enumerate() if t.name == "tautline-data"], "the end of its threads")
