//! Device rules as a program for version 2 cgroups.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;

use rolltop_sys::device_filter::{Instruction, filter_devices};

use super::CgroupError;
use super::device_rules::{Access, Kind, Rule};

/// `struct bpf_cgroup_dev_ctx` of `include/uapi/linux/bpf.h`: three `u32`, of
/// which the first has the kind in its lower half and the access in its upper.
const KIND_AND_ACCESS: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;
/// `BPF_DEVCG_ACC_*`.
const MAKE: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;
/// `BPF_DEVCG_DEV_*`.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

/// Registers: what is returned, the context (and scratch once that is read),
/// and what was read of it.
const RESULT: u8 = 0;
const SCRATCH: u8 = 1;
const OF_KIND: u8 = 2;
const OF_ACCESS: u8 = 3;
const OF_MAJOR: u8 = 4;
const OF_MINOR: u8 = 5;

/// Has the rules hold for `directory` and what is below it.
pub(super) fn attach(directory: &Path, rules: &[Rule]) -> Result<(), CgroupError> {
    let failed =
        |action| move |source| CgroupError::File { action, path: directory.to_path_buf(), source };
    let cgroup = File::open(directory).map_err(failed("open"))?;
    filter_devices(cgroup.as_fd(), &program(rules))
        .map_err(failed("set the device rules (this takes CONFIG_CGROUP_BPF) of"))
}

/// The last rule that fits decides, so they are asked in reverse; what none
/// fits is as allowed as it is without rules.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        load(OF_KIND, KIND_AND_ACCESS),
        and(OF_KIND, 0xFFFF),
        load(OF_ACCESS, KIND_AND_ACCESS),
        shift_right(OF_ACCESS, 16),
        load(OF_MAJOR, MAJOR),
        load(OF_MINOR, MINOR),
    ];
    // What is behind a rule that fits everything cannot be reached, which the
    // kernel refuses.
    let (every, some) = match rules.iter().rposition(Rule::fits_everything) {
        Some(index) => (rules[index].allow, &rules[index + 1..]),
        None => (true, rules),
    };
    for rule in some.iter().rev() {
        program.extend(block(rule));
    }
    program.extend(answer(every));
    program
}

/// Answers if the rule fits; else runs on behind its end.
fn block(rule: &Rule) -> Vec<Instruction> {
    let mut tests: Vec<Test> = Vec::new();
    if let Some(kind) = rule.kind {
        let kind = if kind == Kind::Block { BLOCK } else { CHARACTER };
        tests.push(Test { before: Vec::new(), leave: unless_equal(OF_KIND, kind) });
    }
    if rule.access != Access::ALL {
        let mask = mask(rule.access);
        // To allow, a rule has to name all that is asked for; to refuse, some.
        let (bits, leave) = if rule.allow {
            (!mask, unless_equal(SCRATCH, 0))
        } else {
            (mask, if_equal(SCRATCH, 0))
        };
        tests.push(Test { before: vec![copy(SCRATCH, OF_ACCESS), and(SCRATCH, bits)], leave });
    }
    for (register, number) in [(OF_MAJOR, rule.major), (OF_MINOR, rule.minor)] {
        if let Some(number) = number {
            // The same 32 bits.
            let number = number.cast_signed();
            tests.push(Test { before: Vec::new(), leave: unless_equal(register, number) });
        }
    }
    let mut block = answer(rule.allow).to_vec();
    for Test { before, mut leave } in tests.into_iter().rev() {
        // A handful of instructions.
        leave.offset = i16::try_from(block.len()).unwrap_or(i16::MAX);
        block.insert(0, leave);
        block.splice(0..0, before);
    }
    block
}

/// Instructions, and the jump out of the block behind them.
struct Test {
    before: Vec<Instruction>,
    leave: Instruction,
}

fn mask(access: Access) -> i32 {
    let bit = |is: bool, bit| if is { bit } else { 0 };
    bit(access.make, MAKE) | bit(access.read, READ) | bit(access.write, WRITE)
}

/// Codes: `Documentation/bpf/standardization/instruction-set.rst`.
fn load(to: u8, offset: i16) -> Instruction {
    // BPF_LDX | BPF_MEM | BPF_W, from the context in register 1.
    Instruction { code: 0x61, registers: to | SCRATCH << 4, offset, immediate: 0 }
}

