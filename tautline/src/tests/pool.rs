//! Tests of the buffer pool and its bounds.

use crate::message::pool::*;

use super::with_room;

#[test]
fn returned_parts_are_used_again() {
    let pool = Pool::new();
    let parts = with_room(100);
    let address = std::ptr::from_ref(&*parts);
    pool.give(parts);
    let again = pool.take(50).expect("one is there");
    assert_eq!(std::ptr::from_ref(&*again), address);
    assert!(pool.take(50).is_none());
}

#[test]
fn an_oversized_buffer_is_not_kept() {
    let pool = Pool::new();
    pool.give(with_room(MAX_BUFFER_BYTES + 1));
    assert_eq!(pool.kept(), 0);
    pool.give(with_room(MAX_BUFFER_BYTES));
    assert_eq!(pool.kept(), 1);
}

#[test]
fn a_full_pool_keeps_no_more_buffers() {
    let pool = Pool::new();
    for _ in 0..MAX_BUFFERS + 10 {
        pool.give(with_room(1));
    }
    assert_eq!(pool.kept(), MAX_BUFFERS);
}

#[test]
fn the_kept_bytes_are_bounded_and_a_taken_buffer_makes_room() {
    let pool = Pool::new();
    let fitting = MAX_KEPT_BYTES / MAX_BUFFER_BYTES;
    for _ in 0..fitting + 10 {
        pool.give(with_room(MAX_BUFFER_BYTES));
    }
    assert_eq!(pool.kept(), fitting);
    drop(pool.take(1));
    pool.give(with_room(MAX_BUFFER_BYTES));
    assert_eq!(pool.kept(), fitting);
}
