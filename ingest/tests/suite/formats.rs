//! The same table in every format is the same cells; what is hostile is refused.

use std::io::Write;
use std::path::Path;

use ingest::read::{BytesRead, ReadOptions, Row, open};
use ingest::refused::RefusedWriter;
use ingest::report::Code;

type Cells = Vec<(Vec<String>, Vec<Result<Vec<String>, String>>)>;

fn try_all(path: &Path, options: &ReadOptions) -> Result<Cells, String> {
    let mut out = Vec::new();
    for table in open(path, "x", options, &BytesRead::default()).map_err(|e| e.to_string())? {
        let mut table = table.map_err(|e| e.to_string())?;
        let mut rows = Vec::new();
        while let Some(mut chunk) = table.next_chunk() {
            let mut row = Row::default();
            while let Some(read) = chunk.next_row(&mut row) {
                rows.push(read.map(|()| row.cells.iter().map(str::to_owned).collect()).map_err(|bad| bad.why));
            }
        }
        out.push((table.headers().to_vec(), rows));
    }
    Ok(out)
}

fn tables_of(name: &str, bytes: &[u8], options: &ReadOptions) -> Result<Cells, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    try_all(&path, options)
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        out.append_data(&mut header, name, *bytes).unwrap();
    }
    out.into_inner().unwrap()
}

fn xlsx() -> Vec<u8> {
    let mut book = rust_xlsxwriter::Workbook::new();
    let sheet = book.add_worksheet();
    sheet.write_string(0, 0, "formula").unwrap();
    sheet.write_string(0, 1, "gap").unwrap();
    sheet.write_string(1, 0, "GaAs").unwrap();
    sheet.write_number(1, 1, 1.42).unwrap();
    sheet.write_string(2, 0, "Si").unwrap();
    sheet.write_number(2, 1, 1.0).unwrap();
    book.save_to_buffer().unwrap()
}

const CSV: &[u8] = b"formula,gap\nGaAs,1.42\nSi,1\n";

fn spellings() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a.csv", CSV.to_vec()),
        ("a.tsv", b"formula\tgap\nGaAs\t1.42\nSi\t1\n".to_vec()),
        ("a.json", br#"[{"formula":"GaAs","gap":1.42},{"formula":"Si","gap":1.0}]"#.to_vec()),
        ("a.jsonl", b"{\"formula\":\"GaAs\",\"gap\":1.42}\n\n{\"formula\":\"Si\",\"gap\":1}\n".to_vec()),
        ("a.toml", b"[[row]]\nformula = \"GaAs\"\ngap = 1.42\n[[row]]\nformula = \"Si\"\ngap = 1.0\n".to_vec()),
        ("a.yaml", b"- formula: GaAs\n  gap: 1.42\n- formula: Si\n  gap: 1\n".to_vec()),
        ("a.xlsx", xlsx()),
        ("a.ods", ods()),
        ("a.parquet", parquet_file()),
        ("a.arrow", arrow_file()),
        ("a.arrows", arrow_stream()),
        ("a.zip", zipped(&[("in/a.csv", CSV)])),
        ("a.csv.gz", gz(CSV)),
        ("a.csv.zst", zstd::encode_all(CSV, 1).unwrap()),
        ("a.tar", tar(&[("in/a.csv", CSV)])),
        ("a.tar.gz", gz(&tar(&[("in/a.csv", CSV)]))),
    ]
}

