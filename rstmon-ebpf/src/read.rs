//! The only reads of kernel memory.
//!
//! Two ways. What the verifier knows the type of ([`TypedAddr`]) is loaded directly. All else
//! ([`KernelAddr`]) goes through `bpf_probe_read_kernel`, which returns an error for an address that is
//! not mapped instead of faulting; an error and an absent field are both `None`.

use crate::maps::verifier_null;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use bytemuck::{Pod, Zeroable};
use core::mem::MaybeUninit;
use rstmon_common::layout::ABSENT;
use rstmon_common::wire::{RAW_EVENT_SIZE, RawEvent};

/// What has members at the offsets of a kernel structure.
pub(crate) trait Members: Copy {
    /// What its pointers lead to.
    type Pointee: Object;

    /// Reads the member at `offset`, unless this kernel has none.
    fn field<T: Pod>(self, offset: u16) -> Option<T>;

    /// Follows the pointer at `offset`; null where there is none.
    fn pointer(self, offset: u16) -> Self::Pointee;
}

/// A kernel object, in either of the two ways in which its members can be read.
pub(crate) trait Object: Members {
    /// Whether there is no object.
    fn is_null(self) -> bool;

    /// Where it is.
    fn address(self) -> KernelAddr;
}

/// The address of a kernel object, from a hook's argument or from another object.
#[derive(Clone, Copy, PartialEq, Eq, Zeroable)]
#[repr(transparent)]
pub(crate) struct KernelAddr(u64);

impl KernelAddr {
    /// No object.
    pub(crate) const NULL: Self = Self(0);

    /// An argument of a hook.
    #[inline(always)]
    pub(crate) const fn new(address: u64) -> Self {
        Self(address)
    }

    /// Whether there is no object.
    #[inline(always)]
    pub(crate) const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The plain number, for keys of maps.
    #[inline(always)]
    pub(crate) const fn value(self) -> u64 {
        self.0
    }

    /// An address `bytes` further on.
    #[inline(always)]
    pub(crate) const fn plus(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }

    /// Reads a plain value at this address.
    #[inline(always)]
    pub(crate) fn read<T: Pod>(self) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the destination is as long as `T`; the helper checks the source itself.
        let status = unsafe {
            bpf_probe_read_kernel(
                value.as_mut_ptr().cast(),
                size_of::<T>() as u32,
                self.0 as *const _,
            )
        };
        if status == 0 {
            // SAFETY: the helper wrote every byte, and any bytes make a `Pod`.
            Some(unsafe { value.assume_init() })
        } else {
            None
        }
    }

    /// Reads into `destination`, which stays as it was if the address cannot be read.
    #[inline(always)]
    pub(crate) fn read_into<T: Pod>(self, destination: &mut T) -> bool {
        // SAFETY: the destination is as long as `T`; the helper checks the source itself.
        let status = unsafe {
            bpf_probe_read_kernel(
                core::ptr::from_mut(destination).cast(),
                size_of::<T>() as u32,
                self.0 as *const _,
            )
        };
        status == 0
    }

    /// Reads the first `len` bytes into `destination`, as many as it holds at most. The number that
    /// were read; 0 if the address cannot be read.
    #[inline(always)]
    pub(crate) fn read_bytes<const LEN: usize>(self, len: u32, destination: &mut [u8; LEN]) -> u32 {
        const { assert!(LEN >= 64 && LEN < 128, "the mask below") };
        let mut len = u64::from(len);
        if len > LEN as u64 {
            len = LEN as u64;
        }
        // SAFETY: one operation on a register, without effect on the value; the compiler would drop
        // it, and the verifier of some kernels loses the bound of the comparison above.
        unsafe { core::arch::asm!("{len} &= 127", len = inout(reg) len) };
        // Zero bytes are refused by old kernels.
        if len == 0 || len > LEN as u64 {
            return 0;
        }
        // SAFETY: `len` is no more than the destination holds; the helper checks the source itself.
        let status = unsafe {
            bpf_probe_read_kernel(
                destination.as_mut_ptr().cast(),
                len as u32,
                self.0 as *const _,
            )
        };
        if status == 0 { len as u32 } else { 0 }
    }

    /// Reads the field at `offset` into `destination`, unless this kernel has none.
    #[inline(always)]
    pub(crate) fn field_into<T: Pod>(self, offset: u16, destination: &mut T) -> bool {
        if offset == ABSENT {
            return false;
        }
        self.plus(u64::from(offset)).read_into(destination)
    }
}

impl Members for KernelAddr {
    type Pointee = Self;

    #[inline(always)]
    fn field<T: Pod>(self, offset: u16) -> Option<T> {
        if offset == ABSENT {
            return None;
        }
        self.plus(u64::from(offset)).read()
    }

