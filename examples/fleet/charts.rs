//! The charts, as SVG on a ground of their own, so that they can be read on a light page and on a dark one.

use std::error::Error;

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{BROWN_OUT, END, fleet::Fleet, report::Run};

type Drawn<T = ()> = Result<T, Box<dyn Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const GROUND: RGBColor = RGBColor(252, 252, 250);
const INK: RGBColor = RGBColor(45, 45, 45);
const FAINT: RGBColor = RGBColor(224, 224, 220);
const SHADE: RGBColor = RGBColor(240, 232, 220);
/// The colours of Okabe and Ito, which those who see fewer colours can tell apart too.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(70, 70, 70),
];

/// Seconds after the brown-out that are watched.
const WATCHED: f64 = (END - BROWN_OUT.end) as f64;

fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// Draws on a ground of this size.
/// `label` is for who cannot see it.
fn svg(label: &str, size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> Drawn<String> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    area.fill(&GROUND)?;
    draw(&area)?;
    area.present()?;
    drop(area);
    // It shrinks with the page.
    let attributes = format!("role=\"img\" aria-label=\"{label}\" style=\"display:block;max-width:100%;height:auto\"");
    Ok(svg.replacen("<svg", &format!("<svg {attributes}"), 1))
}

/// Load and answers second by second, with those of the runs that have these names.
pub(crate) fn over_time(fleet: &Fleet, runs: &[Run], names: &[&str]) -> Drawn<String> {
    let runs: Vec<_> = runs.iter().filter(|run| names.contains(&run.name)).collect();
    svg("Load and answered requests over time", (860, 620), |area| {
        let (upper, lower) = area.split_vertically(330);
        let title = format!("Load on the downstream, as a multiple of the usual ({} clients)", fleet.clients);
        let highest = runs.iter().flat_map(|run| &run.load).fold(1.0, |most: f64, load| most.max(*load));
        lines(&upper, &title, highest * 1.05, false, runs.iter().map(|run| (run.name, &run.load)))?;
        let title = "Share of the requests of each second that are answered in the end";
        lines(&lower, title, 1.05, true, runs.iter().map(|run| (run.name, &run.answered)))
    })
}

fn lines<'a>(
    area: &Area<'_>,
    title: &str,
    highest: f64,
    legend: bool,
    series: impl Iterator<Item = (&'static str, &'a Vec<f64>)>,
) -> Drawn {
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(24)
        .caption(title, text(17))
        .x_label_area_size(28)
        .y_label_area_size(36)
        .build_cartesian_2d(0.0..f64::from(END), 0.0..highest)?;
    let (from, to) = (f64::from(BROWN_OUT.start), f64::from(BROWN_OUT.end));
    chart.draw_series([Rectangle::new([(from, 0.0), (to, highest)], SHADE.filled())])?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(FAINT)
        .axis_style(INK)
        .label_style(text(13))
        .y_labels(5)
        .x_labels(8)
        .x_label_formatter(&|second| format!("{second:.0} s"))
        .draw()?;
    for ((name, values), colour) in series.zip(COLOURS.into_iter().cycle()) {
        let points = (0..END).map(|second| f64::from(second) + 0.5).zip(values.iter().copied());
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
    }
    if legend {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::MiddleRight)
            .background_style(GROUND.mix(0.9))
            .label_font(text(14))
            .draw()?;
    }
    Ok(())
}

/// For each stack and each fleet, a bar of the load and one of the time to recover.
pub(crate) fn by_clients(fleets: &[(Fleet, Vec<Run>)]) -> Drawn<String> {
    let rows = fleets.first().map_or(0, |(_, runs)| runs.len());
    let height = 84 + 17 * u32::try_from(rows * (fleets.len() + 1))?;
    svg("Load in the brown-out and seconds to recover, as bars", (860, height), |area| {
        legend(area, fleets)?;
        let (names, bars) = area.split_horizontally(220);
        let (left, right) = bars.split_horizontally(320);
        labels(&names, fleets)?;
        let highest = fleets.iter().flat_map(|(_, runs)| runs).fold(1.0, |most: f64, run| most.max(run.figures.load));
        let load = |run: &Run| (run.figures.load, format!("{:.2}", run.figures.load));
        panel(&left, "Load in the brown-out", highest, fleets, load)?;
        let recovery = |run: &Run| match run.figures.recovery {
            Some(seconds) => (seconds.into(), format!("{seconds} s")),
            None => (WATCHED, "never".to_owned()),
        };
        panel(&right, "Seconds to recover after it", WATCHED, fleets, recovery)
    })
}

/// The rows of bars, from the top down: a group for each stack, with a gap after it.
#[expect(clippy::cast_precision_loss, reason = "a few dozen")]
fn place(group: usize, bar: usize, fleets: usize) -> f64 {
    (group * (fleets + 1) + bar) as f64
}

fn rows(fleets: &[(Fleet, Vec<Run>)]) -> std::ops::Range<f64> {
    let groups = fleets.first().map_or(0, |(_, runs)| runs.len());
    place(groups, 0, fleets.len())..-0.5
}

const TOP: u32 = 40;
const BOTTOM: u32 = 34;

fn labels(area: &Area<'_>, fleets: &[(Fleet, Vec<Run>)]) -> Drawn {
    let mut chart =
        ChartBuilder::on(area).margin_top(TOP).margin_bottom(BOTTOM).build_cartesian_2d(0.0..1.0, rows(fleets))?;
    let style = text(14).pos(Pos::new(HPos::Right, VPos::Center));
    let count = fleets.len();
    let names = fleets.iter().take(1).flat_map(|(_, runs)| runs).enumerate();
    let middle = place(0, count, count) / 2.0;
    chart.draw_series(
        names.map(|(group, run)| Text::new(run.name, (0.96, place(group, 0, count) + middle), style.clone())),
    )?;
    Ok(())
}

fn legend(area: &Area<'_>, fleets: &[(Fleet, Vec<Run>)]) -> Drawn {
    let (_, height) = area.dim_in_pixel();
    let y = i32::try_from(height)? - 22;
    for (x, ((fleet, _), colour)) in (220..).step_by(150).zip(fleets.iter().zip(COLOURS.into_iter().cycle())) {
        area.draw(&Rectangle::new([(x, y), (x + 12, y + 12)], colour.filled()))?;
        area.draw(&Text::new(format!("{} clients", fleet.clients), (x + 18, y), text(14)))?;
    }
    Ok(())
}

fn panel(
    area: &Area<'_>,
    title: &str,
    highest: f64,
    fleets: &[(Fleet, Vec<Run>)],
    value: impl Fn(&Run) -> (f64, String),
) -> Drawn {
    let count = fleets.len();
    let mut chart = ChartBuilder::on(area)
        .margin_top(TOP)
        .margin_bottom(BOTTOM)
        .margin_right(12)
        // With room for the last label.
        .build_cartesian_2d(0.0..highest * 1.15, rows(fleets))?;
    area.draw(&Text::new(title.to_owned(), (0, 12), text(16)))?;
    for (bar, ((_, runs), colour)) in fleets.iter().zip(COLOURS.into_iter().cycle()).enumerate() {
        for (group, run) in runs.iter().enumerate() {
            let y = place(group, bar, count);
            let (length, label) = value(run);
            chart.draw_series([Rectangle::new([(0.0, y + 0.06), (length, y + 0.94)], colour.filled())])?;
            let style = text(12).pos(Pos::new(HPos::Left, VPos::Center));
            chart.draw_series([Text::new(label, (length + highest / 80.0, y + 0.5), style)])?;
        }
    }
    Ok(())
}
