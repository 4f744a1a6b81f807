//! SVG plots of the report: latency by percentile, and the stages of a block from proposal to finality.

use crate::bridge::Distribution;
use plotters::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

type Drawn = Result<(), Box<dyn std::error::Error>>;

const SIZE: (u32, u32) = (960, 540);
/// A block's stages in the order it passes them; unknown ones come last.
const ORDER: [&str; 6] = ["disseminate", "judge", "vote_log", "notarize", "finalize", "store"];

/// Latency over percentile, the x axis by number of nines so that the tail is visible. Series hold microseconds.
pub fn latency(path: &Path, series: &[(&str, &Distribution)]) -> Drawn {
    let series: Vec<_> = series.iter().filter(|(_, distribution)| distribution.count() > 0).collect();
    let highest = series.iter().map(|(_, distribution)| distribution.percentiles(1000.0).max).fold(0.1, f64::max);
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("latency by percentile", ("sans-serif", 22))
        .margin(16)
        .margin_right(40)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0f64..5.0, (0.1f64..highest * 1.2).log_scale())?;
    let percentile = |nines: &f64| match nines.round() as i32 {
        0 => "0 %".to_string(),
        n => format!("{:.*} %", (n - 2).max(0) as usize, 100.0 - 10f64.powi(2 - n)),
    };
    chart.configure_mesh().x_labels(6).x_label_formatter(&percentile).y_desc("ms").x_desc("percentile").draw()?;
    for (at, (name, distribution)) in series.into_iter().enumerate() {
        let color = Palette99::pick(at).to_rgba();
        let points = (0..=500).map(|step| {
            let nines = f64::from(step) / 100.0;
            let value = distribution.histogram().value_at_quantile(1.0 - 10f64.powf(-nines));
            (nines, (value as f64 / 1000.0).max(0.1))
        });
        let line = chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
        line.label(*name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::LowerRight).border_style(BLACK).background_style(WHITE).draw()?;
    root.present()?;
    Ok(())
}

/// One bar per stage: median, and p99 in a lighter tone behind it. Stages hold microseconds.
pub fn stages(path: &Path, stages: &BTreeMap<String, Distribution>) -> Drawn {
    let mut rows: Vec<_> = stages.iter().filter(|(_, distribution)| distribution.count() > 0).collect();
    rows.sort_by_key(|(name, _)| ORDER.iter().position(|stage| stage == name).unwrap_or(ORDER.len()));
    let widest = rows.iter().map(|(_, distribution)| distribution.percentiles(1000.0).p99).fold(0.1, f64::max);
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("from proposal to finality: median (dark) and p99 (light) of each stage", ("sans-serif", 20))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(24)
        .build_cartesian_2d(0.0..widest * 1.05, 0.0..rows.len().max(1) as f64)?;
    chart.configure_mesh().disable_y_mesh().y_labels(0).x_desc("ms").draw()?;
    for (at, (name, distribution)) in rows.iter().enumerate() {
        let percentiles = distribution.percentiles(1000.0);
        let bottom = (rows.len() - 1 - at) as f64;
        let bar = |value: f64, color: RGBAColor| Rectangle::new([(0.0, bottom + 0.15), (value, bottom + 0.85)], color.filled());
        chart.draw_series([bar(percentiles.p99, BLUE.mix(0.15)), bar(percentiles.p50, BLUE.mix(0.35))])?;
        let text = format!("{name}  {:.2} / {:.2} ms", percentiles.p50, percentiles.p99);
        chart.draw_series([Text::new(text, (widest * 0.01, bottom + 0.6), ("sans-serif", 15))])?;
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plots_are_svg_files_that_name_their_series_even_when_empty() {
        let directory = tempfile::tempdir().unwrap();
        let mut distribution = Distribution::default();
        (1..1000).for_each(|value| distribution.record(value * 10));
        let path = directory.path().join("a.svg");
        latency(&path, &[("transactions", &distribution), ("blocks", &Distribution::default())]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("<svg") && text.contains("transactions") && text.contains("99.9 %") && !text.contains("blocks"));
        stages(&path, &BTreeMap::from([("vote_log".to_string(), distribution)])).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("vote_log"));
        latency(&path, &[]).unwrap();
        stages(&path, &BTreeMap::new()).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("</svg>"));
    }
}
