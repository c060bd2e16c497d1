//! The size of a black box, and where files go, as users write them.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::value::{Setting, SourceValue};

/// A number of bytes, such as `64MiB`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteSize {
    /// `None` if the text means no size.
    bytes: Option<usize>,
    text: String,
}

impl ByteSize {
    /// Returns the number of bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.unwrap_or(0)
    }
}

impl From<usize> for ByteSize {
    fn from(bytes: usize) -> Self {
        Self { bytes: Some(bytes), text: bytes.to_string() }
    }
}

impl From<&str> for ByteSize {
    fn from(text: &str) -> Self {
        Self { bytes: read(text), text: text.trim().to_owned() }
    }
}

/// The units, and how many bytes each is.
const UNITS: [(&str, usize); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];

fn read(text: &str) -> Option<usize> {
    let text = text.trim();
    let (number, factor) =
        UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    number.trim().parse::<usize>().ok()?.checked_mul(factor)
}

impl Setting for ByteSize {
    type Size = usize;

    fn read(given: SourceValue<'_>) -> Option<Self> {
        match given {
            SourceValue::Integer(number) => usize::try_from(number).ok().map(Self::from),
            SourceValue::Text(text) | SourceValue::Untyped(text) => {
                Some(Self::from(text)).filter(|size| size.bytes.is_some())
            }
            _ => None,
        }
    }

    fn size(&self) -> usize {
        self.bytes.unwrap_or(usize::MAX)
    }

    fn show(&self) -> String {
        self.text.clone()
    }

    fn expected(range: Option<&RangeInclusive<usize>>) -> String {
        let most = range.map_or(usize::MAX, |range| *range.end());
        format!(
            "a size such as \"64MiB\" (KiB, MiB or GiB, or a number of bytes), from 0 to {}GiB",
            most >> 30
        )
    }
}

/// A setting that is a path: what it is the path of, whether a text is one, and what is expected.
macro_rules! path_setting {
    ($(#[$doc:meta])* $name:ident, $is_one:expr, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(PathBuf);

        impl $name {
            /// Returns the path.
            #[must_use]
            pub fn path(&self) -> &Path {
                &self.0
            }
        }

        impl<T: Into<PathBuf>> From<T> for $name {
            fn from(path: T) -> Self {
                Self(path.into())
            }
        }

        impl Setting for $name {
            type Size = ();

            fn read(given: SourceValue<'_>) -> Option<Self> {
                let is_one: fn(&str) -> bool = $is_one;
                given.text().filter(|text| is_one(text.trim())).map(Self::from)
            }

            fn size(&self) {}

            fn show(&self) -> String {
                self.0.display().to_string()
            }

            fn expected(_: Option<&RangeInclusive<()>>) -> String {
                $expected.to_owned()
            }
        }
    };
}

path_setting!(
    /// The path of a folder.
    Folder,
    |text| !text.is_empty(),
    "the path of a folder"
);

path_setting!(
    /// The path of a file.
    FilePath,
    |text| Path::new(text).file_name().is_some(),
    "the path of a file, such as \"runs/plant.mcap\""
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        let sizes = ["64MiB", "1 GiB", "512KiB", "4096"].map(|text| ByteSize::from(text).bytes());
        assert_eq!(sizes, [64 << 20, 1 << 30, 512 << 10, 4096]);
        for wrong in ["64 M", "-1", "", "MiB", "99999999999GiB", "64mb"] {
            assert_eq!(ByteSize::from(wrong).size(), usize::MAX, "{wrong}");
            assert_eq!(ByteSize::read(SourceValue::Text(wrong)), None, "{wrong}");
        }
    }
}
