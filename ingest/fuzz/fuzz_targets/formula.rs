//! Any text as a formula: what is read can be written and read again, and is the same.
#![no_main]

use datasets::formula::{Basis, Formula};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(formula) = Formula::parse(text) {
        let written = formula.to_string();
        assert_eq!(Formula::parse(&written).as_ref(), Ok(&formula), "{text:?} is written as {written:?}");
        assert!(formula.molar_mass() > 0.0);
    }
    let _ = Formula::parse_with_charge(text);
    for basis in [Basis::AtomicFraction, Basis::AtomicPercent, Basis::MassFraction, Basis::WeightPercent] {
        let _ = Formula::parse_with_basis(text, basis);
    }
    if let Ok(molecule) = ingest::smiles::formula(text) {
        assert!(molecule.molar_mass() > 0.0);
    }
});
