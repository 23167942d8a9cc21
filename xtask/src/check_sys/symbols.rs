//! The names of an image's functions, from the symbol file that its linker wrote.
//!
//! The rule: the symbol file is of this very image: both carry the same identity. Others are
//! refused, not guessed with.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use object::read::Object;
use object::read::pe::PeFile64;
use pdb2::{FallibleIterator, PDB, SymbolData};

/// Names by address: those of equal functions that the linker has made one, too.
#[derive(Debug, Clone, Default)]
pub struct Symbols {
    names: BTreeMap<u32, Vec<String>>,
}

impl Symbols {
    /// Reads the symbol file beside an image.
    pub fn beside(image: &Path, image_bytes: &[u8]) -> Result<Self, String> {
        let path = image.with_extension("pdb");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes =
            std::fs::read(&path).map_err(|error| format!("no {name} beside it: {error}"))?;
        Self::read(bytes, image_bytes).map_err(|problem| format!("{name}: {problem}"))
    }

    /// Symbols that are known already.
    #[cfg(test)]
    pub fn of(names: impl IntoIterator<Item = (u32, &'static str)>) -> Self {
        let mut known = Self::default();
        for (rva, name) in names {
            known.names.entry(rva).or_default().push(name.to_owned());
        }
        known
    }

    fn read(bytes: Vec<u8>, image_bytes: &[u8]) -> Result<Self, String> {
        let mut file = PDB::open(Cursor::new(bytes)).map_err(|error| error.to_string())?;
        let information = file.pdb_information().map_err(|error| error.to_string())?;
        if Some(information.guid.to_bytes_le()) != identity_of(image_bytes)? {
            return Err("it is not the symbol file of this image".to_owned());
        }
        let names = procedures(&mut file).map_err(|error| error.to_string())?;
        if names.is_empty() {
            return Err("it names no function".to_owned());
        }
        Ok(Self { names })
    }

    /// The name of the function at an address; the address itself if it has none.
    pub fn name_of(&self, rva: u32) -> String {
        let name = self.names.get(&rva).and_then(|names| names.first());
        name.cloned().unwrap_or_else(|| format!("{rva:#x}"))
    }

    /// Functions as a path.
    pub fn way(&self, functions: &[u32]) -> String {
        let names: Vec<String> = functions.iter().map(|rva| self.name_of(*rva)).collect();
        names.join(" → ")
    }

    /// Where the function with a name begins, or its one instance if it is generic.
    pub fn address_of(&self, name: &str) -> Option<u32> {
        let is_it = |known: &str| {
            let rest = known.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('<'))
        };
        self.iter().find(|(_, known)| is_it(known)).map(|(rva, _)| rva)
    }

    /// All names.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.names.iter().flat_map(|(rva, names)| names.iter().map(|name| (*rva, name.as_str())))
    }
}

fn identity_of(image_bytes: &[u8]) -> Result<Option<[u8; 16]>, String> {
    let image = PeFile64::parse(image_bytes).map_err(|error| error.to_string())?;
    let found = image.pdb_info().map_err(|error| error.to_string())?;
    Ok(found.map(|found| found.guid()))
}

/// The functions of the modules, and where those have no debug information, of the linker's list.
fn procedures(file: &mut PDB<'_, Cursor<Vec<u8>>>) -> pdb2::Result<BTreeMap<u32, Vec<String>>> {
    let addresses = file.address_map()?;
    let mut listed = BTreeMap::new();
    let public = file.global_symbols()?;
    let mut public = public.iter();
    while let Some(symbol) = public.next()? {
        if let Ok(SymbolData::Public(found)) = symbol.parse()
            && found.function
            && let Some(rva) = found.offset.to_rva(&addresses)
        {
            listed.insert(rva.0, vec![found.name.to_string().into_owned()]);
        }
    }
    let mut names: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    let information = file.debug_information()?;
    let mut modules = information.modules()?;
    while let Some(module) = modules.next()? {
        let Some(module) = file.module_info(&module)? else { continue };
        let mut symbols = module.symbols()?;
        while let Some(symbol) = symbols.next()? {
            if let Ok(SymbolData::Procedure(found)) = symbol.parse()
                && let Some(rva) = found.offset.to_rva(&addresses)
            {
                names.entry(rva.0).or_default().push(found.name.to_string().into_owned());
            }
        }
    }
    for (rva, name) in listed {
        names.entry(rva).or_insert(name);
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_file_that_is_not_there_or_not_one_is_an_error() {
        let image = Path::new("/nonexistent/x.sys");
        assert!(Symbols::beside(image, &[]).unwrap_err().contains("no x.pdb beside it"));
        assert!(Symbols::read(b"not a symbol file".to_vec(), &[]).is_err());
    }

    #[test]
    fn a_function_without_a_name_is_called_by_its_address() {
        let symbols = Symbols::of([(0x1000, "f")]);
        assert_eq!(symbols.name_of(0x1000), "f");
        assert_eq!(symbols.name_of(0x1010), "0x1010");
    }
}
