//! Where a setting stands in a file of TOML.

/// The line, from 1, on which a setting such as `request.headers.x-key` or `meaning.1.code` stands; that of its
/// table where it does not stand by itself.
pub(crate) fn line_of(text: &str, setting: &str) -> Option<usize> {
    let wanted: Vec<&str> = setting.split('.').collect();
    let mut table: Vec<String> = Vec::new();
    let mut lists: Vec<(Vec<String>, usize)> = Vec::new();
    let mut best = (0, None);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        let path = if let Some(name) = line.strip_prefix("[[") {
            table = names(name.split("]]").next().unwrap_or_default());
            let count = match lists.iter_mut().find(|(known, _)| *known == table) {
                Some((_, count)) => {
                    *count += 1;
                    *count
                }
                None => {
                    lists.push((table.clone(), 0));
                    0
                }
            };
            table.push(count.to_string());
            table.clone()
        } else if let Some(name) = line.strip_prefix('[').filter(|_| !line.contains('=')) {
            table = names(name.split(']').next().unwrap_or_default());
            table.clone()
        } else if let Some((key, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            [table.clone(), names(key)].concat()
        } else {
            continue;
        };
        let is_within = path.len() <= wanted.len() && path.iter().zip(&wanted).all(|(a, b)| a == b);
        if is_within && path.len() > best.0 {
            best = (path.len(), Some(number + 1));
        }
    }
    best.1
}

/// The names of a dotted key.
fn names(key: &str) -> Vec<String> {
    key.trim().split('.').map(|name| name.trim().trim_matches(['"', '\'']).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_found_in_tables_and_lists() {
        let text = "title = \"A\"\n\n[request]\nbody = \"xml\"\n[request.headers]\n\"x-a\" = 1\n\
                    [[meaning]]\ncode = \"x\"\n[[meaning]]\nmeans = \"gone\"\n";
        for (setting, line) in [
            ("title", Some(1)),
            ("request.body", Some(4)),
            ("request.headers.x-a", Some(6)),
            ("request.bodi", Some(3)),
            ("meaning.0.code", Some(8)),
            ("meaning.1.means", Some(10)),
            ("meaning.1", Some(9)),
            ("nobody", None),
        ] {
            assert_eq!(line_of(text, setting), line, "{setting}");
        }
    }
}
