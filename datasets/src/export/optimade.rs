//! OPTIMADE JSON Lines: a record as an entry of type `structures`, as optimade-python-tools and optimade-maker read them.
//!
//! Fields of the standard where the record states what they say, null elsewhere, as the standard allows; the record
//! itself, exact, is the attribute [`OWN_RECORD`].

use serde::Serialize;

use super::{ExportError, Header, json_line};
use crate::element::Element;
use crate::formula::Formula;
use crate::record::Record;
use crate::structure::{Species, Structure};

/// The type of all entries.
pub const ENTRY_TYPE: &str = "structures";
/// The attribute that holds the record.
pub const OWN_RECORD: &str = "_matgenome_record";
/// The key of our [`Header`] in the first line's `x-optimade.meta`.
pub const OWN_HEADER: &str = "_matgenome_header";

/// The version of the standard that the entries follow.
const API_VERSION: &str = "1.2.0";

/// Name, type, unit and meaning of each attribute, in the order of the lines.
const ATTRIBUTES: [(&str, &str, Option<&str>, &str); 17] = [
    ("last_modified", "timestamp", None, "When the entry was last changed; not kept, so null"),
    ("chemical_formula_reduced", "string", None, "Reduced formula, elements in alphabetical order"),
    ("chemical_formula_descriptive", "string", None, "Formula as the source wrote it"),
    ("chemical_formula_anonymous", "string", None, "Formula with letters for elements, by descending amounts"),
    ("elements", "list", None, "Symbols of the elements, in alphabetical order"),
    ("nelements", "integer", None, "Number of elements"),
    ("elements_ratios", "list", None, "Shares of the atoms, in the order of elements"),
    ("dimension_types", "list", None, "Which of the lattice vectors are periodic"),
    ("nperiodic_dimensions", "integer", None, "Number of periodic dimensions"),
    ("lattice_vectors", "list", Some("angstrom"), "Lattice vectors"),
    ("space_group_it_number", "integer", None, "Number of the space group in the International Tables"),
    ("cartesian_site_positions", "list", Some("angstrom"), "Places of the sites"),
    ("nsites", "integer", None, "Number of sites"),
    ("species", "list", None, "What sits on the sites"),
    ("species_at_sites", "list", None, "Names of the species, one a site"),
    ("structure_features", "list", None, "Features of the structure: disorder, or none"),
    (OWN_RECORD, "dictionary", None, "The record with all its values, as matgenome reads and writes it"),
];

#[derive(Serialize)]
struct Entry<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    attributes: Attributes<'a>,
}

#[derive(Serialize)]
struct Attributes<'a> {
    last_modified: Option<&'static str>,
    chemical_formula_reduced: Option<&'a str>,
    chemical_formula_descriptive: Option<&'a str>,
    chemical_formula_anonymous: Option<String>,
    elements: Option<Vec<&'static str>>,
    nelements: Option<usize>,
    elements_ratios: Option<Vec<f64>>,
    #[serde(flatten)]
    sites: Sites,
    #[serde(rename = "_matgenome_record")]
    record: &'a Record,
}

#[derive(Default, Serialize)]
struct Sites {
    dimension_types: Option<[u8; 3]>,
    nperiodic_dimensions: Option<u8>,
    lattice_vectors: Option<[[Option<f64>; 3]; 3]>,
    space_group_it_number: Option<i16>,
    cartesian_site_positions: Option<Vec<[f64; 3]>>,
    nsites: Option<usize>,
    species: Option<Vec<SiteSpecies>>,
    species_at_sites: Option<Vec<String>>,
    structure_features: Vec<&'static str>,
}

#[derive(Clone, PartialEq, Serialize)]
struct SiteSpecies {
    name: String,
    chemical_symbols: Vec<String>,
    concentration: Vec<f64>,
}

pub(super) fn write_header(header: Header, out: &mut Vec<u8>) -> Result<(), ExportError> {
    let meta = serde_json::json!({
        "api_version": API_VERSION,
        "provider": { "name": "matgenome", "description": "A matgenome hub", "prefix": "matgenome" },
        OWN_HEADER: header,
    });
    json_line(&serde_json::json!({ "x-optimade": { "meta": meta } }), out)?;
    let properties: serde_json::Map<String, serde_json::Value> = ATTRIBUTES
        .iter()
        .map(|&(name, kind, unit, description)| {
            let mut property = serde_json::json!({ "type": kind, "description": description });
            if let Some(unit) = unit {
                property["unit"] = unit.into();
            }
            (name.to_owned(), property)
        })
        .collect();
    let names: Vec<&str> = ATTRIBUTES.iter().map(|attribute| attribute.0).collect();
    let info = serde_json::json!({
        "type": "info",
        "id": ENTRY_TYPE,
        "description": "Records of materials; fields of the structure are null where the source states none",
        "properties": properties,
        "formats": ["json"],
        "output_fields_by_format": { "json": names },
    });
    json_line(&info, out)
}

