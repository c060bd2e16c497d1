//! The CPU time, the memory and the dropped datagrams of this process, from /proc. `None` on systems without it.

use std::fs;
use std::net::SocketAddr;

/// Returns the CPU time of all threads of this process, in microseconds.
pub(super) fn cpu_us() -> Option<u64> {
    let tasks = fs::read_dir("/proc/self/task").ok()?;
    let ns = tasks.flatten().filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Some(ns.sum::<u64>() / 1000).filter(|us| *us > 0)
}

/// Returns the memory of this process that is in RAM, in bytes.
pub(super) fn memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Returns the number of datagrams that the kernel dropped at the sockets on this port because their buffers were full.
pub(super) fn kernel_drops(address: SocketAddr) -> Option<u64> {
    let file = if address.is_ipv4() { "/proc/net/udp" } else { "/proc/net/udp6" };
    drops_in(&fs::read_to_string(file).ok()?, address.port())
}

/// Sums the last column of the lines with this local port.
fn drops_in(table: &str, port: u16) -> Option<u64> {
    let port = format!("{port:04X}");
    let of_line = |line: &str| {
        let mut columns = line.split_whitespace();
        let local = columns.nth(1)?.rsplit(':').next()?;
        (local == port).then(|| columns.last()?.parse::<u64>().ok()).flatten()
    };
    table.lines().filter_map(of_line).reduce(|a, b| a + b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_drops_of_the_port_are_counted() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  512: 0100007F:2328 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 24 2 0000 17
  513: 0100007F:2329 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 25 2 0000 5
";
        assert_eq!(drops_in(table, 9000), Some(17));
        assert_eq!(drops_in(table, 9001), Some(5));
        assert_eq!(drops_in(table, 9002), None);
    }
}
