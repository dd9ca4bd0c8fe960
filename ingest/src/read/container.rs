//! Which files are in this folder or archive, and which tables are in each?
//!
//! Members are read one after the other. Files that are one material each (cards, refractive-index pages, POSCAR and
//! small CIF files) are gathered into one table with the column `@file`, so that one mapping fits them all. A member
//! that is not understood is an error of its own in the list of tables, never passed over in silence. Passed over are:
//! members that `members` of the mapping leaves out, names that begin with a dot, and folders.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::detect::{self, Kind};
use super::entries::{self, Entry, Lines, Pieces};
use super::input::Input;
use super::refractive::{self, Page};
use super::structures::{self, CifBlocks};
use super::{BadRow, BytesRead, Format, ReadError, ReadOptions, Table, Tables, card, columnar, csv, document, sheet};

/// Entries of one format that become one table, and the bytes that they take.
type Waiting = (Format, Vec<Result<Entry, BadRow>>, usize);

/// Archives inside archives are opened so deep, and folders inside folders.
const MAX_ARCHIVES: usize = 4;
const MAX_FOLDERS: usize = 64;
/// The most files of a folder.
const MAX_FILES: usize = 1 << 20;
/// Gathered entries become a table when they are as large as this together.
const GATHERED_BYTES: usize = 64 << 20;

/// The tables of a file.
pub(super) fn tables(input: Input, options: &ReadOptions, depth: usize) -> Result<Tables, ReadError> {
    let inside = depth > 0;
    let head = input.head()?;
    let kind = detect::kind(&head, &input.plain_name, options.format, inside).map_err(|why| input.bad(why))?;
    let archive_allowed = || match depth < MAX_ARCHIVES {
        true => Ok(()),
        false => Err(input.bad(format!("it is an archive inside {depth} others; unpack it first"))),
    };
    match kind {
        Kind::Rows(format) => rows(&input, format, options, inside),
        Kind::Tar => {
            archive_allowed()?;
            let members = TarMembers { reader: input.reader()?, shown: input.shown.clone(), ended: false };
            Ok(gather(Box::new(members), &input, options, depth))
        }
        Kind::Zip => {
            let archive = match input.seekable()? {
                super::input::Seekable::File(file) => ZipFile::File(file),
                super::input::Seekable::Memory(bytes) => ZipFile::Memory(std::io::Cursor::new(bytes)),
            };
            let archive =
                zip::ZipArchive::new(archive).map_err(|e| input.bad(format!("the zip archive is damaged: {e}")))?;
            let has = |name: &str| archive.index_for_name(name).is_some();
            if has("xl/workbook.xml") || has("xl/workbook.bin") {
                return sheet::open(&input, Format::Excel, options);
            }
            if has("content.xml") && has("mimetype") {
                return sheet::open(&input, Format::Ods, options);
            }
            archive_allowed()?;
            let members = ZipMembers { archive, shown: input.shown.clone(), next: 0 };
            Ok(gather(Box::new(members), &input, options, depth))
        }
    }
}

/// The tables of a folder.
pub(super) fn folder(path: &Path, shown: &str, options: &ReadOptions, read: &BytesRead) -> Tables {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let files = FolderFiles {
        stack: vec![(path.to_owned(), String::new(), 0)],
        shown: shown.to_owned(),
        read: read.clone(),
        seen: 0,
    };
    Box::new(Gather::new(Box::new(files), shown.to_owned(), name, options.clone(), 1))
}

fn gather(members: Box<dyn Members>, input: &Input, options: &ReadOptions, depth: usize) -> Tables {
    Box::new(Gather::new(members, input.shown.clone(), input.name.clone(), options.clone(), depth + 1))
}

