//! Tests of the races of the buffer pool.

use std::sync::Arc;

use shuttle::thread;

use super::explore;
use crate::message::Message;
use crate::message::pool::Pool;
use crate::tests::{arrival, number_of, numbered, with_room};
use tautline_proto::Priority;

#[test]
fn no_parts_have_two_users() {
    explore(|| {
        let pool = Arc::new(Pool::default());
        pool.give(with_room(8));
        let users: Vec<_> = (0..3)
            .map(|user| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || {
                    for _ in 0..2 {
                        let message = Message::copy(&pool, &numbered(user, Priority::Normal), arrival());
                        thread::yield_now();
                        assert_eq!(number_of(&message), user);
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
