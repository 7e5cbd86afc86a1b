//! Changes to a tree where it lies.
//!
//! **Invariant:** the tree is well-formed before and after every call; an edit that fails leaves
//! nodes and properties as they were.

use core::fmt;

use crate::{BEGIN_NODE, END, END_NODE, HEADER_BYTES, NOP, PROP, align, string, total_bytes, word};

/// Header fields, as offsets in bytes.
mod field {
    pub(super) const TOTAL: usize = 4;
    pub(super) const STRUCTURE: usize = 8;
    pub(super) const STRINGS: usize = 12;
    pub(super) const RESERVATIONS: usize = 16;
    pub(super) const VERSION: usize = 20;
    pub(super) const COMPATIBLE: usize = 24;
    pub(super) const STRINGS_BYTES: usize = 32;
    pub(super) const STRUCTURE_BYTES: usize = 36;
}

/// The version that is read and written.
const VERSION: u32 = 17;
/// Bytes of a property before its value: token, length, name.
const PROP_BYTES: usize = 12;

/// Why a tree cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError {
    /// Not a well-formed tree of version 17, or its blocks are in an unusual order.
    Malformed,
    /// The slice has no room for it.
    NoRoom,
    /// A name that is empty, or has a NUL or (a node's) a slash in it.
    BadName,
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed device tree",
            Self::NoRoom => "no room in the device tree",
            Self::BadName => "bad name for the device tree",
        })
    }
}

impl core::error::Error for EditError {}

/// A node, by its place: good until something before it changes. An edit of a node leaves it and
/// the nodes that it lies in good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(usize);

/// One item of the structure block.
enum Item<'t> {
    Begin(&'t [u8]),
    End,
    Property {
        name: &'t [u8],
        /// Where the value lies, and its length.
        value: (usize, usize),
    },
    Nothing,
    Finish,
}

/// A tree in a slice that may have room behind it.
#[derive(Debug)]
pub struct Editor<'t> {
    bytes: &'t mut [u8],
}

impl<'t> Editor<'t> {
    /// Checks the tree at the start of `bytes`, all of it.
    ///
    /// # Errors
    /// [`EditError::Malformed`].
    pub fn open(bytes: &'t mut [u8]) -> Result<Self, EditError> {
        let editor = Self { bytes };
        editor.check().ok_or(EditError::Malformed)?;
        Ok(editor)
    }

    /// Bytes of the tree as it is now.
    #[must_use]
    pub fn tree_bytes(&self) -> usize {
        self.field(field::TOTAL)
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Node {
        let mut at = self.field(field::STRUCTURE);
        while let Some((Item::Nothing, next)) = self.item(at) {
            at = next;
        }
        Node(at)
    }

    /// The node at `path`, names with unit addresses, separated and begun by slashes.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<Node> {
        path.split('/')
            .filter(|name| !name.is_empty())
            .try_fold(self.root(), |node, name| self.child(node, name))
    }

    /// The child of `node` with this name.
    #[must_use]
    pub fn child(&self, node: Node, name: &str) -> Option<Node> {
        self.children(node)
            .find(|&child| self.name(child) == Some(name.as_bytes()))
    }

    /// Child number `index` of `node`.
    #[must_use]
    pub fn child_at(&self, node: Node, index: usize) -> Option<Node> {
        self.children(node).nth(index)
    }

    /// The children of `node`, found in one walk.
    fn children(&self, node: Node) -> impl Iterator<Item = Node> {
        let mut at = self.inside(node);
        let mut depth = 0_usize;
        core::iter::from_fn(move || {
            loop {
                let here = at?;
                let (item, next) = self.item(here)?;
                at = Some(next);
                match item {
                    Item::Begin(_) => {
                        depth += 1;
                        if depth == 1 {
                            return Some(Node(here));
                        }
                    }
                    Item::End if depth > 0 => depth -= 1,
                    // The end of the node itself, and of its children for good.
                    Item::End | Item::Finish => at = None,
                    Item::Property { .. } | Item::Nothing => {}
                }
            }
        })
    }

    /// A node's name, with its unit address.
    #[must_use]
    pub fn name(&self, node: Node) -> Option<&[u8]> {
        match self.item(node.0)? {
            (Item::Begin(name), _) => Some(name),
            _ => None,
        }
    }

    /// The value of a property.
    #[must_use]
    pub fn property(&self, node: Node, name: &str) -> Option<&[u8]> {
        let (at, len) = self.value(node, name)?;
        self.bytes.get(at..at + len)
    }

