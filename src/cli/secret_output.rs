use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use super::session::Session;
use crate::manage::{CreatedKey, json};

/// Where a new secret goes.
#[derive(Args, Clone, Debug)]
pub(super) struct SecretOptions {
    /// Writes the secret to a new file that only its user can read; one that exists is not overwritten
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Writes the secret as `NAME=secret`, for a file of environment variables
    #[arg(long, value_name = "NAME", value_parser = variable)]
    env: Option<String>,
}

/// The place for a secret, opened before there is one: a secret that can't be written would be lost.
pub(super) struct SecretOutput {
    file: Option<(PathBuf, File)>,
    env: Option<String>,
}

impl SecretOptions {
    pub(super) fn open(self) -> Result<SecretOutput, Failure> {
        let open = |path: PathBuf| match create_private(&path) {
            Ok(file) => Ok((path, file)),
            Err(error) => {
                Err(Failure::failed(format!("{}: {error}", path.display())).next(match error.kind() {
                    std::io::ErrorKind::AlreadyExists => {
                        "Nothing was changed. Give the name of a file that does not exist."
                    }
                    _ => "Nothing was changed. Give the name of a file that can be made.",
                }))
            }
        };
        if self.secret_file.is_none() && is_nowhere() {
            return Err(Failure::usage("Standard output goes nowhere: the secret would be lost.")
                .next("Nothing was changed. Give `--secret-file FILE`."));
        }
        Ok(SecretOutput { file: self.secret_file.map(open).transpose()?, env: self.env })
    }
}

/// Whether standard output is closed, in place of which a program in Rust has the null device, or is that device.
fn is_nowhere() -> bool {
    std::fs::canonicalize("/dev/stdout").is_ok_and(|path| path.as_os_str() == "/dev/null")
}

/// A new file that only its user can read.
pub(super) fn create_private(path: &std::path::Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl SecretOutput {
    /// Removes the file again if there is no secret to write.
    pub(super) fn or_undo<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        if let (Err(_), Some((path, _))) = (&result, &self.file) {
            let _ = std::fs::remove_file(path);
        }
        result
    }

    pub(super) fn write(self, session: &Session<'_>, created: &CreatedKey) -> Result<(), Failure> {
        let secret = created.secret.expose_secret();
        let name = self.env.iter().flat_map(|name| [name, "="]);
        let line: zeroize::Zeroizing<String> = zeroize::Zeroizing::new(name.chain([secret, "\n"]).collect());
        // The key is made, whatever becomes of its secret.
        let lost = |error: std::io::Error| {
            let id = &created.key.id;
            Failure::failed(format!("The secret of the key {id} could not be written: {error}."))
                .next(format!("The key has it for all that, and it is lost. `rotate {id}` makes another."))
        };
        if let Some((path, mut file)) = self.file {
            if let Err(error) = file.write_all(line.as_bytes()).and_then(|()| file.sync_all()) {
                let _ = std::fs::remove_file(path);
                return Err(lost(error));
            }
            session.say(&format!("The secret is in {}.", path.display()));
            if session.json {
                session.print(&serde_json::json!(created.key).to_string())?;
            }
            return Ok(());
        }
        if session.json {
            session.print(&json::created(created).to_string()).map_err(lost)
        } else {
            session.print(line.trim_end()).map_err(lost)
        }
    }
}

fn variable(text: &str) -> Result<String, &'static str> {
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    match text.starts_with(|first: char| !first.is_ascii_digit()) && text.chars().all(is_name) {
        true => Ok(text.to_owned()),
        false => Err("the name of a variable is letters, digits and _"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyFormat;
    use crate::manage::KeyManager;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn a_secret_that_can_not_be_written_leaves_no_file_and_names_its_key() {
        let path = std::env::temp_dir().join(format!("api-keys-secret-{}", std::process::id()));
        File::create(&path).unwrap();
        let manager = KeyManager::new(MemoryStore::new(), KeyFormat::new("acme_").unwrap());
        let created = manager.create_for("org_1", crate::NewKey::new("Ours")).await.unwrap();
        let session = Session::of(&manager);
        let read_only = File::open(&path).unwrap();
        let output = SecretOutput { file: Some((path.clone(), read_only)), env: None };
        let failure = output.write(&session, &created).unwrap_err();
        assert!(!path.exists());
        assert!(failure.text(false).contains(&format!("`rotate {}`", created.key.id)));
        assert!(!failure.text(false).contains(created.secret.expose_secret()));
    }
}
