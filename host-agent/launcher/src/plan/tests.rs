//! Configurations, good and bad, without doing any of it.

use super::*;
use serde_json::{Value, json};

fn base() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs" },
        "process": { "user": { "uid": 0, "gid": 0 }, "args": ["sh"], "cwd": "/" },
        "linux": {
            "namespaces": [{ "type": "user" }, { "type": "mount" }, { "type": "pid" }],
            "uidMappings": [{ "containerID": 0, "hostID": 1000, "size": 10 }],
            "gidMappings": [{ "containerID": 0, "hostID": 1000, "size": 10 }],
        },
    })
}

fn plan(config: &Value) -> Result<ContainerPlan, PlanError> {
    ContainerPlan::new(Path::new("/bundle"), &serde_json::from_value(config.clone()).unwrap())
}

/// Sets `pointer` of a good configuration and expects an error that names `word`.
fn refused(pointer: &str, value: Value, word: &str) {
    let mut config = base();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    config.pointer_mut(parent).unwrap()[key] = value;
    let error = plan(&config).unwrap_err().to_string();
    assert!(error.contains(word), "{pointer}: {error}");
}

#[test]
fn a_small_configuration_is_enough() {
    let plan = plan(&base()).unwrap();
    assert_eq!(plan.root, Path::new("/bundle/rootfs"));
    assert_eq!(plan.process.capabilities, CapabilityPlan::default(), "none unless named");
    assert_eq!(IdMaps::text(&plan.namespaces.id_maps.unwrap().users), "0 1000 10\n");
}

#[test]
fn who_can_write_to_its_cgroups_divides_them() {
    let with = |option: &str| {
        let mut config = base();
        config["mounts"] = json!([
            { "destination": "/c", "type": "cgroup", "source": "cgroup", "options": [option] },
        ]);
        plan(&config).unwrap().divider()
    };
    assert_eq!(with("rw"), Some((1000, 1000)), "its root, as the host sees it");
    assert_eq!(with("ro"), None);
    assert_eq!(plan(&base()).unwrap().divider(), None, "it sees none");
}

#[test]
fn bad_values_are_refused_by_name() {
    refused("/process/args", json!([]), "process.args");
    refused("/process/args", json!([""]), "process.args");
    refused("/process/args", json!(["a\0b"]), "NUL");
    refused("/process/env", json!(["A=\0"]), "NUL");
    refused("/process/cwd", json!("relative"), "process.cwd");
    refused("/process/cwd", json!("/a/../b"), "process.cwd");
    refused("/process/oomScoreAdj", json!(1001), "oomScoreAdj");
    refused("/process/user", json!({ "uid": 0, "gid": 0, "umask": 512 }), "umask");
    refused("/process/rlimits", json!([{ "type": "RLIMIT_CORE", "soft": 2, "hard": 1 }]), "soft");
    refused("/linux/uidMappings", json!([]), "uidMappings");
    refused(
        "/linux/gidMappings",
        json!([{ "containerID": 0, "hostID": 0, "size": 0 }]),
        "gidMappings",
    );
    refused(
        "/linux/uidMappings",
        json!([{ "containerID": 0, "hostID": u32::MAX, "size": 2 }]),
        "range of 32-bit",
    );
    refused(
        "/linux/uidMappings",
        json!([{ "containerID": 5, "hostID": 5, "size": 2 }]),
        "must map 0",
    );
    refused("/linux/maskedPaths", json!(["proc/kcore"]), "maskedPaths");
    refused("/linux/readonlyPaths", json!(["/proc/../etc"]), "readonlyPaths");
}

