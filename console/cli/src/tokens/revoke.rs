//! `evergrant tokens forget --revoke`

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, bail};
use evergrant_domain::{DocumentId, ProviderId};
use evergrant_operations::operator::{RevocationEndpoint, RevocationResult};
use evergrant_provider::Provider;

use super::Tokens;
use super::act::{UNDER_WAY, WAITS_FOR_ANSWER, exit};
use crate::exit::Exit;

/// What is done to a document.
struct RevocationTarget<'a> {
    id: &'a DocumentId,
    /// None where there is no document, or no provider yet.
    provider: Option<ProviderId>,
    is_there: bool,
}

impl Tokens<'_> {
    /// Revokes grants at their providers and forgets those that were revoked. Nothing is done unless all of
    /// their providers have an address for it.
    pub(crate) async fn revoke(
        &self,
        providers: Vec<Provider>,
        ids: &[DocumentId],
        why: &str,
    ) -> anyhow::Result<Exit> {
        let targets = self.targets(ids).await?;
        let endpoints = self.endpoints(providers, &targets)?;
        let operator = self.operator(why);
        let mut done = 0;
        for RevocationTarget { id, provider, is_there } in targets {
            let endpoint = provider.as_ref().and_then(|provider| endpoints.get(provider));
            let result = match endpoint {
                Some(endpoint) => operator.revoke_grant(endpoint, id).await?,
                None if is_there => RevocationResult::Kept(NOT_ADOPTED.to_owned()),
                None => RevocationResult::Absent,
            };
            match result {
                RevocationResult::Forgotten => {
                    done += 1;
                    self.say(id, "revoked and forgotten", SO);
                }
                RevocationResult::Revoked(why) => self.refuse(id, &state_is_left(&why)),
                RevocationResult::Kept(why) => self.refuse(id, &why),
                RevocationResult::UnderWay => self.refuse(id, UNDER_WAY),
                RevocationResult::WaitsForAnswer => self.refuse(id, WAITS_FOR_ANSWER),
                RevocationResult::Absent => self.say_absent(id),
            }
        }
        Ok(exit(done, ids.len()))
    }

    async fn targets<'i>(
        &self,
        ids: &'i [DocumentId],
    ) -> anyhow::Result<Vec<RevocationTarget<'i>>> {
        let mut targets = Vec::new();
        for id in ids {
            let found = self.store.get(id).await?;
            let is_there = found.is_some();
            let provider = found.and_then(|grant| grant.provider);
            targets.push(RevocationTarget { id, provider, is_there });
        }
        Ok(targets)
    }

    fn endpoints(
        &self,
        providers: Vec<Provider>,
        targets: &[RevocationTarget<'_>],
    ) -> anyhow::Result<BTreeMap<ProviderId, RevocationEndpoint>> {
        let mut wanted = Vec::new();
        for provider in providers {
            let is_wanted =
                |target: &RevocationTarget<'_>| target.provider.as_ref() == Some(&provider.id);
            let Some(target) = targets.iter().find(|target| is_wanted(target)) else { continue };
            if provider.revocation_url.is_none() {
                bail!(
                    "{} is a grant of {1}, which has no revocation address, so nothing was done: set \
                     providers.{1}.revocation_url if it has one, or forget without --revoke",
                    target.id,
                    provider.id
                );
            }
            wanted.push(provider);
        }
        let known = |id: &ProviderId| wanted.iter().any(|provider| provider.id == *id);
        let unknown = targets.iter().filter_map(|target| target.provider.as_ref());
        if let Some(id) = unknown.into_iter().find(|id| !known(id)) {
            bail!("there is no section providers.{id}, so nothing was done: its client is needed");
        }
        let start = |provider: Provider| {
            let id = provider.id.clone();
            let states = Arc::clone(self.store) as Arc<dyn evergrant_ports::ProviderStates>;
            let endpoint = RevocationEndpoint::start(provider, states);
            Ok((id, endpoint.context("nothing was done")?))
        };
        wanted.into_iter().map(start).collect()
    }
}

const SO: &str = "its user has to sign in again. While the document is there, the producer takes it up, and its \
     token is found dead";
const NOT_ADOPTED: &str = "it is not adopted yet: the producer does that in a minute";

fn state_is_left(why: &str) -> String {
    format!(
        "it is revoked, but Evergrant's state of it may still be there ({why}): `evergrant tokens forget` it in \
         a minute"
    )
}
