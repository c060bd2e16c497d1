"""Wrong input: each error is of the class that its kind has, and its sentence says what would be right."""

from __future__ import annotations

import collections
import datetime
import enum
from collections.abc import Callable
from typing import Any

import pytest

import tautline
from tautline.threadsafe import InterfaceConfig, ThreadSafeUDPInterface

Pair = tuple[tautline.Link, tautline.Link]
Act = Callable[[tautline.Link, tautline.Link], Any]


class Mode(enum.Enum):
    AUTO = object()


CASES: list[tuple[str, Act, type[Exception], str]] = [
    ("a channel that is negative", lambda p, c: c.send(1, channel=-1), ValueError, "0 to 65535"),
    ("a channel that is too large", lambda p, c: c.send(1, channel=65536), ValueError, "channel: a whole number"),
    ("a channel that is a text", lambda p, c: c.send(1, channel="3"), TypeError, "channel: a whole number"),  # type: ignore[arg-type]
    ("a handler's channel", lambda p, c: p.handler("command", channel=70000)(print), ValueError, "0 to 65535"),
    ("a type with a slip", lambda p, c: c.send(1, "comand"), ValueError, "expected command"),
    ("a type that is a number", lambda p, c: c.send(1, 3), TypeError, "type: a text or an enum"),  # type: ignore[arg-type]
    ("a priority of 5", lambda p, c: c.send(1, priority=5), ValueError, "1 .low. to 4 .critical."),
    ("a priority of 300", lambda p, c: c.send(1, priority=300), ValueError, "1 .low. to 4 .critical."),
    ("a priority with a slip", lambda p, c: c.send(1, priority="urgent"), ValueError, "critical"),
    ("a delivery with a slip", lambda p, c: c.send(1, delivery="sure"), ValueError, "reliable"),  # type: ignore[arg-type]
    ("a lifespan that is negative", lambda p, c: c.send(1, lifespan=-1), ValueError, "0 or more"),
    ("a lifespan without a unit", lambda p, c: c.send(1, lifespan="20"), ValueError, "ms"),
    ("an age that is a list", lambda p, c: c.send(1, age=[1]), TypeError, "a number of seconds"),  # type: ignore[arg-type]
    ("a target that is a name", lambda p, c: p.send(1, to="arm"), ValueError, "10.0.0.5:9000"),
    ("a target that is a number", lambda p, c: p.send(1, to=3), TypeError, "message.peer"),  # type: ignore[arg-type]
    ("a target that nobody is", lambda p, c: p.send(1, to="10.0.0.5:9000"), tautline.UnknownPeer, "no peer|not a peer|peer"),
    ("a source that is a number", lambda p, c: c.send(1, source=3), TypeError, "source: a text"),  # type: ignore[arg-type]
    ("an option with a slip", lambda p, c: c.send(1, chanel=3), TypeError, "the options are channel"),  # type: ignore[call-arg]
    ("a set", lambda p, c: c.send({1, 2}), tautline.EncodeError, "a set cannot be encoded"),
    ("an object inside a value", lambda p, c: c.send({"a": [1, object()]}), tautline.EncodeError, r"a\[1\]"),
    ("NaN inside a value", lambda p, c: c.send({"a": [float("nan")]}), tautline.NotFinite, r"a\[0\]"),
    ("an id that is NaN", lambda p, c: c.send(1, message_id=float("nan")), tautline.NotFinite, "message_id"),
    ("an id that holds NaN", lambda p, c: c.send(1, correlation_id=[float("nan")]), tautline.NotFinite, "correlation_id"),  # type: ignore[arg-type]
    ("bytes inside JSON", lambda p, c: c.send([b"raw"]), tautline.EncodeError, "msgpack"),
    ("a key that is a tuple", lambda p, c: c.send({(1, 2): 3}), tautline.EncodeError, "use texts as keys"),
    ("an int of 200 bits", lambda p, c: c.send(1 << 200), tautline.EncodeError, "send it as a text"),
    ("a text that is half a character", lambda p, c: c.send("\ud800"), tautline.EncodeError, "surrogate"),
    ("half a character in a value", lambda p, c: c.send({"a": ["\ud800"]}), tautline.EncodeError, r"a\[0\]: .*surrogate"),
    ("a dataclass", lambda p, c: c.send(tautline.Wake(1, 0, 0.0, False)), tautline.EncodeError, r"dataclasses\.asdict"),
    ("a date", lambda p, c: c.send({"at": datetime.datetime(2026, 1, 1)}), tautline.EncodeError, r"at: .*timestamp\(\)"),
    ("a time stamp that is a date", lambda p, c: c.send(1, timestamp=datetime.datetime(2026, 1, 1)), TypeError, "a number of seconds"),  # type: ignore[arg-type]
    ("an enum of objects", lambda p, c: c.send([Mode.AUTO]), tautline.EncodeError, "use its value"),
    ("a deque", lambda p, c: c.send(collections.deque([1])), tautline.EncodeError, r"list\(value\)"),
    ("a target that is a pair", lambda p, c: p.send(1, to=("10.0.0.5", 9000)), TypeError, "10.0.0.5:9000"),  # type: ignore[arg-type]
    ("a value without an end", lambda p, c: c.send(endless()), tautline.TooDeep, "deep"),
    ("a value that is too large", lambda p, c: c.send("x" * 20_000_000), tautline.TooLarge, "bytes"),
    ("a time-out that is negative", lambda p, c: p.receive(-1), ValueError, "0 or more"),
    ("a time-out that is NaN", lambda p, c: p.receive(float("nan")), ValueError, "0 or more"),
    ("a time-out that is a text", lambda p, c: p.receive("soon"), ValueError, "soon"),
    ("a limit that is negative", lambda p, c: p.receive_many(-1), ValueError, "a whole number, 0 or more"),
    ("a batch that is a number", lambda p, c: c.publisher().send_batch(3), TypeError, "a list"),
    ("a batch that is a text", lambda p, c: c.publisher().send_batch("abc"), TypeError, "send takes one value"),
    ("a batch that is bytes", lambda p, c: c.publisher().send_batch(b"abc"), TypeError, "send takes one value"),
    ("a batch that is a dict", lambda p, c: c.publisher().send_batch({"a": 1}), TypeError, "send takes one value"),
    ("a decorator without its type", lambda p, c: p.handler(print), TypeError, r'@link\.handler\("command"\)'),  # type: ignore[arg-type]
    ("a stream with a slip", lambda p, c: tautline.Config(qos={"comand": {}}), ValueError, "command"),
    ("a rate that is a text", lambda p, c: tautline.doctor(rate="1kHz"), TypeError, "hertz"),  # type: ignore[arg-type]
    ("an answer to no message", lambda p, c: p.reply("question", 1), TypeError, "Message"),  # type: ignore[arg-type]
    ("a link of text", lambda p, c: tautline.Link("127.0.0.1:9000"), TypeError, "Config"),  # type: ignore[arg-type]
    ("an endpoint that is a number", lambda p, c: tautline.serve(9000), tautline.ConfigError, "endpoint"),  # type: ignore[arg-type]
    ("a port that is too large", lambda p, c: tautline.connect("127.0.0.1:99999"), tautline.ConfigError, "port"),
    ("a name that is no address", lambda p, c: tautline.connect("no-such-host.invalid:1"), tautline.ConnectError, "no-such-host"),
    ("a setting with a slip", lambda p, c: tautline.serve("127.0.0.1:0", max_peer=3), tautline.ConfigError, "max_peer"),  # type: ignore[call-arg]
    ("streams as a list", lambda p, c: tautline.Config(qos=["command"]), TypeError, "qos: a dict"),  # type: ignore[arg-type]
    ("impairments with a slip", lambda p, c: tautline.Config(impair={"los": 1}), TypeError, "loss, burst"),
    ("a burst that is a text", lambda p, c: tautline.Config(impair={"burst": "many"}), TypeError, "impair.burst"),
    ("a seed that is a text", lambda p, c: tautline.Config(impair={}, impair_seed="x"), TypeError, "impair_seed"),  # type: ignore[arg-type]
    ("a failsafe that is no function", lambda p, c: tautline.Config(failsafe=3), TypeError, "a function"),  # type: ignore[arg-type]
    ("a handler that is no function", lambda p, c: p.handler("data")(3), TypeError, "a function"),  # type: ignore[type-var]
    ("a failsafe of a watchdog", lambda p, c: p.watch("stop", "command", 1), TypeError, "a function"),  # type: ignore[arg-type]
    ("a watchdog of nothing", lambda p, c: p.watch(print), TypeError, "a type, a timeout or both"),
    ("a watchdog of 0 s", lambda p, c: p.watch(print, "command", 0), tautline.WatchError, "0|longer|time"),
    ("a cycle of 0 s", lambda p, c: tautline.Cycle(0), tautline.PeriodError, "period"),
    ("a codec that is unknown", lambda p, c: tautline.Config(codec="xml"), tautline.ConfigError, "json"),  # type: ignore[arg-type]
    ("a file that is not there", lambda p, c: tautline.Config.from_toml_file("no.toml"), tautline.ConfigError, "no.toml"),
]  # fmt: skip


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize("act, kind, sentence", [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_wrong_input_has_a_class_and_a_sentence(pair: Pair, act: Act, kind: type[Exception], sentence: str) -> None:
    with pytest.raises(kind, match=sentence) as caught:
        act(*pair)
    assert issubclass(caught.type, kind) and len(str(caught.value)) > 20
    assert not issubclass(caught.type, (OverflowError, UnicodeError, RecursionError, SystemError))


@pytest.mark.parametrize("setting, value", [("use_crc", "perhaps"), ("wire", "quantum"), ("max_peers", 0)])
def test_a_wrong_setting_of_the_drop_in_is_named(setting: str, value: object) -> None:
    import asyncio

    interface = ThreadSafeUDPInterface(InterfaceConfig(endpoint="127.0.0.1:0", custom_settings={setting: value}))
    assert asyncio.run(interface.connect({})) is False
    assert setting in str(interface.last_error)