    /// Null also where it cannot be read.
    #[inline(always)]
    fn pointer(self, offset: u16) -> Self {
        if self.is_null() {
            return Self::NULL;
        }
        match self.field(offset) {
            Some(address) => Self(address),
            None => Self::NULL,
        }
    }
}

impl Object for KernelAddr {
    #[inline(always)]
    fn is_null(self) -> bool {
        Self::is_null(self)
    }

    #[inline(always)]
    fn address(self) -> KernelAddr {
        self
    }
}

/// A live kernel object whose type the verifier knows: an argument of a tracepoint that is entered by
/// its BTF, or what such an argument points to. A load is one instruction, where a call of the helper
/// takes as long as all else that many hooks do.
///
/// An argument must be live and not null, which is so if the tracepoint itself follows it for its
/// record: since 6.2 the kernel loads its members unguarded. What is reached through it is guarded: a
/// load that faults there yields zero.
#[derive(Clone, Copy)]
pub(crate) struct TypedAddr(*const u8);

impl TypedAddr {
    /// An argument of a hook that is never null, as the context gives it.
    #[inline(always)]
    pub(crate) const fn new(argument: *const u8) -> Self {
        Self(argument)
    }

    /// Loads a member, which must be one to the verifier, too.
    #[inline(always)]
    fn load<T>(self, offset: u16) -> T {
        let member = self.0.wrapping_add(usize::from(offset));
        // SAFETY: the object is live, see the type, or the kernel guards the load; the verifier lets
        // only members be loaded, and the kernel aligns them. Volatile, or the compiler might load
        // in parts that are no members.
        unsafe { core::ptr::read_volatile(member.cast::<T>()) }
    }
}

impl Members for TypedAddr {
    type Pointee = Self;

    #[inline(always)]
    fn field<T: Pod>(self, offset: u16) -> Option<T> {
        if offset == ABSENT {
            return None;
        }
        Some(self.load(offset))
    }

    #[inline(always)]
    fn pointer(self, offset: u16) -> Self {
        if offset == ABSENT {
            return Self(core::ptr::null());
        }
        Self(self.load(offset))
    }
}

impl Object for TypedAddr {
    #[inline(always)]
    fn is_null(self) -> bool {
        self.0.is_null()
    }

    #[inline(always)]
    fn address(self) -> KernelAddr {
        plain(self.0)
    }
}

/// An argument that the verifier knows the type of and that may be null: nothing but its address can
/// be asked for. From 6.5 on, until they got `raw_tp_null_args` (kernel/bpf/btf.c; 6.13, or a fix of a
/// stable release), verifiers hold every argument for valid and leave tests for null out, and a load
/// behind such a test is the host's end.
#[derive(Clone, Copy)]
pub(crate) struct NullableAddr(*const u8);

impl NullableAddr {
    /// An argument of a hook, as the context gives it.
    #[inline(always)]
    pub(crate) const fn new(argument: *const u8) -> Self {
        Self(argument)
    }

    /// Where the object is, if there is one.
    #[inline(always)]
    pub(crate) fn address(self) -> KernelAddr {
        // Where the verifier takes null into account, it is a number in this branch, from which no
        // pointer can be subtracted. Where it leaves the branch out, the difference is null, too.
        if self.0.is_null() {
            return KernelAddr::NULL;
        }
        plain(self.0)
    }
}

/// The address as a number. The verifier allows no arithmetic on a pointer whose type it knows, and
/// keys are made of addresses; but the difference of two pointers is a number to it, and one of them
/// is null.
#[inline(always)]
fn plain(pointer: *const u8) -> KernelAddr {
    let mut address = pointer.addr() as u64;
    let null = verifier_null().addr();
    // SAFETY: one operation on a register.
    unsafe {
        core::arch::asm!("{address} -= {null}", address = inout(reg) address, null = in(reg) null);
    }
    KernelAddr(address)
}

/// A copy of `LEN` bytes of a kernel object: one call of the helper for many fields, which the
/// bench shows to be several times cheaper than a call a field.
pub(crate) struct Window<'a, const LEN: usize> {
    object: KernelAddr,
    /// Where in the object it begins, a multiple of eight.
    start: u16,
    bytes: &'a [u8; LEN],
}

impl<'a, const LEN: usize> Window<'a, LEN> {
    /// Copies from `object`, `start` bytes in. `None` if the kernel cannot read there.
    #[inline(always)]
    pub(crate) fn copy(object: KernelAddr, start: u16, bytes: &'a mut [u8; LEN]) -> Option<Self> {
        // SAFETY: the destination is `LEN` long; the helper checks the source itself.
        let status = unsafe {
            bpf_probe_read_kernel(
                bytes.as_mut_ptr().cast(),
                LEN as u32,
                object.plus(u64::from(start)).0 as *const _,
            )
        };
        (status == 0).then_some(Self {
            object,
            start,
            bytes,
        })
    }

