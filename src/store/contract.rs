//! What every store must do. Run here against memory, and by the integration tests against Redis in all its modes
//! (which include this file, so it names the store's types through its parent only).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;

use super::{Ambient, Key, MAX_MEMBERS, Replaced, Space, Store};

/// All of it.
pub(crate) async fn holds(store: Arc<dyn Store>) {
    records_come_and_go(&*store).await;
    two_are_read_at_once(&*store).await;
    revisions_guard_changes(&*store).await;
    spaces_are_apart(&*store).await;
    blobs_are_bytes(&*store).await;
    a_new_life_is_not_the_old_one(&*store).await;
    records_expire(&*store).await;
    exactly_one_wins(&store).await;
    indexes_list_the_living(&*store).await;
    indexes_are_bounded(&*store).await;
    only_so_many_are_admitted(&store).await;
    everybody_hears(&*store).await;
    store.ping().await.unwrap();
}

async fn records_come_and_go(store: &dyn Store) {
    let key = fresh(Space::Session);
    assert_eq!(store.get(&key).await.unwrap(), None);
    assert_eq!(store.take(&key).await.unwrap(), None);
    assert!(!store.expire(&key, MINUTE).await.unwrap());
    let revision = store.put(&key, blob("a"), MINUTE).await.unwrap();
    let stored = store.get(&key).await.unwrap().unwrap();
    assert_eq!((stored.revision, stored.blob), (revision, blob("a")));
    assert_eq!(
        store.put(&key, blob("b"), MINUTE).await.unwrap(),
        revision + 1
    );
    assert!(!store.put_new(&key, blob("c"), MINUTE).await.unwrap());
    assert!(store.expire(&key, MINUTE).await.unwrap());
    let taken = store.take(&key).await.unwrap().unwrap();
    assert_eq!((taken.revision, taken.blob), (revision + 1, blob("b")));
    assert_eq!(store.get(&key).await.unwrap(), None);
    assert!(store.put_new(&key, blob("d"), MINUTE).await.unwrap());
    assert_eq!(store.get(&key).await.unwrap().unwrap().blob, blob("d"));
}

async fn two_are_read_at_once(store: &dyn Store) {
    let (one, other) = (fresh(Space::Session), fresh(Space::Login));
    let read = async || {
        let (first, second) = store.get_both(&one, &other).await.unwrap();
        (first.map(|each| each.blob), second.map(|each| each.blob))
    };
    assert_eq!(read().await, (None, None));
    store.put(&other, blob("b"), MINUTE).await.unwrap();
    assert_eq!(read().await, (None, Some(blob("b"))));
    let revision = store.put(&one, blob("a"), MINUTE).await.unwrap();
    assert_eq!(read().await, (Some(blob("a")), Some(blob("b"))));
    let (first, _) = store.get_both(&one, &other).await.unwrap();
    assert_eq!(first.unwrap().revision, revision);
    store.take(&other).await.unwrap();
    assert_eq!(read().await, (Some(blob("a")), None));
}

async fn revisions_guard_changes(store: &dyn Store) {
    let key = fresh(Space::Login);
    assert_eq!(
        store.replace_if(&key, 1, blob("a"), MINUTE).await.unwrap(),
        Replaced::Absent
    );
    assert!(!store.remove_if(&key, 1).await.unwrap());
    let first = store.put(&key, blob("a"), MINUTE).await.unwrap();
    let Replaced::Done(second) = store
        .replace_if(&key, first, blob("b"), MINUTE)
        .await
        .unwrap()
    else {
        panic!("the revision was right")
    };
    assert_eq!(second, first + 1);
    assert_eq!(
        store
            .replace_if(&key, first, blob("c"), MINUTE)
            .await
            .unwrap(),
        Replaced::Changed
    );
    let stored = store.get(&key).await.unwrap().unwrap();
    assert_eq!((stored.revision, stored.blob), (second, blob("b")));
    assert!(!store.remove_if(&key, first).await.unwrap());
    assert!(store.remove_if(&key, second).await.unwrap());
    assert_eq!(store.get(&key).await.unwrap(), None);
}

async fn spaces_are_apart(store: &dyn Store) {
    let session = fresh(Space::Session);
    let login = Key::new(Space::Login, Arc::clone(&session.id));
    store.put(&session, blob("s"), MINUTE).await.unwrap();
    assert_eq!(store.get(&login).await.unwrap(), None);
}

