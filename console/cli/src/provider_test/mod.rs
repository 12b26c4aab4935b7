//! `evergrant providers test`: a provider is tried out against a simulator that speaks its dialect, or asked one
//! harmless question.

mod live;
mod step;
mod subject;
mod trial;

use std::path::Path;

use evergrant_runtime::config::Config;
use serde::Serialize;

use crate::args::TestArgs;
use crate::exit::Exit;
use crate::output::Output;

pub(crate) use step::TrialStep;
pub(crate) use subject::TrialSubject;
pub(crate) use trial::try_out;

/// A trial for programs.
#[derive(Serialize)]
struct TrialReport<'a> {
    provider: &'a str,
    ok: bool,
    steps: &'a [TrialStep],
}

/// Tries out a provider and shows what became of each request.
pub(crate) async fn carry_out(
    config: &Config,
    file: Option<&Path>,
    test: &TestArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    if test.live {
        return live::ask(config, test, output).await;
    }
    let subject = TrialSubject::from_settings(config, file, &test.name)?;
    let steps = try_out(&subject).await?;
    let ok = steps.iter().all(|step| step.ok);
    if output.json {
        output.json(&TrialReport { provider: &test.name, ok, steps: &steps });
    } else {
        output.table(&["", "TRIED", "EXPECTED", "BECAME"], steps.iter().map(TrialStep::cells));
    }
    if ok {
        return Ok(Exit::Done);
    }
    output.message(
        "What is expected is what the [[vector]] answers of the preset say. If the provider differs \
         from its preset, correct it in a preset_file of your own.",
    );
    Ok(Exit::Partial)
}

#[cfg(test)]
mod tests;
