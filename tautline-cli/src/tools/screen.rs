//! A picture on stderr that is redrawn in place. Used by `demo` and `proxy`, and by the progress bar.

use std::io::Write;

use crate::tools::output;

/// Redraws lines in place on stderr.
#[derive(Debug)]
pub(crate) struct Screen {
    drawn: usize,
}

impl Screen {
    /// Hides the cursor, and holds back other lines for stderr. When the screen is dropped, it removes the picture, shows the cursor
    /// again, and writes those lines.
    pub(crate) fn open() -> Self {
        output::hold_lines_back();
        raw("\x1b[?25l");
        Self { drawn: 0 }
    }

    /// Returns the terminal's columns and rows.
    pub(crate) fn size() -> (usize, usize) {
        let (rows, columns) = console::Term::stderr().size();
        (usize::from(columns), usize::from(rows))
    }

    /// Draws these lines in the place of the previous lines.
    pub(crate) fn draw(&mut self, lines: &[String]) {
        raw(&redrawn(self.drawn, lines));
        self.drawn = lines.len();
    }
}

/// Returns the text that draws `lines` in the place of `drawn` previous lines.
fn redrawn(drawn: usize, lines: &[String]) -> String {
    let mut text = String::from("\r"); // the terminal's echo of Ctrl-C may have moved the cursor
    if drawn > 0 {
        text.push_str(&format!("\x1b[{drawn}A"));
    }
    for line in lines {
        text.push_str(&format!("\r\x1b[2K{}\n", output::printable(line)));
    }
    text + "\x1b[J" // removes the rest of a longer picture
}

impl Drop for Screen {
    /// Removes the picture, because the summary repeats its content, and shows the cursor.
    fn drop(&mut self) {
        self.draw(&[]);
        raw("\x1b[?25h");
        output::release_lines();
    }
}

/// Writes text with escape sequences. Under NO_COLOR only the colours are removed, not the cursor movements.
pub(crate) fn raw(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let text = if output::has_colour() { text.to_owned() } else { without_colours(text) };
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// Removes the sequences that end in `m`, which set colours and weights.
fn without_colours(text: &str) -> String {
    let mut rest = text;
    let mut plain = String::with_capacity(text.len());
    while let Some(start) = rest.find("\x1b[") {
        let end =
            rest[start + 2..].find(|c: char| c.is_ascii_alphabetic()).map_or(rest.len(), |at| start + 3 + at);
        plain.push_str(&rest[..start]);
        if !rest[..end].ends_with('m') {
            plain.push_str(&rest[start..end]);
        }
        rest = &rest[end..];
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_picture_is_removed_after_the_echo_of_ctrl_c() {
        assert_eq!(redrawn(2, &[]), "\r\x1b[2A\x1b[J");
        assert_eq!(redrawn(0, &["one".into(), "two".into()]), "\r\r\x1b[2Kone\n\r\x1b[2Ktwo\n\x1b[J");
    }

    #[test]
    fn cursor_movements_stay_when_colours_are_removed() {
        assert_eq!(without_colours("\x1b[3A\x1b[1mhi\x1b[0m\x1b[2K!"), "\x1b[3Ahi\x1b[2K!");
        assert_eq!(without_colours("end\x1b["), "end\x1b[");
    }
}
