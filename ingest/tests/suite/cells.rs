//! Cells with uncertainties, bounds, ranges and units; new keys of the mapping; new checks.

use ingest::report::Code;
use ingest::value::{NumberFormat, Sense, looks_like_date, read as cell};
use proptest::prelude::*;

use crate::job::{GAP, codes, counts, finding, mapping, one, read, value};

const COMMA: NumberFormat = NumberFormat { decimal: ',', thousands: None };
const GERMAN: NumberFormat = NumberFormat { decimal: ',', thousands: Some('.') };
const ENGLISH: NumberFormat = NumberFormat { decimal: '.', thousands: Some(',') };

#[test]
fn a_cell_says_value_uncertainty_sense_and_unit() {
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs();
    for (text, value, sd, sense, unit) in [
        ("12.3 ± 0.4", 12.3, Some(0.4), Sense::Exact, None),
        ("12.3+/-0.4 GPa", 12.3, Some(0.4), Sense::Exact, Some("GPa")),
        ("12.3(4)", 12.3, Some(0.4), Sense::Exact, None),
        ("1.234(12)e5", 123_400.0, Some(1200.0), Sense::Exact, None),
        ("(1.2 ± 0.1)×10^5 Pa", 120_000.0, Some(10_000.0), Sense::Exact, Some("Pa")),
        ("5-7", 6.0, Some(1.0 / 3.0_f64.sqrt()), Sense::Range, None),
        ("5–7", 6.0, Some(1.0 / 3.0_f64.sqrt()), Sense::Range, None),
        ("5 to 7 eV", 6.0, Some(1.0 / 3.0_f64.sqrt()), Sense::Range, Some("eV")),
        ("5...7", 6.0, Some(1.0 / 3.0_f64.sqrt()), Sense::Range, None),
        ("-7 - -5", -6.0, Some(1.0 / 3.0_f64.sqrt()), Sense::Range, None),
        ("<5", 5.0, None, Sense::Below("<"), None),
        ("≥ 100 MPa", 100.0, None, Sense::Above("≥"), Some("MPa")),
        ("~5", 5.0, None, Sense::About, None),
        ("ca. 5", 5.0, None, Sense::About, None),
        ("7900 kg/m^3", 7900.0, None, Sense::Exact, Some("kg/m^3")),
        ("0.000011 m/m/K", 0.000011, None, Sense::Exact, Some("m/m/K")),
        ("25 %", 25.0, None, Sense::Exact, Some("%")),
        ("−1", -1.0, None, Sense::Exact, None),
    ] {
        let found = cell(text, NumberFormat::POINT).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert!(near(found.value, value), "{text}: {found:?}");
        assert_eq!(found.sd.is_some(), sd.is_some(), "{text}: {found:?}");
        assert!(found.sd.zip(sd).is_none_or(|(a, b)| near(a, b)), "{text}: {found:?}");
        assert_eq!((found.sense, found.unit), (sense, unit), "{text}");
    }
    for (text, value) in [("1.2×10^-5", 1.2e-5), ("1.2 x 10-5", 1.2e-5), ("1.2·10⁻⁵", 1.2e-5), ("3*10**8", 3e8)] {
        assert_eq!(cell(text, NumberFormat::POINT).unwrap().value, value, "{text}: exact to the last bit");
    }
}

#[test]
fn marks_of_thousands_and_decimal_commas_count_only_where_they_are_stated() {
    for (text, format, value) in [
        ("1,234", ENGLISH, 1234.0),
        ("1,234,567.5", ENGLISH, 1_234_567.5),
        ("1.234,5", GERMAN, 1234.5),
        ("1,234", COMMA, 1.234),
        ("1,5e3", COMMA, 1500.0),
    ] {
        assert_eq!(cell(text, format).unwrap().value, value, "{text}");
    }
    for (text, format) in [("12,34", ENGLISH), ("1234,567", ENGLISH), ("1,2345", ENGLISH), ("1.234", COMMA)] {
        assert!(cell(text, format).is_err(), "{text}");
    }
    let refused = cell("1,234", NumberFormat::POINT).unwrap_err();
    assert!(refused.why.contains("comma") && refused.mend.unwrap().contains("decimal = \",\""), "{refused:?}");
}

