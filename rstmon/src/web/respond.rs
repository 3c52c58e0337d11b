//! From a request to a response: who may ask, what may be asked, and how the page is sent.

use super::body::{PageBody, UnderWay};
use super::crowd::Stage;
use super::passwords::{PasswordGate, Verdict};
use super::reload::{ActiveConfig, LiveConfig};
use super::{Counters, Page, PageRequest, Site};
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue,
    RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

/// How long a request may take, from its head to the last piece of the page that the client takes.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// Pages below it are not worth compressing.
const MIN_COMPRESSED: usize = 1024;

/// Answers the requests of all connections.
pub(super) struct Responder<S> {
    pub(super) site: Arc<S>,
    pub(super) config: LiveConfig,
    pub(super) counters: Arc<Counters>,
    pub(super) gate: PasswordGate,
    /// Those that may be answered at a time.
    pub(super) requests: Arc<Semaphore>,
}

/// A response that is not a page of the site.
struct Refusal {
    status: StatusCode,
    text: &'static str,
    header: Option<(HeaderName, &'static str)>,
}

impl<S: Site> Responder<S> {
    /// The response to a request of a client at `peer`, whose connection is at `stage`.
    pub(super) async fn respond(
        &self,
        request: Request<Incoming>,
        peer: IpAddr,
        stage: &Arc<watch::Sender<Stage>>,
    ) -> Response<PageBody> {
        let mut under_way = UnderWay::begin(stage, Instant::now() + REQUEST_TIME);
        let config = self.config.current();
        let answer = self.answer(&request, peer, &config, &mut under_way).await;
        let mut response = match answer {
            Ok(page) => send(page, request.headers(), under_way),
            Err(refusal) => refuse(&refusal, under_way),
        };
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        for (name, value) in &config.headers {
            headers.insert(name, value.clone());
        }
        let code = response.status().as_u16();
        self.counters
            .update(|counts| *counts.requests.entry(code).or_default() += 1);
        response
    }

    async fn answer(
        &self,
        request: &Request<Incoming>,
        peer: IpAddr,
        config: &ActiveConfig,
        under_way: &mut UnderWay,
    ) -> Result<Page, Refusal> {
        // First of all, so that who may not ask learns nothing; and before a place is taken, so that
        // who only guesses passwords takes none.
        match self
            .gate
            .admit(&config.users, request.headers(), peer)
            .await
        {
            Verdict::Allowed => {}
            Verdict::Wrong => return Err(Refusal::WRONG_PASSWORD),
            Verdict::Crowded => return Err(Refusal::CROWDED_GATE),
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Refusal::METHOD);
        }
        if !request.body().is_end_stream() {
            return Err(Refusal::BODY);
        }
        let permit = Arc::clone(&self.requests).try_acquire_owned();
        under_way.permit = Some(permit.map_err(|_| Refusal::TOO_MANY)?);
        let counts = self.counters.snapshot();
        let request = PageRequest {
            path: request.uri().path(),
            query: request.uri().query(),
            counts: &counts,
        };
        let page = self.site.answer(&request).await;
        page.ok_or(Refusal::NO_PAGE)
    }
}

impl Refusal {
    const WRONG_PASSWORD: Self = Self {
        status: StatusCode::UNAUTHORIZED,
        text: "user and password are asked for\n",
        header: Some((
            WWW_AUTHENTICATE,
            "Basic realm=\"rstmon\", charset=\"UTF-8\"",
        )),
    };
    const CROWDED_GATE: Self = Self {
        status: StatusCode::TOO_MANY_REQUESTS,
        text: "too many passwords are being checked\n",
        header: Some((RETRY_AFTER, "5")),
    };
    const METHOD: Self = Self {
        status: StatusCode::METHOD_NOT_ALLOWED,
        text: "only GET and HEAD\n",
        header: Some((ALLOW, "GET, HEAD")),
    };
    const BODY: Self = Self {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        text: "a request has no body here\n",
        // What follows is not read.
        header: Some((CONNECTION, "close")),
    };
    const TOO_MANY: Self = Self {
        status: StatusCode::SERVICE_UNAVAILABLE,
        text: "too many requests at a time (--web.max-requests)\n",
        header: Some((RETRY_AFTER, "5")),
    };
    const NO_PAGE: Self = Self {
        status: StatusCode::NOT_FOUND,
        text: "no such page\n",
        header: None,
    };
}

fn refuse(refusal: &Refusal, under_way: UnderWay) -> Response<PageBody> {
    let text = Bytes::from_static(refusal.text.as_bytes());
    let mut response = Response::new(PageBody::new(text, under_way));
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    if let Some((name, value)) = &refusal.header {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn send(page: Page, asked: &HeaderMap, under_way: UnderWay) -> Response<PageBody> {
    let is_worth_it = page.body.len() >= MIN_COMPRESSED && accepts_gzip(asked);
    let compressed = is_worth_it.then(|| gzip(&page.body)).flatten();
    let is_compressed = compressed.is_some();
    let body = compressed.unwrap_or(page.body);
    let mut response = Response::new(PageBody::new(body, under_way));
    *response.status_mut() = page.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if is_compressed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn gzip(page: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing to memory does not fail.
    encoder.write_all(page).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// Whether a compressed answer is taken (RFC 9110, 12.5.3): `gzip` by name, else `*`, unless its weight
/// is 0.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter();
    let mut by_star = false;
    for coding in values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
    {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weights = parts.filter_map(|it| it.strip_prefix("q=").or(it.strip_prefix("Q=")));
        let is_taken = !weights
            .filter_map(|it| it.trim().parse::<f32>().ok())
            .any(|it| it <= 0.0);
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            return is_taken;
        }
        by_star |= name == "*" && is_taken;
    }
    by_star
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        let table = [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000, *", false),
            ("*, gzip;q=0", false),
            ("*;q=0", false),
            ("identity", false),
            ("", false),
            (";;,,q=", false),
        ];
        for (value, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(accepts_gzip(&headers), expected, "{value:?}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
