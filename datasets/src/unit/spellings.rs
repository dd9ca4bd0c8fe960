//! The field's own spellings of units, behind them UCUM's, and what units in common use measure.

use std::collections::HashMap;
use std::sync::OnceLock;

use octofhir_ucum::{Case, Number, analyse, lookup_unit};

use super::text::{shortened, understand};
use super::{Kind, Meaning, NO_DIMENSION, ONE};

/// One atom with its prefix: an alias, an alias that takes prefixes, or UCUM's.
pub(super) fn simple(word: &str) -> Option<Meaning> {
    alias(word).or_else(|| prefixed_alias(word)).or_else(|| ucum(word))
}

pub(super) fn ucum(code: &str) -> Option<Meaning> {
    let (prefix, unit) = lookup_unit(code, Case::Sensitive)?;
    let prefix = prefix.map_or(Number::ONE, |p| p.factor);
    if unit.code == "mol" {
        return Some(Meaning { kinds: vec![(Kind::Mole, ONE)], ..Meaning::number(prefix) });
    }
    from_expression(code).or_else(|| {
        let scale = (Kind::Scale(unit.code), ONE);
        (unit.special.is_special() || !unit.arbitrary.is_empty())
            .then(|| Meaning { kinds: vec![scale], ..Meaning::number(prefix) })
    })
}

/// A UCUM expression as linear scale; none for logarithmic and arbitrary units.
pub(super) fn from_expression(expression: &str) -> Option<Meaning> {
    let analysis = analyse(expression).ok()?;
    let kelvin = [0, 0, 0, 0, 1, 0, 0];
    if !analysis.arbitrary.is_empty() || (analysis.special.is_some() && analysis.dimension.0 != kelvin) {
        return None;
    }
    Some(Meaning {
        factor: analysis.factor.checked_mul(analysis.scale)?,
        offset: analysis.offset,
        dimension: analysis.dimension.0.map(|e| i32::from(e) * ONE),
        kinds: Vec::new(),
    })
}

/// The field's own spellings: names, the UCUM expression, a factor to it, the kind that it carries, and whether
/// metric prefixes go before it. Constants: CODATA 2022.
pub(super) type Alias = (&'static [&'static str], &'static str, &'static str, Option<Kind>, bool);

