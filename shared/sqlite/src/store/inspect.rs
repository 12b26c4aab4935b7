//! What there is and what is missing, for `evergrant doctor`.

use rusqlite::{Connection, Row};

use super::super::failure::Failure;
use super::super::file;
use super::lease::now;
use evergrant_domain::{GrantStatus, ProviderId};
use evergrant_ports::{DOCUMENTS_OF, InspectionFinding, UnadoptedDocuments};

/// Users with several documents are counted up to this many.
const DUPLICATES_MAX: usize = 5;

/// `left` are the documents that are left alone.
pub(super) fn findings(
    connection: &Connection,
    path: &str,
    left: &[UnadoptedDocuments],
) -> Vec<InspectionFinding> {
    let mut findings = vec![outcome("SQLite file", find_file(connection, path))];
    if findings.iter().all(|finding| finding.ok) {
        findings.push(outcome("clock", find_clock(connection)));
        findings.push(outcome("durability", find_durability(connection)));
        findings.push(outcome("token documents", find_documents(connection)));
        let providers = find_providers(connection);
        findings.extend(UnadoptedDocuments::finding(left, providers.is_empty()));
        findings.extend(providers);
        findings.push(outcome("users", find_duplicates(connection)));
    }
    findings
}

fn outcome(what: &str, found: Result<(bool, String), Failure>) -> InspectionFinding {
    let (ok, detail) = found.unwrap_or_else(|failure| (false, failure.reason));
    InspectionFinding { what: what.to_owned(), ok, detail }
}

fn find_file(connection: &Connection, path: &str) -> Result<(bool, String), Failure> {
    file::check(connection)?;
    if connection.is_readonly("main")? {
        return Err(Failure::refused(format!(
            "{path} is whole, but cannot be written: look at the permissions of the file and of its \
             folder"
        )));
    }
    let pages: u64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let page_bytes: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let mebibytes = pages * page_bytes / (1024 * 1024);
    Ok((true, format!("{path} is whole, {mebibytes} MiB, SQLite {}", rusqlite::version())))
}

fn find_clock(connection: &Connection) -> Result<(bool, String), Failure> {
    Ok((true, format!("leases go by this machine's clock, which says {}", now(connection)?)))
}

fn find_durability(connection: &Connection) -> Result<(bool, String), Failure> {
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    let detail = "commits wait for this machine's disk; if it is lost, so are the tokens since the \
                  last copy of the file";
    Ok((mode == "wal", detail.to_owned()))
}

fn find_documents(connection: &Connection) -> Result<(bool, String), Failure> {
    let sql = "SELECT status, count(*) FROM documents GROUP BY status";
    let mut select = connection.prepare(sql)?;
    let row = |row: &Row<'_>| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, u64>(1)?));
    let mut counts = [0; GrantStatus::ALL.len()];
    let (mut without, mut unknown) = (0, 0);
    for found in select.query_map([], row)? {
        let (status, n) = found?;
        match status
            .map(|status| GrantStatus::ALL.iter().position(|known| known.as_str() == status))
        {
            None => without += n,
            Some(Some(index)) => counts[index] += n,
            Some(None) => unknown += n,
        }
    }
    let mut words: Vec<_> =
        GrantStatus::ALL.iter().zip(counts).map(|(status, n)| format!("{n} {status}")).collect();
    words.push(format!("{without} not adopted yet"));
    if unknown > 0 {
        words.push(format!("{unknown} with a status that Evergrant does not know: correct them"));
    }
    Ok((unknown == 0, words.join(", ")))
}

/// One finding for each provider that documents name.
fn find_providers(connection: &Connection) -> Vec<InspectionFinding> {
    let counted = count_by_provider(connection);
    let counts = match counted {
        Ok(counts) => counts,
        Err(failure) => return vec![outcome("documents of each provider", Err(failure))],
    };
    let found = counts.into_iter().filter(|(name, _)| name.parse::<ProviderId>().is_ok());
    let finding = |(name, n): (String, u64)| {
        outcome(&format!("{DOCUMENTS_OF}{name}"), Ok((true, n.to_string())))
    };
    found.map(finding).collect()
}

fn count_by_provider(connection: &Connection) -> Result<Vec<(String, u64)>, Failure> {
    let sql = "SELECT provider, count(*) FROM documents WHERE provider IS NOT NULL \
               GROUP BY provider ORDER BY provider";
    let mut select = connection.prepare(sql)?;
    let counts = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(counts.collect::<Result<_, _>>()?)
}

/// Two documents of one user may hold one grant twice, and then its rotation kills one of them.
fn find_duplicates(connection: &Connection) -> Result<(bool, String), Failure> {
    let sql = "SELECT 1 FROM documents WHERE user IS NOT NULL \
               GROUP BY user, provider HAVING count(*) > 1 LIMIT ?1";
    let mut select = connection.prepare(sql)?;
    let found = select.query_map([DUPLICATES_MAX], |_| Ok(()))?.count();
    let detail = match found {
        0 => "each has one document".to_owned(),
        n => {
            let or_more = if n == DUPLICATES_MAX { " or more" } else { "" };
            format!(
                "{n}{or_more} have several documents of one provider, which is sound only if each \
                 holds a grant of its own"
            )
        }
    };
    Ok((true, detail))
}
