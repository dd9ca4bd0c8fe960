//! All structures and molecules of the data sets that lie beside the repository: each must be read, and agree with what the source
//! says of it.

use std::collections::HashMap;
use std::path::PathBuf;

use datasets::formula::Formula;
use ingest::{smiles, structure};
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

/// `text` against what the source says; gives whether the space group agrees, where it says one.
fn agrees(text: &str, formula: &str, nsites: f64, volume: Option<f64>, group: Option<f64>) -> Option<bool> {
    let read = structure::parse(text).unwrap_or_else(|error| panic!("{formula}: {error}\n{text}"));
    let described = structure::describe(&read).unwrap();
    assert_eq!(described.formula, Formula::parse(formula).unwrap(), "{formula}\n{text}");
    assert_eq!(read.positions.len() as f64, nsites, "{formula}\n{text}");
    if let Some(volume) = volume {
        // the source rounds positions and lattice of POSCARs to 1e-6
        assert!((read.volume_a3().unwrap() / volume - 1.0).abs() < 1e-4, "{formula} {volume}\n{text}");
    }
    let agree = group.map(|group| described.space_group.map(f64::from) == Some(group));
    if agree == Some(false) {
        println!("{formula}: space group {:?}, the source says {group:?}", described.space_group);
    }
    agree
}

fn share(found: &[Option<bool>]) -> f64 {
    let said: Vec<bool> = found.iter().copied().flatten().collect();
    said.iter().filter(|agrees| **agrees).count() as f64 / said.len() as f64
}

#[test]
fn every_elastic_structure_is_read_and_agrees() {
    let Some((names, rows)) = rows("vendorable/elastic_piezo_structures/elastic_tensor.csv") else { return };
    let at = |name: &str| names[name];
    for text in ["poscar", "structure"] {
        let check = |row: &csv::StringRecord| {
            let number = |name| row[at(name)].parse::<f64>().ok();
            let nsites = number("nsites").unwrap();
            agrees(&row[at(text)], &row[at("formula")], nsites, number("volume"), number("space_group"))
        };
        let found: Vec<_> = rows.par_iter().map(check).collect();
        println!("elastic, {text}: {} structures, space group agrees for {:.4}", found.len(), share(&found));
        assert!(found.len() == 1181 && share(&found) > 0.97, "{}", share(&found));
    }
}

#[test]
fn every_piezoelectric_structure_is_read_and_agrees() {
    let Some((_, rows)) = rows("vendorable/elastic_piezo_structures/piezoelectric_tensor.csv") else { return };
    // rows have one cell more than the header: the index twice
    for text in [6, 7] {
        let check = |row: &csv::StringRecord| {
            let number = |at| row[at].parse::<f64>().ok();
            agrees(&row[text], &row[8], number(12).unwrap(), number(9), number(10))
        };
        let found: Vec<_> = rows.par_iter().map(check).collect();
        println!("piezo, column {text}: {} structures, space group agrees for {:.4}", found.len(), share(&found));
        assert!(found.len() == 941 && share(&found) > 0.97, "{}", share(&found));
    }
}

#[test]
fn every_formation_energy_structure_is_read_and_agrees() {
    let Some((names, rows)) = rows("vendorable/elastic_piezo_structures/flla_2015.csv") else { return };
    let count = rows.par_iter().map(|row| {
        // {'As': 1.0, 'Ga': 1.0}
        let formula = row[names["formula"]].replace(['{', '}', '\'', ':', ',', ' '], "");
        agrees(&row[names["structure"]], &formula, row[names["nsites"]].parse().unwrap(), None, None)
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
        let stated: f64 = row[names["mol_weight_monomer"]].parse().unwrap();
        assert!(molecule.is_polymer() && (molecule.molar_mass() - stated).abs() < 0.05, "{row:?} {molecule:?}");
    }
    assert_eq!(rows.len(), 1077);
}