    /// Puts the field at `offset` into `destination`, unless this kernel has none.
    #[inline(always)]
    pub(crate) fn field_into<T: Pod>(&self, offset: u16, destination: &mut T) -> bool {
        match self.field(offset) {
            Some(value) => {
                *destination = value;
                true
            }
            None => false,
        }
    }
}

impl<const LEN: usize> Members for &Window<'_, LEN> {
    type Pointee = KernelAddr;

    /// Read on its own where it lies outside.
    #[inline(always)]
    fn field<T: Pod>(self, offset: u16) -> Option<T> {
        // `offset` and `start` are constants to the verifier, so that one branch remains.
        if offset == ABSENT {
            return None;
        }
        let end = self.start as usize + LEN;
        if offset < self.start || offset as usize + size_of::<T>() > end {
            return self.object.field(offset);
        }
        let at = (offset - self.start) as usize;
        // SAFETY: within the copy, as was just tested.
        let field = unsafe { self.bytes.as_ptr().add(at) };
        // SAFETY: the copy begins at a multiple of eight in the object and in memory, and the
        // kernel's structures align their fields; any bytes make a `Pod`.
        Some(unsafe { field.cast::<T>().read() })
    }

    #[inline(always)]
    fn pointer(self, offset: u16) -> KernelAddr {
        match self.field(offset) {
            Some(address) => KernelAddr(address),
            None => KernelAddr::NULL,
        }
    }
}

/// Sets a value in a map's memory to zeros, word by word. An assignment would become a call of
/// `memset`, which the compiler brings along for this target as a loop over bytes: for a hundred of
/// them it takes as long as the rest of a hook.
#[inline(always)]
pub(crate) fn clear<T: Zeroable>(value: &mut T) {
    const {
        assert!(
            size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8,
            "whole words"
        );
    }
    let words = core::ptr::from_mut(value).cast::<u64>();
    for at in 0..size_of::<T>() / 8 {
        // SAFETY: within the value.
        let word = unsafe { words.add(at) };
        // SAFETY: aligned and writable; zeros are a value of `T`.
        unsafe { core::ptr::write_volatile(word, 0) };
    }
}

/// Copies a value into a map's memory, word by word, as [`clear`] does.
#[inline(always)]
pub(crate) fn copy<T: Pod>(from: &T, to: &mut T) {
    const {
        assert!(
            size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8,
            "whole words"
        );
    }
    let source = core::ptr::from_ref(from).cast::<u64>();
    let target = core::ptr::from_mut(to).cast::<u64>();
    for at in 0..size_of::<T>() / 8 {
        // SAFETY: within the value.
        let word = unsafe { source.add(at) };
        // SAFETY: aligned and readable.
        let word = unsafe { word.read() };
        // SAFETY: within the value.
        let place = unsafe { target.add(at) };
        // SAFETY: aligned and writable; any words make a `Pod`.
        unsafe { core::ptr::write_volatile(place, word) };
    }
}

/// Copies what lies at a multiple of eight in memory: an address or a name, which an assignment
/// would copy in a loop, byte by byte.
#[inline(always)]
#[allow(
    clippy::cast_ptr_alignment,
    reason = "the caller says that both are aligned; their type cannot"
)]
pub(crate) fn copy_16(from: &[u8; 16], to: &mut [u8; 16]) {
    let source = from.as_ptr().cast::<u64>();
    let target = to.as_mut_ptr().cast::<u64>();
    for at in 0..2 {
        // SAFETY: within the array.
        let word = unsafe { source.add(at) };
        // SAFETY: readable; this machine's words need no alignment.
        let word = unsafe { word.read_unaligned() };
        // SAFETY: within the array.
        let place = unsafe { target.add(at) };
        // SAFETY: aligned, as the caller says, and writable. Volatile, or it would become the loop.
        unsafe { core::ptr::write_volatile(place, word) };
    }
}

/// A record of zeros.
static ZEROS: [u8; RAW_EVENT_SIZE] = [0; RAW_EVENT_SIZE];

/// Clears a record with one call of the helper: a loop of stores is walked again for every path of
/// the verifier that leads there, which takes old kernels seconds.
#[inline(always)]
pub(crate) fn zeroed(entry: &mut MaybeUninit<RawEvent>) -> &mut RawEvent {
    // SAFETY: both are as long as said; a static of ours can always be read.
    let _ = unsafe {
        bpf_probe_read_kernel(
            entry.as_mut_ptr().cast(),
            RAW_EVENT_SIZE as u32,
            (&raw const ZEROS).cast(),
        )
    };
    // SAFETY: all bytes were written, and any bytes make a `RawEvent`.
    unsafe { entry.assume_init_mut() }
}
