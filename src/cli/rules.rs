use std::fmt::Write;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::failure::{Exit, Failure};
use super::session::Session;
use crate::KeyFormat;
use crate::key::Mode;

#[derive(Args, Clone, Debug)]
pub(super) struct Rules {
    /// For which scanner
    scanner: Scanner,
    /// Prints texts that the rules find, and such that they do not, in place of the rules. The keys are made up
    #[arg(long)]
    samples: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Scanner {
    /// A configuration in TOML that extends the rules of gitleaks
    Gitleaks,
    /// Custom detectors in YAML
    Trufflehog,
    /// A plugin in Python
    DetectSecrets,
    /// Regular expressions of RE2, one a line
    Regex,
}

impl Rules {
    pub(super) fn run(self, session: &Session<'_>) -> Result<Exit, Failure> {
        let formats: Vec<_> = recognizable(session)?.collect();
        if self.samples {
            for format in formats {
                samples(session, format)?;
            }
            return Ok(Exit::Done);
        }
        let text = match self.scanner {
            Scanner::Gitleaks => gitleaks(&formats),
            Scanner::Trufflehog => trufflehog(&formats),
            Scanner::DetectSecrets => detect_secrets(&formats),
            Scanner::Regex => formats.iter().map(|format| format.pattern() + "\n").collect(),
        };
        session.print(text.trim_end())?;
        Ok(Exit::Done)
    }
}

/// The formats whose keys have a beginning of their own. Others find much that is no key.
pub(super) fn recognizable<'s>(
    session: &Session<'s>,
) -> Result<impl Iterator<Item = &'s KeyFormat>, Failure> {
    let formats = session.manager.formats();
    if !formats.iter().any(KeyFormat::is_recognizable) {
        return Err(Failure::usage("No format has a prefix: its keys can't be told from other text."));
    }
    Ok(formats.iter().filter(|format| format.is_recognizable()))
}

/// Each format with a name for its rule, such as `acme-api-key`.
fn named<'f>(formats: &[&'f KeyFormat]) -> Vec<(String, &'f KeyFormat)> {
    let mut named: Vec<(String, &KeyFormat)> = Vec::new();
    for format in formats {
        let words = format.beginnings()[0].split(|char: char| !char.is_ascii_alphanumeric());
        let words = words.filter(|word| !word.is_empty()).map(|word| word.to_ascii_lowercase() + "-");
        let name = words.collect::<String>() + "api-key";
        // Two prefixes may differ in what a name leaves out.
        let further = (2..).map(|number| format!("{name}-{number}"));
        let is_free = |name: &String| named.iter().all(|(other, _)| other != name);
        let name = std::iter::once(name.clone()).chain(further).find(is_free).unwrap_or(name);
        named.push((name, format));
    }
    named
}

fn gitleaks(formats: &[&KeyFormat]) -> String {
    let mut text = "[extend]\nuseDefault = true\n".to_owned();
    for (name, format) in named(formats) {
        // In TOML, a text between ''' has no escapes. A pattern has no apostrophe.
        let _ = write!(
            text,
            "\n[[rules]]\nid = \"{}\"\ndescription = \"An API key: it gives access until it is revoked.\"\n\
             regex = '''{}'''\nkeywords = {}\n",
            name,
            format.pattern(),
            json!(lower_case(format)),
        );
    }
    text
}

fn trufflehog(formats: &[&KeyFormat]) -> String {
    let mut text = "detectors:\n".to_owned();
    for (name, format) in named(formats) {
        let _ = write!(
            text,
            "  - name: {}\n    keywords: {}\n    regex:\n      key: '{}'\n",
            name,
            json!(lower_case(format)),
            format.pattern()
        );
    }
    text
}

fn detect_secrets(formats: &[&KeyFormat]) -> String {
    let patterns: String =
        formats.iter().map(|format| format!("        re.compile(r'{}'),\n", format.pattern())).collect();
    format!(
        "\"\"\"A plugin for detect-secrets: scan --plugin FILE.\"\"\"\n\
         import re\n\n\
         from detect_secrets.plugins.base import RegexBasedDetector\n\n\n\
         class ApiKeyDetector(RegexBasedDetector):\n    \"\"\"Finds API keys by their format.\"\"\"\n\n    \
         secret_type = 'API key {}'\n\n    denylist = [\n{patterns}    ]\n",
        formats[0].beginnings()[0]
    )
}

/// Both scanners look for keywords in text of lower case.
fn lower_case(format: &KeyFormat) -> Vec<String> {
    format.beginnings().iter().map(|beginning| beginning.to_ascii_lowercase()).collect()
}

/// One a line, after `true` or `false`.
fn samples(session: &Session<'_>, format: &KeyFormat) -> Result<(), Failure> {
    for mode in [Mode::Live, Mode::Test] {
        let key = format.generate(mode)?.secret;
        let key = key.expose_secret();
        let beginning = format.beginnings().into_iter().find(|beginning| key.starts_with(beginning));
        let beginning = beginning.unwrap_or_default();
        let rest = &key[beginning.len()..];
        for sample in [
            key.to_owned(),
            format!("KEY=\"{key}\""),
            format!("https://example.com/?key={key}&page=2"),
            format!("({key})."),
        ] {
            session.print(&format!("true {sample}"))?;
        }
        for sample in [
            beginning.to_owned(),
            format!("{beginning}your_key_here"),
            key[..key.len() - rest.len() / 2].to_owned(),
            format!("x{key}"),
            format!("Z{}{rest}", &beginning[1..]),
            rest.to_owned(),
        ] {
            session.print(&format!("false {sample}"))?;
        }
    }
    Ok(())
}