fn and(register: u8, immediate: i32) -> Instruction {
    // BPF_ALU | BPF_AND | BPF_K
    Instruction { code: 0x54, registers: register, offset: 0, immediate }
}

fn shift_right(register: u8, immediate: i32) -> Instruction {
    // BPF_ALU | BPF_RSH | BPF_K
    Instruction { code: 0x74, registers: register, offset: 0, immediate }
}

fn copy(to: u8, from: u8) -> Instruction {
    // BPF_ALU | BPF_MOV | BPF_X
    Instruction { code: 0xbc, registers: to | from << 4, offset: 0, immediate: 0 }
}

fn if_equal(register: u8, immediate: i32) -> Instruction {
    // BPF_JMP32 | BPF_JEQ | BPF_K
    Instruction { code: 0x16, registers: register, offset: 0, immediate }
}

fn unless_equal(register: u8, immediate: i32) -> Instruction {
    // BPF_JMP32 | BPF_JNE | BPF_K
    Instruction { code: 0x56, registers: register, offset: 0, immediate }
}

fn answer(allow: bool) -> [Instruction; 2] {
    // BPF_ALU64 | BPF_MOV | BPF_K, and BPF_JMP | BPF_EXIT
    let set = Instruction { code: 0xb7, registers: RESULT, offset: 0, immediate: allow.into() };
    [set, Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 }]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do, for the few codes there are.
    fn run(program: &[Instruction], kind: i32, access: i32, major: u32, minor: u32) -> bool {
        let context = [(access << 16 | kind).cast_unsigned(), major, minor];
        let mut registers = [0u32; 6];
        let mut at = 0;
        loop {
            let Instruction { code, registers: named, offset, immediate } = program[at];
            let (to, from) = (usize::from(named & 15), usize::from(named >> 4));
            let operand = immediate.cast_unsigned();
            at += 1;
            let leaves = match code {
                0x61 => {
                    registers[to] = context[usize::try_from(offset).unwrap() / 4];
                    false
                }
                0x54 => {
                    registers[to] &= operand;
                    false
                }
                0x74 => {
                    registers[to] >>= operand;
                    false
                }
                0xbc => {
                    registers[to] = registers[from];
                    false
                }
                0xb7 => {
                    registers[to] = operand;
                    false
                }
                0x16 => registers[to] == operand,
                0x56 => registers[to] != operand,
                0x95 => return registers[0] != 0,
                other => panic!("{other:#x} is not used"),
            };
            if leaves {
                at += usize::try_from(offset).unwrap();
            }
        }
    }

    fn rule(allow: bool, kind: Option<Kind>, numbers: (u32, Option<u32>), access: Access) -> Rule {
        let major = kind.map(|_| numbers.0);
        Rule { allow, kind, major, minor: numbers.1, access }
    }

    #[test]
    fn the_last_rule_that_fits_decides() {
        let reading = Access { read: true, write: false, make: false };
        let writing = Access { read: false, write: true, make: false };
        let rules = [
            rule(false, None, (0, None), Access::ALL),
            rule(true, Some(Kind::Character), (10, Some(229)), Access::ALL),
            rule(true, Some(Kind::Block), (7, None), reading),
            rule(true, Some(Kind::Character), (4, None), Access::ALL),
            rule(false, Some(Kind::Character), (4, Some(1)), writing),
        ];
        let program = program(&rules);
        let all = READ | WRITE | MAKE;
        for (kind, access, major, minor, expected) in [
            (CHARACTER, all, 10, 229, true),
            (CHARACTER, READ, 10, 228, false),
            (BLOCK, READ, 10, 229, false),
            (BLOCK, READ, 7, 3, true),
            (BLOCK, READ | WRITE, 7, 3, false),
            (BLOCK, MAKE, 7, 3, false),
            (CHARACTER, READ, 4, 1, true),
            (CHARACTER, READ | WRITE, 4, 1, false),
            (CHARACTER, WRITE, 4, 2, true),
            (CHARACTER, READ, 1, 3, false),
        ] {
            let told = run(&program, kind, access, major, minor);
            assert_eq!(told, expected, "{kind} {access} {major}:{minor}");
        }
    }

    #[test]
    fn without_rules_all_is_allowed() {
        assert!(run(&program(&[]), BLOCK, WRITE, 8, 0));
    }
}
