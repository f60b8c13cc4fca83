//! The files behind the configuration: what was in them when it was loaded, and whether that has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::config::peek::{self, Peek};
use crate::config::{Sources, service};
use crate::lifecycle::{Changes, QUIET};
use crate::secret::Digest;

/// Time between two reloads that files cause, so that a folder that changes for ever does not keep us busy.
const BETWEEN: Duration = Duration::from_secs(2);
/// More of a file is not read; no configuration, secret or certificate is this long.
const MAX_BYTES: u64 = 8 << 20;

/// What was in the files when they were last loaded. `None` for a file that cannot be read.
#[derive(Debug, Default)]
pub(super) struct Files(Mutex<BTreeMap<PathBuf, Option<Digest>>>);

/// The wish to load again, and whom to tell when that is over.
pub(super) type Wish = oneshot::Sender<()>;

impl Files {
    /// Remembers what is in the files that the sources name now. To be called before they are loaded: what changes
    /// between the two is then noticed. Blocking.
    pub(super) fn look(&self, sources: &Sources) {
        let named = if let Ok(peek) = Peek::of(sources) {
            peek.named_files()
        } else {
            // What the files name is not known; what they named before may be what is to be mended.
            let before: BTreeSet<PathBuf> = self.lock().keys().cloned().collect();
            peek::files(sources).into_iter().chain(before).collect()
        };
        let seen = named.into_iter().map(|file| {
            let content = content(&file);
            (file, content)
        });
        let seen = seen.collect();
        *self.lock() = seen;
    }

    /// Whether a file is not as it was. Blocking.
    pub(super) fn changed(&self) -> bool {
        let seen = self.lock().clone();
        seen.iter().any(|(file, before)| content(file) != *before)
    }

    /// The folders that files are in, and those that they are in when links are followed.
    fn folders(&self) -> BTreeSet<PathBuf> {
        let seen = self.lock();
        let named = seen.keys().filter_map(|file| folder(file));
        let behind = seen
            .keys()
            .filter_map(|file| folder(&std::fs::canonicalize(file).ok()?));
        named.chain(behind).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, Option<Digest>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn folder(file: &Path) -> Option<PathBuf> {
    let folder = file.parent()?;
    // The parent of a bare name is empty.
    Some(if folder.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        folder.to_owned()
    })
}

/// A pipe or a device is not read: that would wait, or take what is meant for another reader.
fn content(file: &Path) -> Option<Digest> {
    if !std::fs::metadata(file).ok()?.is_file() {
        return None;
    }
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    let opened = std::fs::File::open(file).ok()?;
    opened.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(Digest::of(&*bytes))
}

/// Wishes for a reload when a file has changed, while the configuration says so.
pub(super) async fn watch(
    files: Arc<Files>,
    mut settings: watch::Receiver<service::Reload>,
    wishes: mpsc::Sender<Wish>,
    end: CancellationToken,
) {
    let work = async {
        let mut changes: Option<Changes> = None;
        // Whether nobody is writing any more.
        let mut quiet = false;
        loop {
            let service::Reload { watch, interval } = settings.borrow_and_update().clone();
            if !watch {
                changes = None;
                if settings.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let mut following = changes.take().unwrap_or_default();
            let looked = {
                let files = Arc::clone(&files);
                tokio::task::spawn_blocking(move || {
                    // Followed first: what changes after the look rings.
                    following.follow(files.folders());
                    let differ = files.changed();
                    (following, differ)
                })
            };
            let Ok((following, differ)) = looked.await else {
                return;
            };
            if differ && !quiet {
                following.settled(QUIET).await;
                quiet = true;
            } else if differ {
                tracing::info!("a file of the configuration has changed");
                let (wish, done) = oneshot::channel();
                if wishes.send(wish).await.is_err() {
                    return;
                }
                // Dropped without an answer when the process ends instead.
                let _ = done.await;
                tokio::time::sleep(BETWEEN).await;
                quiet = false;
            } else {
                quiet = false;
                tokio::select! {
                    () = following.settled(interval.0) => quiet = true,
                    told = settings.changed() => if told.is_err() { return },
                }
            }
            changes = Some(following);
        }
    };
    end.run_until_cancelled(work).await;
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn start(text: &str) -> (tempfile::TempDir, Sources, Files) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        fs::write(&file, text).unwrap();
        let (sources, files) = (Sources::file(file), Files::default());
        files.look(&sources);
        (folder, sources, files)
    }

    #[test]
    fn the_same_content_written_anew_is_no_change() {
        let (folder, sources, files) = start("version: 1\n");
        let file = folder.path().join("config.yaml");
        // As editors do it: a new file takes the place of the old one.
        fs::write(folder.path().join("new"), "version: 1\n").unwrap();
        fs::rename(folder.path().join("new"), &file).unwrap();
        assert!(!files.changed());
        fs::write(&file, "version: 1\nroutes: 7\n").unwrap();
        assert!(files.changed());
        files.look(&sources);
        assert!(!files.changed(), "a bad file is loaded once");
        fs::remove_file(&file).unwrap();
        assert!(files.changed());
    }

    #[test]
    fn a_secret_alone_and_one_that_is_still_missing_count() {
        let folder = tempfile::tempdir().unwrap();
        let (key, later) = (folder.path().join("key"), folder.path().join("later"));
        fs::write(&key, "a").unwrap();
        let text = format!(
            "version: 1\nsecret_keys: [{{ file: {} }}, {{ file: {} }}]\n",
            key.display(),
            later.display()
        );
        let (_own, sources, files) = start(&text);
        assert!(!files.changed());
        fs::write(&key, "b").unwrap();
        assert!(files.changed());
        files.look(&sources);
        fs::write(&later, "c").unwrap();
        assert!(files.changed());
    }

    #[test]
    fn a_file_that_is_no_yaml_keeps_the_others_in_sight() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        fs::write(&key, "a").unwrap();
        let (own, sources, files) = start(&format!(
            "version: 1\nsecret_keys: [{{ file: {} }}]\n",
            key.display()
        ));
        fs::write(own.path().join("config.yaml"), "a: [").unwrap();
        files.look(&sources);
        assert!(!files.changed());
        fs::write(&key, "b").unwrap();
        assert!(files.changed());
    }

    #[test]
    fn a_mounted_volume_changes_by_one_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("..1", "version: 1\n"), ("..2", "version: 1\nroutes: []\n")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("config.yaml"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/config.yaml", at("config.yaml")).unwrap();
        let (sources, files) = (Sources::file(at("config.yaml")), Files::default());
        files.look(&sources);
        let real = fs::canonicalize(folder.path()).unwrap();
        assert_eq!(
            files.folders(),
            BTreeSet::from([folder.path().to_owned(), real.join("..1")])
        );
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert!(files.changed());
        assert!(files.folders().contains(&real.join("..2")));
    }

    #[test]
    fn a_pipe_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        assert_eq!(content(&pipe), None);
    }
}