#[test]
fn a_typed_number_is_the_number_that_it_is_whatever_the_marks_say() {
    // beside a text with marks: 2,1 and 7.125 as Germans write them
    let mut book = rust_xlsxwriter::Workbook::new();
    let sheet = book.add_worksheet();
    for (row, formula) in [(1, "GaAs"), (2, "Si"), (3, "Ge"), (4, "InP")] {
        sheet.write_string(row, 0, formula).unwrap();
    }
    sheet.write_string(0, 0, "formula").unwrap();
    sheet.write_string(0, 1, "gap").unwrap();
    sheet.write_number(1, 1, 2.1).unwrap();
    sheet.write_number(2, 1, 7.125).unwrap();
    sheet.write_string(3, 1, "1,5").unwrap();
    sheet.write_number(4, 1, 1.25e-7).unwrap();
    let xlsx = book.save_to_buffer().unwrap();
    let json = br#"[{"formula":"GaAs","gap":2.1},{"formula":"Si","gap":7.125},{"formula":"Ge","gap":"1,5"},
                    {"formula":"InP","gap":1.25e-7}]"#;
    let lines = b"{\"formula\":\"GaAs\",\"gap\":2.1}\n{\"formula\":\"Si\",\"gap\":7.125}\n\
                  {\"formula\":\"Ge\",\"gap\":\"1,5\"}\n{\"formula\":\"InP\",\"gap\":1.25e-7}\n";
    let toml = b"[[row]]\nformula = \"GaAs\"\ngap = 2.1\n[[row]]\nformula = \"Si\"\ngap = 7.125\n\
                 [[row]]\nformula = \"Ge\"\ngap = \"1,5\"\n[[row]]\nformula = \"InP\"\ngap = 1.25e-7\n";
    let map = crate::job::mapping(&format!(
        "[read]\ndecimal = \",\"\nthousands = \".\"\n[record]\nid = [\"formula\"]\n{}",
        crate::job::GAP
    ));
    let numbers = |name: &str, bytes: &[u8]| {
        let done = crate::job::try_read(&map, &[(name, bytes)]).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(done.report.findings.is_empty(), "{name}: {:?}", done.report);
        done.records.iter().map(|r| (r.id.clone(), r.measurements[0].value)).collect::<Vec<_>>()
    };
    let want = [("lab/GaAs", 2.1), ("lab/Ge", 1.5), ("lab/InP", 1.25e-7), ("lab/Si", 7.125)];
    let want: Vec<(String, f64)> = want.map(|(id, x)| (id.to_owned(), x)).to_vec();
    for (name, bytes) in [("a.xlsx", &xlsx[..]), ("a.json", json), ("a.jsonl", lines), ("a.toml", toml)] {
        assert_eq!(numbers(name, bytes), want, "{name}");
    }
    for (name, bytes) in [("a.parquet", parquet_file()), ("a.arrow", arrow_file())] {
        let want = vec![("lab/GaAs".to_owned(), 1.42), ("lab/Si".to_owned(), 1.0)];
        assert_eq!(numbers(name, &bytes), want, "{name}");
    }
    // whole numbers have no mark, so ids and attributes stay as they are; a number in an array is read likewise
    let options = ReadOptions { decimal: ',', ..ReadOptions::default() };
    let cells = tables_of("a.json", br#"[{"id":7125,"x":[[0.5,1],[2,3]],"y":0.5}]"#, &options).unwrap();
    assert_eq!(cells[0].1[0].as_ref().unwrap(), &["7125", "[[0.5,1],[2,3]]", "0,5"]);
    let map = crate::job::mapping(&format!("[read]\ndecimal = \",\"\n{}at = [0, 1]\n", crate::job::GAP));
    let done = crate::job::try_read(&map, &[("a.json", br#"[{"formula":"Si","gap":[[1,2.25],[0,0]]}]"#)]).unwrap();
    assert_eq!(done.records[0].measurements[0].value, 2.25, "{:?}", done.report);
}

#[test]
fn the_same_table_in_every_format_is_the_same_cells() {
    let want = tables_of("a.csv", CSV, &ReadOptions::default()).unwrap();
    assert_eq!(want[0].1.len(), 2);
    for (name, bytes) in spellings() {
        assert_eq!(tables_of(name, &bytes, &ReadOptions::default()).unwrap(), want, "{name}");
    }
}

#[test]
fn truncated_files_are_refused_without_a_panic() {
    for (name, bytes) in spellings() {
        for end in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
            let _ = tables_of(name, &bytes[..end], &ReadOptions::default());
        }
    }
}

#[test]
fn a_document_that_unpacks_to_too_much_is_refused() {
    let bomb = gz(&vec![b' '; 257 << 20]);
    let why = tables_of("a.json.gz", &bomb, &ReadOptions::default()).unwrap_err();
    assert!(why.contains("larger than 256 MiB") && why.contains("JSON Lines"), "{why}");
}

#[test]
fn refused_rows_are_read_back_to_the_same_cells() {
    for (name, bytes) in spellings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        let options = ReadOptions::default();
        let mut made = Vec::new();
        for table in open(&path, name, &options, &BytesRead::default()).unwrap() {
            let mut table = table.unwrap();
            let mut writer = RefusedWriter::create(&folder.path().join("refused"), &table);
            while let Some(mut chunk) = table.next_chunk() {
                let mut row = Row::default();
                while let Some(read) = chunk.next_row(&mut row) {
                    read.unwrap();
                    writer.row(&row).unwrap();
                }
            }
            made.extend(writer.finish().unwrap());
        }
        assert_eq!(made.len(), 1, "{name}");
        let want = tables_of("a.csv", CSV, &options).unwrap();
        assert_eq!(try_all(&made[0], &options).unwrap(), want, "{name}");
    }
}

#[test]
fn structure_files_and_cards_are_split() {
    let options = ReadOptions::default();
    let cif = tables_of(
        "a.cif",
        b"data_a\n_cell_length_a 3.1\nloop_\n_x\n_y\n1 2\n3 4\ndata_b\n_cell_length_a 'q r'\n",
        &options,
    );
    let (headers, rows) = cif.unwrap().remove(0);
    assert_eq!(headers, ["data", "_cell_length_a", "structure"]);
    assert_eq!(rows.iter().map(|r| r.as_ref().unwrap()[1].clone()).collect::<Vec<_>>(), ["3.1", "q r"]);
    let (headers, rows) =
        tables_of("a.xyz", b"1\nenergy=-1.5 name=\"a b\"\nH 0 0 0\n1\nenergy=2\nHe 0 0 0\n", &options)
            .unwrap()
            .remove(0);
    assert_eq!(headers, ["energy", "name", "structure"]);
    assert_eq!(rows[0].as_ref().unwrap()[..2], ["-1.5", "a b"]);
    assert_eq!(rows.len(), 2);
    let card = b"[General]\nName = Steel\n[Mechanical]\nDensity = 7900 kg/m^3\n";
    let other = b"[General]\nName = Air\n";
    let (headers, rows) =
        tables_of("cards.tar", &tar(&[("a.FCMat", card), ("b.FCMat", other)]), &options).unwrap().remove(0);
    assert_eq!(headers, ["@file", "Name", "Density"]);
    assert_eq!(rows[0], Ok(vec!["a.FCMat".into(), "Steel".into(), "7900 kg/m^3".into()]));
    assert_eq!(rows[1], Ok(vec!["b.FCMat".into(), "Air".into(), String::new()]));
}

fn batch() -> arrow::array::RecordBatch {
    use arrow::array::{ArrayRef, Float64Array, StringArray};
    let formula: ArrayRef = std::sync::Arc::new(StringArray::from(vec!["GaAs", "Si"]));
    let gap: ArrayRef = std::sync::Arc::new(Float64Array::from(vec![1.42, 1.0]));
    arrow::array::RecordBatch::try_from_iter([("formula", formula), ("gap", gap)]).unwrap()
}

fn parquet_file() -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut out, batch().schema(), None).unwrap();
    writer.write(&batch()).unwrap();
    writer.close().unwrap();
    out
}

