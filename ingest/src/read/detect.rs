//! Which format is this? By the first bytes, then by the name.

use super::Format;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Rows in this format.
    Rows(Format),
    /// A tape archive.
    Tar,
    /// A zip archive, which a workbook also is.
    Zip,
}

/// Formats that are known by their first bytes and not read, with the mend.
const FOREIGN: [(&[u8], &str); 9] = [
    (b"SQLite format 3", "an SQLite database; write its tables as CSV"),
    (b"%PDF", "a PDF; write its tables as CSV"),
    (b"BZh", "compressed by bzip2; unpack it, or use gzip or zstd"),
    (b"\xfd7zXZ", "compressed by xz; unpack it, or use gzip or zstd"),
    (b"7z\xbc\xaf", "a 7-Zip archive; unpack it, or use tar or zip"),
    (b"Rar!", "a RAR archive; unpack it, or use tar or zip"),
    (b"\x89HDF", "HDF5; write its tables as Parquet or CSV"),
    (b"\x80\x04", "a Python pickle; write it as Parquet, JSON or CSV"),
    (b"\x89PNG", "a picture"),
];

/// Says what a file is. `inside` an archive or folder only what is known by its name or by unmistakable bytes is
/// taken: not every text file there is a table.
pub(super) fn kind(head: &[u8], name: &str, said: Option<Format>, inside: bool) -> Result<Kind, String> {
    let lower = name.to_ascii_lowercase();
    let ending = lower.rsplit_once('.').map_or("", |(_, ending)| ending);
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Ok(match (said, ending) {
            (Some(format @ (Format::Excel | Format::Ods)), _) => Kind::Rows(format),
            (_, "xlsx" | "xlsm" | "xlsb") => Kind::Rows(Format::Excel),
            (_, "ods") => Kind::Rows(Format::Ods),
            _ => Kind::Zip,
        });
    }
    if head.get(257..262) == Some(b"ustar") {
        return Ok(Kind::Tar);
    }
    if head.starts_with(b"PAR1") {
        return Ok(Kind::Rows(Format::Parquet));
    }
    if head.starts_with(b"ARROW1") || head.starts_with(&[0xff; 4]) {
        return Ok(Kind::Rows(Format::Arrow));
    }
    if head.starts_with(&[0xd0, 0xcf, 0x11, 0xe0]) {
        return Ok(Kind::Rows(Format::Excel));
    }
    if let Some((_, what)) = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(format!("it is {what}. {}", understood()));
    }
    let lines = matches!(ending, "jsonl" | "ndjson");
    if let Some(said) = said {
        // the file of refused rows of a document is JSON Lines
        let document = matches!(said, Format::Json | Format::Toml | Format::Yaml);
        return Ok(Kind::Rows(if lines && document { Format::JsonLines } else { said }));
    }
    let by_name = match ending {
        "csv" | "tsv" | "tab" | "psv" => Some(Format::Csv),
        "txt" | "dat" if !inside => Some(Format::Csv),
        "jsonl" | "ndjson" => Some(Format::JsonLines),
        "json" => Some(Format::Json),
        "toml" => Some(Format::Toml),
        "yml" | "yaml" if is_refractive(head) => Some(Format::RefractiveIndex),
        "yml" | "yaml" => Some(Format::Yaml),
        "fcmat" => Some(Format::FreecadCard),
        "cif" => Some(Format::Cif),
        "vasp" | "poscar" | "contcar" => Some(Format::Poscar),
        "xyz" | "extxyz" => Some(Format::Xyz),
        "xls" | "xlsx" | "xlsm" | "xlsb" => Some(Format::Excel),
        "ods" => Some(Format::Ods),
        "parquet" | "pq" => Some(Format::Parquet),
        "arrow" | "feather" | "ipc" | "arrows" => Some(Format::Arrow),
        _ if lower.starts_with("poscar") || lower.starts_with("contcar") => Some(Format::Poscar),
        _ => None,
    };
    if let Some(format) = by_name {
        return Ok(Kind::Rows(format));
    }
    let start = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    if start.len() >= 5 && start[..5].eq_ignore_ascii_case(b"data_") {
        return Ok(Kind::Rows(Format::Cif));
    }
    if start.starts_with(b"{") || start.starts_with(b"[{") || start.starts_with(b"[\n") {
        return Ok(Kind::Rows(Format::Json));
    }
    let wide = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
    if !inside && (wide || !head.contains(&0)) {
        return Ok(Kind::Rows(Format::Csv));
    }
    Err(format!("its format is not known. {}", understood()))
}

/// A page of refractiveindex.info says what it is in its first lines.
fn is_refractive(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    text.contains("refractiveindex.info")
        || (text.contains("DATA:") && (text.contains("type: tabulated") || text.contains("type: formula")))
}

/// What is understood, in words.
pub(super) fn understood() -> String {
    let names: Vec<String> = Format::ALL.iter().map(ToString::to_string).collect();
    format!("Understood are {}; gzip, zstd, tar, zip and folders of these", names.join(", "))
}
