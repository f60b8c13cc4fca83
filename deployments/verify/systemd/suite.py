"""Runs inside a booted system: installs the proxy as a service and does to it what operators do.

Each step gives a line: `ok` or `FAILED`, what it does, and what is to be said about it. With names of steps
(`suite.py installs starts sockets`) only those are done.
"""
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

from parts import CLIENT_SECRET, Failed, call, expect, login_and_call, rpc, send, wait_for

HERE = Path("/verify")
BINARY = HERE / "mcp-oidc-proxy"
ETC = Path("/etc/mcp-proxy")
CONFIG = ETC / "config.yaml"
SERVICE = "mcp-oidc-proxy.service"
BASE = "http://localhost:8080"
MCP = f"{BASE}/mcp"
KEY = {"X-API-Key": "the-key-of-the-check-0123456789"}
KEYS = f"auth: {{ api_keys: [{{ name: check, key: {KEY['X-API-Key']} }}] }}\n"
# Short enough to wait for, long enough to be seen.
TIMES = "shutdown: { delay: 1s, timeout: 10s, stream_grace: 2s }\n"


def run(*command, ok=True, **options):
    """A command's output; fails when its exit code is not 0 (`ok=None`: either way)."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180, **options)
    if ok is not None:
        expect((done.returncode == 0) == ok, f"{' '.join(map(str, command))}: exit code {done.returncode}: {done.stdout}")
    return done.stdout


def show(name, unit=SERVICE):
    return run("systemctl", "show", "--value", "-p", name, unit).strip()


def pid():
    found = int(show("MainPID"))
    expect(found > 1, f"it does not run: {show('ActiveState')}, {show('Result')}")
    return found


def until(what, holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds():
        expect(time.monotonic() < end, f"{what}: not within {seconds} s")
        time.sleep(0.1)


def drop_in(name, text, unit=SERVICE):
    folder = Path(f"/etc/systemd/system/{unit}.d")
    if text is None:
        (folder / name).unlink(missing_ok=True)
    else:
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    run("systemctl", "daemon-reload")


def shipped(name):
    return (HERE / "systemd/drop-ins" / name).read_text()


def printed(page, chapter):
    """The first commands of a chapter."""
    return re.search(rf"^## {chapter}\n.*?^```sh\n(.*?)^```", (HERE / "docs" / page).read_text(), re.S | re.M)[1]


def journal(unit=SERVICE):
    return run("journalctl", "--no-pager", "-o", "cat", "-u", unit)


def files():
    """Everything on the disk that an installation could leave behind."""
    passing = ("/proc", "/sys", "/dev", "/run", "/tmp", "/verify", "/var/log/journal", "/var/cache", "/var/lib/systemd",
               "/var/lib/logrotate", "/var/lib/apt", "/var/lib/dpkg", "/var/log/apt", "/var/log/dpkg.log", "/root/.cache",
               "/var/log/wtmp", "/var/log/lastlog", "/var/log/btmp", "/var/tmp", "/var/backups")
    # Rewritten whenever a user comes or goes; what they hold is looked at by itself.
    passing += tuple(f"/etc/{name}{end}" for name in ("passwd", "group", "shadow", "gshadow") for end in ("", "-"))
    passing += ("/etc/.pwd.lock", "/etc/subuid", "/etc/subgid", "/etc/subuid-", "/etc/subgid-")
    found = {}
    for folder, folders, names in os.walk("/"):
        folders[:] = [name for name in folders if not os.path.join(folder, name).startswith(passing)]
        for name in names + folders:
            path = os.path.join(folder, name)
            if not path.startswith(passing) and "__pycache__" not in path:
                seen = os.lstat(path)
                found[path] = (seen.st_mode, seen.st_uid, seen.st_gid, seen.st_size if name in names else 0)
    users = {line.split(":")[0] for name in ("passwd", "group") for line in Path(f"/etc/{name}").read_text().splitlines()}
    # Unit files are among the files.
    units = {line.split()[0] for line in run("systemctl", "list-units", "--all", "--no-legend", "--plain", "mcp-*").splitlines()}
    return found, users, units


def differences(before, after):
    changed = [path for path in before[0].keys() | after[0].keys() if before[0].get(path) != after[0].get(path)]
    return sorted(changed) + sorted(before[1] ^ after[1]) + sorted(before[2] ^ after[2])


def configure(extra=TIMES + KEYS):
    """What the operator does: the shipped file, its marked values, the secret."""
    text = (HERE / "systemd/config.yaml").read_text()
    text = text.replace("https://login.example.com/realms/corp", "http://127.0.0.1:9000")
    CONFIG.write_text(text + extra)
    secret = ETC / "oidc-client-secret"
    secret.write_text(CLIENT_SECRET + "\n")
    shutil.chown(secret, "root", "mcp-proxy")
    secret.chmod(0o640)


def serves():
    expect(call(MCP, "echo", {"text": "x"}, KEY) == "x", "echo is wrong")


def open_files(process):
    """What its descriptors are; connections come and go meanwhile."""
    found = set()
    for path in Path(f"/proc/{process}/fd").iterdir():
        try:
            found.add(os.readlink(path))
        except FileNotFoundError:
            pass
    return found


def metric(name):
    text = send("GET", "http://127.0.0.1:9090/metrics")[2].decode()
    return float(re.search(rf"^{name}(?:\{{[^}}]*\}})? (\S+)", text, re.M)[1])


def settle():
    """After a step that failed: what the next ones begin with."""
    if CONFIG.exists() and Path("/run/systemd/system").exists() and show("LoadState") == "loaded":
        configure()
        run("systemctl", "disable", "--now", "mcp-oidc-proxy.socket")
        for name in ("check.conf", "port-443.conf"):
            drop_in(name, None)
        run("systemctl", "restart", SERVICE, ok=None)


def install(*more, ok=True):
    return run(HERE / "systemd/install.sh", *more, ok=ok)


# --- the steps, in this order -----------------------------------------------------------------------------------------


def installs():
    """install.sh on a machine without it"""
    import hashlib
    said = install("install", "--binary", BINARY, "--sha256", hashlib.sha256(BINARY.read_bytes()).hexdigest())
    expect("Next:" in said and "check-config" in said, f"it does not say what to do next: {said}")
    user = pwd.getpwnam("mcp-proxy")
    expect(user.pw_shell == "/usr/sbin/nologin" and user.pw_uid < 1000, f"the user is {user}")
    for name, mode, group in (("", 0o750, user.pw_gid), ("config.yaml", 0o640, user.pw_gid),
                              ("root-key", 0o640, user.pw_gid), ("environment", 0o600, 0)):
        seen = (ETC / name).stat()
        expect((seen.st_mode & 0o7777, seen.st_uid, seen.st_gid) == (mode, 0, group), f"{ETC / name}: {seen}")
    expect(show("UnitFileState") == "disabled", "it is enabled before it can run")


def installs_again():
    """install.sh once more changes nothing"""
    before, key = files(), (ETC / "root-key").read_text()
    install("install", "--binary", BINARY)
    left = differences(before, files())
    expect(not left and (ETC / "root-key").read_text() == key, f"changed: {left}")


def wrong_configuration():
    """a wrong configuration ends it with 78, and it is not started again"""
    CONFIG.write_text(CONFIG.read_text().replace("  client_id:", "  client_idd:"))
    run("systemctl", "start", SERVICE, ok=False)
    # Longer than RestartSec.
    time.sleep(4)
    seen = {name: show(name) for name in ("ActiveState", "Result", "ExecMainStatus", "NRestarts")}
    expect(seen == {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "78", "NRestarts": "0"}, str(seen))
    expect("client_idd" in journal(), "the journal does not say what is wrong")


def starts():
    """start returns when it serves; sandbox as the unit says"""
    configure()
    run("/usr/local/bin/mcp-oidc-proxy", "check-config", "--online")
    run("systemctl", "enable", "--now", SERVICE)
    # READY means bound: no waiting here.
    socket.create_connection(("127.0.0.1", 8080), 1).close()
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid()}/status").read_text().splitlines() if ":\t" in line)
    for name, wanted in (("CapEff", "0" * 16), ("CapBnd", "0" * 16), ("CapAmb", "0" * 16), ("NoNewPrivs", "1"), ("Seccomp", "2")):
        expect(status[name].strip() == wanted, f"{name} is {status[name]}")
    expect(status["Uid"].split()[0] == str(pwd.getpwnam("mcp-proxy").pw_uid), f"it runs as {status['Uid']}")
    mounts = Path(f"/proc/{pid()}/mountinfo").read_text()
    expect(re.search(r" / / ro", mounts) or re.search(r" / ro[, ]", mounts), f"its root is writable: {mounts}")
    return f"STATUS: {show('StatusText') or 'none'}"


def configuration_is_safe():
    """the service cannot change its configuration, nor read what is root's"""
    for command in ("echo x >> /etc/mcp-proxy/config.yaml", "cat /etc/mcp-proxy/environment", "touch /etc/mcp-proxy/new"):
        run("runuser", "-u", "mcp-proxy", "--", "sh", "-c", command, ok=False)
    run("runuser", "-u", "nobody", "--", "cat", "/etc/mcp-proxy/root-key", ok=False)