pub(super) fn write(records: &[Record], out: &mut Vec<u8>) -> Result<(), ExportError> {
    records.iter().try_for_each(|record| {
        json_line(&Entry { kind: ENTRY_TYPE, id: &record.id, attributes: attributes(record) }, out)
    })
}

fn attributes(record: &Record) -> Attributes<'_> {
    let formula = record.formula.as_deref().and_then(|text| Formula::parse(text).ok());
    let formula = formula.as_ref();
    let mut sites = record.structure.as_deref().map(sites).unwrap_or_default();
    sites.space_group_it_number = record.space_group;
    Attributes {
        last_modified: None,
        chemical_formula_reduced: record.formula.as_deref(),
        chemical_formula_descriptive: record.formula_given.as_deref().or(record.formula.as_deref()),
        chemical_formula_anonymous: formula.map(Formula::anonymous),
        elements: formula.map(|f| f.elements().map(Element::symbol).collect()),
        nelements: formula.map(Formula::nelements),
        elements_ratios: formula.map(|f| f.fractions().map(|(_, share)| share).collect()),
        sites,
        record,
    }
}

fn sites(structure: &Structure) -> Sites {
    let periodic = u8::from(structure.lattice.is_some());
    let positions: Vec<[f64; 3]> = structure.positions.iter().map(|&at| cartesian(structure, at)).collect();
    let mut species: Vec<SiteSpecies> = Vec::new();
    let mut names = Vec::with_capacity(structure.species.len());
    let mut known: std::collections::HashSet<String> = std::collections::HashSet::new();
    for held in &structure.species {
        let on_site = on_site(held);
        names.push(on_site.name.clone());
        if known.insert(on_site.name.clone()) {
            species.push(on_site);
        }
    }
    let disordered = species.iter().any(|s| s.chemical_symbols.len() > 1);
    Sites {
        dimension_types: Some([periodic; 3]),
        nperiodic_dimensions: Some(3 * periodic),
        lattice_vectors: Some(structure.lattice.map_or([[None; 3]; 3], |rows| rows.map(|row| row.map(Some)))),
        space_group_it_number: None,
        // products of huge numbers may be no numbers
        cartesian_site_positions: positions.iter().flatten().all(|x| x.is_finite()).then_some(positions),
        nsites: Some(structure.positions.len()),
        species: Some(species),
        species_at_sites: Some(names),
        structure_features: if disordered { vec!["disorder"] } else { Vec::new() },
    }
}

/// Fractions of the lattice vectors → Å.
fn cartesian(structure: &Structure, at: [f64; 3]) -> [f64; 3] {
    match structure.lattice {
        None => at,
        Some(rows) => std::array::from_fn(|axis| (0..3).map(|row| at[row] * rows[row][axis]).sum()),
    }
}

fn on_site(species: &Species) -> SiteSpecies {
    let symbol = |text: &str| match Element::from_symbol(text) {
        Some(element) => element.symbol().to_owned(),
        // what the standard writes for an unknown element
        None => "X".to_owned(),
    };
    match species {
        Species::Element(text) => {
            SiteSpecies { name: text.clone(), chemical_symbols: vec![symbol(text)], concentration: vec![1.0] }
        }
        Species::Mixed(parts) => {
            let name = parts.iter().map(|(text, share)| format!("{text}{share:?}")).collect();
            let mut chemical_symbols: Vec<String> = parts.iter().map(|(text, _)| symbol(text)).collect();
            let mut concentration: Vec<f64> = parts.iter().map(|&(_, share)| share).collect();
            let vacant = 1.0 - concentration.iter().sum::<f64>();
            if vacant > 1e-9 {
                chemical_symbols.push("vacancy".to_owned());
                concentration.push(vacant);
            }
            SiteSpecies { name, chemical_symbols, concentration }
        }
    }
}
