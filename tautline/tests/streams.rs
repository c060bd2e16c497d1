//! Messages that share datagrams: coalesced streams, and batches. All of them arrive, in order, and are counted once, as
//! messages with their own datagrams.

mod common;

use std::sync::Barrier;
use std::time::Duration;

use common::{
    address, assert_nothing_waits, client, client_config, next, next_number, pair, server, server_config,
    until,
};
use tautline::{
    Config, ContentType, Driver, Metadata, Payload, Priority, Raw, SendError, Sent, Statistics, UdpInterface,
    Wire,
};

/// The length of a stream that fills several packs of datagrams.
const LONG: u64 = 5_000;

/// Returns a server whose inbox has room for a long stream.
fn roomy(config: Config) -> UdpInterface {
    server(config.inbox_capacity(100_000))
}

/// Checks that the messages 0 to `count - 1` arrive in order, and no others.
fn assert_all_came(server: &UdpInterface, count: u64) {
    (0..count).for_each(|number| assert_eq!(next_number(server), number));
    assert_nothing_waits(server);
}

/// Checks that the counts of both ends agree and show no loss.
fn assert_exact(sent: &Statistics, server: &UdpInterface, messages: u64) {
    let received = server.statistics();
    assert_eq!((sent.messages_sent, sent.send_failures, sent.queued_send_failures), (messages, 0, 0));
    assert_eq!(received.messages_received, messages);
    assert_eq!((received.lost, received.missing, received.duplicate, received.late), (0, 0, 0, 0));
    assert_eq!(received.datagrams_dropped.total(), 0);
}

/// Sends a stream. Returns the result of each send.
fn stream(client: &UdpInterface, count: u64) -> Vec<Sent> {
    (0..count).map(|number| client.send(&number, &Metadata::data()).expect("connected")).collect()
}

#[test]
fn a_stream_shares_datagrams_and_its_last_messages_go_out_by_themselves() {
    for offload in [true, false] {
        let server = roomy(server_config(Wire::Native).offload(offload));
        // The delay is so long that waiting messages go out with a full pack or by the driver.
        let client =
            client(client_config(&server).offload(offload).coalescing_delay(Duration::from_millis(1)));
        stream(&client, LONG);
        assert_all_came(&server, LONG);
        let statistics = client.statistics();
        assert_exact(&statistics, &server, LONG);
        assert!(statistics.datagrams_sent < LONG / 2, "{} datagrams", statistics.datagrams_sent);
    }
}

/// Returns a caller-driven client of a server that has a thread. No driver thread of the client sends the messages that wait, or
/// writes while the test sends.
fn own_loop(server: &UdpInterface, coalescing_delay: Duration) -> (UdpInterface, Driver) {
    let config = client_config(server).coalescing_delay(coalescing_delay);
    let (client, mut driver) = UdpInterface::caller_driven(config).unwrap();
    driver.connect().unwrap();
    // The server's name is the last part of the handshake, so no later datagram carries a part of it.
    until("the server is known", || {
        driver.turn(Some(Duration::from_millis(1)));
        client.peers().first().is_some_and(|peer| !peer.name.is_empty())
    });
    (client, driver)
}

#[test]
fn the_first_messages_of_a_stream_never_wait() {
    let server = roomy(server_config(Wire::Native));
    let (client, _driver) = own_loop(&server, Duration::from_millis(1));
    assert_eq!(stream(&client, 16), [Sent::Written; 16]);
    assert_all_came(&server, 16);
}

#[test]
fn without_coalescing_each_message_has_a_datagram_and_is_written_at_once() {
    let server = roomy(server_config(Wire::Native));
    let (client, _driver) = own_loop(&server, Duration::ZERO);
    assert_eq!(stream(&client, 200), [Sent::Written; 200]);
    assert_all_came(&server, 200);
    assert!(client.statistics().datagrams_sent >= 200);
}

