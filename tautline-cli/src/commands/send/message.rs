//! Builds the payload and the metadata from the options.

use tautline::{Delivery, Endpoint, Id, Metadata, Payload, PayloadLimits};

use super::args::Args;
use crate::tools::exit::Failure;

/// An error message does not repeat data longer than this, in bytes.
const LONGEST_HINT: usize = 60;

/// Returns the payload of DATA, which keeps the limits of the interface.
pub(super) fn data_payload(args: &Args, data: &str, limits: &PayloadLimits) -> Result<Payload, Failure> {
    let fits = |payload: &Payload| payload.fits(limits).map_err(|error| error.to_string());
    payload(args, data.as_bytes()).and_then(|payload| fits(&payload).map(|()| payload)).map_err(|problem| {
        let hint = if data == "-" {
            "; leave DATA out to send each line of standard input".to_owned()
        } else if lacks_double_quotes(data) {
            "; keys and texts need double quotes, such as '{\"force\": 1.5}'".to_owned()
        } else if data.contains(':') && data.parse::<Endpoint>().is_ok() {
            format!(
                "; the endpoint comes first, then DATA, such as: tautline send {data} '{{\"force\": 1.5}}'"
            )
        } else if data.starts_with(['"', '[', '{']) || data.len() > LONGEST_HINT {
            String::new() // the data is not text with missing quotes
        } else if let Some((name, value)) = named_value(data) {
            format!("; did you mean '{{\"{name}\": {value}}}'?")
        } else {
            let quoted = serde_json::to_string(data).unwrap_or_default();
            format!("; put JSON quotes around text ('{quoted}'), or use --raw")
        };
        Failure::usage(format!("DATA cannot be sent: {problem}{hint}"))
    })
}

/// Whether it is an object or a list with a bare key, or with single quotes.
fn lacks_double_quotes(data: &str) -> bool {
    let inside = data.trim_start_matches(['{', '[', ' ']);
    inside.starts_with('\'')
        || data.starts_with('{') && inside.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Reads NAME=VALUE, as people write settings.
fn named_value(data: &str) -> Option<(&str, serde_json::Value)> {
    let (name, value) = data.split_once('=')?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    Some((name, serde_json::from_str(value).ok()?)).filter(|_| is_name)
}

pub(super) fn payload(args: &Args, text: &[u8]) -> Result<Payload, String> {
    if args.raw {
        Ok(Payload::raw(text))
    } else {
        Payload::json_text(text).map_err(|error| error.to_string())
    }
}

pub(super) fn metadata(args: &Args) -> Metadata {
    let mut metadata = Metadata::new(args.message_type).priority(args.priority).channel(args.channel);
    metadata.source.clone_from(&args.source);
    metadata.destination.clone_from(&args.destination);
    metadata.message_id = args.id.as_deref().map(id);
    metadata.correlation_id = args.correlation_id.as_deref().map(id);
    metadata.delivery = (args.delivery != Delivery::BestEffort).then_some(args.delivery);
    metadata.lifespan = args.lifespan;
    metadata
}

/// Reads an id. Decimal digits are a number, which the native wire carries in 8 bytes; everything else is text.
fn id(text: &str) -> Id<'static> {
    match text.parse::<u64>() {
        Ok(number) if number.to_string() == text => Id::from(number),
        _ => Id::from(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_a_number_and_everything_else_is_text() {
        assert_eq!(id("17"), Id::Number(17));
        for text in ["017", "+1", "a", "99999999999999999999", ""] {
            assert_eq!(id(text), Id::from(text), "{text}");
        }
    }
}
