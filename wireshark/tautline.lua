-- Shows the two wires of tautline in Wireshark and tshark. docs/protocol.md specifies both; this file cites it by section.
--
-- Copy it into Wireshark's folder for personal Lua plugins (Help, About, Folders), or load it once:
--   tshark -X lua_script:wireshark/tautline.lua -r capture.pcap
--
-- It claims a datagram of its own accord only if that is certain: its CRC-32 is right, or it belongs to a session that was seen (sealed or
-- damaged datagrams), or it is an envelope of the classic wire, letter by letter. For others, say so: Decode As, or
-- -d udp.port==9000,tautline.

local native = Proto("tautline", "tautline, native wire")
local classic = Proto("tautline_classic", "tautline, classic wire")

local MESSAGE_TYPES = {
    [1] = "command", [2] = "data", [3] = "status", [4] = "error", [5] = "heartbeat", [6] = "acknowledgment", [7] = "configuration",
}
local CONTENT_TYPES = { [0] = "raw", [1] = "JSON", [2] = "MessagePack", [3] = "CBOR" }
local PRIORITIES = { [0] = "low", [1] = "normal", [2] = "high", [3] = "critical" }
local CLASSES = { [0] = "best effort", [1] = "reliable", [2] = "ordered" }
local FRAMES = {
    [0] = "padding", [1] = "message", [2] = "heartbeat", [3] = "close", [4] = "hello", [5] = "token", [6] = "echo", [7] = "accept",
    [8] = "unknown session", [9] = "refused", [10] = "acknowledgement", [11] = "fragment", [12] = "forward", [13] = "sealed echo",
    [14] = "sealed accept", [15] = "rekey", [17] = "path probe", [18] = "ownership",
}
local ACTS = {
    [1] = "claim", [2] = "release", [3] = "granted", [4] = "released", [5] = "unowned", [6] = "refused", [7] = "denied",
}
-- Frames that stand alone in a datagram without a number (§3).
local UNNUMBERED = { [4] = true, [5] = true, [8] = true, [9] = true, [13] = true, [14] = true }