/// The tables of a file that is no archive.
fn rows(input: &Input, format: Format, options: &ReadOptions, inside: bool) -> Result<Tables, ReadError> {
    let (shown, name) = (input.shown.clone(), input.name.clone());
    let lines = || Ok::<Lines, ReadError>(Lines::new(input.silent_reader()?));
    let counted = || Ok::<Lines, ReadError>(Lines::new(input.reader()?));
    let by_name = input.plain_name.to_ascii_lowercase();
    let lined = by_name.ends_with(".jsonl") || by_name.ends_with(".ndjson");
    let table = match format {
        Format::Csv => {
            let mut options = options.clone();
            if options.separator.is_none() && (by_name.ends_with(".tsv") || by_name.ends_with(".tab")) {
                options.separator = Some('\t');
            }
            csv::open(input.reader()?, shown, name, &options)?
        }
        Format::Excel | Format::Ods => return sheet::open(input, format, options),
        Format::JsonLines => document::open_lines(input, format, options)?,
        Format::Pymatgen | Format::Optimade if lined => document::open_lines(input, format, options)?,
        Format::Json | Format::Toml | Format::Yaml | Format::Pymatgen | Format::Optimade => {
            document::open(input, format, options)?
        }
        Format::Parquet | Format::Arrow => columnar::open(input, format, options)?,
        Format::Cif => {
            let (mut first, again) = (CifBlocks::new(lines()?), Box::new(CifBlocks::new(counted()?)));
            entries::streamed(shown, name, format, &mut first, again, (structures::cif, options.decimal))?
        }
        Format::Xyz => {
            let mut first = structures::XyzFrames::new(lines()?);
            let again = Box::new(structures::XyzFrames::new(counted()?));
            entries::streamed(shown, name, format, &mut first, again, (structures::xyz, options.decimal))?
        }
        Format::FreecadCard | Format::RefractiveIndex | Format::Poscar => {
            let mut names = Names::default();
            let read = one(input, &input.shown, format, &mut names)?;
            let read = read.ok_or_else(|| input.bad("the file says nothing of a material; name its folder instead"))?;
            if inside {
                return Err(input.bad("it belongs into a table with others"));
            }
            entries::in_memory(shown, name, format, vec![read])?
        }
    };
    Ok(Box::new(std::iter::once(Ok(table))))
}

/// Names of materials, from `about.yml`, by folder.
type Names = std::collections::HashMap<String, Vec<String>>;

/// The entry of a file that is one row; `None` for one that only helps others.
fn one(
    input: &Input,
    path: &str,
    format: Format,
    names: &mut Names,
) -> Result<Option<Result<Entry, BadRow>>, ReadError> {
    let text = input.text()?;
    let read = match format {
        Format::FreecadCard => card::cells(&text).map(Some),
        Format::RefractiveIndex => match refractive::page(&text, path) {
            Ok(Page::Data(cells)) => Ok(Some(cells)),
            Ok(Page::About(list)) => {
                names.insert(refractive::material(path).0.to_owned(), list);
                Ok(None)
            }
            Ok(Page::Catalogue) => Ok(None),
            Err(why) => Err(why),
        },
        _ => structures::poscar(&text),
    };
    Ok(match read {
        Ok(None) => None,
        Ok(Some(cells)) => Some(Ok(Entry { line: 1, cells, raw: Some(text.into_boxed_str()) })),
        Err(why) => Some(Err(BadRow { line: 1, why, raw: Some(text.into_bytes()) })),
    })
}

/// A member: its path inside, and its bytes or why there are none.
type Member = (String, Result<Input, ReadError>);

trait Members: Send {
    /// The next member that `wanted` takes.
    fn next_member(&mut self, wanted: &dyn Fn(&str) -> bool) -> Option<Member>;
}

struct Gather {
    members: Box<dyn Members>,
    shown: String,
    name: String,
    options: ReadOptions,
    depth: usize,
    /// Tables of the current member.
    current: Option<Tables>,
    /// Entries that wait to become a table, by format.
    waiting: Vec<Waiting>,
    names: Names,
    found: bool,
    ended: bool,
}

impl Gather {
    fn new(members: Box<dyn Members>, shown: String, name: String, options: ReadOptions, depth: usize) -> Gather {
        let (waiting, names) = (Vec::new(), Names::default());
        Gather { members, shown, name, options, depth, current: None, waiting, names, found: false, ended: false }
    }

