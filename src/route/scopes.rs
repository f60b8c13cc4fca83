//! The scopes that a route speaks of.

use crate::config::route::Route;

/// The scopes that everybody on a route needs, and those that its rules ask for besides. Of several ways to meet the
/// route's own `allow` the first is needed by all.
pub(super) fn of(route: &Route) -> (Vec<String>, Vec<String>) {
    let mut needed = route.scopes.clone();
    let mut more: Vec<String> = Vec::new();
    let ways = route.allow.iter().flat_map(|allow| &allow.scopes);
    for (at, way) in ways.enumerate() {
        for scope in way.split(' ') {
            let list = if at == 0 { &mut needed } else { &mut more };
            if !list.iter().any(|each| each == scope) {
                list.push(scope.to_owned());
            }
        }
    }
    let lists = [
        &route.tools,
        &route.prompts,
        &route.resources,
        &route.methods,
    ];
    let allows = lists
        .into_iter()
        .flatten()
        .filter_map(|rule| rule.allow.as_ref());
    for scope in allows
        .flat_map(|allow| &allow.scopes)
        .flat_map(|way| way.split(' '))
    {
        if !more.iter().any(|each| each == scope) {
            more.push(scope.to_owned());
        }
    }
    more.retain(|scope| !needed.contains(scope));
    (needed, more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_need_and_what_only_some_need() {
        let route: Route = serde_json::from_value(serde_json::json!({
            "path": "/x", "backend": "b", "scopes": ["use"],
            "allow": {"scopes": ["in also", "other"]},
            "tools": [{"match": "a", "allow": {"scopes": ["write", "use write:one"]}}],
            "methods": [{"match": "m", "allow": {"scopes": ["write"]}}],
        }))
        .unwrap();
        let (needed, more) = of(&route);
        assert_eq!(needed, ["use", "in", "also"]);
        assert_eq!(more, ["other", "write", "write:one"]);
    }
}
