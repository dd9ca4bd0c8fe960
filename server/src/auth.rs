//! Who may send data in? Whoever has the ingest token, until there are keys of single users.
//!
//! The token comes from a file or the environment, never from the command line, which other users of the machine can
//! read. It is compared in constant time and shown nowhere: its `Debug` is a placeholder, and [`hide`] marks the header
//! that carries it before anything could log it.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use index::scope::Viewer;
use subtle::ConstantTimeEq as _;

use crate::problem::Problem;
use crate::state::AppState;

/// The fewest characters of a token.
pub const MIN_TOKEN: usize = 16;

/// The most bytes that are read of a token's file.
const MAX_TOKEN_FILE: u64 = 4096;

/// The secret that allows ingest.
#[derive(Clone)]
pub struct Token(Arc<[u8]>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Why a text cannot be the token. Says nothing of the text.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read the ingest token from {path}: {why}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the operating system says.
        why: std::io::Error,
    },
    /// It is too short to be safe.
    #[error(
        "the ingest token of {from} has {length} characters and needs {MIN_TOKEN} or more: \
         make one with `head -c 32 /dev/urandom | base64`"
    )]
    Short {
        /// Where it is from.
        from: String,
        /// Its length.
        length: usize,
    },
    /// It cannot be sent in a header.
    #[error(
        "the ingest token of {from} has blanks or other characters that no header can carry: use letters and digits"
    )]
    Unsendable {
        /// Where it is from.
        from: String,
    },
}

impl Token {
    /// The token that is a text, without the blanks around it.
    ///
    /// # Errors
    /// It is too short, or cannot be sent in a header; `from` says where it is from.
    pub fn new(text: &str, from: &str) -> Result<Token, TokenError> {
        let text = text.trim();
        let length = text.chars().count();
        if length < MIN_TOKEN {
            return Err(TokenError::Short { from: from.to_owned(), length });
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Unsendable { from: from.to_owned() });
        }
        Ok(Token(text.as_bytes().into()))
    }

    /// The token in a file, and whether every user of the machine may read that file.
    ///
    /// # Errors
    /// The file cannot be read, or what is in it is no token.
    pub fn from_file(path: &Path) -> Result<(Token, bool), TokenError> {
        let shown = path.display().to_string();
        let unreadable = |why| TokenError::Unreadable { path: shown.clone(), why };
        let file = File::open(path).map_err(unreadable)?;
        let open_to_all = is_open_to_all(&file).map_err(unreadable)?;
        let mut text = String::new();
        file.take(MAX_TOKEN_FILE).read_to_string(&mut text).map_err(unreadable)?;
        Ok((Token::new(&text, &shown)?, open_to_all))
    }

    /// Whether a text is the token; takes as long whatever part of it is right (its length alone may be found out).
    fn is(&self, given: &[u8]) -> bool {
        self.0.ct_eq(given).into()
    }
}

#[cfg(unix)]
fn is_open_to_all(file: &File) -> std::io::Result<bool> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(file.metadata()?.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_open_to_all(_: &File) -> std::io::Result<bool> {
    Ok(false)
}

/// Marks the header that carries the token, so that nothing that prints headers prints it.
pub(crate) async fn hide(mut request: Request, next: Next) -> Response {
    for name in [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE] {
        if let header::Entry::Occupied(mut entry) = request.headers_mut().entry(name) {
            entry.iter_mut().for_each(|value| value.set_sensitive(true));
        }
    }
    next.run(request).await
}

/// Lets requests through that carry the token.
pub(crate) async fn required(State(state): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    match owner(&state, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal,
    }
}

/// Whose eyes a request looks with: the owner's where it carries the token, anyone's where it carries none.
pub(crate) fn viewer(state: &AppState, headers: &HeaderMap) -> Result<Viewer, Response> {
    if !headers.contains_key(header::AUTHORIZATION) {
        return Ok(Viewer::Public);
    }
    owner(state, headers).map(|()| Viewer::Owner)
}

fn owner(state: &AppState, headers: &HeaderMap) -> Result<(), Response> {
    let Some(token) = state.token() else {
        let detail = "this server takes no data in over HTTP; start it with --ingest-token-file FILE, \
                      or with the token in the environment variable MATGENOME_INGEST_TOKEN";
        return Err(Problem::new(StatusCode::FORBIDDEN, "ingest-off", "Ingest is off", detail).into_response());
    };
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let detail = match (given.next(), given.next()) {
        (None, _) => "send the ingest token of this server as the header `Authorization: Bearer TOKEN`",
        (Some(one), None) if bearer(one).is_some_and(|given| token.is(given)) => return Ok(()),
        (Some(_), None) => "this is not the ingest token of this server; the header is `Authorization: Bearer TOKEN`",
        (Some(_), Some(_)) => "there are several `Authorization` headers: send one",
    };
    let mut refusal =
        Problem::new(StatusCode::UNAUTHORIZED, "no-token", "The ingest token is needed", detail).into_response();
    let challenge = HeaderValue::from_static("Bearer realm=\"matgenome\"");
    refusal.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    Err(refusal)
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_enough_sendable_and_never_shown() {
        let token = Token::new("  0123456789abcdef\n", "a test").unwrap();
        assert!(
            token.is(b"0123456789abcdef") && !token.is(b"0123456789abcdeF") && !token.is(b"") && !token.is(b"0123")
        );
        assert_eq!(format!("{token:?} {:?}", Some(&token)), "Token(hidden) Some(Token(hidden))");
        for text in ["", "  ", "short-secret", "0123456789 abcdef", "0123456789abcdéf", "0123456789abcdef\n0123"] {
            let why = Token::new(text, "a test").unwrap_err().to_string();
            assert!(why.contains("a test") && (text.trim().is_empty() || !why.contains(text.trim())), "{why}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_everyone_reads_is_noticed() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(Token::from_file(&path).unwrap_err().to_string().contains("token"));
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        for (mode, open) in [(0o600, false), (0o640, false), (0o644, true)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Token::from_file(&path).unwrap().1, open, "{mode:o}");
        }
    }
}