def logs_in():
    """sign-in at a provider, consent, token, tool call"""
    login_and_call(MCP)


def reloads():
    """a good reload takes effect in the same process"""
    before = pid()
    configure(TIMES + KEYS + "pages: { name: After the reload }\n")
    run("systemctl", "reload", SERVICE)
    until("the new configuration", lambda: b"After the reload" in send("GET", f"{BASE}/oauth2/sign_in")[2], 10)
    expect(pid() == before and show("ActiveState") == "active", "the process is another one")


def reload_refused():
    """a bad reload says so and keeps serving"""
    before, good = pid(), CONFIG.read_text()
    CONFIG.write_text(good + "nonsense: true\n")
    known = Path("/run/mcp-proxy/admin.sock").exists()
    said = run("systemctl", "reload", SERVICE, ok=False if known else None)
    until("the refused reload", lambda: metric("mcp_proxy_config_last_reload_successful") == 0, 10)
    serves()
    expect(pid() == before and show("ActiveState") == "active", f"state {show('ActiveState')}: {said}")
    CONFIG.write_text(good)
    run("systemctl", "reload", SERVICE)
    until("the mended reload", lambda: metric("mcp_proxy_config_last_reload_successful") == 1, 10)
    expect(known, "systemctl reload did not fail, for there is no admin listener")


