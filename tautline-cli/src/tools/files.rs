//! Writes pages and pictures to files, and refuses a folder in place of a file.

use std::io::{self, ErrorKind, Write};
use std::path::Path;

use crate::tools::exit::Failure;
use crate::tools::output;

/// Refuses a folder in place of a file.
pub(crate) fn check_file(path: &Path) -> Result<(), Failure> {
    if path.is_dir() {
        return Err(Failure::usage(format!("{} is a folder: name a file in it", path.display())));
    }
    Ok(())
}

/// Makes a folder for files of this kind, unless it is there.
pub(crate) fn make_folder(path: &Path, what: &str) -> Result<(), Failure> {
    if path.is_file() {
        return Err(Failure::usage(format!("{} is a file: name a folder for the {what}", path.display())));
    }
    std::fs::create_dir_all(path).map_err(|error| cannot_write(path, what, &error))
}

/// Checks before a measurement that its file (a page, a picture, a recording) can be written. It leaves no file behind.
pub(crate) fn check_writable(path: &Path, what: &str) -> Result<(), Failure> {
    check_file(path)?;
    let opened = match std::fs::File::create_new(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            std::fs::OpenOptions::new().append(true).open(path).map(drop)
        }
        created => created.and_then(|_| std::fs::remove_file(path)),
    };
    opened.map_err(|error| cannot_write(path, what, &error))
}

/// Writes a file that the user named, and says so.
pub(crate) fn write(path: &Path, what: &str, text: &str) -> Result<(), Failure> {
    check_file(path)?;
    std::fs::write(path, text).map_err(|error| cannot_write(path, what, &error))?;
    output::note(format_args!("wrote the {what} to {}", path.display()));
    Ok(())
}

/// Writes a file that the user did not name. Returns false if there is one already, which stays as it is.
pub(crate) fn write_new(path: &Path, text: &str) -> io::Result<bool> {
    match std::fs::File::create_new(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn cannot_write(path: &Path, what: &str, error: &io::Error) -> Failure {
    Failure::failed(format!("cannot write the {what} to {}: {error}", path.display()))
}
