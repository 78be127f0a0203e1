//! `api-keys.toml` and the environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::database;
use crate::cli::failure::{Failure, chain};
use crate::cli::times;
use crate::key::{KeyFormatBuilder, Peppers, SecretString};
use crate::scope::{Scope, ScopeSet};
use crate::store::{KeyAdministration, MemoryStore};
use crate::{ApiKeys, KeyFormat};

pub(super) const FILE: &str = "api-keys.toml";

/// The file. `configuration.md` beside this says what each field is for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    database: Option<String>,
    peppers_file: Option<PathBuf>,
    #[serde(default)]
    accept_unpeppered: bool,
    #[serde(default)]
    grantable_scopes: Vec<Scope>,
    max_lifetime: Option<String>,
    max_keys: Option<u64>,
    format: Option<Format>,
    #[serde(default)]
    also_accept: Vec<Format>,
    /// The directory of the file, which the paths in it start from.
    #[serde(skip)]
    directory: PathBuf,
}

/// A [`KeyFormat`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Format {
    #[serde(default)]
    prefix: String,
    test_mark: Option<String>,
    live_mark: Option<String>,
    #[serde(default)]
    marks_are_optional: bool,
    public_id: Option<PublicId>,
    secret_length: Option<usize>,
    secret_lengths: Option<[usize; 2]>,
    other_characters: Option<String>,
    #[serde(default)]
    checksum: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublicId {
    length: usize,
    separator: Option<char>,
}

impl Config {
    /// The file at `path`; without one, [`FILE`] if there is one, or else what the environment says.
    pub(super) fn read(path: Option<PathBuf>) -> Result<Self, Failure> {
        let (path, is_named) = path.map_or((FILE.into(), false), |path| (path, true));
        let fault = |error: String| {
            Failure::usage(format!("{}: {error}", path.display()))
                .next("`api-keys init` writes a file to start from.")
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_named => {
                return Ok(Self::default());
            }
            Err(error) => return Err(fault(error.to_string())),
        };
        let mut config: Self = toml::from_str(&text)
            .map_err(|error| fault(error.message().to_owned() + &place(&text, &error)))?;
        config.directory = path.parent().map_or_else(PathBuf::new, Path::to_owned);
        Ok(config)
    }

    /// Whether the format of keys in the text of a file is one, with a prefix by which keys can be found.
    pub(super) fn check_format(text: &str) -> Result<(), Failure> {
        let config: Self = toml::from_str(text).map_err(|error| Failure::failed(error.to_string()))?;
        let Some(format) = config.format else { return Ok(()) };
        if format.prefix.is_empty() {
            return Err(Failure::usage("The prefix is empty.")
                .next("Give one that tells your keys from others, such as `acme_`."));
        }
        format.build("--prefix").map(drop)
    }

