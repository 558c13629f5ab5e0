//! The only randomness of the core: SplitMix64 from the seed in the configuration. Not for secrets.

/// A sequence of numbers fixed by its seed.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of ticks between `min` and `max`, both possible.
    pub(crate) fn ticks(&mut self, min: u32, max: u32) -> u32 {
        assert!(min <= max, "an empty range of ticks: {min}..={max}");
        let span = u64::from(max - min) + 1;
        min + u32::try_from(self.next() % span).expect("the remainder is below a u32 plus one")
    }
}
