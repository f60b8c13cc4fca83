//! The program from outside: what it prints, where, and how it ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A program with an empty environment, in a folder of its own.
struct Program {
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
}

impl Program {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            env: Vec::new(),
        }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_mcp-oidc-proxy"))
            .args(arguments)
            .env_clear()
            .envs(crate::harness::parts::measured())
            .envs(self.env.iter().cloned())
            .current_dir(self.dir.path())
            .output()
            .unwrap()
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const GOOD: &str = "version: 1\nauth:\n  api_keys: [{ name: ci, key: hunter2hunter2hunter2 }]\nbackends:\n  - { name: b, upstream: \"http://127.0.0.1:9/\" }\nroutes:\n  - { path: /b/*, backend: b, allow: { any_user: true } }\n";

#[test]
fn a_good_configuration_is_ok() {
    let program = Program::new();
    program.file("config.yaml", GOOD);
    let output = program.run(&["check-config"]);
    assert_eq!(code(&output), 0, "{}", stdout(&output));
    assert!(stdout(&output).ends_with("ok: config.yaml\n"));
}

/// Six planted mistakes: each is told, with its line, at once; 78.
#[test]
fn every_planted_mistake_has_its_line_and_the_code_is_78() {
    let program = Program::new();
    let text = "version: 1\nlisten:\n  - { address: nonsense }\nlimits: { max_header: 1 }\nbackends:\n  - { name: b, upstream: 5 }\nroutes:\n  - { path: /%2f, backend: c, public: true }\n  - { path: /x, backend: c }\nlogging: { level: loud }\n";
    program.file("config.yaml", text);
    let output = program.run(&["check-config"]);
    assert_eq!(code(&output), 78);
    let found = stdout(&output);
    let lines: Vec<&str> = found.lines().collect();
    for (line, says) in [
        ("config.yaml:3:7: listen[0].address: ", "host:port"),
        (
            "config.yaml:4:11: limits.max_header: ",
            "did you mean `max_headers`?",
        ),
        ("config.yaml:6:16: backends[0].upstream: ", "must be a text"),
        ("config.yaml:8:7: routes[0].path: ", ""),
        ("config.yaml:9:5: routes[1]: ", "nobody may use this route"),
        ("config.yaml:10:12: logging.level: ", "not a log level"),
    ] {
        assert!(
            lines
                .iter()
                .any(|each| each.starts_with(line) && each.contains(says)),
            "{line}: {found}"
        );
    }
    assert!(stderr(&output).is_empty());

    let output = program.run(&["check-config", "--format", "json"]);
    assert_eq!(code(&output), 78);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], false);
    let first = &report["problems"][0];
    assert_eq!(
        (&first["path"], &first["line"]),
        (&"listen[0].address".into(), &3.into())
    );
    assert!(report["problems"].as_array().unwrap().len() >= 6);
}

#[test]
fn a_file_that_is_missing_or_broken_gives_78() {
    let program = Program::new();
    let output = program.run(&["--config", "nowhere.yaml", "check-config"]);
    assert_eq!(code(&output), 78);
    assert!(stdout(&output).starts_with("nowhere.yaml: the file cannot be read"));
    program.file("config.yaml", "version: 1\nroutes: [\n");
    let output = program.run(&["check-config"]);
    assert_eq!(code(&output), 78);
    assert!(stdout(&output).contains("the YAML cannot be read"));
}

#[test]
fn the_environment_alone_is_checked_too() {
    let program = Program::new()
        .env("MCP_TARGET_HOST", "h")
        .env("MCP_API_KEY", "hunter2hunter2hunter2");
    let output = program.run(&["check-config"]);
    assert_eq!(
        (
            code(&output),
            stdout(&output).ends_with("ok: the environment alone\n")
        ),
        (0, true)
    );
    let output = Program::new()
        .env("MCP_PROXY__OIDC__ISUER", "x")
        .run(&["check-config"]);
    assert_eq!(code(&output), 78);
    assert!(
        stdout(&output).contains("environment MCP_PROXY__OIDC__ISUER: "),
        "{}",
        stdout(&output)
    );
    assert!(stdout(&output).contains("did you mean MCP_PROXY__OIDC__ISSUER?"));
}