#[rustfmt::skip]
pub(super) const ALIASES: &[Alias] = &[
    // numbers and fractions
    (&["dimensionless", "unitless", "none", "ratio", "fraction", "unity", "no unit", "number"], "1", "1", None,
        false),
    (&["percent", "pct", "pct.", "%"], "1", "0.01", None, false),
    (&["‰", "permille"], "1", "0.001", None, false),
    (&["ppm"], "1", "1e-6", None, false),
    (&["ppb"], "1", "1e-9", None, false),
    (&["wt.%", "wt%", "wt. %", "wt %", "wt.-%", "wt-%", "mass%", "mass %", "mass-%", "weight %", "weight%", "w/w%",
        "weight percent", "mass percent", "% by weight", "% by mass"], "1", "0.01",
        Some(Kind::Fraction("mass fraction")), false),
    (&["mass fraction", "weight fraction", "wt. fraction"], "1", "1", Some(Kind::Fraction("mass fraction")), false),
    (&["wppm", "ppmw", "wt.ppm", "wt ppm", "wt. ppm", "ppm wt", "ppm wt.", "ppm by weight", "ppm by mass",
        "weight ppm", "mass ppm", "ppm (wt)"], "1", "1e-6", Some(Kind::Fraction("mass fraction")), false),
    (&["wppb", "ppbw"], "1", "1e-9", Some(Kind::Fraction("mass fraction")), false),
    (&["at.%", "at%", "at. %", "at %", "at.-%", "at-%", "atomic %", "atomic%", "atom %", "atom%", "atomic percent"],
        "1", "0.01", Some(Kind::Fraction("atom fraction")), false),
    (&["atomic fraction", "atom fraction", "at. fraction"], "1", "1", Some(Kind::Fraction("atom fraction")), false),
    (&["appm", "at.ppm", "at. ppm", "at ppm", "atomic ppm", "ppma"], "1", "1e-6",
        Some(Kind::Fraction("atom fraction")), false),
    (&["mol%", "mol.%", "mol %", "mol. %", "mol-%", "mole%", "mole %", "mole percent"], "1", "0.01",
        Some(Kind::Fraction("mole fraction")), false),
    (&["mole fraction", "mol fraction", "molar fraction"], "1", "1", Some(Kind::Fraction("mole fraction")), false),
    (&["vol.%", "vol%", "vol. %", "vol %", "vol-%", "volume %", "volume%", "volume percent"], "1", "0.01",
        Some(Kind::Fraction("volume fraction")), false),
    (&["volume fraction", "vol. fraction"], "1", "1", Some(Kind::Fraction("volume fraction")), false),
    (&["ppmv", "vppm"], "1", "1e-6", Some(Kind::Fraction("volume fraction")), false),
    // what is counted
    (&["mole", "moles", "Mol"], "1", "1", Some(Kind::Mole), false),
    (&["atom", "atoms", "at", "at."], "1", "1", Some(Kind::Atom), false),
    (&["cell", "unit cell", "cells", "u.c."], "1", "1", Some(Kind::Cell), false),
    (&["f.u.", "fu", "f.u", "formula unit", "formula units", "formula"], "1", "1", Some(Kind::FormulaUnit), false),
    (&["molecule", "molecules"], "1", "1", Some(Kind::Molecule), false),
    (&["CO2e", "co2e", "CO2-e", "CO2eq", "CO2-eq", "CO2-eq.", "CO2 eq", "CO2 eq.", "CO2 equivalent",
        "CO2 equivalents", "CO2-equivalent", "CO2_eq", "CO2_e"], "1", "1", Some(Kind::Co2e), false),
    (&["CO2"], "1", "1", Some(Kind::Co2), false),
    (&["kgCO2e", "kgCO2eq", "kgCO2-eq"], "kg", "1", Some(Kind::Co2e), false),
    (&["gCO2e", "gCO2eq"], "g", "1", Some(Kind::Co2e), false),
    // hardness scales
    (&["HV", "Hv", "HVN", "VHN", "DPH", "Vickers", "HV0.01", "HV0.05", "HV0.1", "HV0.2", "HV0.3", "HV0.5", "HV1",
        "HV2", "HV3", "HV5", "HV10", "HV20", "HV30", "HV50", "HV100"], "1", "1", Some(Kind::Hardness("HV")), false),
    (&["HRC", "HRc", "Rockwell C"], "1", "1", Some(Kind::Hardness("HRC")), false),
    (&["HRB", "HRb", "Rockwell B"], "1", "1", Some(Kind::Hardness("HRB")), false),
    (&["HRA", "Rockwell A"], "1", "1", Some(Kind::Hardness("HRA")), false),
    (&["HRM", "Rockwell M"], "1", "1", Some(Kind::Hardness("HRM")), false),
    (&["HRR", "Rockwell R"], "1", "1", Some(Kind::Hardness("HRR")), false),
    (&["HB", "HBW", "HBS", "BHN", "Brinell"], "1", "1", Some(Kind::Hardness("HB")), false),
    (&["HK", "KHN", "Knoop"], "1", "1", Some(Kind::Hardness("HK")), false),
    (&["Shore A"], "1", "1", Some(Kind::Hardness("Shore A")), false),
    (&["Shore D"], "1", "1", Some(Kind::Hardness("Shore D")), false),
    (&["Mohs", "mohs"], "1", "1", Some(Kind::Hardness("Mohs")), false),
    // currencies
    (&["USD", "US$", "$", "usd", "US dollar", "US dollars"], "1", "1", Some(Kind::Currency("USD")), false),
    (&["EUR", "€", "eur", "euro"], "1", "1", Some(Kind::Currency("EUR")), false),
    (&["GBP", "£"], "1", "1", Some(Kind::Currency("GBP")), false),
    (&["CNY", "RMB", "¥"], "1", "1", Some(Kind::Currency("CNY")), false),
    (&["JPY"], "1", "1", Some(Kind::Currency("JPY")), false),
    // temperature
    (&["°C", "degC", "deg C", "deg. C", "degc", "° C", "oC", "Celsius", "celsius", "degrees Celsius",
        "degree Celsius", "centigrade"], "Cel", "1", None, false),
    (&["°F", "degF", "deg F", "deg. F", "° F", "Fahrenheit", "fahrenheit", "degrees Fahrenheit"], "[degF]", "1", None,
        false),
    (&["Kelvin", "kelvin", "Kelvins", "kelvins", "°K", "degK", "deg K"], "K", "1", None, false),
    // atomic scale
    (&["Ao", "Angstrom", "angstrom", "Angstroms", "angstroms", "Ang", "ang", "Ångström", "Aongström"], "Ao", "1",
        None, false),
    (&["Bohr", "bohr", "a0", "a_0", "Bohr radius"], "m", "5.29177210544e-11", None, false),
    (&["Hartree", "hartree", "Ha", "Eh", "E_h"], "J", "4.3597447222060e-18", None, false),
    (&["Ry", "Rydberg", "rydberg"], "J", "2.1798723611030e-18", None, false),
    (&["eV", "ev", "EV", "electronvolt", "electron volt"], "eV", "1", None, false),
    (&["uB", "u_B", "muB", "mu_B", "mub", "Bohr magneton", "Bohr magnetons", "bohr magneton", "BM"], "J/T",
        "9.2740100657e-24", None, false),
    (&["m_e", "me", "m0", "m_0", "m_el", "electron mass", "electron masses", "m_e*"], "[m_e]", "1", None, false),
    (&["amu", "Da", "dalton", "a.m.u."], "u", "1", None, false),
    (&["D", "debye", "Debye"], "C.m", "3.33564095198152e-30", None, false),
    (&["electron", "electrons", "e-", "|e|"], "[e]", "1", None, false),
    // mechanical
    (&["psi", "PSI", "lb/in^2", "lbf/in^2"], "[psi]", "1", None, false),
    (&["ksi", "KSI", "kpsi"], "[psi]", "1000", None, false),
    (&["Msi", "msi", "Mpsi"], "[psi]", "1000000", None, false),
    (&["Gpa", "gpa", "GPA"], "GPa", "1", None, false),
    (&["Mpa", "MPA"], "MPa", "1", None, false),
    (&["Kpa", "kpa"], "kPa", "1", None, false),
    (&["pascal", "Pascal", "pascals"], "Pa", "1", None, false),
    (&["Torr", "torr"], "Pa", "133.3223684210526315789473684", None, false),
    (&["mmHg", "mm Hg"], "mm[Hg]", "1", None, false),
    (&["kp"], "kgf", "1", None, false),
    (&["Nm"], "N.m", "1", None, false),
    (&["lb", "lbs", "lbm"], "[lb_av]", "1", None, false),
    (&["lbf"], "[lbf_av]", "1", None, false),
    (&["in", "inch", "inches"], "[in_i]", "1", None, false),
    (&["ft", "foot", "feet"], "[ft_i]", "1", None, false),
    (&["mil", "mils", "thou"], "[mil_i]", "1", None, false),
    (&["micron", "microns", "micrometer", "micrometre"], "um", "1", None, false),
    (&["cc", "ccm"], "cm3", "1", None, false),
    (&["liter", "litre", "liters", "litres"], "L", "1", None, false),
    (&["BTU", "Btu"], "[Btu_IT]", "1", None, false),
    (&["rpm"], "/min", "1", None, false),
    (&["sec", "second", "seconds"], "s", "1", None, false),
    (&["hr", "hrs", "hour", "hours"], "h", "1", None, false),
    (&["day", "days"], "d", "1", None, false),
    (&["yr", "year", "years", "y"], "a", "1", None, false),
    (&["tonne", "tonnes"], "t", "1", None, false),
    (&["degree", "degrees", "°"], "deg", "1", None, false),
    // electric and magnetic
    (&["ohm", "ohms", "Ohms", "OHM"], "Ohm", "1", None, true),
    (&["Siemens", "siemens"], "S", "1", None, false),
    (&["volt", "volts", "Volt", "Volts"], "V", "1", None, false),
    (&["watt", "Watt"], "W", "1", None, false),
    (&["joule", "Joule"], "J", "1", None, false),
    (&["Tesla", "tesla"], "T", "1", None, false),
    (&["Gauss", "gauss"], "G", "1", None, false),
    (&["Oersted", "oersted"], "Oe", "1", None, false),
    (&["emu"], "A.m2", "0.001", None, true),
    (&["Hz", "hz"], "Hz", "1", None, true),
];

