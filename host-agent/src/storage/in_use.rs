//! What this host uses of its local image stores, noted down there, so that
//! nobody removes it. Stores on NFS are read-only here: for them, whoever
//! removes versions asks the broker.

use rolltop_image::{HostName, ImageName, ImageRef, ImageStore, Noted, Selector, VersionId};
use rolltop_overlay::BaseKey;
use tracing::{debug, warn};

use super::{Storage, StorageError, Store};

/// A version, as keys of base roots name it.
pub type Used = (ImageName, VersionId);

/// Notes a version before its root is mounted. It stays from then on.
pub(super) fn hold(
    host: &HostName,
    store: &ImageStore,
    image: &rolltop_image::Published,
) -> Result<(), StorageError> {
    if store.hold(host, image)? == Noted::Nowhere {
        debug!(image = %image.name, version = %image.version, "the image store is read-only");
    }
    Ok(())
}

impl Storage {
    /// Unmounts local base roots that no desktop uses, and takes back what was
    /// noted for them. Only while nothing can be started.
    pub fn release_unused(&self, used: &[Used]) {
        let stores: Vec<&ImageStore> = self.stores.iter().filter_map(Store::as_local).collect();
        let keys = match self.bases.mounted() {
            Ok(keys) => keys,
            Err(error) => {
                warn!(%error, "base roots cannot be listed: what is noted as in use stays so");
                return;
            }
        };
        let mut kept = used.to_vec();
        for key in keys {
            let Some(version) = version_of(&key) else { continue };
            if used.contains(&version) || !stores.iter().any(|store| has(store, &version)) {
                continue;
            }
            if let Err(error) = self.bases.unmount(&key) {
                warn!(%error, %key, "a base root that no desktop uses cannot be unmounted");
                kept.push(version);
            }
        }
        for store in stores {
            if let Err(error) = store.release_all_but(&self.host, &kept) {
                // It is in use for those who ask, which harms nobody.
                debug!(%error, "what is noted as in use cannot be taken back");
            }
        }
    }
}

fn version_of(key: &BaseKey) -> Option<Used> {
    let (name, version) = key.as_str().split_once('@')?;
    Some((name.parse().ok()?, version.parse().ok()?))
}

fn has(store: &ImageStore, (name, version): &Used) -> bool {
    let selector = Selector::Version(version.clone());
    store.find(&ImageRef { name: name.clone(), selector }).is_ok()
}
