//! Loading: defaults, files in order, environment, flags; then the rules across keys. All problems at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde_yaml::Value;

use super::layers::Layers;
use super::lookup::{self, Lookup};
use super::path::{KeyPath, Origin, Origins, Segment};
use super::problem::{Problem, Problems};
use super::remote::{self, Given, Remote, RemoteValues};
use super::shape::Shape;
use super::{Config, check, decode, env, yaml};

/// Where the configuration comes from. Kept by the process, for a reload reads the same sources again.
#[derive(Clone, Default)]
pub struct Sources {
    /// Files, the later over the earlier. Each must exist.
    pub files: Vec<PathBuf>,
    /// Where to look when `files` is empty: the first that exists is read.
    pub default_files: Vec<PathBuf>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// Flags: key path and value (`logging.level`, `debug`).
    pub flags: Vec<(String, String)>,
    /// `--port`: the port of the first listener.
    pub port: Option<u16>,
    /// `--log-level`.
    pub log_level: Option<String>,
    /// `--public-url`.
    pub public_url: Option<String>,
    /// Rules that other modules have on the configuration (what routes may look like).
    pub checks: Vec<Check>,
    /// Secrets of other systems that were fetched. Reading asks nobody.
    pub remote: Arc<RemoteValues>,
    /// Reads no secret of a variable, a file or a credential: for questions that need none, asked by somebody who may
    /// not read them. What comes of it cannot be run.
    pub leave_secrets: bool,
}

/// A rule of another module: what is wrong, as key path and message.
pub type Check = fn(&Config) -> Vec<(String, String)>;

/// Never shows values: the environment and flags may hold secrets.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("files", &self.files)
            .field("default_files", &self.default_files)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Sources {
    /// The same, without looking at secrets.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        Self {
            leave_secrets: true,
            ..self.clone()
        }
    }

    /// The sources of this process: the given files or the usual places, and the process's environment.
    pub fn of_process(files: Vec<PathBuf>) -> Self {
        let env = std::env::vars_os()
            .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
            .collect();
        Self {
            files,
            default_files: vec![
                PathBuf::from("config.yaml"),
                PathBuf::from("/etc/mcp-proxy/config.yaml"),
            ],
            env,
            ..Self::default()
        }
    }

    /// One file and nothing else, for tests and examples.
    pub fn file(file: impl Into<PathBuf>) -> Self {
        Self {
            files: vec![file.into()],
            ..Self::default()
        }
    }
}

/// A configuration that has passed every check.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Who set what.
    pub origins: Origins,
    /// The files that were read, in order; empty when the environment alone was enough.
    pub files: Vec<PathBuf>,
    /// What works, but is probably not what was meant.
    pub warnings: Vec<String>,
    /// The secrets of other systems that it takes.
    pub remote: BTreeSet<Remote>,
    /// Those of them that are not known yet. Rules about them were not checked, and it cannot be run.
    pub unread: BTreeSet<Remote>,
    /// Whether further ones were left where they are ([`Sources::leave_secrets`]); the same holds for it.
    pub left: bool,
}

/// Loads and checks the configuration.
///
/// # Errors
/// Everything that is wrong, at most [`super::problem::MAX_PROBLEMS`] things, each with its place and what to do.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let env = environment_of(sources);
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let mut layers = Layers::new();
    let (files, given) = lay(sources, &env, &mut layers, &mut problems, &mut warnings)?;
    let lookup = Lookup {
        env,
        given,
        values: RemoteValues::clone(&sources.remote),
        leave: sources.leave_secrets,
        ..Lookup::default()
    };
    let (decoded, taken) = lookup::with(lookup, || decode::decode(&mut layers, &mut problems));
    let needed = taken.needed;
    if let Some(config) = &decoded.config {
        let mut found = check::run(
            config,
            &decoded.left_out,
            &layers.origins,
            &needed,
            &mut warnings,
        );
        for check in &sources.checks {
            found.extend(check(config));
        }
        for (place, message) in found {
            let path = KeyPath::parse(&place)
                .map(|path| decoded.left_out.as_written(&path))
                .unwrap_or_default();
            problems.push(Problem {
                path: path.to_string(),
                origin: layers.origins.near(&path),
                message,
            });
        }
    }
    match (Problems::of(problems), decoded.config) {
        (None, Some(config)) => Ok(Loaded {
            config,
            origins: layers.origins,
            files,
            warnings,
            unread: needed
                .iter()
                .filter(|each| !sources.remote.contains_key(each))
                .cloned()
                .collect(),
            remote: needed,
            left: taken.left,
        }),
        (Some(problems), _) => Err(problems),
        (None, None) => Err(Problems::one(Problem {
            path: String::new(),
            origin: Origin::Default,
            message: "nothing is left of the configuration".to_owned(),
        })),
    }
}