#[test]
fn what_is_printed_holds_no_secret_and_says_who_set_it() {
    let program = Program::new().env("LOG_LEVEL", "debug");
    program.file("config.yaml", GOOD);
    let output = program.run(&[
        "--port",
        "81",
        "--set",
        "sessions.idle_timeout=1h",
        "print-config",
    ]);
    assert_eq!(code(&output), 0);
    let text = stdout(&output);
    assert!(!text.contains("hunter2") && !stderr(&output).contains("hunter2"));
    for line in [
        "  - address: \"0.0.0.0:81\"  # flag --port",
        "  idle_timeout: \"1h\"  # flag --set sessions.idle_timeout",
        "  level: debug  # environment LOG_LEVEL",
        "      key: \"(redacted)\"  # config.yaml:3:26",
        "  - name: b  # config.yaml:5:7",
        "own_prefix: /oauth2  # default",
    ] {
        assert!(text.lines().any(|each| each == line), "{line}\n{text}");
    }
}

#[test]
fn wrong_arguments_give_2_and_help_gives_0() {
    let program = Program::new();
    assert_eq!(code(&program.run(&["--no-such-flag"])), 2);
    assert_eq!(code(&program.run(&["--set", "novalue", "check-config"])), 2);
    let output = program.run(&["--help"]);
    assert_eq!(code(&output), 0);
    assert!(stdout(&output).contains("78  the configuration is wrong"));
}

#[test]
fn keygen_and_version_print_what_they_say() {
    let program = Program::new();
    let (one, other) = (
        stdout(&program.run(&["keygen"])),
        stdout(&program.run(&["keygen"])),
    );
    assert_eq!((one.len(), one == other), (44, false));
    let program = program
        .env("MCP_ENCRYPTION_KEY", one.trim())
        .env("MCP_TARGET_HOST", "h")
        .env("MCP_API_KEY", "hunter2hunter2hunter2");
    assert_eq!(code(&program.run(&["check-config"])), 0);
    let about: serde_json::Value =
        serde_json::from_slice(&program.run(&["version", "--json"]).stdout).unwrap();
    assert_eq!(about["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_health_check_tells_by_its_exit_code() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let output = Program::new().run(&[
        "healthcheck",
        "--url",
        &format!("http://127.0.0.1:{closed}/health"),
    ]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("cannot connect"));
}

#[test]
fn online_checks_name_what_does_not_answer_and_give_69() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let program = Program::new()
        .env("MCP_TARGET_HOST", "127.0.0.1")
        .env("MCP_TARGET_PORT", &closed.to_string())
        .env("OIDC_CLIENT_ID", "c")
        .env("OIDC_DISCOVERY_URL", &format!("http://127.0.0.1:{closed}"));
    assert_eq!(code(&program.run(&["check-config"])), 0);
    let output = program.run(&["check-config", "--online"]);
    assert_eq!(code(&output), 69);
    let text = stdout(&output);
    assert!(
        text.contains(&format!("oidc (http://127.0.0.1:{closed}): "))
            && text.contains("backends[0] (target): "),
        "{text}"
    );
}

#[test]
fn generated_files_are_current_where_the_repository_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let check = |folder: &Path| {
        Command::new(env!("CARGO_BIN_EXE_mcp-oidc-proxy"))
            .args(["config", "all", "--check"])
            .current_dir(folder)
            .output()
            .unwrap()
    };
    let output = check(root);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(code(&check(Program::new().dir.path())), 1);
}

/// A child that is ended when the test is over, whatever became of it.
struct Serving(std::process::Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_wrong_configuration_starts_nothing() {
    let program = Program::new();
    program.file("config.yaml", "version: 1\n");
    let output = program.run(&[]);
    assert_eq!(code(&output), 78);
    assert!(stderr(&output).contains("there is no route"));
    assert!(stderr(&output).contains("nothing was started: the configuration has 1 problem"));
}

#[test]
fn a_port_in_use_gives_69_and_names_the_address() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let program = Program::new()
        .env("MCP_TARGET_HOST", "h")
        .env("MCP_API_KEY", "hunter2hunter2hunter2")
        .env("MCP_PROXY__LISTEN__0__ADDRESS", &address)
        .env("ENABLE_PROMETHEUS_METRICS", "false");
    let output = program.run(&[]);
    assert_eq!(code(&output), 69, "{}", stderr(&output));
    assert!(stderr(&output).contains(&address), "{}", stderr(&output));
}

