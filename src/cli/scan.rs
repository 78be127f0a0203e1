use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use regex::bytes::Regex;
use serde_json::{Value, json};
use walkdir::WalkDir;

use super::failure::{Exit, Failure};
use super::find::undecided;
use super::output::{Progress, printable};
use super::rules::recognizable;
use super::session::Session;
use crate::key::KeyStatus;
use crate::manage::KeyView;
use crate::{ApiKeys, KeyFormat};

#[derive(Args, Clone, Debug)]
pub(super) struct Scan {
    /// Files and directories; `-` is standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Looks each key up: says whose it is and whether this secret of it works, and leaves out what is no key
    #[arg(long)]
    check_store: bool,
    /// Writes one report in SARIF 2.1.0
    #[arg(long, conflicts_with = "json")]
    sarif: bool,
}

/// A key in a file. Its text is not kept.
struct Found {
    path: String,
    line: usize,
    column: usize,
    hint: String,
    key: Option<(KeyView, bool)>,
}

impl Scan {
    pub(super) fn is_offline(&self) -> bool {
        !self.check_store
    }

    /// Follows no symbolic link but a path that is named.
    pub(super) async fn run<F>(self, session: &Session<'_>, keys: &ApiKeys<F>) -> Result<Exit, Failure> {
        let formats: Vec<_> = recognizable(session)?
            .map(|format| Ok((format, Regex::new(&format.pattern()).map_err(|error| error.to_string())?)))
            .collect::<Result<_, String>>()
            .map_err(Failure::failed)?;
        let (mut report, mut unread) =
            (Report { session, sarif: self.sarif.then(Vec::new), count: 0, undecided: 0 }, 0);
        let mut progress = Progress::of("files");
        for path in &self.paths {
            // A pipe or a device is read if it is named.
            let entries: Box<dyn Iterator<Item = _>> = match path.as_os_str() != "-" && path.is_dir() {
                true => Box::new(WalkDir::new(path).sort_by_file_name().into_iter().filter_map(file)),
                false => Box::new(std::iter::once(Ok(path.clone()))),
            };
            for entry in entries {
                let searched = match entry {
                    Ok(path) => self.search(session, keys, &formats, &path, &mut report).await,
                    Err(error) => Err(Failure::unread(error.to_string())),
                };
                progress.add(1);
                match searched {
                    Err(failure) if failure.is_unread() => {
                        session.warn("unread", &format!("not read: {}", printable(&failure.message)));
                        unread += 1;
                    }
                    // Who reads no further has found what was looked for, and the status says so.
                    Err(failure) if failure.is_closed_pipe() => return Ok(Exit::Negative),
                    searched => searched?,
                }
            }
        }
        let (count, undecided) = (report.count, report.undecided);
        match report.end() {
            Err(failure) if failure.is_closed_pipe() && count > 0 => {}
            ended => ended?,
        }
        Ok(match (count, unread + undecided) {
            (0, 0) => Exit::Done,
            (0, _) => Exit::Failed,
            _ => Exit::Negative,
        })
    }

    async fn search<F>(
        &self,
        session: &Session<'_>,
        keys: &ApiKeys<F>,
        formats: &[(&KeyFormat, Regex)],
        path: &Path,
        report: &mut Report<'_, '_>,
    ) -> Result<(), Failure> {
        let name = path.display().to_string();
        let unread = |error: io::Error| Failure::unread(format!("{name}: {error}"));
        let input: Box<dyn Read> = match path.as_os_str() == "-" {
            true => Box::new(io::stdin()),
            false => Box::new(File::open(path).map_err(unread)?),
        };
        let mut text = Chunks::new(input);
        while text.fill().map_err(unread)? {
            for (line, column, text) in text.keys(formats) {
                let (format, text) = text;
                let key = match self.check_store {
                    true => match session.manager.find_by_text(&text).await? {
                        Some(key) => Some((key, keys.verify_text(&text).await.is_ok())),
                        None => {
                            if let Some(reason) = undecided(session, &text).await? {
                                report.undecided(&name, line, column, &reason);
                            }
                            continue;
                        }
                    },
                    false => None,
                };
                report.add(Found { path: name.clone(), line, column, hint: format.hint(&text), key })?;
            }
        }
        Ok(())
    }
}

fn file(entry: walkdir::Result<walkdir::DirEntry>) -> Option<walkdir::Result<PathBuf>> {
    match entry {
        Ok(entry) if entry.file_type().is_file() => Some(Ok(entry.into_path())),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    }
}

/// A text in pieces, of any length. What a key can be cut by stands in two.
struct Chunks<R> {
    input: R,
    buffer: Vec<u8>,
    /// Where the search starts. What is before it was searched, and tells whether a word begins.
    start: usize,
    is_last: bool,
    /// Of `start`, both from 1.
    line: usize,
    column: usize,
}

impl<R: Read> Chunks<R> {
    const SIZE: u64 = 1024 * 1024;
    /// No key is longer, with the character that follows it.
    const OVERLAP: usize = KeyFormat::MAX_LENGTH + 1;

    fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), start: 0, is_last: false, line: 1, column: 1 }
    }

    /// Whether there is more to search.
    fn fill(&mut self) -> io::Result<bool> {
        if self.is_last {
            return Ok(false);
        }
        let kept = self.start.saturating_sub(1);
        self.buffer.drain(..kept);
        self.start -= kept;
        self.is_last = (&mut self.input).take(Self::SIZE).read_to_end(&mut self.buffer)? == 0;
        Ok(true)
    }

    /// The keys of these formats, with their places, up to where a key may go on in the next piece.
    fn keys<'f>(
        &mut self,
        formats: &[(&'f KeyFormat, Regex)],
    ) -> Vec<(usize, usize, (&'f KeyFormat, String))> {
        let end =
            if self.is_last { self.buffer.len() } else { self.buffer.len().saturating_sub(Self::OVERLAP) };
        // By where they start: formats can find different keys in one piece.
        let mut found = BTreeMap::new();
        for (format, pattern) in formats {
            let mut at = self.start;
            while let Some(key) = pattern.find_at(&self.buffer, at).filter(|key| key.start() < end) {
                let text = std::str::from_utf8(key.as_bytes()).ok().filter(|text| format.parse(text).is_ok());
                if let Some(text) = text {
                    found.insert(key.start(), (*format, text.to_owned()));
                }
                at = key.end();
            }
        }
        let keys = found.into_iter().map(|(start, key)| {
            self.go_to(start);
            (self.line, self.column, key)
        });
        let keys = keys.collect();
        self.go_to(end.max(self.start));
        keys
    }

    fn go_to(&mut self, place: usize) {
        for byte in &self.buffer[self.start..place] {
            match byte {
                b'\n' => (self.line, self.column) = (self.line + 1, 1),
                // The rest of a character of UTF-8.
                0x80..0xc0 => {}
                _ => self.column += 1,
            }
        }
        self.start = place;
    }
}

/// What is found is written at once, but for SARIF, which is one document.
struct Report<'s, 'k> {
    session: &'s Session<'k>,
    sarif: Option<Vec<Value>>,
    count: usize,
    /// How many may be keys of the store, which can't be known.
    undecided: usize,
}

impl Report<'_, '_> {
    fn undecided(&mut self, path: &str, line: usize, column: usize, reason: &str) {
        self.undecided += 1;
        let text = format!("not known: {}:{line}:{column}: {reason}", printable(path));
        self.session.warn("unknown", &text);
    }

    fn add(&mut self, found: Found) -> Result<(), Failure> {
        self.count += 1;
        let Found { path, line, column, hint, key } = found;
        let id = key.as_ref().map(|(key, _)| key.id);
        let status = key.as_ref().map(|(key, _)| key.status);
        let works = key.as_ref().map(|(_, works)| *works);
        if let Some(results) = &mut self.sarif {
            let state = works.map(|works| if works { " It works." } else { " It does not work any more." });
            let (state, level) =
                (state.unwrap_or_default(), if works == Some(false) { "warning" } else { "error" });
            results.push(json!({
                "ruleId": "api-key",
                "level": level,
                "message": { "text": format!("An API key, {hint}.{state}") },
                "locations": [{ "physicalLocation": {
                    "artifactLocation": { "uri": path },
                    "region": { "startLine": line, "startColumn": column },
                }}],
            }));
            return Ok(());
        }
        let json = json!({ "path": path, "line": line, "column": column, "hint": hint, "id": id, "status": status, "works": works });
        self.session.print_either(&json, || {
            let known = key.as_ref().map(|(key, works)| {
                let works = match works {
                    true => "works",
                    false if key.status == KeyStatus::Active => "replaced",
                    false => "does not work",
                };
                format!(" {} of {}, {}: {works}", key.id, key.owner, key.status)
            });
            let path = printable(&path);
            format!("{path}:{line}:{column}: {hint}{}", known.unwrap_or_default())
        })?;
        Ok(())
    }

    fn end(self) -> Result<(), Failure> {
        if let Some(results) = self.sarif {
            let rule = json!({ "id": "api-key", "shortDescription": { "text": "An API key in a file" } });
            let driver = json!({ "name": "api-keys", "version": env!("CARGO_PKG_VERSION"), "rules": [rule] });
            let report = json!({
                "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
                "version": "2.1.0",
                "runs": [{ "tool": { "driver": driver }, "columnKind": "unicodeCodePoints", "results": results }],
            });
            self.session.print(&report.to_string())?;
        } else {
            self.session.say(&format!("Found: {}.", self.count));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Mode;

    /// Gives a text in pieces of any length.
    struct Slowly<'t>(&'t [u8], usize);

    impl Read for Slowly<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(buffer.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    #[test]
    fn a_key_is_found_once_wherever_a_piece_ends() {
        let format = KeyFormat::builder("acme_").modes("test_", "live_").checksum().build().unwrap();
        let pattern = Regex::new(&format.pattern()).unwrap();
        let key = format.generate(Mode::Live).unwrap();
        let key = key.secret.expose_secret();
        let size = usize::try_from(Chunks::<&[u8]>::SIZE).unwrap();
        for before in (size - 400..size + 10).step_by(7) {
            // Words of a key's length, so that every cut is inside of one.
            let mut text = "x".repeat(before - 1) + "\n" + key + " " + key + "x\n";
            text += &" ".repeat(size);
            text += key;
            let mut chunks = Chunks::new(Slowly(text.as_bytes(), 8192));
            let mut places = Vec::new();
            while chunks.fill().unwrap() {
                places.extend(
                    chunks
                        .keys(&[(&format, pattern.clone())])
                        .into_iter()
                        .map(|(line, column, _)| (line, column)),
                );
            }
            assert_eq!(places, [(2, 1), (3, size + 1)], "{before}");
        }
    }
}
