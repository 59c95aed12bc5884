//! A disk that can be full.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// A file system of its own in memory. It is gone, with what is on it, when this is dropped.
pub struct SmallDisk {
    place: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk of so many MiB at a directory, which is made if it is not there.
    ///
    /// # Errors
    /// This needs Linux and the right to mount, which root has and many containers have not.
    pub fn mount(place: &Path, mebibytes: u32) -> anyhow::Result<Self> {
        fs::create_dir_all(place).with_context(|| place.display().to_string())?;
        let size = format!("size={mebibytes}m,mode=0777");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "labelstream"]).arg(place).output()?;
        ensure!(mount.status.success(), "cannot mount a disk: {}", String::from_utf8_lossy(&mount.stderr).trim());
        Ok(Self { place: place.to_owned() })
    }

    /// Takes all of its space.
    ///
    /// # Errors
    /// Anything but the full disk that is wanted.
    pub fn fill(&self) -> io::Result<()> {
        let mut ballast = File::create(self.ballast())?;
        loop {
            match ballast.write_all(&[0; 4096]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives the space back.
    ///
    /// # Errors
    /// A disk that was not filled.
    pub fn clear(&self) -> io::Result<()> {
        fs::remove_file(self.ballast())
    }

    fn ballast(&self) -> PathBuf {
        self.place.join(".ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open keeps the disk until he closes it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.place).status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filled_disk_takes_nothing_more_until_it_is_cleared() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("disk");
        let disk = match SmallDisk::mount(&place, 1) {
            Ok(disk) => disk,
            Err(error) => return crate::not_run(format!("{error:#}")),
        };
        disk.fill().unwrap();
        let error = fs::write(place.join("file"), "something").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        disk.clear().unwrap();
        fs::write(place.join("file"), "something").unwrap();
        drop(disk);
        assert!(!place.join("file").exists(), "it is still mounted");
    }
}
