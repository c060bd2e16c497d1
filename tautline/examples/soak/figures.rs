//! The memory, descriptors and threads of this process, read from /proc. They are 0 on systems without it.

/// Returns the resident memory, in kilobytes.
pub(crate) fn resident_kb() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
    kilobytes.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

pub(crate) fn descriptors() -> usize {
    entries("/proc/self/fd")
}

pub(crate) fn threads() -> usize {
    entries("/proc/self/task")
}

fn entries(path: &str) -> usize {
    std::fs::read_dir(path).map_or(0, Iterator::count)
}
