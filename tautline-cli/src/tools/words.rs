//! Wraps text for a terminal. Used by `demo` and `doctor`.

/// Wraps words into lines of at most `columns`. A longer word stands alone on its line.
pub(crate) fn wrapped(value: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in value.split(' ') {
        let line = lines.last_mut().expect("there is one");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= columns {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_keeps_every_word() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("a longerthanall b", 5), ["a", "longerthanall", "b"]);
        assert_eq!(wrapped("", 5), [""]);
    }
}
