//! Who may ask what: tokens for addresses beyond this machine, hosts and origins against pages of other sites that talk
//! to this one (CSRF, DNS rebinding), and the headers that keep a browser strict.

use super::Shared;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, HeaderMap, HeaderValue, LOCATION, ORIGIN,
    REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::net::IpAddr;
use std::sync::Arc;

/// Every request to the program behind the pages must carry this header: other sites' forms and images cannot. Asking
/// for the next item changes something too: it is lent to who asks.
pub const OWN_HEADER: &str = "x-runner";
/// Where programs put the token.
pub const TOKEN_HEADER: &str = "x-token";
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Nobody,
    Labeler,
    Lead,
}

/// The tokens, if any are asked for.
#[derive(Debug, Clone)]
pub struct Tokens {
    pub lead: String,
    /// Follows from the lead's, and not the other way round.
    pub labeler: String,
}

impl Tokens {
    /// The lead's token, and the labelers' that follows from it.
    pub fn new(lead: String) -> Self {
        let labeler = blake3::derive_key("runner labels serve: labelers' token", lead.as_bytes());
        Self { lead, labeler: hex(&labeler[..16]) }
    }

    /// From the operating system's randomness.
    pub fn random() -> Result<Self, String> {
        let mut seed = [0; 32];
        read_random(&mut seed).map_err(|e| format!("no random numbers for a token: {e}"))?;
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        Ok(Self::new(hex(&bytes)))
    }

    fn role(&self, token: &str) -> Role {
        let (lead, labeler) = (same(token, &self.lead), same(token, &self.labeler));
        if lead {
            Role::Lead
        } else if labeler {
            Role::Labeler
        } else {
            Role::Nobody
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(unix)]
fn read_random(seed: &mut [u8]) -> std::io::Result<()> {
    use std::io::Read;
    std::fs::File::open("/dev/urandom")?.read_exact(seed)
}

/// Every `RandomState` is seeded by the operating system.
#[cfg(not(unix))]
fn read_random(seed: &mut [u8]) -> std::io::Result<()> {
    use std::hash::{BuildHasher, Hasher, RandomState};
    for part in seed.chunks_mut(8) {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u128(std::time::SystemTime::now().elapsed().map_or(0, |d| d.as_nanos()));
        part.copy_from_slice(&hasher.finish().to_le_bytes()[..part.len()]);
    }
    Ok(())
}

/// Comparison whose time says nothing about where two texts differ: of blake3 hashes, whose equality is constant-time.
fn same(a: &str, b: &str) -> bool {
    blake3::hash(a.as_bytes()) == blake3::hash(b.as_bytes())
}

/// The host of a `Host` header or an origin, without its port.
fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn text(headers: &HeaderMap, name: impl axum::http::header::AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    cookies.filter_map(|pair| pair.trim().split_once('=')).find(|(n, _)| *n == name).map(|(_, v)| v)
}

fn query_token(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("token="))
}

/// Why a request is refused whoever sends it.
fn foreign(method: &Method, path: &str, headers: &HeaderMap, has_tokens: bool) -> Option<&'static str> {
    // What a link or the address bar opens.
    let is_page = (*method == Method::GET || *method == Method::HEAD) && !path.starts_with("/api");
    let Some(host) = text(headers, HOST) else { return Some("the request has no Host") };
    // Without tokens the name in the address bar is all that tells our page from one that pretends to be it.
    if !has_tokens && !is_loopback(host_of(host)) {
        return Some("this server answers to localhost only");
    }
    if let Some(origin) = text(headers, ORIGIN) {
        let authority = origin.split_once("://").map_or(origin, |(_, rest)| rest);
        if !authority.eq_ignore_ascii_case(host) {
            return Some("the request comes from another site");
        }
    }
    if text(headers, "sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site") && !is_page {
        return Some("the request comes from another site");
    }
    if !is_page && !headers.contains_key(OWN_HEADER) {
        return Some("the header X-Runner is missing");
    }
    None
}

/// The least role for a path.
fn needs(path: &str) -> Role {
    match path {
        "/style.css" | "/page.js" | "/dashboard.js" | "/common.js" | "/favicon.svg" => Role::Nobody,
        path if path.starts_with("/dashboard") || path.starts_with("/api/lead") => Role::Lead,
        _ => Role::Labeler,
    }
}

