//! A running server with a site of its own, certificates, and curl.

use hyper::StatusCode;
use hyper::body::Bytes;
use rstmon::web::{Page, PageRequest, Site, WebCounts, WebSettings, bind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// Body of `/metrics`.
pub(crate) fn metrics() -> String {
    "rstmon_resets_total 1\n".repeat(8_000)
}

struct TestSite;

impl Site for TestSite {
    async fn answer(&self, request: &PageRequest<'_>) -> Option<Page> {
        let body = match request.path {
            "/metrics" => metrics(),
            "/query" => format!("{:?}", request.query),
            "/huge" => "x".repeat(64 * 1024 * 1024),
            "/slow" => {
                tokio::time::sleep(Duration::from_secs(2)).await;
                "slow".to_owned()
            }
            _ => return None,
        };
        Some(Page {
            status: StatusCode::OK,
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            body: Bytes::from(body),
        })
    }
}

/// A server that ends when this is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
    counts: Box<dyn Fn() -> WebCounts>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Without a web configuration.
    pub(crate) fn plain(max_requests: usize) -> Self {
        Self::start(tempfile::tempdir().unwrap(), None, max_requests)
    }

    /// With this one, in a folder that has certificates: see [`write_certificates`].
    pub(crate) fn configured(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_certificates(folder.path(), "server");
        let file = folder.path().join("web.yml");
        std::fs::write(&file, text).unwrap();
        Self::start(folder, Some(file), 40)
    }

    fn start(folder: tempfile::TempDir, config_file: Option<PathBuf>, max_requests: usize) -> Self {
        let server = bind(&WebSettings {
            are_sockets_passed: false,
            listen_addresses: vec!["127.0.0.1:0".to_owned()],
            config_file,
            max_requests,
        })
        .unwrap();
        let address = server.addresses()[0];
        let counts = Box::new(server.counts());
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(server.serve(Arc::new(TestSite), async {
                // The sender dropped is a stop, too.
                let _ = stopped.await;
            }));
        });
        Self {
            address,
            folder,
            counts,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn counts(&self) -> WebCounts {
        (self.counts)()
    }

    /// Replaces the web configuration at once, as `mv` does.
    pub(crate) fn rewrite(&self, text: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.folder.path().join("web.yml")).unwrap();
    }

    /// Head and body of what curl gets at a path.
    pub(crate) fn curl(&self, path: &str, args: &[&str]) -> Curled {
        let url = format!("http://{}{path}", self.address);
        self.run_curl(&url, args)
    }

    /// The same over TLS, as the host `rstmon.test` of the test's authority.
    pub(crate) fn curl_tls(&self, path: &str, args: &[&str]) -> Curled {
        let port = self.address.port();
        let authority = self.folder.path().join("ca.crt");
        let address = format!("rstmon.test:{port}:{}", self.address.ip());
        let mut all = vec![
            "--cacert",
            authority.to_str().unwrap(),
            "--resolve",
            &address,
        ];
        all.extend(args);
        self.run_curl(&format!("https://rstmon.test:{port}{path}"), &all)
    }

    fn run_curl(&self, url: &str, args: &[&str]) -> Curled {
        let output = Command::new("curl")
            .args(["-sS", "-i", "--max-time", "20", "--noproxy", "*"])
            .args(args)
            .arg(url)
            .current_dir(self.folder.path())
            .output()
            .expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        Curled {
            exit: output.status.code().unwrap(),
            complaint: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: head.split(' ').nth(1).and_then(|it| it.parse().ok()),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.take();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// What curl got.
#[derive(Debug)]
pub(crate) struct Curled {
    pub(crate) exit: i32,
    /// What curl itself says, shown where a test fails.
    pub(crate) complaint: String,
    pub(crate) status: Option<u16>,
    /// Status line and headers, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Writes an authority `ca.crt`, a server's `{name}.crt` and `.key` of the host `rstmon.test`, a
/// client's `client.crt` and `.key` with the names `prometheus.test` and 192.0.2.7.
pub(crate) fn write_certificates(folder: &Path, name: &str) {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    // A certificate with its issuer's name would pass for self-signed.
    let named = |certificate: &mut CertificateParams, name: &str| {
        certificate
            .distinguished_name
            .push(DnType::CommonName, name);
    };
    named(&mut authority, "authority.test");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(
        folder.join("ca.crt"),
        authority.self_signed(&key).unwrap().pem(),
    )
    .unwrap();
    let issuer = Issuer::new(authority, key);
    for (file, names) in [
        (name, &["rstmon.test"][..]),
        ("client", &["prometheus.test", "192.0.2.7"]),
    ] {
        let key = KeyPair::generate().unwrap();
        let mut certificate =
            CertificateParams::new(names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>())
                .unwrap();
        named(&mut certificate, names[0]);
        let certificate = certificate.signed_by(&key, &issuer).unwrap();
        let at = |end: &str| folder.join(format!("{file}.{end}"));
        std::fs::write(at("crt.new"), certificate.pem()).unwrap();
        std::fs::write(at("key"), key.serialize_pem()).unwrap();
        std::fs::rename(at("crt.new"), at("crt")).unwrap();
    }
}