local f = {
    version = ProtoField.uint8("tautline.version", "Version"),
    flags = ProtoField.uint8("tautline.flags", "Flags", base.HEX),
    from_server = ProtoField.bool("tautline.from_server", "From the server", 8, nil, 0x01),
    is_sealed = ProtoField.bool("tautline.sealed", "Sealed", 8, nil, 0x02),
    phase = ProtoField.bool("tautline.key_phase", "Key phase", 8, nil, 0x04),
    session = ProtoField.bytes("tautline.session", "Session"),
    sequence = ProtoField.uint32("tautline.sequence", "Sequence"),
    crc = ProtoField.uint32("tautline.crc", "CRC-32", base.HEX),
    encrypted = ProtoField.bytes("tautline.encrypted", "Encrypted frames"),
    tag = ProtoField.bytes("tautline.tag", "Tag"),
    frame = ProtoField.uint8("tautline.frame", "Frame", base.DEC, FRAMES),
    frame_flags = ProtoField.uint8("tautline.frame_flags", "Frame flags", base.HEX),
    frame_length = ProtoField.uint16("tautline.frame_length", "Length of the body"),
    body = ProtoField.bytes("tautline.body", "Body"),
    padding = ProtoField.bytes("tautline.padding", "Padding"),
    class = ProtoField.uint8("tautline.class", "Delivery class", base.DEC, CLASSES, 0xc0),
    priority = ProtoField.uint8("tautline.priority", "Priority", base.DEC, PRIORITIES, 0x30),
    message_type = ProtoField.uint8("tautline.message_type", "Message type", base.DEC, MESSAGE_TYPES, 0x0f),
    stream_type = ProtoField.uint8("tautline.stream_type", "Message type", base.DEC, MESSAGE_TYPES),
    content_type = ProtoField.uint8("tautline.content_type", "Content type", base.DEC, CONTENT_TYPES),
    channel = ProtoField.uint16("tautline.channel", "Channel"),
    timestamp = ProtoField.absolute_time("tautline.timestamp", "Time stamp", base.UTC),
    delivery_number = ProtoField.uint32("tautline.delivery_number", "Delivery number"),
    distance = ProtoField.uint16("tautline.distance", "Distance"),
    id = ProtoField.string("tautline.message_id", "Message id"),
    correlation_id = ProtoField.string("tautline.correlation_id", "Correlation id"),
    source = ProtoField.string("tautline.source", "Source"),
    destination = ProtoField.string("tautline.destination", "Destination"),
    lifespan = ProtoField.uint32("tautline.lifespan_us", "Lifespan (us)"),
    payload = ProtoField.bytes("tautline.payload", "Payload"),
    text = ProtoField.string("tautline.payload_text", "Payload"),
    stamp = ProtoField.uint64("tautline.heartbeat.stamp", "Stamp (ns)"),
    wall = ProtoField.absolute_time("tautline.heartbeat.wall", "Wall", base.UTC),
    echo = ProtoField.uint64("tautline.heartbeat.echo", "Echo (ns)"),
    held = ProtoField.uint64("tautline.heartbeat.held", "Held (ns)"),
    issued = ProtoField.uint64("tautline.token.issued_ms", "Issued (ms)"),
    proof = ProtoField.bytes("tautline.token.proof", "Proof"),
    key_id = ProtoField.bytes("tautline.key_id", "Key id"),
    noise = ProtoField.bytes("tautline.noise", "Noise message"),
    name = ProtoField.string("tautline.name", "Name"),
    reason = ProtoField.uint8("tautline.close_reason", "Reason", base.DEC, { [1] = "the key was removed" }),
    base_number = ProtoField.uint32("tautline.base", "Base"),
    bitmap = ProtoField.bytes("tautline.bitmap", "Bitmap"),
    index = ProtoField.uint16("tautline.fragment.index", "Index"),
    count = ProtoField.uint16("tautline.fragment.count", "Count"),
    total = ProtoField.uint32("tautline.fragment.total", "Length of the whole"),
    number = ProtoField.uint32("tautline.fragment.number", "Number"),
    piece = ProtoField.bytes("tautline.fragment.piece", "Piece"),
    act = ProtoField.uint8("tautline.ownership.act", "Act", base.DEC, ACTS),
    request = ProtoField.uint32("tautline.ownership.number", "Number of the request"),
    period = ProtoField.uint32("tautline.ownership.period", "Period of the owner"),
    rekey = ProtoField.uint8("tautline.rekey.act", "Act", base.DEC, { [1] = "ask", [2] = "begin", [3] = "answer" }),
    probe_size = ProtoField.uint16("tautline.probe.size", "Size of this datagram"),
    probe_arrived = ProtoField.uint32("tautline.probe.arrived", "Arrived"),
    probe_named = ProtoField.uint32("tautline.probe.named", "Named"),
    -- What is found by looking at several datagrams.
    request_in = ProtoField.framenum("tautline.request_in", "Answers the message in", base.NONE, frametype.REQUEST),
    answer_in = ProtoField.framenum("tautline.answer_in", "Answered in", base.NONE, frametype.RESPONSE),
    answer_time = ProtoField.double("tautline.answer_time", "Time to the answer (ms)"),
    echo_of = ProtoField.framenum("tautline.echo_of", "Echoes the heartbeat in", base.NONE, frametype.REQUEST),
    rtt = ProtoField.double("tautline.rtt", "Round trip from here (ms)"),
    first_in = ProtoField.framenum("tautline.first_in", "Sent first in", base.NONE, frametype.RETRANS_PREV),
}
native.fields = f

local e = {
    bad_crc = ProtoExpert.new("tautline.bad_crc", "The CRC-32 is wrong: damaged", expert.group.CHECKSUM, expert.severity.ERROR),
    malformed = ProtoExpert.new("tautline.malformed", "Breaks the rules of the wire", expert.group.MALFORMED, expert.severity.ERROR),
    gap = ProtoExpert.new("tautline.gap", "Datagrams are missing before this one", expert.group.SEQUENCE, expert.severity.WARN),
    late = ProtoExpert.new("tautline.late", "A later datagram came before", expert.group.SEQUENCE, expert.severity.NOTE),
    duplicate = ProtoExpert.new("tautline.duplicate", "The number came before", expert.group.SEQUENCE, expert.severity.NOTE),
    resend = ProtoExpert.new("tautline.resend", "A reliable message is sent again", expert.group.SEQUENCE, expert.severity.NOTE),
    version = ProtoExpert.new("tautline.other_version", "Another version", expert.group.UNDECODED, expert.severity.WARN),
    partial = ProtoExpert.new("tautline.partial", "Captured in part", expert.group.UNDECODED, expert.severity.NOTE),
    unknown = ProtoExpert.new("tautline.unknown_frame", "A frame of another version", expert.group.UNDECODED, expert.severity.NOTE),
}
native.experts = e

