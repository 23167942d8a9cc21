//! What a repository costs in an object store: requests and bytes, at the prices of a small file.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The prices that are taken where none are given, with their source and date.
const DEFAULT: &str = include_str!("bill/prices.toml");
/// Most bytes of a file of prices.
const FILE_LEN_MAX: u64 = 64 << 10;
/// Days in a month.
pub const MONTH_DAYS: f64 = 30.4;
/// Bytes of what stores and their prices call a gigabyte.
const GB: f64 = 1e9;

/// What an object store asks for.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// The store, its class and region.
    pub store: String,
    /// Where the prices are published.
    pub source: String,
    /// When they were read there.
    pub date: String,
    /// The currency.
    pub currency: String,
    /// For 1,000 requests that write or list.
    pub put_per_thousand: f64,
    /// For 1,000 requests that read.
    pub get_per_thousand: f64,
    /// For 10⁹ bytes in a month.
    pub gb_month: f64,
    /// For 10⁹ bytes that leave the store's region.
    pub gb_out: f64,
}

/// What is asked of the store.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Load {
    /// Requests in a day that write.
    pub puts_per_day: f64,
    /// Bytes that it holds.
    pub stored_bytes: u64,
}

/// What a month costs.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Month {
    /// The bytes that are held.
    pub storage: f64,
    /// The requests that write.
    pub puts: f64,
    /// Both.
    pub total: f64,
}

/// What is counted of a repository, or a volume of it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Counted {
    /// What it has of the stream is objects: each was a request. In a directory each epoch would be
    /// one.
    pub is_of_objects: bool,
    /// Files, or objects.
    pub objects: u64,
    /// Segments.
    pub segments: u64,
    /// Epochs that ended.
    pub epochs: u64,
    /// Bytes of all files.
    pub stored_bytes: u64,
    /// Seconds from the first record to the last.
    pub seconds: u64,
}

/// What a repository, or a volume of it, costs.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Bill {
    /// What the requests are counted by.
    pub counted_by: CountedBy,
    /// Files, or objects.
    pub objects: u64,
    /// Requests that write, a day on the average; `None` for less than an hour. The watermark of a
    /// quiet volume comes on top, one a minute.
    pub puts_per_day: Option<u64>,
    /// What a month costs at that rate, if it holds as much as now; without the rate, the bytes
    /// alone.
    pub month: Month,
    /// Requests that a restore takes that reads all that is stored once: an upper bound.
    pub restore_gets: u64,
    /// What it costs, read from outside the region.
    pub restore: f64,
}

/// What requests are counted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CountedBy {
    /// The objects of the stream: each was one.
    Objects,
    /// Epochs: this repository is in a directory, and in a store each would be one, if no two of
    /// them are stored together.
    Epochs,
}

/// Bytes that a request brings of an object that is read in order.
const GET_BYTES: u64 = 4 << 20;
/// A rate is not concluded from less.
const SECONDS_MIN: u64 = 3_600;
const DAY_SECONDS: f64 = 86_400.0;

impl Prices {
    /// Reads those of a file; "default" stands for public list prices.
    ///
    /// # Errors
    /// What keeps the file from being read, or what is wrong in it.
    pub fn find(name: &Path) -> Result<Self> {
        if name.as_os_str() == "default" {
            return Self::parse(DEFAULT).map_err(|why| Error::Prices { path: name.into(), why });
        }
        let read = || {
            let len = std::fs::metadata(name)?.len();
            if len > FILE_LEN_MAX {
                let kind = std::io::ErrorKind::FileTooLarge;
                return Err(std::io::Error::new(kind, format!("it has {len} bytes")));
            }
            std::fs::read_to_string(name)
        };
        let text = read().map_err(Error::file("read", name))?;
        Self::parse(&text).map_err(|why| Error::Prices { path: name.into(), why })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let prices: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let Self { put_per_thousand, get_per_thousand, gb_month, gb_out, .. } = prices;
        let all = [put_per_thousand, get_per_thousand, gb_month, gb_out];
        if all.iter().all(|price| price.is_finite() && *price >= 0.0) {
            Ok(prices)
        } else {
            Err("a price is a number that is not below 0".to_owned())
        }
    }

