//! Text in the form that Windows' `…W` functions take and give.

/// UTF-16 units with a final zero.
pub(crate) fn with_nul(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// The units before the first zero.
pub(crate) fn until_nul(units: &[u16]) -> &[u16] {
    units.split(|unit| *unit == 0).next().unwrap_or_default()
}
