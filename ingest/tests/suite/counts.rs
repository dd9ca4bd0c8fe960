//! For any bytes: no panic, and every row read is accepted, refused or unchanged.

use proptest::prelude::*;

use crate::job::{GAP, mapping, try_read};

/// A mapping that uses all that a mapping can say of one file.
const FULL: &str = r#"
derive = ["density_from_volume"]
[read]
null = ["NaN", "-"]
[record]
id = ["a"]
[material]
formula = "a"
name = "b"
space_group = "c"
class = { column = "d" }
[defaults]
evidence = "measured"
temperature = { column = "c", unit = "°C" }
[[value]]
column = "d"
property = "band_gap"
uncertainty = "c"
when = { column = "b", in = ["x", ""] }
[[value]]
column = "c"
property = "volume_per_atom"
unit = "nm^3/atom"
conditions = { b = { column = "b" } }
[attributes]
all = "d"
"#;

/// Cells that are nearly right, and what breaks CSV.
fn cell() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("GaAs".to_owned()),
        Just("NaN".to_owned()),
        Just("2-Feb".to_owned()),
        Just(String::new()),
        Just("x".to_owned()),
        "[0-9]{1,3}",
        "-?[0-9.]{1,6}(e-?[0-9]{1,3})?",
        "[A-Z][a-z]?[0-9.]{0,3}([A-Z][a-z]?[0-9]{0,2}){0,3}",
        "[\"',;\r\n ()\\[\\]]{1,4}",
        "\\PC{0,6}",
    ]
}

fn table() -> impl Strategy<Value = Vec<u8>> {
    let row = prop::collection::vec(cell(), 3..6).prop_map(|cells| cells.join(","));
    (prop::collection::vec(row, 0..20), any::<bool>()).prop_map(|(rows, crlf)| {
        let end = if crlf { "\r\n" } else { "\n" };
        format!("a,b,c,d{end}{}", rows.join(end)).into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    // `try_read` checks the law of the counts

    #[test]
    fn of_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = try_read(&mapping(GAP), &[("data.csv", &bytes)]);
        let with_header = [b"formula,gap\n".as_slice(), &bytes].concat();
        prop_assert!(try_read(&mapping(GAP), &[("data.csv", &with_header)]).is_ok());
    }

    #[test]
    fn of_nearly_right_tables(bytes in table(), join in any::<bool>()) {
        let text = if join { FULL.replace("id = [\"a\"]", "id = [\"a\"]\njoin = true") } else { FULL.to_owned() };
        prop_assert!(try_read(&mapping(&text), &[("data.csv", &bytes)]).is_ok());
        prop_assert!(try_read(&mapping(&text), &[("1.csv", &bytes), ("2.csv", &bytes)]).is_ok());
    }

    #[test]
    fn of_broken_tables(bytes in table(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = bytes;
        let header = 8;
        for (at, byte) in flips {
            if bytes.len() > header {
                let at = header + at.index(bytes.len() - header);
                bytes[at] = byte;
            }
        }
        prop_assert!(try_read(&mapping(FULL), &[("data.csv", &bytes)]).is_ok());
    }

    #[test]
    fn of_any_separator(separator in 0u8..128, bytes in table()) {
        let text = FULL.replace("[read]", &format!("[read]\nseparator = \"\\u{separator:04X}\""));
        let _ = try_read(&mapping(&text), &[("data.csv", &bytes)]);
    }

    /// A row of rubbish among good rows costs that row alone.
    #[test]
    fn good_rows_beside_bad_ones_are_taken(bad in "[^\"\r\n,]{0,20}", at in 0usize..5) {
        let mut rows: Vec<String> = (0..5).map(|n| format!("GaAs,1.{n}")).collect();
        rows[at] = bad;
        let text = format!("formula,gap\n{}\n", rows.join("\n"));
        let done = try_read(&mapping(GAP), &[("data.csv", text.as_bytes())]).unwrap();
        prop_assert_eq!(done.report.rows_accepted, 4);
    }
}
