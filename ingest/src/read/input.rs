//! Where do the bytes come from? A file, a member of an archive in memory or spooled to disk, behind gzip or zstd.

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::{BytesRead, Counted, ReadError};

/// The largest document that is read as a whole, bytes after decompression.
pub(super) const MAX_DOCUMENT: u64 = 256 << 20;
/// First bytes by which a format is known.
pub(super) const HEAD: usize = 64 << 10;
/// A member of an archive that is larger is put in a temporary file.
const IN_MEMORY: usize = 16 << 20;
/// The largest member of an archive.
const MAX_MEMBER: u64 = 8 << 30;
/// Compression inside compression is followed so deep.
const MAX_CODECS: usize = 3;

#[derive(Clone)]
enum Stored {
    File(PathBuf),
    Memory(Arc<[u8]>),
    Spooled(Arc<Mutex<File>>),
}

#[derive(Clone, Copy)]
enum Codec {
    Gzip,
    Zstd,
}

/// Bytes that can be read more than once.
#[derive(Clone)]
pub(super) struct Input {
    /// How findings name it.
    pub(super) shown: String,
    /// The file's name, without folders.
    pub(super) name: String,
    /// The name without the endings of the compression.
    pub(super) plain_name: String,
    stored: Stored,
    codecs: Vec<Codec>,
    read: BytesRead,
}

/// What random access is possible to.
pub(super) enum Seekable {
    /// A plain file.
    File(File),
    /// All bytes.
    Memory(Vec<u8>),
}

impl Input {
    /// A file of the file system, behind whatever compression its first bytes say.
    pub(super) fn file(path: PathBuf, shown: String, read: &BytesRead) -> Result<Input, ReadError> {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Input::new(Stored::File(path), shown, name, read.clone())
    }

    /// A member of an archive: its bytes are read here and now.
    pub(super) fn member(reader: &mut dyn Read, shown: String, name: String) -> Result<Input, ReadError> {
        let spooled = spool(reader).map_err(|why| ReadError::Unreadable { path: PathBuf::from(&shown), why })?;
        Input::new(spooled, shown, name, BytesRead::default())
    }

