//! Unix sockets: a file that appears whole, is taken over from the dead only, and goes when we go.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Owner and group may connect: a service's group is how access is granted.
const MODE: u32 = 0o660;

/// Why a unix socket could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnixError {
    #[error("{} is served by another process; stop it, or choose another path", .0.display())]
    InUse(PathBuf),
    #[error("{} exists and is not a socket; it is left alone: move it away, or choose another path", .0.display())]
    NotASocket(PathBuf),
    #[error("{} is not an absolute path; write unix:/run/name.sock", .0.display())]
    Relative(PathBuf),
    #[error("{} cannot be made: {source}; check that its folder exists and may be written by the proxy's user", path.display())]
    Failed { path: PathBuf, source: io::Error },
}

/// A socket file of ours; removed when dropped, unless another process has put its own there.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

/// Binds a socket file. One that nobody answers at any more is replaced.
pub(super) fn bind(path: &Path) -> Result<(UnixListener, SocketFile), UnixError> {
    if !path.is_absolute() {
        return Err(UnixError::Relative(path.to_owned()));
    }
    if let Ok(metadata) = fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(UnixError::NotASocket(path.to_owned()));
        }
        // Refused is what a socket says that nobody listens at; any other answer may be somebody.
        let dead = UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if !dead {
            return Err(UnixError::InUse(path.to_owned()));
        }
    }
    let failed = |source| UnixError::Failed {
        path: path.to_owned(),
        source,
    };
    // Made beside its place and moved there: no moment in which it has the wrong mode, or is missing.
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let _ = fs::remove_file(&beside);
    let listener = UnixListener::bind(&beside).map_err(failed)?;
    let moved = fs::set_permissions(&beside, Permissions::from_mode(MODE))
        .and_then(|()| fs::symlink_metadata(&beside))
        .and_then(|metadata| fs::rename(&beside, path).map(|()| metadata.ino()));
    match moved {
        Ok(inode) => Ok((
            listener,
            SocketFile {
                path: path.to_owned(),
                inode,
            },
        )),
        Err(source) => {
            let _ = fs::remove_file(&beside);
            Err(failed(source))
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_taken_over_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let (listener, file) = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
        assert!(matches!(bind(&path), Err(UnixError::InUse(_))));
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        drop((listener, file));
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_not_ours_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(bind(&path), Err(UnixError::NotASocket(_))));
        assert!(matches!(
            bind(Path::new("proxy.sock")),
            Err(UnixError::Relative(_))
        ));
        let missing = folder.path().join("none/proxy.sock");
        assert!(matches!(bind(&missing), Err(UnixError::Failed { .. })));

        let path = folder.path().join("proxy.sock");
        let (_listener, file) = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(file);
        assert!(path.exists());
    }
}