    /// The database that the file names.
    pub(super) fn names(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// What new keys begin with.
    pub(super) fn prefix(&self) -> Option<&str> {
        self.format.as_ref().map(|format| &*format.prefix)
    }

    /// The environment goes before the file.
    pub(super) fn database(&self) -> Result<SecretString, Failure> {
        let missing = || {
            Failure::usage("There is no database.").next(format!(
                "Set DATABASE_URL, or `database` in {FILE}: sqlite:keys.db, postgres://user@host/name."
            ))
        };
        let url = std::env::var("DATABASE_URL").ok().or_else(|| self.database.clone()).ok_or_else(missing)?;
        // A path in the file starts from there.
        let relative = url.strip_prefix("sqlite:").filter(|_| std::env::var_os("DATABASE_URL").is_none());
        let relative =
            relative.filter(|path| !path.starts_with(['/', ':']) && !self.directory.as_os_str().is_empty());
        Ok(match relative {
            Some(path) => format!("sqlite:{}", self.directory.join(path).display()).into(),
            None => url.into(),
        })
    }

    fn peppers(&self) -> Result<Peppers, Failure> {
        let fault = |error: String| Failure::usage(format!("The peppers: {error}."));
        let variable = std::env::var_os("API_KEYS_PEPPERS_FILE").map(PathBuf::from);
        let path = variable.or_else(|| self.peppers_file.as_ref().map(|path| self.directory.join(path)));
        let Some(path) = path else { return Ok(Peppers::none()) };
        let text =
            std::fs::read_to_string(&path).map_err(|error| fault(format!("{}: {error}", path.display())))?;
        let peppers = Peppers::read(&text.into()).map_err(|error| fault(error.to_string()))?;
        Ok(if self.accept_unpeppered { peppers.accept_unpeppered() } else { peppers })
    }

    /// The keys of the database. Without one, for what needs none, there are no keys.
    pub(super) async fn assembly(self, with_database: bool) -> Result<ApiKeys, Failure> {
        let store: std::sync::Arc<dyn KeyAdministration> = match with_database {
            true => database::open(&self.database()?).await?,
            false => std::sync::Arc::new(MemoryStore::new()),
        };
        let missing = || {
            Failure::usage("There is no format of keys.").next(format!(
                "Write `[format]` into {FILE}, with `prefix`, or name the file with `--config`."
            ))
        };
        let format = self.format.as_ref().ok_or_else(missing)?.build("format")?;
        // Any field does for `verify`, which puts the key there itself.
        let mut keys = ApiKeys::builder(store, format).header("x-api-key").without_route_table();
        for other in &self.also_accept {
            keys = keys.also_accept(other.build("also_accept")?);
        }
        let max_lifetime = self.max_lifetime.as_deref().map(times::duration).transpose();
        let max_lifetime: Option<Duration> =
            max_lifetime.map_err(|fault| Failure::usage(format!("max_lifetime: {fault}.")))?;
        let scopes: ScopeSet = self.grantable_scopes.iter().cloned().collect();
        let max_keys = self.max_keys;
        let keys = keys.peppers(self.peppers()?).manage_with(move |mut manager| {
            if !scopes.is_empty() {
                manager = manager.with_grantable_scopes(scopes);
            }
            if let Some(lifetime) = max_lifetime {
                manager = manager.with_max_lifetime(lifetime);
            }
            match max_keys {
                Some(keys) => manager.with_max_keys(keys),
                None => manager,
            }
        });
        keys.build().map_err(|error| Failure::usage(chain(&error)))
    }
}

impl Format {
    fn build(&self, field: &str) -> Result<KeyFormat, Failure> {
        let fault = |text: String| Failure::usage(format!("{field}: {text}"));
        let mut format = match self.prefix.is_empty() && self.test_mark.is_none() {
            true => KeyFormat::unprefixed(),
            false => KeyFormat::builder(&self.prefix),
        };
        format = match (&self.test_mark, &self.live_mark) {
            (Some(test), Some(live)) if self.marks_are_optional => format.optional_modes(test, live),
            (Some(test), Some(live)) => format.modes(test, live),
            (None, None) => format,
            _ => return Err(fault("test_mark and live_mark go together.".to_owned())),
        };
        let option =
            |format: KeyFormatBuilder, is_set: bool, set: &dyn Fn(KeyFormatBuilder) -> KeyFormatBuilder| {
                if is_set { set(format) } else { format }
            };
        if let Some(PublicId { length, separator }) = self.public_id {
            format = match separator {
                Some(separator) => format.public_id(length, separator),
                None => format.leading_id(length),
            };
        }
        if let Some(length) = self.secret_length {
            format = format.secret_length(length);
        }
        if let Some([shortest, longest]) = self.secret_lengths {
            format = format.secret_lengths(shortest..=longest);
        }
        if let Some(characters) = &self.other_characters {
            format = format.other_characters(characters);
        }
        option(format, self.checksum, &KeyFormatBuilder::checksum)
            .build()
            .map_err(|error| fault(error.to_string()))
    }
}

fn place(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    line.map(|line| format!(", in line {line}")).unwrap_or_default()
}
