//! The table of docs/providers.md: what is known of each provider, from where, and what became of it when it was
//! tried.

use evergrant_provider::{PresetFact, PresetFile, preset, preset_names};
use futures::{StreamExt, TryStreamExt, stream};

use crate::provider_test::{TrialSubject, try_out};

/// The columns of facts.
const FACTS: [(&str, &str); 7] = [
    ("client_auth", "Client"),
    ("access_lifetime", "Access"),
    ("refresh_idle_lifetime", "Idle"),
    ("refresh_absolute_lifetime", "Absolute"),
    ("rotation", "Rotates"),
    ("rotation_grace", "Grace"),
    ("limits", "Limits"),
];

/// How many presets are tried at once.
const TRIALS_MAX: usize = 4;

/// The whole table.
pub(crate) async fn table() -> anyhow::Result<String> {
    let columns = FACTS.map(|(_, title)| title).join(" | ");
    let head = format!("| Preset | Provider | {columns} | Tried |\n|{}", "---|".repeat(10));
    let rows = stream::iter(preset_names()).map(row).buffered(TRIALS_MAX).try_collect().await?;
    Ok([vec![head], rows].concat().join("\n"))
}

/// A preset's line.
async fn row(name: &str) -> anyhow::Result<String> {
    let file = preset(name)?;
    let steps = try_out(&TrialSubject::from_preset(name)?).await?;
    let wrong: Vec<&str> = steps.iter().filter(|step| !step.ok).map(|step| step.tried).collect();
    let tried = match wrong.as_slice() {
        [] => format!("all {}", steps.len()),
        wrong => format!("not: {}", wrong.join(", ")),
    };
    let facts = file.facts();
    let cells = FACTS.map(|(fact, _)| cell(facts.iter().find(|known| known.name == fact)));
    let title = linked(&file);
    Ok(format!("| `{name}` | {title} | {} | {tried} |", cells.join(" | ")))
}

/// The provider's name, with the source of its address.
fn linked(file: &PresetFile) -> String {
    let title = escaped(&file.about.title);
    match file.about.sources.get("token_url") {
        Some(source) => format!("[{title}]({})", source.source),
        None => title,
    }
}

/// A fact with its source.
fn cell(fact: Option<&PresetFact<'_>>) -> String {
    let Some(fact) = fact else { return "–".to_owned() };
    let value = escaped(&fact.value.replace(['[', ']', '"'], "").replace(',', ", "));
    match fact.source {
        Some(source) => {
            let note = source.note.as_deref().unwrap_or_default().replace('"', "'");
            let read = format!("read {}. {note}", source.date);
            format!("[{value}]({} \"{}\")", source.source, escaped(read.trim_end()))
        }
        None => value,
    }
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    const BEGIN: &str = "<!-- evergrant providers catalogue --markdown -->\n";
    const END: &str = "\n<!-- end -->";
    /// Set to write the page anew.
    const WRITE: &str = "EVERGRANT_WRITE_DOCS";

    /// A provider is added by its file alone, so a row may be missing until the page is written anew.
    #[tokio::test]
    async fn the_page_is_what_the_command_prints() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/providers.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once(BEGIN).expect("where the table begins");
        let (shown, after) = rest.split_once(END).expect("where the table ends");
        let printed = table().await.unwrap();
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(&path, format!("{before}{BEGIN}{printed}{END}{after}")).unwrap();
            return;
        }
        let printed: BTreeSet<&str> = printed.lines().collect();
        for line in shown.lines() {
            assert!(printed.contains(line), "run this test with {WRITE}=1, which corrects {line}");
        }
    }
}