    fn add(&mut self, format: Format, path: &str, read: Result<Entry, BadRow>) -> Option<Result<Table, ReadError>> {
        let at = match self.waiting.iter().position(|(f, _, _)| *f == format) {
            Some(at) => at,
            None => {
                self.waiting.push((format, Vec::new(), 0));
                self.waiting.len() - 1
            }
        };
        let (_, entries, bytes) = self.waiting.get_mut(at)?;
        let place = entries.len() as u64 + 1;
        let read = match read {
            Ok(mut entry) => {
                entry.line = place;
                entry.cells.insert(0, ("@file".to_owned(), path.to_owned()));
                let raw = entry.raw.as_ref().map_or(0, |raw| raw.len());
                *bytes += raw + entry.cells.iter().map(|(k, v)| k.len() + v.len() + 48).sum::<usize>();
                Ok(entry)
            }
            Err(bad) => {
                *bytes += bad.raw.as_ref().map_or(0, Vec::len);
                Err(BadRow { line: place, why: format!("{path}: {}", bad.why), ..bad })
            }
        };
        entries.push(read);
        (*bytes > GATHERED_BYTES)
            .then(|| self.waiting.remove(at))
            .map(|(format, entries, _)| self.table(format, entries))
    }

    fn table(&self, format: Format, mut entries: Vec<Result<Entry, BadRow>>) -> Result<Table, ReadError> {
        if format == Format::RefractiveIndex && !self.names.is_empty() {
            for entry in entries.iter_mut().flatten() {
                let folder = entry.cells.iter().find(|(key, _)| key == "material").map(|(_, folder)| folder);
                let names = folder.and_then(|folder| self.names.get(folder));
                let (name, others) = match names.and_then(|names| names.split_first()) {
                    Some((name, others)) => (name.clone(), others.join("; ")),
                    None => (String::new(), String::new()),
                };
                entry.cells.insert(2, ("name".to_owned(), name));
                entry.cells.insert(3, ("other_names".to_owned(), others));
            }
        }
        entries::in_memory(self.shown.clone(), self.name.clone(), format, entries)
    }

    fn member(&mut self, path: &str, input: Input) -> Option<Result<Table, ReadError>> {
        let head = match input.head() {
            Ok(head) => head,
            Err(e) => return Some(Err(e)),
        };
        let kind = detect::kind(&head, &input.plain_name, self.options.format, true);
        let several = |e: ReadError| match e {
            ReadError::BadFile { path, why } => {
                let why = format!(
                    "{why}. To read only some files of a folder or archive, say members = [\".cif\"] in [read]"
                );
                ReadError::BadFile { path, why }
            }
            other => other,
        };
        match kind {
            Ok(Kind::Rows(format @ (Format::FreecadCard | Format::RefractiveIndex | Format::Poscar))) => {
                match one(&input, path, format, &mut self.names) {
                    Ok(Some(read)) => self.add(format, path, read),
                    Ok(None) => None,
                    Err(e) => Some(Err(e)),
                }
            }
            Ok(Kind::Rows(Format::Cif)) if head.len() < super::input::HEAD => {
                let reader = match input.reader() {
                    Ok(reader) => reader,
                    Err(e) => return Some(Err(e)),
                };
                let mut blocks = CifBlocks::new(Lines::new(reader));
                let mut made = None;
                while let Some(piece) = blocks.next_piece() {
                    let read = piece.and_then(|piece| match structures::cif(&piece.text, '.') {
                        Ok(cells) => Ok(Entry {
                            line: piece.line,
                            cells: cells.unwrap_or_default(),
                            raw: Some(piece.text.into_boxed_str()),
                        }),
                        Err(why) => Err(BadRow { line: piece.line, why, raw: Some(piece.text.into_bytes()) }),
                    });
                    // so few bytes fill a table at most once
                    made = self.add(Format::Cif, path, read).or(made);
                }
                made
            }
            _ => match tables(input, &self.options, self.depth) {
                Ok(tables) => {
                    self.current = Some(tables);
                    None
                }
                Err(e) => Some(Err(several(e))),
            },
        }
    }
}

impl Iterator for Gather {
    type Item = Result<Table, ReadError>;

