//! The same table in every format is the same cells; what is hostile is refused.

use std::io::Write;
use std::path::Path;

use ingest::read::{BytesRead, ReadOptions, Row, open};
use ingest::refused::RefusedWriter;

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
        ("a.csv.gz", gz(CSV)),
        ("a.csv.zst", zstd::encode_all(CSV, 1).unwrap()),
        ("a.tar", tar(&[("in/a.csv", CSV)])),
        ("a.tar.gz", gz(&tar(&[("in/a.csv", CSV)]))),
    ]
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
