//! Which column of a table becomes which field of the document.

use evergrant_runtime::config::StoreSettings;

use super::mapping::{Mapping, is_path};

/// Where a document has what Evergrant reads.
#[derive(Debug, Clone)]
pub(super) struct KnownFields {
    pub(super) refresh_token: String,
    access_token: String,
    user_id: String,
    email: String,
    provider: Option<String>,
}

/// Names that others give to what Evergrant reads, in small letters and digits alone.
const ID_NAMES: &[&str] = &["id", "objectid", "documentid"];
const USER_NAMES: &[&str] =
    &["userid", "user", "uid", "accountid", "customerid", "owner", "ownerid"];
const EMAIL_NAMES: &[&str] = &["email", "emailaddress", "mail", "useremail"];
const REFRESH_NAMES: &[&str] =
    &["refreshtoken", "oauthrefreshtoken", "oauth2refreshtoken", "refresh"];
const ACCESS_NAMES: &[&str] =
    &["accesstoken", "oauthaccesstoken", "oauth2accesstoken", "oauthtoken"];
const PROVIDER_NAMES: &[&str] = &["provider", "providerid", "providername"];

impl KnownFields {
    pub(super) fn of(config: &StoreSettings) -> Self {
        let fields = config.fields.clone();
        Self {
            refresh_token: fields.refresh_token,
            access_token: fields.access_token,
            user_id: fields.user_id,
            email: fields.email,
            provider: config.provider_field.clone(),
        }
    }

    /// Each path, with the names that columns for it have elsewhere.
    fn paths(&self) -> Vec<(&str, &'static [&'static str])> {
        let mut paths = vec![
            ("_id", ID_NAMES),
            (self.user_id.as_str(), USER_NAMES),
            (self.email.as_str(), EMAIL_NAMES),
            (self.access_token.as_str(), ACCESS_NAMES),
            (self.refresh_token.as_str(), REFRESH_NAMES),
        ];
        paths.extend(self.provider.as_deref().map(|path| (path, PROVIDER_NAMES)));
        paths
    }
}

/// Where each column goes, in their order: nowhere, to one field, or to several.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) paths: Vec<Vec<String>>,
    /// Columns that go elsewhere than to a field of their own name. Their names are no secrets: they are
    /// known, or somebody has given them.
    pub(super) renamed: Vec<String>,
}

impl Columns {
    /// Says where columns of these names go, or why they can go nowhere.
    pub(super) fn of(
        names: &[String],
        mapping: &Mapping,
        known: &KnownFields,
    ) -> Result<Self, String> {
        if let Some(entry) = mapping.0.iter().find(|entry| !names.contains(&entry.from)) {
            return Err(format!("it has no column {}, which --map names", entry.from));
        }
        let mapped = |name: &String| -> Vec<String> {
            let entries = mapping.0.iter().filter(|entry| entry.from == *name);
            entries.map(|entry| entry.to.clone()).collect()
        };
        let mut paths: Vec<_> = names.iter().map(mapped).collect();
        let is_free =
            |paths: &[Vec<String>], path: &str| !paths.iter().flatten().any(|it| it == path);
        // A name that is right goes before one that is like it.
        for is_wanted in [is_same as fn(&str, &str, &[&str]) -> bool, is_alike] {
            for (path, others) in known.paths() {
                let free = is_free(&paths, path);
                let column = names.iter().zip(&mut paths).find(|(name, paths)| {
                    free && paths.is_empty() && is_wanted(name, path, others)
                });
                if let Some((_, paths)) = column {
                    paths.push(path.to_owned());
                }
            }
        }
        let renamed = names.iter().zip(&paths).flat_map(|(name, paths)| {
            let others = paths.iter().filter(move |path| *path != name);
            others.map(move |path| format!("{name} as {path}"))
        });
        let renamed = renamed.collect();
        for (name, paths) in names.iter().zip(&mut paths) {
            if paths.is_empty() && is_path(name) {
                paths.push(name.clone());
            }
        }
        let columns = Self { paths, renamed };
        columns.check(known)?;
        Ok(columns)
    }

