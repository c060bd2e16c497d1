//! Wraps text for a terminal, and counts things. Used for all messages to people.

use console::measure_text_width;

/// Wraps words into lines of at most `columns`. A longer word stands alone on its line.
pub(crate) fn wrapped(value: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in value.split(' ') {
        let line = lines.last_mut().expect("there is one");
        if line.is_empty() {
            line.push_str(word);
        } else if measure_text_width(line) + 1 + measure_text_width(word) <= columns {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Wraps the lines of a text that are wider than a terminal. What follows is indented by two columns more than the line itself.
pub(crate) fn fitted(text: &str, columns: usize) -> String {
    let fit = |line: &str| {
        let indent = line.len() - line.trim_start().len();
        let left = columns.saturating_sub(indent + 2);
        if measure_text_width(line) <= columns || left < LEAST_COLUMNS {
            return line.to_owned();
        }
        let (margin, hanging) = (" ".repeat(indent), " ".repeat(indent + 2));
        margin + &wrapped(line.trim_start(), left).join(&format!("\n{hanging}"))
    };
    text.split('\n').map(fit).collect::<Vec<_>>().join("\n")
}

/// Returns the number with its noun: "1 message", "2 messages".
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A narrower terminal breaks the lines itself.
const LEAST_COLUMNS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_fitted_line_by_line_and_keeps_its_indentation() {
        let text = "short\n  a sentence that is longer than thirty columns\n";
        assert_eq!(fitted(text, 30), "short\n  a sentence that is longer\n    than thirty columns\n");
        assert_eq!(fitted(text, 80), text);
        assert_eq!(fitted(text, 10), text);
    }

    #[test]
    fn one_thing_has_no_plural() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "file")), ["0 files", "1 file", "2 files"]);
    }

    #[test]
    fn wrapping_keeps_every_word() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a longerthanall b", 5), ["a", "longerthanall", "b"]);
        assert_eq!(wrapped("", 5), [""]);
    }
}
