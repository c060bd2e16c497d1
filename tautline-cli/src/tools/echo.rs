//! Sends received messages back. Used by `listen --reply` and `bench serve`.

use tautline::{Handler, MessageRef, MessageType, Metadata, Payload, Reply, UdpInterface};

/// Registers handlers that send back every message of these types. They run inline in the driver, so that no other
/// thread delays an answer.
pub(crate) fn echo(interface: &UdpInterface, types: &[MessageType]) {
    for message_type in types {
        interface.register_message_handler(
            *message_type,
            Handler::inline(|message: &MessageRef<'_>, reply: &Reply| {
                if let Ok(payload) = Payload::encoded(message.content_type(), message.payload()) {
                    // If the answer cannot be sent, the other end counts its message as lost.
                    let _ = reply.send(&payload, &Metadata::answering(message));
                }
            }),
        );
    }
}
