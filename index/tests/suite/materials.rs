//! A user's word for a material, and the material that is meant.

use gpu::Mask;
use matgenome_index::materials::Resolved;
use matgenome_index::scope::Viewer;

use crate::world::{Write as _, record, world};

#[test]
fn words_and_what_they_mean() {
    let world = world(&[
        record("lab/1").formula("AsGa").name("Gallium Arsenide"),
        record("lab/2").formula("AsGa").phase(216).name("GaAs wafer"),
        record("lab/3").formula("O2Si").phase(152).name("Quartz"),
        record("lab/4").formula("O2Ti").phase(136).name("Rutile"),
        record("lab/5").formula("O2Ti").phase(141).name("Anatase"),
        record("lab/6").name("Steel (S235JR)").class("alloy"),
        record("lab/7").name("Steel S235JR"), // the same slug, another spelling
        record("lab/8").formula("Co").name("Cobalt"),
        record("lab/9").formula("CO").name("Carbon monoxide"),
        record("lab/10").formula("CFe3").name("Cementite"),
        record("lab/11").formula("Fe").name("Pearlite"),
        record("lab/12").formula("CFe3").phase(62).name("Pearlite"),
        record("lab/13"),
        record("lab/14").formula("Cu5Zn8").name("γ-Messing"),
    ]);
    let materials = &world.snapshot.materials;
    let scope = world.snapshot.visible(Viewer::Owner);
    let resolve = |text: &str, seen: &Mask| match materials.resolve(text, seen, &scope) {
        Resolved::Row(row) => materials.id.value(row as usize).to_owned(),
        Resolved::Ambiguous(ids) => format!("one of {}", ids.join(" ")),
        Resolved::Unknown(closest) => format!("unknown {}", closest.join(" ")),
    };
    let meant = |text: &str| resolve(text, &Mask::all(materials.len()));
    for (text, expected) in [
        // ids
        ("AsGa", "AsGa"),
        ("AsGa:sg216", "AsGa:sg216"),
        ("steel-s235jr", "steel-s235jr"),
        ("lab-13", "lab-13"),
        (" AsGa ", "AsGa"),
        // formulas in any order and spelling
        ("GaAs", "AsGa"),
        ("Ga2As2", "AsGa"),
        ("Ga0.5As0.5", "AsGa"),
        ("GaAs:sg216", "AsGa:sg216"),
        ("gaas", "AsGa"),
        ("asga", "AsGa"),
        ("GAAS", "AsGa"),
        ("asga:SG216", "AsGa:sg216"),
        ("Zn8Cu5", "Cu5Zn8"),
        ("Fe3C", "CFe3"),
        ("fe3c", "CFe3"),
        // a formula that is known in one phase only is that phase; in several phases it is neither
        ("SiO2", "O2Si:sg152"),
        ("TiO2", "one of O2Ti:sg136 O2Ti:sg141"),
        // spelled with care Co is cobalt and CO a gas; without care nobody can tell
        ("Co", "Co"),
        ("CO", "CO"),
        ("co", "one of CO Co"),
        // names, in any case
        ("quartz", "O2Si:sg152"),
        ("QUARTZ", "O2Si:sg152"),
        ("gaas WAFER", "AsGa:sg216"),
        ("Steel (S235JR)", "steel-s235jr"),
        ("steel s235jr", "steel-s235jr"),
        ("γ-MESSING", "Cu5Zn8"),
        ("pearlite", "one of CFe3:sg62 Fe"),
        // nothing
        ("Quarz", "unknown O2Si:sg152"),
        ("unobtainium", "unknown "),
        ("XeF6", "unknown "),
        ("AsGa:sg217", "unknown "),
        ("", "unknown "),
        (":", "unknown "),
        ("((((", "unknown "),
    ] {
        assert_eq!(meant(text), expected, "`{text}`");
    }
    // what is not seen might as well not be there
    let without = |ids: &[&str]| Mask::from_fn(materials.len(), |row| !ids.contains(&materials.id.value(row)));
    for (text, hidden, expected) in [
        ("GaAs", &["AsGa"][..], "AsGa:sg216"),
        ("gaas", &["AsGa", "AsGa:sg216"], "unknown "),
        ("TiO2", &["O2Ti:sg141"], "O2Ti:sg136"),
        ("co", &["CO"], "Co"),
        ("co", &["CO", "Co"], "unknown "),
        ("pearlite", &["Fe"], "CFe3:sg62"),
        ("Quarz", &["O2Si:sg152"], "unknown "),
    ] {
        assert_eq!(resolve(text, &without(hidden)), expected, "`{text}` without {hidden:?}");
    }
    assert_eq!(materials.row("AsGa"), Some(0));
    assert_eq!(materials.row("GaAs"), None);
    assert_eq!(materials.display(0).as_deref(), Some("GaAs"));
    assert!(!materials.is_empty() && materials.len() == 13);
    // shown of several names of a material: the first in the alphabet, whatever came first
    let row = materials.row("steel-s235jr").unwrap() as usize;
    assert_eq!(materials.name(row, &scope), Some("Steel (S235JR)"));
    assert_eq!(materials.nelements(row), None);
}
