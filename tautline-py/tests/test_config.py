"""The configuration: every key by keyword, texts, numbers, enums and lists."""

from __future__ import annotations

import datetime
import pathlib
from typing import Any, get_type_hints

import pytest

import tautline
from tautline._settings import AllSettings


def test_keywords_become_settings() -> None:
    config = tautline.Config(
        role="server",
        endpoint="127.0.0.1:0",
        liveness_timeout=0.25,
        heartbeat_interval=datetime.timedelta(milliseconds=10),
        connect_timeout="2s",
        allow=["10.0.0.0/24", "fd00::/8"],
        cpus=[0, 1],
        realtime=True,
        max_peers=3,
    )
    config.validate()
    expected = {
        "liveness_timeout": "250ms", "heartbeat_interval": "10ms", "connect_timeout": "2s", "realtime": "true",
        "max_peers": "3", "cpus": "0-1", "allow": "10.0.0.0/24,fd00::/8",
    }  # fmt: skip
    assert {key: config.settings[key].replace(", ", ",") for key in expected} == expected
    assert config.replace(max_peers=4).settings["max_peers"] == "4"
    assert config.settings["max_peers"] == "3"


@pytest.mark.parametrize(
    "settings, key",
    [
        ({"liveness_timeot": 1}, "liveness_timeot"),
        ({"max_peers": 0}, "max_peers"),
        ({"liveness_timeout": "250"}, "liveness_timeout"),
        ({"wire": "quantum"}, "wire"),
        ({"qos": {"command": {"lifespn": 1}}}, "command.lifespn"),
    ],
)
def test_an_error_names_the_key(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(tautline.ConfigError, match=key) as caught:
        tautline.Config(**settings)
    assert caught.value.key == key


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(tautline.ConfigError, match="use_crc"):
        tautline.serve("127.0.0.1:0", use_crc=False)


def test_the_typed_settings_are_those_of_the_library() -> None:
    keys = {name for name, _, _ in tautline.Config.keys()}
    assert set(get_type_hints(AllSettings)) == keys | {"keys", "qos", "impair", "impair_seed", "failsafe"}


def test_a_file_and_the_environment_are_sources(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "plant.toml"
    file.write_text('role = "server"\nendpoint = "127.0.0.1:0"\nname = "from file"\n')
    assert tautline.Config.from_toml_file(file).settings["name"] == "from file"
    monkeypatch.setenv("TAUTLINE_NAME", "from env")
    assert tautline.Config.from_env().settings["name"] == "from env"
    with pytest.raises(tautline.ConfigError):
        tautline.Config.from_toml_file(tmp_path / "none.toml")


def test_a_bad_network_can_be_asked_for() -> None:
    with tautline.serve("127.0.0.1:0", impair={"loss": "100%"}, impair_seed=7) as plant:
        assert plant.local_address
        with pytest.raises(tautline.ConnectTimedOut):
            tautline.connect(plant.local_address, connect_timeout=0.05)
    with pytest.raises(TypeError, match='there is no "lose"'):
        tautline.Config(impair={"lose": 1})
    with pytest.raises(ValueError, match="impair.loss"):
        tautline.Config(impair={"loss": "many"})
