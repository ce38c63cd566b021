//! Container images, made by hand from the specification: what a tool would
//! write, and what only somebody with bad intent would.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends here when what it stands on fails"
)]

mod support;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rolltop_image::{ImportError, OciError};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{Place, run, text};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn here() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A tar file of these files; a name that ends with `/` is a directory.
fn layer(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        if name.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
        }
        builder.append_data(&mut header, name, data.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An OCI layout on the way.
struct Layout(PathBuf);

impl Layout {
    fn new(dir: PathBuf) -> Self {
        fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
        Self(dir)
    }

    fn blob(&self, kind: &str, bytes: &[u8]) -> Value {
        let hex = sha256(bytes);
        fs::write(self.blob_path(&hex), bytes).unwrap();
        json!({ "mediaType": kind, "digest": format!("sha256:{hex}"), "size": bytes.len() })
    }

    fn blob_path(&self, hex: &str) -> PathBuf {
        self.0.join("blobs/sha256").join(hex)
    }

    /// An image of these layers: each as it is stored, and unpacked.
    fn image(&self, architecture: &str, layers: &[(Vec<u8>, Vec<u8>)]) -> Value {
        let contents: Vec<String> =
            layers.iter().map(|(_, plain)| format!("sha256:{}", sha256(plain))).collect();
        let config = json!({
            "architecture": architecture, "os": "linux",
            "config": { "Labels": { "org.opencontainers.image.description": "From a label" } },
            "rootfs": { "type": "layers", "diff_ids": contents },
        });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": self.blob(CONFIG, config.to_string().as_bytes()),
            "layers": layers.iter().map(|(stored, _)| self.blob(LAYER, stored)).collect::<Vec<_>>(),
        });
        let mut descriptor = self.blob(MANIFEST, manifest.to_string().as_bytes());
        descriptor["platform"] = json!({ "architecture": architecture, "os": "linux" });
        descriptor
    }

    fn index(&self, manifests: &[Value]) {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        fs::write(self.0.join("index.json"), index.to_string()).unwrap();
    }
}

/// Three layers, each compressed in another way; the upper ones take away and replace.
fn three_layers() -> Vec<(Vec<u8>, Vec<u8>)> {
    let lower = layer(&[
        ("usr/bin/session", "1"),
        ("usr/bin/server", "1"),
        ("etc/gone", "1"),
        ("opaque/old", "1"),
    ]);
    let middle = layer(&[("etc/.wh.gone", ""), ("opaque/.wh..wh..opq", ""), ("opaque/new", "2")]);
    let upper = layer(&[("usr/bin/session", "3")]);
    let zstd = zstd::stream::encode_all(&middle[..], 1).unwrap();
    vec![(gzip(&lower), lower), (zstd, middle), (upper.clone(), upper)]
}

fn one_layer(marker: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let plain = layer(&[("usr/bin/session", marker), ("usr/bin/server", "")]);
    vec![(gzip(&plain), plain)]
}

fn session(root: &Path) -> String {
    fs::read_to_string(root.join("usr/bin/session")).unwrap()
}

