"""A link on threads: sending, receiving, requests, receipts, owners, watchdogs, events, statistics."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from conftest import PATIENCE, until

import tautline

Pair = tuple[tautline.Link, tautline.Link]


def test_a_message_arrives_with_its_metadata(pair: Pair) -> None:
    plant, controller = pair
    controller.send(
        {"force": 1.5}, "command", channel=3, priority="high", message_id="step-1", destination="arm", lifespan=5
    )
    message = plant.receive(PATIENCE)
    assert message.data == {"force": 1.5}
    assert (message.type, message.channel, message.priority) == ("command", 3, tautline.Priority.HIGH)
    assert (message.message_id, message.source, message.destination) == ("step-1", "controller", "arm")
    assert (message.lifespan, message.delivery, message.content_type) == (5.0, "best_effort", "json")
    assert 0 <= message.age < PATIENCE and abs(message.timestamp - time.time()) < PATIENCE
    assert message.data is message.data


def test_enums_of_other_programs_are_taken_by_their_value(pair: Pair) -> None:
    import enum

    class Theirs(enum.Enum):
        COMMAND = "command"
        HIGH = 3

    plant, controller = pair
    controller.send(1, Theirs.COMMAND, priority=Theirs.HIGH)
    message = plant.receive(PATIENCE)
    assert (message.type, message.priority) == (tautline.MessageType.COMMAND, tautline.Priority.HIGH)


def test_a_server_answers_the_peer_that_asked(pair: Pair) -> None:
    plant, controller = pair
    controller.send(1, "command", message_id=7)
    question = plant.receive(PATIENCE)
    plant.reply(question, "done")
    answer = controller.receive(PATIENCE)
    assert (answer.data, answer.type, answer.correlation_id) == ("done", "acknowledgment", 7)
    plant.send("to one", to=question.peer)
    plant.send("by address", to=question.address)
    assert [controller.receive(PATIENCE).data for _ in range(2)] == ["to one", "by address"]


def test_a_publisher_sends_with_what_was_chosen_once(pair: Pair) -> None:
    plant, controller = pair
    data = controller.publisher("data", channel=7)
    data.send(1)
    data.send_batch([2, b"3"])
    messages = [plant.receive(PATIENCE) for _ in range(3)]
    assert [(message.channel, message.data) for message in messages] == [(7, 1), (7, 2), (7, b"3")]


def test_a_request_gets_its_answer(pair: Pair) -> None:
    plant, controller = pair

    @plant.handler("command")
    def double(message: tautline.Message, reply: tautline.Reply) -> None:
        reply(2 * message.data)

    assert controller.request(21, timeout=PATIENCE).data == 42


def test_a_request_without_an_answer_times_out(pair: Pair) -> None:
    _, controller = pair
    with pytest.raises(tautline.TimedOut):
        controller.request(1, timeout=0.02)


def test_a_receipt_tells_the_outcome(pair: Pair) -> None:
    plant, controller = pair
    receipt = controller.send_reliable({"gain": 2.0}, "configuration")
    assert receipt.wait(PATIENCE) == "delivered"
    assert receipt.outcome == receipt.wait() == "delivered"
    assert plant.receive(PATIENCE).data == {"gain": 2.0}


def test_receive_tells_a_time_out_from_a_disconnect(pair: Pair) -> None:
    plant, _ = pair
    with pytest.raises(tautline.TimedOut, match="no message came in time"):
        plant.receive(0.01)
    with pytest.raises(TimeoutError):
        plant.receive(0)
    assert plant.poll() is None
    assert plant.statistics().timeouts == 1
    waiter = threading.Timer(0.05, plant.disconnect)
    waiter.start()
    with pytest.raises(tautline.Disconnected):
        plant.receive()
    with pytest.raises(tautline.NotConnected):
        plant.receive()
    with pytest.raises(ConnectionError):
        plant.send(1)


def test_a_closed_link_is_told_from_one_that_can_be_connected(pair: Pair) -> None:
    plant, _ = pair
    plant.close()
    calls: list[Callable[[], Any]] = [lambda: plant.send(1), plant.receive, plant.claim]
    for call in calls:
        with pytest.raises(tautline.NotConnected, match="make a new one"):
            call()
    with pytest.raises(tautline.Disconnected, match="was closed: make a new one"):
        plant.connect()


def test_completion_offers_what_is_for_users() -> None:
    for kind in (tautline.Link, tautline.Publisher, tautline.Events, tautline.Cycle):
        names = [name for name in dir(kind) if not name.startswith("_")]
        assert not [name for name in names if name.startswith("begin") or name.endswith(("_list", "_dict", "_parts"))], kind
    assert {"end", "cleanup", "register", "send_as", "last_look"}.isdisjoint(dir(tautline.Link))


def test_many_threads_receive_each_message_once(pair: Pair) -> None:
    plant, controller = pair
    taken: list[int] = []

    def take() -> None:
        taken.extend(message.data for message in plant)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(400):
        controller.send(number)
    until(lambda: len(taken) == 400, "the arrival of all messages")
    plant.disconnect()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert sorted(taken) == list(range(400))


def test_receive_many_takes_what_is_there(pair: Pair) -> None:
    plant, controller = pair
    assert plant.receive_many(10, 0.01) == []
    controller.publisher().send_batch(list(range(20)))
    until(lambda: plant.statistics().inbox_waiting == 20, "the arrival of all messages")
    assert [message.data for message in plant.receive_many(15)] == list(range(15))
    assert [message.data for message in plant.receive_many()] == list(range(15, 20))


def test_a_stream_of_commands_changes_its_owner_by_claim() -> None:
    with tautline.serve("127.0.0.1:0", qos={"command": {"owner": True, "history": "all"}}) as plant:
        assert plant.local_address
        with tautline.connect(plant.local_address) as first, tautline.connect(plant.local_address) as second:
            first.send(1, "command")
            owner = plant.receive(PATIENCE).peer
            until(lambda: plant.owners() == {("command", 0): owner}, "the entry of the owner")
            assert second.claim("command").wait(PATIENCE) == "granted"
            second.send(2, "command")
            assert plant.receive(PATIENCE).data == 2
            assert second.release("command").wait(PATIENCE) == "released"
            second.send(3, "command")
            assert plant.receive(PATIENCE).data == 3
            until(lambda: plant.free("command"), "the taking away")


def test_a_watchdog_latches_and_a_reset_lets_commands_pass(pair: Pair) -> None:
    plant, controller = pair
    changes: list[tautline.WatchdogEvent] = []
    watch = plant.watch(changes.append, "command", 0.05)
    controller.send(1, "command")
    until(lambda: [change.kind for change in changes][:2] == ["armed", "tripped"], "the trip")
    assert [entry.state for entry in plant.watchdogs()] == ["tripped"]
    controller.send(2, "command")
    until(lambda: "refusing" in [change.kind for change in changes], "the refusal")
    assert plant.poll() is None
    assert plant.reset(watch) == 1
    until(lambda: changes[-1].kind == "reset", "the reset")
    # A command that is made within microseconds of the reset may count as made before. One that is handed out arms the
    # watchdog, which may trip again before anybody takes it.
    until(
        lambda: controller.send(3, "command") and [change.kind for change in changes].count("armed") > 1,
        "the arming by the next command",
    )
    assert plant.unwatch(watch) and not plant.unwatch(watch)


def test_closing_trips_an_armed_watchdog_and_its_failsafe_has_run(pair: Pair) -> None:
    plant, controller = pair
    changes: list[str] = []
    plant.watch(lambda change: changes.append(change.kind), "command", 60)
    controller.send(1, "command")
    until(lambda: changes == ["armed"], "the arming")
    plant.close()
    assert changes == ["armed", "tripped"]


def test_the_failsafe_of_a_configuration_is_called() -> None:
    states: list[str] = []
    config = tautline.Config(
        role="server",
        endpoint="127.0.0.1:0",
        qos={"command": {"deadline": "20ms"}},
        failsafe=lambda change: states.append(change.state),
    )
    with tautline.Link(config) as plant:
        assert plant.local_address
        with tautline.connect(plant.local_address) as controller:
            controller.send(1, "command")
            until(lambda: "tripped" in states, "the trip")


def test_events_tell_who_comes_and_goes() -> None:
    with tautline.serve("127.0.0.1:0") as plant:
        events = plant.events()
        assert plant.local_address
        with tautline.connect(plant.local_address, name="arm"):
            came = events.next(PATIENCE)
            assert came is not None and (came.kind, came.name) == ("peer_connected", "arm")
            assert "arm" in str(came)
        until(lambda: (event := events.next(PATIENCE)) and event.kind == "peer_disconnected", "the leave")
        assert events.missed == 0
    assert "closed" in [event.to_state for event in events]


def test_statistics_have_every_count_of_the_library(pair: Pair) -> None:
    plant, controller = pair
    controller.send(1)
    plant.receive(PATIENCE)
    counts = plant.statistics()
    assert (counts.messages_received, counts.inbox_taken, counts.connection_state) == (1, 1, "connected")
    assert counts.others == {}
    names = {field.name for field in dataclasses.fields(counts)} - {"others"}
    assert names == set(plant._statistics_dict())


def test_what_is_known_of_peers_and_of_the_machine(pair: Pair) -> None:
    plant, _ = pair
    (peer,) = plant.peers()
    assert (peer.name, peer.state) == ("controller", "connected")
    assert {peer.id: 1}[plant.peers()[0].id] == 1
    assert any(part.name == "receive_buffer" for part in plant.realtime_report())
    assert "plant" in repr(plant) and "p1" in repr(peer.id)


def test_a_cycle_counts_its_wakes() -> None:
    cycle = tautline.Cycle("1ms")
    assert cycle.period == 0.001
    wakes = [next(cycle) for _ in range(5)]
    assert all(later.number > sooner.number for sooner, later in zip(wakes, wakes[1:]))
    with pytest.raises(tautline.PeriodError):
        tautline.Cycle(0)


def test_a_link_opens_again_after_a_disconnect(pair: Pair) -> None:
    plant, controller = pair
    controller.disconnect()
    assert controller.state == "disconnected" and controller.local_address is None
    controller.connect()
    controller.send("again")
    assert plant.receive(PATIENCE).data == "again"


def test_every_failure_to_open_has_a_class_and_a_sentence() -> None:
    with pytest.raises(tautline.ConnectTimedOut, match="start the server"):
        tautline.connect("127.0.0.1:9", connect_timeout=0.05)
    with pytest.raises(tautline.ConfigError, match="max_peer"):
        tautline.serve("127.0.0.1:0", max_peer=3)  # type: ignore[call-arg]
    with tautline.serve("127.0.0.1:0") as plant:
        assert plant.local_address
        with pytest.raises(tautline.SocketError, match="in use"):
            tautline.serve(plant.local_address)


def test_iteration_ends_when_the_loop_itself_disconnects(pair: Pair) -> None:
    plant, controller = pair
    for number in range(2):
        controller.send_reliable(number).wait(PATIENCE)
    got = []
    for message in plant:
        got.append(message.data)
        plant.disconnect()
    assert got[0] == 0
    with pytest.raises(tautline.NotConnected):
        next(iter(plant))