fn arrow_file() -> Vec<u8> {
    let mut writer = arrow::ipc::writer::FileWriter::try_new(Vec::new(), &batch().schema()).unwrap();
    writer.write(&batch()).unwrap();
    writer.into_inner().unwrap()
}

fn arrow_stream() -> Vec<u8> {
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &batch().schema()).unwrap();
    writer.write(&batch()).unwrap();
    writer.into_inner().unwrap()
}

fn zipped(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        out.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        out.write_all(bytes).unwrap();
    }
    out.finish().unwrap().into_inner()
}

fn ods() -> Vec<u8> {
    let text =
        |t: &str| format!("<table:table-cell office:value-type=\"string\"><text:p>{t}</text:p></table:table-cell>");
    let number = |x: &str| {
        format!(
            "<table:table-cell office:value-type=\"float\" office:value=\"{x}\"><text:p>{x}</text:p></table:table-cell>"
        )
    };
    let row = |a: String, b: String| format!("<table:table-row>{a}{b}</table:table-row>");
    let rows =
        [row(text("formula"), text("gap")), row(text("GaAs"), number("1.42")), row(text("Si"), number("1"))].concat();
    let office = "urn:oasis:names:tc:opendocument:xmlns";
    let content = format!(
        "<?xml version=\"1.0\"?><office:document-content xmlns:office=\"{office}:office:1.0\" \
         xmlns:table=\"{office}:table:1.0\" xmlns:text=\"{office}:text:1.0\"><office:body><office:spreadsheet>\
         <table:table table:name=\"S\">{rows}</table:table></office:spreadsheet></office:body></office:document-content>"
    );
    zipped(&[
        ("mimetype", b"application/vnd.oasis.opendocument.spreadsheet"),
        ("content.xml", content.as_bytes()),
        ("META-INF/manifest.xml", b"<?xml version=\"1.0\"?><manifest:manifest xmlns:manifest=\"m\"/>"),
    ])
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(600))]
    #[test]
    fn flipped_bytes_and_noise_do_not_panic(
        which in 0_usize..64,
        flips in proptest::collection::vec((proptest::prelude::any::<u32>(), proptest::prelude::any::<u8>()), 1..4),
    ) {
        let mut spellings = spellings();
        spellings.push(("a.cif", b"data_a\n_cell_length_a 3.1\nloop_\n_x\n_y\n1 2\n;\nt\n;\n'q' 4\n".to_vec()));
        spellings.push(("a.xyz", b"1\nenergy=-1.5 name=\"a b\" l=[1 [2] 3]\nH 0 0 0\n".to_vec()));
        spellings.push(("a.FCMat", b"[General]\nName = Steel\n".to_vec()));
        spellings.push(("a.yml", b"DATA:\n  - type: formula 1\n    wavelength_range: 0.2 6\n    coefficients: 0 1 0.1\n".to_vec()));
        let at = which % spellings.len();
        let (name, mut bytes) = spellings.swap_remove(at);
        for (at, byte) in flips {
            let at = at as usize % bytes.len();
            bytes[at] = byte;
        }
        let _ = tables_of(name, &bytes, &ReadOptions::default());
    }
}

