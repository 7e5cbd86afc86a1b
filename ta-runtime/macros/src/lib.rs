//! The attributes that mark a TA's entry points, as in the Teaclave SDK.
//!
//! **Invariant:** the generated code names no crate: a TA may call the runtime `optee_utee`.

use proc_macro::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::{Error, FnArg, ItemFn, Result, ReturnType, Type, Visibility, parse_macro_input};

/// The TA instance is being created: `fn() -> Result<()>`.
#[proc_macro_attribute]
pub fn ta_create(_args: TokenStream, input: TokenStream) -> TokenStream {
    expand(input, |f| {
        let [] = arguments(f, "fn() -> Result<()>")?;
        let ident = &f.sig.ident;
        Ok(quote! {
            #[unsafe(export_name = "TA_CreateEntryPoint")]
            extern "C" fn entry() -> u32 {
                match #ident() {
                    Ok(()) => 0,
                    Err(e) => e.raw_code(),
                }
            }
        })
    })
}

/// The TA instance is being destroyed: `fn()`.
#[proc_macro_attribute]
pub fn ta_destroy(_args: TokenStream, input: TokenStream) -> TokenStream {
    expand(input, |f| {
        let [] = arguments(f, "fn()")?;
        returns_nothing(f, "fn()")?;
        let ident = &f.sig.ident;
        Ok(quote! {
            #[unsafe(export_name = "TA_DestroyEntryPoint")]
            extern "C" fn entry() {
                #ident();
            }
        })
    })
}

