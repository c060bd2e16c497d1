//! Counts the datagrams that the kernel dropped because a socket buffer was full. This is the usual reason for losses.

/// Returns the number of UDP datagrams dropped so far at all sockets of this machine; 0 if the kernel does not report
/// it.
pub(crate) fn kernel_drops() -> u64 {
    std::fs::read_to_string("/proc/net/snmp").ok().as_deref().and_then(parse).unwrap_or(0)
}

/// Parses a line of names and the line of numbers below it.
fn parse(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let column = names.split(' ').position(|name| name == "RcvbufErrors")?;
    numbers.split(' ').nth(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_taken_from_the_column_of_its_name() {
        let snmp = "Tcp: A B\nTcp: 1 2\nUdp: InErrors RcvbufErrors X\nUdp: 9 7 8\nUdpLite: RcvbufErrors\nUdpLite: 3\n";
        assert_eq!(parse(snmp), Some(7));
        assert_eq!(parse("Udp: A\n"), None);
    }
}