-- Bits. Lua's library of them has other names in each version of Wireshark, and newer ones have none.
local function has_bit(number, bit)
    return math.floor(number / bit) % 2 == 1
end

local XOR = {}
for a = 0, 15 do
    XOR[a] = {}
    for b = 0, 15 do
        local result, bit = 0, 1
        for _ = 1, 4 do
            if has_bit(a, bit) ~= has_bit(b, bit) then
                result = result + bit
            end
            bit = bit * 2
        end
        XOR[a][b] = result
    end
end

local function xor(a, b)
    local result, unit = 0, 1
    while a > 0 or b > 0 do
        result = result + XOR[a % 16][b % 16] * unit
        a, b, unit = math.floor(a / 16), math.floor(b / 16), unit * 16
    end
    return result
end

-- The CRC-32 of zlib (§2).
local CRC = {}
for byte = 0, 255 do
    local crc = byte
    for _ = 1, 8 do
        if crc % 2 == 1 then
            crc = xor(math.floor(crc / 2), 0xedb88320)
        else
            crc = math.floor(crc / 2)
        end
    end
    CRC[byte] = crc
end

local function crc32(bytes)
    local crc = 0xffffffff
    for at = 1, #bytes do
        local low = crc % 256
        crc = xor(CRC[xor(low, bytes:byte(at))], math.floor(crc / 256))
    end
    return 0xffffffff - crc
end

-- What was seen of each session and direction. It is filled in the first pass, and read when a packet is shown.
local seen
local function forget()
    seen = { sessions = {}, marks = {}, ways = {}, heartbeats = {}, messages = {}, deliveries = {} }
end
forget()
native.init = forget

local HEADER, TRAILER, TAG = 16, 4, 16
local WINDOW = 64

-- The key of one direction of a session.
local function way_of(session, from_server)
    return session .. (from_server and "<" or ">")
end

-- Judges a number (§6). Returns how many were missing before it, and whether it is late or a duplicate.
local function judge(way, sequence)
    local known = seen.ways[way]
    if not known then
        seen.ways[way] = { next = (sequence + 1) % 2 ^ 32, came = { [sequence] = true } }
        return {}
    end
    local ahead = (sequence - known.next) % 2 ^ 32
    if ahead < 2 ^ 31 then
        known.next = (sequence + 1) % 2 ^ 32
        known.came[sequence] = true
        known.came[(sequence - 16 * WINDOW) % 2 ^ 32] = nil
        return { gap = ahead > 0 and ahead or nil }
    end
    if known.came[sequence] then
        return { duplicate = true }
    end
    known.came[sequence] = true
    return { late = true }
end

local function nstime_of(range)
    local ns = range:int64()
    local seconds = ns / 1000000000
    local rest = (ns - seconds * 1000000000):tonumber()
    seconds = seconds:tonumber()
    if rest < 0 then
        seconds, rest = seconds - 1, rest + 1000000000
    end
    return NSTime.new(seconds, rest)
end

-- Reads the fields of a body one after the other. It never reads beyond the end: `left` tells what there is.
local Reader = {}
Reader.__index = Reader

local function reader(tvb)
    return setmetatable({ tvb = tvb, at = 0 }, Reader)
end

function Reader:left()
    return self.tvb:len() - self.at
end

function Reader:take(length)
    if self:left() < length then
        error({ malformed = true })
    end
    local range = self.tvb:range(self.at, length)
    self.at = self.at + length
    return range
end

function Reader:rest()
    return self:left() > 0 and self:take(self:left()) or nil
end

local function text_of(fields)
    local length = fields:take(1):uint()
    if length == 0 then
        error({ malformed = true })
    end
    return fields:take(length)
end

-- Adds an id (§4.1): a text, or a zero byte and a number. Returns it as text.
local function add_id(tree, field, fields)
    local length = fields:take(1):uint()
    if length == 0 then
        local range = fields:take(8)
        local id = tostring(range:uint64())
        tree:add(field, range, id)
        return id
    end
    local range = fields:take(length)
    tree:add(field, range, range:string(ENC_UTF_8))
    return range:string(ENC_UTF_8)
