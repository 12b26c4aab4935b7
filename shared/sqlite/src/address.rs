//! URLs of files: `sqlite:PATH`.

use std::path::PathBuf;

const SCHEME: &str = "sqlite:";

/// The file that `sqlite:PATH` or `sqlite://PATH` names. A path that does not begin with a slash is
/// below the folder that the process was started in.
///
/// # Errors
/// Says what a URL looks like if this is none.
pub fn path_of_url(url: &str) -> Result<PathBuf, &'static str> {
    let path = url.strip_prefix(SCHEME).ok_or("it must begin with sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() {
        return Err("it names no file: write sqlite:evergrant.db or sqlite:/var/lib/evergrant.db");
    }
    if path == ":memory:" || path.contains('?') {
        return Err("it must name a file, without a question mark");
    }
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_file_below_here_or_from_the_root() {
        for (url, path) in [
            ("sqlite:evergrant.db", "evergrant.db"),
            ("sqlite:/var/lib/e.db", "/var/lib/e.db"),
            ("sqlite:///var/lib/e.db", "/var/lib/e.db"),
            ("sqlite://e.db", "e.db"),
        ] {
            assert_eq!(path_of_url(url), Ok(PathBuf::from(path)), "{url}");
        }
    }

    #[test]
    fn what_names_no_file_is_refused() {
        for url in ["sqlite:", "sqlite://", "sqlite::memory:", "sqlite:e.db?mode=ro", "file:e.db"] {
            assert!(path_of_url(url).is_err(), "{url}");
        }
    }
}