#[test]
fn a_bound_never_looks_like_a_sharp_value() {
    let map = mapping(GAP);
    let found = value(&map, "formula,gap\nSi,<5\n");
    assert_eq!((found.value, found.uncertainty, found.given_value), (2.5, Some(2.5), Some(5.0)));
    assert_eq!((found.conditions["censored"].as_str(), found.conditions["given"].as_str()), ("<", "<5"));
    let above = value(&map, "formula,gap\nSi,≥5\n");
    assert!(above.value > 5.0 && above.value - above.uncertainty.unwrap() == 5.0, "{above:?}");
    let zero = value(&map, "formula,gap\nSi,<0\n");
    assert!(zero.uncertainty.unwrap() >= 2.0, "{zero:?}");
    let about = value(&map, "formula,gap\nSi,~5\n");
    assert!(about.uncertainty.unwrap() >= 0.5 && !about.conditions.contains_key("censored"), "{about:?}");
}

#[test]
fn what_is_believed_of_a_bound_lies_on_its_side() {
    let of = |property: &str, unit: &str, cell: &str| {
        let map = mapping(&format!(
            "material = {{ formula = \"f\" }}\ndefaults = {{ evidence = \"measured\" }}\n\
             [[value]]\ncolumn = \"x\"\nproperty = \"{property}\"\nunit = \"{unit}\"\n"
        ));
        value(&map, &format!("f,x\nSi,{cell}\n"))
    };
    let close = |a: f64, b: f64| (a - b).abs() < 1e-9 * b.abs().max(1.0);
    // property, unit, cell, mean and deviation in the dictionary's unit
    for (property, unit, cell, mean, sd) in [
        ("yield_strength", "MPa", "<27", 13.5, 13.5),
        ("yield_strength", "GPa", "< 0.027 GPa", 13.5, 13.5),
        ("yield_strength", "MPa", ">100", 200.0, 100.0),
        ("refractive_index", "1", "<1.2", 0.6, 0.6),
        ("seebeck_coefficient", "µV/K", "<27", 0.0, 27.0),
        ("seebeck_coefficient", "µV/K", ">-27", 0.0, 27.0),
        ("seebeck_coefficient", "µV/K", ">4990", 4995.0, 5.0),
    ] {
        let found = of(property, unit, cell);
        let bounds = datasets::property::dictionary().get(property).unwrap().bounds;
        let (mean, sd) = if mean < bounds[0] { ((1.2 + bounds[0]) / 2.0, (1.2 - bounds[0]) / 2.0) } else { (mean, sd) };
        let sd = if cell == ">4990" { found.uncertainty.unwrap() } else { sd };
        let mean = if cell == ">4990" { 4990.0 + sd } else { mean };
        assert!(close(found.value, mean) && close(found.uncertainty.unwrap(), sd), "{property} {cell}: {found:?}");
        assert!((bounds[0]..=bounds[1]).contains(&found.value), "{property} {cell}: {found:?}");
    }
    // a bound that cannot be is flagged, and stays impossible
    let map = mapping(&GAP.replace("band_gap", "density"));
    let done = read(&map, "formula,gap\nSi,<99\n");
    assert_eq!((codes(&done), done.records[0].measurements[0].value), (vec![Code::OutOfBounds], 99.0));
}

#[test]
fn bounds_contradict_nothing_on_their_side() {
    let map = mapping(
        "material = { formula = \"f\" }\ndefaults = { evidence = \"measured\" }\n\
         [[value]]\ncolumn = \"ys\"\nproperty = \"yield_strength\"\n[[value]]\ncolumn = \"uts\"\nproperty = \"tensile_strength\"\n",
    );
    assert_eq!(codes(&read(&map, "f,ys,uts\nFe,>500,800\n")), []);
    // far below a bound is no conflict with it
    let done = read(&map, "f,ys,uts\nFe,<500,\nFe,0.01,\n");
    assert_eq!((counts(&done), codes(&done)), ((2, 0, 0), vec![]));
}

