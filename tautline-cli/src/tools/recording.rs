//! The options of the files of a recording. The library writes and reads them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tautline::recording::{ReadError, RecordError, RecordingFiles};

use crate::tools::exit::Failure;
use crate::tools::files::{check_file, check_writable};
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
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("b", 1),
    ];
    let wrong =
        || format!("expected a size of at least {LEAST_SIZE} bytes with its unit, such as 100MB or 64MiB");
    let lower = text.to_ascii_lowercase();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| lower.strip_suffix(name).map(|number| (number.trim_end(), unit)))
        .ok_or_else(wrong)?;
    let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*unit));
    size.filter(|size| *size >= LEAST_SIZE).ok_or_else(wrong)
}

impl FileArgs {
    /// Checks the options that clap cannot check, and that the file can be written.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.keep.is_some() && !self.files().is_split() {
            let sentence = "--keep needs --split-size or --split-every: a recording in one file has no oldest file to remove";
            return Err(Failure::usage(sentence));
        }
        check_file(&self.output)?;
        if !self.overwrite && !self.files().is_split() && self.output.exists() {
            return Err(is_there(&self.output));
        }
        check_writable(&self.output, "recording")
    }

    /// The files, as the library's recorder takes them.
    pub(crate) fn files(&self) -> RecordingFiles {
        RecordingFiles {
            path: self.output.clone(),
            overwrite: self.overwrite,
            split_size: self.split_size,
            split_every: self.split_every,
            keep: self.keep,
        }
    }
}

/// The failure of a recorder, with what helps against it.
pub(crate) fn failure(error: &RecordError) -> Failure {
    if error.error.kind() == io::ErrorKind::AlreadyExists {
        return is_there(&error.path);
    }
    Failure::failed(error.to_string())
}

fn is_there(path: &Path) -> Failure {
    Failure::usage(format!("{} is there already: name another file, or add --overwrite", path.display()))
}

/// The failure of a reader.
pub(crate) fn unreadable(error: &ReadError) -> Failure {
    if error.is_no_recording { Failure::usage(error.to_string()) } else { Failure::failed(error.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!((size("100 MB"), size("100mb")), (Ok(100_000_000), Ok(100_000_000)));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        for wrong in ["", "100", "1KiB", "-1MB", "99999999999999999999GB", "1.5MB", "MB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
