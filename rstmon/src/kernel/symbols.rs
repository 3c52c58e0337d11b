//! Which functions of ours the kernel has, and whether they are in a module.
//!
//! `facts` reads `/proc/kallsyms` through [`parse_symbols`]. Addresses are not used, so
//! `kernel.kptr_restrict`, which zeroes them, does no harm.

use crate::kernel::hook::Hook;
use std::collections::BTreeMap;
use std::io::{self, BufRead};

/// Where a function is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SymbolPlace {
    /// In the kernel itself.
    BuiltIn,
    /// In a loaded module.
    Module(String),
}

/// What could be found out about functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Symbols {
    /// Every hook that is a function and is there now.
    Known(BTreeMap<Hook, SymbolPlace>),
    /// The list could not be read.
    Unknown {
        /// Why.
        reason: String,
    },
}

impl Default for Symbols {
    fn default() -> Self {
        Self::Unknown {
            reason: "not read".to_owned(),
        }
    }
}

impl Symbols {
    /// Whether a function is there now; `None`: not known.
    #[must_use]
    pub fn has(&self, hook: Hook) -> Option<bool> {
        match self {
            Self::Known(places) => Some(places.contains_key(&hook)),
            Self::Unknown { .. } => None,
        }
    }

    /// Whether any function of a module is there now; `None`: not known.
    #[must_use]
    pub fn has_any_of_module(&self, module: &str) -> Option<bool> {
        match self {
            Self::Known(places) => Some(places.keys().any(|hook| hook.module() == Some(module))),
            Self::Unknown { .. } => None,
        }
    }
}

/// Reads lines of `ADDRESS TYPE NAME [MODULE]`. A line of another form is passed over: the list is
/// the kernel's, and one odd line says nothing of the others. Names with a suffix
/// (`tcp_reset.cold`) are parts of functions or changed copies, and cannot be probed as the whole.
pub fn parse_symbols(mut lines: impl BufRead) -> io::Result<BTreeMap<Hook, SymbolPlace>> {
    let wanted: BTreeMap<&[u8], Hook> = Hook::ALL
        .iter()
        .filter(|hook| hook.is_function())
        .map(|hook| (hook.name().as_bytes(), *hook))
        .collect();
    let mut found = BTreeMap::new();
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? != 0 {
        let mut words = line.split(u8::is_ascii_whitespace);
        let (kind, name) = (words.nth(1), words.next());
        if matches!(kind, Some(b"t" | b"T"))
            && let Some(&hook) = name.and_then(|name| wanted.get(name))
        {
            let module = words.find(|word| !word.is_empty()).map(|word| {
                String::from_utf8_lossy(word)
                    .trim_matches(['[', ']'])
                    .to_owned()
            });
            found.insert(
                hook,
                module.map_or(SymbolPlace::BuiltIn, SymbolPlace::Module),
            );
        }
        line.clear();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;

    #[test]
    fn functions_of_ours_are_found_built_in_and_in_modules() {
        let text = b"0000000000000000 T tcp_reset\n\
            0000000000000000 t tcp_reset.cold\n\
            0000000000000000 t tcp_v4_send_reset\n\
            0000000000000000 D tcp_v6_send_reset\n\
            0000000000000000 t tcp_init_transfer.constprop.0\n\
            ffffffffc0a31010 T nf_send_reset\t[nf_reject_ipv4]\n\
            \n\
            garbage\n\
            \xff\xfe\xfd \xff \xff\n\
            0000000000000000 T tcp_validate_incoming";
        let found = parse_symbols(text.as_slice()).unwrap();
        let expected = BTreeMap::from([
            (Hook::TcpReset, SymbolPlace::BuiltIn),
            (Hook::TcpV4SendReset, SymbolPlace::BuiltIn),
            (Hook::TcpValidateIncoming, SymbolPlace::BuiltIn),
            (
                Hook::NfSendReset,
                SymbolPlace::Module("nf_reject_ipv4".to_owned()),
            ),
        ]);
        assert_eq!(found, expected);

        let symbols = Symbols::Known(found);
        assert_eq!(symbols.has(Hook::NfSendReset), Some(true));
        assert_eq!(symbols.has(Hook::NfSendReset6), Some(false));
        assert_eq!(symbols.has_any_of_module("nf_reject_ipv4"), Some(true));
        assert_eq!(symbols.has_any_of_module("nf_reject_ipv6"), Some(false));
    }

    #[test]
    fn what_could_not_be_read_is_not_known() {
        assert_eq!(Symbols::default().has(Hook::TcpReset), None);
        assert_eq!(Symbols::default().has_any_of_module("ipv6"), None);
    }
}