def watchdog():
    """a process that hangs is killed by the watchdog and started again"""
    drop_in("check.conf", "[Service]\nWatchdogSec=2s\n")
    run("systemctl", "restart", SERVICE)
    before, restarts = pid(), int(show("NRestarts"))
    time.sleep(3)
    expect(pid() == before, "it does not feed the watchdog")
    os.kill(before, 19)
    until("a new process", lambda: int(show("NRestarts")) > restarts and show("ActiveState") == "active")
    expect("Failed with result 'watchdog'" in journal(), "the result was not watchdog")
    serves()
    drop_in("check.conf", None)
    run("systemctl", "restart", SERVICE)


def crash():
    """a crash is followed by a new process"""
    before = pid()
    os.kill(before, 9)
    until("a new process", lambda: show("ActiveState") == "active" and pid() != before)
    serves()


def drains():
    """stop: not ready, still serving, an open stream ends between two events"""
    expect(send("GET", f"{BASE}/ready")[0] == 200, "it is not ready")
    stream, ready = [], []

    def listen():
        with socket.create_connection(("127.0.0.1", 8080), 5) as client:
            client.settimeout(30)
            head = f"GET /mcp HTTP/1.1\r\nHost: localhost:8080\r\nAccept: text/event-stream\r\nX-API-Key: {KEY['X-API-Key']}\r\n\r\n"
            client.sendall(head.encode())
            while data := client.recv(65536):
                stream.append(data)

    listener = threading.Thread(target=listen)
    listener.start()
    until("the first events", lambda: b"".join(stream).count(b"data:") > 2)
    began = time.monotonic()
    stop = threading.Thread(target=run, args=("systemctl", "stop", SERVICE))
    stop.start()
    until("not ready", lambda: ready.append(send("GET", f"{BASE}/ready")[0]) or ready[-1] == 503, 5)
    serves()
    at_drain = b"".join(stream).count(b"data:")
    stop.join()
    listener.join(5)
    took, text = time.monotonic() - began, b"".join(stream)
    expect(not listener.is_alive(), "the stream is still open")
    expect(text.count(b"data:") > at_drain, "the stream was cut at once")
    expect(text.endswith(b"\n\n\r\n0\r\n\r\n"), f"the stream did not end between two events: {text[-80:]}")
    expect(2 < took < 12, f"it took {took:.1f} s")
    seen = show("Result"), show("ExecMainStatus"), show("ActiveState")
    expect(seen == ("success", "0", "inactive"), str(seen))
    run("systemctl", "start", SERVICE)
    return f"{took:.1f} s"


class Load(threading.Thread):
    """Calls one after the other, each over a new connection, until told to end."""

    def __init__(self):
        super().__init__()
        self.go, self.done, self.wrong, self.slowest = True, 0, [], 0

    def run(self):
        while self.go:
            began = time.monotonic()
            try:
                call(MCP, "echo", {"text": "x"}, KEY, timeout=60)
                self.done += 1
            except Exception as error:  # noqa: BLE001, whatever it was, it is counted
                self.wrong.append(repr(error))
                time.sleep(0.05)
            self.slowest = max(self.slowest, time.monotonic() - began)


def restarts_under_load(times):
    load = [Load() for _ in range(8)]
    for one in load:
        one.start()
    time.sleep(1)
    for _ in range(times):
        run("systemctl", "restart", SERVICE)
        time.sleep(1)
    for one in load:
        one.go = False
    for one in load:
        one.join()
    wrong = [text for one in load for text in one.wrong]
    return sum(one.done for one in load), wrong, max(one.slowest for one in load)


def restart_without_sockets():
    """(without socket activation the same restarts do refuse connections, so the next step can fail)"""
    _, wrong, _ = restarts_under_load(1)
    expect(any("refused" in text.lower() for text in wrong), f"none was refused: {wrong[:3]}")


