//! The modules of a TA, and what a symbol of one of them means among them.
//!
//! **Invariant:** a symbol that nobody defines is an error, unless it is weak.

use crate::ImageFault;
use crate::symbols::Symbols;
use goblin::elf64::section_header::{SHN_ABS, SHN_LORESERVE, SHN_UNDEF};
use goblin::elf64::sym::{STB_LOCAL, STB_WEAK, STT_TLS, Sym, st_bind, st_type};

/// A TA's program or one of its libraries, in place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Module<'a> {
    /// Where its link address 0 lies.
    pub base: u64,
    /// Bytes from there to the end of its last segment.
    pub span: u64,
    /// Its symbols.
    pub symbols: Symbols<'a>,
    /// Where its thread-local storage begins, in bytes from what TPIDR_EL0 points to; 0 if it has none.
    pub tls_offset: u64,
}

/// Whose definition a relocation wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefer {
    /// The module's own, if it has one.
    Own,
    /// The first among all modules.
    First,
}

/// All modules, seen from one of them.
#[derive(Clone, Copy, Debug)]
pub struct Linked<'m, 'a> {
    modules: &'m [Module<'a>],
    own: &'m Module<'a>,
    /// Address of a function that resolves descriptors of thread-local variables; 0 if there is none.
    thread_resolver: u64,
}

impl<'m, 'a> Linked<'m, 'a> {
    /// A program alone.
    pub const fn alone(own: &'m Module<'a>) -> Self {
        Self {
            modules: core::slice::from_ref(own),
            own,
            thread_resolver: 0,
        }
    }

    /// All of `modules`, in the order in which symbols are looked for, seen from one of them.
    #[must_use]
    pub fn new(modules: &'m [Module<'a>], own: &'m Module<'a>, thread_resolver: u64) -> Self {
        Self {
            modules,
            own,
            thread_resolver,
        }
    }

    pub(crate) const fn own(&self) -> &Module<'a> {
        self.own
    }

    pub(crate) fn thread_resolver(&self) -> Result<u64, ImageFault> {
        if self.thread_resolver == 0 {
            return Err(ImageFault::NeedsTls);
        }
        Ok(self.thread_resolver)
    }

    /// The first module that defines `name` for others, and how.
    pub(crate) fn find(&self, name: &[u8]) -> Option<(&'m Module<'a>, Sym)> {
        let mut modules = self.modules.iter();
        modules.find_map(|module| Some((module, module.symbols.find(name)?)))
    }

    /// Which module defines the own module's symbol `index`, and how; `None` for a weak one that nobody defines.
    fn definition(
        &self,
        index: u32,
        prefer: Prefer,
    ) -> Result<Option<(&'m Module<'a>, Sym)>, ImageFault> {
        let symbol = self.own.symbols.get(index).ok_or(ImageFault::BadDynamic)?;
        let is_defined = u32::from(symbol.st_shndx) != SHN_UNDEF;
        let binding = st_bind(symbol.st_info);
        let is_for_all = !is_defined || prefer == Prefer::First && binding != STB_LOCAL;
        if is_for_all && self.modules.len() > 1 {
            let name = u64::from(symbol.st_name);
            let name = self
                .own
                .symbols
                .string(name)
                .ok_or(ImageFault::BadDynamic)?;
            if let Some(found) = self.find(name) {
                return Ok(Some(found));
            }
        }
        match (is_defined, binding) {
            (true, _) => Ok(Some((self.own, symbol))),
            (false, STB_WEAK) => Ok(None),
            (false, _) => Err(ImageFault::UndefinedSymbol),
        }
    }

    /// The address that the own module's symbol `index` stands for; 0 for none.
    pub(crate) fn value(&self, index: u32, prefer: Prefer) -> Result<u64, ImageFault> {
        if index == 0 {
            return Ok(0);
        }
        match self.definition(index, prefer)? {
            None => Ok(0),
            Some((module, symbol)) => module.address_of(&symbol),
        }
    }

    /// Where the thread-local variable `index` of the own module lies, in bytes from what TPIDR_EL0 points to; for no
    /// symbol, where the module's variables begin.
    pub(crate) fn thread_offset(&self, index: u32) -> Result<u64, ImageFault> {
        let found = match index {
            0 => None,
            _ => self.definition(index, Prefer::First)?,
        };
        let (module, value) = found.map_or((self.own, 0), |(module, it)| (module, it.st_value));
        if module.tls_offset == 0 {
            return Err(ImageFault::NeedsTls);
        }
        Ok(value.wrapping_add(module.tls_offset))
    }
}

impl Module<'_> {
    /// Where the symbol lies that this module defines.
    ///
    /// # Errors
    /// `BadDynamic` for one that has no address.
    pub(crate) fn address_of(&self, symbol: &Sym) -> Result<u64, ImageFault> {
        match u32::from(symbol.st_shndx) {
            SHN_ABS => Ok(symbol.st_value),
            SHN_UNDEF | SHN_LORESERVE.. => Err(ImageFault::BadDynamic),
            _ if st_type(symbol.st_info) == STT_TLS => Err(ImageFault::BadDynamic),
            _ => Ok(symbol.st_value.wrapping_add(self.base)),
        }
    }
}
