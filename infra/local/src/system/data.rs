//! The folder in which a system keeps its state, and how far its clock runs ahead.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

const LOCK: &str = "lock";
const SHIFT: &str = "clock-shift-ms";

/// A system's folder, held by this process alone; or none, for a system in memory.
pub(super) struct Data {
    /// The lock is held as long as the file is open.
    held: Option<(PathBuf, File)>,
}

impl Data {
    /// Opens the folder, makes it where it is missing, and keeps other processes out.
    pub(super) fn open(folder: Option<&Path>) -> Result<Self> {
        let Some(folder) = folder else {
            return Ok(Self { held: None });
        };
        let shown = folder.display();
        make(folder).with_context(|| format!("the folder {shown} cannot be made"))?;
        let lock = File::create(folder.join(LOCK)).with_context(|| format!("the folder {shown} cannot be written"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                held: Some((folder.to_owned(), lock)),
            }),
            Err(TryLockError::WouldBlock) => {
                bail!("another Sealpost runs on the folder {shown}; stop it, or name another folder with --data")
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("the folder {shown} cannot be locked"))
            }
        }
    }

    /// The folder; `None` for a system in memory.
    pub(super) fn root(&self) -> Option<&Path> {
        self.held.as_ref().map(|(folder, _)| folder.as_path())
    }

    /// A folder or file within; `None` for a system in memory.
    pub(super) fn folder(&self, name: &str) -> Option<PathBuf> {
        self.root().map(|folder| folder.join(name))
    }

    /// How far ahead the clock was when the system last ran, in milliseconds.
    pub(super) fn shift_ms(&self) -> Result<i64> {
        let Some(path) = self.folder(SHIFT).filter(|path| path.exists()) else {
            return Ok(0);
        };
        let stored = fs::read_to_string(&path).context("the clock's shift cannot be read")?;
        stored
            .trim()
            .parse()
            .with_context(|| format!("{} holds no number", path.display()))
    }

    /// Stores how far ahead the clock is. The file is replaced as a whole, so that a kill leaves the old time or the new.
    pub(super) fn store_shift_ms(&self, shift_ms: i64) -> Result<()> {
        let Some(path) = self.folder(SHIFT) else {
            return Ok(());
        };
        let next = path.with_extension("next");
        let mut file = File::create(&next).context("the clock's shift cannot be stored")?;
        file.write_all(shift_ms.to_string().as_bytes())
            .context("the clock's shift cannot be stored")?;
        file.sync_all().context("the clock's shift cannot be stored")?;
        fs::rename(&next, &path).context("the clock's shift cannot be stored")
    }
}

/// Makes the folder for its owner alone: the local AWS keeps its keys and every mail in it.
fn make(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
