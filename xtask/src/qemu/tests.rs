//! Command line of QEMU, for each normal world and firmware.

use super::*;
use crate::images::Raw;
use tally_symbols::elf::Image;

/// Images of which nothing is read.
fn images(dir: &Path) -> Images {
    // The head of an ELF file for AArch64, with nothing behind it.
    let mut elf = vec![0; 64];
    elf[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    elf[16..21].copy_from_slice(&[2, 0, 183, 0, 1]);
    (elf[52], elf[54], elf[58]) = (64, 56, 64);
    let program = Image::parse(dir, elf).unwrap();
    let file = |name: &str| {
        let path = dir.join(name);
        std::fs::write(&path, name).unwrap();
        Raw {
            path,
            bytes: name.as_bytes().into(),
        }
    };
    for stage in ["bl1.bin", "bl2.bin", "bl31.bin"] {
        file(stage);
    }
    Images {
        monitor: program.clone(),
        kernel: program.clone(),
        ldelf: program.clone(),
        ree: program,
        tas: Vec::new(),
        flash: file("flash"),
        ree_raw: file("ree"),
        archive: file("archive"),
        archive_files: Vec::new(),
        names: Default::default(),
        kernel_raw: file("kernel"),
        kernel_raw_len: 0,
        kernel_sites_len: 0,
    }
}

/// Semihosting with `target=native` let EL1 run commands on the host.
#[test]
fn no_guest_gets_semihosting_or_a_qemu_that_starts_programs() {
    let dir = std::env::temp_dir().join(format!("tally-qemu-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let images = images(&dir);
    let linux = Linux::without_programs(dir.join("vmlinuz"));
    let tfa = Tfa::in_dir(&dir).unwrap();
    for worlds in [Worlds::Own, Worlds::Tfa(&tfa), Worlds::Linux(&linux)] {
        let run = Run::captured(&images, "line", "help", Duration::from_secs(1));
        let line = run.command_line(worlds, &dir, &dir.join("qmp")).unwrap();
        let args: Vec<String> = line
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect();
        let after = |flag: &str| {
            let pairs = args.iter().zip(args.iter().skip(1));
            let values = pairs.filter(move |(arg, _)| *arg == flag);
            values
                .map(|(_, value)| value.as_str())
                .collect::<Vec<&str>>()
        };
        assert!(!args.join(" ").contains("semihosting"), "{args:?}");
        let [sandbox] = after("-sandbox")[..] else {
            panic!("{args:?}");
        };
        assert!(sandbox.starts_with("on,") && sandbox.contains("spawn=deny"));
        // Consoles and channels: the terminal, and files of this run alone.
        for chardev in after("-chardev") {
            let own = format!("path={}/", dir.display());
            let is_file = chardev.starts_with("file,") && chardev.contains(&own);
            assert!(is_file || chardev.starts_with("stdio,"), "{chardev}");
        }
        // Nor a disk, a network or a directory of the host's.
        for flag in [
            "-drive", "-netdev", "-nic", "-virtfs", "-fsdev", "-hda", "-monitor",
        ] {
            assert!(after(flag).is_empty(), "{flag}: {args:?}");
        }
    }
    std::fs::remove_dir_all(dir).unwrap();
}

/// A guest that writes for ever filled the disk.
#[test]
fn what_a_guest_writes_to_files_has_a_bound() {
    let mut command = std::process::Command::new("cat");
    command.arg("/proc/self/limits");
    let mut machine = super::Machine::spawn(&mut command, "/nonexistent".into()).unwrap();
    let mut limits = String::new();
    let mut output = machine.child.stdout.take().unwrap();
    std::io::Read::read_to_string(&mut output, &mut limits).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max file size"));
    let words: Vec<&str> = line.unwrap().split_whitespace().skip(3).collect();
    assert_eq!(words, ["1073741824", "1073741824", "bytes"]);
}

#[test]
fn a_guest_that_fills_a_file_is_told_from_a_qemu_that_dies() {
    let told = |signal| super::killed(signal, "runs/a/secure.log".as_ref(), "log\n");
    let filled = rustix::process::Signal::XFSZ.as_raw();
    assert_eq!(
        told(filled),
        "the guest wrote more than 1024 MiB to a file in runs/a, and was ended"
    );
    assert_eq!(told(11), "QEMU died of signal 11\nlog");
}

#[test]
fn a_guest_that_prints_for_ever_takes_so_much_memory_and_no_more() {
    let mut console = super::Console::new(super::Output::Captured, false, Symbols::none());
    let piece = vec![b'a'; 16 << 20];
    for _ in 0..5 {
        console.normal(&piece).unwrap();
        console.secure(&piece);
    }
    let (normal, secure) = console.finish();
    assert_eq!([normal.len(), secure.len()], [64 << 20; 2]);
}
