//! macOS: the policy of the driver's thread. The rest is as on [other systems](super::portable). Compiled, and not run yet.
#![allow(unsafe_code)] // no safe wrapper offers it

pub(crate) use super::elsewhere::OtherPriority;
pub(super) use super::elsewhere::{Awake, lacks, set_aside, unrestricted, usable_buffer};
pub(super) use super::portable::{buffer_remedy, busy_poll, lock_memory, run_on, stay_awake};
use super::{Answer, Refusal};
use crate::config::WaitPolicy;

/// The processor time that a turn may need in a row, and within which time it must get it.
const COMPUTATION_NS: u64 = 500_000;
const CONSTRAINT_NS: u64 = 1_000_000;

/// Puts the calling thread under the time-constraint policy, which every user may ask for. It has no levels, so the number
/// only says that priority is asked for.
#[allow(deprecated)] // libc names another crate for these; they are stable in the system
pub(super) fn set_priority(_: usize) -> Answer {
    let mut base = libc::mach_timebase_info { numer: 0, denom: 0 };
    // SAFETY: the system writes to `base`, which lives until the call returns.
    let result = unsafe { libc::mach_timebase_info(&raw mut base) };
    if result != 0 || base.numer == 0 {
        return refused(result);
    }
    let ticks =
        |ns: u64| u32::try_from(ns * u64::from(base.denom) / u64::from(base.numer)).unwrap_or(u32::MAX);
    let mut policy = libc::thread_time_constraint_policy_data_t {
        period: 0,
        computation: ticks(COMPUTATION_NS),
        constraint: ticks(CONSTRAINT_NS),
        preemptible: 1,
    };
    // SAFETY: the port is that of the calling thread. Pointer and count describe `policy`, which the system only reads.
    let result = unsafe {
        libc::thread_policy_set(
            libc::pthread_mach_thread_np(libc::pthread_self()),
            libc::THREAD_TIME_CONSTRAINT_POLICY.cast_unsigned(),
            (&raw mut policy).cast(),
            libc::THREAD_TIME_CONSTRAINT_POLICY_COUNT,
        )
    };
    if result == 0 { Ok("THREAD_TIME_CONSTRAINT_POLICY".to_owned()) } else { refused(result) }
}

pub(super) fn wait(_: WaitPolicy) -> Answer {
    Err(Refusal::new(
        "macOS has no ppoll: a wait ends at whole milliseconds",
        "`wait = \"spin\"`, if a millisecond is too much and a core is free",
    ))
}

fn refused(result: i32) -> Answer {
    Err(Refusal::new(
        format!("THREAD_TIME_CONSTRAINT_POLICY: the system returns {result}"),
        "leave `thread_priority` out",
    ))
}