def sockets():
    """socket-activated restarts under load refuse nothing"""
    configure(KEYS + "shutdown: { delay: 0s, timeout: 10s, stream_grace: 2s }\n")
    run("systemctl", "stop", SERVICE)
    run("systemctl", "enable", "--now", "mcp-oidc-proxy.socket")
    serves()
    listeners = [line for line in run("systemctl", "list-sockets", "--no-legend", "--full").splitlines() if "mcp-oidc-proxy" in line]
    expect(listeners, "systemd does not hold the port")
    both = open_files(1) & open_files(pid())
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines() + Path("/proc/net/tcp6").read_text().splitlines()]
    port = {f"socket:[{line[9]}]" for line in table if line[1].endswith(":1F90") and line[3] == "0A"}
    expect(len(port) == 1 and port <= both, f"port 8080 is {port}; systemd and service share {both}")
    done, wrong, slowest = restarts_under_load(4)
    expect(not wrong and done > 50, f"{len(wrong)} of {done + len(wrong)} failed: {wrong[:3]}")
    return f"{done} calls over 4 restarts, none refused, the slowest {slowest:.1f} s"


def sockets_off():
    """back to its own listener"""
    run("systemctl", "disable", "--now", "mcp-oidc-proxy.socket")
    configure()
    run("systemctl", "restart", SERVICE)
    serves()


def credentials():
    """secrets by LoadCredential, which root alone can read"""
    folder = ETC / "credentials"
    folder.mkdir(mode=0o700)
    for name, text in (("oidc-client-secret", CLIENT_SECRET), ("root-key", (ETC / "root-key").read_text())):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    (ETC / "oidc-client-secret").unlink()
    text = CONFIG.read_text()
    for name in ("oidc-client-secret", "root-key"):
        text = text.replace(f"{{ file: /etc/mcp-proxy/{name} }}", f"{{ credential: {name} }}")
    CONFIG.write_text(text)
    drop_in("credentials.conf", shipped("credentials.conf"))
    try:
        run("systemctl", "restart", SERVICE)
        login_and_call(MCP)
        run("systemctl", "reload", SERVICE)
        # As the page says: a shell cannot check this, systemd can.
        run("mcp-oidc-proxy", "--config", CONFIG, "check-config", ok=False)
        command = printed("install/systemd.md", "Checking with what the unit gives")
        if not Path("/run/dbus/system_bus_socket").exists():
            # Waiting and handing output over need the bus, which this small system does not have; the rest does not.
            expect("--wait --pipe --quiet" in command, command)
            command = command.replace("--wait --pipe --quiet", "--property=Type=oneshot")
        run("bash", "-euc", command)
        # Without one of the credentials it fails, so it was they that made the difference.
        lines = [line for line in command.splitlines() if "LoadCredential=root-key" not in line]
        run("bash", "-euc", "\n".join(lines), ok=False)
        run("sh", "-c", "systemctl reset-failed 'run-*'")
        for name in ("oidc-client-secret", "root-key"):
            run("runuser", "-u", "nobody", "--", "cat", f"/run/credentials/{SERVICE}/{name}", ok=False)
            run("runuser", "-u", "mcp-proxy", "--", "cat", str(folder / name), ok=False)
    finally:
        drop_in("credentials.conf", None)
        shutil.rmtree(folder)
        configure()
        run("systemctl", "restart", SERVICE)


def denies():
    """deny all as the runbook prints it, through a reload and a restart, and open again"""
    text = (HERE / "docs/runbooks/emergency.md").read_text().replace("/usr/bin/", "/usr/local/bin/")
    chapter = re.search(r"^### Deny all: systemd\n(.*?)^### ", text, re.S | re.M)[1]
    setting = re.search(r"P='.*?'", chapter)[0]
    closing, opening = (re.search(r"^\$ (.*)", block, re.M)[1] for block in re.findall(r"^```console\n(.*?)^```", chapter, re.S | re.M))
    run("bash", "-euc", re.search(r"^```sh\n(.*?)^```", text[text.index("## Deny all"):], re.S | re.M)[1], cwd=Path.home())
    try:
        run("bash", "-euc", re.search(r"^```sh\n(.*?)^```", chapter, re.S | re.M)[1])
        serves()
        run("bash", "-euc", f"{setting}\n{closing}")
        for after in ("closing", "systemctl reload", "a restart"):
            if after != "closing":
                run("systemctl", after.split()[-1], SERVICE)
            status = send("POST", MCP, {**KEY, "Content-Type": "application/json"}, json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))[0]
            expect(status == 403, f"after {after} the answer is {status}")
        run("bash", "-euc", f"{setting}\n{opening}")
        serves()
    finally:
        drop_in("incident.conf", None)
        for file in (Path.home() / "deny-all.yaml", ETC / "deny-all.yaml", ETC / "incident.yaml"):
            file.unlink(missing_ok=True)
        run("systemctl", "restart", SERVICE)