    fn check(&self, known: &KnownFields) -> Result<(), String> {
        let count = |path: &str| self.paths.iter().flatten().filter(|it| *it == path).count();
        for path in ["_id", known.refresh_token.as_str()] {
            if count(path) == 0 {
                return Err(format!(
                    "no name in its first line is one for {path}: say which column has it with \
                     --map COLUMN={path}"
                ));
            }
        }
        if self.paths.iter().flatten().any(|path| count(path) > 1) {
            let why = "two of its columns would become one field: say with --map COLUMN=PATH what each \
                       one is";
            return Err(why.to_owned());
        }
        Ok(())
    }
}

fn is_same(name: &str, path: &str, _: &[&str]) -> bool {
    name == path
}

fn is_alike(name: &str, path: &str, others: &[&str]) -> bool {
    let name = plain(name);
    let last = path.rsplit('.').next().unwrap_or(path);
    name == plain(path) || name == plain(last) || others.contains(&name.as_str())
}

/// A name in small letters and digits alone.
fn plain(name: &str) -> String {
    let parts = name.chars().filter(char::is_ascii_alphanumeric);
    parts.map(|character| character.to_ascii_lowercase()).collect()
}

#[cfg(test)]
impl KnownFields {
    /// The fields of a document as the settings have them by default.
    pub(super) fn example() -> Self {
        Self {
            refresh_token: "refresh_token".to_owned(),
            access_token: "access_token".to_owned(),
            user_id: "userId".to_owned(),
            email: "email".to_owned(),
            provider: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> KnownFields {
        let refresh_token = "tokens.refresh_token".to_owned();
        KnownFields { refresh_token, ..KnownFields::example() }
    }

    fn paths(names: &str, map: &[&str]) -> Result<String, String> {
        let names: Vec<_> = names.split(',').map(str::to_owned).collect();
        let mapping = Mapping(map.iter().map(|entry| entry.parse().unwrap()).collect());
        let columns = Columns::of(&names, &mapping, &known())?;
        Ok(columns.paths.iter().map(|paths| paths.join("+")).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn names_of_others_are_known() {
        for (names, expected) in [
            ("_id,userId,tokens.refresh_token", "_id,userId,tokens.refresh_token"),
            ("id,user_id,refresh_token,x", "_id,userId,tokens.refresh_token,x"),
            ("ID,User Id,Refresh Token,E-Mail", "_id,userId,tokens.refresh_token,email"),
            ("_id,id,refreshToken", "_id,id,tokens.refresh_token"),
            ("id,userId,user_id,refreshToken", "_id,userId,user_id,tokens.refresh_token"),
        ] {
            assert_eq!(paths(names, &[]).as_deref(), Ok(expected), "{names}");
        }
    }

    #[test]
    fn the_operator_says_what_a_column_is() {
        let told =
            paths("user_id,rt", &["user_id=_id", "user_id=userId", "rt=tokens.refresh_token"]);
        assert_eq!(told.as_deref(), Ok("_id+userId,tokens.refresh_token"));
        assert!(paths("id,refresh_token", &["uid=userId"]).unwrap_err().contains("no column uid"));
    }

    #[test]
    fn what_is_missing_is_told_without_the_names_which_may_be_values() {
        let told = paths("s3cret,other", &[]).unwrap_err();
        assert!(told.contains("--map COLUMN=_id") && !told.contains("s3cret"), "{told}");
        let told = paths("id,s3cret", &[]).unwrap_err();
        assert!(told.contains("tokens.refresh_token") && !told.contains("s3cret"), "{told}");
        assert!(paths("id,refresh_token,x,x", &[]).unwrap_err().contains("two of its columns"));
    }

    #[test]
    fn a_column_that_can_be_no_field_is_left_out() {
        assert_eq!(paths("id,refresh_token,,$x", &[]).as_deref(), Ok("_id,tokens.refresh_token,,"));
    }
}
