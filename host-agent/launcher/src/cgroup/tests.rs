//! Names of cgroups, and device rules of version 2, which this launcher writes
//! where version 1 has none; the rest of what the kernel does is tested with
//! whole containers.

use std::process::{Command, Stdio};

use super::*;

#[test]
fn a_path_is_taken_from_the_root() {
    for good in ["/rolltop/desk7", "rolltop/desk7"] {
        assert_eq!(relative(Path::new(good)).unwrap(), Path::new("rolltop/desk7"));
    }
}

#[test]
fn a_path_that_leads_elsewhere_is_refused() {
    for bad in ["", "/", "..", "a/../b", "/../x", "./a", "system.slice:rolltop:7", "a\nb"] {
        assert!(matches!(relative(Path::new(bad)), Err(CgroupError::BadPath { .. })), "{bad:?}");
    }
}

#[test]
fn a_program_keeps_devices_off_in_version_two() {
    let Some(unified) = Hierarchies::detect().unwrap().unified else {
        println!("skipped: needs version 2 control groups");
        return;
    };
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        println!("skipped: needs root and /dev/fuse");
        return;
    }
    let hierarchies = Hierarchies { unified: Some(unified), legacy: Vec::new() };
    let path = format!("/rolltop-devices-{}", std::process::id());
    let tried = |rules: serde_json::Value| {
        let resources = serde_json::from_value(serde_json::json!({ "devices": rules })).unwrap();
        let cgroup = Cgroup::create(&hierarchies, Path::new(&path), &resources).unwrap();
        let script = "read go; for d in null urandom fuse; do true <>/dev/$d && echo $d; done; \
                      true </dev/fuse && echo fuse to read";
        let mut child = Command::new("/bin/sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        cgroup.add(pid).unwrap();
        drop(child.stdin.take());
        let output = child.wait_with_output().unwrap();
        fs::remove_dir(cgroup.unified.as_deref().unwrap()).unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let nothing = serde_json::json!({ "allow": false, "access": "rwm" });
    assert_eq!(tried(serde_json::json!([nothing])), "null\nurandom\n");
    let fuse = |access: &str| serde_json::json!({ "allow": true, "type": "c", "major": 10, "minor": 229, "access": access });
    let all = "null\nurandom\nfuse\nfuse to read\n";
    assert_eq!(tried(serde_json::json!([nothing, fuse("rwm")])), all);
    let reading = "null\nurandom\nfuse to read\n";
    assert_eq!(tried(serde_json::json!([nothing, fuse("r")])), reading);
    assert_eq!(tried(serde_json::json!([])), all);
}
