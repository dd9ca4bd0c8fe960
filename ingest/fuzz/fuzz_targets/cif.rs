//! Any text as a structure, from seeds in CIF: what is read is valid, and stays the same as the JSON of a record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use matgenome_fuzz::structure_holds;

fuzz_target!(|text: &str| structure_holds(text));
