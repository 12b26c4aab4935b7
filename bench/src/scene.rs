//! The common setup of scenarios on real servers.

use anyhow::Context;

use crate::provider::{Provider, ProviderWire};
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
        Self::over(ProviderWire::Plain, servers, users, refreshed, settings).await
    }

    /// The same, with a provider that is spoken to so.
    pub(crate) async fn over(
        wire: ProviderWire,
        servers: &Servers,
        users: u32,
        refreshed: i64,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a folder for logs")?;
        let store = servers.stores.fresh().await?;
        let provider = Provider::start(folder.path(), wire).await?;
        let of_wire = provider.settings();
        let max_queued = users.to_string();
        let mut all = vec![("PRODUCER__MAX_QUEUED", max_queued.as_str())];
        all.extend(settings);
        all.extend(of_wire.iter().map(|(name, value)| (*name, value.as_str())));
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
