//! As much of the MCAP format as a black box needs: records one after the other, without chunks, compression or a summary.
//!
//! <https://mcap.dev/spec>. Any MCAP reader reads such a file. Numbers are little-endian, texts have their length before them.

use std::collections::BTreeMap;
use std::io::{self, Write};

const MAGIC: [u8; 8] = *b"\x89MCAP0\r\n";

/// The records that are used.
mod op {
    pub(super) const HEADER: u8 = 1;
    pub(super) const FOOTER: u8 = 2;
    pub(super) const SCHEMA: u8 = 3;
    pub(super) const CHANNEL: u8 = 4;
    pub(super) const MESSAGE: u8 = 5;
    pub(super) const METADATA: u8 = 12;
    pub(super) const DATA_END: u8 = 15;
}

/// Texts by name.
pub(crate) type Texts = BTreeMap<String, String>;

/// A channel, with the schema of its messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channel<'a> {
    pub(crate) topic: &'a str,
    /// How messages are encoded.
    pub(crate) encoding: &'a str,
    /// The name, the encoding and the text of the schema.
    pub(crate) schema: [&'a str; 3],
}

/// Writes a file.
#[derive(Debug)]
pub(crate) struct McapWriter<W> {
    to: W,
    channels: u16,
    sequence: u32,
}

impl<W: Write> McapWriter<W> {
    pub(crate) fn begin(mut to: W, library: &str) -> io::Result<Self> {
        to.write_all(&MAGIC)?;
        let mut writer = Self { to, channels: 0, sequence: 0 };
        let mut body = Vec::new();
        text(&mut body, "");
        text(&mut body, library);
        writer.record(op::HEADER, &body)?;
        Ok(writer)
    }

    fn record(&mut self, op: u8, body: &[u8]) -> io::Result<()> {
        self.to.write_all(&[op])?;
        self.to.write_all(&(body.len() as u64).to_le_bytes())?;
        self.to.write_all(body)
    }

    /// Adds a channel. Returns its number.
    pub(crate) fn channel(&mut self, channel: &Channel<'_>) -> io::Result<u16> {
        self.channels += 1;
        let number = self.channels.to_le_bytes();
        let [name, encoding, schema] = channel.schema;
        let mut body = number.to_vec();
        text(&mut body, name);
        text(&mut body, encoding);
        text(&mut body, schema);
        self.record(op::SCHEMA, &body)?;
        body.clear();
        body.extend(number);
        body.extend(number);
        text(&mut body, channel.topic);
        text(&mut body, channel.encoding);
        texts(&mut body, &Texts::new());
        self.record(op::CHANNEL, &body)?;
        Ok(self.channels)
    }

    /// Adds a message. `time` is in nanoseconds since 1970.
    pub(crate) fn message(&mut self, channel: u16, time: u64, data: &[&[u8]]) -> io::Result<()> {
        let mut body = channel.to_le_bytes().to_vec();
        body.extend(self.sequence.to_le_bytes());
        body.extend(time.to_le_bytes());
        body.extend(time.to_le_bytes());
        data.iter().for_each(|part| body.extend_from_slice(part));
        self.sequence += 1;
        self.record(op::MESSAGE, &body)
    }

    pub(crate) fn metadata(&mut self, name: &str, values: &Texts) -> io::Result<()> {
        let mut body = Vec::new();
        text(&mut body, name);
        texts(&mut body, values);
        self.record(op::METADATA, &body)
    }

    /// Ends the file.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.record(op::DATA_END, &[0; 4])?;
        self.record(op::FOOTER, &[0; 20])?;
        self.to.write_all(&MAGIC)?;
        self.to.flush()?;
        Ok(self.to)
    }
}

/// A text. None of ours is longer than its length can say.
fn text(body: &mut Vec<u8>, text: &str) {
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    body.extend(len.to_le_bytes());
    body.extend_from_slice(&text.as_bytes()[..len as usize]);
}

fn texts(body: &mut Vec<u8>, values: &Texts) {
    let mut all = Vec::new();
    for (key, value) in values {
        text(&mut all, key);
        text(&mut all, value);
    }
    body.extend(u32::try_from(all.len()).unwrap_or(u32::MAX).to_le_bytes());
    body.extend(all);
}

/// A record of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    Message { topic: &'a str, time: u64, data: &'a [u8] },
    Metadata { name: &'a str, values: Texts },
}

/// Reads the messages and the metadata of a file. `None` if it is no MCAP file. A file that was cut off has the records before the
/// cut. Chunks are not read: a black box has none.
pub(crate) fn records(file: &[u8]) -> Option<Vec<Record<'_>>> {
    let mut rest = Reader(file.strip_prefix(&MAGIC)?);
    let mut topics = BTreeMap::new();
    let mut found = Vec::new();
    while let Some((op, body)) = rest.record() {
        match op {
            op::CHANNEL => {
                let (number, topic) = Reader(body).channel()?;
                topics.insert(number, topic);
            }
            op::MESSAGE => {
                let mut body = Reader(body);
                let (number, _sequence) = (body.number::<2>()?, body.number::<4>()?);
                let (time, _sent) = (body.number::<8>()?, body.number::<8>()?);
                found.push(Record::Message { topic: topics.get(&number)?, time, data: body.0 });
            }
            op::METADATA => {
                let mut body = Reader(body);
                found.push(Record::Metadata { name: body.text()?, values: body.texts()? });
            }
            op::DATA_END => break,
            _ => {}
        }
    }
    Some(found)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
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

    fn record(&mut self) -> Option<(u8, &'a [u8])> {
        let op = self.take(1)?[0];
        let len = usize::try_from(self.number::<8>()?).ok()?;
        Some((op, self.take(len)?))
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.number::<4>()?).ok()?;
        std::str::from_utf8(self.take(len)?).ok()
    }

    fn texts(&mut self) -> Option<Texts> {
        let len = usize::try_from(self.number::<4>()?).ok()?;
        let mut all = Reader(self.take(len)?);
        let mut values = Texts::new();
        while !all.0.is_empty() {
            values.insert(all.text()?.to_owned(), all.text()?.to_owned());
        }
        Some(values)
    }

    fn channel(&mut self) -> Option<(u64, &'a str)> {
        let (number, _schema) = (self.number::<2>()?, self.number::<2>()?);
        Some((number, self.text()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut writer = McapWriter::begin(Vec::new(), "test").unwrap();
        let channel = Channel { topic: "/a", encoding: "json", schema: ["A", "jsonschema", "{}"] };
        let channel = writer.channel(&channel).unwrap();
        writer.metadata("facts", &Texts::from([("k".to_owned(), "v".to_owned())])).unwrap();
        writer.message(channel, 7, &[b"{}"]).unwrap();
        writer.message(channel, 8, &[b"[", b"]"]).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn what_was_written_is_read() {
        let file = file();
        let values = Texts::from([("k".to_owned(), "v".to_owned())]);
        let expected = [
            Record::Metadata { name: "facts", values },
            Record::Message { topic: "/a", time: 7, data: b"{}" },
            Record::Message { topic: "/a", time: 8, data: b"[]" },
        ];
        assert_eq!(records(&file).unwrap(), expected);
    }

    #[test]
    fn a_file_that_was_cut_off_gives_its_whole_records() {
        let file = file();
        let whole = records(&file).unwrap();
        let mut most = 0;
        for cut in MAGIC.len()..file.len() {
            let found = records(&file[..cut]).unwrap();
            assert_eq!(found[..], whole[..found.len()], "{cut} bytes");
            assert!(found.len() >= most);
            most = found.len();
        }
        assert_eq!((most, records(&file[..5])), (3, None));
    }
}
