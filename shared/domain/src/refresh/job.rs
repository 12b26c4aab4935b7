//! A job: "refresh this document", as a message.

use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use crate::{DocumentId, ProviderId, Timestamp};

/// The version of the message that this release writes and reads.
pub const JOB_VERSION: u32 = 1;

/// The longest message that is decoded; a real one has about 200 bytes.
pub const JOB_BYTES_MAX: usize = 16 * 1024;

/// A request to refresh a document. It carries ids only: the document is the truth, and the claim
/// decides whether there is anything to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// [`JOB_VERSION`].
    #[serde(rename = "v")]
    pub version: u32,
    /// The provider whose queue it travels in.
    pub provider: ProviderId,
    /// The document.
    pub id: DocumentId,
    /// The document's generation when the job was made. If that has changed, the job is stale.
    pub generation: u64,
    /// Refreshes even before the due time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// How many times an operator has redriven this job.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub redrive_count: u32,
    /// Whether it comes from a retry queue. Another worker may have ended its document meanwhile
    /// and died before publishing the letter; then this is the only message about it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waited: bool,
    /// When the job was made.
    pub enqueued_at: Timestamp,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A message that is not a job. The error quotes nothing of the message, which may hold anything.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum JobError {
    /// Longer than [`JOB_BYTES_MAX`].
    #[error("the message has {bytes} bytes; a job has at most {JOB_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not JSON at all.
    #[error("the message is not JSON: syntax error at line {line}, column {column}")]
    NotJson {
        /// Line of the error, from 1.
        line: usize,
        /// Column of the error, from 1.
        column: usize,
    },
    /// A version that this release does not know.
    #[error(
        "the job is of version {version}; this release reads version {JOB_VERSION}: \
         upgrade the workers before the producer"
    )]
    UnknownVersion {
        /// The version in the message.
        version: u64,
    },
    /// A job in the queue of another provider.
    #[error("the job belongs to another provider than its queue")]
    WrongQueue,
    /// JSON, but not a job.
    #[error("the message is JSON but not a job: a field is missing or of a wrong type")]
    WrongShape,
}

impl Job {
    /// A new job for a grant of this generation.
    pub const fn new(
        provider: ProviderId,
        id: DocumentId,
        generation: u64,
        enqueued_at: Timestamp,
    ) -> Self {
        Self {
            version: JOB_VERSION,
            provider,
            id,
            generation,
            force: false,
            redrive_count: 0,
            waited: false,
            enqueued_at,
        }
    }

    /// The message's body.
    ///
    /// ```
    /// use evergrant_domain::{DocumentId, Job, Timestamp};
    ///
    /// let now = Timestamp::from_unix_ms(1_700_000_000_000);
    /// let job = Job::new("autodesk".parse()?, DocumentId::Integer(1), 0, now);
    /// assert_eq!(Job::decode(&job.encode())?.id, DocumentId::Integer(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Decodes a message's body.
    ///
    /// # Errors
    /// [`JobError`] says what is wrong without quoting the message.
    pub fn decode(body: &[u8]) -> Result<Self, JobError> {
        #[derive(Deserialize)]
        struct Version {
            v: u64,
        }
        if body.len() > JOB_BYTES_MAX {
            return Err(JobError::TooLong { bytes: body.len() });
        }
        let version: Version =
            serde_json::from_slice(body).map_err(|error| without_quote(&error))?;
        if version.v != u64::from(JOB_VERSION) {
            return Err(JobError::UnknownVersion { version: version.v });
        }
        serde_json::from_slice(body).map_err(|error| without_quote(&error))
    }

    /// As [`Self::decode`], for a message that came from a queue of `provider`.
    ///
    /// # Errors
    /// As [`Self::decode`], and [`JobError::WrongQueue`].
    pub fn decode_from(provider: &ProviderId, body: &[u8]) -> Result<Self, JobError> {
        let job = Self::decode(body)?;
        if job.provider == *provider { Ok(job) } else { Err(JobError::WrongQueue) }
    }
}

fn without_quote(error: &serde_json::Error) -> JobError {
    match error.classify() {
        Category::Data => JobError::WrongShape,
        Category::Io | Category::Syntax | Category::Eof => {
            JobError::NotJson { line: error.line(), column: error.column() }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn job() -> Job {
        Job::new(
            "autodesk".parse().unwrap(),
            DocumentId::ObjectId([7; 12]),
            3,
            Timestamp::from_unix_ms(1_700_000_000_000),
        )
    }

    #[test]
    fn a_job_survives_the_queue() {
        for job in [job(), Job { force: true, redrive_count: 2, ..job() }] {
            assert_eq!(Job::decode(&job.encode()), Ok(job));
        }
    }

    #[test]
    fn a_job_is_small_because_millions_travel() {
        assert!(job().encode().len() < 200);
    }

    #[test]
    fn an_invalid_job_is_reported_without_quoting_it() {
        let secret = "evgsim_rt_secret";
        for body in [
            format!("{secret}{{"),
            format!("\"{secret}\""),
            format!("{{\"v\":\"{secret}\"}}"),
            format!("{{\"v\":1,\"provider\":\"{secret} !\"}}"),
            String::new(),
            secret.repeat(2_000),
        ] {
            let error = Job::decode(body.as_bytes()).unwrap_err();
            assert!(!error.to_string().contains(secret), "{error}");
        }
    }

    #[test]
    fn a_job_of_a_later_version_is_recognized() {
        let error = Job::decode(br#"{"v":2,"anything":[]}"#).unwrap_err();
        assert_eq!(error, JobError::UnknownVersion { version: 2 });
    }

    #[test]
    fn a_job_in_another_providers_queue_is_refused() {
        let error = Job::decode_from(&"other".parse().unwrap(), &job().encode()).unwrap_err();
        assert_eq!(error, JobError::WrongQueue);
    }

    proptest! {
        #[test]
        fn no_message_makes_decode_panic(body in any::<Vec<u8>>()) {
            let _ = Job::decode(&body);
        }
    }
}
