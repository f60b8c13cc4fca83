"""From an image's archive to something that runc runs, as a container engine would do it.

bundle.py ARCHIVE FOLDER       unpacks an OCI archive: FOLDER/rootfs, and FOLDER/image.json with what the image says
"""

import gzip
import io
import json
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

CAPABILITIES = ("bounding", "effective", "inheritable", "permitted", "ambient")


def unpack(archive: str, folder: Path) -> None:
    """Unpacks the image's layers, one over the other."""
    root = folder / "rootfs"
    root.mkdir(parents=True)
    with tarfile.open(archive) as outer:

        def blob(digest: str) -> bytes:
            return outer.extractfile("blobs/" + digest.replace(":", "/")).read()

        index = json.load(outer.extractfile("index.json"))
        manifest = json.loads(blob(index["manifests"][0]["digest"]))
        image = json.loads(blob(manifest["config"]["digest"]))
        for layer in manifest["layers"]:
            data = blob(layer["digest"])
            if layer["mediaType"].endswith("gzip"):
                data = gzip.decompress(data)
            with tarfile.open(fileobj=io.BytesIO(data)) as inner:
                for member in inner:
                    if Path(member.name).name.startswith(".wh."):
                        sys.exit(f"{member.name}: an image from scratch has nothing to delete")
                    inner.extract(member, root, numeric_owner=True)
    image["compressed"] = sum(layer["size"] for layer in manifest["layers"])
    (folder / "image.json").write_text(json.dumps(image, indent=1))


@dataclass
class Wish:
    """What whoever runs the image adds to it."""

    env: dict[str, str] = field(default_factory=dict)
    # Instead of the image's command.
    arguments: list[str] | None = None
    # From (a file or folder of this machine) to; read-only.
    mounts: dict[str, str] = field(default_factory=dict)
    # Empty folders in memory that belong to the image's user.
    tmpfs: tuple[str, ...] = ()
    # The network namespace to join.
    netns: str = ""


def specification(image: dict, rootfs: Path, wish: Wish) -> dict:
    """What runc is told: read-only root, the image's user, no capability, no new privileges."""
    config = image["config"]
    uid, gid = (int(part) for part in config["User"].split(":"))
    env = dict(each.split("=", 1) for each in config.get("Env", [])) | wish.env
    arguments = config.get("Entrypoint", []) + (config.get("Cmd", []) if wish.arguments is None else wish.arguments)
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=64k"]},
    ]
    for path in wish.tmpfs:
        options = ["nosuid", "nodev", "noexec", "mode=0700", "size=4m", f"uid={uid}", f"gid={gid}"]
        mounts.append({"destination": path, "type": "tmpfs", "source": "tmpfs", "options": options})
    for source, destination in wish.mounts.items():
        kind = "rbind" if Path(source).is_dir() else "bind"
        mounts.append({"destination": destination, "type": "bind", "source": source, "options": [kind, "ro", "nosuid", "nodev"]})
    namespaces = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": uid, "gid": gid},
            "args": arguments,
            "env": [f"{name}={value}" for name, value in env.items()],
            "cwd": config.get("WorkingDir") or "/",
            "capabilities": {kind: [] for kind in CAPABILITIES},
            "noNewPrivileges": True,
        },
        "root": {"path": str(rootfs), "readonly": True},
        "hostname": "container",
        "mounts": mounts,
        "linux": {
            "namespaces": [*namespaces, {"type": "network", "path": wish.netns}],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }


if __name__ == "__main__":
    unpack(sys.argv[1], Path(sys.argv[2]))
