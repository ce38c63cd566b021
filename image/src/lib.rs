//! Desktop images: recipes, manifests, immutable versions, tags.
