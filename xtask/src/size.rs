//! `cargo xtask size`.
//!
//! **Invariant:** all numbers are bytes and come from the linked files and what was packed.

use crate::images::{self, Config, Images};
use crate::ui::thousands;
use anyhow::Result;
use serde_json::{Value, json};
use tally_symbols::elf::Image;

/// Prints sizes of all images.
pub(crate) fn run(as_json: bool) -> Result<u8> {
    let images = images::build(&Config::default())?;
    let rows = rows(&images)?;
    if as_json {
        let object: serde_json::Map<String, Value> = rows
            .iter()
            .map(|row| {
                let fields: serde_json::Map<String, Value> = COLUMNS
                    .iter()
                    .zip(row.values)
                    .map(|(name, value)| ((*name).to_owned(), json!(value)))
                    .collect();
                (row.name.clone(), Value::Object(fields))
            })
            .collect();
        anstream::println!("{}", Value::Object(object));
        return Ok(0);
    }
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let cells = |values: &[String]| -> String {
        values.iter().map(|value| format!("{value:>11}")).collect()
    };
    anstream::println!("{:width$}{}", "", cells(&COLUMNS.map(str::to_owned)));
    for row in &rows {
        anstream::println!("{:width$}{}", row.name, cells(&row.values.map(thousands)));
    }
    anstream::println!(
        "bytes; bss includes stacks; raw is what is loaded, for a TA its signed container"
    );
    Ok(0)
}

const COLUMNS: [&str; 6] = ["text", "rodata", "data", "bss", "raw", "sites"];

struct Row {
    name: String,
    values: [u64; 6],
}

fn rows(images: &Images) -> Result<Vec<Row>> {
    let row = |name: &str, image: &Image, raw: usize, sites: usize| -> Result<Row> {
        let sizes = image.sizes()?;
        let [raw, sites] = [raw, sites].map(|n| n as u64);
        let values = [sizes.text, sizes.rodata, sizes.data, sizes.bss, raw, sites];
        Ok(Row {
            name: name.to_owned(),
            values,
        })
    };
    let raw_len = |image: &Image| -> Result<usize> { Ok(image.flatten()?.len()) };
    let mut rows = vec![
        row("monitor", &images.monitor, raw_len(&images.monitor)?, 0)?,
        row(
            "kernel",
            &images.kernel,
            images.kernel_raw_len,
            images.kernel_sites_len,
        )?,
        row(
            "ldelf (in kernel)",
            &images.ldelf,
            raw_len(&images.ldelf)?,
            0,
        )?,
        row("normal world", &images.ree, raw_len(&images.ree)?, 0)?,
    ];
    for ta in &images.tas {
        rows.push(row(&ta.name, &ta.elf, ta.signed_len, ta.sites_len)?);
    }
    Ok(rows)
}
