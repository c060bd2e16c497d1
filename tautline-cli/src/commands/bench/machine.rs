//! Describes what the results depend on: the machine, the system and the version. It leaves out the host name, because
//! users send reports to each other.

use std::fs;
use std::time::SystemTime;

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub(super) struct MachineInfo {
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) system: String,
    pub(super) version: &'static str,
    pub(super) build: &'static str,
}

impl MachineInfo {
    pub(super) fn here() -> Self {
        Self {
            cpu: cpu().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            system: system(),
            version: env!("CARGO_PKG_VERSION"),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
        }
    }

    /// Formats the machine as one line of text.
    pub(super) fn line(&self) -> String {
        let Self { cpu, cores, system, version, build } = self;
        let cores = format!("{cores} {}", if *cores == 1 { "core" } else { "cores" });
        let build = if *build == "debug" { " (debug build: slow)" } else { "" };
        format!("{cpu}, {cores}, {system}, tautline {version}{build}")
    }
}

fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let (_, name) = text.lines().find_map(|line| line.strip_prefix("model name"))?.split_once(':')?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty() && name != "unknown")
}

fn system() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} {}", std::env::consts::OS, release.trim()).trim_end().to_owned()
}

/// Returns the date (UTC) in the form 2026-01-31.
pub(super) fn today() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    date(now.as_secs() / 86_400)
}

/// Returns the Gregorian date that is this many days after 1970-01-01.
fn date(mut days: u64) -> String {
    let is_leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, expected) in
            [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29"), (20_453, "2025-12-31")]
        {
            assert_eq!(date(days), expected);
        }
    }
}
