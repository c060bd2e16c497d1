//! Reads the properties of the machine from /proc and /sys. A property that is not there is `None`.

use std::collections::BTreeSet;

use serde::Serialize;

/// The properties of the machine that affect timing.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    pub(super) kernel: Option<String>,
    /// Whether the kernel is built with PREEMPT_RT.
    pub(super) preempt_rt: bool,
    /// Whether the processor reports that it is virtual.
    pub(super) is_virtual: Option<bool>,
    /// The cores that are online, in the notation of the kernel.
    pub(super) cores: Option<String>,
    /// The cores that are isolated from ordinary scheduling. Empty if there are none.
    pub(super) isolated: Option<String>,
    /// The frequency governors in use.
    pub(super) governors: Option<String>,
    /// The idle states of the first core and their wake-up times, from shallow to deep.
    pub(super) idle_states: Vec<IdleState>,
    pub(super) clock_source: Option<String>,
    /// The share of each second that real-time threads may use, in percent. Beyond it the kernel stops them.
    pub(super) realtime_share_percent: Option<f64>,
}

/// One idle state of a core.
#[derive(Clone, Debug, Serialize)]
pub(super) struct IdleState {
    pub(super) name: String,
    /// The longest wake-up time in microseconds, according to the idle driver's table.
    pub(super) exit_us: Option<u64>,
}

/// Bounds for the search: more idle states than any core has, and more cores than any machine has.
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

/// Returns a file's text without leading and trailing white space.
fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Returns the number in a file.
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
        // -1 means no limit.
        ..0 => Some(100.0),
        _ if period > 0 => Some(runtime as f64 * 100.0 / period as f64),
        _ => None,
    }
}