/// The environment without empty variables, which count as unset.
pub(super) fn environment_of(sources: &Sources) -> BTreeMap<String, String> {
    let set = sources.env.iter().filter(|(_, text)| !text.is_empty());
    set.map(|(name, text)| (name.clone(), text.clone()))
        .collect()
}

/// Lays everything over each other that sources say. Gives the files that were read, and the variables that Vault fills.
///
/// # Errors
/// What is wrong with the files: what the other layers have wrong cannot be known without them.
pub(super) fn lay(
    sources: &Sources,
    env: &BTreeMap<String, String>,
    layers: &mut Layers,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Result<(Vec<PathBuf>, Given), Problems> {
    let files = read_files(sources, env, layers, problems);
    if let Some(problems) = Problems::of(std::mem::take(problems)) {
        return Err(problems);
    }
    let version = KeyPath::root().key("version");
    if files.is_empty() {
        // The environment alone needs no version: its names have not changed.
        let _ = layers.set(&version, Value::from(1), &Origin::Default);
    }
    bind_bypass_to_loopback(sources, env, layers);
    let given = given(sources, env, layers, problems, warnings);
    remote::apply(&given, layers, problems);
    env::apply(env, layers, problems, warnings);
    apply_flags(sources, layers, problems);
    Ok((files, given))
}

/// The files that are read: those that were named, or the first of the usual ones that exists.
pub(super) fn files_of(sources: &Sources) -> Vec<PathBuf> {
    if !sources.files.is_empty() {
        return sources.files.clone();
    }
    let usual = sources.default_files.iter().find(|file| file.exists());
    usual.cloned().into_iter().collect()
}

/// What `vault.secrets` puts into the environment. The environment and flags have a say in that list too, so it is read
/// from layers that were tried out.
fn given(
    sources: &Sources,
    env: &BTreeMap<String, String>,
    layers: &Layers,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Given {
    let mut trial = layers.clone();
    let (mut ignored, mut also) = (Vec::new(), Vec::new());
    env::apply(env, &mut trial, &mut ignored, &mut also);
    apply_flags(sources, &mut trial, &mut ignored);
    remote::given(&trial, env, problems, warnings)
}

/// Lays the files over each other.
fn read_files(
    sources: &Sources,
    env: &BTreeMap<String, String>,
    layers: &mut Layers,
    problems: &mut Vec<Problem>,
) -> Vec<PathBuf> {
    let files = files_of(sources);
    for file in &files {
        let named = Arc::new(file.clone());
        let whole = |message| Problem {
            path: String::new(),
            origin: Origin::File {
                file: Arc::clone(&named),
                line: 0,
                column: 0,
            },
            message,
        };
        let text = match std::fs::metadata(file).and_then(|about| {
            if about.len() > yaml::MAX_BYTES {
                Ok(None)
            } else {
                std::fs::read_to_string(file).map(Some)
            }
        }) {
            Ok(Some(text)) => text,
            Ok(None) => {
                problems.push(whole(format!(
                    "the file is larger than {} bytes",
                    yaml::MAX_BYTES
                )));
                continue;
            }
            Err(error) => {
                problems.push(whole(format!(
                    "the file cannot be read: {error}; check the path and its permissions"
                )));
                continue;
            }
        };
        take_in(&named, &text, env, layers, problems);
    }
    files
}

fn take_in(
    file: &Arc<PathBuf>,
    text: &str,
    env: &BTreeMap<String, String>,
    layers: &mut Layers,
    problems: &mut Vec<Problem>,
) {
    match yaml::parse(file, text) {
        Ok(mut parsed) => {
            let root = KeyPath::root();
            substitute(
                &mut parsed.tree,
                &root,
                Some(Shape::root()),
                env,
                &parsed.origins,
                problems,
            );
            layers.merge(parsed.tree, &parsed.origins);
        }
        Err(found) => problems.extend(found),
    }
}

/// Reads and checks the text of one file, with neither environment nor flags; tells whether it is right.
pub(crate) fn is_right(text: &str) -> bool {
    let (mut problems, mut warnings, mut layers) = (Vec::new(), Vec::new(), Layers::new());
    let env = BTreeMap::new();
    take_in(&Arc::default(), text, &env, &mut layers, &mut problems);
    let (decoded, taken) = lookup::with(Lookup::default(), || {
        decode::decode(&mut layers, &mut problems)
    });
    let found = decoded.config.map(|config| {
        check::run(
            &config,
            &decoded.left_out,
            &layers.origins,
            &taken.needed,
            &mut warnings,
        )
    });
    problems.is_empty() && found.is_some_and(|found| found.is_empty())
}

/// Puts the environment's values in the place of `${NAME}`.
fn substitute(
    node: &mut Value,
    path: &KeyPath,
    shape: Option<Shape>,
    env: &BTreeMap<String, String>,
    origins: &Origins,
    problems: &mut Vec<Problem>,
) {
    match node {
        Value::String(text) => {
            let result = match placeholder(text) {
                Placeholder::None => return,
                Placeholder::Inside => Err(
                    "`${NAME}` may only be a whole value; put the whole text into the variable"
                        .to_owned(),
                ),
                // It may be a variable that `vault.secrets` fills, which is known once all layers are.
                Placeholder::Whole(name)
                    if shape.is_some_and(Shape::is_secret) && !env.contains_key(name) =>
                {
                    Ok(env::secret_source(name))
                }
                Placeholder::Whole(name) => match env.get(name) {
                    Some(found) => shape.map_or_else(
                        || Ok(Value::String(found.clone())),
                        |shape| env::read_value(shape, found),
                    ),
                    None => Err(format!(
                        "the environment variable {name} is not set; set it, or write the value"
                    )),
                },
            };
            match result {
                Ok(value) => *node = value,
                Err(message) => {
                    problems.push(Problem {
                        path: path.to_string(),
                        origin: origins.near(path),
                        message,
                    });
                }
            }
        }
        Value::Mapping(map) => {
            for (key, value) in map.iter_mut() {
                if let Some(key) = key.as_str() {
                    let shape = shape.and_then(|shape| shape.key(key));
                    substitute(value, &path.key(key), shape, env, origins, problems);
                }
            }
        }
        Value::Sequence(list) => {
            for (index, value) in list.iter_mut().enumerate() {
                let shape = shape.and_then(|shape| shape.child(&Segment::Index(index)));
                substitute(value, &path.index(index), shape, env, origins, problems);
            }
        }
        _ => {}
    }
}

enum Placeholder<'a> {
    None,
    Whole(&'a str),
    Inside,
}

fn placeholder(text: &str) -> Placeholder<'_> {
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let after = &rest[start + 2..];
        if let Some(end) = after.find('}')
            && end > 0
            && after[..end]
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_')
        {
            let whole = text.len() == end + 3;
            return if whole {
                Placeholder::Whole(&after[..end])
            } else {
                Placeholder::Inside
            };
        }
        rest = after;
    }
    Placeholder::None
}

