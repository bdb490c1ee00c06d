//! The guests' kernel: Debian's package, fetched once, unpacked into the cache, and its modules in loading order.

use crate::{Error, Program, cache_directory, package::Package, package::apt};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// Named in errors; the package itself is only unpacked, never installed on the host.
const PACKAGE: Package =
    Package { name: "linux-image-amd64", provides: "/nonexistent", reason: "the kernel of the guests" };

/// An unpacked kernel.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    root: PathBuf,
    version: String,
}

impl Kernel {
    /// Finds the kernel in the cache, or fetches it.
    pub(crate) fn fetch() -> Result<Self, Error> {
        let cache = cache_directory()?.join("kernel");
        let gate = File::create(cache.with_extension("lock"))
            .map_err(Error::system("open the kernel cache's lock"))?;
        gate.lock().map_err(Error::system("lock the kernel cache"))?;
        if let Some(kernel) = Self::unpacked(&cache) {
            return Ok(kernel);
        }
        eprintln!("fetching Debian package {}: {}", PACKAGE.name, PACKAGE.reason);
        let fresh = cache.with_extension("new");
        let _ = fs::remove_dir_all(&fresh);
        fs::create_dir_all(&fresh).map_err(Error::system(format!("make {}", fresh.display())))?;
        download(&fresh)?;
        let kernel = Self::unpacked(&fresh).ok_or_else(|| PACKAGE.error("it holds no kernel".into()))?;
        Program::new("depmod").arg("-b").arg(&fresh).arg(&kernel.version).run()?;
        kernel.unpack_image()?;
        let _ = fs::remove_dir_all(&cache);
        fs::rename(&fresh, &cache).map_err(Error::system("put the kernel into the cache"))?;
        Self::unpacked(&cache).ok_or_else(|| PACKAGE.error("it holds no kernel".into()))
    }

    /// The kernel image, an ELF file that is entered directly: unpacking itself would cost an emulated machine 5 s a start.
    pub(crate) fn image(&self) -> PathBuf {
        self.root.join("vmlinux")
    }

    fn unpack_image(&self) -> Result<(), Error> {
        let path = self.root.join("boot").join(format!("vmlinuz-{}", self.version));
        let image = fs::read(&path).map_err(Error::system(format!("read {}", path.display())))?;
        let payload =
            payload(&image).ok_or_else(|| PACKAGE.error("its image has an unknown layout".into()))?;
        let packed = self.root.join("vmlinux.xz");
        fs::write(&packed, payload).map_err(Error::system(format!("write {}", packed.display())))?;
        Program::new("xz").args(["--decompress", "--force"]).arg(&packed).run().map(|_| ())
    }

    /// The files of `modules` and of all that they need, each once, in the order in which they must be loaded.
    pub(crate) fn modules(&self, modules: &[&str]) -> Result<Vec<PathBuf>, Error> {
        let mut files: Vec<PathBuf> = Vec::new();
        for module in modules {
            let show = Program::new("modprobe").arg("-d").arg(&self.root);
            let output = show.args(["-S", &self.version, "--show-depends", module]).run()?.stdout;
            // A module that is built in has a line that begins otherwise.
            let paths = output.lines().filter_map(|line| line.strip_prefix("insmod "));
            for path in paths.filter_map(|line| line.split_whitespace().next()).map(PathBuf::from) {
                if !files.contains(&path) {
                    files.push(path);
                }
            }
        }
        Ok(files)
    }

    fn unpacked(root: &Path) -> Option<Self> {
        let mut entries = fs::read_dir(root.join("lib/modules")).ok()?.flatten();
        let version = entries.next()?.file_name().into_string().ok()?;
        Some(Self { root: root.to_path_buf(), version })
    }
}

/// The compressed kernel in a boot image: where it is stands in the header of the x86 boot protocol.
fn payload(image: &[u8]) -> Option<&[u8]> {
    let word = |offset: usize| Some(u32::from_le_bytes(image.get(offset..offset + 4)?.try_into().ok()?));
    let setup_sectors = usize::from(*image.get(0x1F1)?) + 1;
    let start = setup_sectors * 512 + usize::try_from(word(0x248)?).ok()?;
    // The last four bytes are the unpacked length, which is not part of the compressed stream.
    let length = usize::try_from(word(0x24C)?).ok()?.checked_sub(4)?;
    image.get(start..start + length)
}

fn download(directory: &Path) -> Result<(), Error> {
    let name = match package_of_current_kernel() {
        Ok(name) => name,
        Err(_) => {
            apt(&["update", "-qq"]).map_err(|detail| PACKAGE.error(detail))?;
            package_of_current_kernel()?
        }
    };
    let get = || Program::new("apt-get").args(["download", "-qq", &name]).directory(directory).run();
    get().or_else(|_| {
        apt(&["update", "-qq"]).map_err(|detail| PACKAGE.error(detail))?;
        get().map_err(|error| PACKAGE.error(error.to_string()))
    })?;
    let entries = fs::read_dir(directory).map_err(Error::system("list the fetched kernel"))?;
    let mut files = entries.flatten().map(|entry| entry.path());
    let file = files.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let file = file.ok_or_else(|| PACKAGE.error("apt-get download left no file".into()))?;
    Program::new("dpkg").arg("-x").arg(&file).arg(directory).run()?;
    fs::remove_file(&file).map_err(Error::system("remove the fetched package"))
}

/// The package with the kernel itself, of which the one with the lasting name only says that it is needed.
fn package_of_current_kernel() -> Result<String, Error> {
    let output = Program::new("apt-cache").args(["depends", "--important", PACKAGE.name]).run()?.stdout;
    let mut needed = output.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    needed
        .next()
        .map(str::to_owned)
        .ok_or_else(|| PACKAGE.error("apt does not know it; run apt-get update".into()))
}
