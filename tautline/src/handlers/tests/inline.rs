//! Tests of inline handlers, of registration, and of the choice between handlers.

use super::*;
use crate::message::borrowed;

#[test]
fn a_handler_for_the_exact_channel_wins_over_a_handler_for_the_type() {
    let (sender, receiver) = mpsc::channel();
    let mut rig = Rig::new();
    for (name, selector) in [("any", Data.into()), ("seven", Selector::from((Data, 7)))] {
        let sender = sender.clone();
        rig.handlers
            .register(selector, Handler::inline(move |_, &reply| sender.send((name, reply)).unwrap()));
    }
    let on = |number, channel| numbered(number, Priority::Normal).with_channel(channel);
    assert!(rig.dispatch(&on(1, 7)));
    assert!(rig.dispatch(&on(2, 8)));
    assert!(!rig.send(Command, 3));
    assert!(rig.handlers.unregister(Data.into()));
    assert!(!rig.dispatch(&on(4, 8)));
    assert!(rig.dispatch(&on(5, 7)));
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [("seven", 1), ("any", 2), ("seven", 5)]);
}

#[test]
fn registering_replaces_a_handler_and_unregistering_returns_whether_there_was_one() {
    let mut rig = Rig::with(Data, Handler::inline(|_, _| {}));
    rig.send(Data, 1);
    assert!(rig.handlers.register(Data.into(), Handler::inline(|_, _| {})));
    rig.send(Data, 2);
    assert_eq!(rig.stats().handled, 1);
    assert_eq!(rig.handlers.totals().handled, 2);
    assert!(rig.handlers.unregister(Data.into()));
    assert!(!rig.handlers.unregister(Data.into()));
    assert_eq!(rig.handlers.totals().handled, 2);
}

#[test]
fn a_panicking_inline_handler_gets_the_next_message() {
    let mut calls = 0;
    let mut rig = Rig::with(
        Data,
        Handler::inline(move |_, _| {
            calls += 1;
            assert!(calls != 1, "the first call fails");
        }),
    );
    rig.send(Data, 1);
    rig.send(Data, 2);
    let stats = rig.stats();
    assert_eq!((stats.handled, stats.panicked, stats.offered()), (1, 1, 2));
}

#[test]
fn an_inline_handler_may_unregister_or_replace_itself() {
    let mut rig = Rig::new();
    let handlers = Arc::clone(&rig.handlers);
    let replacing = Handler::inline(move |_, _| {
        let again = Arc::clone(&handlers);
        let leaving = Handler::inline(move |_, _| assert!(again.unregister(Data.into())));
        assert!(handlers.register(Data.into(), leaving));
    });
    rig.handlers.register(Data.into(), replacing);
    assert!(rig.send(Data, 1));
    assert!(rig.send(Data, 2));
    assert!(!rig.send(Data, 3));
    let totals = rig.handlers.totals();
    assert_eq!((totals.handled, totals.panicked), (2, 0));
}

#[test]
fn an_inline_handler_is_not_called_from_inside_itself() {
    let mut rig = Rig::new();
    let mut inner = Dispatcher::new(Arc::clone(&rig.handlers), Arc::new(Pool::new()));
    let nested = move |_: &borrowed::MessageRef<'_>, _: &u64| {
        let message = numbered(2, Priority::Normal).with_message_type(Data);
        assert!(inner.dispatch(&message, &arrival(), None, |reply| *reply = Some(0)));
    };
    rig.handlers.register(Data.into(), Handler::inline(nested));
    rig.send(Data, 1);
    let stats = rig.stats();
    assert_eq!((stats.handled, stats.dropped.of(DropReason::BacklogFull)), (1, 1));
}

#[test]
fn a_panic_in_the_destructor_of_a_handler_is_caught() {
    struct PanicsOnDrop;
    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    let (inline, blocking) = (PanicsOnDrop, PanicsOnDrop);
    let mut rig = Rig::with(Data, Handler::inline(move |_, _| _ = &inline));
    rig.handlers.register(Command.into(), Handler::blocking(move |_, _| _ = &blocking).into());
    rig.send(Data, 1);
    rig.send(Command, 2);
    rig.until(|stats| stats.handled == 2);
    assert!(rig.handlers.unregister(Data.into()));
    assert!(rig.handlers.unregister(Command.into()));
    assert!(!rig.send(Data, 3));
    assert!(!rig.handlers.register(Data.into(), Handler::inline(|_, _| {})));
    assert!(rig.send(Data, 4));
    assert_eq!(rig.handlers.totals().handled, 3);
}

#[test]
fn each_handler_has_its_own_counts() {
    let mut rig = Rig::with(Data, Handler::inline(|_, _| {}));
    rig.handlers.register((Command, 0).into(), Handler::inline(|_, _| {}));
    rig.send(Data, 1);
    rig.send(Data, 2);
    rig.send(Command, 3);
    let stats: HashMap<_, _> = rig.handlers.stats().into_iter().collect();
    assert_eq!(stats[&Data.into()].handled, 2);
    assert_eq!(stats[&(Command, 0).into()].handled, 1);
}
