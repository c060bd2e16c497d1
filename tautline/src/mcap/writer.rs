//! Writes MCAP files: plain ones, record after record, or with chunks, a summary and an index.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{MAGIC, Texts, op};

/// A chunk is written when it has this size. Readers ignore a chunk that was cut off.
const CHUNK_SIZE: usize = 64 * 1024;

/// A channel, with the schema of its messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channel<'a> {
    pub(crate) topic: &'a str,
    /// How messages are encoded.
    pub(crate) encoding: &'a str,
    /// The name, the encoding and the text of the schema.
    pub(crate) schema: [&'a str; 3],
    pub(crate) metadata: &'a Texts,
}

/// Writes a file.
#[derive(Debug)]
pub(crate) struct McapWriter<W> {
    to: W,
    /// How many bytes were given to the file.
    position: u64,
    /// The number of the next message of each channel.
    sequences: Vec<u32>,
    /// `None` for a plain file.
    chunks: Option<Box<Chunks>>,
}

/// The present chunk, and what the summary says.
#[derive(Debug, Default)]
struct Chunks {
    records: Vec<u8>,
    times: Option<[u64; 2]>,
    /// The time and place of each message in the chunk, by channel.
    index: BTreeMap<u16, Vec<[u64; 2]>>,
    /// The bodies of the summary's records.
    schemas: Vec<Vec<u8>>,
    channels: Vec<Vec<u8>>,
    chunk_indexes: Vec<Vec<u8>>,
    metadata_indexes: Vec<Vec<u8>>,
    /// The earliest and the latest message of the file.
    all_times: Option<[u64; 2]>,
}

fn with(times: Option<[u64; 2]>, time: u64) -> Option<[u64; 2]> {
    Some(times.map_or([time; 2], |[first, last]| [first.min(time), last.max(time)]))
}

impl<W: Write> McapWriter<W> {
    pub(crate) fn begin(mut to: W, library: &str) -> io::Result<Self> {
        to.write_all(&MAGIC)?;
        let mut writer = Self { to, position: MAGIC.len() as u64, sequences: Vec::new(), chunks: None };
        let mut body = Vec::new();
        text(&mut body, "");
        text(&mut body, library);
        writer.record(op::HEADER, &body)?;
        Ok(writer)
    }

    /// Writes messages in chunks, and a summary with an index at the end.
    pub(crate) fn in_chunks(self) -> Self {
        Self { chunks: Some(Box::default()), ..self }
    }

