//! Versions of a local store in the words of the API, and its errors.

use std::{error::Error, iter};

use rolltop_image::{
    Broken, BuildError, DisplayProtocol, DocumentError, Fault, ImportError, PublishError,
    Published, RecipeError, SpecError, StoreError,
};
use tonic::Code;

use crate::{
    failure::{Failure, FieldViolation},
    view::ImageView,
};

/// A local version as a host would tell of it.
pub(super) fn view(published: &Published, tags: Vec<String>) -> ImageView {
    let manifest = &published.manifest;
    ImageView {
        host: None,
        image: published.name.to_string(),
        version: published.version.to_string(),
        digest: Some(manifest.digest.to_string()),
        size_bytes: i64::try_from(manifest.size_bytes).unwrap_or(i64::MAX),
        published_at: Some(prost_types::Timestamp::from(manifest.published_at).to_string()),
        tags,
        display: match manifest.desktop.display.protocol {
            DisplayProtocol::Vnc => "vnc",
        },
        description: (!manifest.description.is_empty()).then(|| manifest.description.clone()),
        first_id: manifest.first_id.map(rolltop_image::FirstId::get),
        retired: None,
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (code, reason) = match &error {
            StoreError::NoImage(_) | StoreError::NoTag(..) | StoreError::NoVersion(..) => {
                (Code::NotFound, "IMAGE_NOT_FOUND")
            }
            StoreError::Retired(..) => (Code::FailedPrecondition, "IMAGE_RETIRED"),
            StoreError::Tagged { .. } => (Code::FailedPrecondition, "IMAGE_TAGGED"),
            StoreError::InUse { .. } => (Code::FailedPrecondition, "IMAGE_IN_USE"),
            StoreError::Io { .. } => (Code::Unknown, "IMAGE_STORE_FAILED"),
            StoreError::BadTag { .. }
            | StoreError::Manifest { .. }
            | StoreError::WrongName { .. }
            | StoreError::WrongRoot { .. }
            | StoreError::Name { .. } => (Code::DataLoss, "IMAGE_BROKEN"),
        };
        Self::new(code, reason, chain(&error))
    }
}

impl Failure {
    /// Something in a store that cannot be used.
    pub(super) fn from_broken(broken: &Broken) -> Self {
        let message = format!("{} cannot be used: {}", broken.path.display(), chain(&broken.error));
        Self::new(Code::DataLoss, "IMAGE_BROKEN", message)
    }
}

impl From<RecipeError> for Failure {
    fn from(error: RecipeError) -> Self {
        let RecipeError::Document { path, source: DocumentError::Faults(faults) } = &error else {
            return Self::new(Code::InvalidArgument, "RECIPE_INVALID", chain(&error));
        };
        let message = format!("the recipe {} is not valid", path.display());
        with_faults(Self::new(Code::InvalidArgument, "RECIPE_INVALID", message), faults)
    }
}

fn with_faults(mut failure: Failure, faults: &[Fault]) -> Failure {
    failure.field_violations = faults
        .iter()
        .map(|fault| FieldViolation {
            field: fault.key.clone(),
            description: match &fault.found {
                Some(found) => format!("{found}: expected {}", fault.expected),
                None => format!("missing: expected {}", fault.expected),
            },
        })
        .collect();
    failure
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Recipe(recipe) => recipe.into(),
            BuildError::Store(store) => store.into(),
            BuildError::NoStore | BuildError::Shifted { .. } => {
                Self::new(Code::InvalidArgument, "RECIPE_INVALID", chain(&error))
            }
            BuildError::Base(import) => (*import).into(),
            BuildError::Prepare(_)
            | BuildError::Io { .. }
            | BuildError::Packages { .. }
            | BuildError::Command { .. } => {
                Self::new(Code::Unknown, "IMAGE_BUILD_FAILED", chain(&error))
            }
        }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Store(store) => store.into(),
            PublishError::NoSessionCommand { .. }
            | PublishError::NoInit { .. }
            | PublishError::NoDisplayServer { .. }
            | PublishError::Shift(_)
            | PublishError::NotErofs { .. }
            | PublishError::Description(_) => {
                Self::new(Code::InvalidArgument, "IMAGE_INVALID", chain(&error))
            }
            PublishError::Clock | PublishError::Tool(_) => {
                Self::new(Code::Unknown, "IMAGE_PUBLISH_FAILED", chain(&error))
            }
        }
    }
}

impl From<SpecError> for Failure {
    fn from(error: SpecError) -> Self {
        let SpecError::Document { path, source: DocumentError::Faults(faults) } = &error else {
            return Self::new(Code::InvalidArgument, "MANIFEST_INVALID", chain(&error));
        };
        let message = format!("{} is not valid", path.display());
        with_faults(Self::new(Code::InvalidArgument, "MANIFEST_INVALID", message), faults)
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        let (code, reason) = match error {
            ImportError::Spec(spec) => return spec.into(),
            ImportError::NotAnImage(_) | ImportError::Archive(_) | ImportError::Oci(_) => {
                (Code::InvalidArgument, "ARCHIVE_INVALID")
            }
            ImportError::Io { .. } | ImportError::Prepare(_) | ImportError::Tool { .. } => {
                (Code::Unknown, "IMAGE_IMPORT_FAILED")
            }
        };
        Self::new(code, reason, chain(&error))
    }
}

/// An error and what is behind it, in one text. An error that says itself what
/// is behind it is not repeated.
fn chain(error: &dyn Error) -> String {
    iter::successors(error.source(), |error| (*error).source()).map(ToString::to_string).fold(
        error.to_string(),
        |text, cause| {
            if text.contains(&cause) { text } else { format!("{text}: {cause}") }
        },
    )
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn an_error_tells_its_causes() {
        let error = StoreError::Io {
            verb: "open the image store",
            path: "/nowhere".into(),
            source: io::Error::from(io::ErrorKind::NotFound),
        };
        let failure = Failure::from(error);
        assert_eq!(failure.message, "cannot open the image store /nowhere: entity not found");
        assert_eq!(failure.reason, "IMAGE_STORE_FAILED");
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let failure = Failure::from(StoreError::NoImage("demo".parse().unwrap()));
        assert_eq!((failure.code, failure.exit.0), (Code::NotFound, 4));
    }
}
