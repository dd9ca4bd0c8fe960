//! Numbers, units, conditions, uncertainties, derived values.

use datasets::record::{Evidence, Record};
use ingest::report::{Code, Severity};

use crate::job::{GAP, codes, counts, finding, mapping, one, read, value};

/// A mapping of one value column `x` of a property in a unit; `more` goes into the value's table.
fn column(property: &str, unit: &str, more: &str) -> ingest::mapping::Mapping {
    mapping(&format!(
        "material = {{ formula = \"formula\" }}\n[[value]]\ncolumn = \"x\"\nproperty = \"{property}\"\nunit = \"{unit}\"\nevidence = \"measured\"\n{more}"
    ))
}

fn converted(property: &str, unit: &str, given: &str) -> (f64, Option<f64>, Option<String>) {
    let found = value(&column(property, unit, ""), &format!("formula,x\nSi,{given}\n"));
    (found.value, found.given_value, found.given_unit.map(|u| u.to_string()))
}

#[test]
fn units_are_converted_exactly_and_what_was_given_is_kept() {
    for (property, unit, given, want) in [
        ("density", "kg/m^3", "5317", 5.317),
        ("band_gap", "meV", "1420", 1.42),
        ("youngs_modulus", "MPa", "200000", 200.0),
        ("yield_strength", "GPa", "0.35", 350.0),
        ("melting_temperature", "°C", "1085", 1358.15),
        ("melting_temperature", "°C", "-38.83", 234.32),
        ("max_service_temperature", "°C", "0", 273.15),
        ("grain_size", "nm", "250", 0.25),
        ("porosity", "1", "0.25", 25.0),
        ("lattice_parameter_a", "nm", "0.5431", 5.431),
        ("thermal_conductivity", "W/(cm K)", "1.48", 148.0),
    ] {
        let (got, given_value, given_unit) = converted(property, unit, given);
        assert!((got - want).abs() <= 1e-12 * want.abs(), "{given} {unit}: {got}, not {want}");
        assert_eq!(given_value, Some(given.parse().unwrap()), "{given} {unit}");
        assert_eq!(given_unit.as_deref(), Some(unit));
    }
    // exact to the last bit where a factor is a power of ten
    assert_eq!(converted("density", "kg/m^3", "5317").0, 5.317);
    assert_eq!(converted("band_gap", "meV", "1420").0, 1.42);
    assert_eq!(converted("melting_temperature", "°C", "1085").0, 1358.15);
    // in the dictionary's unit, however it is written, nothing is converted
    for (property, unit, own) in [("density", "g/cm^3", true), ("density", "g/cc", false), ("density", "g cm-3", false)]
    {
        let (value, given_value, given_unit) = converted(property, unit, "1.42");
        assert_eq!((value, given_value), (1.42, None), "{unit}");
        assert_eq!(given_unit.as_deref(), Some(unit).filter(|_| !own), "as the source wrote it");
    }
}

#[test]
fn numbers_are_finite_decimals_and_nothing_else() {
    let map = mapping(GAP);
    for (text, number) in
        [("1", 1.0), ("1.5e0", 1.5), ("15E-1", 1.5), (" 2 ", 2.0), ("+3", 3.0), (".5", 0.5), ("1.", 1.0), ("0", 0.0)]
    {
        assert_eq!(value(&map, &format!("formula,gap\nSi,{text}\n")).value, number, "{text:?}");
    }
    for bad in [
        "1e999", "-1e999", "NaN", "nan", "inf", "-inf", "Infinity", "abc", "1.2.3", "1,5", "1_000", "0x10", "--1",
        "1 2", "1e", "½", "n/a", "-", "7-5",
    ] {
        let done = read(&map, &format!("formula,gap\nSi,\"{bad}\"\nGe,0.67\n"));
        assert_eq!(counts(&done), (1, 1, 0), "{bad}");
        let found = finding(&done);
        assert_eq!((found.code, found.severity), (Code::BadNumber, Severity::Refused), "{bad}");
        assert_eq!((found.column.as_deref(), found.value.as_deref(), found.row), (Some("gap"), Some(bad), 2));
        assert!(found.explanation.contains("is not a finite number") && found.mend.contains("null"), "{found:?}");
    }
    let done = read(&map, "formula,gap\nSi,\nGe,0.67\n");
    assert_eq!((counts(&done), finding(&done).code), ((1, 1, 0), Code::NoValue), "an empty cell is no value");
}

#[test]
fn a_number_that_its_unit_takes_beyond_all_numbers_is_refused() {
    let map = column("band_gap", "MeV", "temperature = { column = \"T\", unit = \"MK\" }\nuncertainty = \"sd\"\n");
    for row in ["1e305,,", "1,1e305,", "1,,1e305"] {
        let done = read(&map, &format!("formula,x,T,sd\nSi,{row}\n"));
        assert_eq!((counts(&done), codes(&done)), ((0, 1, 0), vec![Code::BadNumber]), "{row}");
    }
}

