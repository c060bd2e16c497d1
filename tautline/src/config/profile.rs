//! The real-time profile: the values that `realtime` gives to the settings that the user did not set.

use std::time::Duration;

use super::durations::show_duration;
use super::error::ConfigError;
use super::invalid;
use super::keys::{Config, Settings};
use super::value::WaitPolicy;

/// Above the kernel's interrupt threads (50) and below its watchdogs (99).
const THREAD_PRIORITY: usize = 80;

/// The value that the kernel's manual recommends for low latency (Documentation/admin-guide/sysctl/net.rst).
const BUSY_POLL: Duration = Duration::from_micros(50);

impl Settings {
    /// If `realtime` is on, sets each setting of the profile that `config` does not set. The profile has no `cpus`:
    /// only the user knows which cores are free.
    pub(super) fn fill_profile(&mut self, config: &Config) {
        if !self.realtime {
            return;
        }
        self.thread_priority = config.thread_priority.unwrap_or(THREAD_PRIORITY);
        self.lock_memory = config.lock_memory.unwrap_or(true);
        self.low_latency_cpu = config.low_latency_cpu.unwrap_or(true);
        self.busy_poll = config.busy_poll.unwrap_or(BUSY_POLL);
    }

    /// Checks that `busy_poll` is in whole microseconds, because the kernel drops the rest.
    pub(super) fn check_busy_poll(&self) -> Result<(), ConfigError> {
        if self.busy_poll.subsec_nanos().is_multiple_of(1_000) {
            return Ok(());
        }
        Err(invalid("busy_poll", &show_duration(self.busy_poll), "whole microseconds, such as 50us"))
    }

    /// Refuses a thread that spins with real-time priority on any core. Such a thread never sleeps, so it would take
    /// the core away from the rest of the system, including the kernel's network code.
    pub(super) fn check_spinning(&self) -> Result<(), ConfigError> {
        if self.wait != WaitPolicy::Spin || self.thread_priority == 0 || !self.cpus.is_any() {
            return Ok(());
        }
        let expected = "adaptive or block if `thread_priority` is over 0, unless `cpus` names a core for this thread alone";
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
    fn without_the_profile_every_setting_is_off() {
        let found = settings(&Config::server("127.0.0.1:0"));
        assert_eq!((found.thread_priority, found.lock_memory, found.low_latency_cpu), (0, false, false));
        assert_eq!((found.busy_poll, found.cpus.is_any()), (Duration::ZERO, true));
    }

    #[test]
    fn the_profile_sets_only_what_the_user_did_not_set() {
        let found =
            settings(&Config::server("127.0.0.1:0").realtime(true).lock_memory(false).thread_priority(3));
        assert_eq!((found.thread_priority, found.lock_memory, found.low_latency_cpu), (3, false, true));
        assert_eq!((found.busy_poll, found.cpus.is_any()), (BUSY_POLL, true));
    }

    #[test]
    fn one_setting_alone_leaves_the_others_off() {
        let found = settings(&Config::server("127.0.0.1:0").low_latency_cpu(true));
        assert_eq!((found.thread_priority, found.lock_memory, found.low_latency_cpu), (0, false, true));
    }

    #[test]
    fn a_spinning_thread_with_priority_needs_its_own_core() {
        let spinning = Config::server("127.0.0.1:0").wait(WaitPolicy::Spin);
        assert_eq!(spinning.validate(), Ok(()));
        let error = spinning.clone().realtime(true).validate().expect_err("every core").to_string();
        assert_eq!(
            error,
            "`wait` is spin: expected adaptive or block if `thread_priority` is over 0, unless `cpus` names a core for \
             this thread alone"
        );
        assert_eq!(spinning.clone().realtime(true).cpus([1]).validate(), Ok(()));
        assert_eq!(spinning.realtime(true).thread_priority(0).validate(), Ok(()));
    }

    #[test]
    fn busy_polling_must_be_in_whole_microseconds() {
        let config = Config::server("127.0.0.1:0").busy_poll(Duration::from_nanos(1_500));
        let error = config.validate().expect_err("1.5 us").to_string();
        assert_eq!(error, "`busy_poll` is 1500ns: expected whole microseconds, such as 50us");
    }
}
