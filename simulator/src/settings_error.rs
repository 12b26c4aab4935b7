//! Why settings are refused.

/// A setting that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A share is not from 0 to 1.
    #[error("{name} is {value}: a share is a number from 0 to 1")]
    Share {
        /// The setting.
        name: &'static str,
        /// What it was to be.
        value: f64,
    },
    /// The fault rates together are more than one.
    #[error(
        "the fault rates add up to {sum}: a request meets one fault at most, so they may not exceed 1"
    )]
    FaultSum {
        /// The sum.
        sum: f64,
    },
    /// A number is out of its range.
    #[error("{name} is {value}: it must be from {least} to {most}")]
    Range {
        /// The setting.
        name: &'static str,
        /// What it was to be.
        value: u64,
        /// The smallest that it may be.
        least: u64,
        /// The largest that it may be.
        most: u64,
    },
    /// The JSON has an unknown name or a value of the wrong kind.
    #[error("the settings do not read: {0}")]
    Json(#[from] serde_json::Error),
    /// The patch is not a JSON object.
    #[error("the settings to change must be a JSON object")]
    NotAnObject,
}