    /// What a month of a load costs.
    pub fn month(&self, load: Load) -> Month {
        let puts = load.puts_per_day * MONTH_DAYS / 1000.0 * self.put_per_thousand;
        let storage = of_bytes(load.stored_bytes) * self.gb_month;
        Month { storage: rounded(storage), puts: rounded(puts), total: rounded(storage + puts) }
    }

    /// What a repository, or a volume of it, costs.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn bill(&self, counted: &Counted) -> Bill {
        let Counted { objects, segments, epochs, stored_bytes, seconds, .. } = *counted;
        let counted_by = if counted.is_of_objects { CountedBy::Objects } else { CountedBy::Epochs };
        let requests = if counted.is_of_objects { objects } else { epochs };
        let per_day = requests as f64 * DAY_SECONDS / seconds.max(1) as f64;
        let puts_per_day = (seconds >= SECONDS_MIN).then_some(per_day);
        let restore_gets = segments.saturating_add(stored_bytes.div_ceil(GET_BYTES));
        let gets = restore_gets as f64 / 1000.0 * self.get_per_thousand;
        Bill {
            counted_by,
            objects,
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            puts_per_day: puts_per_day.map(|puts| puts.round() as u64),
            month: self.month(Load { puts_per_day: puts_per_day.unwrap_or(0.0), stored_bytes }),
            restore_gets,
            restore: rounded(gets + of_bytes(stored_bytes) * self.gb_out),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "money")]
fn of_bytes(bytes: u64) -> f64 {
    bytes as f64 / GB
}

/// To a hundredth of a cent.
fn rounded(money: f64) -> f64 {
    (money * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_prices_are_read_and_name_their_source_and_date() {
        let prices = Prices::find(Path::new("default")).unwrap();
        assert!(prices.source.starts_with("https://"), "{prices:?}");
        assert!(prices.date.starts_with("20"), "{prices:?}");
    }

    #[test]
    fn the_page_that_names_the_default_prices_has_them_and_their_date() {
        let page = include_str!("../../docs/server.md");
        let prices = Prices::find(Path::new("default")).unwrap();
        assert!(page.contains(&prices.source), "{prices:?}");
        assert!(page.contains(&format!("of {}", prices.date)), "{prices:?}");
        let is_figure = |line: &&str| !line.starts_with(['#', 's']);
        for line in DEFAULT.lines().filter(is_figure) {
            assert!(page.contains(line), "{line}");
        }
    }

    #[test]
    fn a_volume_that_stores_an_object_a_second_pays_for_requests_more_than_for_bytes() {
        let prices = Prices::find(Path::new("default")).unwrap();
        let month = prices.month(Load { puts_per_day: 86_400.0, stored_bytes: 100_000_000_000 });
        assert_eq!(month, Month { storage: 2.3, puts: 13.1328, total: 15.4328 });
    }

    #[test]
    fn a_bill_counts_objects_or_else_epochs_and_concludes_nothing_from_a_minute() {
        let prices = Prices::find(Path::new("default")).unwrap();
        let counted = Counted {
            is_of_objects: true,
            objects: 3_600,
            segments: 3_590,
            epochs: 7_200,
            stored_bytes: 8 << 20,
            seconds: 3_600,
        };
        let bill = prices.bill(&counted);
        assert_eq!((bill.puts_per_day, bill.restore_gets), (Some(86_400), 3_592));
        let of_directory = Counted { is_of_objects: false, ..counted };
        assert_eq!(prices.bill(&of_directory).puts_per_day, Some(172_800));
        let bill = prices.bill(&Counted { seconds: 60, ..counted });
        assert_eq!((bill.puts_per_day, bill.month.puts), (None, 0.0));
    }

    #[test]
    fn a_price_that_is_none_is_refused() {
        for (bad, why) in [("0.005", "-1.0"), ("0.023", "nan"), ("0.09", "\"much\"")] {
            assert!(Prices::parse(&DEFAULT.replace(bad, why)).is_err(), "{why}");
        }
        assert!(Prices::parse("currency = \"USD\"").unwrap_err().contains("missing"));
    }
}
