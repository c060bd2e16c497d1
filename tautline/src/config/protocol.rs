//! What the protocol is told of the settings. `connection` opens an endpoint with it, and `black_box` runs one again.

use std::sync::Arc;

use tautline_proto::endpoint::{EndpointConfig, WireFormat};
use tautline_proto::json::JsonLimits;
use tautline_proto::wire::classic::ClassicFormat;

use super::keys::Settings;
use super::value::Wire;
use crate::payload;

impl Settings {
    /// Returns the configuration of an endpoint. `datagram_size`: the largest datagram that `mtu` leaves room for.
    pub(crate) fn for_protocol(&self, datagram_size: usize) -> EndpointConfig {
        let limits = self.payload_limits();
        let wire = match self.wire {
            Wire::Native => WireFormat::Native,
            Wire::Classic => {
                WireFormat::Classic(ClassicFormat { use_crc: self.use_crc, use_sequence: self.use_sequence })
            }
        };
        let mut config = EndpointConfig::new(self.role, wire);
        config.name.clone_from(&self.name);
        config.allow = self.allow.shared();
        config.max_peers = self.max_peers;
        config.heartbeat_interval = self.heartbeat_interval;
        config.liveness_timeout = self.liveness_timeout;
        config.peer_expiry = self.peer_expiry;
        config.max_message_size = self.max_message_size;
        config.datagram_size = datagram_size;
        config.max_tries = u32::try_from(self.reliable_tries).unwrap_or(u32::MAX);
        config.json = JsonLimits { max_depth: self.max_depth, nonfinite: self.nonfinite };
        config.owned = self.streams.owned(self.liveness_timeout);
        #[cfg(feature = "secure")]
        config.security.clone_from(&self.keys);
        config.check_payload =
            Arc::new(move |content_type, bytes| payload::check(content_type, bytes, &limits));
        config
    }
}
