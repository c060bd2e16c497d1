//! Random changes to datagrams. All follow from one seed.

use tautline_proto::endpoint::WireFormat;

/// SplitMix64, a small and fast generator that gives the same numbers on every machine.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`, which must not be 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }
}

/// How many bytes an extension adds at most.
const MAX_EXTENSION: usize = 64;

/// Changes a datagram: flips one to five bits, truncates or extends it.
pub(crate) fn mutate(rng: &mut Rng, datagram: &mut Vec<u8>) {
    match rng.below(8) {
        0 => datagram.truncate(rng.below(datagram.len())),
        1 => extend(rng, datagram),
        _ => flip_bits(rng, datagram),
    }
}

fn extend(rng: &mut Rng, datagram: &mut Vec<u8>) {
    for _ in 0..=rng.below(MAX_EXTENSION) {
        datagram.push(rng.next().to_be_bytes()[0]);
    }
}

fn flip_bits(rng: &mut Rng, datagram: &mut [u8]) {
    let count = 1 + rng.below(5);
    let mut flipped: Vec<usize> = Vec::with_capacity(count);
    while flipped.len() < count {
        // Half of the bits are near the beginning, where the fields are.
        let span = if rng.below(2) == 0 { datagram.len().min(64) } else { datagram.len() };
        let bit = rng.below(span * 8);
        if !flipped.contains(&bit) {
            flipped.push(bit);
            datagram[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// Corrects the CRC of a changed datagram. A datagram that is too short for a CRC stays unchanged.
pub(crate) fn repair_crc(wire: WireFormat, datagram: &mut [u8]) {
    let Some(checked) = datagram.len().checked_sub(4) else { return };
    match wire {
        WireFormat::Native => {
            let crc = crc32fast::hash(&datagram[..checked]);
            datagram[checked..].copy_from_slice(&crc.to_be_bytes());
        }
        WireFormat::Classic(_) => {
            let crc = crc32fast::hash(&datagram[4..]);
            datagram[..4].copy_from_slice(&crc.to_be_bytes());
        }
    }
}
