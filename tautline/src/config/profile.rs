//! The real-time profile: what `realtime` means for the parts that are not set by themselves.

use std::time::Duration;

use super::durations::show_duration;
use super::error::ConfigError;
use super::invalid;
use super::keys::{Config, Settings};
use super::value::WaitPolicy;

/// Above the kernel's interrupt threads, which have 50, and below its watchdogs at 99.
const THREAD_PRIORITY: usize = 80;

/// What the kernel's manual recommends for latency (Documentation/admin-guide/sysctl/net.rst).
const BUSY_POLL: Duration = Duration::from_micros(50);

impl Settings {
    /// Gives each part that `config` does not set its value of the profile, if the profile is on. `cpus` has none:
    /// which cores are free, only the user knows.
    pub(super) fn fill_profile(&mut self, config: &Config) {
        if !self.realtime {
            return;
        }
        self.thread_priority = config.thread_priority.unwrap_or(THREAD_PRIORITY);
        self.lock_memory = config.lock_memory.unwrap_or(true);
        self.low_latency_cpu = config.low_latency_cpu.unwrap_or(true);
        self.busy_poll = config.busy_poll.unwrap_or(BUSY_POLL);
    }

    /// The kernel counts in microseconds: less than one would be none.
    pub(super) fn check_busy_poll(&self) -> Result<(), ConfigError> {
        if self.busy_poll.subsec_nanos().is_multiple_of(1_000) {
            return Ok(());
        }
        Err(invalid("busy_poll", &show_duration(self.busy_poll), "whole microseconds, such as 50us"))
    }

    /// A thread that never sleeps and outranks everybody would take whatever core it is on from the rest of the
    /// system, the network's own work included.
    pub(super) fn check_spinning(&self) -> Result<(), ConfigError> {
        if self.wait != WaitPolicy::Spin || self.thread_priority == 0 || !self.cpus.is_any() {
            return Ok(());
        }
        let expected =
            "adaptive or block with a `thread_priority` over 0, unless `cpus` names a core for it alone";
        Err(invalid("wait", &self.wait, expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(config: &Config) -> Settings {
        config.settings().expect("valid")
    }

    #[test]
    fn without_the_profile_every_part_is_off() {
        let found = settings(&Config::server("127.0.0.1:0"));
        assert_eq!((found.thread_priority, found.lock_memory, found.low_latency_cpu), (0, false, false));
        assert_eq!((found.busy_poll, found.cpus.is_any()), (Duration::ZERO, true));
    }

    #[test]
    fn the_profile_fills_what_is_not_set_by_itself() {
        let found =
            settings(&Config::server("127.0.0.1:0").realtime(true).lock_memory(false).thread_priority(3));
        assert_eq!((found.thread_priority, found.lock_memory, found.low_latency_cpu), (3, false, true));
        assert_eq!((found.busy_poll, found.cpus.is_any()), (BUSY_POLL, true));
    }

    #[test]
    fn a_part_alone_leaves_the_others_off() {
        let found = settings(&Config::server("127.0.0.1:0").low_latency_cpu(true));
        assert_eq!((found.thread_priority, found.lock_memory, found.low_latency_cpu), (0, false, true));
    }

    #[test]
    fn who_spins_with_priority_names_a_core_for_it() {
        let spinning = Config::server("127.0.0.1:0").wait(WaitPolicy::Spin);
        assert_eq!(spinning.validate(), Ok(()));
        let error = spinning.clone().realtime(true).validate().expect_err("every core").to_string();
        assert_eq!(
            error,
            "`wait` is spin: expected adaptive or block with a `thread_priority` over 0, unless `cpus` names a core \
             for it alone"
        );
        assert_eq!(spinning.clone().realtime(true).cpus([1]).validate(), Ok(()));
        assert_eq!(spinning.realtime(true).thread_priority(0).validate(), Ok(()));
    }

    #[test]
    fn busy_polling_is_counted_in_whole_microseconds() {
        let config = Config::server("127.0.0.1:0").busy_poll(Duration::from_nanos(1_500));
        let error = config.validate().expect_err("1.5 us").to_string();
        assert_eq!(error, "`busy_poll` is 1500ns: expected whole microseconds, such as 50us");
    }
}