fn apply_flags(sources: &Sources, layers: &mut Layers, problems: &mut Vec<Problem>) {
    if let Some(port) = sources.port {
        let origin = Origin::Flag("--port".to_owned());
        if let Err(message) = env::set_port(layers, port, &origin) {
            problems.push(Problem {
                path: "listen[0].address".to_owned(),
                origin,
                message,
            });
        }
    }
    let named = [
        ("--log-level", "logging.level", &sources.log_level),
        ("--public-url", "public_url", &sources.public_url),
    ];
    let named = named
        .into_iter()
        .filter_map(|(flag, key, text)| Some((flag.to_owned(), key, text.as_ref()?)));
    let set = sources
        .flags
        .iter()
        .map(|(key, text)| (format!("--set {key}"), key.as_str(), text));
    for (flag, key, text) in named.chain(set) {
        let origin = Origin::Flag(flag);
        let result = KeyPath::parse(key).and_then(|path| {
            let value = match Shape::at(&path) {
                Some(shape) => env::read_value(shape, text)?,
                // An unknown key is found, with a hint, when the whole is read.
                None => Value::String(text.clone()),
            };
            layers.set(&path, value, &origin)
        });
        if let Err(message) = result {
            problems.push(Problem {
                path: key.to_owned(),
                origin,
                message,
            });
        }
    }
}

/// `bypass` without a listener of its own binds the loopback interface: nobody asked for more.
fn bind_bypass_to_loopback(sources: &Sources, env: &BTreeMap<String, String>, layers: &mut Layers) {
    let mode = KeyPath::root().key("auth").key("mode");
    let asked = sources
        .flags
        .iter()
        .rev()
        .find_map(|(key, text)| (key == "auth.mode").then_some(text.as_str()))
        .or_else(|| env.get(&env::generated_name(&mode)).map(String::as_str))
        .or_else(|| env.get(env::AUTH_MODE).map(String::as_str))
        .or_else(|| layers.get(&mode).and_then(Value::as_str));
    let listen = KeyPath::root().key("listen");
    if asked == Some("bypass") && layers.get(&listen).is_none_or(Value::is_null) {
        let address = listen.index(0).key("address");
        let _ = layers.set(&listen, Value::Sequence(Vec::new()), &Origin::Default);
        let _ = layers.set(&address, Value::from("127.0.0.1:8080"), &Origin::Default);
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod examples;

#[cfg(test)]
mod mistakes;

#[cfg(test)]
mod environment;

#[cfg(test)]
mod remote_secrets;
