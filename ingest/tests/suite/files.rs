//! CSV as it comes: marks, separators, line ends, encodings, rows that are cut.

use ingest::read::ReadError;
use ingest::report::{Code, Severity};

use crate::job::{GAP, codes, counts, finding, mapping, one, read, read_paths, try_read};
use ingest::job::{self, Input, JobError, Phase, Request, Watch};

#[test]
fn the_same_table_in_many_spellings_is_the_same_record() {
    let want = one(&mapping(&format!("[record]\nid = [\"formula\"]\n{GAP}")), "formula,gap\nGaAs,1.42\n");
    let comma = mapping(&format!("[record]\nid = [\"formula\"]\n{GAP}"));
    for text in [
        "\u{feff}formula,gap\nGaAs,1.42\n",
        "formula,gap\nGaAs,1.42",
        "formula,gap\r\nGaAs,1.42\r\n",
        "formula,gap\rGaAs,1.42\r",
        "gap,formula\n1.42,GaAs\n",
        "\"formula\",\"gap\"\n\"GaAs\",\"1.42\"\n",
        " formula , gap \n GaAs , 1.42 \n",
        "formula,gap,more\nGaAs,1.42,\"a, \"\"b\"\"\nc\"\n",
        "formula,gap\n\n\nGaAs,1.42\n\n",
        "\u{feff}\"formula\",gap\nGaAs,1.42\n",
    ] {
        assert_eq!(one(&comma, text), want, "{text:?}");
    }
    for (separator, text) in
        [(";", "formula;gap\nGaAs;1.42\n"), ("\\t", "formula\tgap\nGaAs\t1.42\n"), ("|", "formula|gap\nGaAs|1.42\n")]
    {
        let other =
            mapping(&format!("read = {{ separator = \"{separator}\" }}\nrecord = {{ id = [\"formula\"] }}\n{GAP}"));
        assert_eq!(one(&other, text), want, "{text:?}");
    }
}

#[test]
fn quoted_separators_and_line_ends_stay_in_their_cell() {
    let map = mapping(&format!("{GAP}[attributes]\nnote = \"note\"\n"));
    let record = one(&map, "formula,gap,note\nGaAs,1.42,\"a, b\nand \"\"c\"\"\"\n");
    assert_eq!(record.attributes["note"], "a, b\nand \"c\"");
}

#[test]
fn a_row_with_another_number_of_cells_is_refused_and_the_rest_is_read() {
    let done = read(&mapping(GAP), "formula,gap\nGaAs,1.42\nSi\nGe,0.67,extra\nInP,1.34\n");
    assert_eq!(counts(&done), (2, 2, 0));
    assert_eq!(codes(&done), [Code::UnreadableRow, Code::UnreadableRow]);
    let places: Vec<(u64, &str)> = done.report.findings.iter().map(|f| (f.row, f.explanation.as_str())).collect();
    assert_eq!(places, [(3, "1 cells where the header has 2"), (4, "3 cells where the header has 2")]);
}

#[test]
fn findings_name_the_line_on_which_the_row_begins() {
    let map = mapping(&format!("{GAP}[attributes]\nnote = \"note\"\n"));
    let text = "formula,gap,note\nGaAs,1.42,\"two\nlines\"\nSi,x,\n\n\nGe,y,\r\nInP,z,\n";
    let done = read(&map, text);
    let lines: Vec<(u64, &str)> =
        done.report.findings.iter().map(|f| (f.row, f.value.as_deref().unwrap_or_default())).collect();
    assert_eq!(lines, [(4, "x"), (7, "y"), (8, "z")]);
    assert!(done.report.findings.iter().all(|f| f.file.ends_with("data.csv")));
}

#[test]
fn bytes_of_another_encoding_are_refused_row_by_row() {
    let map = mapping(&format!("{GAP}[attributes]\nnote = \"note\"\n"));
    let text = b"formula,gap,note\nGaAs,1.42,fine\nSi,1.1,M\xfcnchen\nGe,0.67,fine\n";
    let done = try_read(&map, &[("data.csv", text)]).unwrap();
    assert_eq!(counts(&done), (2, 1, 0));
    let found = finding(&done);
    assert_eq!((found.code, found.row, found.severity), (Code::UnreadableRow, 3, Severity::Refused));
    assert!(found.explanation.to_lowercase().contains("utf-8"), "{}", found.explanation);

    for header in [&b"formula,gap,M\xfcnchen\nGaAs,1,2\n"[..], b"\xff\xfef\0o\0r\0m\0,\0g\0\n\0", b"\x80\n"] {
        let error = try_read(&map, &[("data.csv", header)]).unwrap_err();
        assert!(error.to_string().contains("data.csv"), "{error}");
        assert!(matches!(error, JobError::Read(_)));
    }
}

