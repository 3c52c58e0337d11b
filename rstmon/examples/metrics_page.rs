//! Prints docs/metrics.md.

#![allow(clippy::print_stdout, reason = "that is what it is for")]

fn main() {
    print!("{}", rstmon::metrics::families::render_markdown());
}
