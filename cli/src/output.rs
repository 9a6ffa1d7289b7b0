//! Where a result goes: standard output, and files that are replaced as a whole.

use std::fs;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use anstream::{AutoStream, ColorChoice};
use monitor::settings::Environment;
use outputs::scan::Scan;
use outputs::scan_page::About;
use outputs::scan_table::Terminal;
use outputs::{scan_csv, scan_table};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::arguments::{Format, Only};
use crate::error::CliError;

/// Columns of what is no terminal.
const WIDTH_ELSEWHERE: u16 = 120;
/// Fewest columns that anything is written for.
const LEAST_WIDTH: u16 = 20;

/// Writes an error on standard error. Where even that cannot be written, the exit code says it.
pub fn complain(error: &CliError) {
    let _ = writeln!(io::stderr(), "error: {error}");
}

/// Writes to standard output what whoever reads it still wants: one who has gone away wants nothing.
///
/// # Errors
/// It cannot be written for another reason.
pub fn print(text: &[u8], colour: ColorChoice) -> Result<(), CliError> {
    let mut out = AutoStream::new(io::stdout(), colour);
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// The terminal that standard output is, or what stands for one.
pub fn terminal(environment: &Environment, is_verbose: bool, lists_all: bool) -> Terminal {
    let of_terminal = || terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0);
    let given = || environment.get("COLUMNS").and_then(|columns| columns.parse().ok());
    let width = of_terminal().or_else(given).unwrap_or(WIDTH_ELSEWHERE).max(LEAST_WIDTH);
    // The first that is set decides, as everywhere.
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| environment.get(name));
    let is_unicode = locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.ends_with("utf-8") || locale.ends_with("utf8")
    });
    Terminal { width, is_unicode, is_verbose, lists_all }
}

/// Is somebody watching what is written to standard error?
pub fn is_watched(environment: &Environment) -> bool {
    io::stderr().is_terminal() && environment.get("TERM") != Some("dumb")
}

/// Lists a form every evaluation?
pub fn lists_all(format: Format, only: Option<Only>) -> bool {
    match only {
        Some(only) => only == Only::All,
        None => format == Format::Json,
    }
}

/// Writes a result in a form.
///
/// # Errors
/// The writer's.
pub fn write(scan: &Scan, format: Format, terminal: Terminal, about: &About<'_>, mut to: impl Write) -> io::Result<()> {
    match format {
        Format::Table => to.write_all(scan_table::render(scan, terminal).as_bytes()),
        Format::Json => {
            scan.write_json(&mut to)?;
            to.write_all(b"\n")
        }
        Format::Csv => scan_csv::write(scan, terminal.lists_all, to).map_err(io::Error::other),
        Format::Html => {
            let page = scan.page(about.clone()).render().map_err(io::Error::other)?;
            to.write_all(page.as_bytes())
        }
    }
}

/// A file that will hold the result. Until then something beside it does, and the file is as it was.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    format: Format,
    file: NamedTempFile,
}

impl OutputFile {
    /// Makes sure that the file can be written, before anything is asked.
    ///
    /// # Errors
    /// Its ending says no form, or it cannot be written.
    pub fn prepare(path: &Path) -> Result<Self, CliError> {
        let shown = path.display();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let format = match ending.to_ascii_lowercase().as_str() {
            "csv" => Format::Csv,
            "htm" | "html" => Format::Html,
            "json" => Format::Json,
            "txt" => Format::Table,
            _ => return Err(CliError::usage(format!("--output `{shown}`: it must end in .json, .csv, .html or .txt"))),
        };
        let unwritable =
            |why: &dyn std::fmt::Display| CliError::usage(format!("--output `{shown}` cannot be written: {why}"));
        // A link stays one: what it leads to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if fs::metadata(&path).is_ok_and(|there| !there.is_file()) {
            return Err(unwritable(&"it is no file"));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".kms-compliance-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Like any file that a program makes: the umask decides.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let file = builder.tempfile_in(folder).map_err(|error| unwritable(&error.kind()))?;
        Ok(Self { path, format, file })
    }

    /// Its form.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Writes the result and puts it in the file's place. Gives the path.
    ///
    /// # Errors
    /// It cannot be written; the file is as it was.
    pub fn finish(mut self, scan: &Scan, terminal: Terminal, about: &About<'_>) -> Result<PathBuf, CliError> {
        let failed =
            |path: &Path, why: &io::Error| CliError::failed(format!("`{}` cannot be written: {why}", path.display()));
        let mut to = BufWriter::new(self.file.as_file_mut());
        let written = match self.format {
            Format::Table => {
                let text = scan_table::render(scan, terminal);
                to.write_all(anstream::adapter::strip_str(&text).to_string().as_bytes())
            }
            _ => write(scan, self.format, terminal, about, &mut to),
        };
        let written = written.and_then(|()| to.flush());
        drop(to);
        written.and_then(|()| self.file.as_file().sync_all()).map_err(|error| failed(&self.path, &error))?;
        match self.file.persist(&self.path) {
            Ok(_) => Ok(self.path),
            Err(error) => Err(failed(&self.path, &error.error)),
        }
    }
}

/// SHA-256 of a file, in hexadecimal; `None` if it cannot be read again.
pub fn sha256_of(path: &Path) -> Option<String> {
    let mut file = fs::File::open(path).ok()?;
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; 64 * 1_024]);
    loop {
        match file.read(&mut chunk).ok()? {
            0 => break,
            read => hash.update(chunk.get(..read)?),
        }
    }
    Some(hash.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}
