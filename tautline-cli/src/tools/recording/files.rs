//! The files of a recording: their options, their names, and when the next one begins.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::tools::exit::Failure;
use crate::tools::link::{count, duration};

/// Options of the files that are written.
#[derive(Debug, clap::Args)]
pub(crate) struct FileArgs {
    /// The file to write; with --split-size or --split-every the first is FILE-0001.mcap, the next FILE-0002.mcap
    #[arg(long, short, value_name = "FILE.mcap")]
    pub(crate) output: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    overwrite: bool,
    /// Begin another file when one has this size, such as 100MB or 64MiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    split_size: Option<u64>,
    /// Begin another file after this time, such as 10min
    #[arg(long, value_name = "TIME", value_parser = duration)]
    split_every: Option<Duration>,
    /// Keep only so many files, and remove the oldest of this recording; needs --split-size or --split-every
    #[arg(long, value_name = "N", value_parser = count)]
    keep: Option<u64>,
}

/// The smallest size of a file.
const LEAST_SIZE: u64 = 64 * 1024;

/// Reads a size with a unit. A value parser for clap.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 7] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
    ];
    let wrong =
        || format!("expected a size of at least {LEAST_SIZE} bytes with its unit, such as 100MB or 64MiB");
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| text.strip_suffix(name).map(|number| (number.trim_end(), unit)))
        .ok_or_else(wrong)?;
    let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*unit));
    size.filter(|size| *size >= LEAST_SIZE).ok_or_else(wrong)
}

impl FileArgs {
    /// Checks the options that clap cannot check.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.keep.is_some() && !self.is_split() {
            let sentence = "--keep needs --split-size or --split-every: a recording in one file has no oldest file to remove";
            return Err(Failure::usage(sentence));
        }
        Ok(())
    }

    fn is_split(&self) -> bool {
        self.split_size.is_some() || self.split_every.is_some()
    }

    /// Whether a file of this size, begun at this time, is complete.
    pub(super) fn is_full(&self, size: u64, begun: Instant) -> bool {
        self.split_size.is_some_and(|limit| size >= limit)
            || self.split_every.is_some_and(|limit| begun.elapsed() >= limit)
    }

    /// Returns the path of file number `number`, counted from 1.
    pub(super) fn path(&self, number: u64) -> PathBuf {
        if !self.is_split() {
            return self.output.clone();
        }
        let stem = self.output.file_stem().unwrap_or_default().to_string_lossy();
        let end = self.output.extension().unwrap_or("mcap".as_ref()).to_string_lossy();
        self.output.with_file_name(format!("{stem}-{number:04}.{end}"))
    }

    /// Creates a file.
    pub(super) fn create(&self, path: &Path) -> Result<File, Failure> {
        let mut options = OpenOptions::new();
        if self.overwrite {
            options.write(true).create(true).truncate(true);
        } else {
            options.write(true).create_new(true);
        }
        options.open(path).map_err(|error| {
            let path = path.display();
            match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    Failure::usage(format!("{path} is there already: name another file, or add --overwrite"))
                }
                _ => Failure::failed(format!("cannot write {path}: {error}")),
            }
        })
    }

    /// Returns the number of the file that is removed when file number `number` begins, if there is one.
    pub(super) fn outdated(&self, number: u64) -> Option<u64> {
        number.checked_sub(self.keep?).filter(|outdated| *outdated > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("100 MB"), Ok(100_000_000));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        for wrong in ["", "100", "1KiB", "-1MB", "99999999999999999999GB", "1.5MB", "MB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
