//! What a page of the guide asks its reader to do.
//!
//! | in the page | |
//! |---|---|
//! | a block `sh` | is run, in one shell for the whole page |
//! | the next block, if it is `text` | is all that it prints, on standard output and standard error |
//! | another block after a line that ends with a path as code and a colon | is that file |
//! | a block `rust` otherwise | is left to rustdoc, which compiles it |
//! | `<!-- not run: why -->` | the next block is passed over |
//! | `<!-- runs until it is stopped -->` | the next block `sh` runs in a terminal of its own; what it prints at first is the block `text` after it. A line `NAME=…` of it is pasted into the shell |
//! | `<!-- it prints -->` | the next block `text` is what that program prints then |
//! | `<!-- stop it -->` | Ctrl-C |
//!
//! In a block `text`, `…` stands for anything in a line, and alone in a line for any lines. Everything else is a fault of the page.

use regex::Regex;

#[derive(Debug)]
pub(crate) enum Step {
    File { path: String, text: String },
    Run { commands: String, output: Option<String> },
    Start { commands: String, output: String },
    Printed { output: String },
    Stop,
}

/// The steps of a page, each with the line that it begins at, or what is wrong with the page.
pub(crate) fn steps(page: &str) -> Result<Vec<(usize, Step)>, String> {
    let path = Regex::new(r"`([\w./-]+)`:$").unwrap();
    let mut steps: Vec<(usize, Step)> = Vec::new();
    let (mut note, mut before, mut is_after_commands) = (None, "", false);
    let mut lines = page.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let fault = |what: &str| Err(format!("line {number}: {what}"));
        if let Some(comment) = line.strip_prefix("<!-- ") {
            let Some(comment) = comment.strip_suffix(" -->") else {
                return fault("a comment of several lines");
            };
            match comment {
                "stop it" => steps.push((number, Step::Stop)),
                "runs until it is stopped" | "it prints" => note = Some(comment),
                comment if comment.starts_with("not run: ") => note = Some("not run"),
                _ => return fault("an unknown comment"),
            }
            continue;
        }
        let Some(language) = line.strip_prefix("```") else {
            if !line.trim().is_empty() {
                before = line;
            }
            continue;
        };
        let text = lines.by_ref().map(|(line, _)| line).take_while(|line| *line != "```");
        let text: String = text.flat_map(|line| [line, "\n"]).collect();
        let is_output = std::mem::take(&mut is_after_commands);
        match (language, note.take()) {
            (_, Some("not run")) => {}
            ("sh", Some("runs until it is stopped")) => {
                steps.push((number, Step::Start { commands: text, output: String::new() }));
                is_after_commands = true;
            }
            ("text", Some("it prints")) => steps.push((number, Step::Printed { output: text })),
            (_, Some(note)) => return fault(&format!("no block for `{note}`")),
            ("sh", None) => {
                steps.push((number, Step::Run { commands: text, output: None }));
                is_after_commands = true;
            }
            ("text", None) if is_output => match steps.last_mut() {
                Some((_, Step::Run { output, .. })) => *output = Some(text),
                Some((_, Step::Start { output, .. })) => *output = text,
                _ => return fault("no commands print this"),
            },
            (_, None) => match path.captures(before) {
                Some(found) => steps.push((number, Step::File { path: found[1].to_owned(), text })),
                None if matches!(language, "rust" | "rust,no_run") => {}
                None => return fault("it is neither run, nor compiled, nor a file, and nothing says why"),
            },
        }
        before = "";
    }
    Ok(steps)
}

/// Whether all that was printed is what the page says.
pub(crate) fn matches_whole(output: &str, printed: &str) -> bool {
    let pattern = format!(r"\A{}\s*\z", pattern(output));
    Regex::new(&pattern).unwrap().is_match(&without_spaces_at_ends(printed))
}

/// How much of what was printed is what the page says; `None` if its beginning is not, or not yet.
pub(crate) fn matches_beginning(output: &str, printed: &str) -> Option<usize> {
    let pattern = format!(r"\A{}", pattern(output));
    Regex::new(&pattern).unwrap().find(printed).map(|found| found.end())
}

fn pattern(output: &str) -> String {
    let line = |line: &str| match line.trim_end() {
        "…" => r"(?:.*\n)*?".to_owned(),
        line => line.split('…').map(regex::escape).collect::<Vec<_>>().join(".*?") + r"\n",
    };
    output.trim_end().lines().map(line).collect()
}

fn without_spaces_at_ends(text: &str) -> String {
    text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}