#[test]
fn decimal_commas_where_the_mapping_says_so() {
    let text = format!("read = {{ separator = \";\", decimal = \",\" }}\n{GAP}");
    let map = mapping(&text);
    for (cell, number) in [("1,42", 1.42), ("2", 2.0), ("1,5e1", 15.0), (",5", 0.5)] {
        assert_eq!(value(&map, &format!("formula;gap\nGaAs;{cell}\n")).value, number, "{cell}");
    }
    // a point would be a mark of thousands here: 1.234 is not guessed to be 1.2
    for bad in ["1,2,3", "1.234,5", "1.234", "1,"] {
        let done = read(&map, &format!("formula;gap\nGaAs;{bad}\n"));
        if bad == "1," {
            assert_eq!(done.records[0].measurements[0].value, 1.0);
        } else {
            assert_eq!(codes(&done), [Code::BadNumber], "{bad}");
        }
    }
}

#[test]
fn words_that_mean_no_value_are_those_of_the_mapping() {
    let map = mapping(&format!("read = {{ null = [\"n/a\", \"-\"] }}\n{GAP}"));
    let done = read(&map, "formula,gap\nSi,n/a\nGe,-\nInP, n/a \nGaAs,N/A\nAlAs,\n");
    assert_eq!(codes(&done), [Code::NoValue, Code::NoValue, Code::NoValue, Code::BadNumber, Code::NoValue]);
}

#[test]
fn values_outside_the_physical_bounds_are_flagged_and_kept() {
    for (property, unit, given, kept) in [
        ("band_gap", "eV", "-0.5", -0.5),
        ("band_gap", "eV", "26", 26.0),
        ("density", "kg/m^3", "53170000", 53170.0),
        ("porosity", "%", "101", 101.0),
        ("melting_temperature", "°C", "-300", -26.85),
    ] {
        let done = read(&column(property, unit, ""), &format!("formula,x\nSi,{given}\n"));
        assert_eq!(counts(&done), (1, 0, 0), "{property} {given}");
        let found = finding(&done);
        assert_eq!((found.code, found.severity), (Code::OutOfBounds, Severity::Flagged));
        assert!(
            found.explanation.contains("physical bounds") && found.explanation.contains("not counted"),
            "{found:?}"
        );
        assert_eq!(found.value.as_deref(), Some(given));
        let value = done.records[0].measurements[0].value;
        assert!((value - kept).abs() < 1e-9 * kept.abs(), "{value} for {kept}");
    }
    for (property, at) in [("band_gap", "0"), ("band_gap", "25"), ("poissons_ratio", "0.5"), ("poissons_ratio", "-1")] {
        let unit = if property == "band_gap" { "eV" } else { "1" };
        one(&column(property, unit, ""), &format!("formula,x\nSi,{at}\n")); // bounds are inclusive: no finding
    }
}

#[test]
fn conditions_of_a_value() {
    let map = column(
        "yield_strength",
        "MPa",
        "temperature = { column = \"T\", unit = \"°C\" }\npressure = { value = 2, unit = \"bar\" }\n\
         conditions = { test = { column = \"test\", prefix = \"type \" }, direction = \"[100]\" }\nmethod = \"ASTM E8\"\n\
         source = { column = \"doi\", prefix = \"doi:\" }\n",
    );
    let found = value(&map, "formula,x,T,test,doi\nSi,350,25,C,10.1/x\n");
    assert_eq!(found.temperature_k, Some(298.15));
    assert_eq!(found.pressure_pa, Some(200_000.0));
    assert_eq!((found.method.as_deref(), found.source.as_deref()), (Some("ASTM E8"), Some("doi:10.1/x")));
    assert_eq!(found.conditions["test"], "type C");
    assert_eq!(found.conditions["direction"], "[100]");
    let bare = value(&map, "formula,x,T,test,doi\nSi,350,,,\n");
    assert_eq!((bare.temperature_k, bare.source.as_deref()), (None, None));
    assert_eq!(bare.conditions.keys().collect::<Vec<_>>(), ["direction"]);
    let room = value(&map, "formula,x,T,test,doi\nSi,350,RT,C,\n");
    assert_eq!(room.temperature_k, Some(298.15));
    let done = read(&map, "formula,x,T,test,doi\nSi,350,hot,C,\n");
    assert_eq!(codes(&done), [Code::BadNumber]);
    assert_eq!(finding(&done).column.as_deref(), Some("T"), "the column that is to blame");
}