    /// How many bytes were written, without what waits in memory.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    fn record(&mut self, op: u8, body: &[u8]) -> io::Result<()> {
        let head = head(op, body.len());
        self.to.write_all(&head)?;
        self.to.write_all(body)?;
        self.position += (head.len() + body.len()) as u64;
        Ok(())
    }

    /// Writes a record into the chunk, if there are chunks.
    fn put(&mut self, op: u8, body: &[u8]) -> io::Result<()> {
        let Some(chunks) = &mut self.chunks else { return self.record(op, body) };
        chunks.records.extend(head(op, body.len()));
        chunks.records.extend_from_slice(body);
        Ok(())
    }

    /// Adds a channel. Returns its number.
    pub(crate) fn channel(&mut self, channel: &Channel<'_>) -> io::Result<u16> {
        self.sequences.push(0);
        let number = u16::try_from(self.sequences.len())
            .map_err(|_| io::Error::other("an MCAP file has at most 65,535 channels"))?;
        let [name, encoding, schema] = channel.schema;
        let mut body = number.to_le_bytes().to_vec();
        [name, encoding, schema].iter().for_each(|part| text(&mut body, part));
        self.put(op::SCHEMA, &body)?;
        self.chunks.iter_mut().for_each(|chunks| chunks.schemas.push(body.clone()));
        body.clear();
        body.extend([number, number].map(u16::to_le_bytes).as_flattened());
        text(&mut body, channel.topic);
        text(&mut body, channel.encoding);
        texts(&mut body, channel.metadata);
        self.put(op::CHANNEL, &body)?;
        self.chunks.iter_mut().for_each(|chunks| chunks.channels.push(body.clone()));
        Ok(number)
    }

    /// Adds a message: when it was logged and when it was published, in nanoseconds since 1970, and the parts of its data.
    pub(crate) fn message(
        &mut self,
        channel: u16,
        [log_time, publish_time]: [u64; 2],
        data: &[&[u8]],
    ) -> io::Result<()> {
        let sequence = &mut self.sequences[usize::from(channel) - 1];
        let mut body = channel.to_le_bytes().to_vec();
        body.extend(sequence.to_le_bytes());
        *sequence = sequence.wrapping_add(1);
        body.extend(log_time.to_le_bytes());
        body.extend(publish_time.to_le_bytes());
        data.iter().for_each(|part| body.extend_from_slice(part));
        if let Some(chunks) = &mut self.chunks {
            chunks.times = with(chunks.times, log_time);
            chunks.all_times = with(chunks.all_times, log_time);
            let at = chunks.records.len() as u64;
            chunks.index.entry(channel).or_default().push([log_time, at]);
        }
        self.put(op::MESSAGE, &body)?;
        if self.chunks.as_ref().is_some_and(|chunks| chunks.records.len() >= CHUNK_SIZE) {
            self.end_chunk()?;
        }
        Ok(())
    }

    pub(crate) fn metadata(&mut self, name: &str, values: &Texts) -> io::Result<()> {
        self.end_chunk()?;
        let at = self.position;
        let mut body = Vec::new();
        text(&mut body, name);
        texts(&mut body, values);
        self.record(op::METADATA, &body)?;
        let length = self.position - at;
        if let Some(chunks) = &mut self.chunks {
            let mut index = [at, length].map(u64::to_le_bytes).as_flattened().to_vec();
            text(&mut index, name);
            chunks.metadata_indexes.push(index);
        }
        Ok(())
    }

    /// Writes what waits in memory.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.end_chunk()?;
        self.to.flush()
    }

    /// Writes the chunk, and the index of its messages.
    fn end_chunk(&mut self) -> io::Result<()> {
        let Some(chunks) = &mut self.chunks else { return Ok(()) };
        let Some([first, last]) = chunks.times.take() else { return Ok(()) };
        let (records, index) = (std::mem::take(&mut chunks.records), std::mem::take(&mut chunks.index));
        let size = records.len() as u64;
        let mut body = [first, last, size].map(u64::to_le_bytes).as_flattened().to_vec();
        body.extend(tautline_proto::wire::crc32(&records).to_le_bytes());
        text(&mut body, "");
        body.extend(size.to_le_bytes());
        body.extend_from_slice(&records);
        let begin = self.position;
        self.record(op::CHUNK, &body)?;
        let chunk_length = self.position - begin;
        let indexes = self.position;
        let mut places = Vec::new();
        for (channel, messages) in &index {
            places.extend(channel.to_le_bytes());
            places.extend(self.position.to_le_bytes());
            let mut body = channel.to_le_bytes().to_vec();
            let entries: Vec<u8> =
                messages.iter().flat_map(|message| message.map(u64::to_le_bytes)).flatten().collect();
            long(&mut body, &entries);
            self.record(op::MESSAGE_INDEX, &body)?;
        }
        let mut entry = [first, last, begin, chunk_length].map(u64::to_le_bytes).as_flattened().to_vec();
        long(&mut entry, &places);
        entry.extend((self.position - indexes).to_le_bytes());
        text(&mut entry, "");
        entry.extend([size, size].map(u64::to_le_bytes).as_flattened());
        if let Some(chunks) = &mut self.chunks {
            chunks.chunk_indexes.push(entry);
            // The memory is used again.
            chunks.records = records;
            chunks.records.clear();
        }
        Ok(())
    }

    /// Ends the file. Returns it, and its size.
    pub(crate) fn finish(mut self) -> io::Result<(W, u64)> {
        self.end_chunk()?;
        self.record(op::DATA_END, &[0; 4])?;
        let footer = match self.chunks.take() {
            Some(chunks) => self.summary(&chunks)?,
            None => [0; 20],
        };
        self.record(op::FOOTER, &footer)?;
        self.to.write_all(&MAGIC)?;
        self.to.flush()?;
        Ok((self.to, self.position + MAGIC.len() as u64))
    }

    /// Writes the summary. Returns the body of the footer.
    fn summary(&mut self, chunks: &Chunks) -> io::Result<[u8; 20]> {
        let begin = self.position;
        let statistics = [self.statistics(chunks)];
        let (mut summary, mut offsets) = (Vec::new(), Vec::new());
        for (op, bodies) in [
            (op::SCHEMA, &chunks.schemas[..]),
            (op::CHANNEL, &chunks.channels),
            (op::STATISTICS, &statistics),
            (op::CHUNK_INDEX, &chunks.chunk_indexes),
            (op::METADATA_INDEX, &chunks.metadata_indexes),
        ] {
            let start = summary.len() as u64;
            for body in bodies {
                summary.extend(head(op, body.len()));
                summary.extend_from_slice(body);
            }
            let length = summary.len() as u64 - start;
            if length > 0 {
                let mut body = vec![op];
                body.extend([begin + start, length].map(u64::to_le_bytes).as_flattened());
                offsets.extend(head(op::SUMMARY_OFFSET, body.len()));
                offsets.extend(body);
            }
        }
        let offsets_begin = begin + summary.len() as u64;
        summary.extend(offsets);
        self.to.write_all(&summary)?;
        self.position += summary.len() as u64;
        let mut footer = [0; 20];
        footer[..8].copy_from_slice(&begin.to_le_bytes());
        footer[8..16].copy_from_slice(&offsets_begin.to_le_bytes());
        // The sum covers the footer up to its place.
        summary.extend(head(op::FOOTER, footer.len()));
        summary.extend(&footer[..16]);
        footer[16..].copy_from_slice(&tautline_proto::wire::crc32(&summary).to_le_bytes());
        Ok(footer)
    }

    fn statistics(&self, chunks: &Chunks) -> Vec<u8> {
        let count = |many: usize| u32::try_from(many).unwrap_or(u32::MAX).to_le_bytes();
        let messages: u64 = self.sequences.iter().map(|count| u64::from(*count)).sum();
        let mut body = messages.to_le_bytes().to_vec();
        body.extend(u16::try_from(chunks.schemas.len()).unwrap_or(u16::MAX).to_le_bytes());
        body.extend(count(chunks.channels.len()));
        body.extend(count(0));
        body.extend(count(chunks.metadata_indexes.len()));
        body.extend(count(chunks.chunk_indexes.len()));
        body.extend(chunks.all_times.unwrap_or_default().map(u64::to_le_bytes).as_flattened());
        let mut counts = Vec::new();
        for (number, count) in (1_u16..).zip(&self.sequences) {
            counts.extend(number.to_le_bytes());
            counts.extend(u64::from(*count).to_le_bytes());
        }
        long(&mut body, &counts);
        body
    }
}

/// What stands before the body of a record.
fn head(op: u8, len: usize) -> [u8; 9] {
    let mut head = [op; 9];
    head[1..].copy_from_slice(&(len as u64).to_le_bytes());
    head
}

/// Bytes with their length before them. None of ours is longer than the length can say.
fn long(body: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    body.extend(len.to_le_bytes());
    body.extend_from_slice(&bytes[..len as usize]);
}

fn text(body: &mut Vec<u8>, text: &str) {
    long(body, text.as_bytes());
}

fn texts(body: &mut Vec<u8>, values: &Texts) {
    let mut all = Vec::new();
    for (key, value) in values {
        text(&mut all, key);
        text(&mut all, value);
    }
    long(body, &all);
}
