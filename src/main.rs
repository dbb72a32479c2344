//! The binary: environment in, exit code out.

fn main() {}