#[test]
fn defaults_hold_for_values_that_do_not_say_otherwise() {
    let map = mapping(
        r#"
[material]
formula = "formula"
class = { column = "kind", prefix = "alloy/" }
[defaults]
evidence = "computed"
method = "DFT-PBE"
source = "doi:10.1/all"
temperature = { value = 0, unit = "K" }
[[value]]
column = "a"
property = "band_gap"
[[value]]
column = "b"
property = "band_gap"
evidence = "measured"
method = "ellipsometry"
source = "doi:10.1/own"
temperature = { value = 20, unit = "°C" }
[attributes]
processing = "route"
"#,
    );
    let record = one(&map, "formula,a,b,kind,route\nSi,0.6,1.12,hea,cast\n");
    let [a, b] = record.measurements.as_slice() else { panic!("{record:?}") };
    assert_eq!((a.evidence, b.evidence), (Evidence::Computed, Evidence::Measured));
    assert_eq!((a.method.as_deref(), b.method.as_deref()), (Some("DFT-PBE"), Some("ellipsometry")));
    assert_eq!((a.source.as_deref(), b.source.as_deref()), (Some("doi:10.1/all"), Some("doi:10.1/own")));
    assert_eq!((a.temperature_k, b.temperature_k), (Some(0.0), Some(293.15)));
    assert_eq!(record.class.as_deref(), Some("alloy/hea"));
    assert_eq!(record.attributes["processing"], "cast");
    let bare = one(&map, "formula,a,b,kind,route\nSi,0.6,,,\n");
    assert_eq!((bare.class, bare.attributes.len(), bare.measurements.len()), (None, 0, 1));
}

#[test]
fn uncertainties_are_scaled_and_never_shifted() {
    let map = column("melting_temperature", "°C", "uncertainty = \"sd\"\n");
    assert_eq!(value(&map, "formula,x,sd\nSi,1414,2\n").uncertainty, Some(2.0), "2 °C are 2 K");
    let map = column("density", "kg/m^3", "uncertainty = \"sd\"\n");
    let found = value(&map, "formula,x,sd\nSi,2330,10\n");
    assert_eq!((found.value, found.uncertainty), (2.33, Some(0.01)));
    assert_eq!(value(&map, "formula,x,sd\nSi,2330,\n").uncertainty, None);
    let done = read(&map, "formula,x,sd\nSi,2330,small\n");
    assert_eq!((codes(&done), finding(&done).column.as_deref()), (vec![Code::BadNumber], Some("sd")));
}

#[test]
fn values_that_count_only_in_some_rows() {
    let map = mapping(
        r#"
material = { formula = "formula" }
defaults = { evidence = "measured" }
[[value]]
column = "x"
property = "tensile_strength"
when = { column = "test", in = ["T", ""] }
[[value]]
column = "x"
property = "compressive_strength"
when = { column = "test", in = ["C"] }
"#,
    );
    let text = "formula,x,test\nSi,1,T\nSi,2,C\nGe,3,\nSn,4, T \nSi,5,t\n";
    let done = read(&map, text);
    let value = |r: &Record| (r.measurements[0].value as i32, r.measurements[0].property.to_string());
    let mut found: Vec<(i32, String)> = done.records.iter().map(value).collect();
    found.sort();
    let (tension, compression) = ("tensile_strength".to_owned(), "compressive_strength".to_owned());
    assert_eq!(found, [(1, tension.clone()), (2, compression), (3, tension.clone()), (4, tension)]);
    assert_eq!((codes(&done), finding(&done).row), (vec![Code::NoValue], 6));
}

#[test]
fn density_follows_from_formula_and_volume_and_is_marked_as_derived() {
    let map = mapping(
        r#"
derive = ["density_from_volume"]
material = { formula = "formula" }
defaults = { evidence = "computed", source = "doi:10.1/oqmd" }
[[value]]
column = "target"
property = "volume_per_atom"
unit = "Å^3/atom"
"#,
    );
    // the volume that OQMD states for rock salt
    let record = one(&map, "formula,target\nCl1Na1,22.4466\n");
    let [volume, density] = record.measurements.as_slice() else { panic!("{record:?}") };
    assert_eq!((&*volume.property, volume.value, volume.evidence), ("volume_per_atom", 22.4466, Evidence::Computed));
    assert_eq!((&*density.property, density.evidence), ("density", Evidence::Derived));
    assert!((density.value - 2.162).abs() < 0.0005, "{}", density.value);
    assert_eq!((density.given_value, density.source.as_deref()), (None, Some("doi:10.1/oqmd")));
    assert!(density.method.as_deref().unwrap().contains("volume"));
    for nothing in ["0", "-3"] {
        let done = read(&map, &format!("formula,target\nCl1Na1,{nothing}\n"));
        assert_eq!(done.records[0].measurements.len(), 1, "no density of a volume of {nothing}");
    }
    // a density that overflows is none: the record still has only finite values
    let done = read(&map, "formula,target\nCl1Na1,1e-320\n");
    assert!(done.records.iter().flat_map(|r| &r.measurements).all(|m| m.value.is_finite()), "{:?}", done.records);
}