end

-- A frame of a datagram: its type, its flags, and its body. Everything that depends on other datagrams is kept for the second look.
local read = {}

-- Reads the fixed fields of a message (§4.1), and those behind them. Returns its type, its id and what it answers.
local function read_message_body(context, flags, tvb, tree)
    local fields = reader(tvb)
    local kind = fields:take(1)
    local class = math.floor(kind:uint() / 64)
    tree:add(f.class, kind)
    tree:add(f.priority, kind)
    tree:add(f.message_type, kind)
    local content = fields:take(1)
    tree:add(f.content_type, content)
    local channel = fields:take(2)
    tree:add(f.channel, channel)
    local stamp = fields:take(8)
    tree:add(f.timestamp, stamp, nstime_of(stamp))
    local type_name = MESSAGE_TYPES[kind:uint() % 16]
    if not type_name or class == 3 or content:uint() > 3 or flags > 31 then
        error({ malformed = true })
    end
    local delivery
    if class > 0 then
        local range = fields:take(4)
        delivery = range:uint()
        tree:add(f.delivery_number, range)
        if class == 2 then
            tree:add(f.distance, fields:take(2))
        end
    end
    local id = has_bit(flags, 1) and add_id(tree, f.id, fields) or nil
    if has_bit(flags, 2) then
        tree:add(f.source, text_of(fields))
    end
    if has_bit(flags, 4) then
        tree:add(f.destination, text_of(fields))
    end
    local answers = has_bit(flags, 8) and add_id(tree, f.correlation_id, fields) or nil
    if has_bit(flags, 16) then
        tree:add(f.lifespan, fields:take(4))
    end
    local payload = fields:rest()
    if payload then
        tree:add(f.payload, payload)
        if content:uint() == 1 then
            tree:add(f.text, payload, payload:string(ENC_UTF_8))
        end
    end
    local shown = channel:uint() > 0 and type_name .. "/" .. channel:uint() or type_name
    return { shown = shown, id = id, answers = answers, delivery = delivery }
end

-- Links a reliable message to the one that it repeats.
local function link_delivery(context, tree, number)
    local key = context.way .. number
    local first = seen.deliveries[key]
    if not context.pinfo.visited and not first then
        seen.deliveries[key] = context.pinfo.number
    elseif first and first < context.pinfo.number then
        tree:add(f.first_in, first):set_generated()
        tree:add_proto_expert_info(e.resend)
    end
end

-- Links a request and its answer.
local function link_answer(context, tree, message, id)
    local pinfo = context.pinfo
    local key = context.way .. id
    if not pinfo.visited and not seen.messages[key] then
        seen.messages[key] = { number = pinfo.number, at = pinfo.abs_ts }
    end
    local own = seen.messages[key]
    if own and own.answer and own.number == pinfo.number then
        tree:add(f.answer_in, own.answer):set_generated()
    end
    local asked = message.answers and seen.messages[context.other_way .. message.answers]
    if asked then
        asked.answer = asked.answer or pinfo.number
        tree:add(f.request_in, asked.number):set_generated()
        tree:add(f.answer_time, (pinfo.abs_ts - asked.at) * 1000):set_generated()
    end
end

read[1] = function(context, flags, tvb, tree)
    local message = read_message_body(context, flags, tvb, tree)
    -- The id that does not travel (§4.2, §4.4): a number beyond 2^53 must be exact.
    local id = message.id
    if not id and message.delivery then
        id = tostring(UInt64.new(message.delivery, 0x80000000))
    elseif not id then
        id = tostring(UInt64.new(context.sequence) * 4096 + context.place)
    end
    context.place = context.place + 1
    if message.delivery then
        link_delivery(context, tree, message.delivery)
    end
    link_answer(context, tree, message, id)
    return message.shown
end

