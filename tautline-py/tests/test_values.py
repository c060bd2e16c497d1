"""What can be sent: values by each codec, buffers as raw bytes; and what is refused, with its place."""

from __future__ import annotations

import array
import ctypes
import math
from typing import Any, Literal

import pytest
from conftest import PATIENCE, until

import tautline

Codec = Literal["json", "msgpack", "cbor"]
Pair = tuple[tautline.Link, tautline.Link]

VALUES: list[Any] = [
    None,
    True,
    0,
    -(2**63),
    2**64 - 1,
    1.5,
    -0.0,
    1e-300,
    0.1 + 0.2,
    "",
    "héllo ☃ 😀 \" \\ \n",
    [],
    [1, [2.5, None], {"a": False}],
    {},
    {"state": [0.1, -0.2], "mode": "auto", "nested": {"deep": [True]}},
]


@pytest.mark.parametrize("codec", ["json", "msgpack", "cbor"])
def test_values_arrive_as_they_were_sent(codec: Codec) -> None:
    with tautline.serve("127.0.0.1:0") as plant:
        assert plant.local_address
        with tautline.connect(plant.local_address, codec=codec) as link:
            for value in VALUES:
                link.send(value)
                message = plant.receive(PATIENCE)
                assert message.content_type == codec
                assert message.data == value and type(message.data) is type(value)


@pytest.mark.parametrize("codec", ["msgpack", "cbor"])
def test_bytes_inside_a_value_need_a_binary_codec(codec: Codec) -> None:
    with tautline.serve("127.0.0.1:0") as plant:
        assert plant.local_address
        with tautline.connect(plant.local_address, codec=codec) as link:
            link.send({"image": b"\x00\xff", "keys": {1: "one"}})
            assert plant.receive(PATIENCE).data == {"image": b"\x00\xff", "keys": {1: "one"}}


def test_integers_of_json_keep_their_digits(pair: Pair) -> None:
    plant, controller = pair
    for number in (2**64, 2**100, -(2**126)):
        controller.send(number)
        assert plant.receive(PATIENCE).data == number


def test_keys_are_written_as_python_writes_them(pair: Pair) -> None:
    plant, controller = pair
    controller.send({1: "a", 2.5: "b", True: "c", None: "d"})
    # 1 and True are one key in Python.
    assert plant.receive(PATIENCE).data == {"1": "c", "2.5": "b", "null": "d"}


class Pair3(ctypes.Structure):
    _fields_ = [("a", ctypes.c_uint8), ("b", ctypes.c_uint8)]


@pytest.mark.parametrize(
    "value, expected",
    [
        (b"\x00\x01", b"\x00\x01"),
        (bytearray(b"abc"), b"abc"),
        (memoryview(b"abcdef")[1:4], b"bcd"),
        (memoryview(b"abcdef")[::2], b"ace"),
        (array.array("d", [1.0, 2.0]), array.array("d", [1.0, 2.0]).tobytes()),
        (Pair3(1, 2), b"\x01\x02"),
        (b"", b""),
    ],
)
def test_anything_with_a_buffer_travels_raw(pair: Pair, value: Any, expected: bytes) -> None:
    plant, controller = pair
    controller.send(value)
    message = plant.receive(PATIENCE)
    assert (message.data, message.payload, message.content_type) == (expected, expected, "raw")
    assert message.view() == expected


def test_arrays_of_numpy_travel_raw_and_come_back(pair: Pair) -> None:
    numpy = pytest.importorskip("numpy")
    plant, controller = pair
    state = numpy.arange(6, dtype="float64")
    controller.send(state)
    assert (numpy.frombuffer(plant.receive(PATIENCE).view()) == state).all()
    controller.send({"x": numpy.float32(0.5), "n": numpy.int64(3)})
    assert plant.receive(PATIENCE).data == {"x": 0.5, "n": 3}
    with pytest.raises(tautline.EncodeError, match="state: .*tolist"):
        controller.send({"state": state})


def test_numbers_of_numpy_are_numbers(pair: Pair) -> None:
    numpy = pytest.importorskip("numpy")
    plant, controller = pair
    for number, expected in [
        (numpy.float32(0.5), 0.5),
        (numpy.float16(0.25), 0.25),
        (numpy.longdouble(1.5), 1.5),
        (numpy.int64(-3), -3),
        (numpy.uint64(2**64 - 1), 2**64 - 1),
        (numpy.bool_(True), True),
    ]:
        controller.send(number)
        controller.send({"x": number})
        received = [plant.receive(PATIENCE).data for _ in range(2)]
        assert received == [expected, {"x": expected}] and type(received[0]) is type(expected)
    for wrong, sentence in [(numpy.float32("nan"), "NaN"), (numpy.complex64(1j), "complex")]:
        with pytest.raises(tautline.EncodeError, match=sentence):
            controller.send(wrong)
    with pytest.raises(tautline.EncodeError, match="x: .*tolist"):
        controller.send({"x": numpy.array([1.5])})


