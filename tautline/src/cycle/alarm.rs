//! Wakes the task that awaits a cycle. Every executor can be used, so the time comes from a thread of the cycle's own.
//!
//! The thread is started when the cycle is awaited first, and ends when the cycle is dropped.

use std::task::Waker;
use std::time::Instant;

use crate::machine::realtime::off_the_drivers_cores;
use crate::machine::sleep::wake_exactly;
use crate::sync::quietly::quietly;
use crate::sync::thread::{self, Thread};
use crate::sync::{Arc, Mutex, lock, park_until};

/// The thread, and what it is to do.
#[derive(Debug)]
pub(crate) struct Alarm {
    order: Arc<Mutex<Order>>,
    thread: Thread,
}

/// What the thread is to do. Changed by the cycle, which then unparks the thread. The thread's token keeps an unpark that
/// comes before the park, so no order is overlooked.
#[derive(Debug, Default)]
struct Order {
    /// When to wake whom. Taken by the thread when it does so.
    task: Option<(Instant, Waker)>,
    is_over: bool,
}

impl Alarm {
    pub(crate) fn start() -> std::io::Result<Self> {
        let order = Arc::new(Mutex::new(Order::default()));
        let orders = Arc::clone(&order);
        let run = off_the_drivers_cores(move || carry_out(&orders));
        let handle = thread::Builder::new().name("tautline-cycle".to_owned()).spawn(run)?;
        Ok(Self { order, thread: handle.thread().clone() })
    }

    /// Wakes the task at the deadline. Replaces the former order.
    pub(crate) fn set(&self, deadline: Instant, waker: &Waker) {
        // The waker is cloned before the lock is taken, and the old one dropped after it is released: both are user code.
        let task = Some((deadline, waker.clone()));
        let former = std::mem::replace(&mut lock(&self.order).task, task);
        self.thread.unpark();
        let _ = quietly(|| drop(former));
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let former = {
            let mut order = lock(&self.order);
            order.is_over = true;
            order.task.take()
        };
        self.thread.unpark();
        let _ = quietly(|| drop(former));
    }
}

/// The thread.
fn carry_out(orders: &Mutex<Order>) {
    wake_exactly();
    loop {
        let deadline = {
            let mut order = lock(orders);
            if order.is_over {
                return;
            }
            let due = order.task.take_if(|(deadline, _)| *deadline <= Instant::now());
            let deadline = order.task.as_ref().map(|(deadline, _)| *deadline);
            drop(order);
            if let Some((_, waker)) = due {
                // A panic of an executor's waker must not end the thread.
                let _ = quietly(|| waker.wake());
                continue;
            }
            deadline
        };
        park_until(deadline);
    }
}
