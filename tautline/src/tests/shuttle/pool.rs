//! Tests of the races of the buffer pool.

use std::sync::Arc;

use shuttle::thread;

use super::explore;
use crate::message::pool::Pool;

#[test]
fn no_buffer_has_two_users() {
    explore(|| {
        let pool = Arc::new(Pool::default());
        pool.give(Vec::with_capacity(8));
        let users: Vec<_> = (0..3u8)
            .map(|user| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || {
                    for _ in 0..2 {
                        let mut buffer = pool.take(8);
                        assert!(buffer.is_empty());
                        buffer.extend_from_slice(&[user; 8]);
                        thread::yield_now();
                        assert_eq!(buffer, [user; 8]);
                        pool.give(buffer);
                    }
                })
            })
            .collect();
        for user in users {
            user.join().expect("no panic");
        }
        assert!((1..=3).contains(&pool.kept()));
    });
}