read[2] = function(context, _, tvb, tree)
    local fields = reader(tvb)
    local stamp, wall, echo, held = fields:take(8), fields:take(8), fields:take(8), fields:take(8)
    tree:add(f.stamp, stamp)
    tree:add(f.wall, wall, nstime_of(wall))
    tree:add(f.echo, echo)
    tree:add(f.held, held)
    local pinfo = context.pinfo
    if not pinfo.visited then
        seen.heartbeats[context.way .. tostring(stamp:uint64())] = { number = pinfo.number, at = pinfo.abs_ts }
    end
    local echoed = seen.heartbeats[context.other_way .. tostring(echo:uint64())]
    if echoed then
        local rtt = (pinfo.abs_ts - echoed.at) * 1000 - tonumber(tostring(held:uint64())) / 1e6
        tree:add(f.echo_of, echoed.number):set_generated()
        tree:add(f.rtt, rtt):set_generated()
    end
end

read[3] = function(_, _, tvb, tree)
    if tvb:len() > 0 then
        tree:add(f.reason, tvb:range(0, 1))
    end
end

local function read_token(fields, tree)
    tree:add(f.issued, fields:take(8))
    tree:add(f.proof, fields:take(8))
end

local function read_name(fields, tree)
    local length = fields:take(1):uint()
    if length > 64 then
        error({ malformed = true })
    end
    if length > 0 then
        tree:add(f.name, fields:take(length))
    end
end

read[5] = function(_, _, tvb, tree)
    read_token(reader(tvb), tree)
end

read[6] = function(_, _, tvb, tree)
    local fields = reader(tvb)
    read_token(fields, tree)
    read_name(fields, tree)
end

read[7] = function(_, _, tvb, tree)
    read_name(reader(tvb), tree)
end

read[10] = function(_, _, tvb, tree)
    local fields = reader(tvb)
    tree:add(f.base_number, fields:take(4))
    local bitmap = fields:rest()
    if bitmap then
        tree:add(f.bitmap, bitmap)
    end
end

read[11] = function(context, _, tvb, tree)
    local fields = reader(tvb)
    fields:take(1)
    local class = fields:take(1)
    tree:add(f.class, class)
    local index, count = fields:take(2), fields:take(2)
    tree:add(f.index, index)
    tree:add(f.count, count)
    tree:add(f.total, fields:take(4))
    local number = fields:take(4)
    tree:add(f.number, number)
    local kind = math.floor(class:uint() / 64)
    if kind == 2 then
        tree:add(f.distance, fields:take(2))
    end
    if kind > 0 then
        link_delivery(context, tree, (number:uint() + index:uint()) % 2 ^ 32)
    end
    local piece = fields:rest()
    if piece then
        tree:add(f.piece, piece)
    end
    return string.format("%d of %d", index:uint() + 1, count:uint())
end

read[12] = function(_, _, tvb, tree)
    tree:add(f.base_number, reader(tvb):take(4))
end

read[13] = function(_, _, tvb, tree)
    local fields = reader(tvb)
    read_token(fields, tree)
    tree:add(f.key_id, fields:take(8))
    tree:add(f.noise, fields:take(fields:left()))
end

read[14] = function(_, _, tvb, tree)
    tree:add(f.noise, tvb:range())
end

read[15] = function(_, _, tvb, tree)
    tree:add(f.rekey, reader(tvb):take(1))
end

read[17] = function(_, _, tvb, tree)
    local fields = reader(tvb)
    tree:add(f.probe_size, fields:take(2))
    fields:take(2)
    tree:add(f.probe_arrived, fields:take(4))
    tree:add(f.probe_named, fields:take(4))
end

read[18] = function(_, _, tvb, tree)
    local fields = reader(tvb)
    local act, kind = fields:take(1), fields:take(1)
    tree:add(f.act, act)
    tree:add(f.stream_type, kind)
    local channel = fields:take(2)
    tree:add(f.channel, channel)
    tree:add(f.request, fields:take(4))
    tree:add(f.period, fields:take(4))
    local acts, types = ACTS[act:uint()] or "?", MESSAGE_TYPES[kind:uint()] or "?"
    return string.format("%s %s/%d", acts, types, channel:uint())
end