fn oci(result: Result<rolltop_image::Imported, ImportError>) -> OciError {
    match result {
        Err(ImportError::Oci(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn layers_are_applied_in_order_from_a_directory_and_from_a_file() {
    let Some(place) = Place::new() else { return };
    let layout = Layout::new(place.path("layout"));
    layout.index(&[layout.image(here(), &three_layers())]);
    let file = place.path("layout.tar");
    run("tar", &["--create", "--gzip", "--directory", text(&layout.0), "--file", text(&file), "."]);
    for source in [&layout.0, &file] {
        let imported = place.import(source, None).unwrap();
        let root = imported.root.path();
        assert_eq!(session(&root), "3");
        assert!(!root.join("etc/gone").exists() && !root.join("opaque/old").exists());
        assert_eq!(fs::read_to_string(root.join("opaque/new")).unwrap(), "2");
        assert_eq!(imported.unpacked.whited_out, 2);
        assert_eq!(imported.description.as_deref(), Some("From a label"));
    }
    place.leave();
}

#[test]
fn of_many_machines_this_one_is_taken_and_remarks_are_not() {
    let Some(place) = Place::new() else { return };
    let layout = Layout::new(place.path("layout"));
    let mut remark = layout.image("unknown", &one_layer("remark"));
    remark["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    let many = [
        layout.image("s390x", &one_layer("other")),
        remark,
        layout.image(here(), &one_layer("ours")),
    ];
    let inner = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": many });
    layout.index(&[layout.blob(INDEX, inner.to_string().as_bytes())]);
    assert_eq!(session(&place.import(&layout.0, None).unwrap().root.path()), "ours");

    layout.index(&many[..1]);
    let error = oci(place.import(&layout.0, None));
    assert!(matches!(&error, OciError::Platform { .. }), "{error}");
    assert!(error.to_string().contains("linux/s390x"), "{error}");
    // Not told in the index, but in its configuration.
    let mut silent = many[0].clone();
    silent.as_object_mut().unwrap().remove("platform");
    layout.index(&[silent]);
    assert!(matches!(oci(place.import(&layout.0, None)), OciError::Platform { .. }));
    place.leave();
}

#[test]
fn several_images_are_told_apart_by_name() {
    let Some(place) = Place::new() else { return };
    let layout = Layout::new(place.path("layout"));
    let named = |name: &str| {
        let mut image = layout.image(here(), &one_layer(name));
        image["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        image
    };
    layout.index(&[named("one"), named("two")]);
    let error = oci(place.import(&layout.0, None)).to_string();
    assert!(error.contains("one, two") && error.contains("--reference"), "{error}");
    assert_eq!(session(&place.import(&layout.0, Some("two")).unwrap().root.path()), "two");
    let error = oci(place.import(&layout.0, Some("three")));
    assert!(matches!(error, OciError::NoReference { found, .. } if found == ["one", "two"]));
    place.leave();
}

#[test]
fn every_byte_counts() {
    let Some(place) = Place::new() else { return };
    let layers = three_layers();
    let fresh = || {
        let layout = Layout::new(place.path("layout"));
        layout.index(&[layout.image(here(), &layers)]);
        layout
    };
    // Each blob in turn: one byte more, one less, one changed.
    let layout = fresh();
    let names: Vec<String> = fs::read_dir(layout.0.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 5);
    for name in &names {
        let good = fs::read(layout.blob_path(name)).unwrap();
        let mut changed = good.clone();
        changed[good.len() - 1] ^= 1;
        for bad in [[&good[..], b"\0"].concat(), good[..good.len() - 1].to_vec(), changed] {
            fs::write(layout.blob_path(name), bad).unwrap();
            assert!(place.import(&layout.0, None).is_err(), "{name}");
        }
        fs::remove_file(layout.blob_path(name)).unwrap();
        assert!(matches!(oci(place.import(&layout.0, None)), OciError::Read { .. }), "{name}");
        // Not even the same bytes from elsewhere: links stay within.
        fs::write(place.path("outside"), &good).unwrap();
        std::os::unix::fs::symlink(place.path("outside"), layout.blob_path(name)).unwrap();
        assert!(place.import(&layout.0, None).is_err(), "{name}");
        fs::remove_file(layout.blob_path(name)).unwrap();
        fs::write(layout.blob_path(name), good).unwrap();
    }
    place.import(&layout.0, None).unwrap();

    // A layer that unpacks to something else than the configuration says.
    let other = layer(&[("usr/bin/session", "other")]);
    layout.index(&[layout.image(here(), &[(gzip(&layers[0].1), other)])]);
    assert!(matches!(oci(place.import(&layout.0, None)), OciError::Damaged { .. }));
    place.leave();
}

#[test]
fn documents_that_make_no_sense_are_refused() {
    let Some(place) = Place::new() else { return };
    let layout = Layout::new(place.path("layout"));
    let image = layout.image(here(), &one_layer("x"));
    let nested = (0..6).fold(image.clone(), |inner, _| {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [inner] });
        layout.blob(INDEX, index.to_string().as_bytes())
    });
    let with = |key: &str, value: Value| {
        let mut image = image.clone();
        image[key] = value;
        vec![image]
    };
    for (title, manifests) in [
        ("nothing", vec![]),
        ("endless", vec![nested]),
        ("a path for a digest", with("digest", json!("sha256:../../../../etc/passwd"))),
        ("an unknown digest", with("digest", json!(format!("md5:{}", "0".repeat(32))))),
        ("another size", with("size", json!(1))),
        ("a blob as manifest", vec![layout.blob(MANIFEST, b"not json")]),
        ("an empty manifest", vec![layout.blob(MANIFEST, b"{}")]),
    ] {
        layout.index(&manifests);
        assert!(place.import(&layout.0, None).is_err(), "{title}");
    }
    layout.index(&[image]);
    fs::write(layout.0.join("oci-layout"), r#"{"imageLayoutVersion": "9.0.0"}"#).unwrap();
    assert!(matches!(oci(place.import(&layout.0, None)), OciError::Document { .. }));
    place.leave();
}

#[test]
fn what_docker_saved_before_oci_is_read() {
    let Some(place) = Place::new() else { return };
    let dir = place.path("saved");
    let layers = three_layers();
    let contents: Vec<String> =
        layers.iter().map(|(_, plain)| format!("sha256:{}", sha256(plain))).collect();
    let config = json!({ "architecture": here(), "os": "linux",
                         "rootfs": { "type": "layers", "diff_ids": contents } })
    .to_string();
    let config_name = format!("{}.json", sha256(config.as_bytes()));
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(&config_name), &config).unwrap();
    let mut paths = Vec::new();
    for (at, (_, plain)) in layers.iter().enumerate() {
        let id = sha256(&[at as u8]);
        fs::create_dir(dir.join(&id)).unwrap();
        fs::write(dir.join(&id).join("layer.tar"), plain).unwrap();
        paths.push(format!("{id}/layer.tar"));
    }
    // As docker does for a layer that is there already.
    fs::create_dir(dir.join("a".repeat(64))).unwrap();
    let linked = format!("{}/layer.tar", "a".repeat(64));
    std::os::unix::fs::symlink(format!("../{}", paths[2]), dir.join(&linked)).unwrap();
    paths[2] = linked;
    let saved = |tags: &[&str]| json!({ "Config": config_name, "RepoTags": tags, "Layers": paths });
    let manifest = |all: Value| fs::write(dir.join("manifest.json"), all.to_string()).unwrap();
    manifest(json!([saved(&["desk:1"])]));
    let file = place.path("saved.tar");
    let pack = || run("tar", &["--create", "--directory", text(&dir), "--file", text(&file), "."]);
    pack();
    for (source, reference) in [(&dir, None), (&file, None), (&file, Some("desk:1"))] {
        let imported = place.import(source, reference).unwrap();
        assert_eq!(session(&imported.root.path()), "3");
        assert!(!imported.root.path().join("etc/gone").exists());
    }
    assert!(matches!(oci(place.import(&file, Some("desk:2"))), OciError::NoReference { .. }));
    manifest(json!([saved(&["desk:1"]), saved(&["desk:2"])]));
    assert!(matches!(oci(place.import(&dir, None)), OciError::Several(_)));

    // Neither the configuration nor a layer may be another.
    manifest(json!([saved(&[])]));
    fs::write(dir.join(&config_name), config.replace("layers", "layerz")).unwrap();
    assert!(matches!(oci(place.import(&dir, None)), OciError::Damaged { .. }));
    fs::write(dir.join(&config_name), &config).unwrap();
    fs::write(dir.join(&paths[0]), layer(&[("usr/bin/session", "evil")])).unwrap();
    assert!(matches!(oci(place.import(&dir, None)), OciError::Damaged { .. }));
    place.leave();
}
