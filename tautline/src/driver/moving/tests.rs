use std::net::SocketAddr;
use std::time::Duration;

use tautline_proto::Instant as Steady;

use super::{LEAST_WAIT, LOOKS_EACH, Moving};
use crate::config::{Config, Wire};
use crate::error::ConnectError;

fn moving(wire: Wire) -> Moving {
    let settings = Config::client("plant:9000").wire(wire).settings().expect("valid");
    Moving::new(&settings)
}

fn addresses<const N: usize>(texts: [&str; N]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

const DEAD: &str = "10.0.0.1:9000";
const ALIVE: &str = "10.0.0.2:9000";

fn after(waits: u32) -> Steady {
    Steady::from_nanos(1).plus(LEAST_WAIT * waits)
}

#[test]
fn a_name_server_that_gives_the_addresses_in_turns_does_not_keep_a_client_at_a_dead_one() {
    let mut moving = moving(Wire::Native);
    for look in 0..LOOKS_EACH {
        let found = if look % 2 == 0 { [DEAD, ALIVE] } else { [ALIVE, DEAD] };
        moving.take_addresses(addresses(found)).expect("they fit");
        assert_eq!(moving.target(), Some(DEAD.parse().expect("an address")));
        moving.take_turns(after(look));
    }
    assert_eq!(moving.target(), Some(ALIVE.parse().expect("an address")));
}

#[test]
fn an_address_that_is_new_to_a_name_does_not_end_the_call_of_another() {
    let mut moving = moving(Wire::Native);
    moving.take_addresses(addresses([DEAD])).expect("it fits");
    (0..LOOKS_EACH - 1).for_each(|look| moving.take_turns(after(look)));
    moving.take_addresses(addresses([ALIVE, DEAD])).expect("they fit");
    assert_eq!(moving.target(), Some(DEAD.parse().expect("an address")));
    moving.take_turns(after(LOOKS_EACH));
    assert_eq!(moving.target(), Some(ALIVE.parse().expect("an address")), "it was called long enough");
    moving.take_addresses(addresses([DEAD])).expect("it fits");
    assert_eq!(moving.target(), Some(DEAD.parse().expect("an address")), "the other one is gone");
}

#[test]
fn a_classic_client_leaves_an_address_only_if_nobody_listens_there() {
    let mut moving = moving(Wire::Classic);
    moving.take_addresses(addresses([DEAD, ALIVE])).expect("they fit");
    (0..20).for_each(|look| moving.take_turns(after(look)));
    assert_eq!(moving.target(), Some(DEAD.parse().expect("an address")), "it may hear");
    moving.was_refused(after(20));
    assert!(moving.look_is_due(after(21)));
    moving.take_turns(after(21));
    assert_eq!(moving.target(), Some(ALIVE.parse().expect("an address")));
    moving.take_turns(after(22));
    assert_eq!(moving.target(), Some(ALIVE.parse().expect("an address")));
}

#[test]
fn a_name_that_means_a_group_is_refused_by_name() {
    let mut of_group = moving(Wire::Native);
    let refused = of_group.take_addresses(addresses(["239.1.2.3:9000"]));
    assert!(matches!(refused, Err(ConnectError::Broadcast { .. })), "{refused:?}");
    of_group.take_addresses(addresses(["[ff02::1]:9000", ALIVE])).expect("one is of one host");
    assert_eq!(of_group.target(), Some(ALIVE.parse().expect("an address")));
}

#[test]
fn a_name_server_that_does_not_answer_holds_up_nobody() {
    let mut moving = moving(Wire::Native);
    // No look-up of this name has begun, and none answers in no time.
    let refused = moving.resolve(Duration::ZERO);
    assert!(matches!(refused, Err(ConnectError::Unresolved { .. })), "{refused:?}");
}
