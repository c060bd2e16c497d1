//! What the line sends and what it does not: counted, told, and no number spent for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tautline_proto::endpoint::{Encoder, Event, Role, Start, WireFormat, endpoint};
use tautline_proto::wire::native::{Head, begin_message, finish_message};

use super::*;
use crate::machine::clock::Clock;
use crate::machine::fault::SocketFault;
use crate::machine::life::Life;
use crate::machine::socket::SocketWaiter;
use crate::tests::{CLASSIC, classic_datagram, endpoint_config};
use crate::{ContentType, Delivery, PayloadLimits, Wire};

/// A classic server's line whose clients are at these addresses, and what counts the sending to each.
fn line_to(clients: &[SocketAddr]) -> (Line, Vec<Arc<tautline_proto::PeerTxCounters>>) {
    let mut config = endpoint_config();
    config.role = Role::Server;
    config.wire = WireFormat::Classic(CLASSIC);
    config.max_peers = clients.len();
    let (encoder, datagram_size) = (Encoder::new(&config), config.datagram_size);
    let link = |opening| Link {
        opening,
        clock: Clock::start(),
        life: Arc::new(Life::new(SocketWaiter::new().unwrap().1)),
        encoder,
        wire: Wire::Classic,
        codec: ContentType::Json,
        limits: PayloadLimits::default(),
        datagram_size: datagram_size.into(),
        granted: tautline_proto::Rights::ALL.to_wire().into(),
        max_datagram: 65_507,
        streams: None,
    };
    let (mut inbound, outbound) = endpoint(config, Start::default());
    let mut line = Line::default();
    let socket = Socket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    line.open(outbound, Arc::new(socket), Coalescer::default(), false, link);
    let mut now = Now::default();
    for &client in clients {
        // No crowd comes at once.
        now.steady = now.steady.plus(Duration::from_millis(5));
        inbound.handle(now, client, &classic_datagram(), &mut Vec::new()).expect("it is in order");
        while let Some(command) = inbound.poll_command() {
            line.command(command, now);
        }
    }
    let mut counters = Vec::new();
    while let Some(event) = inbound.poll_event(Now::default()) {
        if let Event::Added(peer) = event {
            counters.push(peer.tx);
        }
    }
    (line, counters)
}

fn job(target: Target) -> Job {
    let terms = Terms { target, opening: 1, sent_at: Steady::from_nanos(5), ..Terms::default() };
    Job { datagram: classic_datagram(), terms, ..Job::default() }
}

/// Sending there needs a permission of its own, so the kernel refuses.
fn refused() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::BROADCAST, 9))
}

#[test]
fn a_datagram_that_the_kernel_refuses_is_an_error_of_send() {
    let (mut line, sent) = line_to(&[refused()]);
    let error = line.write(&mut job(Target::All)).unwrap_err().error;
    let SendError::Refused { to, fault, .. } = error else { panic!("{error}") };
    assert_eq!((to, fault), (refused(), SocketFault::NotPermitted));
    assert_eq!(line.faults().snapshot().of(SocketFault::NotPermitted), 1);
    assert_eq!(line.counters().refused.value(), 1);
    assert_eq!((sent[0].snapshot().messages, sent[0].snapshot().next_sequence), (0, 0), "no number is spent");
    assert_eq!(line.counters().last_sent_ns.value(), 0);
}

#[test]
fn one_that_cannot_be_reached_does_not_keep_it_from_the_others() {
    let others = [0, 1].map(|_| Socket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap());
    let [one, two] = others.each_ref().map(Socket::address);
    let (mut line, sent) = line_to(&[one, refused(), two]);
    let error = line.write(&mut job(Target::All)).unwrap_err().error;
    let SendError::Partly { sent: reached, failed, .. } = &error else { panic!("{error}") };
    assert_eq!((*reached, *failed), (2, 1));
    assert!(
        error
            .to_string()
            .starts_with("2 messages were sent (counted once per peer) and 1 were not: the kernel")
    );
    let messages: Vec<_> = sent.iter().map(|sent| sent.snapshot().messages).collect();
    assert_eq!(messages, [1, 0, 1]);
    assert_eq!(line.counters().last_sent_ns.value(), 5, "something was sent");
}

#[test]
fn a_message_for_many_that_is_not_written_when_the_line_closes_is_counted() {
    let clients: Vec<_> = (1..=70).map(|port| SocketAddr::from(([127, 0, 0, 1], 40_000 + port))).collect();
    let (mut line, sent) = line_to(&clients);
    let mut job = job(Target::All);
    assert!(line.is_wide(&job) && !line.write_queued(&mut job, MAX_RUN / 4).is_done);
    line.close();
    assert!(line.write_queued(&mut job, MAX_RUN).is_done);
    assert_eq!(sent.iter().filter(|sent| sent.snapshot().messages == 1).count(), MAX_RUN / 4);
    assert_eq!(line.counters().queued.value(), 1, "the rest was not written");
    assert!(matches!(line.take_report(), Some(SendError::NotConnected)));
}

