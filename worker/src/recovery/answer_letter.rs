//! The dead letter of an answer that cannot be written.

use evergrant_domain::{DeadLetter, ProviderId, SealedAnswer};
use evergrant_ports::wall_clock;

/// The letter of a rescued answer, kept whole, from the worker of this name. It goes to the dead
/// letters of the answer's provider. Only those of `providers` can be browsed, so an answer of
/// another provider goes to those of the first one and says so. None if there is no provider.
pub(crate) fn letter_of<'a>(
    body: Vec<u8>,
    answer: Option<SealedAnswer>,
    why: String,
    providers: impl Iterator<Item = &'a ProviderId> + Clone,
    worker: &str,
) -> Option<DeadLetter> {
    let named = answer.as_ref().map(|answer| &answer.provider);
    let own = named.and_then(|named| providers.clone().find(|provider| *provider == named));
    let why = match named {
        Some(named) if own.is_none() => {
            format!("it is of the provider {named}, which is not configured here: {why}")
        }
        _ => why,
    };
    let provider = own.or(providers.clone().next())?.clone();
    let (id, now) = (answer.map(|answer| answer.id), wall_clock());
    Some(DeadLetter::of_answer(body, provider, id, why, now, worker))
}

#[cfg(test)]
mod tests {
    use evergrant_domain::sealed_answer::SEALED_ANSWER_VERSION;
    use evergrant_domain::{DocumentId, Timestamp};

    use super::*;

    fn answer_of(provider: &str) -> SealedAnswer {
        SealedAnswer {
            version: SEALED_ANSWER_VERSION,
            provider: provider.parse().unwrap(),
            id: DocumentId::Integer(1),
            key: "k".to_owned(),
            sealed_at: Timestamp::default(),
            spent: None,
            passes: 0,
            sealed: "AAAA".to_owned(),
        }
    }

    #[test]
    fn an_answers_letter_names_an_unknown_provider() {
        let providers: [ProviderId; 2] = ["p", "q"].map(|name| name.parse().unwrap());
        let letter = |answer: Option<SealedAnswer>| {
            letter_of(Vec::new(), answer, "another key".to_owned(), providers.iter(), "w").unwrap()
        };
        let gone = letter(Some(answer_of("gone")));
        assert_eq!((&gone.provider, gone.id), (&providers[0], Some(DocumentId::Integer(1))));
        let why = gone.description.unwrap();
        assert!(why.contains("provider gone") && why.ends_with("another key"), "{why}");
        let own = letter(Some(answer_of("q")));
        assert_eq!(
            (own.provider, own.description.as_deref()),
            (providers[1].clone(), Some("another key"))
        );
        assert_eq!(letter(None).provider, providers[0]);
    }
}
