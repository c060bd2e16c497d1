//! Progress bars on stderr. Used by `send` and `bench`.

use indicatif::{ProgressBar, ProgressStyle};

/// Creates a progress bar, or a spinner if the length is not known.
pub(crate) fn bar(length: Option<u64>, template: &str) -> ProgressBar {
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
