//! Microsoft Entra ID. `resource` is refused; multi-tenant documents name a template for an issuer; access tokens of older
//! applications come from `sts.windows.net`; people in many groups get a link instead of a list.

use serde_json::{Map, Value};
use url::Url;

use super::{Issuers, Offline, Profile, generic};
use crate::config::oidc::{Kind, Userinfo};
use crate::oidc::metadata::TENANT_TEMPLATE as TEMPLATE;

pub(super) static PROFILE: Profile = Profile {
    kind: Kind::Entra,
    document,
    issuers: Issuers::Tenants,
    refuses: &["resource"],
    offline: Offline::Always,
    // What Graph's userinfo says is in the ID token too, and it takes only tokens that are for Graph.
    userinfo: Userinfo::Never,
    mend: groups,
    audience,
    ..generic::PROFILE
};

/// Where people sign in, in each cloud, and the issuer of older tokens.
pub(super) const HOSTS: [&str; 5] = [
    "login.microsoftonline.com",
    "login.microsoftonline.us",
    "login.partner.microsoftonline.cn",
    "login.chinacloudapi.cn",
    OLD_HOST,
];

const OLD_HOST: &str = "sts.windows.net";

/// The claim that tells rules and people that groups are missing.
const OVERAGE: &str = "groups_overage";

/// The v2.0 document, also for the older issuer and for a tenant's address without `/v2.0`.
fn document(issuer: &Url) -> Option<String> {
    let host = issuer.host_str()?;
    let mut segments = issuer
        .path_segments()?
        .filter(|segment| !segment.is_empty());
    let (tenant, more) = (segments.next()?, segments.next());
    if !HOSTS.contains(&host) || more.is_some() {
        return None;
    }
    let host = if host == OLD_HOST { HOSTS[0] } else { host };
    Some(format!(
        "https://{host}/{tenant}/v2.0/.well-known/openid-configuration"
    ))
}

/// Whether a document that names `found` is the one of a configured issuer: a tenant may be configured by its domain, and
/// `common` and `organizations` have a template.
pub(super) fn is_document_of(configured: &str, found: &str) -> bool {
    let parts = |url: &str| {
        let url = Url::parse(&url.replace(TEMPLATE, "template")).ok()?;
        let path: Vec<String> = url
            .path_segments()?
            .filter(|segment| !segment.is_empty())
            .map(str::to_owned)
            .collect();
        let old = url.host_str() == Some(OLD_HOST);
        let origin = if old {
            format!("https://{}", HOSTS[0])
        } else {
            url.origin().ascii_serialization()
        };
        Some((origin, path))
    };
    let (Some((wanted, wanted_path)), Some((origin, path))) = (parts(configured), parts(found))
    else {
        return false;
    };
    let (Some(asked), [tenant, version]) = (wanted_path.first(), path.as_slice()) else {
        return false;
    };
    let fits = match asked.as_str() {
        "common" | "organizations" => tenant == "template",
        asked if is_tenant(asked) => tenant.eq_ignore_ascii_case(asked),
        _ => is_tenant(tenant),
    };
    wanted == origin && version == "v2.0" && fits
}

/// Whether an `iss` is one of a document's tenants, or the older name of its one tenant.
pub(super) fn is_same(issuer: &str, iss: &str) -> bool {
    match tenant_by(issuer, iss) {
        Some(tenant) => is_tenant(tenant),
        None => old_tenant(iss).is_some_and(|tenant| {
            tenant_of(issuer).is_some_and(|own| own == TEMPLATE || own == tenant)
        }),
    }
}

/// The v2.0 issuer of the tenant.
pub(super) fn canonical(issuer: &str, iss: &str) -> String {
    match tenant_by(issuer, iss).or_else(|| old_tenant(iss)) {
        Some(tenant) => issuer.replace(TEMPLATE, tenant),
        None => issuer.to_owned(),
    }
}

/// What stands in an `iss` where the document's issuer has its placeholder.
fn tenant_by<'a>(issuer: &str, iss: &'a str) -> Option<&'a str> {
    let (before, after) = issuer.split_once(TEMPLATE)?;
    iss.strip_prefix(before)?.strip_suffix(after)
}

fn old_tenant(iss: &str) -> Option<&str> {
    let tenant = iss.strip_prefix("https://sts.windows.net/")?;
    Some(tenant.strip_suffix('/').unwrap_or(tenant)).filter(|tenant| is_tenant(tenant))
}

/// The tenant in `https://host/<tenant>/v2.0`.
fn tenant_of(issuer: &str) -> Option<&str> {
    issuer.strip_suffix("/v2.0")?.rsplit('/').next()
}

/// Whether a text is a tenant's id, a GUID: nothing else may stand in for the placeholder.
fn is_tenant(text: &str) -> bool {
    let groups = text.split('-').map(str::len);
    groups.eq([8, 4, 4, 4, 12]) && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

/// Above 200 groups the token has a place to ask at instead (`_claim_names`, `hasgroups`). Nobody has those groups here:
/// that is said, in a claim and in the log.
fn groups(claims: &mut Map<String, Value>) {
    let elsewhere = claims
        .get("_claim_names")
        .and_then(|names| names.get("groups"))
        .is_some()
        || claims
            .get("hasgroups")
            .is_some_and(|has| has == true || has == "true");
    if elsewhere && !claims.contains_key("groups") {
        tracing::warn!(
            "a person is in more groups than Entra ID writes into a token, so none of them count here; let the token hold \"groups assigned to the application\", or use app roles (`claims.groups: [roles]`)"
        );
        claims.insert(OVERAGE.to_owned(), Value::Bool(true));
    }
}

/// v1.0 access tokens name the application by its `api://` address, v2.0 ones by its bare id.
fn audience(configured: &str) -> Option<String> {
    match configured.strip_prefix("api://") {
        Some(id) => is_tenant(id).then(|| id.to_owned()),
        None => is_tenant(configured).then(|| format!("api://{configured}")),
    }
}
