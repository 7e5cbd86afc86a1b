//! Transient objects: made, filled, read, given back.

use crate::call::Call;
use crate::observer::Observer;
use crate::ta::crypto::object::{Object, Purpose, check_attributes};
use crate::ta::crypto::rules::{Form, Rules};
use crate::ta::instance::InstanceRef;
use tally_abi::TeeResult;
use tally_abi::crypto::{UteeAttribute, attribute, object_type, usage};
use tally_abi::ta::access;
use tally_mem::addr::UserVa;
use tally_mem::machine::Machine;
use zerocopy::{FromZeros, IntoBytes};

/// Most attributes that a call is given: those of every object and operation are fewer.
pub(super) const MAX_GIVEN: usize = 12;

/// Attributes that a call is given.
pub(super) struct Given {
    attributes: [UteeAttribute; MAX_GIVEN],
    count: usize,
}

impl Given {
    pub(super) fn all(&self) -> &[UteeAttribute] {
        self.attributes.get(..self.count).unwrap_or_default()
    }
}

impl<M: Machine, O: Observer> Call<'_, M, O> {
    #[inline(never)]
    pub(super) fn sys_object_alloc(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let object = self.as_instance(instance, || Object::new(x[0] as u32, x[1]))??;
        let bytes = object.heap_bytes();
        self.add_holding(instance, x[2], bytes, |held| held.add_object(object))
    }

    pub(in crate::ta::syscall) fn sys_object_close(
        &mut self,
        instance: InstanceRef,
        handle: u64,
    ) -> Result<(), TeeResult> {
        let handle = u32::try_from(handle).map_err(|_| TeeResult::BAD_STATE)?;
        let removed = self.with_holdings(instance, |held| {
            let object = held.objects.get(handle).ok_or(TeeResult::BAD_STATE)?;
            if object.is_busy {
                return Err(TeeResult::ITEM_NOT_FOUND);
            }
            held.remove_object(handle).ok_or(TeeResult::BAD_STATE)
        })?;
        self.discard_object(removed?);
        Ok(())
    }

    pub(super) fn sys_object_reset(
        &self,
        instance: InstanceRef,
        handle: u64,
    ) -> Result<(), TeeResult> {
        self.with_object(instance, handle, |object| {
            if object.storage.is_some() {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            object.reset();
            Ok(())
        })
    }

    #[inline(never)]
    pub(super) fn sys_object_info(
        &self,
        instance: InstanceRef,
        [handle, out]: [u64; 2],
    ) -> Result<(), TeeResult> {
        let info = self.with_object(instance, handle, |object| Ok(self.info_of(object)))?;
        let len = size_of_val(&info) as u64;
        self.sys_check_access(instance, access::WRITE, UserVa(out), len)?;
        self.write(instance, out, info.as_bytes())
    }

    pub(super) fn sys_object_restrict(
        &mut self,
        instance: InstanceRef,
        handle: u64,
        usage: u32,
    ) -> Result<(), TeeResult> {
        let is_stored = self.with_object(instance, handle, |object| {
            object.usage &= usage;
            Ok(object.storage.is_some())
        })?;
        if is_stored {
            return self.restrict_stored(instance, handle, usage);
        }
        Ok(())
    }

    #[inline(never)]
    pub(super) fn sys_object_attribute(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let [handle, buf, len] = [x[0], x[2], x[3]];
        let id = x[1] as u32;
        let found = self.with_object(instance, handle, |_| Ok(()));
        found.map_err(|_| TeeResult::ITEM_NOT_FOUND)?;
        self.with_object(instance, handle, |object| {
            let is_readable =
                id & attribute::PUBLIC != 0 || self.usage_of(object) & usage::EXTRACTABLE != 0;
            if !object.is_initialized || !is_readable {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            let bytes = object.attribute(id).ok_or(TeeResult::ITEM_NOT_FOUND)?;
            let room = self.read_u64(instance, len)?;
            let at = object.rules.find(id).ok_or(TeeResult::ITEM_NOT_FOUND)?;
            let form = object.rules.attributes[at].form;
            if form == Form::Value {
                let pair = [object.value(id).unwrap_or(0), 0];
                if room < size_of_val(&pair) as u64 || buf == 0 {
                    return Err(TeeResult::SHORT_BUFFER);
                }
                return self.write(instance, buf, pair.as_bytes());
            }
            self.write_u64(instance, len, bytes.len() as u64)?;
            if form == Form::Number && bytes.is_empty() {
                return Ok(());
            }
            if room < bytes.len() as u64 || buf == 0 {
                return Err(TeeResult::SHORT_BUFFER);
            }
            self.write(instance, buf, bytes)
        })
    }

    /// Attributes in a TA's memory, copied once; what they refer to can be read.
    ///
    /// # Errors
    /// `OVERFLOW`, `ACCESS_DENIED`; `ITEM_NOT_FOUND`: so many that one is there twice or belongs to nothing.
    pub(super) fn take_attributes(
        &self,
        instance: InstanceRef,
        from: u64,
        count: u64,
    ) -> Result<Given, TeeResult> {
        let bytes = count.checked_mul(size_of::<UteeAttribute>() as u64);
        self.check_read(instance, from, bytes.ok_or(TeeResult::OVERFLOW)?)?;
        if count > MAX_GIVEN as u64 {
            return Err(TeeResult::ITEM_NOT_FOUND);
        }
        let mut given = Given {
            attributes: [UteeAttribute::new_zeroed(); MAX_GIVEN],
            count: count as usize,
        };
        let attributes = &mut given.attributes[..count as usize];
        self.read(instance, from, attributes.as_mut_bytes())?;
        for one in attributes {
            if one.id & attribute::VALUE == 0 {
                self.check_read(instance, one.a, one.b)?;
            }
        }
        Ok(given)
    }

    #[inline(never)]
    fn populate(
        &self,
        instance: InstanceRef,
        object: &mut Object,
        given: &Given,
    ) -> Result<(), TeeResult> {
        object.populate(given.all(), |va, buf| self.read(instance, va, buf))
    }

    #[inline(never)]
    pub(super) fn sys_object_populate(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        self.with_object(instance, x[0], |object| {
            if object.is_initialized {
                return Err(TeeResult::BAD_PARAMETERS);
            }
            if object.rules.object_type == object_type::DATA {
                return Err(TeeResult::NOT_IMPLEMENTED);
            }
            let given = self.take_attributes(instance, x[1], x[2])?;
            check_attributes(object.rules, Purpose::Populate, given.all())?;
            self.populate(instance, object, &given)
        })
    }

    #[inline(never)]
    pub(super) fn sys_object_copy(
        &self,
        instance: InstanceRef,
        [to, from]: [u64; 2],
    ) -> Result<(), TeeResult> {
        if to == from {
            // Either it has its attributes, or it has none to give.
            return self.with_object(instance, to, |_| Err(TeeResult::BAD_PARAMETERS));
        }
        self.with_object(instance, to, |to| {
            self.with_object(instance, from, |from| {
                if !from.is_initialized || to.is_initialized {
                    return Err(TeeResult::BAD_PARAMETERS);
                }
                to.copy_from(from)?;
                to.usage = self.usage_of(from);
                Ok(())
            })
        })
    }

    #[inline(never)]
    pub(super) fn sys_generate_key(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        self.with_object(instance, x[0], |object| {
            if object.is_initialized {
                return Err(TeeResult::BAD_STATE);
            }
            let rules: &'static Rules = object.rules;
            let bits = rules.check_size(x[1])?;
            let given = self.take_attributes(instance, x[2], x[3])?;
            check_attributes(rules, Purpose::Generate, given.all())?;
            match rules.attributes {
                [only] if only.id == attribute::SECRET_VALUE => {
                    let machine = &self.kernel.machine;
                    object.fill_secret(rules.bytes(bits), |secret| {
                        machine.interruptible(|| machine.random(secret));
                    })?;
                }
                _ if bits > object.max_bits => return Err(TeeResult::BAD_PARAMETERS),
                _ => {
                    self.populate(instance, object, &given)?;
                    object.is_initialized = false;
                    self.generate_pair(instance, object, bits)?;
                }
            }
            object.bits = bits;
            object.is_initialized = true;
            Ok(())
        })
    }
}