#[test]
fn beside_the_thread_of_the_driver_most_messages_are_written_at_once() {
    let server = roomy(server_config(Wire::Native));
    let client = client(client_config(&server).coalescing_delay(Duration::ZERO));
    // While the driver writes a heartbeat or a probe of the path, messages are queued: a few, or all if the system suspends the
    // driver's thread meanwhile.
    until("most messages are written at once", || {
        let sent = stream(&client, 200);
        assert_all_came(&server, 200);
        sent.iter().filter(|&&sent| sent == Sent::Queued).count() <= 50
    });
}

#[test]
fn request_response_traffic_is_never_coalesced() {
    // Both ends are driven by this thread, so no other thread writes meanwhile.
    let coalescing = |config: Config| config.coalescing_delay(Duration::from_millis(1));
    let (server, mut plant) = UdpInterface::caller_driven(coalescing(server_config(Wire::Native))).unwrap();
    plant.connect().unwrap();
    let in_background = client_config(&server).connect_timeout(Duration::ZERO);
    let (client, mut controller) = UdpInterface::caller_driven(coalescing(in_background)).unwrap();
    controller.connect().unwrap();
    let mut turn = || {
        plant.turn(Some(Duration::ZERO));
        controller.turn(Some(Duration::ZERO));
    };
    let knows = |end: &UdpInterface| end.peers().first().is_some_and(|peer| !peer.name.is_empty());
    until("both ends know each other", || {
        turn();
        knows(&server) && knows(&client)
    });
    let mut next = |end: &UdpInterface| {
        let mut came = None;
        until("a message comes", || {
            turn();
            came = end.receive(Some(Duration::ZERO)).ok();
            came.is_some()
        });
        came.expect("it came")
    };
    for number in 0..200 {
        assert_eq!(client.send(&number, &Metadata::data()), Ok(Sent::Written));
        let request = next(&server);
        assert_eq!(server.reply(&request, &number, &Metadata::data()), Ok(Sent::Written));
        assert_eq!(next(&client).decode::<u64>().unwrap(), number);
    }
}

/// Sends until a message waits for others. Returns the number of messages that were sent.
fn begin_stream(client: &UdpInterface) -> u64 {
    let mut count = 0;
    while client.send(&count, &Metadata::data()).expect("connected") == Sent::Written {
        count += 1;
        assert!(count < 10_000, "the messages never became a stream");
    }
    count + 1
}

#[test]
fn a_flush_sends_waiting_messages() {
    let server = roomy(server_config(Wire::Native));
    let (client, _driver) = own_loop(&server, Duration::from_millis(1));
    let count = begin_stream(&client);
    assert_eq!(client.statistics().messages_sent, count - 1);
    client.flush();
    assert_eq!(client.statistics().messages_sent, count);
    assert_all_came(&server, count);
}

#[test]
fn the_next_turn_sends_waiting_messages() {
    let server = roomy(server_config(Wire::Native));
    let (client, mut driver) = own_loop(&server, Duration::from_millis(1));
    let count = begin_stream(&client);
    driver.turn(Some(Duration::ZERO));
    assert_all_came(&server, count);
}

#[test]
fn waiting_messages_are_sent_before_the_goodbye() {
    let server = roomy(server_config(Wire::Native));
    let (client, _driver) = own_loop(&server, Duration::from_millis(1));
    let count = begin_stream(&client);
    client.disconnect();
    assert_all_came(&server, count);
}

#[test]
fn a_critical_message_overtakes_waiting_messages() {
    let server = roomy(server_config(Wire::Native));
    let (client, _driver) = own_loop(&server, Duration::from_millis(1));
    let count = begin_stream(&client);
    let stop = Metadata::command().priority(Priority::Critical);
    assert_eq!(client.send("stop", &stop), Ok(Sent::Written));
    client.flush();
    // The inbox hands out the critical message first in any case. The ids hold the sequence numbers of the datagrams, so
    // they show the order on the wire.
    until("all messages have arrived", || server.statistics().messages_received == count + 1);
    let stop_id = next(&server).message_id().to_string().parse::<u64>().unwrap();
    let ids: Vec<u64> = (0..count).map(|_| next(&server).message_id().to_string().parse().unwrap()).collect();
    assert!(ids[usize::try_from(count).unwrap() - 1] > stop_id);
}

