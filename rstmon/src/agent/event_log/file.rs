//! A file of whole lines, rotated by size.
//!
//! What a failed write left of a line is taken back, and so is half a line that is found at the end
//! when the file is opened: a power cut or a full disk leaves no broken JSON behind.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes that are read at once while looking for the last line's end.
const BLOCK: u64 = 64 * 1024;

/// The open file.
pub(super) struct RotatedFile {
    path: PathBuf,
    file: File,
    /// Length up to the last whole line.
    length: u64,
    max_size: u64,
    keep: u32,
}

impl RotatedFile {
    /// Opens a file to append to it; rotates beyond `max_size` bytes (0: never) and keeps `keep` of
    /// the former ones.
    pub(super) fn open(path: &Path, max_size: u64, keep: u32) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .mode(0o640)
            .open(path)?;
        let length = whole_lines(&mut file)?;
        if length < file.metadata()?.len() {
            file.set_len(length)?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            max_size,
            keep,
        })
    }

    /// Appends whole lines, or nothing.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let after = self.length + lines.len() as u64;
        if self.max_size != 0 && self.length != 0 && after > self.max_size {
            self.rotate()?;
        }
        match self.file.write_all(lines) {
            Ok(()) => {
                self.length += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                // The first error is the one to tell; a pipe or a device cannot be cut.
                let _ = self.file.set_len(self.length);
                Err(error)
            }
        }
    }

    /// `events.jsonl` becomes `events.jsonl.1`, that `.2`, and so on.
    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.keep).rev() {
            move_if_there(&self.numbered(number), &self.numbered(number + 1))?;
        }
        move_if_there(&self.path, &self.numbered(1))?;
        *self = Self::open(&self.path, self.max_size, self.keep)?;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name: OsString = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }
}

fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Length of a file up to the end of its last whole line.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    let mut end = if metadata.is_file() {
        metadata.len()
    } else {
        0
    };
    while end != 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        file.take(end - start).read_to_end(&mut block)?;
        if let Some(last) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]

    use super::*;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn rotates_by_size_and_keeps_so_many() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut log = RotatedFile::open(&path, 10, 2).unwrap();
        for line in [
            "1234\n",
            "5678\n",
            "9\n",
            "a longer line than the limit\n",
            "b\n",
        ] {
            log.append(line.as_bytes()).unwrap();
        }
        assert_eq!(read(&path), "b\n");
        assert_eq!(read(&log.numbered(1)), "a longer line than the limit\n");
        assert_eq!(read(&log.numbered(2)), "9\n");
        assert!(!log.numbered(3).exists());
    }

    #[test]
    fn half_a_line_at_the_end_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let half_line = "x".repeat(100_000);
        fs::write(&path, format!("{{}}\n{half_line}")).unwrap();
        let mut log = RotatedFile::open(&path, 0, 1).unwrap();
        log.append(b"{}\n").unwrap();
        assert_eq!(read(&path), "{}\n{}\n");
        fs::write(&path, "no line end").unwrap();
        RotatedFile::open(&path, 0, 1).unwrap();
        assert_eq!(read(&path), "");
    }

    #[test]
    fn what_cannot_be_written_is_an_error_and_leaves_the_rest() {
        let mut full = RotatedFile::open(Path::new("/dev/full"), 0, 1).unwrap();
        assert!(full.append(b"{}\n").is_err());
        assert!(RotatedFile::open(Path::new("/nonexistent/x"), 0, 1).is_err());
    }
}
