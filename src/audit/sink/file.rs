//! A file that is rotated: full ones get a number behind their name.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::Pending;
use crate::config::audit::AuditFile;

/// The file that is written to.
pub(in crate::audit) struct FileSink {
    path: PathBuf,
    mode: u32,
    file: File,
    /// Device and inode, by which it is seen when somebody put another file in its place.
    id: (u64, u64),
    size: u64,
    full: u64,
    rotate_size: u64,
    keep: u64,
    number: u64,
}

impl FileSink {
    /// Opens or makes the file. `number` is that of the file in its chain.
    pub(in crate::audit) fn open(config: &AuditFile, number: u64) -> io::Result<Self> {
        let (file, size, id) = open(&config.path, config.mode.0)?;
        let rotate_size = config.rotate_size.0;
        Ok(Self {
            path: config.path.clone(),
            mode: config.mode.0,
            file,
            id,
            size,
            full: rotate_size,
            rotate_size,
            keep: u64::from(config.keep),
            number,
        })
    }

    pub(super) fn write(&mut self, pending: &mut Pending) -> io::Result<()> {
        while !pending.rest().is_empty() {
            match self.file.write(pending.rest()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => {
                    self.size += bytes as u64;
                    pending.advance(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn settle(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Whether the file is full once so much more was written.
    pub(in crate::audit) fn is_full(&self, more: usize) -> bool {
        self.size + more as u64 >= self.full
    }

    /// Gives the file its number and begins the next one. Gives the name of the full one.
    pub(in crate::audit) fn turn(&mut self) -> io::Result<String> {
        // Should it fail, the next attempt comes when as much was written again.
        self.full = self.size + self.rotate_size;
        let numbered = numbered(&self.path, self.number);
        // A rename would put this file in the place of another one that has the name already.
        if numbered.try_exists()? {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} is there already", numbered.display()),
            ));
        }
        std::fs::rename(&self.path, &numbered)?;
        self.begin()?;
        Ok(name(&numbered))
    }

    /// Begins the next file, where the old one has gone.
    pub(in crate::audit) fn begin(&mut self) -> io::Result<()> {
        (self.file, self.size, self.id) = open(&self.path, self.mode)?;
        self.full = self.rotate_size;
        self.number += 1;
        if let Some(folder) = self.path.parent() {
            // So that the new names outlast a power cut; not every file system can.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }

    /// Whether somebody moved the file away, or put another one in its place.
    pub(in crate::audit) fn is_gone(&self) -> bool {
        match std::fs::metadata(&self.path) {
            Ok(found) => (found.dev(), found.ino()) != self.id,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Name of the file, without its folder.
    pub(in crate::audit) fn name(&self) -> String {
        name(&self.path)
    }

    /// Number of the file in its chain.
    pub(in crate::audit) fn number(&self) -> u64 {
        self.number
    }

    /// Full files that are more than shall be kept, oldest first.
    pub(in crate::audit) fn surplus(&self) -> Vec<PathBuf> {
        if self.keep == 0 {
            return Vec::new();
        }
        let mut found = numbered_files(&self.path);
        found.retain(|(number, _)| number + self.keep < self.number);
        found.into_iter().map(|(_, path)| path).collect()
    }
}

/// Full files of a path, oldest first.
pub(in crate::audit) fn numbered_files(path: &Path) -> Vec<(u64, PathBuf)> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let prefix = format!("{}.", name(path));
    let mut found: Vec<(u64, PathBuf)> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix(&prefix)?.parse();
            Some((number.ok()?, entry.path()))
        })
        .collect();
    found.sort();
    found
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(format!(".{number:06}"));
    text.into()
}

/// The last part of a path.
pub(in crate::audit) fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Opens for appending, with the permissions that are asked for, for this process alone.
fn open(path: &Path, mode: u32) -> io::Result<(File, u64, (u64, u64))> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(mode)
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "this is no ordinary file",
        ));
    }
    if found.permissions().mode() & 0o777 != mode {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another process writes to it; each process needs a file of its own",
        )
    })?;
    Ok((file, found.len(), (found.dev(), found.ino())))
}
