//! Structures as objects, in JSON or as Python prints them: pymatgen's Structure, Molecule and ComputedStructureEntry, OPTIMADE's
//! structures, and [`Structure`] itself.

use std::collections::HashMap;

use datasets::element::Element;
use datasets::structure::{MAX_SITES, Species, Structure};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Format, Matrix, StructureError, cut, element, inverse, lattice_of, python, times};

fn fault(what: impl Into<String>, mend: &'static str) -> StructureError {
    StructureError::new(Format::Object, None, what, mend)
}

pub(super) fn parse(text: &str) -> Result<Structure, StructureError> {
    let value = match serde_json::from_str::<Value>(text) {
        Ok(value) => value,
        Err(json) => python::parse(text).map_err(|(at, what)| {
            // of the two readers the one that came further says what is wrong
            let line = text.get(..at).map_or(1, |before| before.bytes().filter(|byte| *byte == b'\n').count() + 1);
            let mend = "write JSON, or an object as Python prints it";
            match json.line() > line {
                true => StructureError::new(Format::Object, json.line(), json.to_string(), mend),
                false => StructureError::new(Format::Object, line, format!("{what} (byte {at} of the text)"), mend),
            }
        })?,
    };
    let mut object = &value;
    // an entry holds its structure, an OPTIMADE answer its data, and these their attributes
    for _ in 0..4 {
        let inner =
            ["structure", "attributes", "data"].iter().find_map(|key| object.get(key).filter(|v| v.is_object()));
        match inner {
            Some(inner) if object.get("sites").is_none() && object.get("positions").is_none() => object = inner,
            _ => break,
        }
    }
    let map = object.as_object().ok_or_else(|| fault("this is no object", "write {...}"))?;
    if map.contains_key("sites") {
        pymatgen(map)
    } else if map.contains_key("species_at_sites") {
        optimade(map)
    } else if map.contains_key("positions") && map.contains_key("species") {
        own(object)
    } else {
        let keys: Vec<String> = map.keys().take(8).map(|key| cut(key)).collect();
        let what = format!("an object of {} is no structure that is known here", keys.join(", "));
        Err(fault(what, "give pymatgen's `sites`, OPTIMADE's `species_at_sites`, or `species` and `positions`"))
    }
}

fn own(value: &Value) -> Result<Structure, StructureError> {
    Structure::deserialize(value)
        .map_err(|error| fault(error.to_string(), "write `lattice`, `species` and `positions`"))
}

fn sites_of<'a>(map: &'a Map<String, Value>, key: &str) -> Result<&'a [Value], StructureError> {
    let sites = map.get(key).and_then(Value::as_array);
    let sites = sites.ok_or_else(|| fault(format!("`{key}` is no list"), "write one entry for each site"))?;
    if sites.len() > MAX_SITES {
        return Err(fault(
            format!("there are {} sites, and at most {MAX_SITES} are read", sites.len()),
            "give the primitive cell",
        ));
    }
    Ok(sites)
}

fn vector(value: Option<&Value>) -> Option<[f64; 3]> {
    match value?.as_array()?.as_slice() {
        [x, y, z] => Some([x.as_f64()?, y.as_f64()?, z.as_f64()?]),
        _ => None,
    }
}

fn matrix(value: &Value) -> Option<Matrix> {
    match value.as_array()?.as_slice() {
        [a, b, c] => Some([vector(Some(a))?, vector(Some(b))?, vector(Some(c))?]),
        _ => None,
    }
}

fn planar() -> StructureError {
    fault("the lattice vectors lie in a plane", "check them")
}

