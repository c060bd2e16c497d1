//! Two ends without files: what was sent, and what came.

use tautline::PeerId;

use super::super::story::{Received, Story};
use super::*;

const MS: i64 = 1_000_000;

fn end(name: &str, is_server: bool) -> End {
    let (sent, came, covers) = (Vec::new(), Vec::new(), vec![(0, 10_000 * MS)]);
    End { name: name.to_owned(), is_server, story: Story::default(), sent, came, covers, wall_ahead: 0 }
}

/// `from` has sent a datagram that came to `to`, unless it was lost.
fn journey(from: &mut End, to: &mut End, id: u64, sent: At, came: Option<At>) {
    let (id, peer) = (Id::Whole(id), PeerId::none());
    from.sent.push(Sent { at: sent, peer, id, is_taken: true, bytes: Vec::new() });
    to.came.extend(came.map(|at| Came { at, peer: Some(peer), id, dropped: None }));
}

fn offset(ends: &[End; 2]) -> Offset {
    clocks::offset(&journeys(&ends[0], &ends[1]), &journeys(&ends[1], &ends[0])).expect("there are journeys")
}

/// The other end was stopped, and got all copies of a handshake datagram together.
#[test]
fn a_repeated_datagram_does_not_mislead_the_clocks() {
    let [mut server, mut client] = [end("server", true), end("client", false)];
    for n in 0..10 {
        journey(&mut client, &mut server, n, n.cast_signed() * MS, Some(n.cast_signed() * MS + MS / 10));
        journey(
            &mut server,
            &mut client,
            100 + n,
            n.cast_signed() * MS,
            Some(n.cast_signed() * MS + MS / 10),
        );
    }
    // The first copy is older than the client's record, and the second one was lost. One more was sent just after the third one had come.
    server.came.push(Came { at: 550 * MS, peer: None, id: Id::Whole(200), dropped: None });
    for (sent, came) in [(600, None), (700, Some(900)), (901, Some(902))] {
        journey(&mut client, &mut server, 200, sent * MS, came.map(|came| came * MS));
    }
    journey(&mut server, &mut client, 300, 950 * MS, Some(951 * MS));
    assert_eq!(offset(&[server, client]), Offset { ahead: 0, error: Some(MS / 10) });
}

#[test]
fn datagrams_that_are_all_equal_are_paired_in_order() {
    let [mut server, mut client] = [end("server", true), end("client", false)];
    for n in 0..10 {
        journey(&mut client, &mut server, 1, n * MS, Some(n * MS + MS / 10));
        journey(&mut server, &mut client, 2, n * MS, Some(n * MS + MS / 10));
    }
    assert_eq!(offset(&[server, client]), Offset { ahead: 0, error: Some(MS / 10) });
}

#[test]
fn bounds_that_contradict_each_other_are_told_apart_from_one_way() {
    let text = |back: bool| {
        let [mut server, mut client] = [end("server", true), end("client", false)];
        journey(&mut client, &mut server, 1, 100 * MS, Some(50 * MS));
        if back {
            journey(&mut server, &mut client, 2, 100 * MS, Some(90 * MS));
        }
        let ends = [server, client];
        Ends { offset: offset(&ends), ends }.clocks()
    };
    assert!(text(false).contains("no datagrams in both directions"), "{}", text(false));
    assert!(text(true).contains("a clock was set"), "{}", text(true));
}

/// The file was written as soon as the process went on, before it read what had waited in the kernel.
#[test]
fn what_waits_for_an_end_that_stands_still_is_not_lost() {
    let at = |ms: i64| u64::try_from(ms * MS).expect("a time");
    let lost = |last_input: i64, due: i64, waited: i64| {
        let [mut server, mut client] = [end("server", true), end("client", false)];
        journey(&mut server, &mut client, 1_000, 0, Some(1));
        for n in 0..100 {
            let came = (n < 50).then_some(10 * n * MS + 1);
            journey(&mut client, &mut server, u64::try_from(n).expect("small"), 10 * n * MS, came);
        }
        server.story.last_input = Some(at(last_input));
        server.story.due = Some(at(due));
        let (peer, in_kernel) = (PeerId::none(), at(waited));
        server.story.received.push(Received { at: at(last_input), peer, number: None, in_kernel, len: 60 });
        server.covers = vec![(0, server.read_until(1_000 * MS))];
        let ends = [server, client];
        Ends { offset: offset(&ends), ends }.way(1).lost()
    };
    assert_eq!(lost(490, 590, 0), 0, "it has done nothing since it was stopped");
    assert_eq!(lost(1_000, 590, 510), 0, "it has begun to read what had waited");
    assert_eq!(lost(1_000, 1_100, 510), 0, "the file does not show whether it has read all");
    assert_eq!(lost(990, 1_090, 0), 41, "it was there: all but those of the last 100 ms are lost");
    assert_eq!(lost(490, 1_090, 0), 41, "it had nothing to do but to wait for them");
}