async fn blobs_are_bytes(store: &dyn Store) {
    let all: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for content in [Bytes::new(), Bytes::from(all)] {
        let key = fresh(Space::Login);
        let revision = store.put(&key, content.clone(), MINUTE).await.unwrap();
        let changed = store
            .replace_if(&key, revision, content.clone(), MINUTE)
            .await
            .unwrap();
        assert_eq!(changed, Replaced::Done(revision + 1));
        assert_eq!(store.take(&key).await.unwrap().unwrap().blob, content);
    }
}

async fn a_new_life_is_not_the_old_one(store: &dyn Store) {
    let key = fresh(Space::Lease);
    assert!(
        store
            .put_new(&key, blob("first owner"), MINUTE)
            .await
            .unwrap()
    );
    let first = store.take(&key).await.unwrap().unwrap().revision;
    assert!(
        store
            .put_new(&key, blob("second owner"), MINUTE)
            .await
            .unwrap()
    );
    assert!(
        !store.remove_if(&key, first).await.unwrap(),
        "the first owner removed the second one's lease"
    );
    assert_eq!(
        store
            .replace_if(&key, first, blob("x"), MINUTE)
            .await
            .unwrap(),
        Replaced::Changed
    );
}

async fn records_expire(store: &dyn Store) {
    let short = Duration::from_millis(30);
    let written = [
        fresh(Space::Session),
        fresh(Space::Session),
        fresh(Space::Session),
        fresh(Space::Session),
    ];
    store.put(&written[0], blob("put"), short).await.unwrap();
    store
        .put_new(&written[1], blob("put_new"), short)
        .await
        .unwrap();
    let revision = store
        .put(&written[2], blob("replaced"), MINUTE)
        .await
        .unwrap();
    store
        .replace_if(&written[2], revision, blob("replaced"), short)
        .await
        .unwrap();
    store
        .put(&written[3], blob("shortened"), MINUTE)
        .await
        .unwrap();
    store.expire(&written[3], short).await.unwrap();
    let kept = fresh(Space::Session);
    store.put(&kept, blob("prolonged"), short).await.unwrap();
    // On a machine that stood still for a moment it is gone already, and there is nothing to prolong.
    let prolonged = store.expire(&kept, MINUTE).await.unwrap();
    for key in &written {
        until(|| async { store.get(key).await.unwrap().is_none() }).await;
        assert!(!store.expire(key, MINUTE).await.unwrap());
        assert!(store.put_new(key, blob("again"), MINUTE).await.unwrap());
    }
    assert_eq!(store.get(&kept).await.unwrap().is_some(), prolonged);
}

async fn exactly_one_wins(store: &Arc<dyn Store>) {
    for _ in 0..20 {
        let key = fresh(Space::Flow);
        let made = race(store, &key, |store, key, n| async move {
            store
                .put_new(&key, Bytes::from(n.to_string()), MINUTE)
                .await
                .unwrap()
        });
        assert_eq!(made.await, 1, "put_new");
        let revision = store.get(&key).await.unwrap().unwrap().revision;
        let replaced = race(store, &key, |store, key, n| async move {
            let replaced = store
                .replace_if(&key, revision, Bytes::from(n.to_string()), MINUTE)
                .await;
            matches!(replaced.unwrap(), Replaced::Done(_))
        });
        assert_eq!(replaced.await, 1, "replace_if");
        let removed = race(store, &key, |store, key, _| async move {
            store.remove_if(&key, revision + 1).await.unwrap()
        });
        assert_eq!(removed.await, 1, "remove_if");
        store.put(&key, blob("x"), MINUTE).await.unwrap();
        let taken = race(store, &key, |store, key, _| async move {
            store.take(&key).await.unwrap().is_some()
        });
        assert_eq!(taken.await, 1, "take");
    }
}

async fn race<F>(
    store: &Arc<dyn Store>,
    key: &Key,
    run: impl Fn(Arc<dyn Store>, Key, usize) -> F,
) -> usize
where
    F: Future<Output = bool> + Send + 'static,
{
    let runners = (0..16).map(|n| tokio::spawn(run(Arc::clone(store), key.clone(), n)));
    join_all(runners)
        .await
        .into_iter()
        .filter(|won| *won.as_ref().unwrap())
        .count()
}

