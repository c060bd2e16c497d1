//! Sending back what comes; shared by `listen --reply` and `bench serve`.

use tautline::{Handler, MessageRef, MessageType, Metadata, Payload, Reply, UdpInterface};

/// Sends back every message of these types, from the driver itself, so that nothing else delays an answer.
pub(crate) fn echo(interface: &UdpInterface, types: &[MessageType]) {
    for message_type in types {
        interface.register_message_handler(
            *message_type,
            Handler::inline(|message: &MessageRef<'_>, reply: &Reply| {
                if let Ok(payload) = Payload::encoded(message.content_type, message.payload) {
                    // An answer that cannot be sent is a loss that the other end sees.
                    let _ = reply.send_payload(&payload, &Metadata::answering(message));
                }
            }),
        );
    }
}
