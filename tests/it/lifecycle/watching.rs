//! Files that change, as editors and mounted volumes change them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{KEY, allow, becomes, counted, setup};
use crate::harness::client::get;
use crate::harness::echo::Echo;
use crate::harness::proxy::proxy;

const WATCH: &str = "reload: { watch: true, interval: 1h }\nmetrics: { address: \"127.0.0.1:0\", on_traffic_listener: true }";

#[tokio::test]
async fn a_changed_file_is_loaded_and_a_bad_one_once() {
    let backend = Echo::start().await;
    let first = setup().yaml(WATCH).route("/one/*", backend.url(), allow());
    let mut process = first.start_process(&[]).await;
    assert_eq!(
        counted(
            &process,
            "mcp_proxy_config_reloads_total{trigger=\"watch\",result=\"ok\"}"
        )
        .await,
        0
    );

    process.rewrite("version: 1\nroutes: 7\n");
    let bad = process
        .part
        .wait_for(|line| line.contains("stays in force"))
        .await;
    assert!(bad.contains("watch"), "{bad}");
    becomes(&process, &process.url("/one/x"), KEY, 200).await;

    // As editors do it: another file takes the place.
    let second = first.clone().route("/two/*", backend.url(), allow());
    let beside = process.file().with_extension("new");
    fs::write(&beside, second.text()).unwrap();
    fs::rename(&beside, process.file()).unwrap();
    becomes(&process, &process.url("/two/x"), KEY, 200).await;
    for (result, times) in [("error", 1), ("ok", 1)] {
        let series =
            format!("mcp_proxy_config_reloads_total{{trigger=\"watch\",result=\"{result}\"}}");
        assert_eq!(
            counted(&process, &series).await,
            times,
            "{}",
            process.part.log()
        );
    }
}

/// A volume as the kubelet writes it: `..data` is a link to a folder of one moment.
fn publish(volume: &Path, moment: &str, key: &str) {
    fs::create_dir_all(volume.join(moment)).unwrap();
    fs::write(volume.join(moment).join("key"), key).unwrap();
    symlink(moment, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
}

#[tokio::test]
async fn a_secret_of_a_mounted_volume_rotates_without_a_restart() {
    let backend = Echo::start().await;
    let volume = tempfile::tempdir().unwrap();
    publish(volume.path(), "..2026_01_01", "the-first-key-of-a-script");
    symlink("..data/key", volume.path().join("key")).unwrap();
    let file = volume.path().join("key");
    let process = proxy()
        .yaml(&format!(
            "auth:\n  api_keys:\n    - {{ name: script, key: {{ file: {} }} }}\n",
            file.display()
        ))
        .yaml(WATCH)
        .route("/x/*", backend.url(), allow())
        .start_process(&[])
        .await;
    let url = process.url("/x/y");
    becomes(&process, &url, "the-first-key-of-a-script", 200).await;
    for (moment, key) in [
        ("..2026_01_02", "another-key-of-the-script"),
        ("..2026_01_03", "one-more-key-of-the-script"),
    ] {
        publish(volume.path(), moment, key);
        becomes(&process, &url, key, 200).await;
    }
    let old = get(&url)
        .header("x-api-key", "the-first-key-of-a-script")
        .send()
        .await;
    assert_eq!(old.status, 401);
}

#[tokio::test]
async fn watching_begins_and_ends_with_the_configuration() {
    let backend = Echo::start().await;
    let off = setup().route("/one/*", backend.url(), allow());
    let mut process = off.start_process(&[]).await;
    let on = off.clone().yaml("reload: { watch: true }");
    process.rewrite(&on.text());
    process.signal(rustix::process::Signal::HUP);
    process
        .part
        .wait_for(|line| line.contains("is in force"))
        .await;
    // Without a signal now; and this is the last change that is noticed.
    process.rewrite(&off.clone().route("/two/*", backend.url(), allow()).text());
    becomes(&process, &process.url("/two/x"), KEY, 200).await;
    process.rewrite(&off.clone().route("/three/*", backend.url(), allow()).text());
    process.signal(rustix::process::Signal::HUP);
    becomes(&process, &process.url("/three/x"), KEY, 200).await;
    let reloads = process
        .part
        .log()
        .matches("a file of the configuration has changed")
        .count();
    assert_eq!(reloads, 1, "{}", process.part.log());
}
