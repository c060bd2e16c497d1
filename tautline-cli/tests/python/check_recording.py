"""Checks a recording with the mcap package: that the file keeps the rules of the format, and each message its schema.

    check_recording.py FILE          prints a line of JSON: topics, messages, counts
    check_recording.py --cut FILE    reads the file cut at every 1,000th byte, and prints how many messages each part gives
"""

import io
import json
import struct
import sys

import jsonschema
from mcap.data_stream import ReadDataStream
from mcap.exceptions import EndOfFile, McapError
from mcap.reader import make_reader
from mcap.records import Channel, Chunk, ChunkIndex, DataEnd, Footer, Message, MessageIndex, Schema, Statistics
from mcap.stream_reader import StreamReader, breakup_chunk


def records_of(chunk):
    return breakup_chunk(chunk, validate_crc=True)


def check_format(data):
    """The rules that the command `mcap doctor` checks, as far as they concern a file of one program."""
    reader = StreamReader(io.BytesIO(data), emit_chunks=True, validate_crcs=True)
    chunks, indexes, seen_end, statistics, footer = [], [], False, None, None
    schemas, channels, messages, log_times = {}, {}, 0, []
    for record in reader.records:
        if isinstance(record, Chunk):
            assert not seen_end, "a chunk after the end of the data"
            assert record.compression == ""
            times = []
            for inner in records_of(record):
                if isinstance(inner, Schema):
                    schemas[inner.id] = inner
                elif isinstance(inner, Channel):
                    assert inner.schema_id in schemas, "a channel before its schema"
                    channels[inner.id] = inner
                elif isinstance(inner, Message):
                    assert inner.channel_id in channels, "a message before its channel"
                    times.append(inner.log_time)
            messages += len(times)
            log_times += times
            assert (record.message_start_time, record.message_end_time) == (min(times), max(times))
            chunks.append((record.message_start_time, record.message_end_time, len(times)))
        elif isinstance(record, DataEnd):
            seen_end = True
        elif isinstance(record, ChunkIndex):
            indexes.append(record)
        elif isinstance(record, Statistics):
            statistics = record
        elif isinstance(record, Footer):
            footer = record
    assert seen_end and footer and footer.summary_start and footer.summary_offset_start
    assert footer.summary_crc != 0
    assert len(indexes) == len(chunks)
    for index, (start, end, count) in zip(indexes, chunks):
        assert (index.message_start_time, index.message_end_time) == (start, end)
        assert data[index.chunk_start_offset] == 0x06, "the index leads to no chunk"
        offsets = 0
        for channel, at in index.message_index_offsets.items():
            assert data[at] == 0x07, "the index leads to no message index"
            length = struct.unpack_from("<Q", data, at + 1)[0]
            found = MessageIndex.read(_stream(data[at + 9 : at + 9 + length]))
            assert found.channel_id == channel
            offsets += len(found.records)
        assert offsets == count
    assert statistics.message_count == messages
    assert statistics.chunk_count == len(chunks)
    assert statistics.channel_count == len(channels) and statistics.schema_count == len(schemas)
    assert (statistics.message_start_time, statistics.message_end_time) == (min(log_times), max(log_times))


def _stream(data):
    return ReadDataStream(io.BytesIO(data))


def check(path):
    with open(path, "rb") as file:
        data = file.read()
    check_format(data)
    reader = make_reader(io.BytesIO(data), validate_crcs=True)
    topics, sequences = {}, {}
    for schema, channel, message in reader.iter_messages(log_time_order=False):
        assert (channel.message_encoding, schema.encoding) == ("json", "jsonschema")
        document = json.loads(message.data)
        described = json.loads(schema.data)
        assert described["type"] == "object"
        jsonschema.validate(document, described)
        assert message.sequence == sequences.get(channel.id, 0)
        sequences[channel.id] = message.sequence + 1
        assert abs(message.log_time / 1e9 - document["received"]) < 1e-5
        assert abs(message.publish_time / 1e9 - document["metadata"]["timestamp"]) < 1e-5
        topic = topics.setdefault(channel.topic, {"metadata": channel.metadata, "schemas": {}, "documents": []})
        topic["schemas"][schema.name] = described
        topic["documents"].append(document)
    counts = {record.name: record.metadata for record in reader.iter_metadata()}
    print(json.dumps({"topics": topics, "counts": counts["tautline_counts"]}))


def cut(path):
    with open(path, "rb") as file:
        data = file.read()
    whole = []  # where each chunk ends, and how many messages stand before that
    at, messages = 8, 0
    while at < len(data) - 8:
        opcode, length = data[at], struct.unpack_from("<Q", data, at + 1)[0]
        at += 9 + length
        if opcode == 0x06:
            chunk = Chunk.read(_stream(data[at - length : at]))
            messages += sum(isinstance(record, Message) for record in records_of(chunk))
            whole.append((at, messages))
    found = []
    for length in range(1000, len(data), 1000):
        expected = max((count for end, count in whole if end <= length), default=0)
        count = 0
        try:
            reader = StreamReader(io.BytesIO(data[:length]))
            for record in reader.records:
                count += isinstance(record, Message)
        except (EndOfFile, McapError, struct.error):
            pass
        assert count == expected, f"cut at {length}: {count} messages instead of {expected}"
        found.append(count)
    print(json.dumps({"messages": messages, "found": found}))


if __name__ == "__main__":
    if sys.argv[1] == "--cut":
        cut(sys.argv[2])
    else:
        check(sys.argv[1])
