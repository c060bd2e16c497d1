//! Tests of the buffer pool and its bounds.

use crate::message::pool::*;

#[test]
fn a_returned_buffer_is_used_again() {
    let pool = Pool::new();
    let mut buffer = pool.take(100);
    buffer.extend_from_slice(b"old contents");
    let address = buffer.as_ptr();
    pool.give(buffer);
    let again = pool.take(50);
    assert_eq!(again.as_ptr(), address);
    assert!(again.is_empty());
    assert_eq!(pool.kept(), 0);
}

#[test]
fn an_oversized_buffer_is_not_kept() {
    let pool = Pool::new();
    pool.give(Vec::with_capacity(MAX_BUFFER_BYTES + 1));
    assert_eq!(pool.kept(), 0);
    pool.give(Vec::with_capacity(MAX_BUFFER_BYTES));
    assert_eq!(pool.kept(), 1);
}

#[test]
fn a_full_pool_keeps_no_more_buffers() {
    let pool = Pool::new();
    for _ in 0..MAX_BUFFERS + 10 {
        pool.give(Vec::with_capacity(1));
    }
    assert_eq!(pool.kept(), MAX_BUFFERS);
}

#[test]
fn the_kept_bytes_are_bounded_and_a_taken_buffer_makes_room() {
    let pool = Pool::new();
    let fitting = MAX_KEPT_BYTES / MAX_BUFFER_BYTES;
    for _ in 0..fitting + 10 {
        pool.give(Vec::with_capacity(MAX_BUFFER_BYTES));
    }
    assert_eq!(pool.kept(), fitting);
    drop(pool.take(1));
    pool.give(Vec::with_capacity(MAX_BUFFER_BYTES));
    assert_eq!(pool.kept(), fitting);
}
