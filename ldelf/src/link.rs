//! Linking: a TA's program with the libraries that it needs, and libraries that it opens later.
//!
//! **Invariant:** what a [`LinkMap`] tells of a TA changes only when all that is new is in place.

use crate::free_lists::FreeLists;
use crate::link_map::{Entry, LinkMap};
use crate::symbols::Extent;
use crate::{ImageFault, Linked, LoadPlan, Module, PAGE, Prot, Protection, library, plan};
use tally_abi::TeeUuid;

/// Most modules of a TA, its program included.
pub const MAX_MODULES: usize = 16;
/// Bytes at what TPIDR_EL0 points to, before the first module's variables (OP-TEE's `lib/libutee/tcb.c`).
const TCB_HEAD: u64 = 16;
/// Resolves a descriptor of a thread-local variable: `ldr x0, [x0, #8]; ret` (ELF for the Arm 64-bit Architecture, "Thread
/// Local Storage").
const THREAD_RESOLVER: [u32; 2] = [0xf940_0400, 0xd65f_03c0];
/// What OP-TEE's libutee finds the modules by (`lib/libutee/include/user_ta_header.h`).
const PHDR_INFO: &[u8] = b"__elf_phdr_info";

/// What the loader does with the memory of the TA.
pub trait System<'a> {
    /// What may go wrong.
    type Error: From<ImageFault>;

    /// What is done from now on is done for this module: a fault is one of its own.
    fn concerns(&mut self, module: TeeUuid);

    /// The whole file of a library that may be used.
    ///
    /// # Errors
    /// It is not there, or not allowed.
    fn open(&mut self, library: TeeUuid) -> Result<&'a [u8], Self::Error>;

    /// Maps `len` zeroed bytes, a multiple of [`PAGE`], readable and writable: their address.
    ///
    /// # Errors
    /// There is no room.
    fn map(&mut self, len: u64) -> Result<u64, Self::Error>;

    /// What was mapped as a whole at `address`, while it is writable.
    fn memory(&mut self, address: u64, len: u64) -> &mut [u8];

    /// Sets the permissions of pages of what was mapped at `base`.
    ///
    /// # Errors
    /// They are not allowed.
    fn protect(&mut self, base: u64, pages: Protection) -> Result<(), Self::Error>;

    /// Unmaps what was mapped at `address`.
    ///
    /// # Errors
    /// It is not mapped.
    fn unmap(&mut self, address: u64, len: u64) -> Result<(), Self::Error>;

    /// Bytes of the TA's that change no more; none if they are not mapped as a whole.
    fn look(&self, at: Extent) -> &'a [u8];

    /// The 16 bytes at an address of the TA's data.
    fn read(&mut self, address: u64) -> [u8; 16];

    /// Changes them.
    fn write(&mut self, address: u64, bytes: [u8; 16]);
}

/// A TA's program in place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Program {
    /// Entry point.
    pub entry: u64,
    /// Where its link address 0 lies.
    pub base: u64,
    /// Bytes from there to the end of its last segment.
    pub span: u64,
    /// Bytes of stack that it wants, a multiple of 16.
    pub stack_len: u64,
    /// `TaHead::flags`.
    pub flags: u32,
    /// Where its link map lies; of no length for who needs none.
    pub link_map: Extent,
    /// Where free lists of its program and libraries are.
    pub free_lists: FreeLists,
}

/// Loads the TA `uuid`, whose file is `image`, with all libraries.
///
/// # Errors
/// The first reason to refuse an image, or what the system says.
pub fn load<'a, S: System<'a>>(
    system: &mut S,
    image: &'a [u8],
    uuid: TeeUuid,
) -> Result<Program, S::Error> {
    let plan = plan(image, uuid)?;
    let base = place(system, &plan)?;
    let alone = plan.module(base, 0);
    let mut link_map = Extent::default();
    let mut free_lists = FreeLists::default();
    if needs_link_map(&plan, &alone) {
        let mut set = Set::default();
        set.add(uuid, image, &plan, base)?;
        link_map = set.link(system, &mut free_lists)?;
    } else {
        let memory = system.memory(base, plan.span);
        plan.relocate(memory, &Linked::alone(&alone), &mut free_lists)?;
        protect(system, &plan, base)?;
    }
    Ok(Program {
        entry: base + plan.entry,
        base,
        span: plan.span,
        stack_len: plan.stack_len,
        flags: plan.head.flags,
        link_map,
        free_lists,
    })
}