    /// Sets a property.
    ///
    /// # Errors
    /// [`EditError::NoRoom`], [`EditError::BadName`]; [`EditError::Malformed`] if `node` is none.
    pub fn set_property(&mut self, node: Node, name: &str, value: &[u8]) -> Result<(), EditError> {
        let inside = self.inside(node).ok_or(EditError::Malformed)?;
        let len = u32::try_from(value.len()).map_err(|_| EditError::NoRoom)?;
        let name_at = self.intern(name)?;
        let room = align(value.len());
        let at = match self.value(node, name) {
            Some((at, old)) => {
                let old_room = align(old);
                match room.checked_sub(old_room) {
                    Some(more) => self.insert(at + old_room, more)?,
                    None => self.remove(at + room, old_room - room),
                }
                at
            }
            None => {
                self.insert(inside, PROP_BYTES + room)?;
                self.put(inside, PROP);
                self.put(inside + 8, name_at);
                inside + PROP_BYTES
            }
        };
        self.put(at - 8, len);
        if let Some(place) = self.bytes.get_mut(at..at + room) {
            let (data, padding) = place.split_at_mut(value.len());
            data.copy_from_slice(value);
            padding.fill(0);
        }
        Ok(())
    }

    /// Sets a property of one cell.
    ///
    /// # Errors
    /// As [`Editor::set_property`].
    pub fn set_cell(&mut self, node: Node, name: &str, value: u32) -> Result<(), EditError> {
        self.set_property(node, name, &value.to_be_bytes())
    }

    /// The child of `parent` with this name, made if there is none.
    ///
    /// # Errors
    /// [`EditError::NoRoom`], [`EditError::BadName`]; [`EditError::Malformed`] if `parent` is none.
    pub fn ensure_node(&mut self, parent: Node, name: &str) -> Result<Node, EditError> {
        if name.is_empty() || name.contains(['\0', '/']) {
            return Err(EditError::BadName);
        }
        if let Some(node) = self.child(parent, name) {
            return Ok(node);
        }
        let mut at = self.inside(parent).ok_or(EditError::Malformed)?;
        // Behind the properties, which come first.
        while let Some((Item::Property { .. } | Item::Nothing, next)) = self.item(at) {
            at = next;
        }
        let name_room = align(name.len() + 1);
        self.insert(at, 4 + name_room + 4)?;
        self.put(at, BEGIN_NODE);
        if let Some(place) = self.bytes.get_mut(at + 4..at + 4 + name.len()) {
            place.copy_from_slice(name.as_bytes());
        }
        self.put(at + 4 + name_room, END_NODE);
        Ok(Node(at))
    }

    #[cfg(test)]
    pub(crate) fn check_for_test(&self) -> Option<()> {
        self.check()
    }

    /// Walks the header and the whole structure.
    fn check(&self) -> Option<()> {
        let total = total_bytes(self.bytes)?;
        let structure = self.field(field::STRUCTURE);
        let strings = self.field(field::STRINGS);
        let structure_end = structure.checked_add(self.field(field::STRUCTURE_BYTES))?;
        let strings_end = strings.checked_add(self.field(field::STRINGS_BYTES))?;
        let sound = word(self.bytes, field::VERSION)? >= VERSION
            && word(self.bytes, field::COMPATIBLE)? <= VERSION
            && self.field(field::RESERVATIONS) >= HEADER_BYTES
            && self.field(field::RESERVATIONS) <= structure
            && structure.is_multiple_of(4)
            && structure_end.is_multiple_of(4)
            && structure_end <= strings
            && strings_end <= total
            && total <= self.bytes.len();
        sound.then_some(())?;

        let mut at = structure;
        let mut depth = 0_usize;
        let mut roots = 0;
        let mut properties_over = false;
        loop {
            let (item, next) = self.item(at)?;
            match item {
                Item::Begin(_) => {
                    if depth == 0 {
                        roots += 1;
                    }
                    depth += 1;
                    properties_over = false;
                }
                Item::End => {
                    depth = depth.checked_sub(1)?;
                    properties_over = true;
                }
                Item::Property { .. } if depth == 0 || properties_over => return None,
                Item::Property { .. } | Item::Nothing => {}
                Item::Finish => {
                    return (depth == 0 && roots == 1 && next == structure_end).then_some(());
                }
            }
            at = next;
        }
    }