fn pymatgen(map: &Map<String, Value>) -> Result<Structure, StructureError> {
    let lattice =
        match map.get("lattice").filter(|lattice| !lattice.is_null()) {
            Some(value) => {
                let number = |key: &str| value.get(key).and_then(Value::as_f64);
                let by_lengths = || {
                    let lengths = [number("a")?, number("b")?, number("c")?];
                    lattice_of(lengths, [number("alpha")?, number("beta")?, number("gamma")?])
                };
                let lattice = value.get("matrix").and_then(matrix).or_else(|| matrix(value)).or_else(by_lengths);
                Some(lattice.ok_or_else(|| {
                    fault("`lattice` is no lattice", "write its `matrix`, three rows of three numbers")
                })?)
            }
            None => None,
        };
    let to_fractions = lattice.as_ref().and_then(inverse);
    let sites = sites_of(map, "sites")?;
    let (mut species, mut positions) = (Vec::with_capacity(sites.len()), Vec::with_capacity(sites.len()));
    for (site, number) in sites.iter().zip(1..) {
        let wrong = |what: &str, mend| fault(format!("site {number}: {what}"), mend);
        let xyz = vector(site.get("xyz"));
        let position = match &lattice {
            None => xyz,
            Some(_) => vector(site.get("abc")).or_else(|| Some(times(xyz?, to_fractions.as_ref()?))),
        };
        positions.push(position.ok_or_else(|| wrong("it has no position", "write `abc` or `xyz`, three numbers"))?);
        let mut shares = Vec::new();
        for share in site.get("species").and_then(Value::as_array).into_iter().flatten() {
            let symbol =
                share.get("element").or_else(|| share.get("specie")).and_then(Value::as_str).unwrap_or_default();
            let known = element(symbol, false);
            let known = known.ok_or_else(|| wrong(&format!("'{}' is no element", cut(symbol)), "write a symbol"))?;
            let occupancy = share.get("occu").map_or(Some(1.0), Value::as_f64);
            let occupancy = occupancy.ok_or_else(|| wrong("an `occu` is no number", "write an occupancy up to 1"))?;
            add_share(&mut shares, known, occupancy);
        }
        if shares.is_empty() {
            let label = site.get("label").and_then(Value::as_str).and_then(|label| element(label, true));
            let known = label.filter(|_| site.get("species").is_none());
            let known = known.ok_or_else(|| wrong("it has no species", "write `species`"))?;
            add_share(&mut shares, known, 1.0);
        }
        species.push(Species::from_shares(shares));
    }
    Ok(Structure { lattice, species, positions })
}

/// Ions of an element are one element.
fn add_share(shares: &mut Vec<(String, f64)>, element: Element, occupancy: f64) {
    match shares.iter_mut().find(|(symbol, _)| symbol == element.symbol()) {
        Some((_, sum)) => *sum += occupancy,
        None => shares.push((element.symbol().to_owned(), occupancy)),
    }
}

fn optimade(map: &Map<String, Value>) -> Result<Structure, StructureError> {
    let mut known: HashMap<&str, Species> = HashMap::new();
    for kind in map.get("species").and_then(Value::as_array).into_iter().flatten() {
        let Some(name) = kind.get("name").and_then(Value::as_str) else {
            return Err(fault("a species has no `name`", "name it"));
        };
        let wrong = |what: &str, mend| fault(format!("species '{}': {what}", cut(name)), mend);
        let symbols = kind.get("chemical_symbols").and_then(Value::as_array);
        let symbols = symbols.ok_or_else(|| wrong("`chemical_symbols` is no list", "list its elements"))?;
        let concentration = kind.get("concentration").and_then(Value::as_array);
        let mut shares = Vec::new();
        for (symbol, index) in symbols.iter().filter_map(Value::as_str).zip(0..) {
            if symbol == "vacancy" {
                continue;
            }
            let element = element(symbol, false);
            let element =
                element.ok_or_else(|| wrong(&format!("'{}' is no element", cut(symbol)), "write a symbol"))?;
            let occupancy = match concentration {
                Some(list) => list.get(index).and_then(Value::as_f64),
                None => (symbols.len() == 1).then_some(1.0),
            };
            let occupancy = occupancy.ok_or_else(|| wrong("`concentration` lacks a number", "write one per symbol"))?;
            add_share(&mut shares, element, occupancy);
        }
        known.insert(name, Species::from_shares(shares));
    }
    let vectors = map.get("lattice_vectors").filter(|vectors| !vectors.is_null());
    let periodic =
        map.get("dimension_types").and_then(Value::as_array).is_none_or(|d| d.iter().any(|d| d.as_u64() != Some(0)));
    let lattice = match vectors {
        Some(vectors) if periodic => Some(
            matrix(vectors)
                .ok_or_else(|| fault("`lattice_vectors` are no lattice", "write three rows of three numbers"))?,
        ),
        _ => None,
    };
    let to_fractions = match &lattice {
        Some(lattice) => Some(inverse(lattice).ok_or_else(planar)?),
        None => None,
    };
    let names = sites_of(map, "species_at_sites")?;
    let places = sites_of(map, "cartesian_site_positions")?;
    let (mut species, mut positions) = (Vec::with_capacity(names.len()), Vec::with_capacity(places.len()));
    for (name, number) in names.iter().zip(1..) {
        let name = name.as_str().unwrap_or_default();
        let by_name = || Element::from_symbol(name).filter(|_| known.is_empty()).map(super::species);
        let kind = known.get(name).cloned().or_else(by_name);
        let mend = "list it in `species`";
        species
            .push(kind.ok_or_else(|| fault(format!("site {number}: the species '{}' is not known", cut(name)), mend))?);
    }
    for (place, number) in places.iter().zip(1..) {
        let place = vector(Some(place));
        let place =
            place.ok_or_else(|| fault(format!("site {number}: it has no position"), "write three numbers in Å"))?;
        positions.push(to_fractions.as_ref().map_or(place, |inverse| times(place, inverse)));
    }
    Ok(Structure { lattice, species, positions })
}