#[test]
fn a_workbook_that_unpacks_to_too_much_is_refused() {
    let bomb = zipped(&[("xl/workbook.xml", b"<workbook/>"), ("xl/worksheets/sheet1.xml", &vec![b' '; 257 << 20])]);
    assert!(bomb.len() < 1 << 20);
    let why = tables_of("a.xlsx", &bomb, &ReadOptions::default()).unwrap_err();
    assert!(why.contains("larger than 256 MiB"), "{why}");
}

#[test]
fn a_parquet_footer_that_lies_about_its_rows_is_refused() {
    use parquet::file::metadata::{ParquetMetaDataReader, ParquetMetaDataWriter, RowGroupMetaData};
    let honest = parquet_file();
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&bytes::Bytes::from(honest.clone())).unwrap();
    let footer = u32::from_le_bytes(honest[honest.len() - 8..honest.len() - 4].try_into().unwrap()) as usize;
    let pages = &honest[..honest.len() - 8 - footer];
    let groups: Vec<RowGroupMetaData> =
        metadata.row_groups().iter().map(|g| g.clone().into_builder().set_num_rows(1 << 40).build().unwrap()).collect();
    let lying = metadata.into_builder().set_row_groups(groups).build();
    let mut out = pages.to_vec();
    ParquetMetaDataWriter::new(&mut out, &lying).finish().unwrap();
    let why = tables_of("a.parquet", &out, &ReadOptions::default()).unwrap_err();
    assert!(why.contains("number of rows"), "{why}");
}

#[test]
fn a_line_that_is_too_long_is_refused_and_the_next_is_read() {
    let mut bytes = b"{\"formula\":\"".to_vec();
    bytes.resize(70 << 20, b'x');
    bytes.extend_from_slice(b"\"}\n{\"formula\":\"Si\"}\n");
    let (_, rows) = tables_of("a.jsonl", &bytes, &ReadOptions::default()).unwrap().remove(0);
    assert!(rows[0].as_ref().unwrap_err().contains("longer than 64 MiB"));
    assert_eq!(rows[1], Ok(vec!["Si".to_owned()]));
}

#[test]
fn a_date_in_a_sheet_is_never_a_number() {
    let mut book = rust_xlsxwriter::Workbook::new();
    let sheet = book.add_worksheet();
    sheet.write_string(0, 0, "formula").unwrap();
    let date = rust_xlsxwriter::ExcelDateTime::from_ymd(2026, 2, 2).unwrap();
    let format = rust_xlsxwriter::Format::new().set_num_format("d-mmm");
    sheet.write_datetime_with_format(1, 0, &date, &format).unwrap();
    let bytes = book.save_to_buffer().unwrap();
    let (_, rows) = tables_of("a.xlsx", &bytes, &ReadOptions::default()).unwrap().remove(0);
    assert_eq!(rows, [Ok(vec!["2026-02-02".to_owned()])]);
}

