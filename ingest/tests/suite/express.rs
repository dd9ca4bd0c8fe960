//! What a mapping can say of files that are not one plain table: formulas beside compositions, isotopes, words for
//! numbers, rows by what they are not, words that mean no value everywhere.

use datasets::record::Evidence;
use ingest::report::{Code, Severity};

use crate::job::{GAP, codes, counts, finding, mapping, one, read, value};

/// `GAP` with other lines in `[material]`.
fn material(lines: &str) -> ingest::mapping::Mapping {
    mapping(&GAP.replace("formula = \"formula\"\n", lines))
}

#[test]
fn a_formula_in_some_rows_and_shares_in_others() {
    let map = material(
        "formula = \"formula\"\nname = \"name\"\nfractions = { prefix = \"comp.\", basis = \"mass_fraction\" }\n",
    );
    let text = "formula,name,comp.Fe,comp.Ni,gap\nAl,a,,,1\n,b,0.5,0.5,2\nGaAs,c,0.5,0.5,3\n,d,,,4\n";
    let done = read(&map, text);
    assert_eq!((counts(&done), codes(&done)), ((4, 0, 0), vec![]));
    let mut found: Vec<(String, Option<String>, Option<String>)> =
        done.records.into_iter().map(|r| (r.name.unwrap(), r.formula, r.formula_given)).collect();
    found.sort();
    assert_eq!(found[0].1.as_deref(), Some("Al"));
    assert!(found[1].1.as_deref().is_some_and(|f| f.starts_with("Fe")) && found[1].2.is_none(), "{found:?}");
    assert_eq!((found[2].1.as_deref(), found[2].2.as_deref()), (Some("AsGa"), Some("GaAs")), "the formula comes first");
    assert_eq!(found[3].1, None, "a row of neither goes by its name");
}

#[test]
fn shares_that_are_not_plain_numbers_are_read_by_their_nominal_part_or_said_not_to_be() {
    let map = material("name = \"name\"\nfractions = { prefix = \"c.\", basis = \"mass_fraction\" }\n");
    let text = "name,c.Al,c.Si.nominal,c.Si.min,c.Si.max,gap\na,0.9,0.1,0.05,0.15,1\n";
    let record = one(&map, text);
    let formula: datasets::formula::Formula = record.formula.unwrap().parse().unwrap();
    assert_eq!(formula.nelements(), 2, "{formula:?}");
    // without a share of silicon the rest is no composition, however close to the whole it sums
    let done = read(&map, "name,c.Al,c.Si.min,c.Si.max,gap\na,0.98,0.01,0.03,1\n");
    let found = finding(&done);
    assert_eq!(
        (found.code, found.severity, found.column.as_deref()),
        (Code::BadFormula, Severity::Flagged, Some("c.Si.min"))
    );
    assert_eq!((done.records[0].name.as_deref(), done.records[0].formula.as_deref()), (Some("a"), None));
}

#[test]
fn isotopes_are_read_as_their_element() {
    let map = material("name = \"name\"\nfractions = { prefix = [\"el.\", \"iso.\"], basis = \"atomic_fraction\" }\n");
    let record = one(&map, "name,el.O,iso.U235,iso.U238,gap\nfuel,0.6666667,0.0133333,0.32,1\n");
    let formula: datasets::formula::Formula = record.formula.unwrap().parse().unwrap();
    let uranium = datasets::element::Element::from_symbol("U").unwrap();
    assert_eq!(formula.nelements(), 2);
    assert!((formula.atomic_fraction(uranium) - 1.0 / 3.0).abs() < 1e-5, "{formula:?}");
    let error = crate::job::try_read(&map, &[("d.csv", b"name,el.O,iso.U23,gap\nfuel,1,0,1\n")]).unwrap_err();
    assert!(error.to_string().contains("`iso.U23` is not an element's symbol"), "{error}");
}

