//! The task that awaits a cycle is woken, and the thread that wakes it ends with the cycle. A lost wake-up would be a
//! deadlock, which shuttle reports.

use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use super::explore;
use shuttle::sync::{Arc, Condvar, Mutex};

use crate::cycle::alarm::Alarm;

/// Counts wake-ups. A thread can wait for them.
#[derive(Default)]
struct Counter {
    woken: Mutex<u32>,
    changed: Condvar,
}

/// A waker that counts. Wakers need an `Arc` of the standard library.
struct Counts(Arc<Counter>);

impl Wake for Counts {
    fn wake(self: std::sync::Arc<Self>) {
        *self.0.woken.lock().unwrap() += 1;
        self.0.changed.notify_one();
    }
}

#[test]
fn each_order_wakes_its_task_and_the_thread_ends() {
    explore(|| {
        let alarm = Alarm::start().expect("shuttle starts threads");
        let counter = Arc::new(Counter::default());
        let waker = Waker::from(std::sync::Arc::new(Counts(Arc::clone(&counter))));
        // An order that is replaced, because its future was dropped. It is not due while the test runs.
        alarm.set(Instant::now() + Duration::from_secs(3600), &waker);
        for order in 1..=2 {
            alarm.set(Instant::now(), &waker);
            let mut woken = counter.woken.lock().unwrap();
            while *woken < order {
                woken = counter.changed.wait(woken).unwrap();
            }
        }
        drop(alarm);
    });
}
