//! Reads lines of standard input. A line longer than [`LONGEST`] is skipped, so that the memory stays bounded.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, sync_channel};

/// The longest accepted line, in bytes. Every message fits, even with much white space.
pub(super) const LONGEST: usize = 1 << 20;

/// The number of lines that the reading thread may be ahead.
const AHEAD: usize = 16;

/// Starts a thread that reads the lines of standard input. A thread that waits in a read cannot check for Ctrl-C; the
/// receiver of this channel can. The channel closes after the last line or the first error.
pub(super) fn of_stdin() -> Receiver<io::Result<InputLine>> {
    let (sender, receiver) = sync_channel(AHEAD);
    std::thread::spawn(move || {
        let mut lines = Lines::new(io::stdin().lock());
        while let Some(line) = lines.next().transpose() {
            let is_last = line.is_err();
            if sender.send(line).is_err() || is_last {
                break;
            }
        }
    });
    receiver
}

/// The byte order mark, which some editors put before the first line of UTF-8 (RFC 8259 §8.1: readers may ignore it).
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The lines of `reader`, counted from 1.
#[derive(Debug)]
struct Lines<R> {
    reader: R,
    number: u64,
    bytes: u64,
}

/// One line of the input.
#[derive(Debug, PartialEq)]
pub(super) struct InputLine {
    pub(super) number: u64,
    /// The number of bytes of the input up to the end of this line.
    pub(super) end: u64,
    /// The text without its line end; `None` if the line was too long.
    pub(super) text: Option<Vec<u8>>,
}

impl<R: BufRead> Lines<R> {
    fn new(reader: R) -> Self {
        Self { reader, number: 0, bytes: 0 }
    }

    /// Returns the next line that is not blank, or `None` at the end of the input.
    fn next(&mut self) -> io::Result<Option<InputLine>> {
        loop {
            let mut text = Vec::new();
            let limit = LONGEST as u64 + 1;
            let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut text)?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.bytes += read as u64;
            if text.len() > LONGEST && !text.ends_with(b"\n") {
                self.skip_line()?;
                return Ok(Some(self.line(None)));
            }
            let text = match self.number {
                1 => text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text),
                _ => &text,
            };
            let text = text.trim_ascii();
            if !text.is_empty() {
                return Ok(Some(self.line(Some(text.to_vec()))));
            }
        }
    }

    /// Builds the line that was just read.
    fn line(&self, text: Option<Vec<u8>>) -> InputLine {
        InputLine { number: self.number, end: self.bytes, text }
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.reader.fill_buf()?;
            let end = buffer.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let used = end.unwrap_or(buffer.len());
            self.reader.consume(used);
            self.bytes += used as u64;
            if end.is_some() || used == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8]) -> Vec<(u64, Option<String>)> {
        let mut lines = Lines::new(io::BufReader::with_capacity(7, input));
        std::iter::from_fn(|| lines.next().expect("memory can be read"))
            .map(|line| (line.number, line.text.map(|text| String::from_utf8_lossy(&text).into_owned())))
            .collect()
    }

    #[test]
    fn blank_lines_are_counted_but_not_returned_and_the_last_line_needs_no_line_end() {
        let line = |number, text: &str| (number, Some(text.to_owned()));
        assert_eq!(
            read(b"1\r\n\n  \n{\"a\": 2}\nlast"),
            [line(1, "1"), line(4, "{\"a\": 2}"), line(5, "last")]
        );
        assert!(read(b"").is_empty());
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_first_line() {
        let line = |number, text: &str| (number, Some(text.to_owned()));
        assert_eq!(read("\u{feff}1\n\u{feff}2".as_bytes()), [line(1, "1"), line(2, "\u{feff}2")]);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_line_is_read() {
        let mut input = vec![b'x'; LONGEST + 50_000];
        input.extend(b"\n2\n");
        assert_eq!(read(&input), [(1, None), (2, Some("2".to_owned()))]);
        assert_eq!(read(&vec![b'x'; LONGEST + 1]), [(1, None)]);
    }
}
