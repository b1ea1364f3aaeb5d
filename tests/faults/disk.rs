//! Small disks that can be filled: a tmpfs each, where this process may mount.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

/// Unmounted when dropped, unless the test has failed.
#[derive(Debug)]
pub struct Disk {
    at: PathBuf,
}

impl Disk {
    /// A disk of so many megabytes at a folder. `None`: mounting is not permitted here.
    pub fn mount(at: &Path, megabytes: u32) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={megabytes}m,mode=0755");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self { at: at.to_owned() })
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    /// Leaves no byte.
    pub fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        let mut piece = vec![0; 1024 * 1024];
        while !piece.is_empty() {
            if file.write_all(&piece).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
    }

    pub fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("for whoever looks into it, and unmounts it: {}", self.at.display());
            return;
        }
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}
