//! Deaths of TAs as the kernel reports them on the secure console: last words, cause, call stack.
//!
//! **Invariant:** a report that has no end is bounded; what a TA prints is never taken for the kernel's.

use crate::symbols::{Kind, LDELF, Symbols};
use tally_abi::TeeResult;
use tally_abi::image::ImageFault;

/// Most lines of a cause, and most frames, that are kept.
const MAX_CAUSES: usize = 8;
const MAX_FRAMES: usize = 64;
/// What lines of TAs at the level of errors, and the kernel's, begin with.
const OF_TAS: &str = "E/TA: ";
const OF_KERNEL: &str = "E/TC:";
/// The kernel's module that reports deaths.
const MODULE: &str = "obituary:";
/// The one that loads TAs.
const LOADER: &str = " load:";

/// A death.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Death {
    /// The last error that a TA printed before.
    words: Option<String>,
    causes: Vec<String>,
    uuid: String,
    /// Innermost first: `UUID+0xOFFSET`, the same of the loader, or an address outside the image.
    frames: Vec<String>,
}

/// Reads the secure console, line by line.
#[derive(Debug, Default)]
pub(super) struct Deaths {
    begun: Death,
    in_stack: bool,
}

impl Deaths {
    /// Takes a line; the death whose report has come to its end.
    pub(super) fn take(&mut self, line: &str) -> Option<Death> {
        if let Some(words) = line.strip_prefix(OF_TAS) {
            let whole = self.end();
            self.begun.words = Some(words.to_owned());
            return whole;
        }
        let said = said(line);
        match said {
            Some(text) if self.in_stack => match text.trim_start() {
                frame if is_frame(frame, &self.begun.uuid) => {
                    if self.begun.frames.len() < MAX_FRAMES {
                        self.begun.frames.push(frame.to_owned());
                    }
                    None
                }
                _ => self.end(),
            },
            Some("Call stack:") => {
                self.in_stack = true;
                None
            }
            Some(text) => {
                if let Some(uuid) = text.strip_prefix("Status of TA ") {
                    self.begun.uuid = uuid.to_owned();
                } else if self.begun.uuid.is_empty()
                    && !text.starts_with(' ')
                    && self.begun.causes.len() < MAX_CAUSES
                {
                    self.begun.causes.push(text.to_owned());
                }
                None
            }
            None => self.end(),
        }
    }

    /// The report that has begun, if it has come as far as a call stack.
    fn end(&mut self) -> Option<Death> {
        let is_whole = std::mem::take(&mut self.in_stack);
        if !is_whole {
            return None;
        }
        Some(std::mem::take(&mut self.begun))
    }
}

/// What the kernel says of an image that it refuses. A code alone the client hears as well.
pub(super) fn unloaded(line: &str) -> Option<String> {
    let said = said_by(line, LOADER)?;
    let (what, why) = said.split_once(" is not loaded: ")?;
    // Nobody asked for a library: what became of it the client does not hear.
    let is_library = what.starts_with("library ");
    if why.contains("(0x") && !is_library {
        return None;
    }
    let hint = if ImageFault::Signature.text() == why {
        "; `--ta-key FILE` has it trust another key"
    } else if is_library && why == TeeResult::ITEM_NOT_FOUND.to_string() {
        "; `--ta FILE` gives it"
    } else {
        ""
    };
    Some(format!("{said}{hint}"))
}

/// What a line of the kernel's reports of deaths says.
fn said(line: &str) -> Option<&str> {
    said_by(line, MODULE)
}

/// What a line of a module of the kernel's says: behind its mark and thread.
fn said_by<'a>(line: &'a str, module: &str) -> Option<&'a str> {
    let (_, behind) = line.strip_prefix(OF_KERNEL)?.split_once(module)?;
    behind.split_once(' ').map(|(_, text)| text)
}

fn is_frame(text: &str, uuid: &str) -> bool {
    let offset = text.split_once('+');
    let offset = offset.filter(|(image, _)| [uuid, LDELF].contains(image));
    offset.map_or(text, |(_, offset)| offset).starts_with("0x")
}

