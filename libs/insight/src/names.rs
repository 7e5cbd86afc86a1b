//! Names of programs, owners and calls.
//!
//! **Invariant:** everybody is called something: where there is no name, by UUID, kind, or image
//! and offset; a call has at least one function.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Display};

use tally_abi::sites::{SiteName, is_allocator};
use tally_abi::{TeeUuid, pta};
use tally_records::{Frames, LeakRecord, Origin, owner_kind, word};

/// Pseudo-TAs, which are part of the kernel, by their short names.
pub const PSEUDO: [(&str, TeeUuid); 8] = [
    ("stats", pta::stats::UUID),
    ("device", pta::device::UUID),
    ("memleak", pta::memleak::UUID),
    ("control", pta::control::UUID),
    ("inspect", pta::inspect::UUID),
    ("audit", pta::audit::UUID),
    ("watch", pta::watch::UUID),
    ("vdec", pta::vdec::UUID),
];

/// Who can name programs and calls.
pub trait Names {
    /// Short name of a TA.
    fn name_of(&self, uuid: TeeUuid) -> Option<String>;

    /// The functions at the call that returns to `offset` bytes above an image's link base,
    /// innermost first, inlined ones included. Empty when unknown.
    fn functions(&self, origin: Origin, offset: u64) -> Vec<Frame>;
}

/// Nobody knows anything: UUIDs, image and offset it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNames;

impl Names for NoNames {
    fn name_of(&self, _: TeeUuid) -> Option<String> {
        None
    }

    fn functions(&self, _: Origin, _: u64) -> Vec<Frame> {
        Vec::new()
    }
}

/// The short name of a TA or pseudo-TA, if anyone knows it.
#[must_use]
pub fn short(names: &dyn Names, uuid: TeeUuid) -> Option<String> {
    let pseudo = || PSEUDO.iter().find(|(_, known)| *known == uuid);
    let pseudo = || pseudo().map(|(name, _)| (*name).to_owned());
    names.name_of(uuid).or_else(pseudo)
}

/// A TA's or pseudo-TA's short name for people, or its UUID.
#[must_use]
pub fn ta(names: &dyn Names, uuid: TeeUuid) -> String {
    match short(names, uuid) {
        Some(name) if PSEUDO.iter().any(|(_, known)| *known == uuid) => format!("pTA {name}"),
        Some(name) => name,
        None => uuid.to_string(),
    }
}

/// What a pool is called: the TA's name, or `kernel` for nil.
#[must_use]
pub fn program(names: &dyn Names, uuid: TeeUuid) -> String {
    if uuid == TeeUuid::nil() {
        "kernel".to_owned()
    } else {
        ta(names, uuid)
    }
}

/// An owner for people, one session like any other of the same TA.
#[must_use]
pub fn owner(names: &dyn Names, kind: u32, label: &[u8], uuid: TeeUuid) -> String {
    match kind {
        owner_kind::TA => format!("TA {}", ta(names, uuid)),
        owner_kind::SESSION if uuid == TeeUuid::nil() => "sessions of pseudo-TAs".to_owned(),
        owner_kind::SESSION => format!("sessions of {}", ta(names, uuid)),
        _ => match printable(label) {
            label if label.is_empty() => "unnamed".to_owned(),
            label => label,
        },
    }
}

/// The owner of blocks, as [`owner`].
#[must_use]
pub fn owner_of(names: &dyn Names, record: &LeakRecord) -> String {
    owner(names, record.owner_kind, &record.label, record.owner)
}

/// A zero-padded name as text that is safe to show: what is not printable ASCII becomes `?`.
#[must_use]
pub fn printable(padded: &[u8]) -> String {
    let bytes = padded.iter().take_while(|&&byte| byte != 0);
    bytes
        .map(|&byte| match byte {
            b' '..=b'~' => char::from(byte),
            _ => '?',
        })
        .collect()
}

