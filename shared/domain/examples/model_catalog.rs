//! Makes `models.txt` from LiteLLM's public list of prices:
//! `cargo run -p baton-domain --example model_catalog -- FILE VERSION > shared/domain/models.txt`.
#![expect(clippy::print_stdout, reason = "the output is the file")]

use baton_domain::litellm_prices::{self, LitellmModel};
use baton_domain::model_catalog;
use std::collections::BTreeMap;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("expected a file and a version")?;
    let version = arguments.next().ok_or("expected a version")?;
    let mut lines = BTreeMap::new();
    for LitellmModel { vendor, id, price } in litellm_prices::read(&std::fs::read_to_string(file)?)?
    {
        let line = model_catalog::write_line(vendor, &id, &price);
        let key = line.split(' ').next().unwrap_or_default().to_owned();
        lines.entry(key).or_insert(line);
    }
    println!("# {version}");
    for line in lines.values() {
        println!("{line}");
    }
    Ok(())
}
