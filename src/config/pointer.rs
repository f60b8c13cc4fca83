//! Paths into arguments: JSON pointers (RFC 6901) when they begin with `/`, else names with dots between.

/// Deepest place that a path may name.
const MAX_DEPTH: usize = 16;

/// The steps of a path.
///
/// # Errors
/// For empty names between dots, escapes that RFC 6901 does not know, and paths that are too deep.
pub fn segments(path: &str) -> Result<Vec<Box<str>>, String> {
    let steps: Vec<Box<str>> = match path.strip_prefix('/') {
        Some(rest) => rest.split('/').map(unescaped).collect::<Result<_, _>>()?,
        None if path.split('.').any(str::is_empty) => {
            return Err(format!(
                "`{path}` has an empty name; write names with dots between, as in options.mode, or a JSON pointer that begins with /"
            ));
        }
        None => path.split('.').map(Box::from).collect(),
    };
    if steps.len() > MAX_DEPTH {
        return Err(format!("`{path}` is deeper than {MAX_DEPTH} steps"));
    }
    Ok(steps)
}

fn unescaped(step: &str) -> Result<Box<str>, String> {
    let mut out = String::with_capacity(step.len());
    let mut rest = step.chars();
    while let Some(c) = rest.next() {
        out.push(match c {
            '~' => match rest.next() {
                Some('0') => '~',
                Some('1') => '/',
                _ => {
                    return Err(format!(
                        "`{step}` has a `~` that is no escape; write ~0 for ~ and ~1 for /"
                    ));
                }
            },
            c => c,
        });
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        for (path, steps) in [
            ("mode", &["mode"][..]),
            ("a.b.0", &["a", "b", "0"]),
            ("/a.b/c~1d/~0e", &["a.b", "c/d", "~e"]),
            ("/", &[""]),
        ] {
            let read = segments(path).unwrap();
            assert_eq!(
                read.iter().map(|step| &**step).collect::<Vec<_>>(),
                steps,
                "{path}"
            );
        }
        for wrong in ["", ".", "a..b", "a.", "/~2", "/a~", &"/a".repeat(17)] {
            assert!(segments(wrong).is_err(), "{wrong}");
        }
    }
}