#[test]
fn rows_are_chosen_by_what_they_are_not_and_by_patterns() {
    let map = mapping(&format!(
        "record = {{ when = {{ column = \"page\", in = [\"nk/*\"], not_in = [\"*abinitio*\", \"nk/old\"] }} }}\n{GAP}"
    ));
    let text = "formula,page,gap\nSi,nk/Green,1\nSi,nk/abinitio-1,2\nSi,nk/old,3\nSi,other,4\nSi,nk/,1.01\n";
    let done = read(&map, text);
    assert_eq!((counts(&done), done.report.rows_left_out, codes(&done)), ((2, 0, 0), 3, vec![]));
    let values: Vec<f64> = done.records.iter().map(|r| r.measurements[0].value).collect();
    assert!(values.contains(&1.0) && values.contains(&1.01), "{values:?}");

    // the gas and the liquid are not one material H2O
    let map = material(
        "name = \"name\"\n[material.fractions]\nprefix = \"el.\"\nbasis = \"atomic_fraction\"\n\
         when = { column = \"name\", not_in = [\"Water, Vapor\"] }\n",
    );
    let text = "name,el.H,el.O,gap\n\"Water, Vapor\",0.66667,0.33333,1\n\"Water, Liquid\",0.66667,0.33333,2\n";
    let done = read(&map, text);
    assert_eq!(counts(&done), (2, 0, 0));
    let with: Vec<&str> =
        done.records.iter().filter(|r| r.formula.is_some()).filter_map(|r| r.name.as_deref()).collect();
    assert_eq!(with, ["Water, Liquid"]);
}

#[test]
fn words_stand_for_numbers() {
    let text = "material = { formula = \"alloy\" }\ndefaults = { evidence = \"measured\" }\n\
                [[property]]\nkey = \"single_phase\"\nunit = \"1\"\nbounds = [0, 1]\n\
                [[value]]\ncolumn = \"phase\"\nproperty = \"single_phase\"\n\
                words = { bcc = 1, fcc = 1, \"multi-phase\" = 0 }\n";
    let map = mapping(text);
    assert_eq!(value(&map, "alloy,phase\nFeNi,bcc\n").value, 1.0);
    assert_eq!(value(&map, "alloy,phase\nFeNi,multi-phase\n").value, 0.0);
    assert_eq!(value(&map, "alloy,phase\nFeNi,0.5\n").value, 0.5, "a number is a number");
    let done = read(&map, "alloy,phase\nFeNi,hcp\n");
    assert_eq!(codes(&done), [Code::BadNumber]);
    assert!(finding(&done).mend.contains("`words`"), "{:?}", finding(&done));
}

#[test]
fn a_unit_that_is_one_over_another_may_stand_in_a_cell() {
    let map = mapping(
        "material = { formula = \"f\" }\ndefaults = { evidence = \"measured\" }\n[[value]]\ncolumn = \"x\"\n\
         property = \"thermal_expansion\"\n",
    );
    for (cell, wanted) in [("3.43e-5 1/K", 3.43e-5), ("17.3 1/MK", 17.3e-6), ("2 1/(1e6 K)", 2e-6)] {
        let found = value(&map, &format!("f,x\nSi,{cell}\n")).value;
        assert!((found - wanted).abs() < 1e-12 * wanted, "{cell}: {found}");
    }
    for cell in ["5 1/2", "5 1/", "1 1", "51/K"] {
        assert_eq!(codes(&read(&map, &format!("f,x\nSi,{cell}\n"))).len(), 1, "{cell}");
    }
}

