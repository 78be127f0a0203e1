use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::config::{Config, FILE};
use super::database;
use crate::cli::failure::Failure;
use crate::cli::secret_output::create_private;

#[derive(Args, Debug)]
pub(super) struct Init {
    /// What keys begin with, such as `acme_`; `key_`, if it is not given
    #[arg(long)]
    prefix: Option<String>,
    /// The database: `sqlite:keys.db`, `postgres://user@host/name`; `sqlite:api-keys.db`, if neither this nor DATABASE_URL is
    /// given. A URL with a password goes into DATABASE_URL, which is not written to the file
    #[arg(long, value_name = "URL")]
    database: Option<String>,
}

impl Init {
    /// Leaves a file and tables that exist as they are.
    pub(super) async fn run(self, path: Option<PathBuf>) -> Result<ExitCode, Failure> {
        let path = path.unwrap_or_else(|| FILE.into());
        if let Some(database) = &self.database {
            check(database, &path)?;
        }
        if path.exists() {
            self.check_prefix(&path)?;
        }
        Config::check_format(&self.file())?;
        let say = |text: String| writeln!(std::io::stdout(), "{text}");
        match create_private(&path) {
            Ok(mut file) => {
                file.write_all(self.file().as_bytes())?;
                say(format!("{} is written.", path.display()))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                say(format!("{} exists, and is left as it is.", path.display()))?;
            }
            Err(error) => return Err(Failure::failed(format!("{}: {error}", path.display()))),
        }
        let config = Config::read(Some(path))?;
        database::migrate(&config.database()?).await?;
        say("The database has its tables. Next: api-keys create NAME --organization ID --scope SCOPE"
            .to_owned())?;
        Ok(ExitCode::SUCCESS)
    }

    fn check_prefix(&self, path: &Path) -> Result<(), Failure> {
        let Some(prefix) = &self.prefix else { return Ok(()) };
        match Config::read(Some(path.to_owned()))?.prefix() {
            Some(named) if named == prefix => Ok(()),
            _ => Err(Failure::usage(format!("{} is there, and has another prefix.", path.display()))
                .next("Change the file, or leave out `--prefix`.")),
        }
    }

    fn file(&self) -> String {
        // A string of JSON is one of TOML.
        let quoted = |text: &str| serde_json::json!(text).to_string();
        let is_set = std::env::var_os("DATABASE_URL").is_some();
        let database = if is_set {
            "# database = …: DATABASE_URL has it".to_owned()
        } else {
            format!("database = {}", quoted(self.database.as_deref().unwrap_or("sqlite:api-keys.db")))
        };
        format!(
            "{database}\n\n[format]\nprefix = {}\ntest_mark = \"test_\"\nlive_mark = \"live_\"\n\
             public_id = {{ length = 16, separator = \".\" }}\nchecksum = true\n",
            quoted(self.prefix.as_deref().unwrap_or("key_"))
        )
    }
}

/// The option must not contradict what goes before it. No URL is repeated: it may have a password.
fn check(database: &str, path: &Path) -> Result<(), Failure> {
    if has_password(database) {
        return Err(Failure::usage(
            "A password is not an argument: it is in the history of your shell and in the list of processes now.",
        )
        .next("Change it. Then set DATABASE_URL to the URL, and leave out `--database`."));
    }
    if std::env::var_os("DATABASE_URL").is_some_and(|url| url != database) {
        return Err(Failure::usage(
            "DATABASE_URL names another database than `--database`, and goes before it.",
        )
        .next("Give one of them."));
    }
    if path.exists() && Config::read(Some(path.to_owned()))?.names().is_some_and(|named| named != database) {
        return Err(Failure::usage(format!("{} names another database than `--database`.", path.display()))
            .next("Change the file, or leave out `--database`."));
    }
    Ok(())
}

fn has_password(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    place.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
        || query.split('&').any(|field| field.starts_with("password="))
}