-- Reads one frame (§3). Returns where the next one begins.
local function read_frame(context, tvb, at, tree, words)
    local kind = tvb:range(at, 1):uint()
    if kind == 0 then
        tree:add(f.padding, tvb:range(at, context.frames_end - at))
        return context.frames_end
    end
    if at + 4 > context.frames_end then
        error({ malformed = true })
    end
    local length = tvb:range(at + 2, 2):uint()
    if at + 4 + length > context.frames_end then
        error({ malformed = true })
    end
    local name = FRAMES[kind] or "unknown frame"
    local branch = tree:add(native, tvb:range(at, 4 + length), "Frame: " .. name)
    branch:add(f.frame, tvb:range(at, 1))
    branch:add(f.frame_flags, tvb:range(at + 1, 1))
    branch:add(f.frame_length, tvb:range(at + 2, 2))
    local word = name
    if read[kind] then
        local body = length > 0 and tvb:range(at + 4, length):tvb() or ByteArray.new(""):tvb()
        local is_right, more = pcall(read[kind], context, tvb:range(at + 1, 1):uint(), body, branch)
        if not is_right and type(more) == "table" then
            branch:add_proto_expert_info(e.malformed)
        elseif not is_right then
            error(more)
        elseif more then
            word = name == "message" and more or name .. " " .. more
            branch:append_text(" (" .. more .. ")")
        end
    elseif not FRAMES[kind] then
        branch:add_proto_expert_info(e.unknown)
    end
    words[#words + 1] = word
    return at + 4 + length
end

-- Shows what the number of a datagram tells. Each is judged once, in the first pass.
local function show_order(context, tree)
    local pinfo = context.pinfo
    if not pinfo.visited then
        seen.marks[pinfo.number .. context.way .. context.sequence] = judge(context.way, context.sequence)
    end
    local order = seen.marks[pinfo.number .. context.way .. context.sequence] or {}
    if order.gap then
        tree:add_proto_expert_info(e.gap, string.format("%d datagrams are missing before this one", order.gap))
    elseif order.late then
        tree:add_proto_expert_info(e.late)
    elseif order.duplicate then
        tree:add_proto_expert_info(e.duplicate)
    end
end

local function read_header(tvb, tree)
    tree:add(f.version, tvb:range(2, 1))
    local flags = tree:add(f.flags, tvb:range(3, 1))
    flags:add(f.from_server, tvb:range(3, 1))
    flags:add(f.is_sealed, tvb:range(3, 1))
    flags:add(f.phase, tvb:range(3, 1))
    tree:add(f.session, tvb:range(4, 8))
    tree:add(f.sequence, tvb:range(12, 4))
end

-- The length of each of several datagrams that a capture shows as one packet, because the kernel or the network card cuts them
-- apart after the capture, or joins them before it (UDP GSO and GRO). Only the last may be shorter. Nil if there is one datagram.
local function length_of_each(tvb)
    local length = tvb:len()
    if length < 2 * (HEADER + TRAILER) or tvb:range(0, 3):uint() ~= 0xe75401 then
        return nil
    end
    -- All of the header but the number.
    local bytes = tvb:raw()
    local header = bytes:sub(1, HEADER - 4)
    local second = bytes:find(header, HEADER + 1, true)
    if not second then
        return nil
    end
    for at = second, length, second - 1 do
        if bytes:sub(at, at + #header - 1) ~= header then
            return nil
        end
    end
    -- A CRC that is right is that of one datagram. One that is sealed has none.
    local is_sealed = has_bit(bytes:byte(4), 2)
    local is_one = not is_sealed and crc32(bytes:sub(1, -TRAILER - 1)) == tvb:range(length - TRAILER, TRAILER):uint()
    return not is_one and second - 1 or nil
end

-- Shows one datagram, of which the capture may have only the beginning. Returns what it holds, in words, or nil if it is not of
-- this wire.
local function show_datagram(tvb, pinfo, root, is_cut)
    local length = tvb:len()
    if length < HEADER + TRAILER or tvb:range(0, 2):uint() ~= 0xe754 then
        return nil
    end
    local tree = root:add(native, tvb:range())
    if tvb:range(2, 1):uint() ~= 1 then
        tree:add(f.version, tvb:range(2, 1))
        tree:add_proto_expert_info(e.version)
        return "another version"
    end
    read_header(tvb, tree)
    local flags, session = tvb:range(3, 1):uint(), tvb:range(4, 8):bytes():tohex()
    local from_server, is_sealed = has_bit(flags, 1), has_bit(flags, 2)
    local context = {
        pinfo = pinfo,
        way = way_of(session, from_server),
        other_way = way_of(session, not from_server),
        sequence = tvb:range(12, 4):uint(),
        place = 0,
        frames_end = length - (is_sealed and TAG or TRAILER),
    }
    local words = {}
    local first = (is_cut and length or context.frames_end) > HEADER and tvb:range(HEADER, 1):uint() or 0
    local is_numbered = is_sealed or not UNNUMBERED[first]
    if is_cut then
        -- Its CRC-32 is not there.
        tree:add_proto_expert_info(e.partial)
        if is_numbered then
            show_order(context, tree)
        end
        words[1] = "captured in part"
    elseif is_sealed then
        if length < HEADER + TAG then
            tree:add_proto_expert_info(e.malformed)
            return "too short"
        end
        if context.frames_end > HEADER then
            tree:add(f.encrypted, tvb:range(HEADER, context.frames_end - HEADER))
        end
        tree:add(f.tag, tvb:range(context.frames_end, TAG))
        show_order(context, tree)
        words[1] = string.format("sealed, %d bytes", context.frames_end - HEADER)
    else
        local crc = tree:add(f.crc, tvb:range(length - TRAILER, TRAILER))
        if crc32(tvb:raw(0, length - TRAILER)) ~= tvb:range(length - TRAILER, TRAILER):uint() then
            -- Nothing in it can be believed, and it belongs to no session.
            crc:add_proto_expert_info(e.bad_crc)
            return "bad CRC-32"
        end
        crc:append_text(" (right)")
        seen.sessions[session] = true
        if is_numbered then
            show_order(context, tree)
        end
        local at = HEADER
        while at < context.frames_end do
            local is_right, next_at = pcall(read_frame, context, tvb, at, tree, words)
            if not is_right then
                if type(next_at) ~= "table" then
                    error(next_at)
                end
                tree:add_proto_expert_info(e.malformed)
                break
            end
            at = next_at
        end
    end
    local direction = from_server and "server: " or "client: "
    local number = words[1] and is_numbered and "#" .. context.sequence .. " " or ""
    return direction .. number .. (#words > 0 and table.concat(words, ", ") or "nothing")
end

function native.dissector(tvb, pinfo, root)
    local words = {}
    local length = tvb:len()
    local each = length_of_each(tvb) or length
    for at = 0, length - 1, each do
        local is_cut = at + each >= length and tvb:reported_len() > length
        words[#words + 1] = show_datagram(tvb:range(at, math.min(each, length - at)):tvb(), pinfo, root, is_cut)
    end
    if #words == 0 then
        return 0
    end
    pinfo.cols.protocol = "tautline"
    pinfo.cols.info = (#words > 1 and #words .. " datagrams, " or "") .. table.concat(words, "; ")
    return tvb:len()
end

-- Whether a datagram is certainly of the native wire.
local function is_native(tvb)
    local length = length_of_each(tvb) or tvb:len()
    if length < HEADER + TRAILER or tvb:range(0, 3):uint() ~= 0xe75401 then
        return false
    end
    local flags = tvb:range(3, 1):uint()
    if flags > 7 then
        return false
    end
    if seen.sessions[tvb:range(4, 8):bytes():tohex()] then
        return true
    end
    return flags < 2 and crc32(tvb:raw(0, length - TRAILER)) == tvb:range(length - TRAILER, TRAILER):uint()
end

native:register_heuristic("udp", function(tvb, pinfo, tree)
    if not is_native(tvb) then
        return false
    end
    native.dissector(tvb, pinfo, tree)
    return true
end)

-- The classic wire (§8).
local c = {
    crc = ProtoField.uint32("tautline_classic.crc", "CRC-32", base.HEX),
    sequence = ProtoField.uint32("tautline_classic.sequence", "Sequence"),
    message_type = ProtoField.string("tautline_classic.message_type", "Message type"),
    source = ProtoField.string("tautline_classic.source", "Source"),
    envelope = ProtoField.string("tautline_classic.envelope", "Envelope"),
}
classic.fields = c
local ce = {
    bad_crc = ProtoExpert.new("tautline_classic.bad_crc", "The CRC-32 is wrong: damaged", expert.group.CHECKSUM, expert.severity.ERROR),
    gap = ProtoExpert.new("tautline_classic.gap", "Datagrams are missing before this one", expert.group.SEQUENCE, expert.severity.WARN),
    late = ProtoExpert.new("tautline_classic.late", "A later datagram came before", expert.group.SEQUENCE, expert.severity.NOTE),
    duplicate = ProtoExpert.new("tautline_classic.duplicate", "The number came before", expert.group.SEQUENCE, expert.severity.NOTE),
}
classic.experts = ce

-- Whether an envelope begins at this place: JSON with metadata and data.
local function is_envelope(tvb, at)
    if tvb:len() < at + 2 or tvb:range(at, 1):uint() ~= 0x7b then
        return false
    end
    local text = tvb:raw(at, tvb:len() - at)
    return text:sub(-1) == "}" and text:find('"metadata"', 1, true) ~= nil and text:find('"message_type"', 1, true) ~= nil
        and text:find('"data"', 1, true) ~= nil
end

-- The beginning of an envelope, and the names in it, as every sender of this wire writes them (§8.2).
local BEGIN = '{"metadata": {"message_id": '
local NAMES = { "timestamp", "message_type", "priority", "source", "destination", "correlation_id", "data" }

-- Whether the envelope at this place can be of no other program.
local function is_certain(tvb, at)
    local text = tvb:raw(at, tvb:len() - at)
    if text:sub(1, #BEGIN) ~= BEGIN then
        return false
    end
    local from = #BEGIN
    for _, name in ipairs(NAMES) do
        from = text:find('"' .. name .. '": ', from, true)
        if not from then
            return false
        end
    end
    return true
end

-- Returns where the envelope begins, and whether there are a CRC and a number before it. A CRC shows itself.
local function classic_format(tvb)
    local length = tvb:len()
    for _, at in ipairs({ 8, 4 }) do
        if length > at and is_envelope(tvb, at) and crc32(tvb:raw(4, length - 4)) == tvb:range(0, 4):uint() then
            return at, true, at == 8
        end
    end
    if is_envelope(tvb, 4) then
        return 4, false, true
    end
    if is_envelope(tvb, 0) then
        return 0, false, false
    end
    if is_envelope(tvb, 8) then
        return 8, true, true
    end
end

function classic.dissector(tvb, pinfo, root)
    local at, has_crc, has_sequence = classic_format(tvb)
    if not at then
        return 0
    end
    pinfo.cols.protocol = "tautline classic"
    local tree = root:add(classic, tvb:range())
    if has_crc then
        local crc = tree:add(c.crc, tvb:range(0, 4))
        if crc32(tvb:raw(4, tvb:len() - 4)) ~= tvb:range(0, 4):uint() then
            crc:add_proto_expert_info(ce.bad_crc)
            pinfo.cols.info = "bad CRC-32"
            return tvb:len()
        end
    end
    local number = ""
    if has_sequence then
        local range = tvb:range(at - 4, 4)
        tree:add(c.sequence, range)
        number = "#" .. range:uint() .. " "
        local way = tostring(pinfo.src) .. ":" .. pinfo.src_port .. ">" .. tostring(pinfo.dst) .. ":" .. pinfo.dst_port
        local key = pinfo.number .. way
        if not pinfo.visited then
            seen.marks[key] = judge(way, range:uint())
        end
        local order = seen.marks[key] or {}
        if order.gap then
            tree:add_proto_expert_info(ce.gap, string.format("%d datagrams are missing before this one", order.gap))
        elseif order.late then
            tree:add_proto_expert_info(ce.late)
        elseif order.duplicate then
            tree:add_proto_expert_info(ce.duplicate)
        end
    end
    local envelope = tvb:range(at)
    local text = tvb:raw(at, tvb:len() - at)
    local kind = text:match('"message_type"%s*:%s*"([a-z]+)"')
    local source = text:match('"source"%s*:%s*"([^"]*)"')
    if kind then
        tree:add(c.message_type, envelope, kind)
    end
    if source then
        tree:add(c.source, envelope, source)
    end
    tree:add(c.envelope, envelope, envelope:string(ENC_UTF_8))
    pinfo.cols.info = number .. (kind or "message")
    return tvb:len()
end

classic:register_heuristic("udp", function(tvb, pinfo, tree)
    local at, has_crc = classic_format(tvb)
    if not at then
        return false
    end
    local is_right = has_crc and crc32(tvb:raw(4, tvb:len() - 4)) == tvb:range(0, 4):uint()
    if not is_right and not is_certain(tvb, at) then
        return false
    end
    classic.dissector(tvb, pinfo, tree)
    return true
end)

DissectorTable.get("udp.port"):add_for_decode_as(native)
DissectorTable.get("udp.port"):add_for_decode_as(classic)