#[test]
fn real_files_give_all_their_rows() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let data = if data.is_dir() { data } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data") };
    if !data.is_dir() {
        eprintln!("SKIPPED: ../shared/data is not here");
        return;
    }
    let read = |path: &str, options: &ReadOptions| {
        let found = try_all(&data.join(path), options).unwrap_or_else(|why| panic!("{path}: {why}"));
        for (_, rows) in &found {
            rows.iter().for_each(|row| assert!(row.is_ok(), "{path}: {row:?}"));
        }
        found
    };
    let entries = ReadOptions { rows: Some("/entries".into()), ..ReadOptions::default() };
    assert_eq!(read("vendorable/nasa_outgassing/nasa_outgassing.json.gz", &entries)[0].1.len(), 13_582);
    let (headers, rows) = read("vendorable/pnnl/pnnl_materials.json", &ReadOptions::default()).remove(0);
    assert_eq!((rows.len(), headers[0].as_str()), (411, "@key"));
    assert!(headers.contains(&"elements.H".to_owned()));
    let (headers, rows) = read("vendorable/engineering/ceramics.toml", &ReadOptions::default()).remove(0);
    let key = |row: &Result<Vec<String>, String>| row.as_ref().unwrap()[0].clone();
    assert!(
        rows.iter().any(|row| key(row) == "alumina.al995") && headers.contains(&"mechanical.density_value".to_owned())
    );
    let pages = ReadOptions { members: vec!["nk/*.yml".into()], ..ReadOptions::default() };
    let (headers, rows) = read("vendorable/refractive_index/database.tar.gz", &pages).remove(0);
    assert!(rows.len() > 1000, "{}", rows.len());
    let place = |name: &str| headers.iter().position(|h| h == name).unwrap();
    let value = |file: &str, column: &str| -> f64 {
        let row = rows.iter().map(|r| r.as_ref().unwrap()).find(|r| r[0].ends_with(file)).unwrap();
        row[place(column)].parse().unwrap()
    };
    assert!((value("SiO2/nk/Malitson.yml", "n_589nm") - 1.4584).abs() < 1e-4);
    assert!((value("Si/nk/Li-293K.yml", "n_1550nm") - 3.48).abs() < 0.01);
    if data.join("tests_only").is_dir() {
        let cards = read("tests_only/freecad_cards", &ReadOptions::default());
        let files = std::fs::read_dir(data.join("tests_only/freecad_cards")).unwrap().count();
        assert_eq!((cards.len(), cards[0].1.len()), (1, files));
    }
}

/// A workbook of sheets with texts and numbers.
fn book(sheets: &[(&str, &[&[&str]])]) -> Vec<u8> {
    let mut book = rust_xlsxwriter::Workbook::new();
    for (name, rows) in sheets {
        let sheet = book.add_worksheet();
        sheet.set_name(*name).unwrap();
        for (row, cells) in rows.iter().enumerate() {
            for (column, cell) in cells.iter().enumerate().filter(|(_, cell)| !cell.is_empty()) {
                match cell.parse::<f64>() {
                    Ok(number) => sheet.write_number(row as u32, column as u16, number).map(drop).unwrap(),
                    Err(_) => sheet.write_string(row as u32, column as u16, *cell).map(drop).unwrap(),
                }
            }
        }
    }
    book.save_to_buffer().unwrap()
}

#[test]
fn refused_rows_of_a_sheet_are_in_a_sheet_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tests.xlsx");
    let rows: &[&[&str]] = &[&["Wear lab, series 7"], &["formula", "gap"], &["Si", "1.1"], &["Xx", "2"]];
    std::fs::write(&path, book(&[("Read me", &[&["ask Ann"]]), ("Tests", rows)])).unwrap();
    let options = ReadOptions { sheet: Some("Tests".into()), skip: 1, ..ReadOptions::default() };
    let open =
        |path: &Path| ingest::read::open(path, "tests.xlsx", &options, &BytesRead::default()).unwrap().next().unwrap();
    let mut table = open(&path).unwrap();
    let mut writer = RefusedWriter::create(folder.path(), &table);
    let mut chunk = table.next_chunk().unwrap();
    let mut row = ingest::read::Row::default();
    while let Some(read) = chunk.next_row(&mut row) {
        read.unwrap();
        if row.cells.get(0) == Some("Xx") {
            writer.row(&row).unwrap();
        }
    }
    let [written] = writer.finish().unwrap().try_into().unwrap();
    let mut again = open(&written).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(again.headers(), ["formula", "gap"]);
    let mut chunk = again.next_chunk().unwrap();
    chunk.next_row(&mut row).unwrap().unwrap();
    assert_eq!(row.cells.iter().collect::<Vec<_>>(), ["Xx", "2"]);
}

