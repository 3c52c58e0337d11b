//! The commands of the binary, a file each: arguments in, output and exit code out.
//!
//! Called by `main` alone. A command returns its exit code (contract, section 1) and never ends the
//! process itself.

pub mod check;