    fn new(stored: Stored, shown: String, name: String, read: BytesRead) -> Result<Input, ReadError> {
        let mut input = Input { shown, plain_name: name.clone(), name, stored, codecs: Vec::new(), read };
        loop {
            let head = input.head()?;
            let codec = match head.as_slice() {
                [0x1f, 0x8b, ..] => Codec::Gzip,
                [0x28, 0xb5, 0x2f, 0xfd, ..] => Codec::Zstd,
                // a skippable frame may stand before the data
                [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Codec::Zstd,
                _ => return Ok(input),
            };
            if input.codecs.len() == MAX_CODECS {
                return Err(input.bad(format!("it is compressed more than {MAX_CODECS} times over; unpack it first")));
            }
            input.codecs.push(codec);
            let lower = input.plain_name.to_ascii_lowercase();
            for ending in [".gz", ".gzip", ".zst", ".zstd"] {
                if lower.ends_with(ending) {
                    input.plain_name.truncate(lower.len() - ending.len());
                    break;
                }
            }
            if lower.ends_with(".tgz") {
                input.plain_name.truncate(lower.len() - 3);
                input.plain_name.push_str("tar");
            }
        }
    }

    pub(super) fn bad(&self, why: impl Into<String>) -> ReadError {
        ReadError::BadFile { path: PathBuf::from(&self.shown), why: why.into() }
    }

    pub(super) fn unreadable(&self, why: std::io::Error) -> ReadError {
        ReadError::Unreadable { path: PathBuf::from(&self.shown), why }
    }

    /// The bytes from the beginning. Only one reader of an input is used at a time.
    pub(super) fn reader(&self) -> Result<Box<dyn Read + Send>, ReadError> {
        self.reader_counted(&self.read)
    }

    /// The same, without counting for the progress: for what is read twice.
    pub(super) fn silent_reader(&self) -> Result<Box<dyn Read + Send>, ReadError> {
        self.reader_counted(&BytesRead::default())
    }

    fn reader_counted(&self, read: &BytesRead) -> Result<Box<dyn Read + Send>, ReadError> {
        let mut reader: Box<dyn Read + Send> = match &self.stored {
            Stored::File(path) => {
                let file = File::open(path).map_err(|why| self.unreadable(why))?;
                Box::new(Counted { inner: file, read: read.clone() })
            }
            Stored::Memory(bytes) => Box::new(Cursor::new(Arc::clone(bytes))),
            Stored::Spooled(file) => Box::new(SpooledReader { file: Arc::clone(file), at: 0 }),
        };
        for codec in &self.codecs {
            reader = match codec {
                Codec::Gzip => Box::new(flate2::read::MultiGzDecoder::new(reader)),
                Codec::Zstd => Box::new(zstd::stream::read::Decoder::new(reader).map_err(|why| self.unreadable(why))?),
            };
        }
        Ok(reader)
    }

    /// The first bytes; fewer where reading fails, for the failure comes again when the rows are read.
    pub(super) fn head(&self) -> Result<Vec<u8>, ReadError> {
        let mut reader = self.silent_reader()?.take(HEAD as u64);
        let mut head = Vec::new();
        match reader.read_to_end(&mut head) {
            Err(why) if head.is_empty() => Err(self.unreadable(why)),
            _ => Ok(head),
        }
    }

    /// All bytes of a document.
    pub(super) fn whole(&self) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        let mut reader = self.reader()?.take(MAX_DOCUMENT + 1);
        reader.read_to_end(&mut bytes).map_err(|why| self.unreadable(why))?;
        if bytes.len() as u64 > MAX_DOCUMENT {
            return Err(self.bad(format!(
                "it is larger than {} MiB, and this format is read as a whole; write it as JSON Lines, CSV or \
                 uncompressed Parquet, which may be of any size",
                MAX_DOCUMENT >> 20
            )));
        }
        Ok(bytes)
    }

    /// All text of a document, without a byte-order mark.
    pub(super) fn text(&self) -> Result<String, ReadError> {
        let text = String::from_utf8(self.whole()?).map_err(|e| {
            self.bad(format!("the text is not UTF-8 (byte {}); convert it first", e.utf8_error().valid_up_to()))
        })?;
        Ok(match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        })
    }

    /// For formats that jump about in their file.
    pub(super) fn seekable(&self) -> Result<Seekable, ReadError> {
        match &self.stored {
            Stored::File(path) if self.codecs.is_empty() => {
                Ok(Seekable::File(File::open(path).map_err(|why| self.unreadable(why))?))
            }
            _ => Ok(Seekable::Memory(self.whole()?)),
        }
    }
}

fn spool(reader: &mut dyn Read) -> std::io::Result<Stored> {
    let mut bytes = Vec::new();
    reader.take(IN_MEMORY as u64).read_to_end(&mut bytes)?;
    if bytes.len() < IN_MEMORY {
        return Ok(Stored::Memory(Arc::from(bytes)));
    }
    let mut file = tempfile::tempfile()?;
    file.write_all(&bytes)?;
    drop(bytes);
    let copied = std::io::copy(&mut reader.take(MAX_MEMBER + 1), &mut file)?;
    if copied > MAX_MEMBER {
        return Err(std::io::Error::other(format!("it is larger than {} GiB; unpack it first", MAX_MEMBER >> 30)));
    }
    Ok(Stored::Spooled(Arc::new(Mutex::new(file))))
}

/// A reader of its own position over a shared file.
struct SpooledReader {
    file: Arc<Mutex<File>>,
    at: u64,
}

impl Read for SpooledReader {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.at))?;
        let n = file.read(out)?;
        self.at += n as u64;
        Ok(n)
    }
}
