//! Providers as the settings describe them: every preset's answers, and every form of request.

mod presets;
mod requests;
