//! Pages of `docs/` that tests write and keep.

use std::{env, fs, path::Path};

/// Compares `docs/{name}` with what it should be; `UPDATE_DOCS=1` writes it anew. `by` is the command for that.
pub fn assert_up_to_date(name: &str, page: &str, by: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, page).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == page, "docs/{name} differs: run `UPDATE_DOCS=1 {by}`");
}