/// Starts from the environment alone, is asked by its own health check, and ends in order on SIGTERM.
#[test]
fn a_proxy_serves_is_healthy_and_ends() {
    let program = Program::new();
    let socket = program.dir.path().join("traffic.sock");
    let listen = format!("unix:{}", socket.display());
    let program = program
        .env("MCP_TARGET_HOST", "127.0.0.1")
        .env("MCP_API_KEY", "hunter2hunter2hunter2")
        .env("MCP_PROXY__LISTEN__0__ADDRESS", &listen)
        .env("MCP_PROXY__SHUTDOWN__DELAY", "0s")
        .env("ENABLE_PROMETHEUS_METRICS", "false");
    let child = Command::new(env!("CARGO_BIN_EXE_mcp-oidc-proxy"))
        .env_clear()
        .envs(crate::harness::parts::measured())
        .envs(program.env.iter().cloned())
        .current_dir(program.dir.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut serving = Serving(child);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while code(&program.run(&["healthcheck"])) != 0 {
        assert!(
            serving.0.try_wait().unwrap().is_none(),
            "it ended by itself"
        );
        assert!(std::time::Instant::now() < until, "it never became healthy");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let id = rustix::process::Pid::from_child(&serving.0);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert_eq!(serving.0.wait().unwrap().code(), Some(0));
}

/// A Redis that refuses the password, in the words of the real one.
#[test]
fn a_refused_password_is_told_as_such() {
    use std::io::{Read, Write};
    let redis = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = redis.local_addr().unwrap().port();
    // Ends with the test's process; it holds nothing that another test could miss.
    std::thread::spawn(move || {
        for stream in redis.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut seen = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut seen) {
                let commands = seen[..count].split(|byte| *byte == b'*').count() - 1;
                let answer = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
                if stream
                    .write_all(answer.repeat(commands).as_bytes())
                    .is_err()
                {
                    break;
                }
            }
        }
    });
    let program = Program::new();
    let key = stdout(&program.run(&["keygen"]));
    let program = program
        .env("MCP_TARGET_HOST", "127.0.0.1")
        .env("MCP_API_KEY", "hunter2hunter2hunter2")
        .env("MCP_ENCRYPTION_KEY", key.trim())
        .env("SESSION_STORE", "redis")
        .env("REDIS_URL", &format!("redis://:hunter2@127.0.0.1:{port}"));
    assert_eq!(code(&program.run(&["check-config"])), 0);
    let output = program.run(&["check-config", "--online", "--format", "json"]);
    assert_eq!(code(&output), 69);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let error = report["online"][0]["error"].as_str().unwrap();
    assert!(error.contains("refused the password"), "{error}");
    assert!(!stdout(&output).contains("hunter2"));
}

/// Whoever asks may not read what the service may.
#[test]
fn questions_that_need_no_secret_read_none() {
    let program = Program::new();
    program.file(
        "config.yaml",
        "version: 1
public_url: https://mcp.example.com
secret_keys: [{ credential: root-key }]
oidc: { issuer: https://login.example.com, client_id: p, client_secret: { env: NOT_SET_HERE } }
admin: { address: unix:/nowhere/admin.sock }
auth: { api_keys: [{ name: ci, key: { file: /nowhere/key }, groups: [bots] }] }
backends: [{ name: b, upstream: \"http://127.0.0.1:9/\" }]
routes: [{ path: /b, name: r, backend: b, allow: { groups: [bots] } }]
",
    );
    for needs in [&["check-config"][..], &[]] {
        let output = program.run(needs);
        assert_eq!(code(&output), 78, "{needs:?}");
        let said = stdout(&output) + &stderr(&output);
        for missing in ["root-key", "NOT_SET_HERE", "/nowhere/key"] {
            assert!(said.contains(missing), "{said}");
        }
    }
    let output = program.run(&["check-config", "--no-secrets"]);
    assert_eq!(code(&output), 0, "{}", stdout(&output));
    assert!(stdout(&output).contains("secrets were not looked at"));
    let output = program.run(&["print-config"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    for shown in [
        "credential: root-key",
        "env: NOT_SET_HERE",
        "file: /nowhere/key",
    ] {
        assert!(stdout(&output).contains(shown), "{}", stdout(&output));
    }
    let explain = ["policy", "explain", "--route", "r", "--tool", "x"];
    let output = program.run(&[&explain[..], &["--api-key", "ci"]].concat());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    // The issuer is that of the configuration; only the proxy itself is not there.
    for what in ["list", "revoke"] {
        let output = program.run(&["sessions", what, "--subject", "ann"]);
        assert_eq!(code(&output), 69, "{}", stderr(&output));
        assert!(stderr(&output).contains("/nowhere/admin.sock"));
    }
    let output = program.run(&["sessions", "list", "--subject", "ann", "--direct"]);
    assert_eq!(code(&output), 78, "Redis needs its password");
    program.file(
        "config.yaml",
        "version: 1\nsecret_keys: [{ credential: a/b }]\n",
    );
    let output = program.run(&["check-config", "--no-secrets"]);
    assert_eq!(code(&output), 78);
    assert!(stdout(&output).contains("is not the name of a credential"));
}
