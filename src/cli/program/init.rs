use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::config::{Config, FILE};
use super::database;
use crate::cli::failure::Failure;
use crate::cli::secret_output::create_private;

#[derive(Args, Debug)]
pub(super) struct Init {
    /// What keys begin with, such as `acme_`
    #[arg(long, default_value = "key_")]
    prefix: String,
    /// The database: `sqlite:keys.db`, `postgres://user@host/name`; not written to the file where DATABASE_URL is set
    #[arg(long, value_name = "URL", default_value = "sqlite:api-keys.db")]
    database: String,
}

impl Init {
    /// Leaves a file and tables that exist as they are.
    pub(super) async fn run(self, path: Option<PathBuf>) -> Result<ExitCode, Failure> {
        let path = path.unwrap_or_else(|| FILE.into());
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

    fn file(&self) -> String {
        // A string of JSON is one of TOML.
        let quoted = |text: &str| serde_json::json!(text).to_string();
        let is_set = std::env::var_os("DATABASE_URL").is_some();
        let database = if is_set {
            "# database = …: DATABASE_URL has it".to_owned()
        } else {
            format!("database = {}", quoted(&self.database))
        };
        format!(
            "{database}\n\n[format]\nprefix = {}\ntest_mark = \"test_\"\nlive_mark = \"live_\"\n\
             public_id = {{ length = 16, separator = \".\" }}\nchecksum = true\n",
            quoted(&self.prefix)
        )
    }
}