/// Loads a library, with all that it needs, into the TA that has this link map: where its link map lies then.
///
/// # Errors
/// The first reason to refuse an image, or what the system says.
pub fn open<'a, S: System<'a>>(
    system: &mut S,
    map: Extent,
    uuid: TeeUuid,
) -> Result<Extent, S::Error> {
    let mut set = Set::of(system, map)?;
    if set.has(uuid) {
        return Ok(map);
    }
    set.open(system, uuid)?;
    // What a library that is opened later allocates with is the program's.
    let new = set.link(system, &mut FreeLists::default())?;
    system.unmap(map.address, map.len)?;
    Ok(new)
}

/// The address that `name` stands for in the TA that has this link map: in the module `of` first, if one is named, then in
/// all of them.
///
/// # Errors
/// `NeedsLibrary` if there is no such module, `UndefinedSymbol`.
pub fn symbol<'a, S: System<'a>>(
    system: &S,
    map: Extent,
    of: Option<TeeUuid>,
    name: &[u8],
) -> Result<u64, ImageFault> {
    let set = Set::of(system, map)?;
    let modules = set.modules();
    if let Some(uuid) = of {
        let found = set.entries().iter().position(|entry| entry.uuid == uuid);
        let module = &modules[found.ok_or(ImageFault::NeedsLibrary)?];
        if let Some((module, symbol)) = Linked::alone(module).find(name) {
            return module.address_of(&symbol);
        }
    }
    let first = modules.first().ok_or(ImageFault::NeedsLibrary)?;
    let (module, symbol) = Linked::new(modules, first, 0)
        .find(name)
        .ok_or(ImageFault::UndefinedSymbol)?;
    module.address_of(&symbol)
}

/// Whether the TA has libraries or variables of its thread, or wants to know its modules.
fn needs_link_map(plan: &LoadPlan<'_>, module: &Module<'_>) -> bool {
    plan.tls_len != 0
        || plan.needed().next().is_some()
        || Linked::alone(module).find(PHDR_INFO).is_some()
}

fn place<'a, S: System<'a>>(system: &mut S, plan: &LoadPlan<'_>) -> Result<u64, S::Error> {
    let base = system.map(plan.span)?;
    plan.place(system.memory(base, plan.span))?;
    Ok(base)
}

fn protect<'a, S: System<'a>>(
    system: &mut S,
    plan: &LoadPlan<'_>,
    base: u64,
) -> Result<(), S::Error> {
    let mut protections = plan.protections();
    protections.try_for_each(|pages| system.protect(base, pages))
}