#[test]
fn a_file_without_a_header_is_an_error_and_one_without_rows_is_not() {
    for text in ["", "\n", "\n\n\r\n"] {
        let error = try_read(&mapping(GAP), &[("data.csv", text.as_bytes())]).unwrap_err();
        assert!(matches!(error, JobError::Read(ReadError::NoHeader { .. })), "{text:?}: {error}");
    }
    for text in ["formula,gap", "formula,gap\n", "\u{feff}formula,gap\r\n"] {
        let done = read(&mapping(GAP), text);
        assert_eq!((done.report.rows_read, done.records.len()), (0, 0), "{text:?}");
    }
}

#[test]
fn two_columns_of_one_name_are_an_error() {
    let error = try_read(&mapping(GAP), &[("data.csv", b"formula,gap,gap \nGaAs,1,2\n")]).unwrap_err();
    assert!(error.to_string().contains("two columns are called `gap`"), "{error}");
}

#[test]
fn files_that_cannot_be_opened_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.csv");
    for (path, why) in [(missing.clone(), "cannot read"), (folder.path().to_owned(), "there is no file in it")] {
        let error = read_paths(std::slice::from_ref(&path), &mapping(GAP)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(why) && text.contains(&path.display().to_string()), "{text}");
    }
}

#[test]
fn a_huge_line_is_a_line() {
    let map = mapping(&format!("{GAP}[attributes]\nnote = \"note\"\n"));
    let huge = "x,\n".repeat(2 << 20);
    let text = format!("formula,gap,note\nGaAs,1.42,\"{huge}\"\nSi,1.1,\n");
    let done = read(&map, &text);
    assert_eq!(counts(&done), (2, 0, 0));
    let notes: Vec<&String> = done.records.iter().filter_map(|r| r.attributes.get("note")).collect();
    assert_eq!(notes, [huge.trim_end()]);
    // a quote that is never closed swallows the rest of the file, and the row says so
    let done = read(&map, &format!("formula,gap,note\nGaAs,1.42,\"{}\nSi,1.1,\nGe,0.67,\n", "x".repeat(1 << 20)));
    assert_eq!(done.report.rows_read, 1);
    // many cells where two are wanted
    let done = read(&map, &format!("formula,gap,note\nGaAs,1.42,{}\nSi,1.1,\n", ",".repeat(1 << 20)));
    assert_eq!(counts(&done), (1, 1, 0));
}

#[test]
fn progress_counts_rows_over_all_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for n in 0..2 {
        let path = folder.path().join(format!("{n}.csv"));
        let rows: String = (0..10_000).map(|i| format!("GaAs,{n}.{i:05}\n")).collect();
        std::fs::write(&path, format!("formula,gap\n{rows}")).unwrap();
        files.push(path);
    }
    let scratch = tempfile::tempdir().unwrap();
    let watch = Watch::default();
    assert_eq!((watch.progress().phase, watch.progress().rows), (Phase::Waiting, 0));
    let bytes: u64 = files.iter().map(|path| path.metadata().unwrap().len()).sum();
    let files: Vec<Input> = files.iter().map(|path| Input::from(path.as_path())).collect();
    let request = Request { files, mapping: Some(mapping(GAP)), dataset: None, key: None, report: None, refused: None };
    let accepted = job::read(&request, scratch.path(), &watch).unwrap();
    assert_eq!(accepted.len(), 20_000);
    let progress = watch.progress();
    assert_eq!((progress.rows, progress.bytes_read, progress.bytes_total), (20_000, bytes, bytes));

    let watch = Watch::default();
    watch.cancel();
    assert!(matches!(job::read(&request, scratch.path(), &watch), Err(JobError::Cancelled)));
}
