//! Hang report of a silent guest.
//!
//! **Invariant:** a report always comes back; what cannot be asked is said in its place.

use super::qmp::Qmp;
use crate::images::Images;
use crate::symbols::{Kind, Symbols};
use anyhow::Result;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;
use tally_abi::ta::{DEPRECATED_ENTRY, TaHead};
use zerocopy::FromBytes as _;

const MAX_FRAMES: usize = 16;

/// Asks QEMU for every CPU's registers and names the code.
pub(crate) fn report(socket: &Path, images: &Images, silence: Duration) -> String {
    let mut text = format!(
        "the guest was silent for {} s and was ended",
        silence.as_secs()
    );
    match cpus(socket, images) {
        Ok(cpus) => text.push_str(&cpus),
        Err(err) => {
            let _ = write!(text, "\n  QEMU could not be asked where: {err:#}");
        }
    }
    text
}

fn cpus(socket: &Path, images: &Images) -> Result<String> {
    let mut qmp = Qmp::connect(socket)?;
    let mut symbols = Symbols::new(images);
    let mut text = String::new();
    for cpu in parse(&qmp.human("info registers -a", 0)?) {
        let _ = write!(text, "\n  CPU {} at {}", cpu.index, cpu.level);
        let ta = cpu
            .level
            .starts_with("secure world EL0")
            .then(|| find_ta(&mut qmp, &cpu));
        let ta = ta.flatten();
        let mut line = |address: u64, kind: Kind| {
            let name = match &ta {
                Some((uuid, base)) => {
                    let offset = address.wrapping_sub(*base);
                    symbols.describe_relative(uuid, offset, kind)
                }
                None => symbols.describe_in(|image| cpu.may_run(image), address, kind),
            };
            let name = name.map_or_else(|| "no known code".into(), |place| place.to_string());
            let _ = write!(text, "\n    {address:#018x} {name}");
        };
        line(cpu.pc, Kind::Exact);
        let frames = walk(&mut qmp, &cpu);
        if cpu.lr != 0 && frames.first() != Some(&cpu.lr) {
            line(cpu.lr, Kind::Return);
        }
        for address in frames {
            line(address, Kind::Return);
        }
    }
    Ok(text)
}

/// The TA that a CPU executes and where it was loaded: the page that begins with its head lies
/// below the code.
fn find_ta(qmp: &mut Qmp, cpu: &Cpu) -> Option<(String, u64)> {
    const MAX_PAGES: u64 = 256;
    let page = cpu.pc & !0xfff;
    (0..MAX_PAGES)
        .map_while(|n| page.checked_sub(n << 12))
        .find_map(|base| {
            let words = words(&qmp.human(&format!("x/8wx {base:#x}"), cpu.index).ok()?);
            let bytes: Vec<u8> = words
                .iter()
                .flat_map(|&word| (word as u32).to_le_bytes())
                .collect();
            let head = TaHead::read_from_bytes(&bytes).ok()?;
            (head.depr_entry == DEPRECATED_ENTRY).then(|| (head.uuid.to_string(), base))
        })
}

/// The values in an answer such as "ffff000012345678: 0x... 0x...".
fn words(answer: &str) -> Vec<u64> {
    answer
        .split_whitespace()
        .filter_map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok())
        .collect()
}

/// Return addresses by the frame pointer chain.
fn walk(qmp: &mut Qmp, cpu: &Cpu) -> Vec<u64> {
    let mut frames = Vec::new();
    let mut fp = cpu.fp;
    while frames.len() < MAX_FRAMES && fp != 0 && fp.is_multiple_of(8) {
        let Ok(answer) = qmp.human(&format!("x/2gx {fp:#x}"), cpu.index) else {
            break;
        };
        let words = words(&answer);
        let [next, address] = words[..] else { break };
        if address == 0 {
            break;
        }
        frames.push(address);
        if next <= fp {
            break;
        }
        fp = next;
    }
    frames
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Cpu {
    index: usize,
    pc: u64,
    lr: u64,
    fp: u64,
    level: String,
}

impl Cpu {
    /// Whether code of this image can run at the CPU's exception level.
    fn may_run(&self, image: &str) -> bool {
        match image {
            "monitor" => self.level.starts_with("EL3"),
            "ree" => self.level.starts_with("normal"),
            _ => self.level.starts_with("secure"),
        }
    }
}

/// Reads `info registers -a`.
fn parse(text: &str) -> Vec<Cpu> {
    let mut cpus: Vec<Cpu> = Vec::new();
    for line in text.lines() {
        if let Some(index) = line.trim().strip_prefix("CPU#") {
            cpus.push(Cpu {
                index: index.parse().unwrap_or(cpus.len()),
                ..Cpu::default()
            });
            continue;
        }
        let Some(cpu) = cpus.last_mut() else { continue };
        for word in line.split_whitespace() {
            let Some((name, value)) = word.split_once('=') else {
                continue;
            };
            let value = u64::from_str_radix(value, 16).unwrap_or(0);
            match name {
                "PC" => cpu.pc = value,
                "X29" => cpu.fp = value,
                "X30" => cpu.lr = value,
                _ => {}
            }
        }
        if line.starts_with("PSTATE=") {
            // "PSTATE=600003c5 -ZC- NS EL1h", at EL3 without the world.
            let words: Vec<&str> = line.split_whitespace().skip(2).collect();
            let level = words.iter().find(|word| word.starts_with("EL")).copied();
            let world = match words.first() {
                Some(&"NS") => "normal world ",
                Some(&"S") => "secure world ",
                _ => "",
            };
            cpu.level = format!("{world}{}", level.unwrap_or("?"));
        }
    }
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_of_every_cpu_are_read() {
        let text = "\nCPU#0\n PC=0000000062000010 X00=0000000000000000\n\
                    X29=0000000062010000 X30=0000000062000abc  SP=0000000062010000\n\
                    PSTATE=600003c5 -ZC- NS EL1h    FPU disabled\n\
                    \nCPU#1\n PC=0000000000000004 X00=0\n\
                    X29=0 X30=0 SP=0\nPSTATE=400003cd -Z-- EL3h    FPU disabled\n";
        let cpus = parse(text);
        assert_eq!(cpus.len(), 2);
        assert_eq!((cpus[0].pc, cpus[0].lr), (0x6200_0010, 0x6200_0abc));
        assert_eq!(cpus[0].level, "normal world EL1h");
        assert_eq!((cpus[1].index, cpus[1].pc), (1, 4));
        assert_eq!(cpus[1].level, "EL3h");
    }
}