#[test]
fn young_s_modulus_follows_from_two_moduli_of_a_row() {
    let map = mapping(
        "derive = [\"youngs_modulus_from_moduli\"]\nmaterial = { formula = \"f\" }\n\
         defaults = { evidence = \"computed\", source = \"doi:10.1/x\" }\n\
         [[value]]\ncolumn = \"K\"\nproperty = \"bulk_modulus\"\n[[value]]\ncolumn = \"G\"\nproperty = \"shear_modulus\"\n\
         [[value]]\ncolumn = \"E\"\nproperty = \"youngs_modulus\"\n",
    );
    let record = one(&map, "f,K,G,E\nFe,160,80,\n");
    let found = record.measurements.iter().find(|m| &*m.property == "youngs_modulus").unwrap();
    assert!((found.value - 9.0 * 160.0 * 80.0 / (480.0 + 80.0)).abs() < 1e-4, "{found:?}");
    assert_eq!((found.evidence, found.source.as_deref()), (Evidence::Derived, Some("doi:10.1/x")));
    assert_eq!(one(&map, "f,K,G,E\nFe,160,80,205\n").measurements.len(), 3, "what is stated is not derived");
    assert_eq!(one(&map, "f,K,G,E\nFe,160,,\n").measurements.len(), 1);
}

#[test]
fn words_that_mean_no_value_count_in_every_column() {
    let map = mapping(
        "read = { null = [\"n/a\", \"NaN\"] }\nrecord = { id = [\"id\"] }\nattributes = { note = \"note\" }\n\
         material = { formula = \"f\", name = \"name\", class = { column = \"class\" } }\n\
         [defaults]\nevidence = \"measured\"\nsource = { column = \"doi\", prefix = \"doi:\" }\n\
         conditions = { body = { column = \"body\" } }\n[[value]]\ncolumn = \"gap\"\nproperty = \"band_gap\"\n",
    );
    let record = one(&map, "id,f,name,class,doi,body,note,gap\n1,n/a,steel,n/a,n/a,n/a,n/a,1\n");
    let measurement = &record.measurements[0];
    assert_eq!((record.name.as_deref(), record.formula, record.class), (Some("steel"), None, None));
    assert!(record.attributes.is_empty() && measurement.source.is_none() && measurement.conditions.is_empty());
    let record = one(&map, "id,f,name,class,doi,body,note,gap\n2,NaN,n/a,,,,,1\n");
    assert_eq!((record.formula.as_deref(), record.name), (Some("NNa"), None), "NaN is sodium nitride");
    for row in ["3,n/a,n/a,,,,,1", "n/a,Si,,,,,,1"] {
        let done = read(&map, &format!("id,f,name,class,doi,body,note,gap\n{row}\n"));
        assert_eq!(codes(&done), [Code::NoIdentity], "{row}");
    }
}

#[test]
fn atomic_percent_may_be_a_ratio_and_formulas_may_have_decimal_commas() {
    let map = material("formula = \"formula\"\nbasis = \"atomic_percent\"\n");
    for (text, wanted) in
        [("CoCrFeNi", "CoCrFeNi"), ("Al0.5CoCrFeNi", "AlCo2Cr2Fe2Ni2"), ("Fe70Ni30", "Fe7Ni3"), ("70Fe-30Ni", "Fe7Ni3")]
    {
        assert_eq!(one(&map, &format!("formula,gap\n{text},1\n")).formula.as_deref(), Some(wanted), "{text}");
    }
    for text in ["Fe70Ni20", "Fe70Ni40"] {
        let done = read(&map, &format!("formula,gap\n{text},1\n"));
        assert!(finding(&done).explanation.contains("sum to"), "{text}: {:?}", done.report);
    }
    let german = mapping(&format!("read = {{ decimal = \",\", separator = \";\" }}\n{GAP}"));
    let record = one(&german, "formula;gap\nAl5Co23,75Cr23,75Fe23,75Ni23,75;1,5\n");
    assert_eq!(record.formula_given.as_deref(), Some("Al5Co23,75Cr23,75Fe23,75Ni23,75"));
    assert_eq!(record.formula.as_deref(), Some("Al4Co19Cr19Fe19Ni19"));
    assert_eq!(codes(&read(&german, "formula;gap\nFe,Ni;1\n")), [Code::BadFormula], "no decimal comma");
}

