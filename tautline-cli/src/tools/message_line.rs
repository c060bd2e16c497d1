//! A message as one line of JSON. Used by `listen` and `send --request`; recordings hold the same document.

use tautline::Message;
use tautline::recording::MessageView;

/// Formats a received message as a line that ends with a newline.
pub(crate) fn line(message: &Message) -> String {
    MessageView::of(message).document() + "\n"
}
