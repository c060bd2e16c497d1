"""Links with keys: who may connect, and who may send what."""

from __future__ import annotations

import base64
import os
import pathlib
import sys

import pytest
from conftest import PATIENCE

import tautline


def key(folder: pathlib.Path, name: str) -> pathlib.Path:
    file = folder / f"{name}.key"
    file.touch(0o600)
    file.write_text(base64.b64encode(os.urandom(32)).decode() + "\n")
    return file


def test_a_key_file_secures_a_link(tmp_path: pathlib.Path) -> None:
    file = key(tmp_path, "arm")
    with tautline.serve("127.0.0.1:0", key_file=file) as plant:
        assert plant.local_address
        with tautline.connect(plant.local_address, key_file=file) as link:
            link.send({"x": 1})
            assert plant.receive(PATIENCE).data == {"x": 1}
            plant.reload_keys()
        with pytest.raises(tautline.ConnectError):
            tautline.connect(plant.local_address, key_file=key(tmp_path, "other"), connect_timeout=1)
        with pytest.raises(tautline.ConnectError):
            tautline.connect(plant.local_address, connect_timeout=1)


def test_holders_of_keys_have_names_and_rights(tmp_path: pathlib.Path) -> None:
    controller, hmi = key(tmp_path, "controller"), key(tmp_path, "hmi")
    holders = {"controller": {"file": controller, "may": "command"}, "hmi": {"file": hmi, "may_send": ["status"]}}
    with tautline.serve("127.0.0.1:0", keys=holders) as plant:
        assert plant.local_address
        events = plant.events()
        with tautline.connect(plant.local_address, key_file=hmi) as link:
            came = events.next(PATIENCE)
            assert came is not None and came.identity == "hmi"
            assert plant.peers()[0].identity == "hmi"
            link.send("fine", "status")
            assert plant.receive(PATIENCE).identity == "hmi"
            with pytest.raises(tautline.NotAllowed, match="may_send"):
                link.send(1, "command")


@pytest.mark.parametrize("holders", [{}, {"hmi": {}}, {"hmi": {"may": "observe"}}])
def test_holders_without_keys_do_not_make_a_plain_link(holders: dict[str, dict[str, str]]) -> None:
    with pytest.raises((tautline.ConfigError, TypeError), match="keys"):
        tautline.serve("127.0.0.1:0", keys=holders)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has access lists: the tests of the library try them")
def test_a_key_file_that_others_can_read_is_refused(tmp_path: pathlib.Path) -> None:
    file = key(tmp_path, "open")
    file.chmod(0o644)
    with pytest.raises(tautline.TautlineError, match="chmod"):
        tautline.serve("127.0.0.1:0", key_file=file)
