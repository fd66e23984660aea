//! Turns loom on for this package alone: a flag for the compiler would reach every dependency.

fn main() {
    println!("cargo::rustc-cfg=portcullis_loom");
}