pub(super) type Names = HashMap<&'static str, (Meaning, bool)>;

/// Every alias with its meaning and whether it takes prefixes.
pub(super) fn names() -> &'static Names {
    static NAMES: OnceLock<Names> = OnceLock::new();
    NAMES.get_or_init(|| {
        let mut table = Names::new();
        for &(names, expression, factor, kind, prefixes) in ALIASES {
            let Some(mut meaning) = from_expression(expression) else { continue };
            let Some(factor) = Number::parse(factor).and_then(|f| f.checked_mul(meaning.factor)) else { continue };
            meaning.factor = factor;
            meaning.kinds.extend(kind.map(|kind| (kind, ONE)));
            table.extend(names.iter().map(|&name| (name, (meaning.clone(), prefixes))));
        }
        table
    })
}

pub(super) fn alias(name: &str) -> Option<Meaning> {
    names().get(name).map(|(meaning, _)| meaning.clone())
}

fn prefixed_alias(word: &str) -> Option<Meaning> {
    let mut letters = word.chars();
    let prefix = octofhir_ucum::find_prefix(&letters.next()?.to_string())?;
    let (meaning, true) = names().get(letters.as_str())? else { return None };
    Some(Meaning { factor: prefix.factor.checked_mul(meaning.factor)?, ..meaning.clone() })
}

