//! Room on the disk that nothing but forgetting may use.
//!
//! Forgetting has to write before it frees anything: a few pages into the WAL, and what the WAL holds into the file. On
//! a full disk that would be impossible, and the log would stay full for good. So a file beside it holds
//! [`LEAST`] to [`MOST`] bytes. It is given up when forgetting finds no room, and made again when there is some. Until
//! then the log takes new events only into pages that its file has already; see `writer`.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// As much as the WAL may have to add to the file when it is copied, which is what forgetting may need at most; see
/// [`room_of_growth`](Reserve::room_of_growth).
const MOST: u64 = 4 << 20;

/// For small logs, whose disk may be small.
const LEAST: u64 = 1 << 20;

/// Of a log the part that its reserve may be.
const SHARE: u64 = 16;

#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
}

impl Reserve {
    /// The reserve of the log at `log`, which may hold `max_bytes`. Makes nothing yet.
    pub(super) fn of(log: &Path, max_bytes: u64) -> Self {
        Self { path: beside(log), bytes: (max_bytes / SHARE).clamp(LEAST, MOST) }
    }

    /// Whether all of it is there. Another process that forgets may have given it up.
    pub(super) fn is_whole(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|found| found.len() >= self.bytes)
    }

    /// How many bytes the WAL may have to add to the file before it is copied: half, the rest is for the group that
    /// goes beyond it and for forgetting itself.
    pub(super) fn room_of_growth(&self) -> u64 {
        self.bytes / 2
    }

    /// What fits in this reserve of what fits in the greatest.
    pub(super) fn part_of(&self, most: u64) -> u64 {
        most * self.bytes / MOST
    }

    /// Takes the room, all of it or nothing.
    pub(super) fn make(&self) -> io::Result<()> {
        let made = self.write();
        if made.is_err() {
            self.give_up();
        }
        made
    }

    fn write(&self) -> io::Result<()> {
        let mut file = File::create(&self.path)?;
        // Noise: file systems compress zeros away or leave holes for them.
        let mut noise = blake3::Hasher::new().finalize_xof();
        let mut piece = vec![0; 64 << 10];
        let mut left = self.bytes;
        while left > 0 {
            noise.fill(&mut piece);
            let taken = left.min(piece.len() as u64);
            file.write_all(&piece[..taken as usize])?;
            left -= taken;
        }
        // Some file systems find a place, or none, only now.
        file.sync_all()
    }

    /// Gives the room back. False when there was none.
    pub(super) fn give_up(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
}

/// As [`Reserve::give_up`], for who forgets and is not the writer of the log: that makes it again.
pub(super) fn give_up(log: &Path) -> bool {
    fs::remove_file(beside(log)).is_ok()
}

fn beside(log: &Path) -> PathBuf {
    log.with_added_extension("reserve")
}
