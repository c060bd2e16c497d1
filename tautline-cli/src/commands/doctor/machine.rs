//! What the machine says about itself, in the files of /proc and /sys; what it does not say is `None`.

use std::collections::BTreeSet;

use serde::Serialize;

/// The machine as far as timing depends on it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    pub(super) kernel: Option<String>,
    /// Whether the kernel is built with PREEMPT_RT.
    pub(super) preempt_rt: bool,
    /// Whether the processor says that it is a virtual one.
    pub(super) is_virtual: Option<bool>,
    /// The cores that run, as the kernel lists them.
    pub(super) cores: Option<String>,
    /// The cores that ordinary scheduling leaves alone; empty when none.
    pub(super) isolated: Option<String>,
    /// The frequency governors in use.
    pub(super) governors: Option<String>,
    /// The idle states of the first core and their wake-up times, from shallow to deep.
    pub(super) idle_states: Vec<IdleState>,
    pub(super) clock_source: Option<String>,
    /// How much of each second real-time threads may have, in percent; beyond it they are stopped.
    pub(super) realtime_share_percent: Option<f64>,
}

/// One idle state.
#[derive(Clone, Debug, Serialize)]
pub(super) struct IdleState {
    pub(super) name: String,
    /// How long waking from it takes at most, by the driver's table.
    pub(super) exit_us: Option<u64>,
}

/// No core has more idle states, and no machine more cores.
const MOST_STATES: usize = 16;
const MOST_CORES: usize = 1_024;

impl Machine {
    pub(super) fn look() -> Self {
        Self {
            kernel: read("/proc/sys/kernel/osrelease"),
            preempt_rt: read("/sys/kernel/realtime").is_some_and(|text| text == "1"),
            is_virtual: read("/proc/cpuinfo").map(|text| is_virtual(&text)),
            cores: read("/sys/devices/system/cpu/online"),
            isolated: read("/sys/devices/system/cpu/isolated"),
            governors: governors(),
            idle_states: (0..MOST_STATES).map_while(idle_state).collect(),
            clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            realtime_share_percent: realtime_share(),
        }
    }
}

/// A file's text without the spaces around it.
fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// A file's number.
pub(super) fn read_number(path: &str) -> Option<u64> {
    read(path)?.parse().ok()
}

fn is_virtual(cpuinfo: &str) -> bool {
    cpuinfo.split_whitespace().any(|word| word == "hypervisor")
}

fn governors() -> Option<String> {
    let of_core = |core| read(&format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"));
    let found: BTreeSet<String> = (0..MOST_CORES).map_while(of_core).collect();
    (!found.is_empty()).then(|| found.into_iter().collect::<Vec<_>>().join(", "))
}

fn idle_state(number: usize) -> Option<IdleState> {
    let folder = format!("/sys/devices/system/cpu/cpu0/cpuidle/state{number}");
    let name = read(&format!("{folder}/name"))?;
    Some(IdleState { name, exit_us: read_number(&format!("{folder}/latency")) })
}

fn realtime_share() -> Option<f64> {
    let runtime: i64 = read("/proc/sys/kernel/sched_rt_runtime_us")?.parse().ok()?;
    let period: i64 = read("/proc/sys/kernel/sched_rt_period_us")?.parse().ok()?;
    match runtime {
        // -1: no limit.
        ..0 => Some(100.0),
        _ if period > 0 => Some(runtime as f64 * 100.0 / period as f64),
        _ => None,
    }
}