#[test]
fn a_large_message_stays_behind_the_messages_that_waited_before_it() {
    let server = roomy(server_config(Wire::Native));
    let (client, _driver) = own_loop(&server, Duration::from_millis(1));
    let count = begin_stream(&client);
    client.send(&"x".repeat(10_000), &Metadata::data()).unwrap();
    // It is a part of the stream, so it waits too.
    client.flush();
    (0..count).for_each(|number| assert_eq!(next_number(&server), number));
    assert_eq!(next(&server).decode::<String>().unwrap().len(), 10_000);
}

#[test]
fn a_batch_arrives_in_order_and_whole() {
    // On the classic wire each message has its own datagram. 200 of them fit into the socket buffer of an ordinary user.
    for (wire, count) in [(Wire::Native, LONG), (Wire::Classic, 200)] {
        let server = roomy(server_config(wire));
        let client = client(client_config(&server));
        let numbers: Vec<u64> = (0..count).collect();
        // Written, or queued while the driver writes a heartbeat.
        client.publisher(Metadata::data()).send_batch(&numbers).unwrap();
        assert_all_came(&server, count);
        assert_exact(&client.statistics(), &server, count);
    }
}

#[test]
fn a_batch_may_contain_messages_of_every_size() {
    let server = roomy(server_config(Wire::Native));
    let client = client(client_config(&server));
    let sizes = [0, 1, 64, 1416, 1417, 5_000, 60_000, 3, 64_000, 8];
    let payloads = sizes.map(|size| Payload::raw(vec![7; size]));
    client.publisher(Metadata::data()).send_batch(&payloads).unwrap();
    assert_eq!(sizes.map(|_| next(&server).payload().len()), sizes);
    client.publisher(Metadata::data()).send_batch(&[0; 0]).unwrap();
    assert_nothing_waits(&server);
}

#[test]
fn a_batch_goes_to_one_peer_or_to_all() {
    let server = roomy(server_config(Wire::Native));
    let clients = [(); 3].map(|()| client(client_config(&server)));
    until("the server knows all clients", || server.peers().len() == 3);
    server.publisher(Metadata::data()).send_batch(&[0, 1, 2]).unwrap();
    clients.iter().for_each(|client| assert_all_came(client, 3));
    server.publisher(Metadata::data()).to(address(&clients[1])).send_batch(&[0, 1]).unwrap();
    assert_all_came(&clients[1], 2);
    assert_nothing_waits(&clients[0]);
    let nobody = address(&server);
    let nobody = server.publisher(Metadata::data()).to(nobody);
    let mut queued = 0;
    // While the driver writes, a batch is queued, and its failure is counted.
    until("the batch is refused at once", || match nobody.send_batch(&[0]) {
        Ok(sent) => {
            assert_eq!(sent, Sent::Queued);
            queued += 1;
            false
        }
        Err(error) => {
            assert_eq!(error, SendError::UnknownPeer { target: address(&server).into() });
            true
        }
    });
    until("each failure is counted", || server.statistics().queued_send_failures == queued);
}

#[test]
fn the_error_of_a_batch_says_how_many_messages_were_sent() {
    let server = roomy(server_config(Wire::Native));
    let client = client(client_config(&server));
    let error = client.publisher(Metadata::data()).send_batch(&[1.0, 2.0, f64::NAN, 4.0]).unwrap_err();
    let SendError::Partly { sent: 2, failed: 2, first } = &error else { panic!("{error}") };
    assert!(matches!(**first, SendError::Encode(_)), "{first}");
    assert_eq!([(); 2].map(|()| next(&server).decode::<f64>().unwrap()), [1.0, 2.0]);
    assert_nothing_waits(&server);
    let error = client.publisher(Metadata::data()).send_batch(&[f64::NAN]).unwrap_err();
    assert!(matches!(error, SendError::Encode(_)), "no message was sent: {error}");
}

/// A value whose encoding panics half-way if the number is odd.
struct Even(u64);

impl serde::Serialize for Even {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq as _;
        let mut list = serializer.serialize_seq(None)?;
        list.serialize_element(&self.0)?;
        assert!(self.0.is_multiple_of(2), "odd");
        list.end()
    }
}

