#![allow(clippy::unwrap_used)]

use super::*;

const ROCK_SALT: &str = "data_NaCl\n_cell_length_a 5.6402(2)\n_cell_length_b 5.6402\n_cell_length_c 5.6402\n\
    _cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\n";
const ROCK_SALT_SITES: &str = "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n\
    Na1 0 0 0\nCl1 0.5 0.5 0.5\n";

fn described(text: &str) -> Description {
    describe(&parse(text).unwrap_or_else(|error| panic!("{error}"))).unwrap()
}

fn summary(text: &str) -> (String, Option<i16>, usize) {
    let described = described(text);
    (described.formula.to_string(), described.space_group, parse(text).unwrap().positions.len())
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn a_cif_is_expanded_by_its_operators_or_its_space_group() {
    for group in [
        "_symmetry_space_group_name_H-M 'F m -3 m'\n",
        "_space_group_IT_number 225\n",
        "_symmetry_space_group_name_Hall '-F 4 2 3'\n",
        "loop_\n_symmetry_equiv_pos_as_xyz\nx,y,z\n'x, y+1/2, z+1/2'\n'1/2+x,y,z+.5'\n'x+0.5,y+0.5,z'\n",
    ] {
        let text = format!("{ROCK_SALT}{group}{ROCK_SALT_SITES}");
        assert_eq!(summary(&text), ("NaCl".to_owned(), Some(225), 8), "{group}");
        let density = described(&text).density.unwrap();
        assert!((density - 2.163).abs() < 2e-3, "{density}");
    }
}

#[test]
fn the_name_of_a_monoclinic_setting_decides() {
    let with = |name: &str| {
        let cell = ROCK_SALT.replace("_cell_angle_beta 90", "_cell_angle_beta 100");
        let site =
            "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\nO 0.1 0.2 0.3\n";
        parse(&format!("{cell}_symmetry_space_group_name_H-M '{name}'\n{site}"))
    };
    for (name, second) in [
        ("P 21/n", [0.4, 0.7, 0.2]),
        ("P 1 21/n 1", [0.4, 0.7, 0.2]),
        ("P 2_1/c", [0.9, 0.7, 0.2]),
        ("P2(1)/a", [0.4, 0.7, 0.7]),
    ] {
        let structure = with(name).unwrap();
        assert!(structure.positions.len() == 4 && structure.positions.contains(&second), "{name}: {structure:?}");
        assert_eq!(describe(&structure).unwrap().space_group, Some(14), "{name}");
    }
    assert_eq!(with("C 2/c").unwrap().positions.len(), 8);
    // the cell is not that of a unique axis c
    assert!(with("P 1 1 2_1/b").unwrap_err().to_string().contains("fits the cell"));
}

#[test]
fn images_in_bad_faith_are_refused_in_short_time() {
    let operators: String = (0..1_500).map(|n| format!("'x+{n}/1500, y, z'\n")).collect();
    let sites = "H 0.3 0.3 0.3\n".repeat(2_500);
    let text = format!(
        "{}loop_\n_symmetry_equiv_pos_as_xyz\n{operators}loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n\
         _atom_site_fract_z\n{sites}",
        ROCK_SALT.replace("_cell_length_a 5.6402(2)", "_cell_length_a 5000")
    );
    assert!(refused(&text).contains("too many images"), "{}", refused(&text));
}

#[test]
fn a_cif_with_shared_sites_uncertainties_and_semicolons_is_read() {
    let text = format!(
        "# made by hand\n{ROCK_SALT}_publ_text\n;\ndata_not_a_block\n'\n;\n_symmetry_Int_Tables_number 1\nloop_\n_atom_site.type_symbol\n\
         _atom_site.fract_x\n_atom_site.fract_y\n_atom_site.fract_z\n_atom_site.occupancy\nFe3+ 0 0 0 0.25(1)\nFe2+ 0 0 0 0.25\nNi 1.0 0 0 .5\n\
         D ? 0.5 0.5 1\n"
    );
    assert!(refused(&text).contains("the coordinate '?' of D"), "{}", refused(&text));
    let text = text.replace("D ?", "D 0.5");
    let structure = parse(&text).unwrap();
    let mixed = Species::Mixed(vec![("Fe".into(), 0.5), ("Ni".into(), 0.5)]);
    assert_eq!(structure.species, [mixed, Species::Element("H".into())]);
}

#[test]
fn a_cif_says_what_is_wrong_with_it() {
    let with = |middle: &str| refused(&format!("{ROCK_SALT}{middle}{ROCK_SALT_SITES}"));
    assert!(with("").contains("neither symmetry operators nor a space group"));
    assert!(with("_symmetry_equiv_pos_as_xyz 'x,y,q'\n").contains("CIF, line 8: 'x,y,q' is no symmetry operator"));
    assert!(with("_space_group_IT_number 194\n").contains("no setting that is known here and fits the cell"));
    assert!(with("_space_group_IT_number 227\n").contains("several settings that fit the cell"));
    assert!(with("_publ 'a\n").contains("line 8: a quoted text is not closed"));
    assert!(with("_publ\n;a\n").contains("line 9: the text that begins with ;"));
    assert!(with("loop_\n_a\n_b\n1 2 3\n").contains("2 columns, and 1 values"));
    let twice = format!("{ROCK_SALT}_space_group_IT_number 225\n{ROCK_SALT_SITES}");
    assert!(refused(&format!("{twice}{twice}")).contains("second data block"));
    assert!(refused(ROCK_SALT).contains("no atom sites"));
    // many loops that mean nothing here take no memory
    assert_eq!(summary(&format!("{}{twice}", "loop_\n_a\n1\n".repeat(500_000))).2, 8);
}

const POSCAR: &str = "zinc blende\n-73.2\n4.066724 0 2.347924\n1.355575 3.834144 2.347924\n0 0 4.695849\nAg I\n1 1\n\
    Selective dynamics\ndirect\n0 0 0 T T T\n0.25 0.25 0.25 F F F\n\n0 0 0\n";

#[test]
fn a_poscar_of_either_version_is_read() {
    assert_eq!(summary(POSCAR), ("AgI".to_owned(), Some(216), 2));
    assert!((parse(POSCAR).unwrap().volume_a3().unwrap() - 73.2).abs() < 1e-4);
    let old = "Ag1 I1\n2.0\n3 0 0\n0 3 0\n0 0 3\n1 1\nCartesian\n0 0 0\n1.5 1.5 1.5\n";
    assert_eq!(summary(old), ("AgI".to_owned(), Some(221), 2));
    assert_eq!(parse(old).unwrap().positions[1], [0.5; 3]);
    let labelled = "x\n1 1 2\n3 0 0\n0 3 0\n0 0 3\n1 1\nd\n0 0 0 Fe_pv\n.5 .5 .5 Al\n";
    assert_eq!(summary(&labelled.replace('\n', "\\n")), ("AlFe".to_owned(), Some(123), 2));
    assert!(refused(&labelled.replace("Al", "")).contains("nothing says which elements"));
    assert!(refused(&POSCAR.replace("1 1", "1 2")).contains("line 12: this is no site"));
    assert!(refused(&POSCAR.replace("1 1", "99999 1")).contains("no counts"));
    assert!(refused(&POSCAR.replace("Ag I", "Ag Qq")).contains("names no elements"));
}

#[test]
fn xyz_is_a_molecule_and_extended_xyz_a_crystal() {
    let water = "3\nwater\nO 0 0 0\nH 0.76 0.59 0\nH -0.76 0.59 0\n";
    assert_eq!(summary(water), ("H2O".to_owned(), None, 3));
    let crystal = "2\nLattice=\"4.12 0 0 0 4.12 0 0 0 4.12\" Properties=id:I:1:species:S:1:pos:R:3 pbc=\"T T T\"\n\
        1 Cs 0 0 0\n2 Cl 2.06 2.06 2.06\n";
    assert_eq!(summary(crystal), ("CsCl".to_owned(), Some(221), 2));
    assert_eq!(parse(crystal).unwrap().positions[1], [0.5; 3]);
    assert!(refused(&water.replace('3', "2")).contains("line 5: more follows"));
    assert!(refused(&water.replace('3', "4")).contains("line 6: there are fewer"));
}

#[test]
fn objects_of_pymatgen_and_optimade_are_read() {
    let python = "{u'@class': 'Structure', 'charge': None, 'lattice': {'matrix': [[4.12, 0, 0], [0, 4.12, 0], [0, 0, 4.12]]}, \
        'sites': [{'species': [{'element': u'Cs+', 'occu': 1}], 'abc': [0.0, 0.0, 0.0], 'properties': {'f': nan}}, \
        {'species': [{'element': 'Cl', 'occu': 1.0}], 'xyz': [2.06, 2.06, 2.06]}]}";
    assert_eq!(summary(python), ("CsCl".to_owned(), Some(221), 2));
    let json = python.replace("u'", "'").replace('\'', "\"").replace("None", "null").replace("nan", "1");
    let entry = format!("{{\"energy\": -1, \"composition\": {{}}, \"structure\": {json}}}");
    assert_eq!(parse(&entry), parse(python));
    let own = serde_json::to_string(&parse(python).unwrap()).unwrap();
    assert_eq!(parse(&own), parse(python));
    let optimade = r#"{"id": "1", "type": "structures", "attributes": {"lattice_vectors": [[4.12,0,0],[0,4.12,0],[0,0,4.12]],
        "cartesian_site_positions": [[0,0,0],[2.06,2.06,2.06]], "species_at_sites": ["Cs","X1"], "species": [
        {"name":"Cs","chemical_symbols":["Cs"],"concentration":[1.0]},
        {"name":"X1","chemical_symbols":["Cl","vacancy"],"concentration":[0.5,0.5]}]}}"#;
    assert_eq!(summary(optimade), ("Cs2Cl".to_owned(), Some(221), 2));
    assert!(refused(&optimade.replace("\"X1\",", "\"Y\",")).contains("site 2: the species 'X1' is not known"));
    assert!(refused("{'a': [1, }").contains("line 1"));
    assert!(refused(&format!("{{'a': {}", "[".repeat(100_000))).contains("more than 64 brackets"));
    assert!(refused("{\"a\": 1}").contains("an object of a is no structure"));
}

#[test]
fn what_is_no_structure_is_refused() {
    for text in ["", "NaCl", "\u{feff}", "hello\nworld\n"] {
        assert!(refused(text).contains("no structure that is known here"), "{text:?}");
    }
    assert!(refused(&" ".repeat(MAX_BYTES + 1)).contains("8388609 bytes"));
}

#[test]
fn elements_are_found_in_what_sources_write() {
    for (text, label, symbol) in [
        ("Fe3+", false, Some("Fe")),
        ("O2-", false, Some("O")),
        ("FE", false, Some("Fe")),
        ("CA1", true, Some("C")),
        ("AL1", true, Some("Al")),
        ("Cval", false, Some("C")),
        ("D", false, Some("H")),
        ("Wat", true, Some("W")),
        ("Qq", false, None),
        ("", true, None),
        ("é", true, None),
    ] {
        assert_eq!(element(text, label).map(|e| e.symbol()), symbol, "{text}");
    }
}