#[test]
fn headers_that_are_none_are_named_with_the_way_out() {
    let read = |name: &str, bytes: &[u8]| tables_of(name, bytes, &ReadOptions::default()).unwrap_err();
    let titled: &[&[&str]] = &[&["Wear lab, series 7"], &["formula", "gap"], &["Si", "1.1"]];
    let said = read("a.xlsx", &book(&[("Tests", titled)]));
    assert!(said.contains("`Wear lab, series 7`") && said.contains("skip = 1"), "{said}");
    let said = read("a.xlsx", &book(&[("Tests", &titled[1..]), ("Readme", titled)]));
    assert!(said.contains("Readme") && said.contains("say sheet in [read]: `Tests`, `Readme`"), "{said}");
    let said = read("a.csv", b"Wear lab;;\nformula;gap;T\nSi;1;2\n");
    assert!(said.contains("no name") && said.contains("skip = 1"), "{said}");
    let said = read("a.csv", b"gap,gap\n1,2\n");
    assert!(said.contains("two columns are called `gap`") && said.contains("`columns` in [read]"), "{said}");
    let said = read("a.csv", b"\x00a\x00,\x00b\x00\n\x001\x00,\x002\x00\n");
    assert!(said.contains("no text") && said.contains("utf-16le"), "{said}");
    let said = read("a.csv", b"Gr\xfc\xdfe,b\n1,2\n");
    assert!(said.contains("latin-1") && said.contains("Windows-1252"), "{said}");
    // bad rows below a good header are refused one by one
    let (_, rows) =
        tables_of("a.csv", b"a,b\nGr\xfc\xdfe,2\nGr\xc3\xbcn,3\n", &ReadOptions::default()).unwrap().remove(0);
    assert!(rows[0].is_err() && rows[1].is_ok(), "{rows:?}");
}

#[test]
fn a_member_that_is_not_understood_is_named_with_the_way_to_leave_it_out() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), "formula,gap\nSi,1\n").unwrap();
    std::fs::write(folder.path().join("notes.docx"), b"PK\x03\x04 broken").unwrap();
    let why = try_all(folder.path(), &ReadOptions::default()).unwrap_err();
    assert!(why.contains("notes.docx") && why.contains("members = ["), "{why}");
    let options = ReadOptions { members: vec![".csv".into()], ..ReadOptions::default() };
    assert_eq!(try_all(folder.path(), &options).unwrap().len(), 1);
}

#[test]
fn a_finding_names_the_file_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let cards = folder.path().join("cards");
    std::fs::create_dir(&cards).unwrap();
    std::fs::write(cards.join("Air.FCMat"), "Name = Air\nDensity = 1.2 kg/m^3\n").unwrap();
    std::fs::write(cards.join("Argon.FCMat"), "Name = Argon\nDensity = much\n").unwrap();
    let text = "material = { name = \"Name\" }\ndefaults = { evidence = \"measured\" }\n[[value]]\ncolumn = \"Density\"\nproperty = \"density\"\n";
    let map = crate::job::mapping(text);
    let done = crate::job::read_paths(&[cards], &map).unwrap();
    let found = crate::job::finding(&done);
    assert!(found.file.ends_with("cards/Argon.FCMat") && found.row == 1, "{found:?}");
    // also what is found when all rows are read: that one says again what another says, or something else
    std::fs::write(folder.path().join("cards/Argon.FCMat"), "Name = Air\nDensity = 7.9 g/cm^3\n").unwrap();
    std::fs::write(folder.path().join("cards/Breath.FCMat"), "Name = Air\nDensity = 1.2 kg/m^3\n").unwrap();
    let found = |text: &str| -> Vec<(Code, String)> {
        let done = crate::job::read_paths(&[folder.path().join("cards")], &crate::job::mapping(text)).unwrap();
        assert!(done.report.findings.iter().all(|f| f.row == 1));
        let name = |file: &str| file.rsplit('/').next().unwrap().to_owned();
        done.report.findings.iter().map(|f| (f.code, name(&f.file))).collect()
    };
    assert_eq!(found(text), [(Code::ConflictingValues, "Argon.FCMat".to_owned())]);
    let by_name = format!("record = {{ id = [\"Name\"] }}\n{text}");
    let [other, same] =
        [(Code::DuplicateId, "Argon.FCMat".to_owned()), (Code::DuplicateRow, "Breath.FCMat".to_owned())];
    assert_eq!(found(&by_name), [other, same]);
}