#[test]
fn deviations_of_a_column_are_not_negative_and_zero_says_nothing() {
    let map = mapping(&format!("{GAP}uncertainty = \"sd\"\n"));
    let sd = |row: &str| value(&map, &format!("formula,gap,sd\nSi,{row}\n")).uncertainty;
    // the column first, then the cell
    assert_eq!(sd("1.1 ± 0.2,0.3"), Some(0.3));
    assert_eq!((sd("1.1 ± 0.2,"), sd("1.1 ± 0.2,0")), (Some(0.2), Some(0.2)));
    assert_eq!((sd("1.1,0"), sd("1.1 ± 0,")), (None, None));
    let done = read(&map, "formula,gap,sd\nSi,1.1,-0.1\n");
    assert_eq!((codes(&done), finding(&done).column.as_deref()), (vec![Code::BadNumber], Some("sd")));
    // a constant last
    let map = mapping(&format!("{GAP}uncertainty = {{ value = 0.5 }}\n"));
    assert_eq!(value(&map, "formula,gap\nSi,1.1 ± 0.2\n").uncertainty, Some(0.2));
    assert_eq!(value(&map, "formula,gap\nSi,1.1\n").uncertainty, Some(0.5));
}

#[test]
fn units_in_cells_and_in_columns_override_that_of_the_header() {
    let map = mapping(
        "material = { formula = \"f\" }\ndefaults = { evidence = \"measured\" }\n[[value]]\ncolumn = \"x\"\n\
         property = \"density\"\nunit_column = \"u\"\n",
    );
    assert_eq!(value(&map, "f,x,u\nSi,2330,kg/m^3\n").value, 2.33);
    assert_eq!(value(&map, "f,x,u\nSi,2.33,\n").value, 2.33);
    assert_eq!(value(&map, "f,x,u\nSi,2330 kg/m^3,g/cm^3\n").value, 2.33);
    for (row, column) in [("2.33,furlong", "u"), ("2.33,eV", "u"), ("2 eV,", "x")] {
        let done = read(&map, &format!("f,x,u\nSi,{row}\n"));
        assert_eq!((codes(&done), finding(&done).column.as_deref()), (vec![Code::BadUnit], Some(column)), "{row}");
    }
}

#[test]
fn factors_constants_options_and_filters() {
    let map = mapping(
        "material = { formula = \"f\" }\ndefaults = { evidence = \"measured\" }\nrecord = { when = { column = \"k\", in = [\"a\"] } }\n\
         [[value]]\ncolumn = \"x\"\nproperty = \"thermal_expansion\"\nunit = \"1/K\"\nfactor = 1e-6\nuncertainty = { relative = 0.1 }\n\
         [[value]]\ncolumn = \"not there\"\nproperty = \"density\"\noptional = true\n",
    );
    let found = value(&map, "f,x,k\nSi,2.5,a\n");
    assert!((found.value - 2.5e-6).abs() < 1e-20 && (found.uncertainty.unwrap() - 2.5e-7).abs() < 1e-20, "{found:?}");
    let done = read(&map, "f,x,k\nSi,2.5,b\n");
    assert_eq!((counts(&done), done.report.rows_left_out, codes(&done)), ((0, 0, 0), 1, vec![]));
}

#[test]
fn fractions_by_prefix_by_word_with_balance_and_scaled() {
    let by = |fractions: &str| {
        mapping(&format!(
            "material.fractions = {{ {fractions} }}\n{}",
            GAP.replace("[material]\nformula = \"formula\"\n", "")
        ))
    };
    let map = by(
        "prefix = \"el.\", basis_column = { column = \"t\", words = { ao = \"atomic_fraction\", wo = \"mass_fraction\" } }, normalise = true",
    );
    assert_eq!(one(&map, "el.H,el.O,t,gap\n0.4,0.4,ao,1\n").formula.as_deref(), Some("HO"));
    assert_eq!(codes(&read(&map, "el.H,el.O,t,gap\n0.4,0.2,?,1\n")), [Code::BadFormula]);
    let map = by("columns = [\"Ni\"], basis = \"atomic_percent\", balance = \"Fe\"");
    assert_eq!(one(&map, "Ni,gap\n25,1\n").formula.as_deref(), Some("Fe3Ni"));
    assert_eq!(codes(&read(&map, "Ni,gap\n125,1\n")), [Code::BadFormula]);
}

