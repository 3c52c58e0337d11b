//! Paths of the web server's pages that are always the same.

/// Where health is answered, as Prometheus and as Kubernetes call it.
pub const HEALTHY: [&str; 2] = ["/-/healthy", "/healthz"];
/// Where readiness is answered.
pub const READY: [&str; 2] = ["/-/ready", "/readyz"];
/// Paths of all pages but the metrics.
pub const FIXED_PAGES: [&str; 5] = ["/", HEALTHY[0], HEALTHY[1], READY[0], READY[1]];
