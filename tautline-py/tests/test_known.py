"""What a link tells of itself and of its peers, the black box, and the clock of a loop."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import pathlib
import pickle
import threading
import urllib.request

import pytest
from conftest import PATIENCE, until

import tautline

Pair = tuple[tautline.Link, tautline.Link]


def test_the_black_box_is_written(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "incidents"
    with tautline.serve("127.0.0.1:0", name="plant", black_box="1MiB", black_box_dir=folder) as plant:
        assert plant.local_address
        with tautline.connect(plant.local_address, black_box=1 << 20, black_box_dir=str(folder)) as link:
            link.send(1)
            assert plant.receive(PATIENCE).data == 1
            files = [plant.dump(), link.dump()]
    assert files[0].name.startswith("plant-") and files[0].parent == folder
    assert all(file.read_bytes().startswith(b"\x89MCAP0\r\n") for file in files)


def test_a_link_without_a_black_box_says_so(pair: Pair, tmp_path: pathlib.Path) -> None:
    with pytest.raises(tautline.DumpError, match="black_box"):
        pair[0].dump()
    with tautline.serve("127.0.0.1:0", black_box="1MiB", black_box_dir=tmp_path / "file" / "folder") as plant:
        (tmp_path / "file").touch()
        with pytest.raises(tautline.DumpError, match="black_box_dir"):
            plant.dump()


def test_a_thread_waits_for_a_state(pair: Pair) -> None:
    plant, controller = pair
    assert plant.wait_for_state("connected") and plant.wait_for_state("connected", 0)
    assert not plant.wait_for_state("closed", 0.01)
    reached: list[bool] = []
    thread = threading.Thread(target=lambda: reached.append(controller.wait_for_state("reconnecting", PATIENCE)))
    thread.start()
    plant.disconnect()
    thread.join(PATIENCE)
    assert reached == [True]
    with pytest.raises(ValueError, match="reconnecting"):
        plant.wait_for_state("conected", 0)


def test_the_path_to_a_peer_is_measured(pair: Pair) -> None:
    plant, _ = pair
    until(lambda: plant.peers()[0].round_trip, "the first round trip")
    (peer,) = plant.peers()
    assert peer.round_trip is not None and 0 < peer.round_trip < PATIENCE
    assert peer.jitter is not None and peer.path_size is not None and peer.path_size >= 1200
    assert peer.clock_offset is not None and peer.clock_offset_error is not None
    assert abs(peer.clock_offset) <= peer.clock_offset_error + 0.001


def test_metrics_are_served() -> None:
    with tautline.serve("127.0.0.1:0", metrics="127.0.0.1:0") as plant:
        assert plant.metrics_address
        with urllib.request.urlopen(f"http://{plant.metrics_address}/metrics", timeout=PATIENCE) as page:
            assert b"tautline_" in page.read()
    with tautline.serve("127.0.0.1:0") as plant:
        assert plant.metrics_address is None


def test_a_publisher_says_how_old_its_data_are(pair: Pair) -> None:
    plant, controller = pair
    # Before the clock of the peer is known, its time stamps say nothing of the age.
    until(lambda: plant.peers()[0].round_trip, "the first round trip")
    states = controller.publisher("status", lifespan=10)
    states.send(1, age=2.5)
    assert 2.5 <= plant.receive(PATIENCE).age < 2.5 + PATIENCE
    states.send(2)
    assert plant.receive(PATIENCE).age < 2.5
    with pytest.raises(tautline.Expired):
        states.send(3, age="11s")


def test_a_cycle_follows_a_peer(pair: Pair) -> None:
    plant, controller = pair
    cycle = tautline.Cycle(0.005)
    assert cycle.following is None
    cycle.follow(plant, "command", 0.002)
    following = cycle.following
    assert following is not None and following.state == "waiting"

    def is_heard() -> bool:
        controller.send(1, "command")
        cycle.wait()
        return cycle.following is not None and cycle.following.state != "waiting"

    until(is_heard, "the first message that is followed")
    counts = cycle.statistics()
    assert counts.wakes >= 1 and counts.worst_late > 0 and counts.late <= counts.wakes
    cycle.unfollow()
    assert cycle.following is None


def test_a_cycle_in_an_event_loop() -> None:
    async def main() -> None:
        numbers: list[int] = []
        async for wake in tautline.Cycle("2ms"):
            numbers.append(wake.number)
            if len(numbers) == 5:
                break
        assert numbers == sorted(set(numbers))

    asyncio.run(main())


def test_settings_come_from_text_and_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tautline.Config.from_toml('role = "server"\nendpoint = "127.0.0.1:0"\nname = "text"\n')
    monkeypatch.setenv("TAUTLINE_NAME", "from env")
    assert (config.settings["name"], config.apply_env().settings["name"]) == ("text", "from env")
    assert config.apply_env().settings["endpoint"] == "127.0.0.1:0"


def test_plain_values_can_be_copied(pair: Pair) -> None:
    plant, controller = pair
    (peer,) = plant.peers()
    assert dataclasses.asdict(peer)["id"] == peer.id == copy.copy(peer.id)
    watch = plant.watch(print, "command", 10.0)
    assert copy.deepcopy(watch) == watch
    assert copy.deepcopy(controller.config) is not None
    controller.send(1)
    message = plant.receive(PATIENCE)
    for act in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"message\.data"):
            act(message)


def test_everything_says_what_it_is(pair: Pair) -> None:
    plant, controller = pair
    controller.send({"force": 1.5}, "command", channel=3)
    message = plant.receive(PATIENCE)
    shown = f"{plant} {message} {message.peer} {controller.publisher('command', channel=3)} {controller.config}"
    for part in ("'plant'", "command", "controller", "channel 3", "role=client"):
        assert part in shown, shown
    assert tautline.__version__ and not any(text != text.strip() for key in tautline.Config.keys() for text in key)
