//! The common setup of scenarios on real servers.

use anyhow::Context;

use crate::provider::Provider;
use crate::site::Site;
use crate::store::Store;
use crate::{Servers, seed};

/// A store, a provider and a deployment, with users who are due.
pub(crate) struct Scene {
    pub(crate) store: Store,
    pub(crate) provider: Provider,
    pub(crate) site: Site,
    pub(crate) documents: Vec<mongodb::bson::Document>,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// Sets everything up on a fresh store, with users who were refreshed this often before. There
    /// is no latency yet.
    pub(crate) async fn new(
        servers: &Servers,
        users: u32,
        refreshed: i64,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a folder for logs")?;
        let store = servers.stores.fresh().await?;
        let provider = Provider::start(folder.path()).await?;
        let max_queued = users.to_string();
        let mut all = vec![("PRODUCER__MAX_QUEUED", max_queued.as_str())];
        all.extend(settings);
        let site = Site::new(servers, &store, &provider.token_url(), &all).await?;
        let documents =
            seed::users(&site.collection, provider.sign_in(users).await?, refreshed).await?;
        Ok(Self { store, provider, site, documents, _folder: folder })
    }

    pub(crate) const fn servers(&self) -> SideLoad<'_> {
        SideLoad { provider: &self.provider, store: Some(&self.store) }
    }
}

/// The load beside the workers.
pub(crate) struct SideLoad<'a> {
    pub(crate) provider: &'a Provider,
    /// None if it is a part of the workers.
    pub(crate) store: Option<&'a Store>,
}
