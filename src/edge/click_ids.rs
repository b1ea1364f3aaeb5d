//! New ids without a lock between cores and without a system call: UUIDv7 of the clock and of random bytes that
//! each core draws ahead.
//!
//! The random bytes are the output stream of BLAKE3 under a key that the operating system drew for this core at its
//! start; they cannot be guessed and two cores never share them.

use std::fmt;

use uuid::Uuid;

use crate::domain::time::Timestamp;

/// Bytes drawn at once: 64 ids.
const POOL: usize = 640;
/// Random bytes of one id.
const TAKE: usize = 10;

/// Makes the ids of one core.
pub struct ClickIds {
    key: [u8; 32],
    pools: u64,
    pool: [u8; POOL],
    used: usize,
}

impl ClickIds {
    /// # Errors
    /// The operating system has no random bytes.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self { key, pools: 0, pool: [0; POOL], used: POOL })
    }

    /// A click id of that time.
    pub fn next(&mut self, now: Timestamp) -> Uuid {
        let random = self.random();
        uuid::Builder::from_unix_timestamp_millis(u64::try_from(now.0).unwrap_or(0), &random).into_uuid()
    }

    /// Ten random bytes.
    pub fn random(&mut self) -> [u8; TAKE] {
        if self.used == POOL {
            let mut hasher = blake3::Hasher::new_keyed(&self.key);
            hasher.update(&self.pools.to_le_bytes());
            hasher.finalize_xof().fill(&mut self.pool);
            self.pools += 1;
            self.used = 0;
        }
        let mut taken = [0; TAKE];
        taken.copy_from_slice(&self.pool[self.used..self.used + TAKE]);
        self.used += TAKE;
        taken
    }
}

impl fmt::Debug for ClickIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClickIds").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_differ_and_carry_their_time() {
        let mut ids = ClickIds::new().unwrap();
        let at = Timestamp(1_800_000_000_123);
        let made: HashSet<Uuid> = (0..1000).map(|_| ids.next(at)).collect();
        assert_eq!(made.len(), 1000);
        for id in made {
            assert_eq!(Timestamp::of_uuid(id), Some(at));
        }
    }
}
