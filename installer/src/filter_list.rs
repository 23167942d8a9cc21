//! The upper filters of a device class or a device: a `REG_MULTI_SZ`, the lowest filter first.
//!
//! Rule: other drivers' names stay as they are and in their order.

use std::fmt;

/// Names of filter drivers, the lowest first.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct FilterList(Vec<String>);

impl FilterList {
    /// The list of `names` without empty ones, which end a `REG_MULTI_SZ`.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().filter(|name| !name.is_empty()).collect())
    }

    /// Reads the UTF-16 units of a `REG_MULTI_SZ`.
    pub fn from_units(units: &[u16]) -> Self {
        Self::new(units.split(|unit| *unit == 0).map(String::from_utf16_lossy))
    }

    /// The UTF-16 units of a `REG_MULTI_SZ`.
    pub fn to_units(&self) -> Vec<u16> {
        let mut units: Vec<u16> =
            self.0.iter().flat_map(|name| name.encode_utf16().chain([0])).collect();
        units.push(0);
        units
    }

    /// The names, the lowest first.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// True if there are no names.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if `name` is in the list; case is ignored.
    pub fn contains(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    /// Where the lowest occurrence of `name` is.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|other| same(other, name))
    }

    /// Inserts `name` at a position, above those before it.
    pub fn insert(&mut self, at: usize, name: &str) {
        self.0.insert(at.min(self.0.len()), name.to_owned());
    }

    /// Removes every occurrence of `name` but the lowest.
    pub fn keep_first(&mut self, name: &str) {
        let mut is_first = true;
        self.0.retain(|other| !same(other, name) || std::mem::take(&mut is_first));
    }

    /// Removes every occurrence of `name`; true if that changed the list.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|other| !same(other, name));
        self.0.len() != before
    }
}

impl fmt::Display for FilterList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// Compares as Windows compares service names: in upper case, character by character.
fn same(a: &str, b: &str) -> bool {
    a.chars().flat_map(char::to_uppercase).eq(b.chars().flat_map(char::to_uppercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> FilterList {
        FilterList::new(names.iter().map(ToString::to_string))
    }

    fn units(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    #[test]
    fn a_name_is_found_in_any_case_and_inserted_at_its_place() {
        let mut filters = list(&["volsnap", "other"]);
        filters.insert(1, "snapless");
        assert_eq!(filters.position("SNAPLESS"), Some(1));
        assert_eq!(filters.position("absent"), None);
        assert_eq!(filters, list(&["volsnap", "snapless", "other"]));
        filters.insert(9, "last");
        assert_eq!(filters.position("last"), Some(3));
    }

    #[test]
    fn a_name_is_removed_in_any_case_and_others_stay() {
        let mut filters = list(&["Snapless", "volsnap", "snapless2", "snapless"]);
        assert!(filters.remove("snapless"));
        assert!(!filters.remove("snapless"));
        assert_eq!(filters, list(&["volsnap", "snapless2"]));
    }

    #[test]
    fn the_lowest_of_equal_names_is_kept() {
        let mut filters = list(&["Snapless", "volsnap", "snapless"]);
        filters.keep_first("snapless");
        assert_eq!(filters.to_string(), "Snapless, volsnap");
        filters.keep_first("snapless");
        assert_eq!(filters, list(&["Snapless", "volsnap"]));
    }

    #[test]
    fn a_list_survives_the_format_of_the_registry() {
        let filters = list(&["volsnap", "größe", "snapless"]);
        assert_eq!(filters.to_units(), units("volsnap\0größe\0snapless\0\0"));
        assert_eq!(FilterList::from_units(&filters.to_units()), filters);
        assert_eq!(FilterList::default().to_units(), [0]);
    }

    #[test]
    fn values_without_proper_ends_are_read() {
        for text in ["a\0b", "a\0b\0", "a\0b\0\0", "\0a\0b\0\0\0"] {
            assert_eq!(FilterList::from_units(&units(text)), list(&["a", "b"]), "{text:?}");
        }
        for text in ["", "\0", "\0\0"] {
            assert!(FilterList::from_units(&units(text)).is_empty());
        }
    }
}