#[test]
fn each_refused_call_is_a_fault() {
    let other = SocketAddr::from((Ipv4Addr::BROADCAST, 10));
    let (mut line, _) = line_to(&[refused(), other]);
    line.write(&mut job(Target::All)).unwrap_err();
    assert_eq!(line.counters().refused.value(), 2);
    assert_eq!(line.faults().snapshot().of(SocketFault::NotPermitted), 2);
}

#[test]
fn a_refused_datagram_of_reliable_messages_is_a_fault() {
    // The line cares for no wire here.
    let (mut line, _) = line_to(&[refused()]);
    let mut job = job(Target::All);
    job.datagram = vec![0; HEADER_LEN];
    let head = Head { delivery: Delivery::Reliable, ..Head::default() };
    let started = begin_message(&mut job.datagram, &head).unwrap();
    assert!(finish_message(&mut job.datagram, started));
    let (message_type, channel) = (head.message_type, head.channel);
    let how = Reliably { message_type, channel, expires: None, has_receipt: false, number: None };
    let offered = line.offer(&job, &how, tautline_proto::Instant::from_nanos(1));
    assert!(offered.outcome.is_ok(), "it is taken, and sent again later");
    assert_eq!(line.counters().refused.value(), 1);
    assert_eq!(line.faults().snapshot().of(SocketFault::NotPermitted), 1);
}

#[test]
fn a_failure_after_queueing_is_counted_and_told_once() {
    let (mut line, _) = line_to(&[refused()]);
    line.write_queued(&mut job(Target::All), MAX_RUN);
    line.write_queued(&mut job(Target::All), MAX_RUN);
    assert_eq!(line.counters().queued.value(), 2);
    assert!(matches!(line.take_report(), Some(SendError::Refused { .. })));
    assert_eq!(line.take_report(), None);
}

#[test]
fn what_outlives_its_lifespan_in_the_queue_is_not_sent() {
    let receiver = Socket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let (mut line, sent) = line_to(&[receiver.address()]);
    let now = Instant::now();
    for (expires, total) in [(Some(now), 0), (Some(now + Duration::from_secs(3_600)), 1), (None, 2)] {
        let mut job = job(Target::All);
        job.terms.expires = expires;
        line.write_queued(&mut job, MAX_RUN);
        line.flush();
        assert_eq!(sent[0].snapshot().messages, total);
    }
    assert_eq!((line.counters().expired.value(), line.counters().queued.value()), (1, 0));
}

#[test]
fn what_outlives_its_lifespan_at_the_gate_is_not_sent() {
    let (mut line, sent) = line_to(&[refused()]);
    let terms = |expires| Terms { expires, ..job(Target::All).terms };
    let coalescer = || Coalescer::new(Duration::from_micros(20), 1_400, Arc::default());
    let now = Instant::now();
    for (first, second, expired) in [(Some(now), Some(now), 2), (Some(now), None, 2), (None, Some(now), 2)] {
        let open = line.open.as_mut().unwrap();
        open.coalescer = coalescer();
        assert!(
            open.coalescer.push(&[1, 0, 0, 0], &terms(first))
                && open.coalescer.push(&[1, 0, 0, 0], &terms(second))
        );
        line.flush();
        assert_eq!(line.counters().expired.value(), expired, "all of a pack, or none");
    }
    assert_eq!(sent[0].snapshot().messages, 0);
    assert_eq!(line.counters().queued.value(), 4, "the others were tried");
}

#[test]
fn a_message_for_many_peers_is_written_in_pieces_and_once_to_each() {
    let receiver = std::net::UdpSocket::bind("0.0.0.0:0").expect("a free port");
    let port = receiver.local_addr().expect("bound").port();
    let clients: Vec<_> = (1..=150).map(|host| SocketAddr::from(([127, 0, 1, host], port))).collect();
    let (mut line, sent) = line_to(&clients);
    let mut wide = job(Target::All);
    assert!(line.is_wide(&wide) && !line.is_wide(&job(Target::Address(clients[0]))));
    let messages = |line: &[Arc<tautline_proto::PeerTxCounters>]| -> Vec<_> {
        line.iter().map(|sent| sent.snapshot().messages).collect()
    };
    assert_eq!(line.write_queued(&mut wide, 100), Written { count: 100, is_done: false });
    assert_eq!(messages(&sent).iter().sum::<u64>(), 100);
    // The last one that was written to leaves, and so does one that comes later.
    let peers = line.open.as_ref().expect("open").outbound.listeners().to_vec();
    for gone in [peers[99], peers[120]] {
        line.command(Command::Hush(gone), Now::default());
    }
    assert_eq!(line.write_queued(&mut wide, 100), Written { count: 49, is_done: true });
    let expected: Vec<_> = (0..150).map(|number| u64::from(number != 120)).collect();
    assert_eq!(messages(&sent), expected);
    assert_eq!((line.counters().queued.value(), line.counters().refused.value()), (0, 0));
}
