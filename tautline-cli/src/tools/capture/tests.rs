//! Captures of both formats, byte by byte.

use super::packet::Udp;
use super::*;

/// Returns an IPv4 packet with a UDP datagram from port 5 to port 6.
fn ipv4(payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    let mut packet = vec![0x45, 0, 0, 28 + length, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet.extend([0, 5, 0, 6, 0, 8 + length, 0, 0]);
    packet.extend(payload);
    packet
}

fn ipv6(payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    let mut packet = vec![0x60, 0, 0, 0, 0, 16 + length, 0, 64];
    packet.extend([0_u8; 15].into_iter().chain([1]).chain([0; 15]).chain([2]));
    packet.extend([17, 0, 0, 0, 0, 0, 0, 0]); // hop by hop
    packet.extend([0, 5, 0, 6, 0, 8 + length, 0, 0]);
    packet.extend(payload);
    packet
}

fn datagram(contents: &Contents<'_>) -> String {
    match contents {
        Contents::Udp(Udp { from, to, payload }) => {
            format!("{from} {to} {}", String::from_utf8_lossy(payload))
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn datagrams_are_found_behind_every_link_layer() {
    let v4 = "10.0.0.1:5 10.0.0.2:6 hi";
    let v6 = "[::1]:5 [::2]:6 hi";
    let before = |head: &[u8], ip: Vec<u8>| [head, &ip[..]].concat();
    let sll = |kind: u8| [&[0, kind, 3, 4][..], &[0; 10], &[8, 0]].concat();
    let sll2 = |kind: u8| [&[8, 0, 0, 0, 0, 0, 0, 1, 3, 4, kind][..], &[0; 9]].concat();
    let vlan = [&[0; 12][..], &[0x81, 0, 0, 7, 8, 0]].concat();
    for (link_type, packet, expected) in [
        (1, before(&[&[0; 12][..], &[8, 0]].concat(), ipv4(b"hi")), v4),
        (1, before(&vlan, ipv4(b"hi")), v4),
        (1, before(&[&[0; 12][..], &[0x86, 0xdd]].concat(), ipv6(b"hi")), v6),
        (101, ipv4(b"hi"), v4),
        (229, ipv6(b"hi"), v6),
        (0, before(&[2, 0, 0, 0], ipv4(b"hi")), v4),
        (113, before(&sll(0), ipv4(b"hi")), v4),
        (113, before(&sll(4), ipv4(b"hi")), "Other"),
        (276, before(&sll2(0), ipv4(b"hi")), v4),
        (276, before(&sll2(4), ipv4(b"hi")), "Other"),
        (9_999, ipv4(b"hi"), "UnknownLink"),
    ] {
        assert_eq!(datagram(&contents(link_type, &packet)), expected, "link type {link_type}");
    }
}

#[test]
fn what_is_no_whole_datagram_is_told_apart_and_never_read_beyond_its_end() {
    let whole = ipv4(b"hi");
    for length in 0..whole.len() {
        assert!(!matches!(contents(101, &whole[..length]), Contents::Udp(_)), "{length}");
        assert!(!matches!(contents(101, &ipv6(b"hi")[..length]), Contents::Udp(_)), "{length}");
    }
    let mut fragment = whole.clone();
    fragment[6] = 0x20;
    assert_eq!(contents(101, &fragment), Contents::Partial);
    let mut tcp = whole;
    tcp[9] = 6;
    assert_eq!(contents(101, &tcp), Contents::Other);
}

/// Returns a capture in the classic format with one packet at 2.5 s.
fn classic(big: bool, nanoseconds: bool) -> Vec<u8> {
    let four = |number: u32| if big { number.to_be_bytes() } else { number.to_le_bytes() };
    let packet = ipv4(b"hi");
    let length = four(u32::try_from(packet.len()).expect("short"));
    let (magic, fraction) = if nanoseconds { (0xa1b2_3c4d, 500_000_000) } else { (0xa1b2_c3d4, 500_000) };
    let head = [four(magic), four(0), four(0), four(0), four(65_535), four(101)].concat();
    [head, four(2).to_vec(), four(fraction).to_vec(), length.to_vec(), length.to_vec(), packet].concat()
}

/// Returns a capture in Wireshark's format with one packet at 2.5 s, in units of 2^-10 s.
fn blocks(big: bool) -> Vec<u8> {
    let four = |number: u32| if big { number.to_be_bytes() } else { number.to_le_bytes() };
    let two = |number: u16| if big { number.to_be_bytes() } else { number.to_le_bytes() };
    let block = |kind: u32, body: &[u8]| {
        let padded = [body, &[0; 3][..(4 - body.len() % 4) % 4]].concat();
        let length = four(u32::try_from(padded.len() + 12).expect("short"));
        [&four(kind)[..], &length, &padded, &length].concat()
    };
    let section = block(0x0a0d_0d0a, &[&four(0x1a2b_3c4d)[..], &[0; 12]].concat());
    let options = [&two(9)[..], &two(1), &[0x8a, 0, 0, 0], &two(0), &two(0)].concat();
    let interface = block(1, &[&two(101)[..], &two(0), &four(0), &options].concat());
    let packet = ipv4(b"hi");
    let length = four(u32::try_from(packet.len()).expect("short"));
    let enhanced = [&four(0)[..], &four(0), &four(2_560), &length, &length, &packet].concat();
    [section, interface, block(5, &[0; 8]), block(6, &enhanced)].concat()
}

fn read(bytes: &[u8]) -> Result<Vec<String>, String> {
    let mut capture = Capture::begin(bytes)?;
    let mut found = Vec::new();
    while let Some(packet) = capture.next()? {
        let contents = datagram(&contents(packet.link_type, &packet.bytes));
        found.push(format!("{} {contents}", packet.at.as_secs_f64()));
    }
    Ok(found)
}

#[test]
fn both_formats_are_read_in_both_byte_orders() {
    let expected = Ok(vec!["2.5 10.0.0.1:5 10.0.0.2:6 hi".to_owned()]);
    for big in [false, true] {
        for nanoseconds in [false, true] {
            assert_eq!(read(&classic(big, nanoseconds)), expected);
        }
        assert_eq!(read(&blocks(big)), expected);
        assert_eq!(read(&[blocks(big), blocks(!big)].concat()).map(|found| found.len()), Ok(2));
    }
}

#[test]
fn a_capture_that_is_cut_off_ends_and_a_damaged_one_is_told() {
    for whole in [classic(false, false), blocks(false)] {
        for length in 4..whole.len() {
            let found = read(&whole[..length]);
            assert!(found.as_ref().map_or(true, Vec::is_empty), "{length}: {found:?}");
        }
        // Whatever a byte becomes, nothing is read beyond the end and no memory is taken without a bound.
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                let _ = read(&damaged);
            }
        }
    }
    assert!(read(b"no capture").is_err());
    assert!(read(b"").is_err());
}