#[test]
fn a_temperature_below_absolute_zero_is_refused() {
    let map = mapping(&format!("{GAP}temperature = {{ column = \"T\", unit = \"°C\" }}\n"));
    let done = read(&map, "formula,gap,T\nSi,1,-300\nSi,1.1,-273.15\n");
    assert_eq!(counts(&done), (1, 1, 0));
    let found = finding(&done);
    assert_eq!((found.code, found.column.as_deref()), (Code::BadNumber, Some("T")));
    assert!(found.explanation.contains("-300 is below absolute zero"), "{found:?}");
    assert!(done.records[0].measurements[0].temperature_k.unwrap() < 1e-6);
}

#[test]
fn polymers_by_their_repeat_unit() {
    let map = mapping(GAP);
    for (text, wanted) in [("-(CH2-O)n-", "CH2O"), ("-(CH2)5-CO-NH-", "C6H11NO"), ("(C2H4)n", "CH2")] {
        assert_eq!(one(&map, &format!("formula,gap\n{text},1\n")).formula.as_deref(), Some(wanted), "{text}");
    }
}

#[test]
fn deviations_in_percent_errors_of_spreadsheets_and_long_cells() {
    let map = mapping(
        "material = { formula = \"f\" }\ndefaults = { evidence = \"measured\" }\n[[value]]\ncolumn = \"x\"\n\
         property = \"yield_strength\"\nunit = \"MPa\"\n",
    );
    let found = value(&map, "f,x\nFe,200 ± 10%\n");
    assert_eq!((found.value, found.uncertainty), (200.0, Some(20.0)));
    let found = value(&map, "f,x\nFe,0.2 (GPa)\n");
    assert_eq!((found.value, found.given_unit.as_deref()), (200.0, Some("GPa")));
    let share = mapping(
        "material = { formula = \"f\" }\ndefaults = { evidence = \"measured\" }\n[[value]]\ncolumn = \"x\"\n\
         property = \"elongation\"\nunit = \"%\"\n",
    );
    assert_eq!(value(&share, "f,x\nFe,20 ± 2 %\n").uncertainty, Some(2.0), "of a share the percent are its unit");
    assert!(finding(&read(&map, "f,x\nFe,#DIV/0!\n")).explanation.contains("error of the spreadsheet"));
    let long = finding(&read(&map, &format!("f,x\nFe,{}\n", "x".repeat(100_000)))).clone();
    assert!(long.value.as_ref().unwrap().len() < 100 && long.explanation.len() < 300, "{long:?}");
    let long = finding(&read(&map, &format!("f,x\n{},1\n", "x".repeat(100_000)))).clone();
    assert!(long.value.as_ref().unwrap().len() < 100 && long.explanation.len() < 400, "{long:?}");
}

#[test]
fn a_number_may_stand_in_an_array() {
    let map = mapping(
        "material = { formula = \"f\" }\ndefaults = { evidence = \"computed\" }\nread = { separator = \";\" }\n[[value]]\n\
         column = \"c\"\nat = [1, 0]\nproperty = \"bulk_modulus\"\n",
    );
    assert_eq!(value(&map, "f;c\nFe;[[311.3, 144.4], [145.5, 2]]\n").value, 145.5);
    assert_eq!(codes(&read(&map, "f;c\nFe;[[1, 2], [null, 2]]\n")), [Code::NoValue]);
    for (cell, why) in
        [("[[1, 2]]", "nothing at [1, 0]"), ("[[1], [[2]]]", "no number"), ("12", "nothing at"), ("x", "no array")]
    {
        let done = read(&map, &format!("f;c\nFe;{cell}\n"));
        let found = finding(&done);
        assert!(found.code == Code::BadNumber && found.explanation.contains(why), "{cell}: {found:?}");
    }
}