/// The modules of a TA, in the order in which symbols are looked for.
#[derive(Default)]
struct Set<'a> {
    modules: [Module<'a>; MAX_MODULES],
    entries: [Entry<'a>; MAX_MODULES],
    len: usize,
    /// How many of them are relocated.
    n_linked: usize,
    thread_resolver: u64,
}

impl<'a> Set<'a> {
    fn of<S: System<'a>>(system: &S, map: Extent) -> Result<Self, ImageFault> {
        let map = LinkMap::new(system.look(map));
        let mut set = Self {
            thread_resolver: map.thread_resolver(),
            ..Self::default()
        };
        for (module, entry) in map.modules(|extent| system.look(extent)) {
            set.push(module, entry)?;
        }
        set.n_linked = set.len;
        Ok(set)
    }

    fn modules(&self) -> &[Module<'a>] {
        self.modules.get(..self.len).unwrap_or(&[])
    }

    fn entries(&self) -> &[Entry<'a>] {
        self.entries.get(..self.len).unwrap_or(&[])
    }

    fn has(&self, uuid: TeeUuid) -> bool {
        self.entries().iter().any(|entry| entry.uuid == uuid)
    }

    fn push(&mut self, module: Module<'a>, entry: Entry<'a>) -> Result<(), ImageFault> {
        let (Some(to), Some(entry_to)) = (
            self.modules.get_mut(self.len),
            self.entries.get_mut(self.len),
        ) else {
            return Err(ImageFault::TooManyLibraries);
        };
        (*to, *entry_to) = (module, entry);
        self.len += 1;
        Ok(())
    }

    /// Adds an image that is in place at `base`.
    fn add(
        &mut self,
        uuid: TeeUuid,
        image: &'a [u8],
        plan: &LoadPlan<'a>,
        base: u64,
    ) -> Result<(), ImageFault> {
        // As many bytes as libutee takes for each, which knows of no padding.
        let tls_len: u64 = self.entries().iter().map(|entry| entry.tls_len).sum();
        let tls_offset = if plan.tls_len == 0 {
            0
        } else {
            TCB_HEAD + tls_len
        };
        let entry = Entry {
            uuid,
            image,
            tables: *plan.symbol_tables(),
            program_headers: plan.program_headers,
            name: plan
                .name_address()
                .map_or(0, |name| base.wrapping_add(name)),
            tls_len: plan.tls_len,
        };
        self.push(plan.module(base, tls_offset), entry)
    }

    /// Puts a library in place.
    #[inline(never)]
    fn open<S: System<'a>>(&mut self, system: &mut S, uuid: TeeUuid) -> Result<(), S::Error> {
        if self.len == MAX_MODULES {
            return Err(ImageFault::TooManyLibraries.into());
        }
        system.concerns(uuid);
        let image = system.open(uuid)?;
        let plan = library(image)?;
        let base = place(system, &plan)?;
        Ok(self.add(uuid, image, &plan, base)?)
    }

    /// Opens what the new modules need, relocates them all, and tells the TA: where its link map lies.
    #[inline(never)]
    fn link<S: System<'a>>(
        &mut self,
        system: &mut S,
        lists: &mut FreeLists,
    ) -> Result<Extent, S::Error> {
        let mut next = self.n_linked;
        while next < self.len {
            let Entry { uuid, image, .. } = self.entries[next];
            for needed in library(image)?.needed() {
                system.concerns(uuid);
                let needed = needed?;
                if !self.has(needed) {
                    self.open(system, needed)?;
                }
            }
            next += 1;
        }
        self.add_thread_resolver(system)?;
        for n in self.n_linked..self.len {
            self.relocate(system, n, lists)?;
        }
        self.n_linked = self.len;
        self.publish(system)
    }

    #[inline(never)]
    fn relocate<S: System<'a>>(
        &self,
        system: &mut S,
        n: usize,
        lists: &mut FreeLists,
    ) -> Result<(), S::Error> {
        let plan = library(self.entries[n].image)?;
        let own = &self.modules[n];
        system.concerns(self.entries[n].uuid);
        let linked = Linked::new(self.modules(), own, self.thread_resolver);
        plan.relocate(system.memory(own.base, own.span), &linked, lists)?;
        protect(system, &plan, own.base)
    }

    fn add_thread_resolver<S: System<'a>>(&mut self, system: &mut S) -> Result<(), S::Error> {
        let is_needed = self.entries().iter().any(|entry| entry.tls_len != 0);
        if self.thread_resolver != 0 || !is_needed {
            return Ok(());
        }
        let page = system.map(PAGE)?;
        let memory = system.memory(page, PAGE);
        for (word, code) in memory
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .zip(THREAD_RESOLVER)
        {
            *word = code.to_le_bytes();
        }
        let pages = Protection {
            address: 0,
            len: PAGE,
            prot: Prot::Exec,
        };
        system.protect(page, pages)?;
        self.thread_resolver = page;
        Ok(())
    }

    /// Writes the link map, and tells libutee of it.
    fn publish<S: System<'a>>(&self, system: &mut S) -> Result<Extent, S::Error> {
        let first = self.modules().first().ok_or(ImageFault::NoSegments)?;
        system.concerns(self.entries[0].uuid);
        let info = Linked::new(self.modules(), first, 0).find(PHDR_INFO);
        let info = match info {
            Some((module, symbol)) => Some(info_address(module, module.address_of(&symbol)?)?),
            // Nobody sets TPIDR_EL0 for it.
            None if self.thread_resolver != 0 => return Err(ImageFault::NeedsTls.into()),
            None => None,
        };
        let len = LinkMap::len_for(self.entries()).next_multiple_of(PAGE);
        let address = system.map(len)?;
        // What a module without a name is called: the zero in libutee's record.
        let no_name = info.map_or(0, |info| info + 7);
        let memory = system.memory(address, len);
        let list = LinkMap::write(
            memory,
            address,
            (self.modules(), self.entries()),
            self.thread_resolver,
            no_name,
        )?;
        let pages = Protection {
            address: 0,
            len,
            prot: Prot::Read,
        };
        system.protect(address, pages)?;
        if let Some(info) = info {
            // {u32 reserved; u16 count; u8 reserved, zero; u64 list}
            let mut record = system.read(info);
            if record[..4] != [0; 4] {
                return Err(ImageFault::BadPhdrInfo.into());
            }
            record[4..6].copy_from_slice(&(self.len as u16).to_le_bytes());
            record[8..].copy_from_slice(&list.to_le_bytes());
            system.write(info, record);
        }
        Ok(Extent { address, len })
    }
}

/// The address of libutee's record, if the module has all of it.
fn info_address(module: &Module<'_>, address: u64) -> Result<u64, ImageFault> {
    let offset = address.checked_sub(module.base);
    match offset.and_then(|offset| offset.checked_add(16)) {
        Some(end) if end <= module.span => Ok(address),
        _ => Err(ImageFault::BadPhdrInfo),
    }
}