#[test]
fn a_dataset_may_have_properties_of_its_own() {
    let text = "material = { formula = \"f\" }\ndefaults = { evidence = \"measured\" }\n[[property]]\nkey = \"gloss\"\nunit = \"gloss unit\"\n\
                [[value]]\ncolumn = \"x\"\nproperty = \"gloss\"\n";
    let refused = ingest::mapping::Mapping::parse(text, Some("lab"), "m").unwrap_err().to_string();
    assert!(refused.contains("gloss"), "{refused}");
    let map = mapping(&text.replace("gloss unit", "%").replace("unit = \"%\"", "unit = \"%\"\nbounds = [0, 100]"));
    let found = value(&map, "f,x\nSi,85\n");
    assert_eq!((&*found.property, found.value), ("lab:gloss", 85.0));
    assert_eq!(codes(&read(&map, "f,x\nSi,120\n")), [Code::OutOfBounds]);
    assert!(std::ptr::eq(map.property("lab:gloss").unwrap(), map.values[0].property));
}

#[test]
fn dates_are_told_apart_from_formulas() {
    for date in ["2-Feb", "Feb-02", "2026-02-02", "02/02/2026", "2-Feb-26", "2026-02-02 00:00:00"] {
        assert!(looks_like_date(date), "{date}");
        let done = read(&mapping(GAP), &format!("formula,gap\n{date},1\n"));
        assert!(finding(&done).explanation.contains("spreadsheet"), "{:?}", done.report);
    }
    for other in ["Fe2O3", "Ti-6Al-4V", "1-2", "304-L", "10.1000/182", "5.5.5", "", "Mar"] {
        assert!(!looks_like_date(other), "{other}");
    }
}

#[test]
fn values_that_cannot_all_be_true_are_flagged_and_kept() {
    let map = mapping(
        "material = { formula = \"f\" }\ndefaults = { evidence = \"measured\" }\n\
         [[value]]\ncolumn = \"ys\"\nproperty = \"yield_strength\"\n[[value]]\ncolumn = \"uts\"\nproperty = \"tensile_strength\"\n\
         [[value]]\ncolumn = \"e\"\nproperty = \"youngs_modulus\"\n[[value]]\ncolumn = \"g\"\nproperty = \"shear_modulus\"\n\
         [[value]]\ncolumn = \"nu\"\nproperty = \"poissons_ratio\"\n",
    );
    for (row, bad) in [
        ("235,360,210,81,0.3", false),
        ("360,235,,,", true),
        (",,210,81,0.49", false),
        (",,210,40,0.3", true),
        (",,0.21,81,0.3", true),
    ] {
        let done = read(&map, &format!("f,ys,uts,e,g,nu\nFe,{row}\n"));
        let want = if bad { vec![Code::ImpossibleCombination] } else { vec![] };
        assert_eq!((counts(&done).0, codes(&done)), (1, want), "{row}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_cell_panics_and_what_is_read_is_finite(text in "\\PC*", near in "[<>~ca. 0-9eE+×^().,–±/ a-zµ-]{0,30}") {
        for text in [text, near] {
            for format in [NumberFormat::POINT, COMMA, GERMAN, ENGLISH] {
                if let Ok(found) = cell(&text, format) {
                    prop_assert!(found.value.is_finite() && found.sd.is_none_or(|sd| sd.is_finite() && sd >= 0.0), "{text:?} {found:?}");
                }
            }
            looks_like_date(&text);
        }
    }

    #[test]
    fn every_number_comes_back_bit_for_bit(x in any::<f64>().prop_filter("finite", |x| x.is_finite())) {
        for text in [x.to_string(), format!("{x:e}")] {
            prop_assert_eq!(cell(&text, NumberFormat::POINT).unwrap().value.to_bits(), x.to_bits());
            if text.len() <= ingest::value::LONGEST {
                prop_assert_eq!(cell(&text.replace('.', ","), COMMA).unwrap().value, x);
            }
        }
    }
}
