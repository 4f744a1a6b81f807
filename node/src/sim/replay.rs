//! `--replay FILE`: a plan from a file once more. What a validator left of its inputs goes to [`super::inputs`].

use super::SimArgs;
use crate::exit::Exit;
use samara_sim::plan_file::PlanFile;
use samara_sim::{Kit, Report, report, runner};
use std::path::Path;
use std::time::Instant;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 8 << 30;

/// Runs it; broken promises are a failed run, as they were the first time.
pub fn command(path: &Path, args: &SimArgs) -> Result<(), Exit> {
    let bad = |error: String| {
        Exit::bad("--replay", path.display(), format!("a plan that `samara sim` wrote, or the inputs of a validator ({error})"))
    };
    let bytes = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(bad(format!("{bytes} bytes are more than {FILE_BYTES_MAX}")));
    }
    let bytes = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    if bytes.starts_with(&samara_validator::input_log::MAGIC) {
        return super::inputs::command(path, &bytes, args);
    }
    if let Some(dir) = &args.dir {
        return Err(Exit::bad("--dir", dir.display(), "with the inputs of a validator: a plan has no directory"));
    }
    let text = String::from_utf8(bytes).map_err(|error| bad(error.to_string()))?;
    let file = PlanFile::parse(&text).map_err(bad)?;
    let started = Instant::now();
    let outcome = runner::run(&file.plan, &mut Kit::new());
    let again = PlanFile::new(&file.plan, &outcome);
    eprintln!("{}", report::failure(&file.plan, &outcome));
    match file.digest.as_str() {
        "" => {}
        digest if digest == again.digest => eprintln!("the same run as when the file was written: digest {digest}"),
        digest => eprintln!("another run than when the file was written: the code has changed (digest was {digest}, is {})", again.digest),
    }
    let report = Report::new(&[outcome], started.elapsed().as_secs_f64());
    if args.json {
        println!("{}", serde_json::to_string(&report).expect("a report is plain data"));
    }
    match again.broken.into_iter().collect::<Vec<_>>() {
        broken if broken.is_empty() => Ok(()),
        broken => Err(Exit::failed(format!("broken promises: {}", broken.join(", ")))),
    }
}
