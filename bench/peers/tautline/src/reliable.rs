//! Reliable messages, also on a network that loses datagrams: in the modes `reliable-P` each end loses P percent of the datagrams
//! that it reads (`Config::impair`).

use std::convert::Infallible;
use std::time::Duration;

use method::{Count, Loss, Outcome, Ready, Throughput};
use tautline::sim::Impairments;
use tautline::{
    Config, Handler, MessageRef, MessageType, Metadata, Payload, Reply, SendError, create_udp_client,
    create_udp_server,
};

/// The longest wait for room, and for the last acknowledgements.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// How often the client looks whether everything is acknowledged.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Whether a mode sends reliable messages.
pub(crate) fn is_mode(mode: &str) -> bool {
    mode.starts_with("reliable-")
}

/// Counts reliable messages; see [`method::Peer::sink`].
pub(crate) fn sink(mode: &str, ready: Ready, received: &'static Count) -> Outcome<Infallible> {
    let server = create_udp_server(impaired(Config::server("127.0.0.1:0"), mode, 1)?.inbox_capacity(0))?;
    let count = move |_: &MessageRef<'_>, _: &Reply| received.add(1);
    server.register_message_handler(MessageType::Data, Handler::inline(count));
    server.connect()?;
    ready.at(server.local_address().ok_or("not connected")?);
    loop {
        std::thread::park();
    }
}

/// Sends reliable messages, and waits until all are acknowledged; see [`method::Peer::throughput`].
pub(crate) fn throughput(mode: &str, to: &str, run: &mut Throughput) -> Outcome<()> {
    let client = create_udp_client(impaired(Config::client(to), mode, 2)?)?;
    client.connect()?;
    let (messages, payload) = (client.publisher(Metadata::data()), Payload::raw(run.message()));
    while run.more() {
        while let Err(error) = messages.send_reliable(&payload) {
            let is_full = matches!(error, SendError::WindowFull { .. });
            if !is_full || !messages.wait_for_room(Some(TIME_LIMIT)) {
                return Err(error.into());
            }
        }
    }
    let looks = TIME_LIMIT.as_millis() / LOOK_EVERY.as_millis();
    for _ in 0..looks {
        if client.statistics().deliveries.waiting == 0 {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Err("some messages were not acknowledged".into())
}

/// Lets an end lose the share of datagrams that the mode names.
fn impaired(config: Config, mode: &str, seed: u64) -> Outcome<Config> {
    let loss = Loss::of_mode(mode)?;
    if loss.percent() == 0.0 {
        return Ok(config);
    }
    let network = Impairments { loss: format!("{}%", loss.percent()).parse()?, ..Impairments::default() };
    Ok(config.impair(network, seed))
}