/// What a TA was called for: `open session`, `command 7`.
#[must_use]
pub fn entry(function: u32, command: u32) -> String {
    if u64::from(function) == tally_abi::ta::entry::INVOKE_COMMAND {
        return format!("command {command}");
    }
    match word(tally_records::function::WORDS, function) {
        "unknown" => format!("function {function}"),
        word => word.to_owned(),
    }
}

/// A function on a call stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frame {
    /// Its short name.
    pub function: String,
    /// Its whole path, where that is known.
    pub full: Option<String>,
    /// Source file; empty when unknown.
    pub file: String,
    /// Line in it; 0 when unknown.
    pub line: u32,
}

impl Frame {
    /// A function by its short name, in no known place.
    #[must_use]
    pub fn named(function: &str) -> Self {
        Self {
            function: function.to_owned(),
            ..Self::default()
        }
    }

    /// From `function file:line`, or what has no place.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let place = |text: &str| {
            let (function, place) = text.rsplit_once(' ')?;
            let (file, line) = place.rsplit_once(':')?;
            Some(Self {
                function: function.to_owned(),
                full: None,
                file: file.to_owned(),
                line: line.parse().ok()?,
            })
        };
        place(text).unwrap_or_else(|| Self::named(text))
    }

    /// `file:line`; empty when unknown.
    #[must_use]
    pub fn place(&self) -> String {
        match (&*self.file, self.line) {
            ("", _) => String::new(),
            (file, 0) => file.to_owned(),
            (file, line) => format!("{file}:{line}"),
        }
    }

    /// Whether it is only the way into the allocator.
    #[must_use]
    pub fn is_allocator(&self) -> bool {
        is_allocator(self.full.as_deref().unwrap_or(&self.function), &self.file)
    }
}

impl From<SiteName<'_>> for Frame {
    fn from(site: SiteName<'_>) -> Self {
        Self {
            function: site.function.to_owned(),
            full: None,
            file: site.file.to_owned(),
            line: site.line,
        }
    }
}

impl Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place() {
            place if place.is_empty() => f.write_str(&self.function),
            place => write!(f, "{} {place}", self.function),
        }
    }
}

/// One call of a stack.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// Return address, from the image's link base.
    pub offset: u64,
    /// Its functions, innermost first; at least one.
    pub frames: Vec<Frame>,
}

/// A call stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stack {
    /// Image that it lies in; nil: the kernel.
    pub image: TeeUuid,
    /// Calls, innermost first.
    pub calls: Vec<Call>,
}

impl Stack {
    /// Names the calls of a record; `outer`: where those of the record around it lie.
    #[must_use]
    pub fn new(names: &dyn Names, frames: Frames<'_>, outer: Origin) -> Self {
        let origin = frames.origin.unwrap_or(outer);
        let calls = frames.offsets.iter().take_while(|&&offset| offset != 0);
        let calls = calls.map(|&offset| {
            let mut frames = names.functions(origin, offset);
            if frames.is_empty() {
                frames.push(unnamed(names, origin.image, offset));
            }
            Call { offset, frames }
        });
        Self {
            image: origin.image,
            calls: calls.collect(),
        }
    }

    /// Names the calls of a record that has them.
    #[must_use]
    pub fn of(names: &dyn Names, record: &impl tally_records::Placed) -> Self {
        Self::new(names, record.frames(), Origin::default())
    }

    /// All functions, innermost first, inlined ones included.
    pub fn frames(&self) -> impl DoubleEndedIterator<Item = &Frame> {
        self.calls.iter().flat_map(|call| &call.frames)
    }

    /// What tells stacks apart that do not read the same.
    #[must_use]
    pub fn key(&self) -> Vec<Frame> {
        self.frames().cloned().collect()
    }

    /// How many of the innermost functions are the way into the allocator: the standard library's,
    /// the compiler's and ours, through which every allocation goes. 0 if there is nothing else.
    #[must_use]
    pub fn allocator_frames(&self) -> usize {
        let own = self.frames().position(|frame| !frame.is_allocator());
        own.unwrap_or(0)
    }

