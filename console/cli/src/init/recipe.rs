//! Recipes: how documents of a known form are stored, as a part of the settings. `docs/recipes` has a page
//! for each.

/// How documents of a known form are stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreRecipe {
    /// What it is called.
    pub(crate) name: &'static str,
    /// The preset of its provider, where it is of one.
    pub(crate) preset: Option<&'static str>,
    /// The section `store` without its URL, and the tables beneath it.
    pub(crate) store: &'static str,
}

macro_rules! recipe {
    ($name:literal, $preset:expr) => {
        StoreRecipe {
            name: $name,
            preset: $preset,
            store: include_str!(concat!("recipes/", $name, ".toml")),
        }
    };
}

/// All there are.
pub(crate) const RECIPES: [StoreRecipe; 5] = [
    recipe!("authjs", None),
    recipe!("autodesk", Some("autodesk")),
    recipe!("better-auth", None),
    recipe!("meteor", Some("google")),
    recipe!("passport", None),
];

/// The recipe of a name.
pub(crate) fn recipe(name: &str) -> Option<StoreRecipe> {
    RECIPES.into_iter().find(|recipe| recipe.name == name)
}

#[cfg(test)]
mod tests {
    use evergrant_runtime::config::Config;
    use toml::Table;

    use super::*;

    /// The only block of settings of a recipe's page.
    fn settings_of_page(name: &str) -> String {
        let path = format!("{}/../../docs/recipes/{name}.md", env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(&path).expect(&path);
        let block = page.split("```toml\n").nth(1).expect("a block of settings");
        block.split("```").next().unwrap_or_default().to_owned()
    }

    #[test]
    fn every_recipe_has_a_page_with_the_same_settings() {
        for recipe in RECIPES {
            let settings = settings_of_page(recipe.name);
            let mut page: Table = settings.parse().expect(recipe.name);
            let written: Table = format!("[store]\n{}", recipe.store).parse().expect(recipe.name);
            let store = page.get_mut("store").and_then(toml::Value::as_table_mut).unwrap();
            store.remove("url_file");
            assert_eq!(store, written["store"].as_table().unwrap(), "{}", recipe.name);
            assert!(page["providers"].as_table().is_some_and(|all| !all.is_empty()));
        }
    }

    #[test]
    fn the_settings_of_every_page_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        for recipe in RECIPES {
            let mut settings = settings_of_page(recipe.name);
            for (file, text) in [
                ("store", "mongodb://db.internal"),
                ("queue", "amqp://queue.internal"),
                ("rescue", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
                ("client", "secret"),
            ] {
                let path = folder.path().join(file).display().to_string();
                std::fs::write(&path, text).unwrap();
                settings = settings.replace(&format!("/run/secrets/{file}"), &path);
            }
            let file = folder.path().join("evergrant.toml");
            std::fs::write(&file, settings).unwrap();
            let config = Config::from_parts(Some(&file), [], &[]);
            let config = config.unwrap_or_else(|error| panic!("{}: {error}", recipe.name));
            config.exchanging_providers().unwrap();
        }
    }
}
