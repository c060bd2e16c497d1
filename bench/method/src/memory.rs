//! The memory use of a process.

/// Returns the peak memory of this process in KiB; 0 if the kernel does not report it.
///
/// It does not use getrusage, because that figure is inherited from the program that started this one.
pub(crate) fn peak_kib() -> u64 {
    std::fs::read_to_string("/proc/self/status").ok().as_deref().and_then(parse).unwrap_or(0)
}

fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_found_among_other_lines() {
        assert_eq!(parse("Name:\tx\nVmPeak:\t  99 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n"), Some(2048));
        assert_eq!(parse("Name:\tx\n"), None);
    }
}
