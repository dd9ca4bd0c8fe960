//! Any text as a unit: a unit that is read converts to itself without a change.
#![no_main]

use datasets::unit::Unit;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(unit) = Unit::parse(text) {
        assert!(unit.is_same(&unit), "{text:?}");
        assert!(unit.conversion_to(&unit).is_ok_and(|conversion| conversion.is_identity()), "{text:?}");
    }
    let _ = Unit::parse_temperature(text);
    if let Ok(pascal) = Unit::parse("Pa") {
        let _ = Unit::parse_for(text, &pascal);
    }
});
