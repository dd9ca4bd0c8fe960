//! All structures and molecules of the data sets that lie beside the repository: each must be read, and agree with what the source
//! says of it.

use std::collections::HashMap;
use std::path::PathBuf;

use datasets::element::Element;
use datasets::formula::Formula;
use datasets::structure::{Species, Structure};
use ingest::{smiles, structure};
use moyo::MoyoDataset;
use moyo::base::{Cell, Lattice, Position};
use rayon::prelude::*;

/// The rows of a CSV file by the names of its header, or none where it is absent, which is said aloud.
fn rows(file: &str) -> Option<(HashMap<String, usize>, Vec<csv::StringRecord>)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(file);
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("SKIPPED: {} is absent", path.display());
        return None;
    };
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).flexible(true).from_reader(text.as_bytes());
    let names = reader.headers().unwrap().iter().enumerate().map(|(at, name)| (name.to_owned(), at)).collect();
    Some((names, reader.records().map(Result::unwrap).collect()))
}

/// How the space group found compares with the stated one.
#[derive(Clone, Copy, PartialEq)]
enum Group {
    /// It is the same.
    Same,
    /// It is the same where atoms may be off their places by 0.1 Å, as the source allowed: relaxed cells are off by more than 0.01 Å.
    SameAtATenth,
    Other,
}

/// `text` against what the source says: its space group as an answer, the rest must agree.
fn compare(text: &str, formula: &str, nsites: f64, volume: Option<f64>, group: Option<f64>) -> Option<Group> {
    let read = structure::parse(text).unwrap_or_else(|error| panic!("{formula}: {error}\n{text}"));
    let described = structure::describe(&read).unwrap();
    assert_eq!(described.formula, Formula::parse(formula).unwrap(), "{formula}\n{text}");
    assert_eq!(read.positions.len() as f64, nsites, "{formula}\n{text}");
    if let Some(volume) = volume {
        // POSCARs of these sources round the lattice to 1e-6 Å
        assert!((read.volume_a3().unwrap() / volume - 1.0).abs() < 1e-4, "{formula} {volume}\n{text}");
    }
    let group = group?;
    if described.space_group.map(f64::from) == Some(group) {
        return Some(Group::Same);
    }
    let found = group_at_a_tenth(&read);
    if found.map(f64::from) == Some(group) {
        return Some(Group::SameAtATenth);
    }
    println!("{formula}: space group {:?}, at 0.1 Å {found:?}, the source says {group}", described.space_group);
    Some(Group::Other)
}

fn group_at_a_tenth(structure: &Structure) -> Option<i32> {
    let number = |species: &Species| match species {
        Species::Element(symbol) => i32::from(Element::from_symbol(symbol).unwrap().number()),
        Species::Mixed(_) => panic!("no source here has shared sites"),
    };
    let positions = structure.positions.iter().map(|&[x, y, z]| Position::new(x, y, z)).collect();
    let numbers = structure.species.iter().map(number).collect();
    let cell = Cell::new(Lattice::from_basis(structure.lattice.unwrap()), positions, numbers);
    MoyoDataset::with_default(&cell, 0.1).ok().map(|found| found.number)
}

/// At least these shares must have the stated space group at 0.01 Å, and at 0.01 or 0.1 Å.
fn check_groups(what: &str, found: &[Option<Group>], least: [f64; 2]) {
    let share = |wanted: &[Group]| {
        found.iter().flatten().filter(|group| wanted.contains(group)).count() as f64 / found.len() as f64
    };
    let shares = [share(&[Group::Same]), share(&[Group::Same, Group::SameAtATenth])];
    println!(
        "{what}: {} structures, space group as stated at 0.01 Å {:.4}, or at 0.1 Å {:.4}",
        found.len(),
        shares[0],
        shares[1]
    );
    assert!(shares[0] >= least[0] && shares[1] >= least[1], "{what}: {shares:?}");
}

#[test]
fn every_elastic_structure_is_read_and_agrees() {
    let Some((names, rows)) = rows("vendorable/elastic_piezo_structures/elastic_tensor.csv") else { return };
    let at = |name: &str| names[name];
    for text in ["poscar", "structure"] {
        let check = |row: &csv::StringRecord| {
            let number = |name| row[at(name)].parse::<f64>().ok();
            let nsites = number("nsites").unwrap();
            compare(&row[at(text)], &row[at("formula")], nsites, number("volume"), number("space_group"))
        };
        let found: Vec<_> = rows.par_iter().map(check).collect();
        check_groups(&format!("elastic, {text}"), &found, [0.99, 0.99]);
        assert_eq!(found.len(), 1181);
    }
}

#[test]
fn every_piezoelectric_structure_is_read_and_agrees() {
    let Some((_, rows)) = rows("vendorable/elastic_piezo_structures/piezoelectric_tensor.csv") else { return };
    // rows have one cell more than the header: the index twice
    for text in [6, 7] {
        let check = |row: &csv::StringRecord| {
            let number = |at| row[at].parse::<f64>().ok();
            compare(&row[text], &row[8], number(12).unwrap(), number(9), number(10))
        };
        let found: Vec<_> = rows.par_iter().map(check).collect();
        check_groups(&format!("piezoelectric, column {text}"), &found, [0.95, 0.97]);
        assert_eq!(found.len(), 941);
    }
}

#[test]
fn every_formation_energy_structure_is_read_and_agrees() {
    let Some((names, rows)) = rows("vendorable/elastic_piezo_structures/flla_2015.csv") else { return };
    let count = rows.par_iter().map(|row| {
        // {'As': 1.0, 'Ga': 1.0}
        let formula = row[names["formula"]].replace(['{', '}', '\'', ':', ',', ' '], "");
        compare(&row[names["structure"]], &formula, row[names["nsites"]].parse().unwrap(), None, None)
    });
    assert_eq!(count.count(), 3938);
}

#[test]
fn the_molar_mass_of_every_organic_molecule_agrees() {
    let Some((names, rows)) = rows("vendorable/organics/properties.csv") else { return };
    let off = |row: &csv::StringRecord| {
        let molecule = smiles::formula(&row[names["Mol_Smiles"]]).unwrap_or_else(|error| panic!("{error}"));
        // the mean, not the monoisotopic mass
        let stated: f64 = row[names["MW_pybel"]].parse().unwrap();
        ((molecule.molar_mass() - stated).abs() > 0.05)
            .then(|| format!("{:?}: {} for {stated}", row, molecule.molar_mass()))
    };
    let off: Vec<String> = rows.par_iter().filter_map(off).collect();
    println!("organics: {} molecules, {} disagree", rows.len(), off.len());
    assert!(rows.len() == 100_000 && off.is_empty(), "{} of {}: {:?}", off.len(), rows.len(), off.first());
}

#[test]
fn the_molar_mass_of_every_polymer_agrees() {
    let Some((names, rows)) = rows("tests_only/polymers/PI1070.csv") else { return };
    for row in &rows {
        let molecule = smiles::formula(&row[names["smiles"]]).unwrap_or_else(|error| panic!("{error}"));
        // the source weighs deuterium as such, formulas here do not tell isotopes apart
        let deuterium = row[names["smiles"]].matches("[2H]").count() as f64;
        let stated: f64 = row[names["mol_weight_monomer"]].parse::<f64>().unwrap() - deuterium * (2.0141 - 1.008);
        assert!(molecule.is_polymer() && (molecule.molar_mass() - stated).abs() < 0.05, "{row:?} {molecule:?}");
    }
    assert_eq!(rows.len(), 1077);
}