    /// All functions as they stand on the stack.
    pub fn all(&self) -> impl Iterator<Item = Shown<'_>> {
        let allocator = self.allocator_frames();
        let all = self.calls.iter().enumerate().flat_map(|(depth, call)| {
            let last = call.frames.len().saturating_sub(1);
            call.frames.iter().enumerate().map(move |(n, frame)| Shown {
                depth,
                offset: call.offset,
                frame,
                inlined: n < last,
                allocator: false,
            })
        });
        all.enumerate().map(move |(n, shown)| Shown {
            allocator: n < allocator,
            ..shown
        })
    }

    /// The functions without the way into the allocator, innermost first.
    #[must_use]
    pub fn shown(&self) -> Vec<Shown<'_>> {
        self.all().filter(|shown| !shown.allocator).collect()
    }

    /// The innermost function that is shown.
    #[must_use]
    pub fn innermost(&self) -> Option<&Frame> {
        self.all()
            .find(|shown| !shown.allocator)
            .map(|shown| shown.frame)
    }

    /// The function that a person looks for: the innermost one that is in a known place and neither
    /// the standard library's nor the way into the allocator, else the outermost.
    #[must_use]
    pub fn useful(&self) -> Option<&Frame> {
        let mut own = self.frames().filter(|frame| frame.line > 0);
        own.find(|frame| !frame.is_allocator())
            .or_else(|| self.frames().next_back())
    }
}

/// A function as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Call of the stack that it belongs to, 0 the innermost.
    pub depth: usize,
    /// That call's return address, from the image's link base.
    pub offset: u64,
    /// The function.
    pub frame: &'a Frame,
    /// Whether it was inlined into the next one.
    pub inlined: bool,
    /// Whether it is only the way into the allocator.
    pub allocator: bool,
}

