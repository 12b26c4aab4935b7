//! What lies beneath a provider's section: the preset that it names, and a file of its own before that.

use std::path::Path;

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use evergrant_settings::ConfigError;

use crate::file_line::line_of;
use crate::{DEFAULT_PRESET, PresetFile, preset};

/// A section's layer: settings that hold where the section is silent.
struct Layer {
    section: String,
    source: Metadata,
    settings: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.source.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let section = Dict::from([(self.section.clone(), Value::from(self.settings.clone()))]);
        let all = Dict::from([("providers".to_owned(), Value::from(section))]);
        Ok(Map::from([(Profile::Default, all)]))
    }
}

/// Puts their presets beneath the sections of the providers. A table is completed member by member; of
/// anything else, a list too, the section's own replaces the preset's.
pub fn with_presets(mut settings: Figment) -> Result<Figment, ConfigError> {
    let Ok(Value::Dict(_, sections)) = settings.find_value("providers") else {
        return Ok(settings);
    };
    for (section, value) in sections {
        let Some(own) = value.as_dict() else { continue };
        let setting = |name: &str| format!("providers.{section}.{name}");
        let text = |dict: &Dict, name: &str| Some(dict.get(name)?.as_str()?.to_owned());
        let mut name = text(own, "preset");
        let mut required = Vec::new();
        if let Some(path) = text(own, "preset_file") {
            let file = file_of(&path, &setting("preset_file"))?;
            name = name.or_else(|| text(&file.settings, "preset"));
            let source = Metadata::from("the preset's file", Path::new(&path));
            required.extend(file.about.requires);
            let section = section.clone();
            settings = settings.join(Layer { section, source, settings: file.settings });
        }
        let name = name.as_deref().unwrap_or(DEFAULT_PRESET);
        let known = preset(name).map_err(|error| error.at(&setting("preset")))?;
        let source = Metadata::named(format!("the preset {name}"));
        required.extend(known.about.requires);
        let section = section.clone();
        settings = settings.join(Layer { section, source, settings: known.settings });
        if let Some((name, why)) =
            required.into_iter().find(|(name, _)| settings.find_value(&setting(name)).is_err())
        {
            return Err(ConfigError::missing(setting(&name), why));
        }
    }
    Ok(settings)
}

/// Reads a preset's file of the user's own.
pub(crate) fn file_of(path: &str, setting: &str) -> Result<PresetFile, ConfigError> {
    if !Path::new(path).is_file() {
        let reason = format!("{path} does not exist or is not a file");
        return Err(ConfigError::invalid(setting, reason));
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigError::invalid(setting, format!("{path} cannot be read: {error}"))
    })?;
    PresetFile::read(&text).map_err(|error| {
        let line = error.setting().and_then(|setting| line_of(&text, setting));
        error.within(&line.map_or_else(|| path.to_owned(), |line| format!("{path}, line {line}")))
    })
}