/// The longest alias with which the text begins, ending where a word ends.
pub(super) fn longest_alias_at(text: &str) -> Option<&'static str> {
    let ends = |name: &str| match text[name.len()..].chars().next() {
        None => true,
        Some(c) if name.ends_with(|c: char| c.is_ascii_digit()) => !(c.is_alphanumeric() || c == '.'),
        Some(c) => name.ends_with(['.', '%', '-', '*']) || !(c.is_alphabetic() || "[%".contains(c)),
    };
    names().keys().copied().filter(|name| text.starts_with(name) && ends(name)).max_by_key(|name| name.len())
}

/// Units in common use, for "did you mean" and, where a name stands beside them, for what they measure.
#[rustfmt::skip]
pub(super) const KNOWN: &[(&str, &[&str])] = &[
    (NO_DIMENSION, &["1", "%", "ppm"]),
    ("mass fraction", &["wt.%", "wppm"]),
    ("atom fraction", &["at.%"]),
    ("mole fraction", &["mol%"]),
    ("volume fraction", &["vol.%"]),
    ("energy", &["eV", "meV", "J", "kJ", "kcal"]),
    ("energy per atom", &["eV/atom", "meV/atom", "kJ/(mol atoms)"]),
    ("energy per formula unit", &["eV/f.u."]),
    ("energy per cell", &["eV/cell"]),
    ("energy per mole", &["kJ/mol", "J/mol", "kcal/mol"]),
    ("energy per mass", &["MJ/kg", "J/g", "kJ/kg", "Wh/kg"]),
    ("pressure", &["GPa", "MPa", "kPa", "Pa", "mPa", "kbar", "bar", "psi", "ksi", "atm", "Wh/L", "kJ/m^3"]),
    ("density", &["g/cm^3", "kg/m^3"]),
    ("temperature", &["K", "°C", "°F"]),
    ("length", &["nm", "µm", "mm", "m", "Å", "Bohr"]),
    ("area", &["m^2", "cm^2"]),
    ("volume", &["Å^3", "cm^3", "Bohr^3", "L"]),
    ("volume per atom", &["Å^3/atom"]),
    ("volume per mass", &["L/kg", "cm^3/g"]),
    ("molar volume", &["cm^3/mol"]),
    ("mass", &["kg", "g", "m_e"]),
    ("molar mass", &["g/mol"]),
    ("amount of substance", &["mol"]),
    ("time", &["s", "h"]),
    ("frequency", &["Hz", "THz"]),
    ("velocity", &["m/s", "mm/yr"]),
    ("force", &["N"]),
    ("power", &["W"]),
    ("angle", &["deg", "rad"]),
    ("thermal conductivity", &["W/(m K)"]),
    ("reciprocal temperature", &["1/K", "ppm/K"]),
    ("molar heat capacity", &["J/(mol K)"]),
    ("specific heat capacity", &["J/(kg K)", "J/(g K)"]),
    ("diffusivity", &["m^2/s", "cm^2/s", "mm^2/s"]),
    ("dynamic viscosity", &["Pa s", "mPa s"]),
    ("cooling rate", &["K/s", "K/min"]),
    ("surface energy", &["J/m^2", "kJ/m^2", "N/m"]),
    ("specific surface area", &["m^2/g"]),
    ("fracture toughness", &["MPa m^(1/2)"]),
    ("wear rate", &["mm^3/(N m)"]),
    ("voltage", &["V", "mV"]),
    ("electric field", &["kV/mm", "MV/m"]),
    ("electric current", &["A"]),
    ("current density", &["mA/cm^2", "µA/cm^2"]),
    ("electric charge", &["C", "mAh"]),
    ("charge per area", &["C/m^2", "µC/cm^2"]),
    ("charge per mass", &["mAh/g"]),
    ("length per voltage", &["pm/V", "pC/N"]),
    ("electric dipole moment", &["D"]),
    ("electric resistance", &["Ohm"]),
    ("electrical conductivity", &["S/m", "S/cm"]),
    ("electrical resistivity", &["Ω m", "µΩ cm"]),
    ("Seebeck coefficient", &["µV/K"]),
    ("thermoelectric power factor", &["µW/(m K^2)"]),
    ("mobility", &["cm^2/(V s)"]),
    ("number per volume", &["1/cm^3"]),
    ("reciprocal length", &["1/cm"]),
    ("density of states per atom", &["1/(eV atom)"]),
    ("magnetic moment", &["µB"]),
    ("magnetic moment per atom", &["µB/atom"]),
    ("magnetic moment per formula unit", &["µB/f.u."]),
    ("magnetic moment per mass", &["emu/g"]),
    ("magnetization or magnetic field strength", &["kA/m", "A/m", "Oe", "emu/cm^3"]),
    ("magnetic flux density", &["T", "G"]),
    ("Vickers hardness", &["HV"]),
    ("Rockwell C hardness", &["HRC"]),
    ("Rockwell B hardness", &["HRB"]),
    ("Brinell hardness", &["HB"]),
    ("price", &["USD"]),
    ("price per mass", &["USD/kg"]),
    ("carbon footprint per mass", &["kg CO2e/kg"]),
];

pub(super) fn named_dimensions() -> &'static [(&'static str, Meaning)] {
    static NAMED: OnceLock<Vec<(&'static str, Meaning)>> = OnceLock::new();
    NAMED.get_or_init(|| KNOWN.iter().filter_map(|(name, units)| Some((*name, understand(units.first()?)?))).collect())
}

/// Known units spelled like the text, at most three, closest first.
pub(super) fn closest_units(text: &str) -> Vec<String> {
    let (text, lower) = (shortened(text.trim()), shortened(text.trim()).to_lowercase());
    let known = KNOWN.iter().flat_map(|(_, units)| units.iter().copied());
    let mut scored: Vec<(f64, &str)> = known
        .map(|unit| {
            let as_written = strsim::normalized_damerau_levenshtein(unit, &text);
            let any_case = strsim::normalized_damerau_levenshtein(&unit.to_lowercase(), &lower);
            (any_case + 0.1 * as_written, unit)
        })
        .filter(|(score, _)| *score >= 0.5)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(3).map(|(_, unit)| unit.to_owned()).collect()
}
