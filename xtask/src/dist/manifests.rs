//! The Helm chart and the kustomizations, rendered and validated by `packaging/check_manifests.py`
//! with the field's own tools, which Python's registry has.
//!
//! Called by `dist --test`; `setup` installs the tools.

use crate::process::{output_of, root, run};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// Helm's engine, the schemas of Kubernetes, the models of the Prometheus operator; as pip lists them.
const TOOLS: &[&str] = &[
    "cloudcoil.models.prometheus_operator==0.80.1.0",
    "helm-python-sdk==0.2.2",
    "kubernetes-validate==1.37.0",
];

/// Where they are.
fn folder() -> PathBuf {
    root().join("target/manifest-tools")
}

/// Installs the tools, unless these versions are there.
pub(crate) fn install_tools() -> Result<Option<String>> {
    let folder = folder();
    let path = folder.to_string_lossy();
    let list = ["-m", "pip", "list", "--format", "freeze", "--path", &path];
    let installed = output_of("python3", &list).unwrap_or_default();
    if TOOLS
        .iter()
        .all(|tool| installed.lines().any(|it| it == *tool))
    {
        return Ok(None);
    }
    run(Command::new("python3")
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-cache-dir",
            // Nothing that this user has installed is touched.
            "--no-warn-conflicts",
            "--root-user-action=ignore",
            "--upgrade",
            "--target",
        ])
        .arg(&folder)
        .args(TOOLS))
    .context("cannot install what validates manifests")?;
    Ok(Some(format!("installed {}", TOOLS.join(", "))))
}

/// Whether chart and kustomizations are what Helm and Kubernetes take.
pub(super) fn are_valid() -> Result<bool> {
    let status = Command::new("python3")
        .arg(root().join("packaging/check_manifests.py"))
        .env("PYTHONPATH", folder())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .status()
        .context("cannot start python3")?;
    Ok(status.success())
}
