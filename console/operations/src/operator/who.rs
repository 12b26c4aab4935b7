//! The identity of an operator at a terminal.

use evergrant_runtime::process;

/// The user of the operating system as `name@host`. It is looked up by the process's user id,
/// because an environment variable could hold anything. The original user of sudo is named as well.
pub fn os_user() -> String {
    let uid = process::user_id();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = name_of(&passwd, uid).unwrap_or_else(|| format!("uid {uid}"));
    let host = process::machine();
    match std::env::var("SUDO_USER") {
        Ok(user) if name == "root" && user != "root" => format!("{name} (sudo by {user})@{host}"),
        _ => format!("{name}@{host}"),
    }
}

/// The name of a user id in the form of `/etc/passwd`.
fn name_of(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid) && !name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_by_the_id() {
        let passwd =
            "root:x:0:0:root:/root:/bin/bash\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(name_of(passwd, 1_000).as_deref(), Some("ann"));
        assert_eq!(name_of(passwd, 0).as_deref(), Some("root"));
        assert_eq!(name_of(passwd, 7), None);
    }

    #[test]
    fn the_operator_has_a_name_and_a_machine() {
        let user = os_user();
        assert!(
            user.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
        );
    }
}
