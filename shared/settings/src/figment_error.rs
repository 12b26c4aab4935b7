//! figment's errors in words of settings.

use figment::error::Kind;

use crate::ConfigError;

/// Says what figment found, without the value that it quotes.
pub fn config_error(error: figment::Error) -> ConfigError {
    let source = error.metadata.as_ref().map(|metadata| match &metadata.source {
        Some(source) => format!(" (in {source})"),
        None => format!(" (in {})", metadata.name),
    });
    let source = source.unwrap_or_default();
    let path = error.path.join(".");
    let path = if path.is_empty() { "(top level)".to_owned() } else { path };
    match error.kind {
        Kind::UnknownField(field, known) => {
            ConfigError::Unknown { setting: beside(&error.path, &field), known: known.join(", ") }
        }
        Kind::MissingField(field) => {
            let reason = "give it in the configuration file or the environment";
            ConfigError::missing(beside(&error.path, &field), reason)
        }
        Kind::InvalidType(_, expected) => {
            ConfigError::invalid(path, format!("expected {expected}{source}"))
        }
        Kind::InvalidValue(_, expected) => {
            ConfigError::invalid(path, format!("expected {expected}{source}"))
        }
        Kind::UnknownVariant(_, known) => {
            ConfigError::invalid(path, format!("expected one of {}{source}", known.join(", ")))
        }
        Kind::Message(message) => {
            ConfigError::invalid(path, format!("{}{source}", first_line(&message)))
        }
        _ => ConfigError::invalid(path, format!("it has a wrong form{source}")),
    }
}

/// TOML's syntax errors quote the line that is wrong, which may hold a secret; their first line
/// says where it is and no more.
fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

/// figment's path of an unknown or missing field ends in the field itself, or does not.
fn beside(path: &[String], field: &str) -> String {
    let section: Vec<&str> =
        path.iter().map(String::as_str).filter(|part| *part != field).collect();
    section.into_iter().chain([field]).collect::<Vec<_>>().join(".")
}
