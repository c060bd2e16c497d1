//! Reads captures, as tcpdump and Wireshark write them: files of both formats, and pipes. Used by `tap`.
//!
//! The formats are described in draft-ietf-opsawg-pcap (classic) and draft-ietf-opsawg-pcapng. Lengths come from a stranger, so each
//! is checked before memory is taken for it.

mod blocks;
mod classic;
mod joined;
mod packet;

use std::io::{self, Read};

use tautline::WallTime;

use self::blocks::Blocks;
use self::classic::Packets;
pub(crate) use self::joined::datagrams;
pub(crate) use self::packet::{Contents, contents};

/// The longest packet that is read: the largest that capturing programs write.
const LONGEST: u32 = 262_144;

/// A packet of a capture.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) at: WallTime,
    /// What stands before the IP header (<https://www.tcpdump.org/linktypes.html>).
    pub(crate) link_type: u16,
    pub(crate) bytes: Vec<u8>,
}

/// A capture while it is read.
#[derive(Debug)]
pub(crate) enum Capture<R> {
    Classic(Packets<R>),
    Blocks(Blocks<R>),
}

/// The two byte orders of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    fn u16(self, bytes: [u8; 2]) -> u16 {
        if self == Self::Little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        if self == Self::Little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    }

    /// Reads the four bytes at `at`. 0 if there are fewer.
    fn u32_at(self, bytes: &[u8], at: usize) -> u32 {
        bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, |four| self.u32(four))
    }

    /// Reads the two bytes at `at`. 0 if there are fewer.
    fn u16_at(self, bytes: &[u8], at: usize) -> u16 {
        bytes.get(at..at + 2).and_then(|two| two.try_into().ok()).map_or(0, |two| self.u16(two))
    }
}

impl<R: Read> Capture<R> {
    /// Reads the beginning of a capture.
    ///
    /// # Errors
    /// A sentence that says why this is none.
    pub(crate) fn begin(mut reader: R) -> Result<Self, String> {
        let mut magic = [0; 4];
        let is_there = read_whole(&mut reader, &mut magic).map_err(|error| error.to_string())?;
        if is_there && magic == blocks::SECTION {
            return Blocks::begin(reader).map(Self::Blocks);
        }
        match classic::format(magic).filter(|_| is_there) {
            Some(format) => Packets::begin(reader, format).map(Self::Classic),
            None => Err("it is no capture: it begins neither as pcap nor as pcapng does".to_owned()),
        }
    }

    /// Returns the next packet. `None` at the end, also if the last packet was cut off.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the capture.
    pub(crate) fn next(&mut self) -> Result<Option<Packet>, String> {
        match self {
            Self::Classic(packets) => packets.next(),
            Self::Blocks(blocks) => blocks.next(),
        }
    }
}

/// Fills the buffer. Returns false if the input ends before.
fn read_whole(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads so many bytes. `None` if the input ends before. The length was checked.
fn read_bytes(reader: &mut impl Read, length: u32) -> Result<Option<Vec<u8>>, String> {
    let mut bytes = vec![0; length as usize];
    let is_whole = read_whole(reader, &mut bytes).map_err(|error| error.to_string())?;
    Ok(is_whole.then_some(bytes))
}

#[cfg(test)]
mod tests;
