//! Links survive wall clocks that are set, and steady clocks that stood still while a machine slept.

mod support;

use std::time::Duration;

use support::{Node, address, at, settle};
use tautline_proto::endpoint::{Event, WireFormat};
use tautline_proto::{Now, WallTime};

/// Returns the time `ms` after the start, with the wall clock set forward by `seconds`.
fn set_by(ms: u64, seconds: i64) -> Now {
    let now = at(ms);
    Now { wall: WallTime::from_nanos(now.wall.as_nanos() + seconds * 1_000_000_000), ..now }
}

fn pair() -> (Node, Node) {
    let mut server = Node::server(WireFormat::Native);
    let mut client = Node::client(5000, WireFormat::Native, 2);
    client.dial(address(9000), at(0));
    settle(&mut [&mut server, &mut client], at(0));
    (server, client)
}

/// Returns the events that do not belong to connecting.
fn trouble(node: &Node) -> Vec<&Event> {
    let calm = |event: &&Event| !matches!(event, Event::Added(_) | Event::Accepted(_) | Event::Named(..));
    node.events.iter().filter(calm).collect()
}

#[test]
fn setting_the_wall_clocks_at_both_ends_disturbs_nothing() {
    let (mut server, mut client) = pair();
    // Jumps of years, an hour and a second, forwards and backwards. Each end has jumps of its own.
    let jumps = [0, 3600, -3600, 1, -1, 400_000_000, -400_000_000, i64::from(i32::MAX), 0];
    for ms in 1..20_000 {
        let phase = usize::try_from(ms / 700).expect("small");
        let (here, there) = (set_by(ms, jumps[phase % 9]), set_by(ms, jumps[(phase * 5 + 3) % 9]));
        server.tick(here);
        client.tick(there);
        while let Some(packet) = client.sent.pop_front() {
            server.handle(&packet, here);
        }
        while let Some(packet) = server.sent.pop_front() {
            client.handle(&packet, there);
        }
        if ms % 10 == 0 {
            client.send(b"1", there);
            server.send(b"2", here);
        }
    }
    for node in [&server, &client] {
        assert!(trouble(node).is_empty(), "{:?}", trouble(node));
        assert!(node.got.len() > 1990, "{} messages", node.got.len());
        let stats = support::rx(node);
        assert_eq!((stats.lost, stats.timeouts), (0, 0));
        let path = stats.path.expect("measured");
        assert!(path.rtt_smoothed <= Duration::from_millis(3), "{path:?}");
    }
}

/// The client's machine sleeps for up to an hour. Its steady clock stands still, while the server's runs on.
#[test]
fn machine_that_slept_is_connected_again_within_a_heartbeat() {
    for slept_ms in [300, 2_000, 3_600_000] {
        let (mut server, mut client) = pair();
        for ms in 1..1000 {
            server.tick(at(ms));
            client.tick(at(ms));
            settle(&mut [&mut server, &mut client], at(ms));
        }
        let mut asleep = 0;
        while asleep < slept_ms {
            asleep += 50;
            server.tick(at(1000 + asleep));
            server.sent.clear();
        }
        client.events.clear();
        server.got.clear();
        // From here on, the clocks differ by the length of the sleep.
        let mut back_after = None;
        for ms in 1000..2000 {
            let (here, there) = (at(ms + slept_ms), at(ms));
            client.tick(there);
            client.send(b"1", there);
            for _ in 0..6 {
                while let Some(packet) = client.sent.pop_front() {
                    server.handle(&packet, here);
                }
                while let Some(packet) = server.sent.pop_front() {
                    client.handle(&packet, there);
                }
            }
            if !server.got.is_empty() {
                back_after = Some(ms - 1000);
                break;
            }
        }
        let back_after = back_after.expect("it comes back");
        assert!(back_after <= 100, "asleep for {slept_ms} ms: back after {back_after} ms");
    }
}
