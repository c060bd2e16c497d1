//! A message is a faithful copy in one pooled buffer.

use std::sync::Arc;
use std::time::Duration;

use super::fixtures::{arrival, numbered};
use crate::message::*;
use crate::pool::Pool;
use crate::{MessageRef, MessageType, Priority, WallTime};

#[test]
fn a_copy_says_what_the_original_said() {
    let original = MessageRef {
        message_type: MessageType::Command,
        channel: 7,
        message_id: "first".into(),
        destination: Some("controller".into()),
        correlation_id: Some("zéro".into()),
        ..numbered(0, Priority::High)
    };
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
fn a_time_stamp_of_the_future_has_no_age() {
    let pool = Arc::new(Pool::new());
    let aged = |timestamp| {
        let original = MessageRef { timestamp, ..numbered(1, Priority::Low) };
        Message::copy(&pool, &original, arrival()).age()
    };
    assert_eq!(aged(WallTime::from_nanos(i64::MAX)), Duration::ZERO);
    let hour_ago = WallTime::from_nanos(wall_now().as_nanos() - 3_600_000_000_000);
    assert!((3600..3700).contains(&aged(hour_ago).as_secs()));
}