    fn next(&mut self) -> Option<Result<Table, ReadError>> {
        loop {
            if let Some(table) = self.current.as_mut().and_then(Iterator::next) {
                self.found = true;
                return Some(table);
            }
            self.current = None;
            if self.ended {
                if !self.waiting.is_empty() {
                    let (format, entries, _) = self.waiting.remove(0);
                    return Some(self.table(format, entries));
                }
                if self.found {
                    return None;
                }
                self.found = true;
                let why = match self.options.members.is_empty() {
                    true => "there is no file in it".to_owned(),
                    false => format!("no file in it ends with {}", self.options.members.join(", ")),
                };
                return Some(Err(ReadError::BadFile { path: PathBuf::from(&self.shown), why }));
            }
            let patterns = &self.options.members;
            let wanted = |path: &str| {
                let hidden = path.split('/').any(|part| part.starts_with('.') && part != "." || part == "__MACOSX");
                let companion = path.ends_with("/about.yml");
                !hidden && (patterns.is_empty() || companion || patterns.iter().any(|p| ends_so(path, p)))
            };
            let Some((path, input)) = self.members.next_member(&wanted) else {
                self.ended = true;
                continue;
            };
            let made = match input {
                Ok(input) => {
                    self.found = true;
                    self.member(&path, input)
                }
                Err(e) => {
                    self.found = true;
                    Some(Err(e))
                }
            };
            if made.is_some() {
                return made;
            }
        }
    }
}

/// Does a path end so? `*` stands for anything within a name.
pub(super) fn ends_so(path: &str, pattern: &str) -> bool {
    let mut parts = pattern.rsplit('*');
    let Some(mut rest) = path.strip_suffix(parts.next().unwrap_or_default()) else { return false };
    for part in parts {
        let from = rest.rfind('/').map_or(0, |slash| slash + 1);
        // a star does not go over a folder's mark, so the part before it must end in this name or at its beginning
        let found = rest.rfind(part).filter(|at| at + part.len() >= from);
        let Some(at) = found else { return false };
        rest = &rest[..at];
    }
    true
}

/// A part of an archive under its name: neither absolute nor above the archive.
fn clean(path: &str) -> String {
    let parts = path.split(['/', '\\']).filter(|part| !matches!(*part, "" | "." | ".."));
    parts.collect::<Vec<_>>().join("/")
}

fn file_name(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

struct TarMembers {
    reader: Box<dyn Read + Send>,
    shown: String,
    ended: bool,
}

impl TarMembers {
    /// The next header and what is behind it; the reader stands behind the member after that.
    fn step(&mut self, wanted: &dyn Fn(&str) -> bool) -> std::io::Result<Option<Option<Member>>> {
        let (size, member) = {
            let mut archive = tar::Archive::new(&mut self.reader);
            let Some(entry) = archive.entries()?.next() else { return Ok(None) };
            let mut entry = entry?;
            let size = entry.size();
            let path = clean(&String::from_utf8_lossy(&entry.path_bytes()));
            let shown = format!("{}/{path}", self.shown);
            let kind = entry.header().entry_type();
            let member = if kind.is_file() && wanted(&path) {
                let name = file_name(&path);
                Some((path, Input::member(&mut entry, shown, name)))
            } else if (kind.is_symlink() || kind.is_hard_link() || kind.is_gnu_sparse()) && wanted(&path) {
                let why = "links and sparse files of an archive are not followed; unpack it first".to_owned();
                Some((path, Err(ReadError::BadFile { path: PathBuf::from(shown), why })))
            } else {
                None
            };
            std::io::copy(&mut entry, &mut std::io::sink())?;
            (size, member)
        };
        let padding = (512 - size % 512) % 512;
        std::io::copy(&mut (&mut self.reader).take(padding), &mut std::io::sink())?;
        Ok(Some(member))
    }
}

impl Members for TarMembers {
    fn next_member(&mut self, wanted: &dyn Fn(&str) -> bool) -> Option<Member> {
        while !self.ended {
            match self.step(wanted) {
                Ok(None) => self.ended = true,
                Ok(Some(None)) => {}
                Ok(Some(Some(member))) => return Some(member),
                Err(e) => {
                    self.ended = true;
                    let why = format!("the archive is damaged, and nothing behind can be read: {e}");
                    let path = PathBuf::from(&self.shown);
                    return Some((String::new(), Err(ReadError::BadFile { path, why })));
                }
            }
        }
        None
    }
}

enum ZipFile {
    File(std::fs::File),
    Memory(std::io::Cursor<Vec<u8>>),
}

impl Read for ZipFile {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        match self {
            ZipFile::File(file) => file.read(out),
            ZipFile::Memory(bytes) => bytes.read(out),
        }
    }
}