impl Death {
    /// Lines for people, with names for the calls as far as there are.
    pub(super) fn lines(&self, symbols: &mut Symbols<'_>) -> Vec<String> {
        let mut lines = vec![format!("TA {}", self.uuid)];
        lines.extend(self.words.iter().map(|words| format!("  {words}")));
        lines.extend(self.causes.iter().map(|cause| format!("  {cause}")));
        let mut same = 0;
        for (n, frame) in self.frames.iter().enumerate() {
            if self.frames.get(n + 1) == Some(frame) {
                same += 1;
                continue;
            }
            let times = match std::mem::take(&mut same) {
                0 => String::new(),
                more => format!(" ({} times)", more + 1),
            };
            let kind = if n == 0 { Kind::Exact } else { Kind::Return };
            let name = frame.split_once("+0x").and_then(|(image, offset)| {
                let offset = u64::from_str_radix(offset, 16).ok()?;
                let place = symbols.describe_relative(image, offset, kind)?;
                Some(place.functions())
            });
            lines.push(format!(
                "  #{n} {}{times}",
                name.as_deref().unwrap_or(frame)
            ));
        }
        lines
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const UUID: &str = "7a11e110-0003-4c6e-8d01-5ec0de000003";

    pub(in crate::qemu) fn report(words: &str, cause: &str, frames: &[&str]) -> Vec<String> {
        let mut lines = vec![words.to_owned()];
        for text in [
            cause,
            &format!("Status of TA {UUID}"),
            " arch: aarch64  load address: 0x1ecfba5000",
            " x0  0000000000000000 0000000000000000 0000000000000000 0000000000000000",
            "Call stack:",
        ] {
            lines.push(format!("E/TC:0 00 obituary:130 {text}"));
        }
        for frame in frames {
            lines.push(format!("E/TC:0 00 obituary:130  {frame}"));
        }
        lines
    }

    #[test]
    fn a_report_is_read_by_its_parts() {
        let offset = format!("{UUID}+0x578c");
        let mut lines = report(
            "E/TA: panicked at tas/crash/src/ta.rs:64: asked to panic",
            "TA panicked with code 0xffff0000",
            &[&offset, "0x1234"],
        );
        lines.push("E/TC:0 00 obituary:130  region  0: va 0x1000 pa 0x0 size 0x4000".into());
        let mut deaths = Deaths::default();
        let found: Vec<Death> = lines.iter().filter_map(|line| deaths.take(line)).collect();
        let death = Death {
            words: Some("panicked at tas/crash/src/ta.rs:64: asked to panic".into()),
            causes: vec!["TA panicked with code 0xffff0000".into()],
            uuid: UUID.into(),
            frames: vec![offset, "0x1234".into()],
        };
        assert_eq!(found, [death]);
    }

    #[test]
    fn an_image_that_is_refused_is_told_with_what_helps() {
        let line = |why: &str| format!("E/TC:0 00 load:162 TA {UUID} is not loaded: {why}");
        let library = ImageFault::NeedsLibrary.text();
        let told = unloaded(&line(library));
        assert_eq!(told, Some(format!("TA {UUID} is not loaded: {library}")));
        let told = unloaded(&line(ImageFault::Signature.text())).unwrap();
        assert!(
            told.ends_with("; `--ta-key FILE` has it trust another key"),
            "{told}"
        );
        assert_eq!(unloaded(&line("TARGET_DEAD (0xffff3024)")), None);
        let missing = line("ITEM_NOT_FOUND (0xffff0008)");
        assert_eq!(unloaded(&missing), None);
        let told = unloaded(&missing.replace("TA ", "library ")).unwrap();
        assert!(
            told.ends_with("(0xffff0008); `--ta FILE` gives it"),
            "{told}"
        );
        assert_eq!(unloaded(&format!("E/TA: {}", line(library))), None);
    }

    #[test]
    fn what_a_ta_prints_is_no_report() {
        let mut deaths = Deaths::default();
        for line in report("E/TA: last words", "cause", &["0x1"]) {
            let forged = format!("E/TA: {line}");
            assert_eq!(deaths.take(&forged), None);
        }
        assert_eq!(deaths.take("I/TC: up"), None);
        assert!(deaths.begun.causes.is_empty());
    }

    #[test]
    fn a_report_without_an_end_is_bounded() {
        let mut deaths = Deaths::default();
        for line in report("E/TA: a", "cause", &["0x1"; 1000]) {
            assert_eq!(deaths.take(&line), None);
        }
        assert_eq!(deaths.take("I/TC: up").unwrap().frames.len(), MAX_FRAMES);
        for _ in 0..1000 {
            assert_eq!(deaths.take("E/TC:0 00 obituary:130 cause"), None);
        }
        assert_eq!(deaths.begun.causes.len(), MAX_CAUSES);
    }
}
