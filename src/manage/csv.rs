//! Usage as CSV.

use std::fmt::Write;

use crate::key::Tenant;
use crate::usage::{Usage, UsageOutcome, UsageRow};

/// As in RFC 4180, with a header line.
pub(crate) fn usage(usage: &Usage) -> String {
    let mut text = String::from("start,keyId,organization,mode,category,total");
    for outcome in UsageOutcome::ALL {
        let _ = write!(text, ",{outcome}");
    }
    text.push_str("\r\n");
    usage.rows.iter().for_each(|row| write_row(&mut text, row));
    text
}

fn write_row(text: &mut String, row: &UsageRow) {
    let organization = row.owner.as_ref().map(|owner| match &owner.tenant {
        Tenant::Organization(organization) => organization.as_str(),
        Tenant::System => "",
    });
    let mode = row.owner.as_ref().map(|owner| owner.mode.as_str());
    let cells = [row.key_id.as_ref().map(|id| id.as_str()), organization, mode, row.category.as_deref()];
    let _ = write!(text, "{}", row.start);
    for cell in cells {
        text.push(',');
        write_cell(text, cell.unwrap_or_default());
    }
    let _ = write!(text, ",{}", row.calls.total());
    for outcome in UsageOutcome::ALL {
        let _ = write!(text, ",{}", row.calls.of(outcome));
    }
    text.push_str("\r\n");
}

/// A spreadsheet takes a text that begins with one of some characters for a formula, and may run it: such a text gets an
/// apostrophe before it (OWASP, CSV injection).
fn write_cell(text: &mut String, cell: &str) {
    // Where a semicolon or a tab separates cells, quotes within a line do not keep a text together.
    let is_formula = cell
        .split([';', '\t'])
        .any(|part| part.trim_start().starts_with(['=', '+', '-', '@', '\r', '\n', '＝', '＋', '－', '＠']));
    if !is_formula && !cell.contains(['"', ',', ';', '\'', '\r', '\n']) {
        text.push_str(cell);
        return;
    }
    text.push('"');
    if is_formula {
        text.push('\'');
    }
    text.push_str(&cell.replace('"', "\"\""));
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_are_no_formulas() {
        for (cell, written) in [
            ("", ""),
            ("acme", "acme"),
            ("acme, inc", "\"acme, inc\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1", "\"'=1+1\""),
            ("-k7Jc0qWv", "\"'-k7Jc0qWv\""),
            ("+1", "\"'+1\""),
            ("@SUM(1)", "\"'@SUM(1)\""),
            ("\t=1", "\"'\t=1\""),
            ("a\nb", "\"a\nb\""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
        ] {
            let mut text = String::new();
            write_cell(&mut text, cell);
            assert_eq!(text, written);
        }
    }
}