impl std::io::Seek for ZipFile {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        match self {
            ZipFile::File(file) => file.seek(to),
            ZipFile::Memory(bytes) => bytes.seek(to),
        }
    }
}

struct ZipMembers {
    archive: zip::ZipArchive<ZipFile>,
    shown: String,
    next: usize,
}

impl Members for ZipMembers {
    fn next_member(&mut self, wanted: &dyn Fn(&str) -> bool) -> Option<Member> {
        while self.next < self.archive.len() {
            let at = self.next;
            self.next += 1;
            let damaged = |path: String, e: &dyn std::fmt::Display| {
                let why = format!("this member of the archive cannot be read: {e}");
                Some((path.clone(), Err(ReadError::BadFile { path: format!("{}/{path}", self.shown).into(), why })))
            };
            match self.archive.by_index(at) {
                Err(e) => return damaged(format!("member {}", at + 1), &e),
                Ok(mut file) => {
                    let path = match file.name() {
                        Ok(name) => clean(&name),
                        Err(e) => return damaged(format!("member {}", at + 1), &e),
                    };
                    if file.is_dir() || !wanted(&path) {
                        continue;
                    }
                    let shown = format!("{}/{path}", self.shown);
                    let name = file_name(&path);
                    let input = Input::member(&mut file, shown, name);
                    return Some((path, input));
                }
            }
        }
        None
    }
}

struct FolderFiles {
    /// What is still to be looked at, the next one last: path, path inside, depth.
    stack: Vec<(PathBuf, String, usize)>,
    shown: String,
    read: BytesRead,
    seen: usize,
}

impl Members for FolderFiles {
    fn next_member(&mut self, wanted: &dyn Fn(&str) -> bool) -> Option<Member> {
        while let Some((path, inside, depth)) = self.stack.pop() {
            let shown = match inside.is_empty() {
                true => self.shown.clone(),
                false => format!("{}/{inside}", self.shown.trim_end_matches(['/', '\\'])),
            };
            let bad = |why: String| Err(ReadError::BadFile { path: PathBuf::from(&shown), why });
            let unreadable = |why| ReadError::Unreadable { path: PathBuf::from(&shown), why };
            // the folder that was named may itself be a link; what is inside may not
            let kind = match if depth == 0 { path.metadata() } else { path.symlink_metadata() } {
                Ok(kind) => kind,
                Err(why) => return Some((inside, Err(unreadable(why)))),
            };
            if kind.is_dir() {
                if depth == MAX_FOLDERS {
                    return Some((inside, bad(format!("folders are nested more than {MAX_FOLDERS} deep"))));
                }
                let mut names = match std::fs::read_dir(&path).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
                    Ok(names) => names.into_iter().map(|e| e.file_name()).collect::<Vec<_>>(),
                    Err(why) => return Some((inside, Err(unreadable(why)))),
                };
                self.seen += names.len();
                if self.seen > MAX_FILES {
                    self.stack.clear();
                    return Some((inside, bad(format!("there are more than {MAX_FILES} files; pack them into a tar"))));
                }
                names.sort();
                for name in names.into_iter().rev() {
                    let text = name.to_string_lossy();
                    let below = if inside.is_empty() { text.into_owned() } else { format!("{inside}/{text}") };
                    self.stack.push((path.join(&name), below, depth + 1));
                }
            } else if !wanted(&inside) {
            } else if kind.is_file() {
                return Some((inside, Input::file(path, shown, &self.read)));
            } else {
                return Some((inside, bad("links and devices in a folder are not followed; name the file".to_owned())));
            }
        }
        None
    }
}
