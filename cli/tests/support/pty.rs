//! A person at a terminal: reads what comes, types, changes the window.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags, open},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcgetattr, tcsetwinsize},
};

/// Only a test that fails gets here.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program at a terminal of its own.
pub struct Dialogue {
    child: Child,
    terminal: File,
    /// Keeps the terminal and its mode when the program has gone.
    other_side: OwnedFd,
    mode_before: String,
    output: Receiver<Vec<u8>>,
    /// Everything that was shown.
    pub shown: String,
    /// Up to here `expect` has read.
    read: usize,
}

impl Dialogue {
    pub fn start(mut command: Command) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let other_side = open(name, flags, Mode::empty()).unwrap();
        tcsetwinsize(&ours, size(80, 24)).unwrap();
        let mode_before = mode(&other_side);
        for stream in [Command::stdin, Command::stdout, Command::stderr] {
            stream(&mut command, other_side.try_clone().unwrap());
        }
        let child = command.spawn().unwrap();
        // The command keeps its copies of the terminal open otherwise.
        drop(command);

        let terminal = File::from(ours);
        let mut reader = terminal.try_clone().unwrap();
        let (sender, output) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, terminal, other_side, mode_before, output, shown: String::new(), read: 0 }
    }

    /// Waits until this text has come after the last one expected.
    pub fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.shown[self.read..].find(text) {
                self.read += at + text.len();
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.shown += &String::from_utf8_lossy(&bytes),
                Err(error) => panic!("{text:?} did not come ({error}): {:?}", self.shown),
            }
        }
    }

    pub fn type_in(&mut self, text: &str) {
        self.terminal.write_all(text.as_bytes()).unwrap();
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        tcsetwinsize(&self.terminal, size(columns, rows)).unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Whether lines and echo are off.
    pub fn is_raw(&self) -> bool {
        mode(&self.other_side) != self.mode_before
    }

    /// Waits for the end, and checks that the terminal is as it was.
    pub fn end(&mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        assert_eq!(mode(&self.other_side), self.mode_before, "the terminal's mode");
        while let Ok(bytes) = self.output.try_recv() {
            self.shown += &String::from_utf8_lossy(&bytes);
        }
        status
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn mode(terminal: &OwnedFd) -> String {
    let mode = tcgetattr(terminal).unwrap();
    format!("{:?} {:?} {:?}", mode.input_modes, mode.output_modes, mode.local_modes)
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
