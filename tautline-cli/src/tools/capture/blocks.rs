//! The format of Wireshark, pcapng: blocks with a type and a length. Sections begin anew, with a byte order of their own.

use std::io::Read;

use tautline::WallTime;

use super::{ByteOrder, LONGEST, Packet, read_bytes, read_whole};

/// The type of the block that begins a section. It reads the same in both byte orders.
pub(super) const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

const INTERFACE: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// The longest block that is read, in bytes: a packet with options, or a list of names or keys.
const LONGEST_BLOCK: u32 = 16 << 20;
/// The most interfaces of a section.
const MOST_INTERFACES: usize = 65_536;

/// The packets of a capture in this format.
#[derive(Debug)]
pub(crate) struct Blocks<R> {
    reader: R,
    order: ByteOrder,
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link_type: u16,
    /// How many units of its times a second has.
    units: u64,
}

impl<R: Read> Blocks<R> {
    /// Reads the rest of the first block, whose type was read.
    pub(super) fn begin(mut reader: R) -> Result<Self, String> {
        let order = section(&mut reader)?.ok_or("it ends within its first block")?;
        Ok(Self { reader, order, interfaces: Vec::new() })
    }

    pub(super) fn next(&mut self) -> Result<Option<Packet>, String> {
        loop {
            let mut kind = [0; 4];
            if !read_whole(&mut self.reader, &mut kind).map_err(|error| error.to_string())? {
                return Ok(None);
            }
            if kind == SECTION {
                let Some(order) = section(&mut self.reader)? else { return Ok(None) };
                (self.order, self.interfaces) = (order, Vec::new());
                continue;
            }
            let Some(body) = self.body()? else { return Ok(None) };
            match self.order.u32(kind) {
                INTERFACE if self.interfaces.len() < MOST_INTERFACES => {
                    self.interfaces.push(interface(self.order, &body));
                }
                ENHANCED_PACKET => return self.enhanced(&body).map(Some),
                SIMPLE_PACKET => return self.simple(&body).map(Some),
                _ => {}
            }
        }
    }

    /// Reads the rest of a block, and returns its body.
    fn body(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut length = [0; 4];
        if !read_whole(&mut self.reader, &mut length).map_err(|error| error.to_string())? {
            return Ok(None);
        }
        let length = block_length(self.order.u32(length))?;
        let Some(mut body) = read_bytes(&mut self.reader, length - 8)? else { return Ok(None) };
        body.truncate(body.len() - 4); // the length stands at the end again
        Ok(Some(body))
    }

    fn enhanced(&self, body: &[u8]) -> Result<Packet, String> {
        let [number, high, low, length] = [0, 4, 8, 12].map(|at| self.order.u32_at(body, at));
        let interface = self.interfaces.get(number as usize);
        let interface = interface.ok_or("a packet names an interface that the capture does not describe")?;
        let units = u64::from(high) << 32 | u64::from(low);
        Ok(Packet {
            at: time(units, interface.units),
            link_type: interface.link_type,
            bytes: packet_bytes(body, 20, length)?,
        })
    }

    /// A packet without a time, of the first interface.
    fn simple(&self, body: &[u8]) -> Result<Packet, String> {
        let interface = self.interfaces.first().ok_or("a packet comes before its interface is described")?;
        let whole = self.order.u32_at(body, 0);
        let there = u32::try_from(body.len().saturating_sub(4)).unwrap_or(0);
        let bytes = packet_bytes(body, 4, whole.min(there))?;
        Ok(Packet { at: WallTime::from_nanos(0), link_type: interface.link_type, bytes })
    }
}

/// Checks the length of a block. It counts the 12 bytes around the body.
fn block_length(length: u32) -> Result<u32, String> {
    if !length.is_multiple_of(4) || !(12..=LONGEST_BLOCK).contains(&length) {
        return Err(format!("a block of {length} bytes cannot be: the capture is damaged"));
    }
    Ok(length)
}

/// Reads the rest of a block that begins a section, and returns its byte order. `None` if the input ends.
fn section(reader: &mut impl Read) -> Result<Option<ByteOrder>, String> {
    const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
    let mut head = [0; 8];
    if !read_whole(reader, &mut head).map_err(|error| error.to_string())? {
        return Ok(None);
    }
    let orders = [ByteOrder::Little, ByteOrder::Big];
    let order = orders.into_iter().find(|order| order.u32_at(&head, 4) == BYTE_ORDER_MAGIC);
    let order = order.ok_or("a section shows no byte order: the capture is damaged")?;
    let length = block_length(order.u32_at(&head, 0))?;
    Ok(read_bytes(reader, length.max(12) - 12)?.map(|_| order))
}

fn interface(order: ByteOrder, body: &[u8]) -> Interface {
    const OPTIONS_AT: usize = 8;
    const RESOLUTION: u16 = 9;
    let mut units = 1_000_000;
    let mut at = OPTIONS_AT;
    while at + 4 <= body.len() {
        let (code, length) = (order.u16_at(body, at), usize::from(order.u16_at(body, at + 2)));
        if code == 0 {
            break;
        }
        if code == RESOLUTION && length == 1 {
            units = body.get(at + 4).map_or(units, |resolution| units_of(*resolution));
        }
        at += 4 + length.next_multiple_of(4);
    }
    Interface { link_type: order.u16_at(body, 0), units }
}

/// Returns how many units of time a second has: a power of 10, or of 2 if the highest bit is set.
fn units_of(resolution: u8) -> u64 {
    let base: u64 = if resolution & 0x80 != 0 { 2 } else { 10 };
    base.checked_pow((resolution & 0x7f).into()).unwrap_or(u64::MAX)
}

fn time(units: u64, of_second: u64) -> WallTime {
    let nanoseconds = u128::from(units) * 1_000_000_000 / u128::from(of_second);
    WallTime::from_nanos(i64::try_from(nanoseconds).unwrap_or(i64::MAX))
}

fn packet_bytes(body: &[u8], at: usize, length: u32) -> Result<Vec<u8>, String> {
    let bytes = (length <= LONGEST).then(|| body.get(at..at + length as usize)).flatten();
    Ok(bytes.ok_or("a packet is longer than its block: the capture is damaged")?.to_vec())
}
