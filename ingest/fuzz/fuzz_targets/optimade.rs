//! Any text as an object that holds a structure, from seeds of OPTIMADE, pymatgen and Python: as `cif`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use matgenome_fuzz::structure_holds;

fuzz_target!(|text: &str| {
    structure_holds(text);
    // most texts that are made up do not begin as an object
    structure_holds(&format!("{{{text}"));
});
