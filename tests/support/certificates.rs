//! Certificate authorities of the tests' own, made with `openssl`.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs};

/// An authority with its files in a temporary directory, which is removed when dropped.
pub struct Authority {
    directory: PathBuf,
}

/// A certificate and its key, in PEM.
pub struct Certificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = env::temp_dir().join(format!("tower-api-keys-authority-{}-{number}", process::id()));
        fs::create_dir_all(&directory).expect("the temporary directory can be written");
        // Without what a distribution adds to every certificate.
        fs::write(directory.join("configuration"), "[req]\ndistinguished_name = name\n[name]\n")
            .expect("the directory can be written");
        let authority = Self { directory };
        authority.request("authority", &["-addext", "basicConstraints=critical,CA:TRUE"]);
        authority
    }

    /// The certificate that those who trust this authority are given.
    pub fn certificate(&self) -> PathBuf {
        self.directory.join("authority.pem")
    }

    /// A certificate for the host `name`.
    pub fn issue(&self, name: &str) -> Certificate {
        let (issuer, key) = (self.certificate(), self.directory.join("authority.key"));
        let name_field = format!("subjectAltName=DNS:{name}");
        self.request(
            name,
            &[
                "-CA",
                text(&issuer),
                "-CAkey",
                text(&key),
                "-addext",
                &name_field,
                "-addext",
                "basicConstraints=CA:FALSE",
            ],
        );
        let file = |extension| self.directory.join(format!("{name}.{extension}"));
        Certificate { certificate: file("pem"), key: file("key") }
    }

    fn request(&self, name: &str, options: &[&str]) {
        let mut command = Command::new("openssl");
        command
            .current_dir(&self.directory)
            .args(["req", "-x509", "-config", "configuration", "-subj", &format!("/CN={name}"), "-days", "2"])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
            .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")])
            .args(options);
        let output =
            command.output().expect("these tests need the program openssl: install the package of that name");
        assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("the temporary directory's name is a text")
}