    /// The item at `at`, and where the next one is.
    fn item(&self, at: usize) -> Option<(Item<'_>, usize)> {
        let start = self.field(field::STRUCTURE);
        let end = start.checked_add(self.field(field::STRUCTURE_BYTES))?;
        let structure = self.bytes.get(..end)?;
        if at < start || !at.is_multiple_of(4) {
            return None;
        }
        let after = at + 4;
        let (item, next) = match word(structure, at)? {
            BEGIN_NODE => {
                let name = string(structure, after)?;
                (Item::Begin(name), align(after + name.len() + 1))
            }
            END_NODE => (Item::End, after),
            PROP => {
                let len = usize::try_from(word(structure, after)?).ok()?;
                let value = after + 8;
                structure.get(value..)?.get(..len)?;
                let name = usize::try_from(word(structure, after + 4)?).ok()?;
                let name = string(self.strings()?, name)?;
                let value = (value, len);
                (Item::Property { name, value }, align(value.0 + len))
            }
            NOP => (Item::Nothing, after),
            END => (Item::Finish, after),
            _ => return None,
        };
        (next <= end).then_some((item, next))
    }

    fn strings(&self) -> Option<&[u8]> {
        let start = self.field(field::STRINGS);
        self.bytes
            .get(start..)?
            .get(..self.field(field::STRINGS_BYTES))
    }

    /// Where a node's first item is.
    fn inside(&self, node: Node) -> Option<usize> {
        match self.item(node.0)? {
            (Item::Begin(_), next) => Some(next),
            _ => None,
        }
    }

    /// Where a property's value is, and its length.
    fn value(&self, node: Node, wanted: &str) -> Option<(usize, usize)> {
        let mut at = self.inside(node)?;
        loop {
            match self.item(at)? {
                (Item::Property { name, value }, _) if name == wanted.as_bytes() => {
                    return Some(value);
                }
                (Item::Property { .. } | Item::Nothing, next) => at = next,
                _ => return None,
            }
        }
    }

    /// Offset of `name` in the strings block, where it is put if it is new.
    fn intern(&mut self, name: &str) -> Result<u32, EditError> {
        if name.is_empty() || name.contains('\0') {
            return Err(EditError::BadName);
        }
        let strings = self.strings().ok_or(EditError::Malformed)?;
        let found = strings
            .windows(name.len() + 1)
            .position(|place| place.split_last() == Some((&0, name.as_bytes())));
        let len = strings.len();
        let at = found.unwrap_or(len);
        if found.is_none() {
            let start = self.field(field::STRINGS) + len;
            let place = self
                .bytes
                .get_mut(start..start + name.len() + 1)
                .ok_or(EditError::NoRoom)?;
            let (text, end) = place.split_at_mut(name.len());
            text.copy_from_slice(name.as_bytes());
            end.fill(0);
            self.set_field(field::STRINGS_BYTES, len + name.len() + 1);
            self.set_field(field::TOTAL, self.end());
        }
        u32::try_from(at).map_err(|_| EditError::NoRoom)
    }

    /// Where the strings block ends, which is the last one.
    fn end(&self) -> usize {
        self.field(field::STRINGS) + self.field(field::STRINGS_BYTES)
    }

    /// Makes `count` zero bytes at `at` in the structure block.
    fn insert(&mut self, at: usize, count: usize) -> Result<(), EditError> {
        let end = self.end();
        if count > self.bytes.len().saturating_sub(end) {
            return Err(EditError::NoRoom);
        }
        self.bytes.copy_within(at..end, at + count);
        if let Some(gap) = self.bytes.get_mut(at..at + count) {
            gap.fill(0);
        }
        self.moved(|bytes| bytes + count);
        Ok(())
    }

    /// Takes `count` bytes at `at` out of the structure block.
    fn remove(&mut self, at: usize, count: usize) {
        let end = self.end();
        self.bytes.copy_within(at + count..end, at);
        self.moved(|bytes| bytes - count);
    }

    /// The structure block grew or shrank, as `change` says.
    fn moved(&mut self, change: impl Fn(usize) -> usize) {
        for place in [field::STRINGS, field::STRUCTURE_BYTES] {
            self.set_field(place, change(self.field(place)));
        }
        self.set_field(field::TOTAL, self.end());
    }

    /// A field of the header, or 0 where there is no header.
    fn field(&self, at: usize) -> usize {
        word(self.bytes, at).map_or(0, |value| value as usize)
    }

    fn set_field(&mut self, at: usize, value: usize) {
        // The slice is shorter than 4 GiB: `open` has compared it with 32-bit fields.
        self.put(at, u32::try_from(value).unwrap_or(u32::MAX));
    }

    fn put(&mut self, at: usize, value: u32) {
        if let Some(place) = self.bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }
}
