//! What the fuzz targets share.

use datasets::structure::Structure;

/// Reads a text as a structure. What is read must be valid, have a formula, and be the same after a way through the JSON of a record.
/// The space group is left out: a panic in `moyo` is caught in `ingest::structure::describe`, but ends a fuzzer.
pub fn structure_holds(text: &str) {
    let Ok(structure) = ingest::structure::parse(text) else { return };
    assert_eq!(structure.check(), Ok(()));
    assert!(structure.formula().is_ok(), "{structure:?}");
    assert_eq!(structure.lattice.is_some(), structure.density_g_cm3().is_some(), "{structure:?}");
    let json = serde_json::to_string(&structure).unwrap_or_default();
    assert_eq!(Structure::from_json(&json).as_ref(), Ok(&structure));
    assert_eq!(ingest::structure::parse(&json).as_ref(), Ok(&structure));
}