#[test]
fn what_would_reach_the_host_is_refused() {
    refused("/linux/namespaces", json!([{ "type": "mount" }]), "no pid");
    refused("/linux/namespaces", json!([{ "type": "pid" }]), "no mount");
    refused("/linux/sysctl", json!({ "kernel.hostname": "x" }), "kernel.hostname");
    refused("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }), "host");
    refused("/linux/sysctl", json!({ "net./../../kernel": "1" }), "names joined by dots");
    refused("/linux/rootfsPropagation", json!("rshared"), "rootfsPropagation");
    refused("/mounts", json!([{ "destination": "/", "type": "tmpfs" }]), "root");
    refused("/mounts", json!([{ "destination": "/a/../b", "type": "tmpfs" }]), "destination");
    let shared =
        json!([{ "destination": "/a", "type": "bind", "source": "/b", "options": ["rshared"] }]);
    refused("/mounts", shared, "rshared");
}

#[test]
fn what_is_not_offered_is_refused() {
    refused("/hostname", json!("x"), "hostname");
    refused("/linux/namespaces", json!([{ "type": "user" }, { "type": "user" }]), "once");
    refused("/linux/namespaces", json!([{ "type": "mount", "path": "/x" }]), "mnt");
    refused("/linux/namespaces", json!([{ "type": "network", "path": "x" }]), "absolute");
    refused("/linux/mountLabel", json!("x"), "mountLabel");
    refused("/linux/timeOffsets", json!({}), "timeOffsets");
    refused(
        "/mounts",
        json!([{ "destination": "/a", "type": "ext4", "source": "/dev/sda" }]),
        "ext4",
    );
    refused(
        "/mounts",
        json!([{ "destination": "/a", "type": "bind", "source": "/b", "options": ["size=1"] }]),
        "size",
    );
    refused(
        "/mounts",
        json!([{ "destination": "/a", "type": "tmpfs", "options": ["tmpcopyup"] }]),
        "tmpcopyup",
    );
    refused("/linux/devices", json!([{ "path": "/dev/x", "type": "p" }]), "devices");
    refused(
        "/linux/devices",
        json!([{ "path": "/dev/x", "type": "c", "major": -1 }]),
        "device number",
    );
}

#[test]
fn capability_sets_must_fit_the_kernels_rules() {
    refused("/process/capabilities", json!({ "effective": ["CAP_KILL"] }), "effective");
    let ambient = json!({ "permitted": ["CAP_KILL"], "ambient": ["CAP_KILL"] });
    refused("/process/capabilities", ambient, "ambient");
}

#[test]
fn the_last_of_contrary_options_counts() {
    let mut config = base();
    config["mounts"] = json!([{
        "destination": "/a", "type": "bind", "source": "b",
        "options": ["rbind", "ro", "noatime", "rw", "nosuid", "strictatime"],
    }]);
    let mount = plan(&config).unwrap().mounts.remove(0);
    use rustix::mount::MountAttrFlags as Flags;
    let set = Flags::MOUNT_ATTR_NOSUID | Flags::MOUNT_ATTR_STRICTATIME;
    assert_eq!(Flags::from_bits_retain(mount.set), set);
    assert_eq!(
        Flags::from_bits_retain(mount.clear),
        Flags::MOUNT_ATTR_RDONLY | Flags::MOUNT_ATTR__ATIME
    );
    let source = MountSource::Bind { path: "/bundle/b".into(), recursive: true };
    assert_eq!(mount.source, source);
}

#[test]
fn own_file_systems_keep_their_options() {
    let mut config = base();
    config["mounts"] = json!([{
        "destination": "/dev/pts", "type": "devpts", "source": "devpts",
        "options": ["nosuid", "newinstance", "ptmxmode=0666", "gid=5"],
    }]);
    let mount = plan(&config).unwrap().mounts.remove(0);
    let option = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    let MountSource::New { options, .. } = mount.source else { panic!("{mount:?}") };
    assert_eq!(options, [option("ptmxmode", "0666"), option("gid", "5")]);
}

#[test]
fn sysctls_of_new_namespaces_are_planned() {
    let mut config = base();
    config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "network" }));
    config["linux"]["sysctl"] =
        json!({ "net.ipv4.ip_forward": "0", "user.max_inotify_watches": "9" });
    let plan = plan(&config).unwrap();
    let sysctl = |path: &str, value: &str| (PathBuf::from(path), value.to_owned());
    let expected = [sysctl("net/ipv4/ip_forward", "0"), sysctl("user/max_inotify_watches", "9")];
    assert_eq!(plan.sysctls, expected);
}
