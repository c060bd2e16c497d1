//! Passes numbers and waits to the sequence window. Each number must be received, missing or lost.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tautline_proto::{Instant, Verdict, Window};

const START: u64 = 1000;

fuzz_target!(|steps: &[u8]| {
    let mut window = Window::new(START);
    let mut now = Instant::from_nanos(1);
    let mut received = 0;
    for &step in steps {
        match step {
            0..=199 => {
                let number = (window.next() + u64::from(step)).saturating_sub(100);
                let verdict = window.judge(number);
                assert_eq!(window.receive(number, now), verdict);
                received += u64::from(matches!(verdict, Verdict::New | Verdict::Late));
            }
            _ => now = now.plus(Duration::from_millis(u64::from(step - 199) * 20)),
        }
        window.expire(now);
        assert!(window.next_timeout().is_none_or(|due| due > now));
        assert_eq!(window.next() - START, received + window.counts().lost + window.missing());
    }
});