/// Every request passes here.
pub async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (method, headers, uri) = (request.method().clone(), request.headers(), request.uri().clone());
    let person = method == Method::GET && text(headers, ACCEPT).is_some_and(|accept| accept.contains("text/html"));
    let mut response = match foreign(&method, uri.path(), headers, shared.tokens.is_some()) {
        Some(why) => refusal(StatusCode::FORBIDDEN, why, person),
        None => match &shared.tokens {
            None => next.run(request).await,
            Some(tokens) => {
                let name = format!("runner_labels_{}", shared.port);
                let given =
                    query_token(&uri).or_else(|| text(headers, TOKEN_HEADER)).or_else(|| cookie(headers, &name));
                let role = given.map_or(Role::Nobody, |token| tokens.role(token));
                match (role >= needs(uri.path()), query_token(&uri)) {
                    (false, _) => refusal(
                        StatusCode::UNAUTHORIZED,
                        "open the address with its token, as the server printed it; the dashboard has another token",
                        person,
                    ),
                    // The token leaves the address bar for a cookie that scripts cannot read.
                    (true, Some(token)) if method == Method::GET && !uri.path().starts_with("/api") => {
                        let cookie = format!("{name}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000");
                        redirect(uri.path(), &cookie)
                    }
                    (true, _) => next.run(request).await,
                }
            }
        },
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// For a person's browser a page, for programs JSON. `why` is our own text.
fn refusal(status: StatusCode, why: &str, person: bool) -> Response {
    if person {
        let page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Not open</title>\
             <link rel=\"stylesheet\" href=\"/style.css\"></head><body><main><section class=\"card narrow\">\
             <h1>This page is not open to you</h1><p>The server says: {why}.</p></section></main></body></html>\n"
        );
        return (status, axum::response::Html(page)).into_response();
    }
    (status, axum::Json(serde_json::json!({ "error": why }))).into_response()
}

fn redirect(path: &str, cookie: &str) -> Response {
    // Two slashes begin the address of another site.
    let path = &format!("/{}", path.trim_start_matches(['/', '\\']));
    let (Ok(path), Ok(cookie)) = (HeaderValue::from_str(path), HeaderValue::from_str(cookie)) else {
        return refusal(StatusCode::BAD_REQUEST, "the address is no address", true);
    };
    (StatusCode::SEE_OTHER, [(LOCATION, path), (SET_COOKIE, cookie)]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn the_labelers_token_opens_the_page_alone() {
        let tokens = Tokens::random().unwrap();
        assert_ne!(tokens.lead, Tokens::random().unwrap().lead);
        assert_eq!(tokens.role(&tokens.lead), Role::Lead);
        assert_eq!(tokens.role(&tokens.labeler), Role::Labeler);
        assert_eq!(tokens.role(""), Role::Nobody);
        assert!(needs("/dashboard") == Role::Lead && needs("/api/lead/labeler") == Role::Lead);
        assert!(needs("/") == Role::Labeler && needs("/api/answer") == Role::Labeler);
    }

    #[test]
    fn other_sites_are_refused() {
        let foreign =
            |method: &Method, headers: &HeaderMap, tokens| super::foreign(method, "/api/answer", headers, tokens);
        let own = [("host", "127.0.0.1:8080"), ("x-runner", "1")];
        assert_eq!(foreign(&Method::POST, &headers(&own), false), None);
        assert_eq!(super::foreign(&Method::GET, "/", &headers(&[("host", "[::1]:8080")]), false), None);
        let rebound = [("host", "evil.example:8080"), ("x-runner", "1")];
        assert!(foreign(&Method::POST, &headers(&rebound), false).is_some());
        let form = [("host", "localhost:8080")];
        assert!(foreign(&Method::POST, &headers(&form), false).is_some());
        let script = [("host", "localhost:8080"), ("x-runner", "1"), ("origin", "http://evil.example")];
        assert!(foreign(&Method::POST, &headers(&script), true).is_some());
        let page = [("host", "localhost:8080"), ("x-runner", "1"), ("origin", "http://localhost:8080")];
        assert_eq!(foreign(&Method::POST, &headers(&page), false), None);
    }

    #[test]
    fn an_image_of_another_site_takes_no_questions() {
        let of = |more: &[(&'static str, &'static str)]| {
            let all = [&[("host", "localhost:8080")], more].concat();
            super::foreign(&Method::GET, "/api/next", &headers(&all), false)
        };
        assert!(of(&[]).is_some() && of(&[("x-runner", "1"), ("sec-fetch-site", "cross-site")]).is_some());
        assert_eq!(of(&[("x-runner", "1"), ("sec-fetch-site", "same-origin")]), None);
        // A link on another page may lead to ours.
        let link = headers(&[("host", "localhost:8080"), ("sec-fetch-site", "cross-site")]);
        assert_eq!(super::foreign(&Method::GET, "/", &link, false), None);
    }

    #[test]
    fn a_redirect_stays_on_this_server() {
        for path in ["//evil.example/x", "/\\evil.example/x", "///evil.example/x"] {
            let response = redirect(path, "a=b");
            assert_eq!(response.headers().get(LOCATION).unwrap(), "/evil.example/x");
        }
        assert_eq!(redirect("/dashboard", "a=b").headers().get(LOCATION).unwrap(), "/dashboard");
    }
}