/// A session is being opened: `fn(&mut Parameters) -> Result<()>` or
/// `fn(&mut Parameters, &mut T) -> Result<()>`, where `T: Default` is the session's context.
#[proc_macro_attribute]
pub fn ta_open_session(_args: TokenStream, input: TokenStream) -> TokenStream {
    const SHAPE: &str =
        "fn(&mut Parameters) -> Result<()>` or `fn(&mut Parameters, &mut T) -> Result<()>";
    expand(input, |f| {
        let ident = &f.sig.ident;
        let (params, call) = match f.sig.inputs.len() {
            1 => {
                let [params] = arguments(f, SHAPE)?;
                (params, quote!(#ident(&mut params)))
            }
            _ => {
                let [params, context] = arguments(f, SHAPE)?;
                let call = quote!(params.__with_new_context::<#context>(slot, #ident));
                (params, call)
            }
        };
        Ok(quote! {
            #[unsafe(export_name = "TA_OpenSessionEntryPoint")]
            unsafe extern "C" fn entry(
                raw: *mut ::core::ffi::c_void,
                slot: *mut *mut ::core::ffi::c_void,
            ) -> u32 {
                let _ = slot;
                // SAFETY: the runtime calls with what its contract asks for.
                unsafe {
                    let mut params = <#params>::__from_runtime(raw);
                    match #call {
                        Ok(()) => 0,
                        Err(e) => e.raw_code(),
                    }
                }
            }
        })
    })
}

/// A session is being closed: `fn()` or `fn(&mut T)`.
#[proc_macro_attribute]
pub fn ta_close_session(_args: TokenStream, input: TokenStream) -> TokenStream {
    const SHAPE: &str = "fn()` or `fn(&mut T)";
    expand(input, |f| {
        returns_nothing(f, SHAPE)?;
        let ident = &f.sig.ident;
        let call = match f.sig.inputs.len() {
            0 => quote!(#ident()),
            _ => {
                let [context] = arguments(f, SHAPE)?;
                quote!({
                    // SAFETY: `ta_open_session` made the context with `Box`'s layout and the same
                    // type, and the runtime hands it out for the last time.
                    if !context.is_null() {
                        let context = context.cast::<#context>();
                        #ident(unsafe { &mut *context });
                        unsafe { ::core::ptr::drop_in_place(context) };
                    }
                })
            }
        };
        let size = match f.sig.inputs.len() {
            0 => quote!(let _ = context; [0, 1]),
            _ => {
                let [context] = arguments(f, SHAPE)?;
                quote!([size_of::<#context>(), align_of::<#context>()])
            }
        };
        Ok(quote! {
            #[unsafe(export_name = "TA_CloseSessionEntryPoint")]
            unsafe extern "C" fn entry(
                context: *mut ::core::ffi::c_void,
                size_align: &mut [usize; 2],
            ) {
                *size_align = { #size };
                #call;
            }
        })
    })
}

/// A command is being invoked: `fn(u32, &mut Parameters) -> Result<()>` or
/// `fn(&mut T, u32, &mut Parameters) -> Result<()>`.
#[proc_macro_attribute]
pub fn ta_invoke_command(_args: TokenStream, input: TokenStream) -> TokenStream {
    const SHAPE: &str = "fn(u32, &mut Parameters) -> Result<()>` or \
                         `fn(&mut T, u32, &mut Parameters) -> Result<()>";
    expand(input, |f| {
        let ident = &f.sig.ident;
        let (params, call) = match f.sig.inputs.len() {
            2 => {
                let params = argument(f, 1, SHAPE)?;
                (params, quote!(#ident(command, &mut params)))
            }
            _ => {
                if f.sig.inputs.len() != 3 {
                    return Err(wrong_shape(f, SHAPE));
                }
                let context = argument(f, 0, SHAPE)?;
                let call = quote!({
                    if context.is_null() {
                        return 0xffff_000f; // TEE_ERROR_SECURITY
                    }
                    #ident(&mut *context.cast::<#context>(), command, &mut params)
                });
                (argument(f, 2, SHAPE)?, call)
            }
        };
        Ok(quote! {
            #[unsafe(export_name = "TA_InvokeCommandEntryPoint")]
            unsafe extern "C" fn entry(
                context: *mut ::core::ffi::c_void,
                command: u32,
                raw: *mut ::core::ffi::c_void,
            ) -> u32 {
                let _ = context;
                // SAFETY:
                // 1. The runtime calls with what its contract asks for.
                // 2. `ta_open_session` made the context with the same type, and the instance is
                //    entered by one session at a time.
                unsafe {
                    let mut params = <#params>::__from_runtime(raw);
                    match #call {
                        Ok(()) => 0,
                        Err(e) => e.raw_code(),
                    }
                }
            }
        })
    })
}

/// Emits the function and, beside it, what `entry` makes of it.
fn expand(
    input: TokenStream,
    entry: impl FnOnce(&ItemFn) -> Result<proc_macro2::TokenStream>,
) -> TokenStream {
    let f = parse_macro_input!(input as ItemFn);
    match entry(&f) {
        Ok(entry) => quote! {
            #f
            const _: () = {
                #entry
            };
        }
        .into(),
        Err(e) => e.to_compile_error().into(),
    }
}

fn wrong_shape(f: &ItemFn, shape: &str) -> Error {
    Error::new(
        f.span(),
        format!("the function must have the signature `{shape}`"),
    )
}

/// The types that all `N` arguments of `f` refer to.
fn arguments<const N: usize>(f: &ItemFn, shape: &str) -> Result<[Type; N]> {
    let plain = f.sig.constness.is_none()
        && f.sig.asyncness.is_none()
        && f.sig.abi.is_none()
        && f.sig.variadic.is_none()
        && f.sig.generics.params.is_empty()
        && matches!(f.vis, Visibility::Inherited);
    if !plain || f.sig.inputs.len() != N {
        return Err(wrong_shape(f, shape));
    }
    let mut types = Vec::new();
    for n in 0..N {
        types.push(argument(f, n, shape)?);
    }
    types.try_into().map_err(|_| wrong_shape(f, shape))
}

/// The type that argument `n` of `f` refers to.
fn argument(f: &ItemFn, n: usize, shape: &str) -> Result<Type> {
    match f.sig.inputs.iter().nth(n) {
        Some(FnArg::Typed(arg)) => match &*arg.ty {
            Type::Reference(reference) => Ok((*reference.elem).clone()),
            _ => Err(wrong_shape(f, shape)),
        },
        _ => Err(wrong_shape(f, shape)),
    }
}

fn returns_nothing(f: &ItemFn, shape: &str) -> Result<()> {
    match f.sig.output {
        ReturnType::Default => Ok(()),
        ReturnType::Type(..) => Err(wrong_shape(f, shape)),
    }
}