#[test]
fn a_value_that_panics_leaves_no_bytes_in_the_next_message() {
    let (server, client) = pair(Wire::Native);
    let sent =
        std::panic::catch_unwind(|| client.publisher(Metadata::data()).send_batch(&[Even(0), Even(1)]));
    assert!(sent.is_err(), "{sent:?}");
    client.publisher(Metadata::data()).send_batch(&[Even(2), Even(4)]).unwrap();
    client.send(&Even(6), &Metadata::data()).unwrap();
    assert_eq!([(); 3].map(|()| next(&server).decode::<[u64; 1]>().unwrap()), [[2], [4], [6]]);
    assert_nothing_waits(&server);
}

#[test]
fn a_batch_stays_behind_waiting_messages() {
    let server = roomy(server_config(Wire::Native));
    let (client, _driver) = own_loop(&server, Duration::from_millis(1));
    let count = begin_stream(&client);
    client.publisher(Metadata::data()).send_batch(&[count, count + 1]).unwrap();
    assert_all_came(&server, count + 2);
}

#[test]
fn no_datagram_exceeds_the_mtu() {
    let server = roomy(server_config(Wire::Native));
    let client = client(client_config(&server).mtu(576).offload(false));
    client.publisher(Metadata::data()).send_batch(&[0; 100]).unwrap();
    // An MTU of 576 leaves 548 bytes for the datagram, after the IPv4 and UDP headers.
    let statistics = client.statistics();
    let per_datagram = statistics.bytes_sent / statistics.datagrams_sent;
    assert!(per_datagram <= 548, "{per_datagram}");
    (0..100).for_each(|_| assert_eq!(next_number(&server), 0));
}

/// Several threads stream through one interface, and each uses several functions to send. The messages of each thread stay in
/// order, and none is lost.
#[test]
fn the_stream_of_each_thread_stays_in_order() {
    const THREADS: usize = 4;
    // A burst of all threads fits into the socket buffer of an ordinary user.
    const BURST: usize = 50;
    const BURSTS: usize = 40;
    for delay in [Duration::ZERO, Duration::from_micros(20)] {
        let server = roomy(server_config(Wire::Native));
        let client = client(client_config(&server).coalescing_delay(delay));
        let barrier = Barrier::new(THREADS);
        let send = &|thread: usize| {
            for burst in 0..BURSTS {
                for number in burst * BURST..(burst + 1) * BURST {
                    let (message, metadata) = ([thread, number], Metadata::data());
                    let sent = match number % 4 {
                        0 => client.send(&message, &metadata),
                        1 => client.publisher(metadata.clone()).send_batch(&[message]),
                        _ => client.send(&Payload::json(&message).expect("numbers"), &metadata),
                    };
                    sent.expect("connected");
                }
                let sent = (THREADS * (burst + 1) * BURST) as u64;
                barrier.wait();
                until("all messages have arrived", || server.statistics().messages_received == sent);
                barrier.wait();
            }
        };
        std::thread::scope(|scope| (0..THREADS).for_each(|thread| drop(scope.spawn(move || send(thread)))));
        let mut due = [0; THREADS];
        for _ in 0..THREADS * BURSTS * BURST {
            let [thread, number] = next(&server).decode::<[usize; 2]>().unwrap();
            assert_eq!(std::mem::replace(&mut due[thread], number + 1), number);
        }
        assert_exact(&client.statistics(), &server, (THREADS * BURSTS * BURST) as u64);
    }
}

#[test]
fn raw_bytes_are_sent_unchanged() {
    let (server, client) = pair(Wire::Native);
    client.send(Raw(&[1, 2, 3]), &Metadata::command()).unwrap();
    let message = next(&server);
    assert_eq!((message.payload(), message.content_type()), (&[1, 2, 3][..], ContentType::Raw));
    server.publisher(Metadata::status()).to(message.peer()).send(Raw(&[])).unwrap();
    assert!(next(&client).payload().is_empty());
    let (_server, classic) = pair(Wire::Classic);
    let error = classic.send(Raw(&[1]), &Metadata::data()).unwrap_err();
    assert!(matches!(error, SendError::NotOnThisWire { .. }), "{error}");
}
