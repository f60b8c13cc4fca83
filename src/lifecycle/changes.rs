//! Being told that something in a folder may have changed. Folders, not files: mounted volumes and editors put a new
//! file or link in the place of the old one, and the old one never changes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use self::system::Watcher;

/// Whoever writes several files, or one in several steps, is finished when it was quiet for this long.
pub const QUIET: Duration = Duration::from_millis(500);
/// Where it is never quiet, this is waited at most.
const LONGEST: Duration = Duration::from_secs(5);
/// Folders that are followed at most; what is in others is found by looking from time to time.
const MAX_FOLDERS: usize = 256;

/// What happens in some folders, told by the system. Where it cannot tell, time alone does.
pub struct Changes {
    watcher: Option<Watcher>,
}

impl Changes {
    /// Of no folder yet. Inside a runtime only.
    pub fn new() -> Self {
        let watcher = Watcher::new().map_err(|error| {
            tracing::warn!(%error, "the system does not tell of changed files; they are looked at every reload.interval");
        });
        Self {
            watcher: watcher.ok(),
        }
    }

    /// Follows these folders and no others. Blocking.
    pub fn follow(&mut self, folders: BTreeSet<PathBuf>) {
        if let Some(watcher) = &mut self.watcher {
            watcher.follow(folders.into_iter().take(MAX_FOLDERS));
        }
    }

    /// Waits until something may have changed and it was quiet since, or until `poll` is over. Whoever drops this
    /// before it is over has to look, for what was told of is forgotten.
    pub async fn settled(&self, poll: Duration) {
        match &self.watcher {
            Some(watcher) => settled(|| watcher.changed(), poll).await,
            None => sleep(poll).await,
        }
    }
}

impl Default for Changes {
    fn default() -> Self {
        Self::new()
    }
}

async fn settled<F: Future<Output = ()>>(mut changed: impl FnMut() -> F, poll: Duration) {
    if timeout(poll, changed()).await.is_err() {
        return;
    }
    let end = Instant::now() + LONGEST;
    let quiet = async { while timeout(QUIET, changed()).await.is_ok() {} };
    let _ = timeout_at(end, quiet).await;
}

/// `inotify(7)`. Reading a file is not told of: we read them ourselves.
#[cfg(target_os = "linux")]
mod system {
    use std::collections::BTreeMap;
    use std::io;
    use std::path::PathBuf;

    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
    use tokio::net::unix::pipe::Receiver;

    pub(super) struct Watcher {
        /// No pipe, but read and waited for as one is.
        told: Receiver,
        /// Two paths of one folder have the same number.
        folders: BTreeMap<PathBuf, i32>,
    }

    impl Watcher {
        pub(super) fn new() -> io::Result<Self> {
            let told = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            Ok(Self {
                told: Receiver::from_owned_fd_unchecked(told)?,
                folders: BTreeMap::new(),
            })
        }

        pub(super) fn follow(&mut self, folders: impl Iterator<Item = PathBuf>) {
            let what = WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::MODIFY
                | WatchFlags::CLOSE_WRITE
                | WatchFlags::ATTRIB
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF
                | WatchFlags::ONLYDIR;
            let mut next = BTreeMap::new();
            for folder in folders {
                // Each time anew, for another folder may have taken the place of the one that was followed.
                match inotify::add_watch(&self.told, &folder, what) {
                    Ok(number) => {
                        next.insert(folder, number);
                    }
                    Err(error) => {
                        tracing::debug!(folder = %folder.display(), %error, "a folder cannot be followed");
                    }
                }
            }
            for number in self.folders.values() {
                if !next.values().any(|kept| kept == number) {
                    // A folder that was removed is not followed any more.
                    let _ = inotify::remove_watch(&self.told, *number);
                }
            }
            self.folders = next;
        }

        /// Waits for anything; what it was does not matter, and a queue that ran over counts, too.
        pub(super) async fn changed(&self) {
            let mut told = [0; 4096];
            loop {
                let read = match self.told.readable().await {
                    Ok(()) => self.told.try_read(&mut told),
                    Err(error) => Err(error),
                };
                match read {
                    Ok(_) => return,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // Nothing will come of it any more; looking from time to time is left.
                    Err(_) => std::future::pending().await,
                }
            }
        }
    }
}

/// Other systems are looked at from time to time.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;
    use std::path::PathBuf;

    pub(super) struct Watcher;

    impl Watcher {
        pub(super) fn new() -> io::Result<Self> {
            Err(io::Error::from(io::ErrorKind::Unsupported))
        }

        pub(super) fn follow(&mut self, _: impl Iterator<Item = PathBuf>) {}

        pub(super) async fn changed(&self) {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_quiet() {
        let bell = Arc::new(Notify::new());
        let began = Instant::now();
        let writer = tokio::spawn({
            let bell = Arc::clone(&bell);
            async move {
                for _ in 0..4 {
                    sleep(Duration::from_millis(300)).await;
                    bell.notify_one();
                }
            }
        });
        settled(|| bell.notified(), Duration::from_secs(60)).await;
        assert_eq!(began.elapsed(), Duration::from_millis(1700));
        writer.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_changes_for_ever_is_not_waited_for() {
        let bell = Arc::new(Notify::new());
        let began = Instant::now();
        let writer = tokio::spawn({
            let bell = Arc::clone(&bell);
            async move {
                loop {
                    bell.notify_one();
                    sleep(Duration::from_millis(100)).await;
                }
            }
        });
        settled(|| bell.notified(), Duration::from_secs(60)).await;
        assert_eq!(began.elapsed(), LONGEST);
        writer.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_word_time_alone_tells() {
        let (bell, began) = (Notify::new(), Instant::now());
        settled(|| bell.notified(), Duration::from_secs(60)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(60));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_link_that_is_moved_and_a_folder_that_comes_back_are_told_of() {
        use std::fs;

        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("f");
        fs::create_dir(&folder).unwrap();
        let mut watcher = Watcher::new().unwrap();
        // By two names, of which one goes.
        let by_link = base.path().join("l");
        std::os::unix::fs::symlink("f", &by_link).unwrap();
        watcher.follow([folder.clone(), by_link].into_iter());
        watcher.follow([folder.clone()].into_iter());
        let told = async |watcher: &Watcher| {
            let told = timeout(Duration::from_secs(60), watcher.changed()).await;
            assert!(told.is_ok());
        };
        std::os::unix::fs::symlink("a", folder.join("new")).unwrap();
        fs::rename(folder.join("new"), folder.join("..data")).unwrap();
        told(&watcher).await;
        fs::remove_dir_all(&folder).unwrap();
        told(&watcher).await;
        fs::create_dir(&folder).unwrap();
        watcher.follow([folder.clone()].into_iter());
        while timeout(Duration::ZERO, watcher.changed()).await.is_ok() {}
        fs::write(folder.join("x"), "1").unwrap();
        told(&watcher).await;
    }
}
