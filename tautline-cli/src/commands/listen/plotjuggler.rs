//! Sends each message to PlotJuggler's UDP server, as a JSON document with a `timestamp` at its root.
//!
//! The fields are sorted by sender, type and channel: `controller/command/force`.

use std::net::UdpSocket;

use serde_json::{Value, json};
use tautline::{Endpoint, Message};

use crate::tools::exit::{Exit, Failure};
use tautline::recording::MessageView;

/// The connection to PlotJuggler.
#[derive(Debug)]
pub(super) struct PlotJuggler {
    socket: UdpSocket,
    /// How many documents the system did not take: they were too large, or it had no room.
    pub(super) refused: u64,
}

impl PlotJuggler {
    /// Opens a socket towards PlotJuggler.
    pub(super) fn open(endpoint: &Endpoint) -> Result<Self, Failure> {
        let connect = || {
            let socket = UdpSocket::bind(("0.0.0.0", 0))?;
            match socket.connect((endpoint.host(), endpoint.port())) {
                Ok(()) => Ok(socket),
                Err(_) => {
                    let socket = UdpSocket::bind(("::", 0))?;
                    socket.connect((endpoint.host(), endpoint.port())).map(|()| socket)
                }
            }
        };
        let problem = |error: std::io::Error| {
            Failure::new(Exit::NoConnection, format!("cannot send to PlotJuggler at {endpoint}: {error}"))
        };
        Ok(Self { socket: connect().map_err(problem)?, refused: 0 })
    }

    /// Sends a message. PlotJuggler need not be there: what nobody receives is lost, as its reader wants it.
    pub(super) fn send(&mut self, message: &Message) {
        let document = document(&MessageView::of(message));
        match self.socket.send(document.as_bytes()) {
            Ok(_) => {}
            // The report that nobody was there for an earlier one.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
            Err(_) => self.refused += 1,
        }
    }
}

fn document(message: &MessageView<'_>) -> String {
    // Data that are nested too deep are left out.
    let mut data = serde_json::from_str(&message.data()).unwrap_or(Value::Null);
    if message.channel != 0 {
        data = json!({ message.channel.to_string(): data });
    }
    let sender = message.sender();
    let by_type = json!({ message.message_type.name(): data });
    let mut document = json!({ "timestamp": message.received.as_secs_f64() });
    // A sender may be called "timestamp": its data must not take the place of the time.
    let name = if sender == "timestamp" { "timestamp_" } else { &sender };
    document[name] = by_type;
    document.to_string()
}