def low_port():
    """a port below 1024 with the drop-in, and not without it"""
    configure(TIMES + KEYS)
    CONFIG.write_text(CONFIG.read_text().replace("address: 127.0.0.1:8080", "address: 127.0.0.1:80"))
    drop_in("check.conf", "[Service]\nRestart=no\n")
    run("systemctl", "restart", SERVICE, ok=False)
    drop_in("port-443.conf", shipped("port-443.conf"))
    run("systemctl", "restart", SERVICE)
    expect(send("GET", "http://127.0.0.1:80/health", {"Host": "localhost:8080"})[0] == 200, "port 80 does not answer")
    drop_in("port-443.conf", None)
    drop_in("check.conf", None)
    configure()
    run("systemctl", "restart", SERVICE)


def direct_tls():
    """docs/cloud/vps.md, direct: TLS on port 443 by a second file of configuration and the drop-ins, as printed"""
    # What certbot leaves.
    root, host = Path("/etc/letsencrypt"), "mcp.example.com"
    live, archive = root / "live" / host, root / "archive" / host
    for folder in (live, archive, root / "renewal-hooks/deploy"):
        folder.mkdir(parents=True)
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", f"/CN={host}",
        "-addext", f"subjectAltName=DNS:{host}", "-keyout", archive / "privkey1.pem", "-out", archive / "fullchain1.pem")
    for name in ("privkey", "fullchain"):
        (live / f"{name}.pem").symlink_to(f"../../archive/{host}/{name}1.pem")
    (root / "live").chmod(0o700)
    (root / "archive").chmod(0o700)
    commands = printed("cloud/vps.md", "Direct, with certbot").splitlines(keepends=True)
    expect(commands[0].startswith("certbot "), commands[0])
    try:
        run("bash", "-euc", "".join(commands[1:]), cwd=HERE)
        run("curl", "-fsk", "--resolve", f"{host}:443:127.0.0.1", "-H", "Host: localhost:8080", f"https://{host}/health")
        expect("direct-tls.yaml" in show("ExecStart"), show("ExecStart"))
    finally:
        for name in ("port-443.conf", "direct-tls.conf"):
            drop_in(name, None)
        (ETC / "direct-tls.yaml").unlink(missing_ok=True)
        shutil.rmtree(root)
        run("systemctl", "restart", SERVICE)


def instance():
    """a second instance from the template, beside the first"""
    text = CONFIG.read_text().replace("8080", "8180").replace("/run/mcp-proxy/", "/run/mcp-proxy-two/")
    (ETC / "two.yaml").write_text(text + "metrics: { address: 127.0.0.1:9190 }\n")
    shutil.chown(ETC / "two.yaml", "root", "mcp-proxy")
    run("systemctl", "enable", "--now", "mcp-oidc-proxy@two")
    expect(call("http://localhost:8180/mcp", "echo", {"text": "two"}, KEY) == "two", "the instance does not serve")
    run("systemctl", "reload", "mcp-oidc-proxy@two")
    serves()


def rotates():
    """logrotate turns the audit log, and it is still whole"""
    configure(TIMES + KEYS + "audit: { sink: file, file: { path: /var/log/mcp-oidc-proxy/audit.jsonl } }\n")
    run("systemctl", "restart", SERVICE)
    serves()
    run("logrotate", "--force", "/etc/logrotate.d/mcp-oidc-proxy")
    log = Path("/var/log/mcp-oidc-proxy/audit.jsonl")
    until("a new file", log.exists, 5)
    serves()
    run("systemctl", "stop", SERVICE)
    turned = [path for path in log.parent.iterdir() if path.name.startswith("audit.jsonl-")]
    expect(len(turned) == 1 and turned[0].stat().st_size > 0 and log.stat().st_size > 0, f"{list(log.parent.iterdir())}")
    said = run("/usr/local/bin/mcp-oidc-proxy", "audit", "verify", str(log.parent))
    configure()
    run("systemctl", "start", SERVICE)
    return said.strip().splitlines()[-1]


