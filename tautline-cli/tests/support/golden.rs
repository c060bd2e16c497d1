//! The golden datagrams of docs/protocol.md, and captures that hold them.

use std::path::Path;

/// A golden datagram: its name, and its bytes.
pub(crate) struct Golden {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

impl Golden {
    /// Whether a server sent it.
    pub(crate) fn is_of_server(&self) -> bool {
        self.bytes[3] & 1 == 1
    }
}

/// Returns the golden datagrams of the native wire, plain and secured.
pub(crate) fn native() -> Vec<Golden> {
    ["native_datagrams.json", "secured_datagrams.json"]
        .into_iter()
        .flat_map(|name| list(&read(name)))
        .collect()
}

/// Returns the golden datagrams of the classic wire that are JSON.
pub(crate) fn classic() -> Vec<Golden> {
    let vectors = read("classic_vectors.json")["vectors"].take();
    let is_json = |vector: &serde_json::Value| vector["encoding"] == "json" && vector["strict_json"] == true;
    list(&vectors.as_array().expect("a list").iter().filter(|vector| is_json(vector)).cloned().collect())
}

/// Returns the payloads of two packets, of a plain link and of a secured one. Each holds three datagrams, as captures show them if
/// the kernel or the network card cuts them apart later (UDP GSO). The first two datagrams are the same.
pub(crate) fn joined() -> [Vec<u8>; 2] {
    let all = native();
    let named = |name: &str| &all.iter().find(|golden| golden.name == name).expect("it is there").bytes[..];
    // The last one may be shorter.
    [["two_messages_and_padding", "message"], ["sealed_heartbeat", "sealed_message"]]
        .map(|[first, last]| [named(first), named(first), named(last)].concat())
}

fn read(name: &str) -> serde_json::Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tautline-proto/tests/data");
    let text = std::fs::read_to_string(folder.join(name)).expect("the golden datagrams");
    serde_json::from_str(&text).expect("JSON")
}

fn list(vectors: &serde_json::Value) -> Vec<Golden> {
    let of = |vector: &serde_json::Value| Golden {
        name: vector["name"].as_str().expect("a name").to_owned(),
        bytes: bytes(vector["hex"].as_str().expect("bytes")),
    };
    vectors.as_array().expect("a list").iter().map(of).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

/// Returns a capture (pcap, raw IP) of UDP datagrams: the ports of sender and receiver, and the bytes. They are 1 ms apart.
pub(crate) fn capture<'a>(datagrams: impl IntoIterator<Item = (u16, u16, &'a [u8])>) -> Vec<u8> {
    let mut file = Vec::new();
    for field in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 101] {
        file.extend(field.to_le_bytes());
    }
    for (number, (from, to, payload)) in (0_u32..).zip(datagrams) {
        let udp_len = u16::try_from(payload.len() + 8).expect("a datagram");
        let ip_len = udp_len + 20;
        for field in [1_700_000_000 + number / 1000, number % 1000 * 1000, ip_len.into(), ip_len.into()] {
            file.extend(field.to_le_bytes());
        }
        let mut header = vec![0x45, 0];
        header.extend(ip_len.to_be_bytes());
        header.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 1]);
        let sum: u32 = header.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
        let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("folded");
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        file.extend(header);
        for field in [from, to, udp_len, 0] {
            file.extend(field.to_be_bytes());
        }
        file.extend_from_slice(payload);
    }
    file
}
