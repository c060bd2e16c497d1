//! Reads MCAP files record by record, also those that were cut off. It reads chunks that are not compressed.

use std::fmt;
use std::io::{self, Read};

use super::{MAGIC, Texts, op};

/// The longest record that is read. A document of the largest message is far shorter, and so is a segment of a black box.
const LONGEST_RECORD: u64 = 1 << 30;

/// Why a file cannot be read on.
#[derive(Debug)]
pub(crate) enum McapError {
    Io(io::Error),
    /// It does not begin as an MCAP file does.
    NotMcap,
    /// Its chunks are compressed, in this way.
    Compressed(String),
    /// Its contents contradict themselves.
    Damaged,
}

impl fmt::Display for McapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::NotMcap => f.write_str("it is no MCAP file"),
            Self::Compressed(how) => {
                let how = how.escape_debug();
                write!(f, "its chunks are compressed with {how}: write it anew without compression")
            }
            Self::Damaged => f.write_str("it is damaged: its contents contradict themselves"),
        }
    }
}

impl From<io::Error> for McapError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A record of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Channel { number: u16, topic: String, encoding: String, metadata: Texts },
    Message { channel: u16, log_time: u64, data: Vec<u8> },
    Metadata { name: String, values: Texts },
}

/// Reads a file from its start.
#[derive(Debug)]
pub(crate) struct RecordReader<R> {
    from: R,
    /// The records of the present chunk, and where the next one begins.
    chunk: (Vec<u8>, usize),
    /// The data are over, and the summary follows.
    is_in_summary: bool,
    is_ended: bool,
    /// Whether the file was cut off.
    pub(crate) is_cut_off: bool,
}

impl<R: Read> RecordReader<R> {
    /// Begins to read, and checks that it is an MCAP file.
    pub(crate) fn begin(mut from: R) -> Result<Self, McapError> {
        let mut magic = [0; MAGIC.len()];
        match from.read_exact(&mut magic) {
            Ok(()) if magic == MAGIC => {}
            Ok(()) => return Err(McapError::NotMcap),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(McapError::NotMcap),
            Err(error) => return Err(error.into()),
        }
        Ok(Self { from, chunk: (Vec::new(), 0), is_in_summary: false, is_ended: false, is_cut_off: false })
    }

    /// Returns the next record. `None` at the end of the data, or where the file was cut off.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, McapError> {
        loop {
            if let Some((op, body)) = self.next_of_chunk() {
                if let Some(record) = read(op, body).ok_or(McapError::Damaged)? {
                    return Ok(Some(record));
                }
                continue;
            }
            if self.is_ended {
                return Ok(None);
            }
            let Some((op, body)) = self.next_of_file()? else { continue };
            match op {
                op::FOOTER => self.is_ended = true,
                _ if self.is_in_summary => {}
                op::DATA_END => self.is_in_summary = true,
                op::CHUNK => self.begin_chunk(body)?,
                op => {
                    if let Some(record) = read(op, &body).ok_or(McapError::Damaged)? {
                        return Ok(Some(record));
                    }
                }
            }
        }
    }

    /// The next whole record of the chunk.
    fn next_of_chunk(&mut self) -> Option<(u8, &[u8])> {
        let (records, at) = &mut self.chunk;
        let mut rest = Fields(records.get(*at..)?);
        let (op, len) = (rest.take(1)?[0], usize::try_from(rest.number::<8>()?).ok()?);
        let body = rest.take(len)?;
        *at += 9 + len;
        Some((op, body))
    }

    /// The next record of the file itself. A chunk that was cut off is returned as far as it goes; another record is not.
    fn next_of_file(&mut self) -> Result<Option<(u8, Vec<u8>)>, McapError> {
        let mut head = Vec::new();
        self.from.by_ref().take(9).read_to_end(&mut head)?;
        let mut fields = Fields(&head);
        // No record has the number 0: a machine that lost its power leaves zeros at the end of a file.
        let (Some(&[op @ 1..=u8::MAX]), Some(len)) = (fields.take(1), fields.number::<8>()) else {
            (self.is_ended, self.is_cut_off) = (true, true);
            return Ok(None);
        };
        if len > LONGEST_RECORD {
            return Err(McapError::Damaged);
        }
        let mut body = Vec::new();
        self.from.by_ref().take(len).read_to_end(&mut body)?;
        if (body.len() as u64) < len {
            (self.is_ended, self.is_cut_off) = (true, true);
        }
        Ok(Some((op, body)).filter(|_| op == op::CHUNK || !self.is_cut_off))
    }

    fn begin_chunk(&mut self, body: Vec<u8>) -> Result<(), McapError> {
        let mut fields = Fields(&body);
        let mut head = || {
            let (_times, _size) = (fields.take(16)?, fields.take(8)?);
            Some((fields.number::<4>()?, fields.text()?, fields.number::<8>()?))
        };
        let Some((sum, compression, size)) = head() else {
            return if self.is_cut_off { Ok(()) } else { Err(McapError::Damaged) };
        };
        if !compression.is_empty() {
            return Err(McapError::Compressed(compression.to_owned()));
        }
        let is_whole = fields.0.len() as u64 == size;
        let is_sound = sum == 0 || sum == u64::from(tautline_proto::wire::crc32(fields.0));
        if !(self.is_cut_off || is_whole && is_sound) {
            return Err(McapError::Damaged);
        }
        let at = body.len() - fields.0.len();
        self.chunk = (body, at);
        Ok(())
    }
}

/// Reads a record. The inner `None` is one that nobody needs here.
fn read(op: u8, body: &[u8]) -> Option<Option<Record>> {
    let mut fields = Fields(body);
    Some(Some(match op {
        op::CHANNEL => {
            let (number, _schema) = (fields.short()?, fields.short()?);
            let (topic, encoding) = (fields.text()?.to_owned(), fields.text()?.to_owned());
            Record::Channel { number, topic, encoding, metadata: fields.texts()? }
        }
        op::MESSAGE => {
            let (channel, _sequence) = (fields.short()?, fields.take(4)?);
            let (log_time, _published) = (fields.number::<8>()?, fields.take(8)?);
            Record::Message { channel, log_time, data: fields.0.to_vec() }
        }
        op::METADATA => Record::Metadata { name: fields.text()?.to_owned(), values: fields.texts()? },
        _ => return Some(None),
    }))
}

/// The fields of a record that are still to be read.
#[derive(Debug)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn number<const N: usize>(&mut self) -> Option<u64> {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(self.take(N)?);
        Some(u64::from_le_bytes(bytes))
    }

    fn short(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.number::<4>()?).ok()?;
        std::str::from_utf8(self.take(len)?).ok()
    }

    fn texts(&mut self) -> Option<Texts> {
        let len = usize::try_from(self.number::<4>()?).ok()?;
        let mut all = Fields(self.take(len)?);
        let mut values = Texts::new();
        while !all.0.is_empty() {
            values.insert(all.text()?.to_owned(), all.text()?.to_owned());
        }
        Some(values)
    }
}