async fn indexes_list_the_living(store: &dyn Store) {
    let index = fresh(Space::Index);
    let now = Ambient::system().now();
    assert!(store.index_list(&index, now).await.unwrap().is_empty());
    store
        .index_add(&index, "a", now.plus(MINUTE))
        .await
        .unwrap();
    store
        .index_add(&index, "b", now.plus(MINUTE * 2))
        .await
        .unwrap();
    store
        .index_add(&index, "c", now.plus(MINUTE))
        .await
        .unwrap();
    store
        .index_add(&index, "c", now.plus(MINUTE * 2))
        .await
        .unwrap();
    store.index_remove(&index, "nobody").await.unwrap();
    let list = async |at| {
        store
            .index_list(&index, at)
            .await
            .unwrap()
            .into_iter()
            .collect::<HashSet<_>>()
    };
    assert_eq!(
        list(now).await,
        HashSet::from(["a".into(), "b".into(), "c".into()])
    );
    assert_eq!(
        list(now.plus(MINUTE)).await,
        HashSet::from(["b".into(), "c".into()]),
        "`a` ends exactly then"
    );
    store.index_remove(&index, "b").await.unwrap();
    assert_eq!(list(now).await, HashSet::from(["a".into(), "c".into()]));
    store.index_remove(&index, "a").await.unwrap();
    store.index_remove(&index, "c").await.unwrap();
    assert!(list(now).await.is_empty());
}

async fn indexes_are_bounded(store: &dyn Store) {
    let index = fresh(Space::Index);
    let now = Ambient::system().now();
    let members = u32::try_from(MAX_MEMBERS).unwrap() + 5;
    for n in 0..members {
        store
            .index_add(
                &index,
                &n.to_string(),
                now.plus(MINUTE + Duration::from_secs(n.into())),
            )
            .await
            .unwrap();
    }
    let listed: HashSet<String> = store
        .index_list(&index, now)
        .await
        .unwrap()
        .into_iter()
        .collect();
    let expected: HashSet<String> = (5..members).map(|n| n.to_string()).collect();
    assert_eq!(listed, expected, "those that expire first go first");
}

async fn only_so_many_are_admitted(store: &Arc<dyn Store>) {
    let (index, other) = (fresh(Space::McpSession), fresh(Space::McpSession));
    let now = Ambient::system().now();
    let long = now.plus(MINUTE);
    let admit = async |member: &str, until, limit| {
        store
            .index_admit(&index, member, until, limit)
            .await
            .unwrap()
    };
    assert!(admit("a", long, 2).await);
    assert!(admit("b", now.plus(Duration::from_millis(50)), 2).await);
    assert!(!admit("c", long, 1).await, "one is there, and may be");
    assert!(admit("a", long, 1).await, "it is there already");
    assert!(store.index_admit(&other, "c", long, 1).await.unwrap());
    // What has ended counts no more, nor what was removed.
    until(|| async { admit("c", long, 2).await }).await;
    assert!(!admit("d", long, 2).await);
    store.index_remove(&index, "c").await.unwrap();
    assert!(admit("d", long, 2).await);
    let listed: HashSet<String> = store
        .index_list(&index, now)
        .await
        .unwrap()
        .into_iter()
        .collect();
    assert_eq!(listed, HashSet::from(["a".into(), "d".into()]));
    let key = fresh(Space::McpSession);
    let admitted = race(store, &key, |store, key, n| async move {
        let member = n.to_string();
        store.index_admit(&key, &member, long, 5).await.unwrap()
    });
    assert_eq!(admitted.await, 5, "index_admit");
}

async fn everybody_hears(store: &dyn Store) {
    let channel = format!("contract-{}", fresh(Space::Lease).id);
    store.publish(&channel, "to nobody").await.unwrap();
    let mut one = store.subscribe(&channel).await.unwrap();
    let mut two = store.subscribe(&channel).await.unwrap();
    for message in ["first", "second"] {
        store.publish(&channel, message).await.unwrap();
    }
    store.publish("contract-other", "elsewhere").await.unwrap();
    for listener in [&mut one, &mut two] {
        for message in ["first", "second"] {
            let heard = tokio::time::timeout(Duration::from_secs(10), listener.next())
                .await
                .unwrap();
            assert_eq!(heard, Some(Some(message.to_owned())));
        }
    }
}

/// Asks until it is so; ten seconds are for a machine that is very busy.
pub(crate) async fn until<F: Future<Output = bool>>(mut is_so: impl FnMut() -> F) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "it did not happen"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A key that nobody has used.
pub(crate) fn fresh(space: Space) -> Key {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    Key::new(
        space,
        format!(
            "{:x}{:x}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ),
    )
}

pub(crate) fn blob(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
