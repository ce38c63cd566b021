//! People of a directory: found by a search, and believed when the directory
//! takes their password. Always over TLS.

use std::{collections::BTreeSet, fs, io, path::PathBuf, sync::Arc, time::Duration};

use ldap3::{LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchEntry, ldap_escape};
use rustls::ClientConfig;
use thiserror::Error;

use super::{
    Known,
    authority::{self, AuthorityError},
};
use crate::{config, names::UserName};

/// For the connection with its TLS, and for each question.
const DEADLINE: Duration = Duration::from_secs(10);
/// LDAP: the password is wrong, or there is no such entry.
const INVALID_CREDENTIALS: u32 = 49;

/// The directory cannot be asked.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// A file of the configuration cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The authority's certificate cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The directory does not answer, or refuses us.
    #[error("the directory cannot be asked: {verb}")]
    Ldap {
        /// What was being done.
        verb: &'static str,
        /// Why not.
        #[source]
        source: Box<LdapError>,
    },
    /// More than one entry is somebody's.
    #[error("the directory has {count} entries for {name}; ldap.user_filter is to find one")]
    Several {
        /// Who was looked for.
        name: UserName,
        /// How many.
        count: usize,
    },
}

/// A directory. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    config: Arc<config::Ldap>,
    tls: Arc<ClientConfig>,
    bind: Option<(String, Arc<str>)>,
}

// === impl Directory ===

impl Directory {
    /// Reads the files; does not yet ask.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn new(config: config::Ldap) -> Result<Self, DirectoryError> {
        let tls = Arc::new(authority::client(&config.ca)?);
        let bind = match &config.bind {
            None => None,
            Some((dn, path)) => {
                let file = |source| DirectoryError::File { path: path.clone(), source };
                let text = fs::read_to_string(path).map_err(file)?;
                Some((dn.clone(), text.lines().next().unwrap_or_default().into()))
            }
        };
        Ok(Self { config: Arc::new(config), tls, bind })
    }

    /// Whether the directory takes the password; none: it does not, or has no
    /// such person, which it does not tell apart.
    ///
    /// # Errors
    /// If the directory cannot be asked.
    pub async fn check(
        &self,
        name: &UserName,
        password: &str,
    ) -> Result<Option<Known>, DirectoryError> {
        // A bind without a password is one as nobody, and always succeeds.
        if password.is_empty() {
            return Ok(None);
        }
        let mut ldap = self.connect().await?;
        let known = self.ask(&mut ldap, name, password).await;
        // It says goodbye; whether that is heard does not matter.
        ldap.unbind().await.ok();
        known
    }

    async fn ask(
        &self,
        ldap: &mut ldap3::Ldap,
        name: &UserName,
        password: &str,
    ) -> Result<Option<Known>, DirectoryError> {
        self.bind_to_search(ldap).await?;
        let Some(entry) = self.find(ldap, name).await? else { return Ok(None) };
        let bound = ldap.with_timeout(DEADLINE).simple_bind(&entry.dn, password).await;
        match bound.map_err(failed("checking a password"))? {
            result if result.rc == INVALID_CREDENTIALS => return Ok(None),
            result => result.success().map_err(failed("checking a password"))?,
        };
        // Groups are read by who may search, not by the one who signs in.
        self.bind_to_search(ldap).await?;
        let groups = self.groups(ldap, &entry.dn, name).await?;
        let config = &self.config;
        let full_name =
            entry.attrs.get(&config.full_name).and_then(|values| values.first()).cloned();
        let full_name = full_name.unwrap_or_default();
        Ok(Some(Known::new(full_name, &groups, &config.groups, &config.roles)))
    }

    async fn connect(&self) -> Result<ldap3::Ldap, DirectoryError> {
        let settings = LdapConnSettings::new()
            .set_conn_timeout(DEADLINE)
            .set_config(Arc::clone(&self.tls))
            .set_starttls(self.config.url.starts_with("ldap://"));
        let connected = LdapConnAsync::with_settings(settings, &self.config.url).await;
        let (connection, ldap) = connected.map_err(failed("connecting"))?;
        // Ends when `ldap` is dropped; calls are told what broke it.
        tokio::spawn(async move {
            if let Err(error) = connection.drive().await {
                tracing::debug!(%error, "a line to the directory broke");
            }
        });
        Ok(ldap)
    }

    async fn bind_to_search(&self, ldap: &mut ldap3::Ldap) -> Result<(), DirectoryError> {
        let (dn, password) = match &self.bind {
            Some((dn, password)) => (dn.as_str(), password.as_ref()),
            None => ("", ""),
        };
        let bound = ldap.with_timeout(DEADLINE).simple_bind(dn, password).await;
        let bound = bound.and_then(ldap3::LdapResult::success);
        bound.map(drop).map_err(failed("binding as ldap.bind_dn"))
    }

    async fn find(
        &self,
        ldap: &mut ldap3::Ldap,
        name: &UserName,
    ) -> Result<Option<SearchEntry>, DirectoryError> {
        let filter = self.config.user_filter.replace("{name}", &ldap_escape(name.as_str()));
        let wanted = [self.config.full_name.as_str()];
        let mut found = search(ldap, &self.config.user_base, &filter, &wanted).await?;
        match found.len() {
            0 | 1 => Ok(found.pop()),
            count => Err(DirectoryError::Several { name: name.clone(), count }),
        }
    }

    async fn groups(
        &self,
        ldap: &mut ldap3::Ldap,
        dn: &str,
        name: &UserName,
    ) -> Result<BTreeSet<String>, DirectoryError> {
        let Some(base) = &self.config.group_base else { return Ok(BTreeSet::new()) };
        let filter = self.config.group_filter.replace("{dn}", &ldap_escape(dn));
        let filter = filter.replace("{name}", &ldap_escape(name.as_str()));
        let attribute = self.config.group_name.as_str();
        let found = search(ldap, base, &filter, &[attribute]).await?;
        let names = found.into_iter().filter_map(|mut entry| entry.attrs.remove(attribute));
        Ok(names.flatten().collect())
    }
}

async fn search(
    ldap: &mut ldap3::Ldap,
    base: &str,
    filter: &str,
    wanted: &[&str],
) -> Result<Vec<SearchEntry>, DirectoryError> {
    let answer =
        ldap.with_timeout(DEADLINE).search(base, Scope::Subtree, filter, wanted.to_vec()).await;
    let found = answer.and_then(ldap3::SearchResult::success).map_err(failed("searching"))?.0;
    // Neither references to other servers nor intermediate answers are people.
    let entries = found.into_iter().filter(|entry| !entry.is_ref() && !entry.is_intermediate());
    Ok(entries.map(SearchEntry::construct).collect())
}

fn failed(verb: &'static str) -> impl FnOnce(LdapError) -> DirectoryError {
    move |source| DirectoryError::Ldap { verb, source: Box::new(source) }
}