def test_the_order_of_an_array_in_memory_does_not_matter(pair: Pair) -> None:
    numpy = pytest.importorskip("numpy")
    plant, controller = pair
    table = numpy.arange(12.0).reshape(3, 4)
    for array_ in (table[:, ::2], table.T, table[::-1], table.astype(">f8"), numpy.array(1.5)):
        controller.send(array_)
        assert plant.receive(PATIENCE).data == array_.tobytes()


def test_an_array_of_objects_is_refused(pair: Pair) -> None:
    # Its bytes are addresses of this process.
    numpy = pytest.importorskip("numpy")
    plant, controller = pair
    fields = [("name", "i4"), ("Object", "f8")]
    for wrong in (numpy.array([1, None, "x"]), numpy.zeros(1, dtype=[*fields, ("b", "O")])):
        with pytest.raises(tautline.EncodeError, match="objects"):
            controller.send(wrong)
    controller.send(numpy.zeros(1, dtype=fields))
    assert plant.receive(PATIENCE).data == bytes(12)


def test_a_buffer_that_changes_after_the_call_was_sent_as_it_was(pair: Pair) -> None:
    plant, controller = pair
    data = bytearray(b"abc")
    controller.send(data)
    data[:] = b"xyzxyz"
    assert plant.receive(PATIENCE).data == b"abc"


@pytest.mark.parametrize(
    "value, error, path",
    [
        ({"force": math.nan}, tautline.NotFinite, "force"),
        ({"state": [0.0, {"rate": math.inf}]}, tautline.NotFinite, "state[1].rate"),
        ({"a": {"b": {1, 2}}}, tautline.EncodeError, "a.b"),
        ([0, object()], tautline.EncodeError, "[1]"),
        ({"x": 10**50}, tautline.EncodeError, None),
    ],
)
def test_what_cannot_be_sent_is_named_with_its_place(pair: Pair, value: Any, error: type, path: str | None) -> None:
    _, controller = pair
    with pytest.raises(error) as caught:
        controller.send(value)
    assert isinstance(caught.value, tautline.EncodeError) and caught.value.path == path
    assert path is None or path in str(caught.value)
    assert controller.statistics().messages_sent == 0


@pytest.mark.parametrize("codec", ["msgpack", "cbor"])
def test_nan_is_refused_with_its_place_by_every_codec(codec: Codec) -> None:
    with tautline.serve("127.0.0.1:0", codec=codec) as plant:
        with pytest.raises(tautline.NotFinite) as caught:
            plant.send({"a": [math.nan]})
        assert caught.value.path == "a[0]"


def test_a_list_that_holds_itself_is_refused(pair: Pair) -> None:
    _, controller = pair
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(tautline.TooDeep):
        controller.send(endless)


def test_nonfinite_null_is_a_choice() -> None:
    with tautline.serve("127.0.0.1:0") as plant:
        assert plant.local_address
        with tautline.connect(plant.local_address, nonfinite="null") as link:
            link.send([math.nan, 1.0])
            assert plant.receive(PATIENCE).data == [None, 1.0]


def test_a_message_that_is_too_large_says_so(pair: Pair) -> None:
    _, controller = pair
    with pytest.raises(tautline.TooLarge, match="65527"):
        controller.send(b"x" * 70_000)


def test_wrong_options_say_what_is_right(pair: Pair) -> None:
    _, controller = pair
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"type": "comand"}, "expected command"),
        ({"type": 7}, "a text or an enum"),
        ({"priority": 9}, "1 .low. to 4"),
        ({"chanel": 1}, "there is no option"),
        ({"lifespan": -1}, "0 or more"),
        ({"lifespan": "20"}, "unit"),
        ({"to": 3}, "a peer"),
        ({"delivery": "sure"}, "best_effort"),
    ]
    for options, sentence in wrong:
        with pytest.raises((TypeError, ValueError), match=sentence):
            controller.send(1, **options)


def test_each_receiver_has_data_of_its_own(pair: Pair) -> None:
    plant, controller = pair
    handled: list[Any] = []

    @plant.handler("data")
    def change(message: tautline.Message, reply: tautline.Reply) -> None:
        message.data["force"] = 99.0
        handled.append(message.data)

    controller.send({"force": 1.5})
    until(lambda: handled, "the call of the handler")
    assert plant.receive(PATIENCE).data == {"force": 1.5}
