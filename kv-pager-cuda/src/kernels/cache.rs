//! Compiled images: each source is compiled once a process and architecture, and once a machine where a directory is given.
//! Uses `driver`'s NVRTC. Known by: `kernels`.
//!
//! - **C1** an image in the directory is named by a hash of its source and by its architecture;
//! - **C2** it is written whole under another name first, so that a reader never sees half of it.
#![expect(unsafe_code, reason = "cudarc's test for the library, and a library that is loaded by its path")]

use cudarc::nvrtc::{CompileError, CompileOptions, compile_ptx_with_opts, sys};
use std::collections::HashMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use xxhash_rust::xxh3::xxh3_128;

type Key = (u128, (u32, u32));

/// Images of this process. One entry a source and architecture, so its size is bounded by the machine's cards.
static IMAGES: OnceLock<Mutex<HashMap<Key, CString>>> = OnceLock::new();

/// PTX of `source` for `arch`, from the process, from `directory`, or from NVRTC, in this order.
pub(crate) fn compiled(source: &str, arch: (u32, u32), directory: Option<&Path>) -> Result<CString, String> {
    let key = (xxh3_128(source.as_bytes()), arch);
    let images = IMAGES.get_or_init(Mutex::default);
    let mut images = images.lock().unwrap_or_else(PoisonError::into_inner);
    let file = directory.map(|directory| directory.join(file_name(key)));
    let from_file = || std::fs::read(file.as_deref()?).ok().and_then(|text| CString::new(text).ok());
    let image = match images.get(&key).cloned().or_else(from_file) {
        Some(image) => image,
        None => compile(source, arch)?,
    };
    if let Some(file) = file.filter(|file| !file.exists()) {
        keep(&file, &image);
    }
    images.insert(key, image.clone());
    Ok(image)
}

/// C1.
fn file_name((hash, (major, minor)): Key) -> String {
    format!("kv-pager-{hash:032x}-sm{major}{minor}.ptx")
}

/// C2. A directory that can't be written costs a compilation at the next start, no more.
fn keep(file: &Path, image: &CString) {
    let part: PathBuf = file.with_extension(format!("{}.part", std::process::id()));
    let written = std::fs::write(&part, image.as_bytes()).and_then(|()| std::fs::rename(&part, file));
    if let Err(error) = written {
        tracing::debug!(%error, file = %file.display(), "a compiled kernel was not kept");
    }
}

fn compile(source: &str, (major, minor): (u32, u32)) -> Result<CString, String> {
    if !is_nvrtc_there() {
        return Err("NVRTC (libnvrtc.so) was not found".to_owned());
    }
    let options = CompileOptions {
        options: vec![format!("--gpu-architecture=compute_{major}{minor}"), "--std=c++17".to_owned()],
        ..CompileOptions::default()
    };
    let ptx = compile_ptx_with_opts(source, options).map_err(|error| match error {
        CompileError::CompileError { nvrtc, log, .. } => {
            format!("NVRTC: {nvrtc:?}: {}", log.to_string_lossy())
        }
        other => format!("NVRTC: {other:?}"),
    })?;
    CString::new(ptx.to_src()).map_err(|_| "NVRTC gave an image with a zero inside".to_owned())
}

/// Whether NVRTC can be loaded by its plain name, if need be after loading it from where the toolkit puts it: the loader
/// then finds it by the name inside the library.
fn is_nvrtc_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        // SAFETY: loading NVRTC runs its initialisers only, which ask nothing of the program.
        if unsafe { sys::is_culib_present() } {
            return true;
        }
        let roots = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
        roots.chain([PathBuf::from("/usr/local/cuda")]).any(|root| {
            ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"].into_iter().any(|name| {
                let file = root.join("lib64").join(name);
                // SAFETY: as above. The library is never unloaded: cudarc's pointers into it must stay valid.
                file.exists() && unsafe { load_for_good(&file) } && unsafe { sys::is_culib_present() }
            })
        })
    })
}

/// Loads a library and keeps it loaded.
///
/// # Safety
/// Its initialisers may run here.
unsafe fn load_for_good(file: &Path) -> bool {
    // SAFETY: the caller vouches for the initialisers.
    unsafe { libloading::Library::new(file) }.is_ok_and(|library| {
        Box::leak(Box::new(library));
        true
    })
}