def upgrades():
    """upgrade keeps configuration and drop-ins; a program that does not come up is taken back, and its units"""
    drop_in("mine.conf", "[Service]\nEnvironment=LOG_LEVEL=warn\n")
    text, key, before = CONFIG.read_text(), (ETC / "root-key").read_text(), pid()
    install("upgrade", "--binary", BINARY)
    expect(pid() != before and CONFIG.read_text() == text and (ETC / "root-key").read_text() == key, "not restarted, or changed")
    serves()
    bad = Path("/tmp/bad")
    bad.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 'mcp-oidc-proxy 9.9.9' && exit 0\nexit 1\n")
    bad.chmod(0o755)
    newer, unit = Path("/tmp/newer"), Path(show("FragmentPath"))
    shutil.copytree(HERE / "systemd", newer)
    with (newer / unit.name).open("a") as file:
        file.write("# Of a newer release.\n")
    old = unit.read_text()
    said = run(newer / "install.sh", "upgrade", "--binary", bad, ok=False)
    expect("are back" in said and "and run" in said, said)
    expect(unit.read_text() == old, "the unit of the newer release is still there")
    shutil.rmtree(newer)
    serves()
    install("upgrade", "--binary", bad, "--sha256", "0" * 64, ok=False)
    drop_in("mine.conf", None)


def deploy(program, ok=True):
    asked = {"HEALTH_TRIES": "3", "HEALTH_PAUSE": "1"}
    return run(HERE / "deployments/deploy.sh", "systemd", "--binary", program, "--url", BASE, ok=ok, env={**os.environ, **asked})


def another(name):
    """The program with a line more: the same one, and another file."""
    path = Path("/tmp") / name
    path.write_bytes(BINARY.read_bytes() + f"\n{name}".encode())
    path.chmod(0o755)
    return path


def runs(path):
    return Path(f"/proc/{pid()}/exe").read_bytes() == path.read_bytes()


def deploys():
    """deploy.sh: secrets that only the unit has; what does not come up, or is refused, is taken back"""
    before, text = os.readlink(f"/proc/{pid()}/exe"), CONFIG.read_text()
    folder = ETC / "credentials"
    folder.mkdir(mode=0o700)
    for name, secret in (("oidc-client-secret", CLIENT_SECRET), ("root-key", (ETC / "root-key").read_text())):
        (folder / name).write_text(secret)
        (folder / name).chmod(0o600)
    variables = (ETC / "environment").read_text()
    (ETC / "environment").write_text(f"{variables}\nTHE_CLIENT_SECRET={CLIENT_SECRET}\n")
    new, good = another("new"), text.replace("{ file: /etc/mcp-proxy/root-key }", "{ credential: root-key }")
    good = good.replace("{ file: /etc/mcp-proxy/oidc-client-secret }", "{ env: THE_CLIENT_SECRET }")
    expect("credential:" in good and "env: THE" in good, good)
    CONFIG.write_text(good)
    drop_in("credentials.conf", shipped("credentials.conf"))
    try:
        run(new, "--config", CONFIG, "check-config", ok=False)  # Without the unit's surroundings it cannot know.
        said = deploy(new)
        expect(runs(new) and f"serves from {before}" in said, said)
        serves()
        run("systemctl", "reload", SERVICE)  # What the unit has in /run was left alone.
        # Refused: nothing was touched.
        running = pid()
        CONFIG.write_text(good + "nonsense: true\n")
        said = deploy(another("other"), ok=False)
        expect("nonsense" in said and "nothing was changed" in said and pid() == running and runs(new), said)
        CONFIG.write_text(good.replace("THE_CLIENT_SECRET", "NO_SUCH_SECRET"))
        said = deploy(another("other"), ok=False)
        expect("NO_SUCH_SECRET" in said and pid() == running, said)
        CONFIG.write_text(good)
        # Accepts the configuration, and does not come up.
        bad = Path("/tmp/bad")
        bad.write_text("#!/bin/sh\ncase \"$*\" in *check-config | *--version) exit 0 ;; esac\nexit 1\n")
        bad.chmod(0o755)
        said = deploy(bad, ok=False)
        expect("the one before serves again" in said and runs(new), said)
        serves()
        expect(not list(Path("/run/systemd/system").glob("*-check*")), "the question's unit is still there")
    finally:
        CONFIG.write_text(text)
        (ETC / "environment").write_text(variables)
        drop_in("credentials.conf", None)
        shutil.rmtree(folder)
        deploy(BINARY)
        Path(f"{before}.before").unlink(missing_ok=True)


