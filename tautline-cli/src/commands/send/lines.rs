//! Lines of any input, with a bound: what is longer is skipped to its end, not kept.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, sync_channel};

/// The longest line taken, in bytes: any message fits many times over, whatever its spacing.
pub(super) const LONGEST: usize = 1 << 20;

/// Lines read before they are asked for.
const AHEAD: usize = 16;

/// The lines of standard input, read by a thread of its own: a read that waits for a keyboard or a pipe cannot
/// look for Ctrl-C, whoever waits for the channel can. It ends after the last line or the first error.
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

/// What some editors put before the first line of UTF-8 (RFC 8259 §8.1 lets readers ignore it).
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The lines of `reader`, counted from 1.
#[derive(Debug)]
struct Lines<R> {
    reader: R,
    number: u64,
    bytes: u64,
}

/// One line without its end; `None` for one that is too long.
#[derive(Debug, PartialEq)]
pub(super) struct InputLine {
    pub(super) number: u64,
    /// Bytes of the input up to its end.
    pub(super) end: u64,
    pub(super) text: Option<Vec<u8>>,
}

impl<R: BufRead> Lines<R> {
    fn new(reader: R) -> Self {
        Self { reader, number: 0, bytes: 0 }
    }

    /// The next line that is not blank; `None` at the end.
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

    /// The line that was just read.
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
    fn blank_lines_count_and_are_left_out_and_the_last_needs_no_end() {
        let line = |number, text: &str| (number, Some(text.to_owned()));
        assert_eq!(
            read(b"1\r\n\n  \n{\"a\": 2}\nlast"),
            [line(1, "1"), line(4, "{\"a\": 2}"), line(5, "last")]
        );
        assert!(read(b"").is_empty());
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        let line = |number, text: &str| (number, Some(text.to_owned()));
        assert_eq!(read("\u{feff}1\n\u{feff}2".as_bytes()), [line(1, "1"), line(2, "\u{feff}2")]);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_read() {
        let mut input = vec![b'x'; LONGEST + 50_000];
        input.extend(b"\n2\n");
        assert_eq!(read(&input), [(1, None), (2, Some("2".to_owned()))]);
        assert_eq!(read(&vec![b'x'; LONGEST + 1]), [(1, None)]);
    }
}
