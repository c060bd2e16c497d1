//! The MCAP format (<https://mcap.dev/spec>), as far as tautline writes and reads it: uncompressed, little-endian.
//!
//! `black_box` and `recording` use it. [`McapWriter`] writes a file, [`RecordReader`] reads one from its start to its end, or to the place
//! where it was cut off.

mod reader;
mod writer;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

pub(crate) use reader::{McapError, Record, RecordReader};
pub(crate) use writer::{Channel, McapWriter};

pub(crate) const MAGIC: [u8; 8] = *b"\x89MCAP0\r\n";

/// The records that are used.
mod op {
    pub(super) const HEADER: u8 = 1;
    pub(super) const FOOTER: u8 = 2;
    pub(super) const SCHEMA: u8 = 3;
    pub(super) const CHANNEL: u8 = 4;
    pub(super) const MESSAGE: u8 = 5;
    pub(super) const CHUNK: u8 = 6;
    pub(super) const MESSAGE_INDEX: u8 = 7;
    pub(super) const CHUNK_INDEX: u8 = 8;
    pub(super) const STATISTICS: u8 = 11;
    pub(super) const METADATA: u8 = 12;
    pub(super) const METADATA_INDEX: u8 = 13;
    pub(super) const SUMMARY_OFFSET: u8 = 14;
    pub(super) const DATA_END: u8 = 15;
}

/// The metadata by which a black box is told from a recording.
pub(crate) const BLACK_BOX: &str = "tautline.incident";

/// If there is a file with a number already, the next one gets a higher number: at most so many are tried.
const MOST_NUMBERS: i64 = 1_000;

/// Creates a file with this number in its name, or with the next one that is free: other interfaces may write files under the same
/// name. `create` fails with `AlreadyExists` if there is a file with its number.
pub(crate) fn create_numbered<T>(number: i64, mut create: impl FnMut(i64) -> io::Result<T>) -> io::Result<T> {
    let mut problem = io::Error::from(ErrorKind::AlreadyExists);
    for number in number..number + MOST_NUMBERS {
        match create(number) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => problem = error,
            created => return created,
        }
    }
    Err(problem)
}

/// Texts by name.
pub(crate) type Texts = BTreeMap<String, String>;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(in_chunks: bool) -> Vec<u8> {
        let mut writer = McapWriter::begin(Vec::new(), "test").unwrap();
        if in_chunks {
            writer = writer.in_chunks();
        }
        let channel = Channel {
            topic: "/a",
            encoding: "json",
            schema: ["A", "jsonschema", "{}"],
            metadata: &Texts::new(),
        };
        let channel = writer.channel(&channel).unwrap();
        writer.message(channel, [7, 6], &[b"{}"]).unwrap();
        writer.flush().unwrap();
        writer.message(channel, [8, 6], &[b"[", b"]"]).unwrap();
        writer.metadata("facts", &Texts::from([("k".to_owned(), "v".to_owned())])).unwrap();
        writer.finish().unwrap().0
    }

    /// What a file holds, and whether it was cut off.
    fn read(file: &[u8]) -> (Vec<Record>, bool) {
        let mut reader = RecordReader::begin(file).unwrap();
        let mut records = Vec::new();
        while let Some(record) = reader.next().unwrap() {
            records.push(record);
        }
        (records, reader.is_cut_off)
    }

    #[test]
    fn what_was_written_is_read_and_a_cut_loses_what_follows() {
        for in_chunks in [false, true] {
            let file = file(in_chunks);
            let (whole, is_cut_off) = read(&file);
            let messages: Vec<_> = whole
                .iter()
                .filter_map(|record| match record {
                    Record::Message { channel, log_time, data } => Some((*channel, *log_time, &data[..])),
                    _ => None,
                })
                .collect();
            assert_eq!(messages, [(1, 7, &b"{}"[..]), (1, 8, &b"[]"[..])]);
            let values = Texts::from([("k".to_owned(), "v".to_owned())]);
            assert!(whole.contains(&Record::Metadata { name: "facts".to_owned(), values }));
            assert!(!is_cut_off);
            let mut most = 0;
            // Behind the end of the data there is nothing to lose but the index.
            let end = file.len() - MAGIC.len() - 1;
            for cut in MAGIC.len()..end {
                let (found, is_cut_off) = read(&file[..cut]);
                assert_eq!(found[..], whole[..found.len()], "{cut} bytes");
                assert!(found.len() >= most && (is_cut_off || found.len() == whole.len()));
                most = found.len();
            }
            assert_eq!(most, whole.len());
        }
        assert!(matches!(RecordReader::begin(&b"no file"[..]), Err(McapError::NotMcap)));
    }

    #[test]
    fn a_chunk_that_was_damaged_is_an_error() {
        let mut file = file(true);
        let at = file.windows(2).position(|bytes| bytes == b"{}").expect("the schema");
        file[at] ^= 1;
        let mut reader = RecordReader::begin(&file[..]).unwrap();
        let error = loop {
            match reader.next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("nothing was noticed"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, McapError::Damaged), "{error}");
    }
}
