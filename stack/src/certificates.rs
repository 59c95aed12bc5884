//! Certificates for tests of TLS, good and bad ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use tempfile::TempDir;

/// Two authorities, `ca` and `other`, and what `ca` has signed. The files are gone when this is
/// dropped.
pub struct Certificates {
    files: TempDir,
}

impl Certificates {
    /// # Errors
    /// Among others, a machine without `openssl`.
    pub fn new() -> anyhow::Result<Self> {
        let certificates = Self { files: TempDir::new()? };
        for authority in ["ca", "other"] {
            let (key, certificate) = (format!("{authority}.key"), format!("{authority}.crt"));
            let of_its_own = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj"];
            let name = format!("/CN={authority}");
            certificates.openssl(&[&of_its_own[..], &[&name, "-keyout", &key, "-out", &certificate]].concat())?;
        }
        Ok(certificates)
    }

    /// A key and a certificate for it, both in PEM, signed by `ca` for what `of` says, such as
    /// `IP:127.0.0.1`, and so many days.
    ///
    /// # Errors
    /// What `openssl` says.
    pub fn signed(&self, name: &str, of: &str, days: &str) -> anyhow::Result<(String, String)> {
        let [key, request, certificate, extension] = ["key", "csr", "crt", "ext"].map(|kind| format!("{name}.{kind}"));
        fs::write(self.path(&extension), format!("subjectAltName={of}\n"))?;
        let subject = format!("/CN={name}");
        self.openssl(&["req", "-newkey", "rsa:2048", "-nodes", "-subj", &subject, "-keyout", &key, "-out", &request])?;
        let signed = ["x509", "-req", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", days];
        self.openssl(&[&signed[..], &["-in", &request, "-out", &certificate, "-extfile", &extension]].concat())?;
        Ok((fs::read_to_string(self.path(&key))?, fs::read_to_string(self.path(&certificate))?))
    }

    /// The certificate of an authority.
    pub fn authority(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.crt"))
    }

    /// Where other files may be put beside them.
    pub fn directory(&self) -> &Path {
        self.files.path()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.files.path().join(file)
    }

    fn openssl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let output = Command::new("openssl").args(arguments).current_dir(&self.files).output();
        let output = output.context("there is no openssl to make certificates with")?;
        ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }
}
