//! Randomness from outside: seeds and identifiers.

/// A source of random bits.
pub trait Entropy {
    /// 64 uniformly random bits.
    fn next_u64(&self) -> u64;
    /// Fills the slice with random bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// The kernel's generator (`getrandom`).
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill(&self, bytes: &mut [u8]) {
        let mut filled = 0;
        while filled < bytes.len() {
            match rustix::rand::getrandom(
                &mut bytes[filled..],
                rustix::rand::GetRandomFlags::empty(),
            ) {
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                // Only a kernel without the call (before 3.17) can answer otherwise.
                Err(error) => panic!("the kernel gives no random bytes: {error}"),
            }
        }
    }
}