fn unnamed(names: &dyn Names, image: TeeUuid, offset: u64) -> Frame {
    let name = match image {
        image if image == TeeUuid::nil() => "kernel".to_owned(),
        image => names.name_of(image).unwrap_or_else(|| image.to_string()),
    };
    Frame::named(&format!("{name}+{offset:#x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known(TeeUuid);

    impl Names for Known {
        fn name_of(&self, uuid: TeeUuid) -> Option<String> {
            (uuid == self.0).then(|| "known".to_owned())
        }

        fn functions(&self, _: Origin, _: u64) -> Vec<Frame> {
            Vec::new()
        }
    }

    const OTHER: TeeUuid = TeeUuid::from_u128(0x7a11e110_0002_4c6e_8d01_5ec0de000002);
    const KNOWN: TeeUuid = TeeUuid::from_u128(0x7a11e110_0001_4c6e_8d01_5ec0de000001);

    #[test]
    fn owners_are_named_for_people() {
        let nil = TeeUuid::nil();
        let cases = [
            (owner_kind::KERNEL, "kernel", nil, "kernel"),
            (owner_kind::KERNEL, "", nil, "unnamed"),
            (owner_kind::TA, "", KNOWN, "TA known"),
            (
                owner_kind::SESSION,
                "session",
                pta::stats::UUID,
                "sessions of pTA stats",
            ),
            (
                owner_kind::SESSION,
                "session",
                nil,
                "sessions of pseudo-TAs",
            ),
            (99, "odd", nil, "odd"),
        ];
        for (kind, label, uuid, shown) in cases {
            assert_eq!(owner(&Known(KNOWN), kind, label.as_bytes(), uuid), shown);
        }
    }

    #[test]
    fn programs_without_a_name_are_called_by_their_uuid() {
        let names = Known(KNOWN);
        assert_eq!(program(&names, TeeUuid::nil()), "kernel");
        assert_eq!(program(&names, KNOWN), "known");
        assert_eq!(program(&names, OTHER), OTHER.to_string());
    }

    #[test]
    fn names_are_made_printable() {
        assert_eq!(printable(b"ta\0xx"), "ta");
        assert_eq!(printable(b"a\x1b[2J<\xff"), "a?[2J<?");
    }

    #[test]
    fn entries_are_named_by_command_or_function() {
        assert_eq!(entry(0, 9), "open session");
        assert_eq!(entry(2, 9), "command 9");
        assert_eq!(entry(77, 9), "function 77");
    }

    #[test]
    fn a_name_is_split_into_function_and_place() {
        let split = |text: &str| {
            let frame = Frame::parse(text);
            let place = frame.place();
            assert_eq!(frame.to_string(), text);
            (frame.function, place)
        };
        let pair = |function: &str, place: &str| (function.to_owned(), place.to_owned());
        assert_eq!(split("new a/b.rs:7"), pair("new", "a/b.rs:7"));
        assert_eq!(split("<A as B>::c a.rs:7"), pair("<A as B>::c", "a.rs:7"));
        assert_eq!(split("kernel+0x10"), pair("kernel+0x10", ""));
    }

    fn frame(function: &str, file: &str) -> Frame {
        Frame {
            file: file.into(),
            line: 7,
            ..Frame::named(function)
        }
    }

    fn stack(calls: &[&[(&str, &str)]]) -> Stack {
        let calls = calls.iter().map(|frames| Call {
            offset: 4,
            frames: frames.iter().map(|(f, file)| frame(f, file)).collect(),
        });
        Stack {
            image: TeeUuid::nil(),
            calls: calls.collect(),
        }
    }

    #[test]
    fn the_way_into_the_allocator_is_not_shown() {
        let stack = stack(&[
            &[
                ("__rustc::__rust_alloc", "kernel/src/heap.rs"),
                ("alloc::alloc::alloc", "alloc/src/alloc.rs"),
            ],
            &[("push", "alloc/src/vec/mod.rs"), ("ours", "a.rs")],
            &[("core::ops::call", "core/src/ops.rs"), ("main", "a.rs")],
        ]);
        let shown: Vec<_> = stack
            .shown()
            .iter()
            .map(|s| (s.depth, &*s.frame.function, s.inlined))
            .collect();
        let expected = [
            (1, "ours", false),
            (2, "core::ops::call", true),
            (2, "main", false),
        ];
        assert_eq!(shown, expected);
        assert_eq!(stack.innermost().unwrap().function, "ours");
        assert_eq!(stack.useful().unwrap().function, "ours");
    }

    /// Rows began with `vec_with_capacity kernel/mem/src/fallible.rs` and `allocate_anew
    /// ta-runtime/src/heap.rs`, which teestat left out.
    #[test]
    fn wrappers_of_the_allocator_are_not_shown() {
        for wrapper in [
            ("vec_with_capacity", "kernel/mem/src/fallible.rs"),
            ("allocate_anew", "ta-runtime/src/heap.rs"),
            ("alloc", "kernel/src/heap.rs"),
        ] {
            let stack = stack(&[&[wrapper], &[("ours", "a.rs")]]);
            let shown = stack.shown();
            assert_eq!(shown.len(), 1, "{wrapper:?}");
            assert_eq!(shown[0].frame.function, "ours");
        }
    }

    #[test]
    fn a_stack_of_nothing_else_is_shown_whole() {
        let stack = stack(&[&[("alloc::alloc::alloc", "alloc/src/alloc.rs")]]);
        assert_eq!(stack.shown().len(), 1);
        assert!(Stack::default().shown().is_empty());
    }

    #[test]
    fn without_names_image_and_offset_are_shown() {
        let frames = Frames {
            origin: None,
            offsets: &[0x10, 0x24, 0, 0x99],
        };
        let stack = Stack::new(&NoNames, frames, Origin::default());
        let names: Vec<String> = stack.frames().map(ToString::to_string).collect();
        assert_eq!(names, ["kernel+0x10", "kernel+0x24"]);
    }
}