def deploys_over_ssh():
    """vps/deploy.sh: a program reaches the service, and what the service does not take stays out"""
    before, stand_ins = os.readlink(f"/proc/{pid()}/exe"), Path("/run/stand-ins")
    stand_ins.mkdir()
    for name, text in (("ssh", 'exec sh -c "$2"'), ("sudo", 'exec "$@"')):
        (stand_ins / name).write_text(f"#!/bin/sh\n{text}\n")
        (stand_ins / name).chmod(0o755)
    key, text = ETC / "root-key-as-credential", CONFIG.read_text()
    key.write_text((ETC / "root-key").read_text())
    key.chmod(0o600)
    CONFIG.write_text(text.replace("{ file: /etc/mcp-proxy/root-key }", "{ credential: root-key }"))
    drop_in("credentials.conf", f"[Service]\nLoadCredential=root-key:{key}\n")

    def deploy_there(program, ok=True):
        environment = {**os.environ, "PATH": f"{stand_ins}:{os.environ['PATH']}", "HEALTH_PAUSE": "1"}
        return run(HERE / "deployments/cloud/vps/deploy.sh", "somebody@host", program, ok=ok, env=environment)

    try:
        new = another("sent")
        deploy_there(new)
        expect(runs(new), "the new program does not run")
        serves()
        refused = Path("/tmp/refused")
        refused.write_text("#!/bin/sh\nexit 78\n")
        refused.chmod(0o755)
        said = deploy_there(refused, ok=False)
        expect("does not accept" in said and runs(new), said)
        left = list(Path("/run").glob("mcp-oidc-proxy-deploy.*")) + list(Path("/tmp").glob("tmp.*"))
        expect(not left, f"left behind: {left}")
    finally:
        CONFIG.write_text(text)
        drop_in("credentials.conf", None)
        key.unlink()
        shutil.rmtree(stand_ins)
        deploy(BINARY)
        Path(f"{before}.before").unlink(missing_ok=True)


def backs_up():
    """the backup's service: a whole archive from its sandbox, and none when a folder cannot be read"""
    place, units, private = Path("/usr/local/lib/mcp-oidc-proxy"), Path("/etc/systemd/system"), Path("/var/lib/private")
    name, there, had = "mcp-oidc-proxy-backup.service", place.exists(), private.exists()
    # As docs/backup.md says.
    run("bash", "-euc", "install -d /usr/local/lib/mcp-oidc-proxy/backup && install -m 0755 deployments/backup/*.sh deployments/backup/*.py "
        "/usr/local/lib/mcp-oidc-proxy/backup/ && install -m 0644 deployments/backup/systemd/* /etc/systemd/system/ && systemctl daemon-reload",
        cwd=HERE)
    configure(TIMES)  # The other one has a secret written in it, and would be left out.
    try:
        run("systemctl", "start", name)
        expect(show("Result", name) == "success", journal(name))
        archives = sorted(Path("/var/lib/mcp-proxy-backup").glob("*.tar.gz"))
        expect(len(archives) == 1 and archives[0].stat().st_mode & 0o777 == 0o600, f"{archives}: {journal(name)}")
        run(HERE / "deployments/backup/restore.sh", archives[0], "--check")
        held = run("tar", "-tzf", archives[0]).split()
        for wanted in ("backup/config/config.yaml", "backup/effective-config.yaml", "backup/manifest.json"):
            expect(wanted in held, f"{wanted} is not among {held}")
        expect(not [path for path in held if path.endswith(("root-key", "environment"))], f"secrets: {held}")
        left = run("tar", "-xOzf", archives[0], "backup/left-out").split()
        expect({"root-key", "environment"} <= set(left), f"left out: {left}")
        (ETC / "layers").mkdir(mode=0o700)
        run("systemctl", "start", name, ok=False)
        expect("not all of /etc/mcp-proxy can be read" in journal(name), journal(name))
        expect(len(list(Path("/var/lib/mcp-proxy-backup").glob("*.tar.gz"))) == 1, "it wrote an archive")
    finally:
        configure()
        run("systemctl", "reset-failed", name, ok=None)
        for unit in units.glob("mcp-oidc-proxy-backup.*"):
            unit.unlink()
        run("systemctl", "daemon-reload")
        shutil.rmtree(ETC / "layers", ignore_errors=True)
        shutil.rmtree(place / "backup" if there else place)
        Path("/var/lib/mcp-proxy-backup").unlink(missing_ok=True)
        shutil.rmtree(private / "mcp-proxy-backup", ignore_errors=True)
        if not had and private.exists() and not list(private.iterdir()):
            private.rmdir()
    return f"{len(held)} files"


def newcomer():
    """docs/install/systemd.md as printed, up to a tool call"""
    install("uninstall", "--purge")
    global parts
    parts.kill()
    parts.wait()
    text = (HERE / "docs/install/systemd.md").read_text()
    chapter = text.split("## To a tool call")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", chapter, re.S)
    # The client of the last one is not here.
    blocks = [block for block in blocks if not block.startswith("claude ")]
    said = ""
    for block in blocks:
        # As a person does it: the next one when the provider is there.
        if "--online" in block:
            wait_for("http://127.0.0.1:9000/jwks")
        said = run("bash", "-euc", block, cwd=HERE)
    wanted = re.findall(r"^# (\{.*)$", blocks[-1], re.M)[0]
    expect(said.strip() == wanted, f"the page says {wanted}, the shell {said}")
    login_and_call(MCP)
    instances = re.search(r"## Several instances\n\n```sh\n(.*?)```", text, re.S)[1]
    run("bash", "-euc", instances, cwd=HERE)
    call("http://localhost:8180/mcp", "echo", {"text": "two"}, {"X-API-Key": (ETC / "my-key").read_text().strip()})
    port = re.search(r"## Port 443\n.*?```sh\n(.*?)```", text, re.S)[1]
    run("bash", "-euc", port, cwd=HERE)
    held = re.search(r"## A restart that refuses no connection\n.*?```sh\n(.*?)```", text, re.S)[1]
    run("bash", "-euc", held, cwd=HERE)
    login_and_call(MCP)
    run("systemctl", "stop", "sample-parts")
    parts = start_parts()


