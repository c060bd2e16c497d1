//! Control frames in words.

use std::time::Duration;

use tautline_proto::MessageType;
use tautline_proto::wire::native::{Frame, Heartbeat, Ownership, OwnershipAct, PathProbe, Rekey, SealedEcho};

/// Describes a control frame. `None` for messages and fragments.
pub(super) fn control(frame: &Frame<'_>, round_trip: Option<Duration>) -> Option<String> {
    Some(match frame {
        Frame::Message(_) | Frame::Fragment(_) => return None,
        Frame::Ack(ack) => match ack.bitmap.iter().map(|byte| byte.count_ones()).sum::<u32>() {
            0 => format!("acknowledges below {}", ack.base),
            more => format!("acknowledges below {} and {more} more", ack.base),
        },
        Frame::Forward(base) => format!("forward to {base}"),
        Frame::Heartbeat(heartbeat) => described(heartbeat, round_trip),
        Frame::PathProbe(probe) => path_probe(probe),
        Frame::Close => "close".to_owned(),
        Frame::KeyRemoved => "close, because the key was removed".to_owned(),
        Frame::Hello => "hello".to_owned(),
        Frame::Token(_) => "token".to_owned(),
        Frame::SecuredToken(_) => "token for secured clients".to_owned(),
        Frame::Echo { name, .. } => format!("echo of {name:?}"),
        Frame::Accept(name) => format!("accept by {name:?}"),
        Frame::SealedEcho(SealedEcho { key, .. }) => {
            let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("sealed echo with key {key}")
        }
        Frame::SealedAccept(_) => "sealed accept".to_owned(),
        Frame::Rekey(Rekey::Ask) => "asks for new keys".to_owned(),
        Frame::Rekey(_) => "new keys".to_owned(),
        Frame::UnknownSession => "unknown session".to_owned(),
        Frame::Refused => "refused: no room".to_owned(),
        Frame::Ownership(frame) => ownership(frame),
        _ => "a frame of another version".to_owned(),
    })
}

fn described(heartbeat: &Heartbeat, round_trip: Option<Duration>) -> String {
    match round_trip.filter(|_| heartbeat.echo != 0) {
        Some(round_trip) => format!("heartbeat, round trip {:.3} ms", round_trip.as_secs_f64() * 1e3),
        None => "heartbeat".to_owned(),
    }
}

fn path_probe(probe: &PathProbe) -> String {
    let parts = [
        (probe.size > 0).then(|| format!("probe of {} bytes", probe.size)),
        (probe.arrived > 0).then(|| format!("probe #{} has arrived", probe.arrived)),
        (probe.named > 0).then(|| format!("#{} was a probe", probe.named)),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "path probe".to_owned() } else { parts.join(", ") }
}

fn ownership(frame: &Ownership) -> String {
    let act = match frame.act {
        OwnershipAct::Claim => "claims",
        OwnershipAct::Release => "releases",
        OwnershipAct::Granted => "grants",
        OwnershipAct::Released => "has released",
        OwnershipAct::Unowned => "has no owners for",
        OwnershipAct::Refused => "refuses",
        OwnershipAct::Denied => "says that another peer owns",
    };
    let message_type: MessageType = frame.stream.message_type;
    format!("{act} {message_type}/{}", frame.stream.channel)
}
