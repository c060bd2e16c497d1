//! Tests of async handlers, on workers and on an executor.

use super::*;

#[test]
fn an_async_closure_runs_on_a_worker_of_the_handler() {
    let (sender, received) = mpsc::channel();
    let handler = move |message: Message, reply| {
        let sender = sender.clone();
        async move {
            // Pending once, so that the wake-up must reach the worker.
            let mut polled = false;
            poll_fn(|context| {
                context.waker().wake_by_ref();
                if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            sender.send((number_of(&message), reply)).expect("the test lives");
        }
    };
    let mut rig = Rig::with(Data, Handler::asynchronous(handler));
    for number in 0..100 {
        rig.send(Data, number);
        assert_eq!(next(&received), (number, number));
    }
    rig.until(|stats| stats.handled == 100);
}

#[test]
fn an_async_handler_past_its_limit_is_cancelled_and_its_worker_goes_on() {
    let (dropped, drops) = mpsc::channel();
    let (begin, began) = mpsc::channel();
    let handler = move |message: Message, _| {
        let (guard, begin) = (DropReporter(dropped.clone()), begin.clone());
        async move {
            let _guard = guard;
            begin.send(number_of(&message)).expect("the test lives");
            pending::<()>().await;
        }
    };
    let mut rig = Rig::with(Data, Handler::asynchronous(handler).time_limit(HOUR).concurrency(1));
    for number in 0..50 {
        rig.send(Data, number);
        assert_eq!(next(&began), number);
        rig.pass_limit();
        next(&drops);
    }
    let stats = rig.until(|stats| stats.overdue == 0);
    assert_eq!((stats.timed_out, stats.handled, stats.offered()), (50, 0, 50));
}

#[test]
fn a_panic_in_a_future_is_counted_and_the_next_message_is_handled() {
    let handler =
        |message: Message, _| async move { assert!(number_of(&message) != 1, "the first one fails") };
    let mut rig = Rig::with(Data, Handler::asynchronous(handler));
    rig.send(Data, 1);
    rig.send(Data, 2);
    let stats = rig.until(|stats| stats.handled + stats.panicked == 2);
    assert_eq!(stats.panicked, 1);
}

/// An executor that runs its futures only when the test calls `turn`.
#[derive(Clone, Default)]
struct Executor(Arc<Mutex<Vec<HandlerFuture>>>);

impl Executor {
    fn spawn(&self, future: HandlerFuture) {
        self.0.lock().expect("never poisoned").push(future);
    }

    fn tasks(&self) -> usize {
        self.0.lock().expect("never poisoned").len()
    }

    /// Polls every task once.
    fn turn(&self) {
        let tasks = std::mem::take(&mut *self.0.lock().expect("never poisoned"));
        let mut context = std::task::Context::from_waker(Waker::noop());
        for mut task in tasks {
            if task.as_mut().poll(&mut context).is_pending() {
                self.spawn(task);
            }
        }
    }
}

#[test]
fn a_spawner_gets_one_future_of_a_peer_at_a_time_in_order() {
    let (sender, received) = mpsc::channel();
    let executor = Executor::default();
    let spawner = executor.clone();
    let handler = move |_, reply| {
        let sender = sender.clone();
        async move { sender.send(reply).expect("the test lives") }
    };
    let handler = Handler::spawned(move |future| spawner.spawn(future), handler).concurrency(1);
    let mut rig = Rig::with(Data, handler);
    for number in 0..3 {
        rig.send(Data, number);
    }
    assert_eq!(executor.tasks(), 1);
    for number in 0..3 {
        executor.turn();
        assert_eq!(received.try_recv(), Ok(number));
    }
    assert_eq!((rig.stats().handled, executor.tasks()), (3, 0));
}

#[test]
fn a_spawned_future_past_its_limit_is_dropped_by_its_executor() {
    let executor = Executor::default();
    let spawner = executor.clone();
    let (dropped, drops) = mpsc::channel();
    let handler = move |_, _| {
        let guard = DropReporter(dropped.clone());
        async move {
            let _guard = guard;
            pending::<()>().await;
        }
    };
    let handler = Handler::spawned(move |future| spawner.spawn(future), handler).time_limit(HOUR);
    let mut rig = Rig::with(Data, handler);
    rig.send(Data, 1);
    executor.turn();
    rig.pass_limit();
    assert_eq!((rig.stats().timed_out, rig.stats().overdue), (1, 1));
    executor.turn();
    assert_eq!(drops.try_recv(), Ok(()));
    assert_eq!((rig.stats().overdue, executor.tasks()), (0, 0));
}

#[test]
fn a_future_that_its_executor_drops_is_counted_and_the_next_future_is_spawned() {
    let executor = Executor::default();
    let spawner = executor.clone();
    let handler = Handler::spawned(move |future| spawner.spawn(future), |_, _| pending());
    let mut rig = Rig::with(Data, handler);
    rig.send(Data, 1);
    rig.send(Data, 2);
    let task = executor.0.lock().expect("never poisoned").pop();
    drop(task);
    let stats = rig.stats();
    assert_eq!((stats.dropped.of(DropReason::Closed), stats.running, stats.waiting), (1, 1, 0));
    assert_eq!(executor.tasks(), 1);
}

#[test]
fn a_message_whose_spawner_panics_is_counted_as_closed() {
    let handler = Handler::spawned(|_| panic!("no runtime here"), |_, _| pending());
    let mut rig = Rig::with(Data, handler);
    rig.send(Data, 1);
    let stats = rig.stats();
    assert_eq!((stats.dropped.of(DropReason::Closed), stats.offered()), (1, 1));
}
