//! Why a link did not come up.

use serde_json::Value;

use super::super::story::Story;
use super::cause::{Cause, Kind};
use crate::tools::output::without_codes;

pub(super) fn not_connected(story: &Story) -> Option<Cause> {
    let is_end =
        |event: &Value, state: &str| event["event"] == "StateChanged" && event["fields"]["to"] == state;
    let failed = story.events.iter().rposition(|(_, event)| is_end(event, "Error"))?;
    let was_connecting = story.events[failed].1["fields"]["from"] == "Connecting";
    if !was_connecting || story.incident.get("cause").is_none_or(|cause| cause != "error") {
        return None;
    }
    let mut before = story.events[..failed].iter().rev().map(|(_, event)| event);
    let reason = before.find_map(reason).unwrap_or_else(|| "no answer came from the server".to_owned());
    Some(Cause::new(Kind::NotConnected, reason))
}

/// What an event says about the reason.
fn reason(event: &Value) -> Option<String> {
    let fields = &event["fields"];
    let text = |name: &str| fields[name].as_str().unwrap_or("the server");
    Some(match event["event"].as_str()? {
        "Waiting" => without_codes(text("missing")).into_owned(),
        "PeerUnreachable" if fields["fault"] == "PortUnreachable" => {
            format!("nothing listens at {}", text("address"))
        }
        "PeerUnreachable" => {
            format!("nothing could be sent to {}: {}", text("address"), without_codes(text("problem")))
        }
        "SocketFailed" => format!("the socket failed: {}", without_codes(text("problem"))),
        "OtherWire" => format!("{} speaks the other wire: set the same `wire` at both ends", text("from")),
        "KeyNeeded" => {
            format!("{} lets in only clients with its key, and this client has none", text("server"))
        }
        "KeyNotAccepted" => format!("{} does not accept the key of this client", text("server")),
        _ => return None,
    })
}
