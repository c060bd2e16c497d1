//! Describes what the results depend on: the machine, the system and the version. It leaves out the host name, because
//! users send reports to each other.

use std::fs;

use serde::Serialize;

use crate::tools::words::counted;

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
        let cores = counted(*cores as u64, "core");
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
