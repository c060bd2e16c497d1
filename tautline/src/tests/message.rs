//! Tests of owned messages: each is an exact copy in one pooled buffer.

use crate::sync::Arc;
use std::time::{Duration, Instant};

use super::fixtures::{arrival, numbered};
use crate::message::pool::Pool;
use crate::message::*;
use crate::{MessageType, Priority};

#[test]
fn a_copy_equals_the_original() {
    let original = numbered(0, Priority::High)
        .with_message_type(MessageType::Command)
        .with_channel(7)
        .with_message_id("first".into())
        .with_destination(Some("controller".into()))
        .with_correlation_id(Some("zéro".into()));
    let pool = Arc::new(Pool::new());
    let message = Message::copy(&pool, &original, Arrival { late: true, ..arrival() });
    assert_eq!(message.as_ref(), original);
    assert!(message.is_late());
    assert_eq!(message.destination(), Some("controller"));
    assert!(format!("{message:?}").contains("zéro"));
}

#[test]
fn a_dropped_message_returns_its_only_buffer() {
    let pool = Arc::new(Pool::new());
    let message = Message::copy(&pool, &numbered(1, Priority::Low), arrival());
    assert_eq!(pool.kept(), 0);
    drop(message);
    assert_eq!(pool.kept(), 1);
}

#[test]
fn the_age_of_a_message_counts_from_when_it_was_made() {
    let pool = Arc::new(Pool::new());
    let made = Instant::now() - Duration::from_secs(3_600);
    let message = Message::copy(&pool, &numbered(1, Priority::Low), Arrival { made, ..arrival() });
    assert!((3_600..3_700).contains(&message.age().as_secs()));
    let of_the_future = Arrival { made: Instant::now() + Duration::from_secs(60), ..arrival() };
    assert_eq!(of_the_future.age(), Duration::ZERO);
}
