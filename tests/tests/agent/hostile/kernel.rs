//! Up: what a desktop's root asks of the kernel, call by call. The same program
//! is run by the host's root in namespaces of its own, where it must work.

use std::process::Command;

use anyhow::ensure;
use nix::libc;
use rolltop_proto::v1::StartHostDesktopRequest;
use rolltop_tests::client;

use crate::stage::{Stage, demo, exec};

/// Something that no desktop may.
struct Attempt {
    name: &'static str,
    /// Perl; true when it worked.
    program: String,
    /// Whether this machine lets its own root do it, without harm.
    works_outside: bool,
}

/// `mount(2)`'s flags.
const MS_REMOUNT_BIND: u64 = 0x20 | 0x1000;
const MNT_DETACH: u64 = 2;
const NEW_USER: u64 = 0x1000_0000;
const NEW_MOUNTS: u64 = 0x0002_0000;
/// `syscall` takes text from variables only: the kernel might write to it.
const WORDS: &str = r#"my ($x, $none, $root, $mnt, $proc, $run, $disk, $user, $tmpfs, $cgroup2)
    = ("x", "", "/", "/mnt", "/proc", "/run", "/root/disk", "user", "tmpfs", "cgroup2");"#;

fn attempts() -> Vec<Attempt> {
    let call =
        |number: libc::c_long, arguments: &str| format!("syscall({number}, {arguments}) >= 0");
    let mount_tmpfs = call(libc::SYS_mount, r#"$x, $mnt, $tmpfs, 0, 0"#);
    let yes = |name, program| Attempt { name, program, works_outside: true };
    let untried = |name, program| Attempt { name, program, works_outside: false };
    let mut attempts = vec![
        yes("core_pattern", r#"open($f, ">>", "/proc/sys/kernel/core_pattern")"#.into()),
        yes(
            "hotplug_and_modprobe_helpers",
            r#"open($f, ">>", "/proc/sys/kernel/poweroff_cmd")"#.into(),
        ),
        // Kernels may lack it.
        untried("sysrq_trigger", r#"open($f, ">", "/proc/sysrq-trigger")"#.into()),
        untried(
            "kernel_memory",
            r#"open($f, "<", "/proc/kcore") && sysread($f, my $b, 16)"#.into(),
        ),
        untried(
            "physical_memory",
            r#"open($f, "<", "/dev/mem") || open($f, "<", "/dev/kmem")"#.into(),
        ),
        yes("kernel_log", r#"open($f, "<", "/dev/kmsg")"#.into()),
        yes("uevents", r#"open($f, ">>", "/sys/class/net/lo/uevent")"#.into()),
        yes("mknod_disk", call(libc::SYS_mknodat, r#"-100, $disk, 0060600, 0x700"#)),
        yes("loop_control", r#"open($f, "+<", "/dev/loop-control")"#.into()),
        untried(
            "raw_disks",
            r#"grep { open($f, "<", $_) } glob("/dev/loop* /dev/sd* /dev/vd* /dev/nvme*")"#.into(),
        ),
        yes("keyring", {
            // The process's own keyring: gone with it.
            call(libc::SYS_add_key, r#"$user, $x, $x, 1, -2"#)
        }),
        yes("file_handles", {
            let take = call(libc::SYS_name_to_handle_at, r#"-100, $run, $h, $m, 0"#);
            let open = call(libc::SYS_open_by_handle_at, "fileno($d), $h, 0");
            format!(
                r#"my $h = pack("L l a128", 128, 0, ""); my $m = pack("l", 0);
                open($d, "<", "/run") && {take} && {open}"#
            )
        }),
        yes("mount", mount_tmpfs.clone()),
        yes("mount_control_groups", call(libc::SYS_mount, r#"$x, $mnt, $cgroup2, 0, 0"#)),
        yes(
            "remount_writable",
            call(libc::SYS_mount, &format!(r#"$x, $proc, $none, {MS_REMOUNT_BIND}, 0"#)),
        ),
        yes("unmount", call(libc::SYS_umount2, &format!(r#"$run, {MNT_DETACH}"#))),
        yes("new_mount_api", call(libc::SYS_fsopen, r#"$tmpfs, 0"#)),
        yes("open_tree", call(libc::SYS_open_tree, r#"-100, $root, 1"#)),
        yes("pivot_or_move", call(libc::SYS_mount, r#"$run, $mnt, $none, 0x1000, 0"#)),
        yes("user_namespace_and_mount", {
            let unshare = call(libc::SYS_unshare, &(NEW_USER | NEW_MOUNTS).to_string());
            format!("{unshare} && {mount_tmpfs}")
        }),
        yes("mount_namespace", call(libc::SYS_unshare, &NEW_MOUNTS.to_string())),
        yes("bpf", {
            // BPF_MAP_CREATE of an array: 4-byte keys, 4-byte values, one.
            let create = call(libc::SYS_bpf, "0, $a, length($a)");
            format!(r#"my $a = pack("L5 x60", 2, 4, 4, 1, 0); {create}"#)
        }),
        yes("perf_event", {
            // PERF_TYPE_SOFTWARE, PERF_ATTR_SIZE_VER0, PERF_COUNT_SW_CPU_CLOCK; of CPU 0.
            let open = call(libc::SYS_perf_event_open, "$a, -1, 0, -1, 0");
            format!(r#"my $a = pack("L L Q x48", 1, 64, 0); {open}"#)
        }),
        yes("userfaultfd", call(libc::SYS_userfaultfd, "0")),
        yes("fanotify", call(libc::SYS_fanotify_init, "0, 0")),
        yes("kernel_messages", call(libc::SYS_syslog, "10, 0, 0")),
        yes("packet_socket", "socket($s, 17, 3, 0x0300)".into()),
        yes("raw_socket", "socket($s, 2, 3, 1)".into()),
        // Each would harm whoever may.
        untried("kexec", call(libc::SYS_kexec_load, "0, 0, 0, 0")),
        untried("load_module", call(libc::SYS_init_module, r#"$none, 0, $none"#)),
        untried("swap", call(libc::SYS_swapoff, r#"$disk"#)),
        untried("accounting", call(libc::SYS_acct, "0")),
        untried("set_clock", {
            format!(r#"my $t = pack("q q", time, 0); {}"#, call(libc::SYS_clock_settime, "0, $t"))
        }),
        untried("cgroup_release_agent", {
            r#"grep { open($f, ">>", $_) } glob("/sys/fs/cgroup/release_agent /sys/fs/cgroup/*/release_agent")"#.into()
        }),
        untried("cgroup_limits", {
            r#"grep { open($f, ">>", $_) } glob("/sys/fs/cgroup/memory.max /sys/fs/cgroup/*/memory.limit_in_bytes")"#.into()
        }),
        yes("see_processes_outside", {
            r#"grep { open($f, "<", $_) && <$f> =~ /^rolltop-agent/ } glob("/proc/[0-9]*/comm")"#
                .into()
        }),
        yes("trace_the_agent", {
            // PTRACE_SEIZE, which does not stop it, ends with this process.
            call(libc::SYS_ptrace, "0x4206, AGENT, 0, 0")
        }),
    ];
    attempts.push(yes("new_user_namespace_by_clone", {
        // The child ends at once.
        let clone = format!("syscall({}, {}, 0, 0, 0, 0)", libc::SYS_clone, NEW_USER | 17);
        format!("my $p = {clone}; exit 9 if $p == 0; waitpid($p, 0) if $p > 0; $p > 0")
    }));
    attempts
}

impl Attempt {
    /// Exits with 42 when it worked: no shell or interpreter does that by itself.
    fn script(&self, agent: u32) -> String {
        let program = self.program.replace("AGENT", &agent.to_string());
        format!("{WORDS} my $done = do {{ {program} }}; exit($done ? 42 : 1);")
    }
}

pub(crate) async fn what_the_kernel_offers_is_refused(stage: &Stage) -> anyhow::Result<()> {
    let settings = stage.settings()?;
    let agent = stage.agent().await?;
    let mut api = agent.api().await?;
    let pid = agent.pid()?;
    let attempts = attempts();
    let runtimes = std::iter::once("builtin".to_owned()).chain(settings.runtimes.keys().cloned());
    let mut through = Vec::new();
    for (number, runtime) in (1..).zip(runtimes) {
        let request = StartHostDesktopRequest { runtime: runtime.clone(), ..demo(number) };
        client::start(&mut api, request).await?;
        for attempt in &attempts {
            let script = attempt.script(pid);
            let command = format!("exec perl -e '{script}'");
            let (said, code) = exec(&mut api, number, true, &command).await?;
            match code {
                42 => through.push(format!("{} under {runtime}", attempt.name)),
                1 => {}
                _ => anyhow::bail!("{} was not tried: {code}, {said}", attempt.name),
            }
        }
    }
    ensure!(through.is_empty(), "these came through: {}", through.join(", "));
    // Where nothing stands before them, they work.
    for attempt in attempts.iter().filter(|attempt| attempt.works_outside) {
        let tried = Command::new("unshare")
            .args(["--mount", "--", "perl", "-e", &attempt.script(pid)])
            .output()?;
        let said = String::from_utf8_lossy(&tried.stderr);
        let code = tried.status.code();
        ensure!(code == Some(42), "{} is no attempt: {code:?} {said}", attempt.name);
        // What was made for good.
        match std::fs::remove_file("/root/disk") {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
    }
    agent.purge().await
}