def uninstalls(before):
    """uninstall leaves the configuration, uninstall --purge leaves nothing"""
    install("uninstall")
    expect(CONFIG.exists() and pwd.getpwnam("mcp-proxy"), "the configuration or the user is gone")
    expect(show("LoadState") == "not-found", "the unit is still there")
    running = [path for path in Path("/proc").glob("[0-9]*/comm") if path.read_text().startswith("mcp-oidc-proxy")]
    expect(not running, f"still running: {running}")
    install("install", "--binary", BINARY)
    expect(show("ActiveState") == "active", "the configuration that was left does not start")
    install("uninstall", "--purge")
    left = differences(before, files())
    expect(not left, f"left behind: {left}")


def package(before, path):
    """.deb: install, start, upgrade, remove, purge"""
    said = install("--package", str(path))
    expect("Next:" in said, f"it does not say what to do next: {said}")
    expect(show("UnitFileState") == "disabled" and show("ActiveState") == "inactive", "it is started before it can run")
    expect((ETC / "config.yaml").stat().st_mode & 0o777 == 0o640, "mode of the configuration")
    configure()
    run("systemctl", "enable", "--now", SERVICE)
    login_and_call(MCP)
    text, first = CONFIG.read_text(), pid()
    run("dpkg", "--install", str(path))
    expect(pid() != first and CONFIG.read_text() == text, "not restarted, or the configuration is another")
    seen = CONFIG.stat()
    expect((seen.st_uid, seen.st_gid) == (0, pwd.getpwnam("mcp-proxy").pw_gid), f"{seen}")
    serves()
    # Where the package put it, and not beside it.
    new = another("deployed")
    deploy(new)
    expect(runs(new) and os.readlink(f"/proc/{pid()}/exe") == "/usr/bin/mcp-oidc-proxy", "another program runs")
    expect(not Path("/usr/local/bin/mcp-oidc-proxy").exists(), "there are two of them")
    Path("/usr/bin/mcp-oidc-proxy.before").unlink()
    run("dpkg", "--remove", "mcp-oidc-proxy")
    expect(CONFIG.exists() and show("LoadState") != "loaded", "the configuration is gone, or the unit is not")
    run("dpkg", "--install", str(path))
    expect(CONFIG.read_text() == text, "the configuration is another")
    run("systemctl", "start", SERVICE)
    install("uninstall", "--purge")
    left = differences(before, files())
    expect(not left, f"left behind: {left}")


def start_parts():
    started = subprocess.Popen([sys.executable, str(HERE / "deployments/verify/systemd/parts.py"), "9000", "3000"])
    wait_for("http://127.0.0.1:9000/jwks")
    return started


def main():
    global parts
    parts = start_parts()
    before = files()
    wanted = [installs, installs_again, wrong_configuration, starts, configuration_is_safe, logs_in, reloads, reload_refused,
              watchdog, crash, drains, restart_without_sockets, sockets, sockets_off, credentials, denies, low_port, direct_tls, instance, rotates,
              upgrades, deploys, deploys_over_ssh, backs_up, newcomer, lambda: uninstalls(before)]
    wanted[-1].__doc__, wanted[-1].__name__ = uninstalls.__doc__, "uninstalls"
    for deb in HERE.glob("*.deb"):
        wanted.append(lambda deb=deb: package(before, deb))
        wanted[-1].__doc__, wanted[-1].__name__ = package.__doc__, "package"
    if len(sys.argv) > 1:
        wanted = [step for step in wanted if step.__name__ in sys.argv[1:]]
    for step in wanted:
        began = time.monotonic()
        try:
            result, said = "ok", step() or ""
        except Exception as error:  # noqa: BLE001
            result, said = "FAILED", str(error) if isinstance(error, Failed) else traceback.format_exc()
            print(f"--- {step.__doc__}: {said}\n{journal()[-6000:]}\n---", flush=True)
            settle()
        seconds = f"{time.monotonic() - began:.1f} s"
        first = said.splitlines()[0][:300] if said else ""
        with open(HERE / "out/results", "a") as results:
            results.write(f"{result}\t{step.__doc__}\t{first}\n")
        print(f"{result}\t{step.__doc__}\t{seconds}\t{first}", flush=True)
    parts.kill()
    (HERE / "out/done").write_text("")


if __name__ == "__main__":
    main()
